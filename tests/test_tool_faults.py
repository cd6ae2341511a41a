"""What tools do that they should not, and who cancels what: a round stays whole, or nothing happened."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from fakes import BILLED, STARTED, VIRTUAL, FakeAdapter, Text as Piece, Wait, done
from hypothesis import given, strategies as st

import lutum
from lutum import (
    Lutum,
    NeedsTools,
    Session,
    ToolCall,
    ToolCallReady,
    ToolRound,
    Toolset,
    UsageError,
    trace,
)
from lutum.testing import Script, ScriptedAdapter, cancel_at, strategies


async def round_of(
    tools: Toolset[Any], *calls: tuple[str, str], budget: lutum.Budget | None = None
) -> tuple[Session, ToolRound[Any]]:
    ready = [ToolCallReady(str(i), *call) for i, call in enumerate(calls)]
    scripts = [Script(tuple(ready), finish_reason="tool_calls"), ["done"]]
    session = Session(Lutum(ScriptedAdapter(scripts), budget=budget))
    session.push_user("u")
    outcome = await session.text_turn().tools(tools).collect()
    assert isinstance(outcome, NeedsTools)
    return session, outcome.round


@lutum.tool
async def fine() -> str:
    await anyio.sleep(1)
    return "fine"


FINE = ("fine", "{}")


class Unspeakable(lutum.ToolError):
    def __str__(self) -> str:
        raise RuntimeError("no words")


async def nursery() -> None:
    async def fail() -> None:
        raise lutum.ToolError("take another")

    async with anyio.create_task_group() as group:
        group.start_soon(fail)


async def stale() -> None:
    session = Session(Lutum(ScriptedAdapter([["a"]])))
    session.push_user("u")
    result = await session.text_turn().collect()
    session.push_user("more")
    session.commit_text(result)


async def empty() -> None:
    raise lutum.ToolError("")


async def torn() -> None:
    raise lutum.ToolError("half \ud83d of it")


async def unspeakable() -> None:
    raise Unspeakable


async def cancelled_task() -> None:
    if anyio.get_cancelled_exc_class() is asyncio.CancelledError:
        other = asyncio.ensure_future(asyncio.sleep(100))
        asyncio.get_running_loop().call_soon(other.cancel)
        await other
    raise RuntimeError


FAULTS = {
    nursery: "take another",
    stale: "failed: StaleCommit",
    empty: "failed: ToolError",
    torn: "half � of it",
    unspeakable: "failed: Unspeakable",
    cancelled_task: "failed: RuntimeError",
}


@VIRTUAL
@pytest.mark.parametrize("fault", FAULTS, ids=[fault.__name__ for fault in FAULTS])
async def test_whatever_a_tool_raises_its_sibling_is_answered(fault: Any) -> None:
    """A group, a UsageError of its own, no words, a cancellation of nobody's: a result, and committed."""
    session, round = await round_of(Toolset(fine, lutum.tool(fault)), FINE, (fault.__name__, "{}"))
    async with trace.capture() as seen:
        results = await round.run()
    assert [(one.text, one.is_error) for one in results] == [("fine", False), (FAULTS[fault], True)]
    assert results[1].exception is not None
    session.commit_round(round, results)
    strategies.check_rounds(session.transcript)
    assert lutum.Transcript.load(session.transcript.dump()) == session.transcript
    assert len(seen.find("tool")) == 2


@VIRTUAL
async def test_words_for_the_model_are_a_result_from_a_nursery_too() -> None:
    """`on_error="raise"` raises what is no ToolError, whatever nursery it came through."""
    _, round = await round_of(Toolset(lutum.tool(nursery)), ("nursery", "{}"))
    assert [one.text for one in await round.run(on_error="raise")] == ["take another"]
    _, round = await round_of(Toolset(lutum.tool(stale)), ("stale", "{}"))
    with pytest.raises(lutum.StaleCommit):
        await round.run(on_error="raise")


@VIRTUAL
async def test_text_between_parts_is_a_part() -> None:
    """A list with a part in it is a list of parts; with anything else in it, it is an error that names it."""
    outputs: list[Any] = [["see:", lutum.Text(" this")], [lutum.Text("a"), 3]]

    @lutum.tool
    def give(i: int) -> Any:
        return outputs[i]

    _, round = await round_of(Toolset(give), ("give", '{"i":0}'), ("give", '{"i":1}'))
    good, bad = await round.run()
    assert good.content == (lutum.Text("see:"), lutum.Text(" this"))
    assert str(bad.exception) == "output of 'give'[1]: needs lutum.Text, Image, Document or Raw, not an int"


