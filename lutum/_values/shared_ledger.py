"""The contract of a ledger that several processes share. `lutum.abc` re-exports it.

No I/O. A ledger derives from `SharedLedger`, its leases from `SharedLease`.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence

from msgspec import Struct

from lutum._values.answer import Response, Usage
from lutum._values.errors import BudgetExceeded
from lutum._values.rate_limit import RateLimit
from lutum._values.settings import Estimate


class TurnIdentity(Struct, frozen=True, kw_only=True):
    """The turn that a reservation is for.

    Attributes:
      model: the requested model.
      label: the turn's label; empty if it has none.
      turn: a random id, unique among all processes.
    """

    model: str = ""
    label: str = ""
    turn: str = ""


class LedgerState(Struct, frozen=True, kw_only=True):
    """The figures of a ledger over all its processes, as they were at one moment.

    Attributes:
      spent: the settled amount. For a limit with periods, that of the current period.
      reserved: the amount in open leases and in slack, which processes hold so that leases can grow.
      remaining: the amount that a new reservation may take: tokens in `input_tokens` (`lutum.UNLIMITED`
        without a limit), US dollars in `cost_usd` (None without a limit).
      exhausted: nothing can be reserved until a limit is raised or its period ends.
      stopped: why the ledger was stopped; None while it runs.
      as_of: when the figures were true, in seconds since the epoch by the server's clock; None for now.
    """

    spent: Usage = Usage()
    reserved: Usage = Usage()
    remaining: Usage = Usage(sys.maxsize)
    exhausted: bool = False
    stopped: str | None = None
    as_of: float | None = None


class SharedLease(ABC):
    """An amount taken from a shared ledger for one turn. All methods are plain calls that never block."""

    @abstractmethod
    def grow(self, usage: Usage | Estimate) -> bool:
        """Make the lease cover `usage`. If the process has too little slack, change nothing, return False."""

    @abstractmethod
    def settle(self, usage: Usage) -> None:
        """Give the lease back and record the usage. Only the first call has an effect. It never raises."""

    def sent(self) -> None:  # noqa: B027  # the default does nothing
        """Record that the request is about to be written, so that the provider may charge for it.

        If the process dies, a lease whose request was sent is charged in full, and other leases are released.

        Raises:
          LedgerError: the lease has lapsed, so nothing may be sent.
        """

    def on_revoked(self, stop: Callable[[BudgetExceeded], None]) -> None:  # noqa: B027  # the default does nothing
        """Call `stop` when the ledger ends this turn. The call comes from the ledger's event loop."""

    def reserve_retry(self) -> None:  # noqa: B027  # the default does nothing
        """Record that another request is sent for the same turn."""

    def update_rates(
        self, response: Response, wait: float | None = None, limits: Sequence[RateLimit] = ()
    ) -> float | None:
        """Learn the rates of the account from the head of an answer.

        `wait` is the pause in seconds that the provider requires after a refusal. `limits` are the rate
        limits that the adapter read in the head. Return the seconds until the rates allow another request;
        None if they are not known.
        """
        return None


class SharedLedger(ABC):
    """A ledger that several processes share. `Budget` reads its figures from `state`."""

    @abstractmethod
    def reserve(self, estimate: Estimate, turn: TurnIdentity) -> Awaitable[SharedLease]:
        """Take an amount. Implement it as an `async def`. After a cancellation, nothing may be taken.

        Raises:
          BudgetExceeded: the amount does not fit, or the ledger was stopped.
          LedgerError: the ledger cannot answer.
        """

    @property
    @abstractmethod
    def state(self) -> LedgerState:
        """The figures that this process knows. A plain read without I/O."""
