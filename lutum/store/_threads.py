"""Calls in worker threads that a cancellation cannot tear.

`anyio.to_thread` shields from anyio's cancellations only. A native cancellation of asyncio frees the waiter
while the thread still writes, so that the outcome is unknown. Here the waiter waits for its thread, and the
cancellation is raised again afterwards.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, final

import anyio
from anyio.lowlevel import checkpoint, current_token

T = TypeVar("T")


@final
class Threads:
    """At most `limit` threads of one store; with 0, calls run where they are made."""

    def __init__(self, limit: int) -> None:
        self._executor = ThreadPoolExecutor(limit, "lutum store") if limit else None

    async def run(self, fn: Callable[[], T], *, always: bool = False) -> T:
        """Run a function. Cancelled before it starts, it does not run; cancelled later, it runs to its end.

        `always`: run it even if the task is cancelled already.
        """
        if not always:
            await checkpoint()
        if self._executor is None:
            return fn()
        done = anyio.Event()
        returned = list[T]()
        raised = list[BaseException]()
        wake = _waker(done.set)

        def work() -> None:
            try:
                returned.append(fn())
            except BaseException as exc:
                raised.append(exc)
            wake()

        self._executor.submit(work)
        interrupted: BaseException | None = None
        with anyio.CancelScope(shield=True):
            while not done.is_set():
                try:
                    await done.wait()
                except GeneratorExit:  # the event loop drops this task, so it cannot wait any more
                    raise
                except BaseException as exc:
                    interrupted = exc
        if interrupted is not None:
            raise interrupted
        if raised:
            raise raised[0]
        return returned[0]

    def close(self) -> None:
        """Let the threads end when they are idle."""
        if self._executor is not None:
            self._executor.shutdown(wait=False)


def _waker(fn: Callable[[], None]) -> Callable[[], None]:
    """Return a function for another thread that has the running loop call `fn`, if that loop still runs."""
    loop: Any = current_token().native_token
    trio = sys.modules.get("trio")
    if trio is not None and isinstance(loop, trio.lowlevel.TrioToken):
        soon, over = loop.run_sync_soon, trio.RunFinishedError
    else:
        soon, over = loop.call_soon_threadsafe, RuntimeError

    def wake() -> None:
        try:
            soon(fn)
        except over:  # the loop has ended, and its tasks with it
            pass

    return wake
