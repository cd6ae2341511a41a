"""Limits on running calls: the threads of one tool, and the calls that a server runs at once.

Each tool has its own threads, so that a slow tool does not take the threads of the program or of other tools.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Final, final
from weakref import WeakKeyDictionary

import anyio
from anyio.lowlevel import RunVar

THREADS: Final = 40
"""Default number of threads that one tool uses at once. It is anyio's default for a whole program."""

_limiters: RunVar[WeakKeyDictionary[LoopSlots, anyio.CapacityLimiter]] = RunVar("lutum_tool_slots")


@final
class LoopSlots:
    """A limit on the number of slots that are held at once. Each event loop has its own slots."""

    def __init__(self, most: int) -> None:
        self._most = most

    def one(self) -> AbstractAsyncContextManager[object]:
        """Return a block that holds one slot. Entering it is a checkpoint. A cancelled wait takes no slot."""
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
    """One slot of a limiter.

    The slot is its own borrower, instead of the task, because one task may hold several slots.
    """

    def __init__(self, limiter: anyio.CapacityLimiter) -> None:
        self._limiter = limiter

    async def __aenter__(self) -> None:
        await self._limiter.acquire_on_behalf_of(self)

    async def __aexit__(self, *exc: object) -> None:
        self._limiter.release_on_behalf_of(self)
