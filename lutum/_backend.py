"""Clock, task and wake-up of the running backend, without anyio's search for the backend at each call.

`anyio.Event`, `current_time` and `get_current_task` find the backend anew, and the first and the last
make two objects and more: with 1,000 streams a tenth of what an event costs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, final

from anyio.lowlevel import current_token

if TYPE_CHECKING:
    import asyncio


TIE: Final = 1e-7
"""Seconds by which each timeout of lutum is late.

Events, sleeps and scopes of yours that are due at the same instant then come first, on both backends. Equal
deadlines have no such order: trio sorts them by address, asyncio by their place in a heap.
"""


class Wakeup(Protocol):
    """A wake-up from one task to one waiting task. Both share the state that the waiter waits for."""

    async def wait(self) -> None:
        """Wait for the next `wake`. After a cancellation no task waits."""

    def wake(self) -> None:
        """Wake the waiting task, if there is one."""


class Backend(NamedTuple):
    current_task: Callable[[], object]
    current_time: Callable[[], float]
    wakeup: Callable[[], Wakeup]


def is_trio(loop: object) -> bool:
    """Return whether a native token of anyio is that of trio, and not an asyncio loop."""
    # By name: another thread may be in the middle of the first import of the backend that does not run here.
    return type(loop).__module__.partition(".")[0] == "trio"


def running_backend_name() -> str:
    """Return "trio" or "asyncio"."""
    return "trio" if is_trio(current_token().native_token) else "asyncio"


def running_backend() -> Backend:
    """That of the running loop, and for it alone."""
    loop: Any = current_token().native_token
    if is_trio(loop):
        trio = sys.modules["trio"]
        return Backend(trio.lowlevel.current_task, trio.current_time, partial(TrioWakeup, trio.lowlevel))
    import asyncio

    return Backend(asyncio.current_task, loop.time, partial(AsyncioWakeup, loop))


@final
class AsyncioWakeup:
    __slots__ = ("_future", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._future: asyncio.Future[None] | None = None

    async def wait(self) -> None:
        self._future = self._loop.create_future()
        try:
            await self._future
        finally:
            self._future = None

    def wake(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)


@final
class TrioWakeup:
    __slots__ = ("_lowlevel", "_task")

    def __init__(self, lowlevel: Any) -> None:
        self._lowlevel = lowlevel  # the module, because not every program that imports lutum loads trio
        self._task: Any = None

    async def wait(self) -> None:
        self._task = self._lowlevel.current_task()
        await self._lowlevel.wait_task_rescheduled(self._abort)

    def wake(self) -> None:
        if self._task is not None:
            task, self._task = self._task, None
            self._lowlevel.reschedule(task)

    def _abort(self, raise_cancel: object) -> Any:
        self._task = None
        return self._lowlevel.Abort.SUCCEEDED
