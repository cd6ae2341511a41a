"""Time that jumps instead of passing, on both backends.

No worker thread and no real socket may run under virtual time, because the clock would jump while the kernel
still delivers data. Use `WireServer.connect` instead, or `WireServer.transport()` for an httpx client.
"""

from __future__ import annotations

import asyncio
import math
import selectors
from typing import Any, Literal


def virtual_time(backend: Literal["trio", "asyncio"] | str) -> dict[str, Any]:
    """Return the `backend_options` under which `anyio.run` and the anyio pytest plugin never wait.

    Raises:
      ValueError: the backend is neither `trio` nor `asyncio`.
    """
    if backend == "trio":
        from trio.testing import MockClock  # loaded for the trio backend only

        return {"clock": MockClock(autojump_threshold=0)}
    if backend == "asyncio":
        return {"loop_factory": _JumpingLoop}
    raise ValueError(f"backend: {backend!r} is neither 'trio' nor 'asyncio'")


class _JumpingSelector(selectors.DefaultSelector):
    """A selector that advances the clock to the next timer and returns, instead of waiting for it."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            return super().select(None)
        # Advance by at least one float step: if `now` is large, adding a short timeout may not change it.
        self.now = max(self.now + timeout, math.nextafter(self.now, math.inf))
        return []


class _JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now
