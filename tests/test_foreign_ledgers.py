"""Foreign ledgers that are slow, hang or fail: what a turn does, and what it costs. Time is virtual."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from fakes import STALLED, VIRTUAL, WHOLE, FakeAdapter

import lutum
from lutum import Budget, Estimate, Usage

pytestmark = VIRTUAL


class Lease:
    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def grow(self, usage: Usage | Estimate) -> bool:
        return True

    def settle(self, usage: Usage) -> None:
        self.ledger.settled.append(usage)
        if self.ledger.fails is not None:
            raise self.ledger.fails


class Ledger:
    """Takes `seconds` to grant, and may fail to settle."""

    def __init__(self, seconds: float = 0, fails: Exception | None = None, deaf: bool = False) -> None:
        self.seconds = seconds
        self.fails = fails
        self.deaf = deaf
        self.asked = 0
        self.settled = list[Usage]()

    async def reserve(self, estimate: Estimate) -> Lease:
        self.asked += 1
        with anyio.CancelScope(shield=self.deaf):
            await anyio.sleep(self.seconds)
        return Lease(self)


@pytest.mark.parametrize("deaf", [False, True])
@pytest.mark.parametrize("native", [False, True])
async def test_a_turn_that_waits_in_a_foreign_ledger_when_its_block_ends(deaf: bool, native: bool) -> None:
    """It is ended there. What a ledger grants after that is given back, and nothing is sent."""
    adapter, ledger = FakeAdapter(WHOLE), Ledger(3, deaf=deaf)
    llm = lutum.Lutum(adapter, budget=ledger)
    ends = list[str]()

    async def outside(scoped: lutum.Lutum) -> None:
        try:
            await scoped.text_turn("hello").collect()
        except lutum.BudgetExceeded as error:
            ends.append(str(error))

    start = anyio.current_time()
    async with anyio.create_task_group() as group:
        async with llm.within(tokens=1000) as scoped:
            group.start_soon(outside, scoped)
            await anyio.sleep(1)
        assert anyio.current_time() - start == pytest.approx(3 if deaf else 1)
        assert scoped.budget.reserved.total_tokens == 0
    assert ends == ["the block of its budget has ended"]
    assert adapter.exchanges == []
    assert ledger.settled == ([Usage()] if deaf else [])
    assert llm.budget.reserved.total_tokens == 0


@pytest.mark.parametrize("where", ["foreign", "local", "both"])
async def test_reserve_bounds_the_whole_wait(where: str) -> None:
    """On local and foreign ledgers together; nothing is sent or charged, and nothing is held."""
    ledger: Any = Ledger(100)
    if where != "foreign":
        ledger = Budget(tokens=120, on_exhausted="wait")
        held = await ledger.reserve(Estimate(20))
        if where == "both":  # a rate, which lets it pass after a minute
            ledger = Budget(on_exhausted="wait", requests_per_minute=1)
            held = await ledger.reserve(Estimate())
    adapter = FakeAdapter(WHOLE)
    llm = lutum.Lutum(adapter, budget=ledger, timeout=lutum.Timeouts(reserve=20, total=5))
    start = anyio.current_time()
    with pytest.raises(lutum.TurnTimeout, match=r"(?m)^reserve timeout: 20 s passed$") as info:
        await llm.text_turn("hello").collect()
    assert info.value.reason == "reserve"
    assert anyio.current_time() - start == pytest.approx(20)
    assert adapter.exchanges == []
    if where != "foreign":
        held.settle(Usage())
        assert llm.budget.statistics().open_leases == 0
    assert llm.budget.spent == Usage()
    with anyio.move_on_after(30) as scope:  # None is no bound, and the turn's own figure wins
        await lutum.Lutum(adapter, budget=Ledger(1000)).text_turn("hello").collect()
    assert scope.cancelled_caught
    with pytest.raises(lutum.TurnTimeout, match=r"(?m)^reserve timeout: 7 s passed$"):
        await lutum.Lutum(adapter, budget=Ledger(1000)).text_turn("hello").timeout(reserve=7).collect()


async def test_a_grant_at_the_instant_of_the_bound() -> None:
    """The grant comes first, on both backends."""
    llm = lutum.Lutum(FakeAdapter(WHOLE), budget=Ledger(20), timeout=lutum.Timeouts(reserve=20))
    assert (await llm.text_turn("hello").collect()).text == "hi"


async def test_a_failed_settlement_after_a_turn_that_was_left() -> None:
    """The next reservation raises it, although the turn had no result to note it on."""
    ledger = Ledger(fails=OSError("down"))
    llm = lutum.Lutum(FakeAdapter(STALLED), budget=ledger)
    async with llm.text_turn("hello").stream() as turn:
        await anext(turn)
    assert turn.usage.total_tokens > 0
    with pytest.raises(OSError, match="down"):
        async with llm.text_turn("hello").stream():
            raise AssertionError
    ledger.fails = None
    async with llm.text_turn("hello").stream() as turn:
        await anext(turn)
    assert ledger.asked == 2
    assert llm.budget.reserved.total_tokens == 0
