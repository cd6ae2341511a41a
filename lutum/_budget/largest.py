"""The waiters of one ledger by the size of their claims. No I/O, no clock, no tasks.

What is spent never comes back, so a waiter that is larger than the rest of a limit can never be served. Only
the largest claim has to be looked at after each settlement, whichever queue its waiter is in.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Generic, Protocol, TypeVar


class _Gone(Protocol):
    gone: bool


C = TypeVar("C", bound=_Gone)

# Claims that left are dropped when they come to the top, or all at once when they are this many.
_SLACK = 64


class Largest(Generic[C]):
    """Claims by one figure, the largest first."""

    __slots__ = ("_heap", "_number")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, C]] = []
        self._number = 0

    def add(self, size: int, claim: C, waiting: int) -> None:
        """Add a claim to the `waiting` others that have not left."""
        if len(self._heap) > 2 * waiting + _SLACK:
            self._heap = [entry for entry in self._heap if not entry[2].gone]
            heapify(self._heap)
        self._number += 1
        heappush(self._heap, (-size, self._number, claim))

    def pop_above(self, rest: int) -> list[C]:
        """Remove and return the claims that are larger than `rest`."""
        found = list[C]()
        while self._heap and (self._heap[0][2].gone or -self._heap[0][0] > rest):
            claim = heappop(self._heap)[2]
            if not claim.gone:
                found.append(claim)
        return found
