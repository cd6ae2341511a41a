"""The waiters of one ledger by the size of their claims. No I/O, no clock, no tasks.

Spent amounts never become free again, so a waiter whose claim is larger than the rest of a limit can never be
served. After each settlement only the largest claim must be checked, no matter in which queue its waiter is.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Generic, Protocol, TypeVar


class _Gone(Protocol):
    gone: bool


C = TypeVar("C", bound=_Gone)

# Claims of waiters that left are dropped when they reach the top of the heap. They are dropped all at once if
# the heap is larger than two times the waiting claims and this number.
_SLACK = 64


class Largest(Generic[C]):
    """Claims by one figure, the largest first."""

    __slots__ = ("_heap", "_number")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, C]] = []
        self._number = 0

    def add(self, size: int, claim: C, waiting: int) -> None:
        """Add a claim. `waiting` is the number of other claims that still wait."""
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
