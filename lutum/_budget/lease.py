"""Leases: the amount that a turn holds on every ledger of a chain.

A lease is taken on all ledgers in one step or not at all. It is given back in one step, and settled at the
amount that the provider bills. A reservation that does not fit waits if its ledgers have a queue;
`wait_queue` decides which waiter is next.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Generator, Sequence
from decimal import Decimal
from types import TracebackType
from typing import Any, Literal, Protocol, final

from anyio import CancelScope, current_time
from anyio.lowlevel import checkpoint
from msgspec.structs import replace

from lutum._budget.amounts import PICO, Amount, amount_of
from lutum._budget.foreign import keep_failure, raise_failure
from lutum._budget.rate_limits import RateLimits
from lutum._budget.wait_queue import Waiter, WaitQueue, ahead, wake
from lutum._values.errors import BudgetExceeded
from lutum._values.results import Estimate, Response, Usage
from lutum.abc import Lease, Ledger, RateLimit, SharedLease, SharedLedger, TurnIdentity


class ChainLedger(WaitQueue, Protocol):
    """One ledger of a chain: the part of `Budget` that leases and reservations use."""

    _claims: dict[Claim, None]
    _exhausted: bool
    _leases: set[BudgetLease]
    _rates: RateLimits | None
    _refused: int
    _reserved: Amount
    _root: Ledger | SharedLedger | None
    _spent: Usage
    _turns: set[BudgetLease]
    _wait: bool

    def _admit(self, claim: Claim) -> None: ...
    def _chain(self) -> Sequence[ChainLedger]: ...
    def _check(self) -> None: ...
    def _hopeless(self, amount: Amount) -> str | None: ...
    def _lacks(self, more: Amount) -> Literal["tokens", "cost"] | None: ...
    def _late(self, amount: Amount) -> float | None: ...
    def _limits(self, what: Literal["tokens", "cost"]) -> bool: ...
    def _note_idle(self) -> None: ...
    def _refusal(self, more: Amount) -> str | None: ...
    def _refusal_for_now(self, amount: Amount) -> str | None: ...
    def _refuse_hopeless(self) -> None: ...
    def _run_dry(self) -> None: ...


@final
class BudgetLease:
    """An amount held on every ledger of a chain, until it is settled."""

    __slots__ = (
        "_amount",
        "_chain",
        "_failure",
        "_foreign",
        "_number",
        "_rates",
        "_revoked",
        "_settled",
        "_shared",
        "_short",
        "_stop",
        "_what",
    )

    def __init__(self, chain: Sequence[ChainLedger], amount: Amount) -> None:
        """Take the amount. The caller has checked that it fits."""
        for ledger in chain:
            ledger._reserved += amount
            ledger._leases.add(self)
        self._rates = chain[-1]._rates if chain else None
        self._number = 0 if self._rates is None else self._rates.send(amount, current_time())
        self._chain = chain
        self._amount = amount
        self._foreign: Lease | None = None
        self._shared: SharedLease | None = None  # the same lease, if its ledger is a shared one
        self._revoked: BudgetExceeded | None = None
        self._settled = False
        self._short: ChainLedger | None = None  # the ledger and the limit that stopped the last growth
        self._what: Literal["tokens", "cost"] = "tokens"
        self._stop: Callable[[BudgetExceeded], None] | None = None
        self._failure: Exception | None = None  # of a foreign ledger that could not settle it

    def _begin_turn(self, stop: Callable[[BudgetExceeded], None]) -> None:
        """Record that a turn runs on this lease, and how to end it. A block waits for `_end_turn`."""
        for ledger in self._chain:
            ledger._turns.add(self)
        self._set_stop(stop)

    def _end_turn(self) -> None:
        """Record that the turn has closed its connection."""
        self._stop = None
        for ledger in self._chain:
            ledger._turns.discard(self)
            ledger._note_idle()

    def _set_stop(self, stop: Callable[[BudgetExceeded], None] | None) -> None:
        """Set the function that ends the turn that holds the lease; None while no turn holds it."""
        self._stop = stop
        if stop is not None and self._revoked is not None:  # revoked before its turn began
            stop(self._revoked)

    @property
    def reserved(self) -> Estimate:
        """The amount that it holds."""
        return Estimate(self._amount.input, self._amount.output, Decimal(self._amount.pico) / PICO)

    @property
    def settled(self) -> bool:
        """True once it has been given back."""
        return self._settled

    @property
    def _cost_limited(self) -> bool:
        """True if a ledger can refuse its growth because of the cost in US dollars."""
        if self._foreign is not None and self._shared is None:
            return True  # a plain `Ledger` does not say what it limits
        return any(ledger._limits("cost") for ledger in self._chain)

    @property
    def _bound(self) -> str:
        """The limit that stopped its growth, in words, after `grow` returned False."""
        if self._short is not None and self._short._root is not None:
            held = f"{self._amount.tokens:,} tokens"
            held += f" and ${Decimal(self._amount.pico) / PICO}" if self._amount.pico else ""
            return f"{held} (a shared ledger gives no more: the slack of this process is used up)"
        if self._what == "cost":
            return f"${Decimal(self._amount.pico) / PICO}"
        return f"{self._amount.tokens} tokens"

    def grow(self, usage: Usage | Estimate) -> bool:
        """Grow the lease to cover `usage`. Returns False, and changes nothing, if a ledger has no room.

        Tokens are covered as a sum: if the input is larger than its estimate, it can use tokens that are held
        for output. Growth never waits, and is served before all waiters.
        """
        want, held = amount_of(usage), self._amount
        more = Amount(pico=max(0, want.pico - held.pico))
        if want.tokens > held.tokens:
            more = Amount(want.input - held.input, want.output - held.output, more.pico)
        if self._settled:
            return False
        if more == Amount():
            return True
        self._short, self._what = None, "tokens"
        for ledger in self._chain:
            if (what := ledger._lacks(more)) is not None:
                self._short, self._what = ledger, what
                return False
        if self._foreign is not None and not self._foreign.grow(usage):
            self._short = self._chain[-1]
            return False
        for ledger in self._chain:
            ledger._reserved += more
        if self._rates is not None:
            self._rates.grow(more, current_time())
        self._amount = held + more
        return True

    def _reserve_retry(self) -> None:
        """Record another request of the same turn. It does not wait for the rates, but delays others."""
        if self._rates is not None:
            self._number = self._rates.send_again(self._number, self._amount, current_time())
        if self._shared is not None:
            self._shared.reserve_retry()

    def _sent(self) -> None:
        """Record that the request is about to be written, so that the provider may charge for it."""
        if self._shared is not None:
            self._shared.sent()

    def _update_rates(
        self, response: Response, wait: float | None = None, limits: Sequence[RateLimit] = ()
    ) -> float | None:
        """Learn the rates from the limits of a response and the pause that a refusal requires.

        Return the seconds until they allow another request; None if the response reports no limit.
        """
        if self._shared is not None:
            return self._shared.update_rates(response, wait, limits)
        if self._rates is None:
            return None
        again = self._rates.learn(self._number, limits, wait, current_time())
        wake((self._chain[-1],), try_grant)
        return again

    @property
    def _keeps_rates(self) -> bool:
        """True if the ledger learns from the limits that a response reports."""
        return self._shared is not None or self._rates is not None

    def _revoke(self, error: BudgetExceeded) -> None:
        """End the turn that holds the lease, or the one that is still reserving."""
        self._revoked = error
        if self._stop is not None:
            self._stop(error)

    def _mark_spent(self) -> None:
        """Mark the ledger that refused the last `grow` as spent, because a running turn ended for it."""
        if self._short is not None:
            self._short._run_dry()

    def settle(self, usage: Usage) -> None:
        """Give the lease back and record the usage. Only the first call has an effect."""
        self._settle(usage)

    def _settle(self, usage: Usage, *, unsent: bool = False) -> None:
        if self._settled:
            return
        self._settled = True
        if self._rates is not None and unsent:
            self._rates.release(self._number, self._amount, current_time())
        elif self._rates is not None:
            change = Amount(usage.input_tokens, usage.output_tokens) - self._amount
            self._rates.settle(self._number, change, current_time())
        for ledger in self._chain:
            ledger._reserved -= self._amount
            ledger._leases.discard(self)
            ledger._spent += usage
            ledger._note_idle()
        try:
            if self._foreign is not None:
                self._foreign.settle(usage)
        except Exception as exc:
            self._failure = exc
            keep_failure(self._chain[-1]._root, exc)
        finally:  # local waiters are served even if the foreign ledger fails
            for ledger in self._chain:
                ledger._refuse_hopeless()
            wake(self._chain, try_grant)

    def _release(self) -> None:
        """Settle a lease for which nothing was sent."""
        self._settle(Usage(), unsent=True)


class Claim(Waiter):
    """A reservation that waits, with the lease once it is granted."""

    __slots__ = ("amount", "lease", "ledgers")

    def __init__(self, ledgers: Sequence[ChainLedger], place: ChainLedger, amount: Amount) -> None:
        super().__init__(ledgers, place)
        self.ledgers = ledgers
        self.amount = amount
        self.lease: BudgetLease | None = None


def blocking_ledger(chain: Sequence[ChainLedger], amount: Amount) -> ChainLedger | None:
    """Return the first ledger of the chain on which the amount does not fit."""
    return next((ledger for ledger in chain if ledger._refusal(amount)), None)


def try_grant(waiter: Waiter) -> ChainLedger | None:
    """Grant the claim or refuse it for good, and return None. Otherwise return the ledger that blocks it."""
    assert isinstance(waiter, Claim)
    for ledger in waiter.ledgers:
        if why := ledger._hopeless(waiter.amount):
            ledger._refused += 1
            ledger._run_dry()
            waiter.finish(BudgetExceeded(f"the budget refuses: {why}"))
            return None
    if (blocking := blocking_ledger(waiter.ledgers, waiter.amount)) is not None:
        return blocking
    if (due := waiter.ledgers[-1]._late(waiter.amount)) is not None:
        waiter.due = due
        return waiter.ledgers[-1]
    waiter.lease = BudgetLease(waiter.ledgers, waiter.amount)
    waiter.finish()
    return None


@final
class Reservation:
    """The value that `Budget.reserve` returns. Await it to get the lease, or use it in `async with`."""

    __slots__ = ("_aside", "_budget", "_estimate", "_lease", "_turn")

    def __init__(
        self,
        budget: ChainLedger,
        estimate: Estimate,
        turn: TurnIdentity | None = None,
        *,
        aside: bool = False,
    ) -> None:
        """With `aside` it reserves for later turns. It ignores the rates, because those turns obey them."""
        self._turn = turn
        self._budget = budget
        self._estimate = estimate
        self._aside = aside
        self._lease: BudgetLease | None = None

    async def _take(self) -> BudgetLease:
        await checkpoint()
        self._budget._check()
        chain, amount = self._budget._chain(), amount_of(self._estimate)
        if self._aside:
            chain = [ledger for ledger in chain if ledger._rates is None]
        place = ahead(chain) or blocking_ledger(chain, amount)
        if place is None and chain[-1]._late(amount) is not None:
            place = chain[-1]
        lease = BudgetLease(chain, amount) if place is None else await self._wait(chain, amount, place)
        if (root := chain[-1]._root) is not None:
            try:
                await self._reserve_foreign(root, lease)
            except BaseException:
                lease._release()
                raise
        elif lease._revoked is not None:  # its block ended in the step that granted the lease
            lease._release()
            raise lease._revoked
        return lease

    async def _reserve_foreign(self, root: Ledger | SharedLedger, lease: BudgetLease) -> None:
        """Reserve on the ledger at the end of the chain. A block that ends meanwhile ends the wait."""
        raise_failure(root)
        with CancelScope() as scope:
            lease._set_stop(lambda error: scope.cancel())
            await self._ask(root, lease)
        lease._set_stop(None)
        if lease._revoked is not None:  # also if the ledger granted in the same step
            raise lease._revoked

    async def _ask(self, root: Ledger | SharedLedger, lease: BudgetLease) -> None:
        if not isinstance(root, SharedLedger):
            lease._foreign = await root.reserve(self._estimate)
            return
        turn = self._turn or TurnIdentity()
        if not turn.turn:
            turn = replace(turn, turn=uuid.uuid4().hex)
        lease._foreign = lease._shared = shared = await root.reserve(self._estimate, turn)
        lease._chain[-1]._exhausted = False  # the ledger grants again
        shared.on_revoked(lease._revoke)

    async def _wait(self, chain: Sequence[ChainLedger], amount: Amount, place: ChainLedger) -> BudgetLease:
        """Wait in the queue of `place`, or be refused if it has none."""
        for ledger in chain:
            why = None if ledger._wait else ledger._refusal(amount)
            why = why or ledger._hopeless(amount)
            if not ledger._wait:
                why = why or ledger._refusal_for_now(amount)
            if why:
                ledger._refused += 1
                raise BudgetExceeded(f"the budget refuses: {why}")
        claim = Claim(chain, place, amount)
        for ledger in chain:
            ledger._admit(claim)
        try:
            await self._stand(claim)
        except BaseException:
            claim.gone = True
            if claim.lease is not None:  # granted in the step that cancelled it
                claim.lease._release()
            else:
                wake(chain, try_grant)
            raise
        finally:
            for ledger in chain:
                del ledger._claims[claim]
        if claim.error is not None:
            await checkpoint()  # in the block of a spent budget, the block's cancellation is raised here
            raise claim.error
        assert claim.lease is not None
        return claim.lease

    async def _stand(self, claim: Claim) -> None:
        """Wait until the claim is granted or refused. A waiter that only the rates block wakes itself."""
        wake((claim.place,), try_grant)
        while not claim.gone:
            with CancelScope(deadline=claim.due):
                await claim.wait()
            if not claim.gone and current_time() >= claim.due:
                claim.due = math.inf  # behind another waiter it gets no offer, which would set `due` again
                wake(claim.ledgers, try_grant)

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
