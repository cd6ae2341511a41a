"""A shared ledger in memory, for tests. It simulates several processes, which can be killed.

It has no thread, no server and no clock of its own, so it runs under virtual time. It follows the rules of
`lutum.redis.RedisLedger`. lutum's tests compare the two ledgers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Literal, final

import anyio
from anyio.lowlevel import checkpoint

from lutum._budget.amounts import PICO, UNLIMITED, Amount, amount_of, pico_usd
from lutum._budget.limit import Limit, period_around, zone
from lutum._values.errors import BadValue, BudgetExceeded, LedgerError, UsageError
from lutum._values.results import Estimate, Usage
from lutum._values.shared_ledger import LedgerState, SharedLease, SharedLedger, TurnIdentity

_WHOLE = "*"


class _Account:
    """The figures of one limit."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.limit = Limit(name) if name != _WHOLE else None
        self.tokens: int | None = None
        self.pico: int | None = None
        self.spent: Usage = Usage()
        self.held: Amount = Amount()
        self.resets: float | None = None
        self.stopped: str | None = None

    def set(self, limit: Limit) -> None:
        self.limit = limit
        self.tokens = self.tokens if limit.tokens is None else limit.tokens
        self.pico = self.pico if limit.cost_usd is None else pico_usd(limit.cost_usd)

    def turn(self, now: float) -> None:
        """Begin the next period if the current one has ended."""
        if self.limit is None or self.limit.per is None:
            return
        if self.resets is not None and now >= self.resets:
            self.spent = Usage()
        if self.resets is None or now >= self.resets:
            self.resets = period_around(self.limit.per, self.limit.timezone or "UTC", now)[1]

    def lacks(self, more: Amount, *, held: bool = True) -> str | None:
        used = amount_of(self.spent) + (self.held if held else Amount())
        fit = "do not fit" if held else "can never fit"
        if self.tokens is not None and used.tokens + more.tokens > self.tokens:
            return f"{more.tokens:,} tokens {fit} under {self.name!r}: {used.tokens:,} of {self.tokens:,} are"
        if self.pico is not None and used.pico + more.pico > self.pico:
            asked, limit = Decimal(more.pico) / PICO, Decimal(self.pico) / PICO
            return f"${asked} {fit} under {self.name!r}: ${Decimal(used.pico) / PICO} of ${limit} are"
        return None

    def resets_at(self) -> datetime | None:
        if self.resets is None or self.limit is None:
            return None
        return datetime.fromtimestamp(self.resets, zone(self.limit.timezone or "UTC"))


class _Claim:
    """A reservation in the queue."""

    def __init__(self, process: _Process, amount: Amount, accounts: list[_Account]) -> None:
        self.process = process
        self.amount = amount
        self.accounts = accounts
        self.event = anyio.Event()
        self.lease: MemoryLease | None = None
        self.error: Exception | None = None


class _Process:
    """One process: whether it is alive, and its leases."""

    def __init__(self) -> None:
        self.alive = True
        self.leases: set[MemoryLease] = set[MemoryLease]()


