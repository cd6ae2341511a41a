"""The line of those who wait for a ledger: PURE, it only decides whose turn it is.

A waiter is parked at the ledger that blocks it. Whatever is freed on a chain is offered to those parked
there, oldest first. The oldest of a ledger that still does not fit keeps everybody else of that ledger
waiting, so nobody small overtakes somebody big; who does not draw on that ledger passes. Each step is
a heap operation, O(log n).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from heapq import heappop, heappush
from itertools import count
from typing import Protocol, TypeVar

import anyio

from lutum._errors import BudgetExceeded

_arrivals = count()


class Place(Protocol):
    """Where waiters are parked: a ledger."""

    parked: list[tuple[int, Waiter]]


P = TypeVar("P", bound=Place)


class Waiter:
    """Somebody who waits for an amount on a chain of ledgers; `done` is set with a grant or a refusal."""

    __slots__ = ("arrival", "chain", "done", "error", "gone", "granted", "place")

    def __init__(self, chain: Sequence[Place], place: Place) -> None:
        self.chain = chain
        self.place = place
        self.arrival = next(_arrivals)
        self.done = anyio.Event()
        self.granted = False
        self.gone = False
        self.error: BudgetExceeded | None = None
        heappush(place.parked, (self.arrival, self))

    def finish(self, error: BudgetExceeded | None = None) -> None:
        self.granted = error is None
        self.error = error
        self.gone = True
        self.done.set()


Offer = Callable[[Waiter], "Place | None"]
"""Grants the waiter or refuses it for good (it is `gone` then), or says which ledger blocks it."""


def first(place: Place) -> Waiter | None:
    """The oldest of those parked there."""
    while place.parked:
        waiter = place.parked[0][1]
        if not waiter.gone and waiter.place is place:
            return waiter
        heappop(place.parked)
    return None


def ahead(chain: Iterable[P], arrival: int | None = None) -> P | None:
    """A ledger of the chain where somebody waits who came before."""
    for place in chain:
        oldest = first(place)
        if oldest is not None and (arrival is None or oldest.arrival < arrival):
            return place
    return None


def serve(freed: Sequence[Place], offer: Offer) -> None:
    """Offer what was freed on these ledgers to those parked there, in order of arrival."""
    stuck = list[Place]()
    while True:
        heads = [
            (waiter.arrival, waiter)
            for place in freed
            if place not in stuck and (waiter := first(place)) is not None
        ]
        if not heads:
            return
        waiter = min(heads)[1]
        blocking = ahead((place for place in waiter.chain if place is not waiter.place), waiter.arrival)
        blocking = blocking or offer(waiter)
        if waiter.gone:
            continue
        assert blocking is not None
        if blocking is waiter.place:
            stuck.append(blocking)
        else:
            waiter.place = blocking
            heappush(blocking.parked, (waiter.arrival, waiter))
