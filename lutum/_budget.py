"""The ledger: what was spent, what is reserved, and the leases that turns hold.

Arithmetic in integers, tokens and pico-USD, with no await in it: a step is taken on every ledger of
a chain or on none. A lease always ends settled, and what is settled is what the provider bills, also
when that is more than was reserved: the overdraft is recorded, and nothing more fits on the ledger.
Who waits, and in which order, is `_line`'s.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Generator
from decimal import ROUND_CEILING, Decimal
from types import TracebackType
from typing import Any, Literal, final

from anyio import CancelScope, Event, current_time
from anyio.lowlevel import EventLoopToken, checkpoint, current_token
from msgspec import Struct

from lutum._errors import BadValue, BudgetExceeded, UsageError
from lutum._line import Waiter, ahead, serve
from lutum._pace import Pace
from lutum._results import Estimate, Response, Usage
from lutum.abc import Lease, Ledger

PICO = 10**12

UNLIMITED = sys.maxsize
"""What `remaining` says of tokens where there is no limit on them."""


def pico_usd(cost: Decimal | str | int | float, field: str = "cost_usd") -> int:
    """US dollars as integer pico-USD, rounded up; a float is read by its repr."""
    try:
        value = Decimal(repr(cost) if isinstance(cost, float) else cost)
    except (ArithmeticError, ValueError, TypeError):
        raise BadValue(field, f"{cost!r} is no amount of US dollars") from None
    if not value.is_finite() or value < 0:
        raise BadValue(field, f"{cost!r} is no amount of US dollars")
    return int((value * PICO).to_integral_value(ROUND_CEILING))


class _Amount(Struct, frozen=True):
    input: int = 0
    output: int = 0
    pico: int = 0

    @property
    def tokens(self) -> int:
        return self.input + self.output

    def __add__(self, other: _Amount) -> _Amount:
        return _Amount(self.input + other.input, self.output + other.output, self.pico + other.pico)

    def __sub__(self, other: _Amount) -> _Amount:
        return _Amount(self.input - other.input, self.output - other.output, self.pico - other.pico)


def _amount(of: Usage | Estimate) -> _Amount:
    cost = 0 if of.cost_usd is None else pico_usd(of.cost_usd)
    return _Amount(of.input_tokens, of.output_tokens, cost)


class BudgetStatistics(Struct, frozen=True, kw_only=True):
    """A ledger at one moment. `overdraft_tokens` is what was billed beyond the limit; `children` are the
    blocks (`Lutum.within`) that are open on it."""

    limit_tokens: int | None
    limit_cost_usd: Decimal | None
    spent: Usage
    reserved: Usage
    overdraft_tokens: int
    open_leases: int
    refused: int
    children: tuple[BudgetStatistics, ...] = ()


@final
class Budget:
    """A ledger with limits in tokens and in US dollars; without them it still counts.

    A reservation that does not fit is refused, or with `on_exhausted="wait"` waits in order of arrival
    for open leases to be settled, and for the rates. It belongs to the event loop of its first
    reservation; reading is safe anywhere. `exhausted` is True once a running turn could not grow here, or
    nothing can ever fit.

    Args:
      tokens: input and output together.
      cost_usd: US dollars.
      on_exhausted: what a reservation that does not fit does.
      tokens_per_minute: how fast tokens may be reserved; a minute's worth may go at once.
      requests_per_minute: likewise, requests.
      follow_rate_limits: learn the rates from the headers of the provider's answers; the first turn goes
        alone. For a ledger whose turns go to one provider; needs "wait".

    Raises:
      BadValue: a limit below zero, or not an amount; names the field.
    """

    __slots__ = (
        "_claims",
        "_idle",
        "_leases",
        "_limit_pico",
        "_limit_tokens",
        "_loop",
        "_pace",
        "_parent",
        "_refused",
        "_reserved",
        "_root",
        "_spent",
        "_wait",
        "children",
        "closed",
        "exhausted",
        "parked",
        "when_spent",
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
    ) -> None:
        if tokens is not None and tokens < 0:
            raise BadValue("tokens", f"{tokens} is below 0")
        if on_exhausted not in ("refuse", "wait"):
            raise BadValue("on_exhausted", f"{on_exhausted!r} is neither 'refuse' nor 'wait'")
        self._limit_tokens = tokens
        self._limit_pico = None if cost_usd is None else pico_usd(cost_usd)
        self._parent: Budget | None = None
        self._root: Ledger | None = None
        self._spent = Usage()
        self._reserved = _Amount()
        self._leases = set[BudgetLease]()
        self._claims = dict[_Claim, None]()  # who waits for a lease of this ledger, in order of arrival
        self._idle: Event | None = None
        self._refused = 0
        self._loop: EventLoopToken | None = None
        self._wait = on_exhausted == "wait"
        self._pace: Pace | None = None
        if tokens_per_minute is not None or requests_per_minute is not None or follow_rate_limits:
            if follow_rate_limits and not self._wait:
                raise BadValue("follow_rate_limits", "needs on_exhausted='wait'")
            # The rates are a ledger of their own behind the root, so that turns of a guaranteed block, which
            # draw on nothing else of what is around it, are held up by them too.
            self._parent = Budget(on_exhausted=on_exhausted)
            self._parent._pace = Pace(tokens_per_minute, requests_per_minute, follow=follow_rate_limits)
        self.children: list[Budget] = []
        self.exhausted = False
        self.closed = False
        self.parked: list[tuple[int, Waiter]] = []
        self.when_spent: Callable[[], None] | None = None

    @classmethod
    def within(
        cls,
        parent: Budget,
        *,
        tokens: int | None = None,
        cost_usd: Decimal | str | int | float | None = None,
        on_exhausted: Literal["refuse", "wait"] = "refuse",
    ) -> Budget:
        """A ledger whose leases are taken from its parent too."""
        child = cls(tokens=tokens, cost_usd=cost_usd, on_exhausted=on_exhausted)
        child._parent = parent
        return child

    @classmethod
    def guaranteed(
        cls,
        parent: Budget,
        *,
        tokens: int | None = None,
        cost_usd: Decimal | str | int | float | None = None,
        on_exhausted: Literal["refuse", "wait"] = "refuse",
    ) -> Budget:
        """A ledger that was paid in advance: its leases are not taken from its parent, but in its time."""
        budget = cls(tokens=tokens, cost_usd=cost_usd, on_exhausted=on_exhausted)
        root = parent._chain()[-1]
        budget._parent = root if root._pace is not None else None
        return budget

    @classmethod
    def over(cls, root: Ledger | None) -> Budget:
        """A ledger that counts, and takes its leases from a foreign one too."""
        budget = cls()
        budget._root = root
        return budget

    @property
    def spent(self) -> Usage:
        """The sum of what was settled, labelled by its worst part."""
        return self._spent

    @property
    def reserved(self) -> Usage:
        """What open leases hold."""
        cost = Decimal(self._reserved.pico) / PICO if self._reserved.pico else None
        return Usage(self._reserved.input, self._reserved.output, cost_usd=cost, known="estimated")

    @property
    def remaining(self) -> Usage:
        """What a new reservation may take here: tokens under `input_tokens` (UNLIMITED where there is no
        limit), and US dollars (None likewise). A parent may allow less."""
        tokens, cost = UNLIMITED, None
        if self._limit_tokens is not None:
            used = self._spent.total_tokens + self._reserved.tokens
            tokens = max(0, self._limit_tokens - used)
        if self._limit_pico is not None:
            cost = Decimal(max(0, self._limit_pico - self._spent_pico - self._reserved.pico)) / PICO
        return Usage(tokens, cost_usd=cost)

    @property
    def limited(self) -> bool:
        """Whether a limit applies, here or on a parent."""
        chain = self._chain()
        return chain[-1]._root is not None or any(
            b._limit_tokens is not None or b._limit_pico is not None for b in chain
        )

    @property
    def tokens_limited(self) -> bool:
        """Whether a limit in tokens applies, here or on a parent."""
        return any(b._limit_tokens is not None for b in self._chain())

    @property
    def cost_limited(self) -> bool:
        """Whether a limit in US dollars applies, here or on a parent."""
        return any(b._limit_pico is not None for b in self._chain())

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
            children=tuple(child.statistics() for child in self.children),
        )

    def reserve(self, estimate: Estimate) -> Reservation:
        """Take an amount: `lease = await budget.reserve(e)`, or `async with budget.reserve(e) as lease`.

        The `async with` form settles a lease you did not settle at the whole reservation, labelled
        `estimated`. Cancelled, nothing has been taken.

        Raises:
          BudgetExceeded: it does not fit on this ledger or on a parent; or, for one that waits, can never.
          UsageError: the budget is in use on another event loop, or its block has ended.
        """
        return Reservation(self, estimate)

    async def close(self) -> None:
        """End the turns that hold leases here or wait for one, and wait until all are settled. From the
        first step on nothing can be reserved."""
        self.closed = True
        why = "the block of its budget has ended"
        self._end_claims(why)
        for lease in tuple(self._leases):
            if lease.stop is not None:
                lease.stop(BudgetExceeded(why))
        if self._leases:
            self._idle = Event()
            await self._idle.wait()

    def __repr__(self) -> str:
        limits = f"tokens={self._limit_tokens}, pico_usd={self._limit_pico}"
        return f"<Budget {limits}, spent {self._spent.total_tokens}, reserved {self._reserved.tokens}>"

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

    def _refusal(self, more: _Amount) -> str | None:
        """Why `more` does not fit on this ledger alone."""
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

    def _hopeless(self, amount: _Amount) -> str | None:
        """Why `amount` can never fit here, whatever open leases give back."""
        if self._limit_tokens is not None and self._spent.total_tokens + amount.tokens > self._limit_tokens:
            spent = self._spent.total_tokens
            return f"{amount.tokens} tokens can never fit: {spent} of {self._limit_tokens} are spent"
        if self._limit_pico is not None and self._spent_pico + amount.pico > self._limit_pico:
            limit = Decimal(self._limit_pico) / PICO
            return f"${Decimal(amount.pico) / PICO} can never fit in what is left of ${limit}"
        if self._pace is not None and self._pace.too_large(amount.tokens):
            return f"{amount.tokens} tokens are more than may be reserved in a minute"
        return None

    def _late(self, amount: _Amount) -> float | None:
        """When a request of that size may be sent, if the rates do not allow it now; infinite for one that
        they never allow, and while they are to be learned from the answer of one that is under way."""
        if self._pace is None:
            return None
        if self._pace.too_large(amount.tokens) or (self._pace.unknown and self._leases):
            return math.inf
        now = current_time()
        return None if self._pace.ready(amount, now) else self._pace.due(amount, now)

    def _refusal_for_now(self, amount: _Amount) -> str | None:
        """Why the rates do not allow it yet."""
        due = self._late(amount)
        return None if due is None else f"the rates allow the next request in {due - current_time():.1f} s"

    def _run_dry(self) -> None:
        """A running turn could not grow here, or a waiting one can never fit: this ledger is spent."""
        self.exhausted = True
        if self.when_spent is not None:
            self.when_spent()
            self._end_claims(f"the budget is spent: {self!r}")

    def _end_claims(self, why: str) -> None:
        """Refuse everybody who waits for a lease of this ledger, and offer their places to the next."""
        claims = tuple(self._claims)
        for claim in claims:
            claim.finish(BudgetExceeded(why))
        for claim in claims:
            serve(claim.ledgers, _offer)

    def _check(self) -> None:
        """Raises UsageError when it may not be used here and now, BudgetExceeded when it is drained."""
        here = current_token()
        for ledger in self._chain():
            if ledger.closed:
                raise UsageError("budget: its block has ended; what it limited cannot be started any more")
            if ledger.exhausted and ledger.when_spent is not None:
                raise BudgetExceeded(f"the budget is spent: {ledger!r}")
            if ledger._loop is not None and ledger._loop != here and _alive(ledger._loop):
                raise UsageError("budget: belongs to another event loop that still runs; make one a loop")
            ledger._loop = here


@final
class BudgetLease:
    """An amount held on every ledger of a chain, until it is settled. `stop` ends the turn that holds it."""

    __slots__ = ("_amount", "_chain", "_foreign", "_pace", "_settled", "_short", "stop")

    def __init__(self, chain: list[Budget], amount: _Amount) -> None:
        """Takes the amount; the caller has seen that it fits."""
        for ledger in chain:
            ledger._reserved += amount
            ledger._leases.add(self)
        self._pace = chain[-1]._pace if chain else None
        if self._pace is not None:
            self._pace.draw(amount, 1, current_time())
        self._chain = chain
        self._amount = amount
        self._foreign: Lease | None = None
        self._settled = False
        self._short: Budget | None = None
        self.stop: Callable[[BudgetExceeded], None] | None = None

    @property
    def reserved(self) -> Estimate:
        """What it holds."""
        return Estimate(self._amount.input, self._amount.output, Decimal(self._amount.pico) / PICO)

    @property
    def settled(self) -> bool:
        """Whether it has been given back."""
        return self._settled

    def grow(self, usage: Usage | Estimate) -> bool:
        """Make it cover `usage`; False, and unchanged, when a ledger of the chain cannot.

        Tokens are covered as a sum: input beyond its estimate may take from what was held for output.
        """
        want, held = _amount(usage), self._amount
        more = _Amount(pico=max(0, want.pico - held.pico))
        if want.tokens > held.tokens:
            more = _Amount(want.input - held.input, want.output - held.output, more.pico)
        if self._settled:
            return False
        if more == _Amount():
            return True
        self._short = _blocking(self._chain, more)
        if self._short is not None:
            return False
        if self._foreign is not None and not self._foreign.grow(usage):
            return False
        for ledger in self._chain:
            ledger._reserved += more
        if self._pace is not None:
            self._pace.draw(more, 0, current_time())
        self._amount = held + more
        return True

    def again(self) -> None:
        """Another request is sent for the same turn; it does not wait for the rates, what follows does."""
        if self._pace is not None:
            self._pace.draw(_Amount(), 1, current_time())

    def follow(self, response: Response, wait: float | None = None) -> None:
        """Learn the rates from the head of an answer, and how long it asked to wait if it refused."""
        if self._pace is None:
            return
        root = self._chain[-1]
        self._pace.learn(
            response.headers, wait, root._reserved, len(root._leases), current_time(), time.time()
        )
        serve((root,), _offer)

    def exhaust(self) -> None:
        """Say that a running turn ended because the last `grow` failed: that ledger is spent."""
        if self._short is not None:
            self._short._run_dry()

    def settle(self, usage: Usage) -> None:
        """Give it back and record what was used; the first call counts."""
        if self._settled:
            return
        self._settled = True
        if self._pace is not None:
            self._pace.draw(
                _Amount(usage.input_tokens, usage.output_tokens) - self._amount, 0, current_time()
            )
        for ledger in self._chain:
            ledger._reserved -= self._amount
            ledger._leases.discard(self)
            ledger._spent += usage
            if ledger._idle is not None and not ledger._leases:
                ledger._idle.set()
        try:
            if self._foreign is not None:
                self._foreign.settle(usage)
        finally:  # who waits here is not to wait for somebody else's ledger
            serve(self._chain, _offer)

    def give_back(self) -> None:
        """Settle a lease for which nothing was sent."""
        if self._pace is not None and not self._settled:
            self._pace.draw(_Amount(), -1, current_time())
        self.settle(Usage())


class _Claim(Waiter):
    """A reservation that waits, with the lease once it is granted."""

    __slots__ = ("amount", "lease", "ledgers")

    def __init__(self, ledgers: list[Budget], place: Budget, amount: _Amount) -> None:
        super().__init__(ledgers, place)
        self.ledgers = ledgers
        self.amount = amount
        self.lease: BudgetLease | None = None


def _blocking(chain: list[Budget], amount: _Amount) -> Budget | None:
    """The first ledger of the chain on which the amount does not fit."""
    return next((ledger for ledger in chain if ledger._refusal(amount)), None)


def _offer(waiter: Waiter) -> Budget | None:
    assert isinstance(waiter, _Claim)
    for ledger in waiter.ledgers:
        if why := ledger._hopeless(waiter.amount):
            ledger._run_dry()
            waiter.finish(BudgetExceeded(f"the budget refuses: {why}"))
            return None
    if (blocking := _blocking(waiter.ledgers, waiter.amount)) is not None:
        return blocking
    if (due := waiter.ledgers[-1]._late(waiter.amount)) is not None:
        waiter.sleep_until(due)
        return waiter.ledgers[-1]
    waiter.lease = BudgetLease(waiter.ledgers, waiter.amount)
    waiter.finish()
    return None


@final
class Reservation:
    """What `Budget.reserve` returns: await it for the lease, or enter it."""

    __slots__ = ("_aside", "_budget", "_estimate", "_lease")

    def __init__(self, budget: Budget, estimate: Estimate, *, aside: bool = False) -> None:
        """`aside`: for turns to come, which keep to the rates themselves."""
        self._budget = budget
        self._estimate = estimate
        self._aside = aside
        self._lease: BudgetLease | None = None

    async def _take(self) -> BudgetLease:
        await checkpoint()
        self._budget._check()
        chain, amount = self._budget._chain(), _amount(self._estimate)
        if self._aside:
            chain = [ledger for ledger in chain if ledger._pace is None]
        place = ahead(chain) or _blocking(chain, amount)
        if place is None and chain[-1]._late(amount) is not None:
            place = chain[-1]
        lease = BudgetLease(chain, amount) if place is None else await self._wait(chain, amount, place)
        if (root := chain[-1]._root) is not None:
            try:
                lease._foreign = await root.reserve(self._estimate)
            except BaseException:
                lease.give_back()
                raise
        return lease

    async def _wait(self, chain: list[Budget], amount: _Amount, place: Budget) -> BudgetLease:
        """Stand in line at `place`, or be refused where it does not keep one."""
        for ledger in chain:
            why = None if ledger._wait else ledger._refusal(amount)
            why = why or ledger._hopeless(amount)
            if not ledger._wait:
                why = why or ledger._refusal_for_now(amount)
            if why:
                ledger._refused += 1
                raise BudgetExceeded(f"the budget refuses: {why}")
        claim = _Claim(chain, place, amount)
        for ledger in chain:
            ledger._claims[claim] = None
        try:
            await self._stand(claim)
        except BaseException:
            claim.gone = True
            if claim.lease is not None:  # granted in the step that cancelled it
                claim.lease.give_back()
            else:
                serve(chain, _offer)
            raise
        finally:
            for ledger in chain:
                del ledger._claims[claim]
        if claim.error is not None:
            await checkpoint()  # in the block of a spent budget, this is where its cancellation is met
            raise claim.error
        assert claim.lease is not None
        return claim.lease

    async def _stand(self, claim: _Claim) -> None:
        """Wait until the claim is granted or refused; whoever waits for the rates alone wakes itself."""
        serve((claim.place,), _offer)
        while not claim.gone:
            with CancelScope(deadline=claim.due):
                await claim.wait()
            if not claim.gone and current_time() >= claim.due:
                serve(claim.ledgers, _offer)

    def __await__(self) -> Generator[Any, Any, BudgetLease]:
        return self._take().__await__()

    async def __aenter__(self) -> BudgetLease:
        self._lease = await self._take()
        return self._lease

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lease is not None:
            held = self._lease._amount
            cost = Decimal(held.pico) / PICO if held.pico else None
            self._lease.settle(Usage(held.input, held.output, cost_usd=cost, known="estimated"))


def _alive(loop: EventLoopToken) -> bool:
    """Whether that event loop still runs; needs no import of either backend."""
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
