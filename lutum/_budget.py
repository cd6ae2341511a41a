"""The ledger: what was spent, what is reserved, and the leases that turns hold.

Arithmetic in integers, tokens and pico-USD, with no await in it: a step is taken on every ledger of
a chain or on none. A lease always ends settled, and what is settled is what the provider bills, also
when that is more than was reserved: the overdraft is recorded, and nothing more fits on the ledger.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from decimal import ROUND_CEILING, Decimal
from types import TracebackType
from typing import Any, final

from anyio.lowlevel import EventLoopToken, checkpoint, current_token
from msgspec import Struct

from lutum._errors import BadValue, BudgetExceeded, UsageError
from lutum._results import Estimate, Usage
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
    """A ledger at one moment. `overdraft_tokens` is what was billed beyond the limit."""

    limit_tokens: int | None
    limit_cost_usd: Decimal | None
    spent: Usage
    reserved: Usage
    overdraft_tokens: int
    open_leases: int
    refused: int


@final
class Budget:
    """A ledger with limits in tokens and in US dollars; without them it still counts.

    It belongs to the event loop of its first reservation; reading is safe anywhere.
    """

    __slots__ = (
        "_limit_pico",
        "_limit_tokens",
        "_loop",
        "_open",
        "_parent",
        "_refused",
        "_reserved",
        "_root",
        "_spent",
    )

    def __init__(
        self,
        *,
        tokens: int | None = None,
        cost_usd: Decimal | str | int | float | None = None,
    ) -> None:
        if tokens is not None and tokens < 0:
            raise BadValue("tokens", f"{tokens} is below 0")
        self._limit_tokens = tokens
        self._limit_pico = None if cost_usd is None else pico_usd(cost_usd)
        self._parent: Budget | None = None
        self._root: Ledger | None = None
        self._spent = Usage()
        self._reserved = _Amount()
        self._open = 0
        self._refused = 0
        self._loop: EventLoopToken | None = None

    @classmethod
    def within(
        cls,
        parent: Budget,
        *,
        tokens: int | None = None,
        cost_usd: Decimal | str | int | float | None = None,
    ) -> Budget:
        """A ledger whose leases are taken from its parent too."""
        child = cls(tokens=tokens, cost_usd=cost_usd)
        child._parent = parent
        return child

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
    def cost_limited(self) -> bool:
        """Whether a limit in US dollars applies, here or on a parent."""
        return any(b._limit_pico is not None for b in self._chain())

    def statistics(self) -> BudgetStatistics:
        limit = self._limit_tokens
        return BudgetStatistics(
            limit_tokens=limit,
            limit_cost_usd=None if self._limit_pico is None else Decimal(self._limit_pico) / PICO,
            spent=self._spent,
            reserved=self.reserved,
            overdraft_tokens=0 if limit is None else max(0, self._spent.total_tokens - limit),
            open_leases=self._open,
            refused=self._refused,
        )

    def reserve(self, estimate: Estimate) -> Reservation:
        """Take an amount: `lease = await budget.reserve(e)`, or `async with budget.reserve(e) as lease`.

        The `async with` form settles a lease you did not settle at the whole reservation, labelled
        `estimated`. Cancelled, nothing has been taken.

        Raises:
          BudgetExceeded: it does not fit on this ledger or on a parent.
          UsageError: the budget is in use on another event loop.
        """
        return Reservation(self, estimate)

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
            used = self._spent.total_tokens + self._reserved.tokens
            if used + more.tokens > self._limit_tokens:
                return f"{more.tokens} tokens more than {used} of {self._limit_tokens} are used or reserved"
        if self._limit_pico is not None:
            used = self._spent_pico + self._reserved.pico
            if used + more.pico > self._limit_pico:
                return (
                    f"${Decimal(more.pico) / PICO} more than ${Decimal(used) / PICO}"
                    f" of ${Decimal(self._limit_pico) / PICO} are used or reserved"
                )
        return None

    def _check_loop(self) -> None:
        here = current_token()
        for ledger in self._chain():
            if ledger._loop is not None and ledger._loop != here and _alive(ledger._loop):
                raise UsageError("budget: belongs to another event loop that still runs; make one a loop")
            ledger._loop = here


@final
class BudgetLease:
    """An amount held on every ledger of a chain, until it is settled."""

    __slots__ = ("_amount", "_chain", "_foreign", "_settled")

    def __init__(self, chain: list[Budget], amount: _Amount) -> None:
        for ledger in chain:
            if why := ledger._refusal(amount):
                ledger._refused += 1
                raise BudgetExceeded(f"the budget refuses: {why}")
        for ledger in chain:
            ledger._reserved += amount
            ledger._open += 1
        self._chain = chain
        self._amount = amount
        self._foreign: Lease | None = None
        self._settled = False

    @property
    def reserved(self) -> Estimate:
        """What it holds."""
        return Estimate(self._amount.input, self._amount.output, Decimal(self._amount.pico) / PICO)

    @property
    def settled(self) -> bool:
        return self._settled

    def grow(self, usage: Usage | Estimate) -> bool:
        """Make it cover `usage`; False, and unchanged, when a ledger of the chain cannot."""
        want, held = _amount(usage), self._amount
        more = _Amount(
            max(0, want.input - held.input), max(0, want.output - held.output), max(0, want.pico - held.pico)
        )
        if any(ledger._refusal(more) for ledger in self._chain):
            return False
        if self._foreign is not None and not self._foreign.grow(usage):
            return False
        for ledger in self._chain:
            ledger._reserved += more
        self._amount = held + more
        return True

    def settle(self, usage: Usage) -> None:
        """Give it back and record what was used; the first call counts."""
        if self._settled:
            return
        self._settled = True
        for ledger in self._chain:
            ledger._reserved -= self._amount
            ledger._open -= 1
            ledger._spent += usage
        if self._foreign is not None:
            self._foreign.settle(usage)


@final
class Reservation:
    """What `Budget.reserve` returns: await it for the lease, or enter it."""

    __slots__ = ("_budget", "_estimate", "_lease")

    def __init__(self, budget: Budget, estimate: Estimate) -> None:
        self._budget = budget
        self._estimate = estimate
        self._lease: BudgetLease | None = None

    async def _take(self) -> BudgetLease:
        await checkpoint()
        self._budget._check_loop()
        chain = self._budget._chain()
        lease = BudgetLease(chain, _amount(self._estimate))
        if (root := chain[-1]._root) is not None:
            try:
                lease._foreign = await root.reserve(self._estimate)
            except BaseException:
                lease.settle(Usage())
                raise
        return lease

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
