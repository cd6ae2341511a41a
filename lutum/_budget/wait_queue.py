"""The line of those who wait for a ledger: PURE, it only decides whose turn it is.

A waiter is queued at the ledger that blocks it, or behind somebody who draws on it. Whatever is freed on a
chain is offered to those queued there, oldest first. The oldest of a ledger that still does not fit keeps
everybody else of that ledger waiting, so nobody small overtakes somebody big; who does not draw on that
ledger passes. When somebody is served, refused or leaves, the whole chain is looked at, so whoever was
behind is seen. Each step is a heap operation, O(log n).
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
    """Somebody who waits for an amount on a chain of ledgers; `gone` once it was granted or refused, or left.

    `due` is when it wakes by itself, because only time is in its way; infinite while something else is.
    Each offer sets it anew, so that a time that has passed never stays.
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
"""Grants the waiter or refuses it for good (it is `gone` then), or returns the ledger that blocks it. If only
time blocks it, `due` is set."""


def first(place: WaitQueue) -> Waiter | None:
    """The oldest of those queued there."""
    while place._queued:
        waiter = place._queued[0][1]
        if not waiter.gone and waiter.place is place:
            return waiter
        heappop(place._queued)
    return None


def ahead(chain: Iterable[P], arrival: int | None = None) -> P | None:
    """A ledger of the chain where somebody waits who came before."""
    for place in chain:
        oldest = first(place)
        if oldest is not None and (arrival is None or oldest.arrival < arrival):
            return place
    return None


def wake(freed: Sequence[WaitQueue], try_grant: Grant) -> None:
    """Offer what was freed on these ledgers to those queued there, in order of arrival."""
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
                # Everybody else of this place draws on what blocks too, so nobody of them passes. Should they
                # follow to where it waits now, each step would move them all.
                places.remove(place)
                continue
        places += [other for other in chain if other not in places]
