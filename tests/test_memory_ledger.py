"""`MemoryLedger` and `check_ledger`: processes that die under virtual time, and ledgers that are wrong."""

from decimal import Decimal
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from fakes import STALL, FakeAdapter, Text

import lutum
from lutum import Budget, BudgetExceeded, Estimate, LedgerError, Limit, Usage
from lutum.abc import TurnIdentity
from lutum.testing import MemoryLedger, ScriptedAdapter, check_ledger, virtual_time

ME = TurnIdentity(model="m")
VIRTUAL = [
    pytest.param((name, virtual_time(name)), id=name)
    for name in ("asyncio", "trio")  # as each test of this module
]


@pytest.mark.parametrize("anyio_backend", VIRTUAL)
async def test_a_killed_process_is_charged_for_what_it_has_sent() -> None:
    one = MemoryLedger(Limit("run", tokens=1_000))
    two = one.process()
    sent, unsent = await one.reserve(Estimate(300), ME), await one.reserve(Estimate(200), ME)
    sent.sent()
    one.kill_process()
    assert (two.state.spent.total_tokens, two.state.reserved.total_tokens) == (300, 0)
    assert two.state.spent.known == "estimated"
    assert not sent.grow(Estimate(310))
    with pytest.raises(LedgerError, match="nothing was sent"):
        unsent.sent()
    sent.settle(Usage(50))  # it was only away
    unsent.settle(Usage())
    assert two.state.spent.total_tokens == 50
    with pytest.raises(LedgerError, match="killed"):
        await one.reserve(Estimate(1), ME)


@pytest.mark.parametrize("anyio_backend", VIRTUAL)
async def test_waiters_of_a_killed_process_end_and_others_are_served() -> None:
    one = MemoryLedger(Limit("run", tokens=100), on_exhausted="wait")
    two = one.process()
    held = await one.reserve(Estimate(100), ME)
    ended = list[str]()

    async def wait(ledger: MemoryLedger, name: str) -> None:
        try:
            (await ledger.reserve(Estimate(60), ME)).settle(Usage(1))
            ended.append(f"{name} granted")
        except LedgerError:
            ended.append(f"{name} killed")

    async with anyio.create_task_group() as group:
        group.start_soon(wait, one, "one")
        await anyio.wait_all_tasks_blocked()
        group.start_soon(wait, two, "two")
        await anyio.wait_all_tasks_blocked()
        assert not held._was_sent
        one.kill_process()
    assert sorted(ended) == ["one killed", "two granted"]  # trio wakes both in either order


@pytest.mark.parametrize("anyio_backend", VIRTUAL)
async def test_a_stop_ends_turns_and_waiters_under_virtual_time() -> None:
    ledger = MemoryLedger(Limit("run", tokens=1_000), on_exhausted="wait")
    team = ledger.scope(Limit("team/a", tokens=100))
    llm = lutum.Lutum(FakeAdapter([Text("a"), STALL]), budget=ledger).charged_to(team)
    ended = list[str | None]()

    async def turn() -> None:
        try:
            await llm.text_turn("q").reserve(Estimate(30, 30)).collect()
        except BudgetExceeded as error:
            ended.append(error.scope)

    async with anyio.create_task_group() as group:
        for _ in range(2):  # one runs, one waits
            group.start_soon(turn)
        await anyio.sleep(5)
        await team.stop("enough")
    assert ended == ["team/a", "team/a"]
    assert team.state.stopped == "enough"
    assert team.state.reserved.total_tokens == 0
    await team.resume()
    (await team.reserve(Estimate(10), ME)).settle(Usage(1))


@pytest.mark.parametrize("anyio_backend", VIRTUAL)
async def test_periods_follow_the_clock_that_is_given() -> None:
    now = 1_000_000.0
    ledger = MemoryLedger(Limit("day", cost_usd=1, per="day", timezone="Europe/Oslo"), clock=lambda: now)
    (await ledger.reserve(Estimate(1, cost_usd=Decimal("0.8")), ME)).settle(Usage(1, cost_usd=Decimal("0.8")))
    with pytest.raises(BudgetExceeded) as raised:
        await ledger.reserve(Estimate(1, cost_usd=Decimal("0.3")), ME)
    assert raised.value.resets_at is not None
    now = raised.value.resets_at.timestamp()
    (await ledger.reserve(Estimate(1, cost_usd=Decimal("0.3")), ME)).settle(Usage(1))
    assert ledger.state.remaining.cost_usd == 1


