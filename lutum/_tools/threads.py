"""Places for calls: the threads of a tool, which are its own, so that slow tools do not take those of the
program or of each other; and the calls that a server runs at once."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Final, final
from weakref import WeakKeyDictionary

import anyio
from anyio.lowlevel import RunVar

THREADS: Final = 40
"""Threads that one tool uses at once, unless it says otherwise; as many as anyio gives to a whole program."""

_limiters: RunVar[WeakKeyDictionary[LoopSlots, anyio.CapacityLimiter]] = RunVar("lutum_tool_slots")


@final
class LoopSlots:
    """So many at once, in each event loop."""

    def __init__(self, most: int) -> None:
        self._most = most

    def one(self) -> AbstractAsyncContextManager[object]:
        """A block that holds one. Entering it is a checkpoint. Cancelled, none is taken."""
        try:
            limiters = _limiters.get()
        except LookupError:
            limiters = WeakKeyDictionary[LoopSlots, anyio.CapacityLimiter]()
            _limiters.set(limiters)
        if self not in limiters:
            limiters[self] = anyio.CapacityLimiter(self._most)
        return _Slot(limiters[self])


@final
class _Slot:
    """One place at a limiter. It is its own borrower, because one task may hold several."""

    def __init__(self, limiter: anyio.CapacityLimiter) -> None:
        self._limiter = limiter

    async def __aenter__(self) -> None:
        await self._limiter.acquire_on_behalf_of(self)

    async def __aexit__(self, *exc: object) -> None:
        self._limiter.release_on_behalf_of(self)
