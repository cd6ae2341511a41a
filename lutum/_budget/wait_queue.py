"""The wait queue of a ledger: it decides which waiter is next. No I/O, no clock, no tasks.

A waiter is queued at the ledger that blocks it, or behind another waiter of that ledger. Room that becomes
free on a chain is offered to the waiters queued there, oldest first. If the oldest waiter of a ledger still
does not fit, all other waiters of that ledger wait too, so that a small one does not overtake a large one.
Waiters that do not draw on that ledger are served before it. When a waiter is served, refused or cancelled,
the queues of its whole chain are examined, so that the waiters behind it are found. Each step is a heap
operation, O(log n).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from heapq import heappop, heappush
from itertools import count
from typing import Protocol, TypeVar

import anyio

from lutum._values.errors import BudgetExceeded

_arrivals = count()


class WaitQueue(Protocol):
    """Where waiters are queued: a ledger."""

    _queued: list[tuple[int, Waiter]]


P = TypeVar("P", bound=WaitQueue)


class Waiter:
    """A waiter for an amount on a chain of ledgers. `gone` is True once it was granted, refused or cancelled.

    If only time blocks the waiter, `due` is the time at which it wakes by itself. Otherwise `due` is
    infinite. Each offer sets it again, so that a time in the past does not remain.
    """

    __slots__ = ("_woken", "arrival", "chain", "due", "error", "gone", "place")

    def __init__(self, chain: Sequence[WaitQueue], place: WaitQueue) -> None:
        self.chain = chain
        self.place = place
        self.arrival = next(_arrivals)
        self.due = math.inf
        self.gone = False
        self.error: BudgetExceeded | None = None
        self._woken: anyio.Event | None = None
        heappush(place._queued, (self.arrival, self))

    async def wait(self) -> None:
        """Wait to be finished, or to be given another time to wake."""
        self._woken = anyio.Event()
        await self._woken.wait()

    def finish(self, error: BudgetExceeded | None = None) -> None:
        if not self.gone:
            self.error = error
            self.gone = True
            self.stir()

    def stir(self) -> None:
        """Let `wait` return."""
        if self._woken is not None:
            self._woken.set()


Grant = Callable[[Waiter], "WaitQueue | None"]
"""A function that grants the waiter or refuses it for good (it is `gone` then), or returns the ledger that
blocks it. If only time blocks it, the function sets `due`."""


def first(place: WaitQueue) -> Waiter | None:
    """Return the oldest waiter that is queued there."""
    while place._queued:
        waiter = place._queued[0][1]
        if not waiter.gone and waiter.place is place:
            return waiter
        heappop(place._queued)
    return None


def ahead(chain: Iterable[P], arrival: int | None = None) -> P | None:
    """Return a ledger of the chain that has an earlier waiter."""
    for place in chain:
        oldest = first(place)
        if oldest is not None and (arrival is None or oldest.arrival < arrival):
            return place
    return None


def wake(freed: Sequence[WaitQueue], try_grant: Grant) -> None:
    """Offer the free amounts of these ledgers to the waiters queued there, in order of arrival."""
    places = list(freed)
    while True:
        heads = [(waiter.arrival, waiter) for place in places if (waiter := first(place)) is not None]
        if not heads:
            return
        waiter = min(heads)[1]
        place, chain = waiter.place, waiter.chain
        due, waiter.due = waiter.due, math.inf
        blocking = ahead((other for other in chain if other is not place), waiter.arrival) or try_grant(
            waiter
        )
        if not waiter.gone:
            assert blocking is not None
            if waiter.due != due:
                waiter.stir()
            if blocking is not place:
                waiter.place = blocking
                heappush(blocking._queued, (waiter.arrival, waiter))
            if chain.index(blocking) >= chain.index(place):
                # All other waiters of this place draw on the blocking ledger too, so none of them can be
                # served. They stay here, because each step would otherwise move all of them.
                places.remove(place)
                continue
        places += [other for other in chain if other not in places]
