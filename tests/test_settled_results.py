"""Results hold the settled figures, and a completed turn is never taken away. Time is virtual."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from fakes import STARTED, VIRTUAL, FakeAdapter, Text, done
from pydantic import BaseModel

import lutum
from lutum import Budget, Estimate, Usage

pytestmark = VIRTUAL

BILL = Usage(777, 55, known="recovered")
PART = Usage(10, 1, known="lower_bound")


class Bills:
    async def recover_usage(self, response: lutum.Response) -> Usage | None:
        await anyio.sleep(0.5)
        return Usage(777, 55)


class Answer(BaseModel):
    a: int


@lutum.tool
async def look(place: str) -> str:
    """Look at a place."""
    return place


def figures(result: Any) -> set[Usage]:
    return {result.usage, result.cumulative_usage, result.attempts[-1].usage}


def completed(*items: Any, reason: str = "stop") -> lutum.Completed:
    return lutum.Completed(reason, PART, lutum.CommittedTurn("fake", "fake", "fake-1", b"{}", items))


async def test_a_text_turn() -> None:
    """Inside the block the result has what was known; after it, what was settled. It can be committed."""
    llm = lutum.Lutum(FakeAdapter([STARTED, Text("hi"), done(PART)]), recovery=Bills())
    session = lutum.Session(llm)
    session.push_user("hello")
    async with session.text_turn().stream() as turn:
        async for event in turn:
            if isinstance(event, lutum.Completed):
                early = turn.result
    result = turn.result
    assert early.usage.known == "lower_bound"
    assert figures(result) == {BILL} == {turn.usage}
    assert llm.budget.spent == BILL
    assert result is turn.result
    assert result.turn is early.turn
    assert result.base is early.base
    session.commit_text(result)
    assert len(session.transcript) == 2


async def test_a_structured_turn_and_a_completion() -> None:
    """Their values stay the same objects."""
    play = [STARTED, lutum.StructuredDelta('{"a":1}'), completed(lutum.TextItem('{"a":1}'))]
    llm = lutum.Lutum(FakeAdapter(play), recovery=Bills())
    async with llm.structured_turn(Answer, "hello").stream() as turn:
        async for event in turn:
            if isinstance(event, lutum.Completed):
                early = turn.result
    assert figures(turn.result) == {BILL}
    assert turn.result.value is early.value
    llm = lutum.Lutum(FakeAdapter([STARTED, done(PART)]), recovery=Bills())
    assert figures(await llm.text_turn("hello").collect()) == {BILL}


async def test_a_round() -> None:
    """The round that `collect` returns has the settled figures and the same calls."""
    call = lutum.ToolCallItem("c1", "look", '{"place":"x"}')
    play = [STARTED, lutum.ToolCallReady("c1", "look", '{"place":"x"}'), completed(call, reason="tool_calls")]
    llm = lutum.Lutum(FakeAdapter(play), recovery=Bills())
    session = lutum.Session(llm)
    session.push_user("hello")
    tools = lutum.Toolset(look)
    async with session.text_turn().tools(tools).stream() as turn:
        async for event in turn:
            if isinstance(event, lutum.Completed):
                early = turn.result
    outcome = turn.result
    assert isinstance(outcome, lutum.NeedsTools)
    assert isinstance(early, lutum.NeedsTools)
    assert figures(outcome.round.result) == {BILL}
    assert outcome.round.calls[0] is early.round.calls[0]
    session.commit_round(outcome.round, await outcome.round.run())
    assert len(session.transcript) == 3
    finished = (
        await lutum.Lutum(FakeAdapter([STARTED, done(PART)]), recovery=Bills())
        .text_turn("x")
        .tools(tools)
        .collect()
    )
    assert isinstance(finished, lutum.Finished)
    assert figures(finished.result) == {BILL}


async def test_the_error_of_a_completed_turn() -> None:
    """A value that does not decode is billed too, and its error has the settled figure."""
    play = [STARTED, lutum.StructuredDelta("{}"), completed(lutum.TextItem("{}"))]
    llm = lutum.Lutum(FakeAdapter(play), recovery=Bills())
    with pytest.raises(lutum.OutputInvalid) as info:
        await llm.structured_turn(Answer, "hello").collect()
    assert info.value.usage == BILL == llm.budget.spent


MANY = [STARTED, [*(lutum.TextDelta("w ") for _ in range(40)), done(PART)]]


@pytest.mark.parametrize("mode", ["raise", "stop", "drain"])
async def test_a_completed_turn_is_not_taken_away(mode: Any) -> None:
    """Its last piece goes past what can be reserved: the answer counts, and the overdraft is recorded."""
    budget = Budget(tokens=30)
    llm = lutum.Lutum(FakeAdapter(MANY), budget=budget)
    turn = llm.text_turn("hello").reserve(Estimate(15, 10))
    async with turn.stream() as stream:
        seen = [type(event).__name__ async for event in stream]
    assert seen[-1] == "Completed"
    assert stream.result.text == "hi"
    assert budget.statistics().overdraft_tokens == budget.spent.total_tokens - 30 > 0
    with pytest.raises(lutum.BudgetExceeded):  # and nothing starts on it any more
        await turn.collect()
    llm = lutum.Lutum(FakeAdapter(MANY))
    async with llm.within(tokens=30, on_spent=mode) as scoped:
        result = await scoped.text_turn("hello").reserve(Estimate(15, 10)).collect()
    assert result.text == "hi"
    assert not scoped.budget.exhausted


async def test_a_turn_that_is_not_complete_is_ended() -> None:
    """The same piece without the end: the lease could not grow."""
    llm = lutum.Lutum(FakeAdapter([STARTED, MANY[1][:-1], done(PART)]), budget=Budget(tokens=30))
    with pytest.raises(lutum.BudgetExceeded):
        await llm.text_turn("hello").reserve(Estimate(15, 10)).collect()