@VIRTUAL
async def test_a_call_that_is_cancelled_before_it_starts_does_not_start() -> None:
    """Not even a tool that never awaits; its result says so."""
    ran = list[int]()

    @lutum.tool
    def act() -> None:
        ran.append(1)

    _, round = await round_of(Toolset(act, fine), ("act", "{}"), FINE)
    round.calls[0].cancel_scope.cancel()
    assert [one.text for one in await round.run()] == ["cancelled", "fine"]
    assert ran == []


@VIRTUAL
async def test_a_tool_may_cancel_its_own_scope() -> None:
    """That ends this call alone."""

    @lutum.tool
    async def quit() -> None:
        round.calls[0].cancel_scope.cancel()
        await anyio.sleep(1)

    _, round = await round_of(Toolset(quit, fine), ("quit", "{}"), FINE)
    assert [one.text for one in await round.run()] == ["cancelled", "fine"]


@VIRTUAL
async def test_a_timeout_bounds_a_call_that_runs_already() -> None:
    """From its own start: a tool that was started in the stream does not hang the round."""

    @lutum.tool
    async def hang() -> None:
        await anyio.sleep_forever()

    _, round = await round_of(Toolset(hang, fine), ("hang", "{}"), FINE)
    async with anyio.create_task_group() as group:
        group.start_soon(round.calls[0].run)
        await anyio.sleep(2)
        began = anyio.current_time()
        results = await round.run(timeout=3)
        assert anyio.current_time() - began == pytest.approx(1)
    assert [one.text for one in results] == ["timed out after 3 s", "fine"]


@VIRTUAL
async def test_a_tool_may_run_a_turn_on_a_nested_budget() -> None:
    """Cancelled in it, the inner turn is settled with the outer ledger; not cancelled, it is spent there."""

    @lutum.tool
    async def ask() -> str:
        adapter = FakeAdapter((STARTED, Piece("a"), Wait(1), Piece("b"), Wait(1), done()))
        async with Lutum(adapter, budget=budget).within(tokens=5_000) as inner:
            return (await inner.text_turn("u").max_output_tokens(50).collect()).text

    for timeout, words in ((None, "hi"), (1.5, "timed out after 1.5 s")):
        budget = lutum.Budget(tokens=10_000)
        _, round = await round_of(Toolset(ask), ("ask", "{}"))
        [result] = await round.run(timeout=timeout)
        assert result.text == words
        assert budget.reserved.total_tokens == 0
        assert budget.spent.total_tokens > 0


async def steps(log: list[str]) -> str:
    for i in range(4):
        await checkpoint()
        log.append(str(i))
    return "all"


async def test_cancelled_at_every_await_a_call_has_an_answer_or_none() -> None:
    """It is never left as running: it can be run again, and then it is whole."""
    log = list[str]()
    tool = lutum.tool(name="steps")(lambda: steps(log))
    for k in range(1, 30):
        log.clear()
        _, round = await round_of(Toolset(tool), ("steps", "{}"))
        [call] = round.calls
        requested, result = await cancel_at(call.run(timeout=60), k)
        assert call.answer is result
        assert (await call.run()).text == "all"
        if not requested:
            break
    else:
        pytest.fail("never ended")
    assert k > 4


@pytest.mark.parametrize("threaded", [False, True])
async def test_cancelled_at_every_step_of_any_tool_a_round_is_whole_or_nothing(threaded: bool) -> None:
    """From outside, while one of three runs, waits in a thread, or is done: the transcript is the identical
    object, and running again answers what was not."""
    for at in range(1, 14):
        done = 0

        def count(at: int = at) -> None:
            nonlocal done
            done += 1
            if done == at:
                scope.cancel()

        async def act() -> str:
            for _ in range(3):
                await checkpoint()
                count()
            return "done"

        def act_in_thread() -> str:
            anyio.from_thread.run_sync(count)
            return "done"

        tool: Any = lutum.tool(name="act", thread=threaded)(act_in_thread if threaded else act)
        session, round = await round_of(Toolset(tool), *[("act", "{}")] * 3)
        before = session.transcript
        with anyio.CancelScope() as scope:
            session.commit_round(round, await round.run(limit=2))
        if len(session.transcript) == 1:
            assert session.transcript is before
            session.commit_round(round, await round.run())
        strategies.check_rounds(session.transcript)
        assert [one.text for one in session.transcript if isinstance(one, lutum.ToolResult)] == ["done"] * 3


