"""`check_ledger`: the conformance suite of ledgers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio
import anyio.lowlevel

from lutum._budget.budget import Budget
from lutum._budget.lease import BudgetLease
from lutum._values.errors import BudgetExceeded
from lutum._values.results import Estimate, Usage
from lutum.abc import Lease, Ledger, SharedLease, SharedLedger, TurnIdentity
from lutum.testing._cancel_at import cancel_at

AnyLedger = Ledger | SharedLedger
AnyLease = Lease | SharedLease | BudgetLease

TOKENS = 1_000


async def check_ledger(
    make: Callable[[int], AnyLedger | AbstractAsyncContextManager[AnyLedger]], *, patience: float = 10.0
) -> None:
    """Check that a ledger keeps the laws of `lutum.abc.Ledger`.

    A shared ledger must also keep the laws of `lutum.abc.SharedLedger`.

    If cancelled, it does not clean up the ledger that it was checking.

    A checkpoint.

    Args:
      make: returns a new ledger with the given number of tokens as its limit. The ledger must refuse a
        reservation that does not fit. `make` may also return an async context manager, which is entered.
      patience: seconds within which a settlement must be visible.

    Raises:
      AssertionError: a law is broken. The message states the law.
    """
    for law in (
        _refuses,
        _settles,
        _records_overdrafts,
        _grows,
        _is_cancelled,
        _never_grants_more,
        _has_state,
    ):
        made: Any = make(TOKENS)
        if hasattr(made, "__aenter__"):
            async with made as ledger:
                await law(ledger, patience)
        else:
            await law(made, patience)


def _reserve(ledger: AnyLedger, tokens: int) -> Awaitable[AnyLease]:
    estimate = Estimate(tokens)
    if isinstance(ledger, SharedLedger):
        return ledger.reserve(estimate, TurnIdentity(model="check", turn="check"))
    return ledger.reserve(estimate)


async def _fits(ledger: AnyLedger, tokens: int) -> bool:
    """Return whether `tokens` can be reserved now. The reservation is released again."""
    try:
        lease = await _reserve(ledger, tokens)
    except BudgetExceeded:
        return False
    lease.settle(Usage())
    return True


async def _left(ledger: AnyLedger, tokens: int, patience: float, law: str) -> None:
    """Assert that exactly `tokens` are left. Wait up to `patience` seconds for earlier settlements."""
    with anyio.move_on_after(patience):
        while not await _fits(ledger, tokens):  # noqa: ASYNC110  # a remote ledger sets no event
            await anyio.sleep(0.02)
    assert await _fits(ledger, tokens), f"expected: {law}. {tokens} tokens must be left, but they are refused"
    assert not await _fits(ledger, tokens + 1), (
        f"expected: {law}. {tokens} tokens must be left, but more are granted"
    )


async def _refuses(ledger: AnyLedger, patience: float) -> None:
    assert not await _fits(ledger, TOKENS + 1), "a reservation beyond the limit must raise BudgetExceeded"
    await _left(ledger, TOKENS, patience, "a refused reservation takes nothing")
    first = await _reserve(ledger, 600)
    await _left(ledger, 400, patience, "a lease holds its amount")
    first.settle(Usage())


async def _settles(ledger: AnyLedger, patience: float) -> None:
    lease = await _reserve(ledger, 600)
    lease.settle(Usage(50, 20))
    await _left(ledger, TOKENS - 70, patience, "a settlement gives back the rest")
    lease.settle(Usage(500, 200))
    await _left(
        ledger, TOKENS - 70, patience, "the first settlement of a lease counts, a second one does not"
    )
    assert not lease.grow(Estimate(800)), "a settled lease must not grow"


async def _records_overdrafts(ledger: AnyLedger, patience: float) -> None:
    lease = await _reserve(ledger, 600)
    lease.settle(Usage(TOKENS, 500))
    with anyio.move_on_after(patience):
        while await _fits(ledger, 1):  # noqa: ASYNC110  # a remote ledger sets no event
            await anyio.sleep(0.02)
    assert not await _fits(ledger, 1), "a bill beyond the reservation must be recorded: nothing more fits"


async def _grows(ledger: AnyLedger, patience: float) -> None:
    lease = await _reserve(ledger, 600)
    assert lease.grow(Estimate(500, 100)), "a lease must cover its tokens, whether they are input or output"
    assert not lease.grow(Estimate(TOKENS, 1)), "a lease must not grow beyond the limit"
    await _left(ledger, 400, patience, "growth that fails changes nothing")
    if lease.grow(Estimate(600, 150)):  # a shared ledger may have no slack
        await _left(ledger, 250, patience, "growth counts as reserved")
    lease.settle(Usage(10))
    await _left(ledger, TOKENS - 10, patience, "the settlement of a lease gives back its growth")


async def _is_cancelled(ledger: AnyLedger, patience: float) -> None:
    for step in range(1, 1_000):
        kept = list[AnyLease]()

        async def reserve(kept: list[AnyLease] = kept) -> None:
            kept.append(await _reserve(ledger, 600))

        cancelled, _ = await cancel_at(reserve(), step)
        for lease in kept:
            lease.settle(Usage())
        await _left(
            ledger, TOKENS, patience, f"a reservation that is cancelled at suspension {step} takes nothing"
        )
        if not cancelled:
            return


async def _never_grants_more(ledger: AnyLedger, patience: float) -> None:
    held, most, refused = 0, 0, 0

    async def turn(number: int) -> None:
        nonlocal held, most, refused
        tokens = 30 + number % 7 * 10
        try:
            lease = await _reserve(ledger, tokens)
        except BudgetExceeded:
            refused += 1
            return
        held += tokens
        most = max(most, held)
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
        held -= tokens
        lease.settle(Usage())

    async with anyio.create_task_group() as group:
        for number in range(60):
            group.start_soon(turn, number)
    assert most <= TOKENS, f"{most} tokens were granted at once under a limit of {TOKENS}"
    assert refused < 60, "reservations that fit must be granted"
    await _left(ledger, TOKENS, patience, "after many turns at once nothing is outstanding")


async def _has_state(ledger: AnyLedger, patience: float) -> None:
    if not isinstance(ledger, SharedLedger | Budget):
        return
    refresh: Any = getattr(ledger, "refresh", None)

    def seen() -> tuple[int, int, int]:
        found = ledger.state if isinstance(ledger, SharedLedger) else ledger
        return found.spent.total_tokens, found.reserved.total_tokens, found.remaining.total_tokens

    async def reads(expected: tuple[int, int, int], law: str) -> None:
        with anyio.move_on_after(patience):
            while seen() != expected:
                await (anyio.sleep(0.02) if refresh is None else refresh())
        assert seen() == expected, f"{law}: spent, reserved and remaining are {seen()}, not {expected}"

    await reads((0, 0, TOKENS), "a new ledger's figures")
    lease = await _reserve(ledger, 600)
    await reads((0, 600, 400), "the figures with an open lease")
    if isinstance(lease, SharedLease):
        lease.sent()
        lease.sent()
        lease.on_revoked(lambda _: None)
    lease.settle(Usage(100, 50))
    await reads((150, 0, 850), "the figures after a settlement")
    (await _reserve(ledger, 850)).settle(Usage(850))
    await reads((1_000, 0, 0), "the figures of a spent ledger")
    if isinstance(ledger, SharedLedger):
        assert ledger.state.exhausted, "a ledger with nothing left must be exhausted"
