"""Leases of a ledger in Redis. They grow from the slack that the process holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, final

from lutum._budget.amounts import Amount, amount_of
from lutum._values.errors import BudgetExceeded
from lutum._values.rate_limit import RateLimit
from lutum._values.results import Estimate, Response, Usage
from lutum._values.shared_ledger import SharedLease
from lutum.redis._courier import Courier


class LeaseOwner(Protocol):
    """The part of a ledger that its leases use."""

    follows_rates: bool
    courier: Courier

    def grow_lease(self, lease: RedisLease, more: Amount) -> bool:
        """Take an amount from the slack, and return whether it was there."""
        ...

    def settle_lease(self, lease: RedisLease, usage: Usage) -> None:
        """Record the usage of a lease."""
        ...

    def mark_sent(self, lease: RedisLease) -> None:
        """Record that the request is about to be written."""
        ...


@final
class RedisLease(SharedLease):
    """An amount that is reserved in a ledger in Redis. `reserve` returns it."""

    def __init__(
        self, ledger: LeaseOwner, id: str, amount: Amount, names: tuple[str, ...], about: list[str]
    ) -> None:
        self._id = id
        self._amount = amount
        self._names = names
        self._about = about
        self._was_sent = False
        self._reaped = False
        self.settled: bool = False
        self._ledger = ledger
        self._stop: Callable[[BudgetExceeded], None] | None = None
        self._revoked: BudgetExceeded | None = None

    def grow(self, usage: Usage | Estimate) -> bool:
        want, held = amount_of(usage), self._amount
        more = Amount(pico=max(0, want.pico - held.pico))
        if want.tokens > held.tokens:
            more = Amount(want.input - held.input, want.output - held.output, more.pico)
        if self.settled or self._reaped:
            return False
        return more == Amount() or self._ledger.grow_lease(self, more)

    def settle(self, usage: Usage) -> None:
        if not self.settled:
            self.settled = True
            self._ledger.settle_lease(self, usage)

    def sent(self) -> None:
        """Record that the request is about to be written.

        Raises:
          LedgerError: the server may have released the lease, because it received no heartbeat of this
            process.
        """
        if not self._was_sent:
            self._ledger.mark_sent(self)

    def on_revoked(self, stop: Callable[[BudgetExceeded], None]) -> None:
        self._stop = stop
        if self._revoked is not None:
            stop(self._revoked)

    def _revoke(self, error: BudgetExceeded) -> None:
        """End the turn that holds the lease."""
        if self._revoked is None and not self.settled:
            self._revoked = error
            if self._stop is not None:
                self._stop(error)

    def reserve_retry(self) -> None:
        if self._ledger.follows_rates:
            self._ledger.courier.post(["retry", self._id])

    def update_rates(
        self, response: Response, wait: float | None = None, limits: Sequence[RateLimit] = ()
    ) -> float | None:
        if not self._ledger.follows_rates:
            return None
        reported = [
            [
                limit.kind,
                limit.limit,
                limit.left,
                int(limit.period * 1000),
                -1 if limit.full_in is None else limit.full_in * 1000,
                limit.refunds,
            ]
            for limit in limits
        ]
        pause = -1 if wait is None else wait * 1000
        self._ledger.courier.post(["learn", self._id, pause, reported])
        return max(map(self._seconds, limits), default=None)

    def _seconds(self, limit: RateLimit) -> float:
        """Return the seconds until a limit allows the same request again, from the answer's headers only."""
        needed = {"requests": 1, "tokens": self._amount.tokens, "input": self._amount.input}
        missing = min(needed.get(limit.kind, 0), limit.limit) - limit.left
        if missing <= 0:
            return 0.0
        return limit.full_in if limit.full_in is not None else missing * limit.period / limit.limit
