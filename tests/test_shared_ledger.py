"""The contract of a shared ledger, and what `Budget` and the turns do with one."""

import pickle
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from fakes import STALL, FakeAdapter, Text

import lutum
from lutum import Budget, BudgetExceeded, Estimate, Limit, Usage
from lutum._budget.limit import Period, period_around
from lutum.abc import LedgerState, SharedLease, SharedLedger, TurnIdentity
from lutum.testing import ScriptedAdapter


class OneLease(SharedLease):
    def __init__(self, ledger: "Shared", held: int) -> None:
        self.ledger, self.held = ledger, held
        self.calls: list[str] = []
        self.stop: Any = None

    def grow(self, usage: Usage | Estimate) -> bool:
        more = usage.total_tokens - self.held
        if more > self.ledger.left:
            return False
        self.ledger.left -= max(0, more)
        self.held += max(0, more)
        return True

    def settle(self, usage: Usage) -> None:
        self.calls.append(f"settled {usage.total_tokens}")
        self.ledger.spent += usage
        self.ledger.left += self.held - usage.total_tokens

    def sent(self) -> None:
        self.calls.append("sent")

    def on_revoked(self, stop: Any) -> None:
        self.stop = stop


class Shared(SharedLedger):
    """A shared ledger in memory, of tokens only."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.spent = Usage()
        self.turns: list[TurnIdentity] = []
        self.leases: list[OneLease] = []
        self.dollars: Decimal | None = None

    async def reserve(self, estimate: Estimate, turn: TurnIdentity) -> OneLease:
        if self.left < estimate.total_tokens:
            raise BudgetExceeded("it does not fit", scope="team/a")
        self.left -= estimate.total_tokens
        self.turns.append(turn)
        self.leases.append(OneLease(self, estimate.total_tokens))
        return self.leases[-1]

    @property
    def state(self) -> LedgerState:
        left = Usage(self.left, cost_usd=self.dollars)
        return LedgerState(spent=self.spent, remaining=left, exhausted=self.left <= 0, as_of=12.5)


def endless() -> FakeAdapter:
    return FakeAdapter([*(Text("word ") for _ in range(400)), STALL])


async def test_the_figures_of_a_budget_are_those_of_its_shared_ledger() -> None:
    ledger = Shared(1_000)
    llm = lutum.Lutum(ScriptedAdapter([["Water."]]), budget=ledger)
    assert (llm.budget.remaining.total_tokens, llm.budget.exhausted) == (1_000, False)
    ledger.left = 600  # another process has spent
    assert llm.budget.remaining.total_tokens == llm.budget.available.tokens == 600
    assert llm.budget.available.as_of == 12.5
    await llm.text_turn("q").max_output_tokens(50).collect()
    assert llm.budget.spent == ledger.spent
    ledger.left = 0
    assert llm.budget.exhausted


async def test_available_is_the_smallest_remainder_of_the_chain() -> None:
    llm = lutum.Lutum(ScriptedAdapter([]), budget=Shared(1_000))
    async with llm.within(tokens=5_000) as outer, outer.within(tokens=700, cost_usd=3) as inner:
        assert (outer.budget.remaining.total_tokens, outer.budget.available.total_tokens) == (5_000, 1_000)
        assert (inner.budget.available.tokens, inner.budget.available.cost_usd) == (700, 3)
    local = lutum.Lutum(ScriptedAdapter([]), budget=Budget(tokens=1_000))
    async with local.within(tokens=5_000) as scoped:
        assert (scoped.budget.available.tokens, scoped.budget.available.as_of) == (1_000, None)


async def test_a_ledger_learns_the_turn_and_when_it_was_sent() -> None:
    ledger = Shared(1_000)
    llm = lutum.Lutum(ScriptedAdapter([["a"], ["b"]]), budget=ledger)
    for _ in range(2):
        await llm.labelled("search").text_turn("q").label(7).max_output_tokens(50).collect()
    first, second = ledger.turns
    assert (first.model, first.label) == ("scripted-1", "search/7")
    assert first.turn
    assert first.turn != second.turn
    assert [call.split()[0] for call in ledger.leases[0].calls] == ["sent", "settled"]


async def test_a_turn_that_cannot_grow_says_that_the_slack_is_used_up() -> None:
    ledger = Shared(100)
    llm = lutum.Lutum(endless(), budget=ledger)
    with pytest.raises(BudgetExceeded, match="slack of this process is used up"):
        await llm.text_turn("Go on.").reserve(Estimate(20, 10)).collect()
    assert llm.budget.exhausted  # as with a ledger of its own
    assert llm.budget.remaining.total_tokens <= 100


async def test_a_turn_is_ended_by_its_shared_ledger() -> None:
    ledger = Shared(10_000)
    llm = lutum.Lutum(endless(), budget=ledger)
    with pytest.raises(BudgetExceeded, match="by an operator"):
        async with llm.text_turn("Go on.").reserve(Estimate(20, 1_000)).stream() as turn:
            async for _ in turn:
                ledger.leases[0].stop(BudgetExceeded("stopped by an operator", scope="team/a"))
    assert ledger.leases[0].calls[-1].startswith("settled")
    assert turn.partial.text


async def test_a_lease_that_is_revoked_before_its_turn_begins_ends_it() -> None:
    class Hasty(Shared):
        async def reserve(self, estimate: Estimate, turn: TurnIdentity) -> OneLease:
            lease = await super().reserve(estimate, turn)
            lease.on_revoked = lambda stop: stop(BudgetExceeded("stopped"))  # type: ignore[method-assign]
            return lease

    llm = lutum.Lutum(endless(), budget=Hasty(10_000))
    with pytest.raises(BudgetExceeded, match="stopped"):
        await llm.text_turn("q").reserve(Estimate(20, 1_000)).collect()


async def test_charged_to_replaces_the_root_ledger() -> None:
    team, user = Shared(1_000), Shared(500)
    llm = lutum.Lutum(ScriptedAdapter([["a"], ["b"]]), budget=team)
    await llm.charged_to(user).text_turn("q").max_output_tokens(50).collect()
    assert (len(team.turns), len(user.turns)) == (0, 1)
    async with llm.charged_to(user).within(tokens=400) as scoped:
        await scoped.text_turn("q").max_output_tokens(50).collect()
        with pytest.raises(lutum.UsageError, match="on the Lutum outside"):
            scoped.charged_to(team)
    assert (len(team.turns), len(user.turns)) == (0, 2)
    async with llm.within(tokens=400, guaranteed=True) as scoped:
        with pytest.raises(lutum.UsageError, match="charged_to"):
            scoped.charged_to(user)
    with pytest.raises(lutum.BadValue, match="ledger: 7 is not a ledger"):
        llm.charged_to(7)  # type: ignore[arg-type]
    with pytest.raises(lutum.BadValue, match="budget: 7 is not a ledger"):
        lutum.Lutum(ScriptedAdapter([]), budget=7)  # type: ignore[arg-type]


async def test_a_limit_in_dollars_of_a_shared_ledger_needs_a_price() -> None:
    ledger = Shared(1_000)
    llm = lutum.Lutum(ScriptedAdapter([["a"]]), budget=ledger)
    ledger.dollars = Decimal("0.5")
    with pytest.raises(lutum.UnpricedModel):
        await llm.text_turn("q").max_output_tokens(50).collect()
    assert ledger.turns == []


def test_budget_exceeded_survives_pickling() -> None:
    error = BudgetExceeded("no", scope="team/a", resets_at=datetime(2026, 3, 1, tzinfo=UTC))
    copied = pickle.loads(pickle.dumps(error))
    assert (str(copied), copied.scope, copied.resets_at) == ("no", "team/a", error.resets_at)
    assert BudgetExceeded("no").scope is None


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Limit(""), "not a name"),
        (lambda: Limit(7), "not a name"),  # type: ignore[arg-type]
        (lambda: Limit("team{a}"), "brace"),
        (lambda: Limit("team\na"), "cannot be printed"),
        (lambda: Limit("t" * 201), "201 bytes; at most 200 are allowed"),
        (lambda: Limit("*"), "whole ledger"),
        (lambda: Limit("a", tokens=0), "to end the turns under a limit, call stop"),
        (lambda: Limit("a", tokens=-1), "between 1"),
        (lambda: Limit("a", tokens=True), "not an integer"),
        (lambda: Limit("a", tokens=1.5), "not an integer"),  # type: ignore[arg-type]
        (lambda: Limit("a", cost_usd=0), "call stop"),
        (lambda: Limit("a", cost_usd="x"), "not an amount"),
        (lambda: Limit("a", tokens=1, per="year"), "minute, hour, day, week, month"),  # type: ignore[arg-type]
        (lambda: Limit("a", tokens=1, timezone="UTC"), "needs per="),
        (lambda: Limit("a", tokens=1, per="day", timezone="Europe/Atlantis"), "IANA name"),
        (lambda: Limit("a", tokens=1, per="day", timezone="../etc"), "IANA name"),
    ],
    ids=range(16),
)
def test_limits_that_cannot_be(make: Any, words: str) -> None:
    with pytest.raises(lutum.BadValue, match=words) as raised:
        make()
    assert raised.value.field.startswith("limit.")


@pytest.mark.parametrize(
    ("per", "timezone", "at", "start", "end"),
    [
        ("minute", "UTC", "03-29 12:34:56", "03-29 12:34:00", "03-29 12:35:00"),
        ("hour", "Asia/Kolkata", "03-29 12:34:56", "03-29 12:30:00", "03-29 13:30:00"),
        ("day", "Europe/Oslo", "03-29 12:00:00", "03-28 23:00:00", "03-29 22:00:00"),  # of 23 hours
        ("day", "Europe/Oslo", "10-25 12:00:00", "10-24 22:00:00", "10-25 23:00:00"),  # of 25 hours
        ("week", "UTC", "03-29 12:00:00", "03-23 00:00:00", "03-30 00:00:00"),
        ("month", "UTC", "02-28 23:59:59", "02-01 00:00:00", "03-01 00:00:00"),
        ("month", "America/New_York", "03-31 12:00:00", "03-01 05:00:00", "04-01 04:00:00"),
    ],
)
def test_periods_follow_the_wall_clock(per: Period, timezone: str, at: str, start: str, end: str) -> None:
    instant, *expected = (
        datetime.fromisoformat(f"2026-{text}+00:00").timestamp() for text in (at, start, end)
    )
    assert period_around(per, timezone, instant) == tuple(expected)
