"""The clock, the current task and a wake-up of the running backend, which is looked up only once.

anyio looks up the backend at each call of `anyio.Event`, `current_time` and `get_current_task`. `Event` and
`get_current_task` also make at least two objects a call. With 1,000 streams, this is a tenth of the cost of
an event.
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
"""Seconds that lutum adds to each of its timeouts.

If an event, a sleep or a scope of your program is due at the same instant, it is therefore handled first, on
both backends. The order of equal deadlines is arbitrary: trio sorts them by address, asyncio by their place
in a heap.
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
    # Only the module's name is compared. The other backend is not imported for a check of the class, because
    # another thread may be in the middle of its first import.
    return type(loop).__module__.partition(".")[0] == "trio"


def running_backend_name() -> str:
    """Return "trio" or "asyncio"."""
    return "trio" if is_trio(current_token().native_token) else "asyncio"


def running_backend() -> Backend:
    """Return the backend of the running loop. It is valid for this loop only."""
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
        self._lowlevel = lowlevel  # no import: not every program that imports lutum loads trio
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
