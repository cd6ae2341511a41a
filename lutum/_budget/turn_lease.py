"""The lease of a turn, with the methods that only the turn needs. Users get a `BudgetLease`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import final

from lutum._budget.lease import BudgetLease
from lutum._values.errors import BudgetExceeded
from lutum._values.results import Response
from lutum.abc import RateLimit


@final
class TurnLease:
    """A lease that a turn holds. `grow` and `settle` are those of the lease."""

    __slots__ = ("_lease", "grow", "settle")

    def __init__(self, lease: BudgetLease) -> None:
        self._lease = lease
        self.grow = lease.grow
        self.settle = lease.settle

    def begin(self, stop: Callable[[BudgetExceeded], None]) -> None:
        """Record that a turn runs, and how to end it. The block of a budget waits for `end`."""
        self._lease._begin_turn(stop)

    def forget_stop(self) -> None:
        """Record that the turn ends by itself, so that it need not be stopped any more."""
        self._lease._set_stop(None)

    def end(self) -> None:
        """Record that the turn has closed its connection."""
        self._lease._end_turn()

    @property
    def cost_limited(self) -> bool:
        """True if a ledger can refuse the lease's growth because of its cost in US dollars."""
        return self._lease._cost_limited

    @property
    def bound(self) -> str:
        """The limit that stopped the lease's growth, in words, after `grow` returned False."""
        return self._lease._bound

    @property
    def failure(self) -> Exception | None:
        """The exception that a foreign ledger raised when it settled the lease."""
        return self._lease._failure

    def sent(self) -> None:
        """Record that the request is about to be written, so that the provider may charge for it."""
        self._lease._sent()

    def reserve_retry(self) -> None:
        """Record that another request is sent for the same turn. It does not wait for the rates."""
        self._lease._reserve_retry()

    @property
    def keeps_rates(self) -> bool:
        """True if a ledger learns from the limits that a response reports."""
        return self._lease._keeps_rates

    def update_rates(
        self, response: Response, wait: float | None = None, limits: Sequence[RateLimit] = ()
    ) -> float | None:
        """Learn the rates from a response and the pause that a refusal requires.

        Return the seconds until they allow another request; None if the response reports no limit.
        """
        return self._lease._update_rates(response, wait, limits)

    def mark_spent(self) -> None:
        """Mark the ledger that refused the last `grow` as spent, because a running turn ended for it."""
        self._lease._mark_spent()
