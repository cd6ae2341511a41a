"""The timeouts of a turn on one cancel scope."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import anyio

from lutum._values.errors import (
    TurnTimeout,
)
from lutum._values.settings import Timeouts

Reason = Literal["total", "first_event", "idle", "connect"]


# Seconds from which a timeout need not be met to the instant: where each event is a read of its own,
# moving the deadline for every one of them is a tenth of what the event costs.
LONG = 60


class Deadlines:
    """All timeouts of a turn on the pump's cancel scope, whose deadline is moved.

    It is moved only when the pump is about to wait for the socket, never while it waits for the
    consumer; a scope a read would cost more than the read.
    """

    __slots__ = ("_next", "_now", "_scope", "_timeouts", "_total_at", "reason")

    def __init__(self, timeouts: Timeouts, scope: anyio.CancelScope, now: Callable[[], float]) -> None:
        self.reason: Reason = "total"
        self._timeouts = timeouts
        self._next: Reason | None = None
        self._now = now
        self._total_at = now() + self._limit("total")
        self._scope = scope
        scope.deadline = self._total_at

    def _limit(self, reason: Reason) -> float:
        seconds = getattr(self._timeouts, reason)
        return seconds if isinstance(seconds, float | int) else math.inf

    def arm(self, reason: Reason) -> None:
        """From now on, wait no longer than that timeout; a long one that is moved again, 1 % longer."""
        limit = self._limit(reason)
        at = self._now() + limit
        if self._total_at <= at:
            at, reason = self._total_at, "total"
        if reason == self.reason:
            if at <= self._scope.deadline:
                return
            if limit >= LONG:
                at = min(at + limit / 100, self._total_at)
        self.reason = reason
        self._scope.deadline = at

    def progress(self, reason: Reason) -> None:
        """Events came: the next wait for the socket counts anew, as `reason`."""
        self._next = reason

    def waiting(self) -> None:
        """The pump waits for the socket. Pings are no progress, so they do not move the deadline."""
        if self._next is not None:
            self.arm(self._next)
            self._next = None

    def hold(self) -> None:
        """The pump waits for the consumer: only `total` runs."""
        self._scope.deadline = self._total_at
        self.reason = "total"

    def error(self) -> TurnTimeout:
        return TurnTimeout(self.reason, self._limit(self.reason))
