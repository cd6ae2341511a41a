"""The ledger: the amounts that are spent and reserved, on it and on the ledgers around it.

Its decisions contain no await. `lease` takes and settles the leases. A lease is settled at the amount that
the provider bills, even if that is more than was reserved. The overdraft is then recorded, and nothing more
fits on the ledger.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Literal, cast, final

from anyio import Event, current_time
from anyio.lowlevel import EventLoopToken, current_token
from msgspec import Struct

from lutum._budget.amounts import PICO, UNLIMITED, Amount, check_whole, pico_usd
from lutum._budget.largest import Largest
from lutum._budget.lease import BudgetLease, Claim, Reservation, try_grant
from lutum._budget.rate_limits import RateLimits
from lutum._budget.wait_queue import Waiter, wake
from lutum._values.check import check_type
from lutum._values.errors import BadValue, BudgetExceeded, UsageError
from lutum._values.results import Estimate, Usage
from lutum.abc import Ledger, LedgerState, SharedLedger, TurnIdentity


class BudgetStatistics(Struct, frozen=True, kw_only=True):
    """The figures of a ledger at one moment.

    `overdraft_tokens` are the tokens that were billed beyond the limit. `children` are the blocks
    (`Lutum.within`) that are open on the ledger.
    """

    limit_tokens: int | None
    limit_cost_usd: Decimal | None
    spent: Usage
    reserved: Usage
    overdraft_tokens: int
    open_leases: int
    refused: int
    children: tuple[BudgetStatistics, ...] = ()


class Available(Struct, frozen=True, kw_only=True):
    """The amount that a new reservation can take from a chain of ledgers: the smallest remainder.

    Attributes:
      tokens: `lutum.UNLIMITED` without a limit.
      cost_usd: US dollars; None without a limit.
      as_of: when a shared ledger's figures were true, in seconds since the epoch by its server's clock.
        None if all ledgers are local: the figures are those of this moment.
    """

    tokens: int = UNLIMITED
    cost_usd: Decimal | None = None
    as_of: float | None = None

    @property
    def total_tokens(self) -> int:
        """The same as `tokens`, named as in `Budget.remaining`."""
        return self.tokens


@final
class Budget:
    """A ledger with limits in tokens and in US dollars. Without limits it only counts.

    A reservation that does not fit is refused. With `on_exhausted="wait"` it waits, in order of arrival,
    until open leases are settled and the rates allow it. A budget belongs to the event loop of its first
    reservation, but its figures can be read anywhere. `exhausted` is True once a running turn could not grow
    here, or a waiting turn could never fit.

    Args:
      tokens: input and output together.
      cost_usd: US dollars.
      on_exhausted: whether a reservation that does not fit is refused or waits.
      tokens_per_minute: how fast tokens may be reserved. Those of a whole minute may be reserved at once.
      requests_per_minute: how fast requests may be sent. Those of a whole minute may be sent at once.
      follow_rate_limits: learn the rates from the headers of the provider's answers. The first turn is sent
        alone. For a ledger whose turns all go to one provider. It needs `on_exhausted="wait"`.
      spent: the usage before, for instance that of the previous process. It counts against the limits.

    Raises:
      BadValue: a limit is below zero, or is not an amount; the message names the field.
    """

    __slots__ = (
        "_children",
        "_claims",
        "_closed",
        "_exhausted",
        "_idle",
        "_largest_cost",
        "_largest_tokens",
        "_leases",
        "_limit_pico",
        "_limit_tokens",
        "_loop",
        "_parent",
        "_queued",
        "_rates",
        "_refused",
        "_reserved",
        "_root",
        "_spent",
        "_turns",
        "_wait",
        "_when_spent",
    )

    def __init__(
        self,
        *,
        tokens: int | None = None,
        cost_usd: Decimal | str | int | float | None = None,
        on_exhausted: Literal["refuse", "wait"] = "refuse",
        tokens_per_minute: int | None = None,
        requests_per_minute: int | None = None,
        follow_rate_limits: bool = False,
        spent: Usage | None = None,
    ) -> None:
        check_whole("tokens", tokens)
        if spent is not None and not isinstance(spent, Usage):
            raise BadValue("spent", f"{spent!r} is not a lutum.Usage")
        if on_exhausted not in ("refuse", "wait"):
            raise BadValue("on_exhausted", f"{on_exhausted!r} is neither 'refuse' nor 'wait'")
        self._limit_tokens = tokens
        self._limit_pico = None if cost_usd is None else pico_usd(cost_usd)
        self._parent: Budget | None = None
        self._root: Ledger | SharedLedger | None = None
        self._exhausted = False
        self._spent = spent or Usage()
        self._reserved = Amount()
        self._leases = set[BudgetLease]()
        self._turns = set[BudgetLease]()  # leases of turns that have not closed their connections yet
        self._claims = dict[Claim, None]()  # the waiters for a lease of this ledger, in order of arrival
        self._largest_tokens, self._largest_cost = Largest[Claim](), Largest[Claim]()
        self._idle: Event | None = None
        self._refused = 0
        self._loop: EventLoopToken | None = None
        self._wait = on_exhausted == "wait"
        self._rates: RateLimits | None = None
        if tokens_per_minute is not None or requests_per_minute is not None or follow_rate_limits:
            if follow_rate_limits and not self._wait:
                raise BadValue("follow_rate_limits", "needs on_exhausted='wait'")
            # The rates are a separate ledger at the end of the chain, so that turns of a guaranteed block
            # wait for them too. Such turns draw on no other ledger around their block.
            self._parent = Budget(on_exhausted=on_exhausted)
            self._parent._rates = RateLimits(
                tokens_per_minute, requests_per_minute, follow=follow_rate_limits
            )
        self._children: list[Budget] = []
        self._closed: bool = False
        self._queued: list[tuple[int, Waiter]] = []
        self._when_spent: Callable[[], None] | None = None

    @classmethod
    def _child(
        cls,
        parent: Budget,
        *,
        tokens: int | None = None,
        cost_usd: Decimal | str | int | float | None = None,
        on_exhausted: Literal["refuse", "wait"] = "refuse",
    ) -> Budget:
        """Return a ledger whose leases draw on its parent too."""
        child = cls(tokens=tokens, cost_usd=cost_usd, on_exhausted=on_exhausted)
        child._parent = parent
        return child

    @classmethod
    def _prepaid(
        cls,
        parent: Budget,
        *,
        tokens: int | None = None,
        cost_usd: Decimal | str | int | float | None = None,
        on_exhausted: Literal["refuse", "wait"] = "refuse",
    ) -> Budget:
        """Return a prepaid ledger. Its leases do not draw on the parent, but obey the rates around it."""
        budget = cls(tokens=tokens, cost_usd=cost_usd, on_exhausted=on_exhausted)
        root = parent._chain()[-1]
        budget._parent = root if root._rates is not None else None
        return budget

    @classmethod
    def _attached_to(cls, root: Ledger | SharedLedger | None) -> Budget:
        """Return a ledger that only counts, and whose leases draw on a foreign ledger too."""
        budget = cls()
        budget._root = root
        return budget

    @property
    def spent(self) -> Usage:
        """The sum of the settled usage, with the label of its worst part."""
        return self._spent

    @property
    def reserved(self) -> Usage:
        """The amount that open leases hold."""
        cost = Decimal(self._reserved.pico) / PICO if self._reserved.pico else None
        return Usage(self._reserved.input, self._reserved.output, cost_usd=cost, known="estimated")

    @property
    def remaining(self) -> Usage:
        """The rest of this ledger alone.

        Tokens are in `input_tokens` (UNLIMITED without a limit), US dollars in `cost_usd` (None without a
        limit). For a shared ledger it is the rest over all processes. A parent may have less left, see
        `available`.
        """
        if (shared := self._shared) is not None:
            return shared.remaining
        tokens, cost = UNLIMITED, None
        if self._limit_tokens is not None:
            used = self._spent.total_tokens + self._reserved.tokens
            tokens = max(0, self._limit_tokens - used)
        if self._limit_pico is not None:
            cost = Decimal(max(0, self._limit_pico - self._spent_pico - self._reserved.pico)) / PICO
        return Usage(tokens, cost_usd=cost)

    @property
    def available(self) -> Available:
        """The rest for a new reservation: the smallest rest of this ledger and all its parents."""
        tokens, cost, as_of = UNLIMITED, None, None
        for ledger in self._chain():
            if (shared := ledger._shared) is not None:
                left, as_of = shared.remaining, shared.as_of
            else:
                left = ledger.remaining
            tokens = min(tokens, left.input_tokens)
            if left.cost_usd is not None:
                cost = left.cost_usd if cost is None else min(cost, left.cost_usd)
        return Available(tokens=tokens, cost_usd=cost, as_of=as_of)

    @property
    def closed(self) -> bool:
        """True once its block has ended. Nothing can be reserved then."""
        return self._closed

    @property
    def exhausted(self) -> bool:
        """True once a running turn could not grow here, or a waiting turn could never fit.

        For a shared ledger it is also True while that ledger is exhausted for all processes.
        """
        return self._exhausted or ((shared := self._shared) is not None and shared.exhausted)

    @property
    def _limited(self) -> bool:
        """True if this ledger or a parent has a limit."""
        chain = self._chain()
        return chain[-1]._root is not None or any(
            b._limit_tokens is not None or b._limit_pico is not None for b in chain
        )

    @property
    def _tokens_limited(self) -> bool:
        """True if this ledger or a parent has a limit in tokens."""
        return any(b._limits("tokens") for b in self._chain())

    @property
    def _cost_limited(self) -> bool:
        """True if this ledger or a parent has a limit in US dollars."""
        return any(b._limits("cost") for b in self._chain())

    def statistics(self) -> BudgetStatistics:
        """The ledger at this moment, with the blocks that are open on it."""
        limit = self._limit_tokens
        return BudgetStatistics(
            limit_tokens=limit,
            limit_cost_usd=None if self._limit_pico is None else Decimal(self._limit_pico) / PICO,
            spent=self._spent,
            reserved=self.reserved,
            overdraft_tokens=0 if limit is None else max(0, self._spent.total_tokens - limit),
            open_leases=len(self._leases),
            refused=self._refused,
            children=tuple(child.statistics() for child in self._children),
        )

    def reserve(self, estimate: Estimate, turn: TurnIdentity | None = None) -> Reservation:
        """Take an amount: `lease = await budget.reserve(e)`, or `async with budget.reserve(e) as lease`.

        If you do not settle the lease, the `async with` form settles it: the whole reservation is charged,
        with the label `estimated`. After a cancellation, nothing is taken. `turn` is sent to a shared ledger.

        Raises:
          BudgetExceeded: the amount does not fit on this ledger or on a parent. If that ledger waits: the
            amount can never fit.
          LedgerError: a shared ledger cannot answer.
          UsageError: the budget is in use on another event loop, or its block has ended.
        """
        check_type("estimate", estimate, Estimate, "a lutum.Estimate")
        return Reservation(self, estimate, turn)

    async def _close(self) -> None:
        """End the turns that hold a lease here or wait for one, and wait for their end.

        They have ended when all are settled and their connections are closed. Nothing can be reserved from
        the start of the call. If the call is cancelled, the turns end nevertheless.

        This is a checkpoint only if it has to wait.
        """
        self._closed = True
        why = "the block of its budget has ended"
        self._end_claims(why)
        for lease in tuple(self._leases):
            lease._revoke(BudgetExceeded(why))
        while self._leases or self._turns:
            self._idle = Event()
            await self._idle.wait()

    def __repr__(self) -> str:
        spent, parts = self.spent, list[str]()
        if self._limit_pico is not None:
            parts.append(f"{spent.cost_usd or 0:.2f} of {self._limit_pico / 10**12:.2f} USD")
        if self._limit_tokens is not None:
            parts.append(f"{spent.total_tokens:,} of {self._limit_tokens:,} tokens")
        held = f", {self._reserved.tokens:,} tokens reserved" if self._reserved.tokens else ""
        return (
            f"<Budget {' and '.join(parts) or f'without a limit, {spent.total_tokens:,} tokens'} spent{held}>"
        )

    @property
    def _shared(self) -> LedgerState | None:
        """The figures of the shared ledger that this budget is attached to."""
        return self._root.state if isinstance(self._root, SharedLedger) else None

    def _limits(self, what: Literal["tokens", "cost"]) -> bool:
        """Return whether this ledger itself limits tokens or cost."""
        if (shared := self._shared) is not None:
            left = shared.remaining
            return left.cost_usd is not None if what == "cost" else left.input_tokens < UNLIMITED
        return (self._limit_tokens if what == "tokens" else self._limit_pico) is not None

    @property
    def _spent_pico(self) -> int:
        return 0 if self._spent.cost_usd is None else pico_usd(self._spent.cost_usd)

    def _chain(self) -> list[Budget]:
        chain, ledger = list[Budget](), self
        while True:
            chain.append(ledger)
            if ledger._parent is None:
                return chain
            ledger = ledger._parent

    def _refusal(self, more: Amount) -> str | None:
        """Return why `more` does not fit on this ledger alone, None if it fits."""
        if self._limit_tokens is not None:
            used, limit = self._spent.total_tokens + self._reserved.tokens, self._limit_tokens
            if used + more.tokens > limit:
                return f"{more.tokens:,} tokens do not fit: {used:,} of {limit:,} are used or reserved"
        if self._limit_pico is not None:
            used = self._spent_pico + self._reserved.pico
            if used + more.pico > self._limit_pico:
                return (
                    f"${Decimal(more.pico) / PICO} do not fit: ${Decimal(used) / PICO}"
                    f" of ${Decimal(self._limit_pico) / PICO} are used or reserved"
                )
        return None

    def _lacks(self, more: Amount) -> Literal["tokens", "cost"] | None:
        """Return "tokens" or "cost" if a lease cannot grow by `more` here, else None.

        An overdraft of tokens does not prevent growth of the cost, nor the other way round.
        """
        used = self._spent.total_tokens + self._reserved.tokens + more.tokens
        if self._limit_tokens is not None and more.tokens > 0 and used > self._limit_tokens:
            return "tokens"
        if self._limit_pico is None or more.pico <= 0:
            return None
        used = self._spent_pico + self._reserved.pico + more.pico
        return "cost" if used > self._limit_pico else None

    def _hopeless(self, amount: Amount) -> str | None:
        """Return why `amount` can never fit here, even if open leases give everything back; else None."""
        if self._limit_tokens is not None and self._spent.total_tokens + amount.tokens > self._limit_tokens:
            spent = self._spent.total_tokens
            return f"{amount.tokens} tokens can never fit: {spent} of {self._limit_tokens} are spent"
        if self._limit_pico is not None and self._spent_pico + amount.pico > self._limit_pico:
            spent_usd, limit = Decimal(self._spent_pico) / PICO, Decimal(self._limit_pico) / PICO
            return f"${Decimal(amount.pico) / PICO} can never fit: ${spent_usd} of ${limit} are spent"
        if self._rates is not None and self._rates.too_large(amount.tokens):
            return f"{amount.tokens} tokens are more than the rate limit allows in a minute"
        return None

    def _late(self, amount: Amount) -> float | None:
        """Return when the rates allow a request of that size, None if they allow it now.

        The time is infinite if the rates never allow it. It is also infinite while the rates are unknown and
        are to be learned from the answer to a request that is under way.
        """
        if self._rates is None:
            return None
        if self._rates.too_large(amount.tokens) or self._rates.holds:
            return math.inf
        now = current_time()
        return None if self._rates.ready(amount, now) else self._rates.due(amount, now)

    def _refusal_for_now(self, amount: Amount) -> str | None:
        """Return why the rates do not allow the amount yet, None if they do."""
        due = self._late(amount)
        return None if due is None else f"the rates allow the next request in {due - current_time():.1f} s"

    def _run_dry(self) -> None:
        """Mark this ledger as spent: a running turn could not grow here, or a waiting one can never fit."""
        self._exhausted = True
        if self._when_spent is not None:
            self._when_spent()
            self._end_claims(f"the budget is spent: {self!r}")

    def _note_idle(self) -> None:
        """Wake the task that waits for the last turn to end, if it has ended."""
        if self._idle is not None and not self._leases and not self._turns:
            self._idle.set()

    def _admit(self, claim: Claim) -> None:
        """Record a claim that waits for a lease of this ledger."""
        if self._limit_tokens is not None:
            self._largest_tokens.add(claim.amount.tokens, claim, len(self._claims))
        if self._limit_pico is not None:
            self._largest_cost.add(claim.amount.pico, claim, len(self._claims))
        self._claims[claim] = None

    def _refuse_hopeless(self) -> None:
        """Refuse each waiter that can never fit in the rest of this ledger, whatever queue it is in."""
        hopeless = list[Claim]()
        if self._limit_tokens is not None:
            hopeless += self._largest_tokens.pop_above(self._limit_tokens - self._spent.total_tokens)
        if self._limit_pico is not None:
            hopeless += self._largest_cost.pop_above(self._limit_pico - self._spent_pico)
        for claim in hopeless:
            self._refused += not claim.gone
            claim.finish(BudgetExceeded(f"the budget refuses: {self._hopeless(claim.amount)}"))
        if hopeless:
            self._run_dry()
        for claim in hopeless:
            wake(claim.ledgers, try_grant)

    def _end_claims(self, why: str) -> None:
        """Refuse all waiters for a lease of this ledger, and wake the waiters behind them."""
        claims = tuple(self._claims)
        for claim in claims:
            self._refused += not claim.gone
            claim.finish(BudgetExceeded(why))
        for claim in claims:
            wake(claim.ledgers, try_grant)

    def _check(self) -> None:
        """Raise UsageError if another loop uses it or its block has ended, BudgetExceeded if it is spent."""
        here = current_token()
        for ledger in self._chain():
            if ledger._closed:
                raise UsageError(
                    "budget: its block has ended; after the block use the Lutum that .within() was called on"
                )
            if ledger._exhausted and ledger._when_spent is not None:
                ledger._refused += 1
                raise BudgetExceeded(f"the budget is spent: {ledger!r}")
            if ledger._loop is not None and ledger._loop != here and _alive(ledger._loop):
                raise UsageError(
                    "budget: it belongs to another event loop, which still runs; make one for each loop"
                )
            ledger._loop = here


def _alive(loop: EventLoopToken) -> bool:
    """Return whether that event loop still runs, without importing a backend."""
    native: Any = loop.native_token
    if hasattr(native, "is_closed"):
        return not native.is_closed()
    try:
        native.run_sync_soon(_nothing, idempotent=True)
    except RuntimeError:  # trio.RunFinishedError
        return False
    return True


def _nothing() -> None:
    pass


def child_budget(
    parent: Budget, *, tokens: int | None = None, cost_usd: Decimal | str | int | float | None = None
) -> Budget:
    """Return a ledger whose leases draw on its parent too."""
    return Budget._child(parent, tokens=tokens, cost_usd=cost_usd)


def is_limited(budget: Budget) -> bool:
    """Return whether a budget, or a ledger around it, has a limit."""
    return budget._limited


def is_cost_limited(budget: Budget) -> bool:
    """Return whether a budget, or a ledger around it, has a limit in US dollars."""
    return budget._cost_limited


def belongs_to_block(budget: Budget) -> bool:
    """Return whether a budget was made by a `within` block."""
    return budget._when_spent is not None


def refusals(*budgets: Budget) -> float:
    """Return a number that rises whenever one of these ledgers, or a ledger around them, refuses.

    It is NaN while one of the ledgers is spent. It is also NaN if one is foreign, because a foreign ledger
    may refuse at any time.
    """
    ledgers = {id(ledger): ledger for budget in budgets for ledger in budget._chain()}.values()
    if any(ledger.exhausted or ledger._root is not None for ledger in ledgers):
        return math.nan
    return sum(ledger._refused for ledger in ledgers)


def root_budget(ledger: object, field: str) -> Budget:
    """Return the budget that turns draw on: `ledger` if it is a Budget, else one that is attached to it.

    Raises:
      BadValue: it is not a ledger.
    """
    if isinstance(ledger, Budget):
        return ledger
    if ledger is None and field == "budget":
        return Budget._attached_to(None)
    if isinstance(ledger, type) or not callable(getattr(ledger, "reserve", None)):
        raise BadValue(field, f"{ledger!r} is not a ledger: it has no method `reserve`")
    return Budget._attached_to(cast("Ledger", ledger))
