"""Scopes: sets of limits of a ledger. A reservation draws on all limits of its scope, or on none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, final

from lutum._budget.limit import Limit
from lutum._values.errors import BadValue
from lutum._values.results import Estimate
from lutum._values.shared_ledger import LedgerState, SharedLedger, TurnIdentity
from lutum.redis._figures import Figures, state_of
from lutum.redis._lease import RedisLease


class ScopeOwner(Protocol):
    """The part of a ledger that its scopes use."""

    own_names: tuple[str, ...]

    async def reserve_under(
        self, estimate: Estimate, turn: TurnIdentity, limits: Sequence[Limit]
    ) -> RedisLease:
        """Take an amount from these limits and from the ledger's own limits."""
        ...

    def announce(self, limits: Sequence[Limit]) -> None:
        """Send the limits that this process has not sent yet."""
        ...

    def known(self, names: Sequence[str]) -> list[Figures]:
        """Return the figures of limits, as this process knows them."""
        ...

    @property
    def as_of(self) -> float | None:
        """The time of the figures, in seconds since the epoch by the server's clock."""
        ...

    async def ask(self, operation: list[Any]) -> Any:
        """Send an operation and wait for its result."""
        ...


@final
class RedisScope(SharedLedger):
    """A set of limits of a ledger. It is a value: it needs no `async with`, and is not closed."""

    def __init__(self, ledger: ScopeOwner, limits: Sequence[Limit]) -> None:
        self._ledger = ledger
        self._limits = tuple(limits)
        self._names = tuple(limit.name for limit in limits)

    async def reserve(self, estimate: Estimate, turn: TurnIdentity) -> RedisLease:
        """Take an amount from all limits of the scope and from the ledger's own limits.

        After a cancellation, nothing is taken.

        A checkpoint.

        Raises:
          BudgetExceeded: the amount does not fit, or a limit was stopped; `scope` names the limit.
          LedgerError: the server cannot be reached.
          UsageError: the ledger is not open.
        """
        return await self._ledger.reserve_under(estimate, turn, self._limits)

    @property
    def state(self) -> LedgerState:
        """The state of the scope's and the ledger's limits, as this process knows it.

        `spent` and `reserved` are those of the scope's first limit. `remaining` is the smallest remainder of
        all limits.
        """
        ledger = self._ledger
        ledger.announce(self._limits)
        return state_of(ledger.known((*self._names, *ledger.own_names)), ledger.as_of)

    @property
    def limits(self) -> tuple[Figures, ...]:
        """The figures of each limit of the scope, as this process knows them."""
        self._ledger.announce(self._limits)
        return tuple(self._ledger.known(self._names))

    async def refresh(self) -> LedgerState:
        """Ask the server for the figures. After a cancellation, nothing has changed.

        A checkpoint.

        Raises:
          LedgerError: the server cannot be reached.
        """
        self._ledger.announce(self._limits)
        await self._ledger.ask(["watch", [*self._names, *self._ledger.own_names]])
        return self.state

    async def stop(self, reason: str) -> None:
        """End the running turns of all processes that draw on the scope's limits, and refuse new ones.

        Each limit of the scope is stopped for all turns that draw on it. After a cancellation, the change may
        have happened.

        A checkpoint.

        Raises:
          LedgerError: the server cannot be reached.
        """
        if not isinstance(reason, str) or not reason.strip():
            raise BadValue("reason", "is empty; give the reason, which the ended turns raise")
        for name in self._names:
            await self._ledger.ask(["stop", name, reason])

    async def resume(self) -> None:
        """Let the scope's limits grant reservations again.

        After a cancellation, the change may have happened.

        A checkpoint.

        Raises:
          LedgerError: the server cannot be reached.
        """
        for name in self._names:
            await self._ledger.ask(["resume", name])

    def __repr__(self) -> str:
        return f"<RedisScope {', '.join(map(repr, self._names))} of {self._ledger!r}>"