async def test_a_hook_that_answers_and_edits_leaves_a_plan_that_is_committed_whole() -> None:
    """Answers of hooks, edited inputs, an issue and a failure in one round: paired, in call order."""

    @lutum.tool
    async def add(n: int) -> int:
        if n < 0:
            raise ValueError
        return n + 1

    async def hook(call: ToolCall[Any]) -> Any:
        return call.complete("known") if call.input.n == 0 else call.with_input(add.Input(n=-call.input.n))

    calls = [("add", f'{{"n":{n}}}') for n in (0, 1, -1)]
    session, round = await round_of(Toolset(add), *calls, ("lost", "{}"))
    plan = await round.apply_hooks(hook)
    session.commit_round(plan, await plan.run())
    strategies.check_rounds(session.transcript)
    texts = [one.text for one in session.transcript if isinstance(one, lutum.ToolResult)]
    assert texts == ["known", "failed: ValueError", "2", "there is no tool 'lost'"]
    with pytest.raises(UsageError):
        session.commit_round(plan, [])


@VIRTUAL
@given(st.lists(st.none() | st.floats(0.1, 4), min_size=2, max_size=5), st.floats(0.5, 5))
async def test_any_runners_of_one_call_agree(timeouts: list[float | None], seconds: float) -> None:
    """However many tasks run it, with whatever timeouts: it runs once, and all get the same result."""
    ran = 0

    @lutum.tool
    async def act() -> str:
        nonlocal ran
        ran += 1
        await anyio.sleep(seconds)
        return "ran"

    _, round = await round_of(Toolset(act), ("act", "{}"))
    results = await anyio.amap(lambda timeout: round.calls[0].run(timeout=timeout), timeouts)
    assert ran == 1
    assert {id(one) for one in results} == {id(round.calls[0].answer)}
    limit = min((timeout for timeout in timeouts if timeout is not None), default=9.0)
    if limit != pytest.approx(seconds):
        assert (results[0].text == "ran") == (seconds < limit)


@VIRTUAL
@pytest.mark.parametrize("how", ["timeout", "cancel_scope", "outside", "by itself"])
async def test_a_group_of_a_tool_is_its_result(how: str) -> None:
    """A nursery in a tool whose child fails, also while it is cancelled, on both backends."""

    async def fails_when_cancelled() -> None:
        try:
            await anyio.sleep(3 if how == "by itself" else 100)
        finally:
            raise ValueError("of the child")

    @lutum.tool
    async def work(x: int) -> str:
        """Work."""
        async with anyio.create_task_group() as group:
            group.start_soon(fails_when_cancelled)
            group.start_soon(anyio.sleep, 100)
        return "done"

    answer = await lutum.Lutum(calling("work")).text_turn("go").tools(lutum.Toolset(work)).collect()
    assert isinstance(answer, lutum.NeedsTools)
    [call] = answer.round.calls
    with anyio.CancelScope() as outer:
        async with anyio.create_task_group() as group:
            if how == "cancel_scope":
                group.start_soon(cancel_after, call.cancel_scope, 1)
            elif how == "outside":
                group.start_soon(cancel_after, outer, 1)
            results = await answer.round.run(timeout=1 if how == "timeout" else None)
            assert [result.is_error for result in results] == [True]
    result = call.answer
    assert result is not None
    assert result.text == "failed: ValueError"
    assert isinstance(result.exception, ExceptionGroup)
    assert outer.cancelled_caught == (how == "outside")


async def cancel_after(scope: anyio.CancelScope, seconds: float) -> None:
    await anyio.sleep(seconds)
    scope.cancel()


def calling(name: str) -> FakeAdapter:
    """An answer that calls one tool."""
    item = lutum.ToolCallItem("c1", name, '{"x":1}')
    turn = lutum.CommittedTurn("fake", "fake", "fake-1", b"{}", (item,))
    ready = lutum.ToolCallReady("c1", name, '{"x":1}')
    return FakeAdapter([STARTED, ready, lutum.Completed("tool_calls", BILLED, turn)])
