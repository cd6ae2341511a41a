"""Time that jumps instead of passing, and a cancel at the k-th await: on both backends, no patching.

No worker thread and no real socket may run under virtual time: the clock leaps while the kernel is
still delivering. Use `WireServer.transport()`, the server's face in memory.
"""

from __future__ import annotations

import asyncio
import math
import selectors
import types
from collections.abc import Coroutine, Generator
from functools import partial
from typing import Any, Literal, TypeVar

import anyio

T = TypeVar("T")


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


async def cancel_at(coro: Coroutine[Any, Any, T], k: int) -> tuple[bool, T | None]:
    """Run `coro`, cancelling its scope at its k-th suspension (1 is the first).

    Returns whether the cancellation was requested, and the coroutine's value unless it ended it. A
    test of "a cancel at every await" calls it for k = 1, 2, ... until the first is False.
    """
    requested = False
    value: T | None = None
    with anyio.CancelScope() as scope:

        def cancel() -> None:
            nonlocal requested
            requested = True
            scope.cancel()

        value = await _counted(coro, k, cancel)
    return requested, value


@types.coroutine
def _counted(coro: Coroutine[Any, Any, T], k: int, cancel: Any) -> Generator[Any, Any, T]:
    resume: Any = partial(coro.send, None)
    suspensions = 0
    while True:
        try:
            trap = resume()
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]  # StopIteration has no type
        suspensions += 1
        if suspensions == k:
            cancel()
        try:
            value = yield trap
        except BaseException as exc:
            resume = partial(coro.throw, exc)
        else:
            resume = partial(coro.send, value)
