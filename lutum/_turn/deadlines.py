"""The timeouts of a turn: `total` on the scope of its pump, the others on a scope for each attempt."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import anyio

from lutum._backend import TIE
from lutum._values.errors import TurnTimeout
from lutum._values.settings import Timeouts

Reason = Literal["total", "first_event", "idle", "connect"]


# Seconds from which a timeout need not be met to the instant: where each event is a read of its own,
# moving the deadline for every one of them is a tenth of what the event costs.
LONG = 60


class Deadlines:
    """All timeouts of a turn. `total` is the deadline of the scope that is given.

    `connect`, `first_event` and `idle` share the scope of their attempt, whose deadline is moved. It is moved
    only when the pump is about to wait for the socket, never while it waits for the consumer; a scope for
    each read would cost more than the read.
    """

    __slots__ = ("_next", "_now", "_scope", "_timeouts", "reason")

    def __init__(self, timeouts: Timeouts, scope: anyio.CancelScope, now: Callable[[], float]) -> None:
        self.reason: Reason = "total"
        self._timeouts = timeouts
        self._next: Reason | None = None
        self._now = now
        self._scope = scope  # until the first attempt
        scope.deadline = now() + self._limit("total") + TIE

    def _limit(self, reason: Reason) -> float:
        seconds = getattr(self._timeouts, reason)
        return seconds if isinstance(seconds, float | int) else math.inf

    def attempt(self) -> anyio.CancelScope:
        """Return the scope of another attempt, which starts all its timeouts anew.

        A deadline of the attempt before, even one that has just passed, does not reach this one.
        """
        self._next, self.reason = None, "total"
        self._scope = anyio.CancelScope()
        return self._scope

    def arm(self, reason: Reason) -> None:
        """Start the timeout `reason`. Long deadlines move in steps of 1 %, so that they need not be
        rescheduled for each event."""
        if self._scope.cancel_called:  # a timeout has passed, and is the reason
            return
        limit = self._limit(reason)
        at = self._now() + limit + TIE
        if reason == self.reason:
            if at <= self._scope.deadline:
                return
            if limit >= LONG:
                at += limit / 100
        self.reason = reason
        self._scope.deadline = at

    def progress(self, reason: Reason) -> None:
        """Start the timeout `reason` at the next wait for the socket, because events came."""
        self._next = reason

    def waiting(self) -> None:
        """Record that the pump waits for the socket. Pings are not progress, so the deadline stays."""
        if self._next is not None:
            self.arm(self._next)
            self._next = None

    def hold(self) -> None:
        """Stop all timeouts but `total`: the pump does not wait for the first or the next event."""
        if not self._scope.cancel_called:
            self._scope.deadline = math.inf
            self.reason = "total"

    def error(self, reason: Reason) -> TurnTimeout:
        """Return the error of a timeout that passed."""
        return TurnTimeout(reason, self._limit(reason))
