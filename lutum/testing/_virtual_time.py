"""Time that jumps instead of passing, on both backends.

No worker thread and no real socket may run under virtual time: the clock leaps while the kernel is
still delivering. Use `WireServer.connect`, or `WireServer.transport()` for an httpx client.
"""

from __future__ import annotations

import asyncio
import math
import selectors
from typing import Any, Literal


def virtual_time(backend: Literal["trio", "asyncio"] | str) -> dict[str, Any]:
    """The `backend_options` under which `anyio.run` and the anyio pytest plugin never wait.

    Raises:
      ValueError: the backend is neither `trio` nor `asyncio`.
    """
    if backend == "trio":
        from trio.testing import MockClock  # only who asks for trio pays for it

        return {"clock": MockClock(autojump_threshold=0)}
    if backend == "asyncio":
        return {"loop_factory": _JumpingLoop}
    raise ValueError(f"backend: {backend!r} is neither 'trio' nor 'asyncio'")


class _JumpingSelector(selectors.DefaultSelector):
    """Asked to wait for a timer with no file ready, it moves the clock there and returns."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            return super().select(None)
        # At least one step of a float: far from 0, a short timeout would leave the clock where it is.
        self.now = max(self.now + timeout, math.nextafter(self.now, math.inf))
        return []


class _JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now