@pytest.mark.parametrize("anyio_backend", VIRTUAL)
async def test_a_waiter_for_its_own_limit_holds_up_nobody_else() -> None:
    ledger = MemoryLedger(Limit("run", tokens=1_000), on_exhausted="wait")
    mine, yours = ledger.scope(Limit("user/1", tokens=100)), ledger.scope(Limit("user/2", tokens=100))
    held = await mine.reserve(Estimate(100), ME)
    served = list[str]()

    async def wait(name: str, scope: Any) -> None:
        (await scope.reserve(Estimate(50), ME)).settle(Usage(1))
        served.append(name)

    async with anyio.create_task_group() as group:
        group.start_soon(wait, "mine", mine)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(wait, "yours", yours)
        await anyio.wait_all_tasks_blocked()
        assert served == ["yours"]
        held.settle(Usage(1))
    assert served == ["yours", "mine"]


async def test_turns_run_on_a_memory_ledger() -> None:
    ledger = MemoryLedger(Limit("run", tokens=1_000))
    llm = lutum.Lutum(ScriptedAdapter([["Water."]] * 2), budget=ledger)
    for _ in range(2):
        await llm.text_turn("q").max_output_tokens(50).collect()
    assert ledger.state.spent == llm.budget.spent
    assert llm.budget.remaining.total_tokens == 1_000 - ledger.state.spent.total_tokens


def test_memory_ledgers_that_cannot_be() -> None:
    with pytest.raises(lutum.BadValue, match="same name"):
        MemoryLedger(Limit("a"), Limit("a"))
    with pytest.raises(lutum.BadValue, match="neither"):
        MemoryLedger(on_exhausted="stop")  # type: ignore[arg-type]
    with pytest.raises(lutum.BadValue, match="are missing"):
        MemoryLedger().scope()


async def test_budget_keeps_the_laws_of_ledgers() -> None:
    await check_ledger(lambda tokens: Budget(tokens=tokens))


async def test_memory_ledger_keeps_the_laws_of_ledgers() -> None:
    await check_ledger(lambda tokens: MemoryLedger(Limit("run", tokens=tokens)))
    await check_ledger(lambda tokens: MemoryLedger().scope(Limit("run", tokens=tokens)))


class WrongLease:
    """A lease of a plain ledger, with the faults that its ledger has."""

    def __init__(self, ledger: "Wrong", held: int) -> None:
        self.ledger, self.held, self.settled = ledger, held, False

    def grow(self, usage: Usage | Estimate) -> bool:
        more = usage.total_tokens - self.held
        if self.settled:
            return False
        if more <= 0:
            return True
        if more > self.ledger.left:
            return False
        if self.ledger.fault != "growth is free":
            self.ledger.left -= more
            self.held += more
        return True

    def settle(self, usage: Usage) -> None:
        if self.settled and self.ledger.fault != "settles twice":
            return
        self.settled = True
        used = usage.total_tokens
        if self.ledger.fault == "caps bills":
            used = min(used, self.held)
        self.ledger.left += self.held - used


class Wrong:
    """A ledger with one fault; without one, it is right."""

    def __init__(self, tokens: int, fault: str) -> None:
        self.left, self.fault = tokens, fault

    async def reserve(self, estimate: Estimate) -> WrongLease:
        tokens = estimate.total_tokens
        if tokens > self.left:
            if self.fault == "refusals take":
                self.left -= tokens
            raise BudgetExceeded("it does not fit")
        if self.fault == "awaits between look and take":
            await anyio.lowlevel.checkpoint()
        self.left -= tokens
        if self.fault == "keeps what is cancelled":
            await anyio.lowlevel.checkpoint()
        else:
            try:
                await anyio.lowlevel.checkpoint()
            except BaseException:
                self.left += tokens
                raise
        return WrongLease(self, tokens)


@pytest.mark.parametrize(
    ("fault", "law"),
    [
        ("settles twice", "a second one does not"),
        ("caps bills", "a bill beyond the reservation must be recorded"),
        ("growth is free", "growth counts as reserved"),
        ("refusals take", "a refused reservation takes nothing"),
        ("awaits between look and take", "were granted at once"),
        ("keeps what is cancelled", "cancelled at suspension"),
    ],
)
@pytest.mark.parametrize("anyio_backend", VIRTUAL)
async def test_a_wrong_ledger_is_found(fault: str, law: str) -> None:
    with pytest.raises(AssertionError, match=law):
        await check_ledger(lambda tokens: Wrong(tokens, fault), patience=1)


async def test_a_right_plain_ledger_passes() -> None:
    await check_ledger(lambda tokens: Wrong(tokens, "none"), patience=1)


async def test_stale_figures_are_found() -> None:
    class Stale(MemoryLedger):  # type: ignore[misc]
        @property
        def state(self) -> Any:
            return lutum.abc.LedgerState(remaining=Usage(1_000))

    with pytest.raises(AssertionError, match="the figures with an open lease"):
        await check_ledger(lambda tokens: Stale(Limit("run", tokens=tokens)), patience=0.1)