class _Book:
    """The state that all handles of a ledger share."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.accounts: dict[str, _Account] = {_WHOLE: _Account(_WHOLE)}
        self.line: list[_Claim] = []
        self.processes: list[_Process] = []

    def account(self, name: str) -> _Account:
        account = self.accounts.setdefault(name, _Account(name))
        account.turn(self.clock())
        return account

    def refusal(self, accounts: list[_Account], amount: Amount) -> BudgetExceeded | None:
        """Return the error if an amount cannot be granted even when all leases are released, else None."""
        for account in accounts:
            if account.stopped is not None:
                what = "the whole ledger" if account.name == _WHOLE else f"{account.name!r}"
                return BudgetExceeded(f"{what} was stopped: {account.stopped}", scope=account.name)
            if (why := account.lacks(amount, held=False)) is not None:
                text = f"the shared budget refuses: {why} spent"
                return BudgetExceeded(text, scope=account.name, resets_at=account.resets_at())
        return None

    def serve(self) -> None:
        """Grant the waiting claims in order of arrival.

        If a limit blocks a claim, later claims on that limit wait behind that claim. Claims on other limits
        may pass it.
        """
        blocked = set[str]()
        for claim in list(self.line):
            if (refusal := self.refusal(claim.accounts, claim.amount)) is not None:
                claim.error = refusal
            elif any(account.name in blocked for account in claim.accounts):
                continue
            elif (full := next((a for a in claim.accounts if a.lacks(claim.amount)), None)) is not None:
                blocked.add(full.name)
                continue
            else:
                claim.lease = self.take(claim.process, claim.amount, claim.accounts)
            self.line.remove(claim)
            claim.event.set()

    def take(self, process: _Process, amount: Amount, accounts: list[_Account]) -> MemoryLease:
        lease = MemoryLease(self, process, amount, accounts)
        for account in accounts:
            account.held += amount
        process.leases.add(lease)
        return lease


@final
class MemoryLease(SharedLease):
    """A reserved amount of a ledger in memory."""

    def __init__(self, book: _Book, process: _Process, amount: Amount, accounts: list[_Account]) -> None:
        self._amount: Amount = amount
        self._was_sent: bool = False
        self.settled: bool = False
        self._book = book
        self._process = process
        self._accounts = accounts
        self._charge: Usage | None = None  # set when its process was killed
        self._stop: Callable[[BudgetExceeded], None] | None = None
        self._revoked: BudgetExceeded | None = None

    def grow(self, usage: Usage | Estimate) -> bool:
        want, held = amount_of(usage), self._amount
        more = Amount(pico=max(0, want.pico - held.pico))
        if want.tokens > held.tokens:
            more = Amount(want.input - held.input, want.output - held.output, more.pico)
        if self.settled or self._charge is not None:
            return False
        if more != Amount() and any(account.lacks(more) for account in self._accounts):
            return False
        for account in self._accounts:
            account.held += more
        self._amount = held + more
        return True

    def settle(self, usage: Usage) -> None:
        if self.settled:
            return
        self.settled = True
        self._process.leases.discard(self)
        for account in self._accounts:
            account.turn(self._book.clock())
            if self._charge is None:
                account.held -= self._amount
            elif self._charge != Usage():
                account.spent = _minus(account.spent, self._charge)
            account.spent += usage
        self._book.serve()

    def sent(self) -> None:
        if self._charge is not None:
            raise LedgerError("the process of this lease was killed; nothing was sent")
        self._was_sent = True

    def on_revoked(self, stop: Callable[[BudgetExceeded], None]) -> None:
        self._stop = stop
        if self._revoked is not None:
            stop(self._revoked)

    def _revoke(self, error: BudgetExceeded) -> None:
        """End the turn that holds the lease."""
        self._revoked = error
        if self._stop is not None:
            self._stop(error)

    def _draws_on(self, account: _Account) -> bool:
        return account in self._accounts

    def _reap(self) -> None:
        """Handle the death of the process: charge the lease if its request was sent, else release it."""
        cost = Decimal(self._amount.pico) / PICO if self._amount.pico else None
        charge = Usage(self._amount.input, self._amount.output, cost_usd=cost, known="estimated")
        self._charge = charge if self._was_sent else Usage()
        for account in self._accounts:
            account.held -= self._amount
            if self._was_sent:
                account.spent += charge


class MemoryScope(SharedLedger):
    """A set of limits of a `MemoryLedger`. A reservation takes from all of them or from none."""

    def __init__(
        self, book: _Book, process: _Process, limits: Sequence[Limit], own: Sequence[str], *, wait: bool
    ) -> None:
        self._book = book
        self._process = process
        self._wait = wait
        self._own = tuple(own)
        self._mine = tuple(limit.name for limit in limits)
        for limit in limits:
            book.account(limit.name).set(limit)
        book.serve()

    async def reserve(self, estimate: Estimate, turn: TurnIdentity) -> MemoryLease:
        """Reserve an amount from all limits, or from none. If cancelled, it reserves nothing.

        A checkpoint.

        Raises:
          BudgetExceeded: the reservation does not fit, or a limit was stopped. `scope` of the error is the
            name of the limit.
          LedgerError: the process was killed.
        """
        await checkpoint()
        if not self._process.alive:
            raise LedgerError("the process was killed; nothing was reserved")
        book, amount = self._book, amount_of(estimate)
        accounts = [book.account(name) for name in (*self._mine, *self._own)]
        if (refusal := book.refusal(accounts, amount)) is not None:
            raise refusal
        ahead = [claim for claim in book.line if {*claim.accounts} & {*accounts}]
        full = next((account for account in accounts if account.lacks(amount)), None)
        if full is None and not ahead:
            return book.take(self._process, amount, accounts)
        if not self._wait:
            what = "others wait" if full is None else f"{full.lacks(amount)} used or reserved"
            raise BudgetExceeded(
                f"the shared budget refuses: {what}",
                scope=None if full is None else full.name,
                resets_at=None if full is None else full.resets_at(),
            )
        claim = _Claim(self._process, amount, accounts)
        book.line.append(claim)
        book.serve()  # the claim may pass claims that wait for another limit
        try:
            await claim.event.wait()
        except BaseException:
            if claim.lease is not None:
                claim.lease.settle(Usage())
            elif claim in book.line:
                book.line.remove(claim)
                book.serve()
            raise
        if claim.error is not None:
            raise claim.error
        assert claim.lease is not None
        return claim.lease

    @property
    def state(self) -> LedgerState:
        """The figures of the first limit. `remaining` is the smallest remaining amount of all limits."""
        accounts = [self._book.account(name) for name in (*self._mine, *self._own)]
        tokens, cost = UNLIMITED, None
        for account in accounts:
            used = amount_of(account.spent) + account.held
            if account.tokens is not None:
                tokens = min(tokens, max(0, account.tokens - used.tokens))
            if account.pico is not None:
                left = Decimal(max(0, account.pico - used.pico)) / PICO
                cost = left if cost is None else min(cost, left)
        first = accounts[0]
        held_cost = Decimal(first.held.pico) / PICO if first.held.pico else None
        return LedgerState(
            spent=first.spent,
            reserved=Usage(first.held.input, first.held.output, cost_usd=held_cost, known="estimated"),
            remaining=Usage(tokens, cost_usd=cost),
            exhausted=any(_is_spent(account) for account in accounts),
            stopped=next((account.stopped for account in accounts if account.stopped is not None), None),
            as_of=self._book.clock(),
        )

    async def stop(self, reason: str) -> None:
        """End all running turns that draw on these limits, in every process. Refuse new turns.

        A checkpoint.
        """
        await checkpoint()
        for name in self._mine or (_WHOLE,):
            account = self._book.account(name)
            account.stopped = reason
            refusal = self._book.refusal([account], Amount())
            assert refusal is not None
            for lease in list(self._process_leases()):
                if lease._draws_on(account):
                    lease._revoke(refusal)
        self._book.serve()

    async def resume(self) -> None:
        """Allow reservations under the limits again.

        A checkpoint.
        """
        await checkpoint()
        for name in self._mine or (_WHOLE,):
            self._book.account(name).stopped = None
        self._book.serve()

    def _process_leases(self) -> list[MemoryLease]:
        return [lease for process in self._book.processes for lease in process.leases]


@final
class MemoryLedger(MemoryScope):
    """A shared ledger without a server: `Lutum(adapter, budget=MemoryLedger(Limit("run", tokens=1_000)))`.

    `process()` returns a handle that simulates another process. Its `kill_process()` kills that process.

    Args:
      limits: the limits of the whole ledger. Every reservation draws on all of them.
      on_exhausted: whether a reservation that does not fit is refused or waits in a queue.
      clock: returns the seconds since the epoch. They decide when the period of a limit ends.

    Raises:
      BadValue: two limits have the same name, or `on_exhausted` is invalid.
    """

    def __init__(
        self,
        *limits: Limit,
        on_exhausted: Literal["refuse", "wait"] = "refuse",
        clock: Callable[[], float] = time.time,
    ) -> None:
        if on_exhausted not in ("refuse", "wait"):
            raise BadValue("on_exhausted", f"{on_exhausted!r} is neither 'refuse' nor 'wait'")
        if len({limit.name for limit in limits}) < len(limits):
            raise BadValue("limits", "two limits have the same name")
        self._begin(_Book(clock), limits, wait=on_exhausted == "wait")

    def _begin(self, book: _Book, limits: Sequence[Limit], *, wait: bool) -> None:
        process = _Process()
        book.processes.append(process)
        for limit in limits:
            book.account(limit.name).set(limit)
        names = tuple(limit.name for limit in limits)
        super().__init__(book, process, (), (*names, _WHOLE), wait=wait)

    def process(self) -> MemoryLedger:
        """Return a handle on the same ledger that simulates another process."""
        other = MemoryLedger.__new__(MemoryLedger)
        MemoryScope.__init__(other, self._book, _Process(), (), self._own, wait=self._wait)
        self._book.processes.append(other._process)
        return other

    def kill_process(self) -> None:
        """Kill this process. Its waiting reservations raise `LedgerError`.

        Leases whose request was sent are charged in full. The other leases are released. The turns of the
        process continue, as in a process that was paused for too long. Their leases cannot grow. If a turn
        settles its usage later, this usage replaces the charge.
        """
        process = self._process
        process.alive = False
        for claim in [claim for claim in self._book.line if claim.process is process]:
            self._book.line.remove(claim)
            claim.error = LedgerError("the process was killed; nothing was reserved")
            claim.event.set()
        for lease in process.leases:
            lease._reap()
        process.leases.clear()
        self._book.serve()

    def scope(self, *limits: Limit) -> MemoryScope:
        """Return a set of limits. A reservation under it also draws on the limits of the whole ledger.

        Raises:
          BadValue: `limits` is empty.
          UsageError: a limit belongs to the whole ledger.
        """
        if not limits:
            raise BadValue("limits", "are missing; for the ledger's own limits, use the ledger itself")
        if clash := {limit.name for limit in limits} & {*self._own}:
            raise UsageError(f"scope: {sorted(clash)[0]!r} is a limit of the whole ledger already")
        return MemoryScope(self._book, self._process, limits, self._own, wait=self._wait)

    def __repr__(self) -> str:
        return f"<MemoryLedger {', '.join(map(repr, self._own))}>"


def _is_spent(account: _Account) -> bool:
    spent = amount_of(account.spent)
    if account.tokens is not None and spent.tokens >= account.tokens:
        return True
    return account.pico is not None and spent.pico >= account.pico


def _minus(usage: Usage, charge: Usage) -> Usage:
    left = amount_of(usage) - amount_of(charge)
    cost = Decimal(left.pico) / PICO if left.pico else None
    return Usage(max(0, left.input), max(0, left.output), cost_usd=cost, known=usage.known)
