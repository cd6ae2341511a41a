"""The timeouts of a turn. `total` is the deadline of the pump's scope. The others share one scope for each
attempt."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import anyio

from lutum._backend import TIE
from lutum._values.errors import TurnTimeout
from lutum._values.settings import Timeouts

Reason = Literal["total", "first_event", "idle", "connect"]


# Timeouts of this many seconds or more may be up to 1 % late. If each event arrives in a read of its own,
# moving the deadline for every event takes a tenth of the time of the event.
LONG = 60


class Deadlines:
    """All timeouts of a turn.

    `total` is the deadline of the scope that the constructor gets. `connect`, `first_event` and `idle` share
    the scope of their attempt: each of them sets that scope's deadline. The deadline moves only when the pump
    is about to wait for the socket, never while the pump waits for the consumer. A scope for each read would
    take more time than the read.
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
        """Return the scope of a new attempt. All its timeouts start again.

        A deadline of the previous attempt has no effect on the new attempt, even if it has just passed.
        """
        self._next, self.reason = None, "total"
        self._scope = anyio.CancelScope()
        return self._scope

    def arm(self, reason: Reason) -> None:
        """Start the timeout `reason`. Long deadlines move in steps of 1 %, so that they need not be
        rescheduled for each event."""
        if self._scope.cancel_called:  # a timeout has passed; keep it as the reason
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
        """Record that events arrived: the timeout `reason` starts at the next wait for the socket."""
        self._next = reason

    def waiting(self) -> None:
        """Record that the pump now waits for the socket.

        This moves the deadline only if events arrived. Pings are not events, so they do not move it.
        """
        if self._next is not None:
            self.arm(self._next)
            self._next = None

    def hold(self) -> None:
        """Stop all timeouts except `total`, because the pump now waits for the consumer and not for an
        event."""
        if not self._scope.cancel_called:
            self._scope.deadline = math.inf
            self.reason = "total"

    def error(self, reason: Reason) -> TurnTimeout:
        """Return the error of a timeout that passed."""
        return TurnTimeout(reason, self._limit(reason))
