"""Calls in worker threads. After a cancellation, the outcome of a call is still known.

`anyio.to_thread` shields only from anyio's cancellations. A native cancellation of asyncio ends the wait
while the thread still writes, so that the outcome is unknown. Here the waiter waits for its thread, and then
raises the cancellation again.
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
    """At most `limit` threads of one store. With 0, calls run in the calling thread."""

    def __init__(self, limit: int) -> None:
        self._executor = ThreadPoolExecutor(limit, "lutum store") if limit else None

    async def run(self, fn: Callable[[], T], *, always: bool = False) -> T:
        """Run a function. It does not run if the task is cancelled before it starts. If the task is cancelled
        later, the function runs to its end.

        With `always`, the function runs even if the task is cancelled already.
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
        """End the threads when they are idle."""
        if self._executor is not None:
            self._executor.shutdown(wait=False)


def _waker(fn: Callable[[], None]) -> Callable[[], None]:
    """Return a function that makes the running loop call `fn`, if the loop still runs. Another thread may
    call the returned function."""
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
