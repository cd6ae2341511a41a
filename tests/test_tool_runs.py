"""Running a round: at once, within limits, each call on its own, and nothing committed unless it is whole."""

from __future__ import annotations

import threading
from typing import Annotated, Any, cast

import anyio
import msgspec
import pydantic
import pytest
from anyio.lowlevel import checkpoint
from fakes import VIRTUAL
from hypothesis import given, strategies as st

import lutum
from lutum import (
    BadValue,
    Lutum,
    NeedsTools,
    Session,
    ToolCallReady,
    ToolResult,
    ToolRound,
    Toolset,
    UsageError,
)
from lutum.testing import Script, ScriptedAdapter


async def round_of(tools: Toolset[Any], *calls: tuple[str, str]) -> tuple[Session, ToolRound[Any]]:
    """A round of calls, as (name, arguments); ids are "0", "1", ..."""
    ready = [ToolCallReady(str(i), *call) for i, call in enumerate(calls)]
    session = Session(Lutum(ScriptedAdapter([Script(tuple(ready), finish_reason="tool_calls"), ["done"]])))
    session.push_user("u")
    outcome = await session.text_turn().tools(tools).collect()
    assert isinstance(outcome, NeedsTools)
    return session, outcome.round


@lutum.tool
async def nap(seconds: float, then: str = "") -> str:
    """Sleep, then raise an exception of that name or say so."""
    await anyio.sleep(seconds)
    if then == "tool":
        raise lutum.ToolError("take another")
    if then:
        raise {"value": ValueError, "key": KeyError, "interrupt": KeyboardInterrupt}[then]("secret")
    return f"slept {seconds:g}"


def call(seconds: float, then: str = "") -> tuple[str, str]:
    return "nap", msgspec.json.encode({"seconds": seconds, "then": then}).decode()


@VIRTUAL
async def test_a_round_runs_at_once_and_answers_in_call_order() -> None:
    """Sixteen tools of a second take a second; the results stand in the order of the calls."""
    session, round = await round_of(Toolset(nap), *[call(1 - i / 100) for i in range(16)])
    began = anyio.current_time()
    results = await round.run()
    assert anyio.current_time() - began == pytest.approx(1)
    assert [result.call_id for result in results] == [str(i) for i in range(16)]
    assert results[1] == ToolResult("1", (lutum.Text("slept 0.99"),), False, *call(0.99))
    session.commit_round(round, results)
    assert len(session.transcript) == 2 + 16


@VIRTUAL
async def test_no_more_run_than_the_limit_and_waiting_for_a_slot_is_not_timed() -> None:
    """200 calls with limit=16: never more than 16, and `timeout` counts from each call's own start."""
    running = most = 0

    @lutum.tool
    async def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await anyio.sleep(1)
        running -= 1

    _, round = await round_of(Toolset(work), *[("work", "{}")] * 200)
    began = anyio.current_time()
    results = await round.run(limit=16, timeout=1.5)
    assert most == 16
    assert anyio.current_time() - began == pytest.approx(13)
    assert not any(result.is_error for result in results)


@VIRTUAL
async def test_a_failing_tool_loses_nobody() -> None:
    """Its exception becomes its result: the model is told the type, or a ToolError's message."""
    _, round = await round_of(
        Toolset(nap), call(1), call(0, "value"), call(0, "tool"), call(9), call(0, "key")
    )
    results = await round.run(timeout=2)
    assert [(result.text, result.is_error) for result in results] == [
        ("slept 1", False),
        ("failed: ValueError", True),
        ("take another", True),
        ("timed out after 2 s", True),
        ("failed: KeyError", True),
    ]
    kinds = [type(result.exception) for result in results]
    assert kinds == [type(None), ValueError, lutum.ToolError, TimeoutError, KeyError]


@VIRTUAL
async def test_on_error_raise_cancels_the_siblings_and_raises_it_plainly() -> None:
    """No group; what had been answered stays answered; a ToolError is a result here too."""
    session, round = await round_of(Toolset(nap), call(0, "tool"), call(1, "value"), call(9))
    before = session.transcript
    with pytest.raises(ValueError, match="secret"):
        await round.run(on_error="raise")
    assert [call.answer is not None for call in round.calls] == [True, True, False]
    assert session.transcript is before
    with pytest.raises(UsageError, match="no result for call '2'"):
        session.commit_round(round, [call.answer for call in round.calls if call.answer])
    assert session.transcript is before


@VIRTUAL
async def test_a_timeout_is_raised_too_with_on_error_raise() -> None:
    """Who wants errors raised is told of a timeout."""
    _, round = await round_of(Toolset(nap), call(5))
    with pytest.raises(TimeoutError, match="timed out after 1 s"):
        await round.run(on_error="raise", timeout=1)


@VIRTUAL
async def test_a_keyboard_interrupt_of_a_tool_comes_out_as_it_is() -> None:
    """It is no result, and no group."""
    _, round = await round_of(Toolset(nap), call(9), call(1, "interrupt"))
    with pytest.raises(KeyboardInterrupt):
        await round.run()


@VIRTUAL
async def test_one_call_is_cancelled_alone() -> None:
    """Its scope ends it; its result says so, and its siblings do not notice."""
    _, round = await round_of(Toolset(nap), call(5), call(2))
    async with anyio.create_task_group() as group:

        async def stop() -> None:
            await anyio.sleep(1)
            round.calls[0].cancel_scope.cancel()

        group.start_soon(stop)
        results = await round.run()
    assert [result.text for result in results] == ["cancelled", "slept 2"]
    assert results[0].is_error


@VIRTUAL
async def test_a_cancellation_from_outside_is_one() -> None:
    """Nothing is answered for it, nothing committed, no task left; the round can be run again."""
    session, round = await round_of(Toolset(nap), call(1), call(5))
    before = session.transcript
    with anyio.move_on_after(2) as scope:
        await round.run(timeout=100)
    assert scope.cancelled_caught
    assert [call.answer is not None for call in round.calls] == [True, False]
    assert session.transcript is before
    began = anyio.current_time()
    session.commit_round(round, await round.run())
    assert anyio.current_time() - began == pytest.approx(5)  # the first was not run again


@VIRTUAL
async def test_a_tool_may_start_while_the_stream_still_runs() -> None:
    """`ToolCallReady.call` is the object in `round.calls`; `round.run` waits for it and runs none twice."""
    runs = 0

    @lutum.tool
    async def once() -> str:
        nonlocal runs
        runs += 1
        await anyio.sleep(3)
        return "ran"

    ready = [ToolCallReady("0", "once", "{}"), ToolCallReady("1", "once", "{}")]
    llm = Lutum(ScriptedAdapter([Script(tuple(ready), finish_reason="tool_calls")]))
    turn = llm.text_turn("u").tools(Toolset(once))
    async with anyio.create_task_group() as group:
        async with turn.stream() as stream:
            async for event in stream:
                if isinstance(event, ToolCallReady):
                    group.start_soon(event.call.run)
                    seen = event.call
        outcome = stream.result
        assert isinstance(outcome, NeedsTools)
        assert outcome.round.calls[1] is seen
        await checkpoint()
        results = await outcome.round.run()
    assert runs == 2
    assert [result.text for result in results] == ["ran", "ran"]
    assert await outcome.round.run() == results
    assert runs == 2


@VIRTUAL
async def test_when_the_first_runner_is_cancelled_the_second_runs_it() -> None:
    """A call whose run was cut has no answer, so whoever waited for it runs it."""
    _, round = await round_of(Toolset(nap), call(2))
    [one] = round.calls
    async with anyio.create_task_group() as group:

        async def cut() -> None:
            with anyio.move_on_after(1):
                await one.run()

        group.start_soon(cut)
        await anyio.wait_all_tasks_blocked()
        result = await one.run()
    assert result.text == "slept 2"


async def test_answered_calls_are_not_run() -> None:
    """By hand or by hook: `run` leaves them as they are, and takes types of yours that no function runs."""

    @lutum.tool_input
    class Ask(msgspec.Struct):
        what: str

    _, round = await round_of(Toolset(nap, Ask), ("ask", '{"what":"x"}'), call(0))
    with pytest.raises(UsageError, match=r"tool 'ask' has no function; answer with call.complete"):
        await round.run()
    ask, _ = round.calls
    assert isinstance(ask.input, Ask)
    mine = ask.complete("an answer")
    results = await round.run()
    assert results[0] is mine
    assert results[1].text == "slept 0"


async def test_outputs_are_text_json_or_parts() -> None:
    """A str as it is, parts as they are, anything else as JSON, pydantic models too."""

    class Model(pydantic.BaseModel):
        n: int

    image = lutum.Image.from_bytes(b"\x89PNG\r\n\x1a\n")
    outputs: list[Any] = [
        "text",
        {"a": [1]},
        None,
        [1, 2],
        Model(n=1),
        {"m": Model(n=2)},
        [lutum.Text("a"), image],
    ]

    @lutum.tool
    def give(i: int) -> Any:
        return outputs[i]

    _, round = await round_of(Toolset(give), *[("give", f'{{"i":{i}}}') for i in range(len(outputs))])
    results = await round.run()
    texts = [result.text for result in results]
    assert texts == ["text", '{"a":[1]}', "null", "[1,2]", '{"n":1}', '{"m":{"n":2}}', "a"]
    assert results[-1].content == (lutum.Text("a"), image)


async def test_an_output_that_is_none_of_these_is_named() -> None:
    """`complete` raises with tool and path; in a run it is that call's failure."""

    @lutum.tool_input(output=list[int])
    class Count(msgspec.Struct):
        upto: int

    @lutum.tool
    def give() -> object:
        return object()

    _, round = await round_of(Toolset(give, Count), ("give", "{}"), ("count", '{"upto":2}'))
    give_call, count = round.calls
    with pytest.raises(BadValue, match=r"output of 'give'.*unsupported|output of 'give': object has no JSON"):
        give_call.complete(object())
    with pytest.raises(BadValue, match=r"output of 'count': Expected `int`, got `str` - at `\$\[1\]`"):
        count.complete([1, "2"])
    assert count.complete([1, 2]).text == "[1,2]"
    [first, _] = await round.run()
    assert (first.text, first.is_error, type(first.exception)) == ("failed: BadValue", True, BadValue)


async def test_injected_parameters_reach_the_function() -> None:
    """Under the names they were bound by."""

    @lutum.tool
    async def look(key: str, db: Annotated[dict[str, int], lutum.Injected]) -> int:
        return db[key]

    _, round = await round_of(Toolset(look).bind(db={"a": 7}), ("look", '{"key":"a"}'))
    [result] = await round.run()
    assert result.text == "7"


async def test_bad_arguments_of_run_are_named() -> None:
    """And nothing has run by then."""
    _, round = await round_of(Toolset(nap), call(0))
    with pytest.raises(BadValue, match="limit: 0 is below 1"):
        await round.run(limit=0)
    with pytest.raises(BadValue, match="timeout: 0 is not above 0 s"):
        await round.run(timeout=0)
    with pytest.raises(BadValue, match="on_error: 'ignore' is neither"):
        await round.run(on_error=cast("Any", "ignore"))
    with pytest.raises(BadValue, match="timeout: -1 is not above 0 s"):
        await round.calls[0].run(timeout=-1)
    assert round.calls[0].answer is None


async def test_two_calls_of_one_id_are_refused_before_anything_runs() -> None:
    """No result could tell them apart, so no tool is run for nothing."""
    ran = 0

    @lutum.tool
    def count() -> None:
        nonlocal ran
        ran += 1

    events = (ToolCallReady("x", "count", "{}"), ToolCallReady("x", "count", "{}"))
    llm = Lutum(ScriptedAdapter([Script(events, finish_reason="tool_calls")]))
    outcome = await llm.text_turn("u").tools(Toolset(count)).collect()
    assert isinstance(outcome, NeedsTools)
    with pytest.raises(UsageError, match="two calls of this turn have the same id"):
        await outcome.round.run()
    assert ran == 0


async def test_a_thread_is_waited_for_and_runs_in_one() -> None:
    """`thread=True` runs a sync function elsewhere; on timeout the round waits, and what it did counts."""
    here = threading.get_ident()
    release = threading.Event()

    @lutum.tool(thread=True)
    def where() -> bool:
        return threading.get_ident() != here

    @lutum.tool(thread=True)
    def stuck() -> str:
        release.wait(10)
        return "late"

    _, round = await round_of(Toolset(where, stuck), ("where", "{}"), ("stuck", "{}"))
    assert (await round.calls[0].run()).text == "true"
    async with anyio.create_task_group() as group:
        results = list[ToolResult]()

        async def run() -> None:
            results.append(await round.calls[1].run(timeout=0.01))

        group.start_soon(run)
        with anyio.move_on_after(0.05):
            await anyio.Event().wait()
        assert results == []
        release.set()
    assert results[0].text == "late"


async def test_an_abandoned_thread_is_left_and_the_result_says_so() -> None:
    """`abandon=True`: the round goes on, and what the thread makes of it is dropped."""
    release = threading.Event()

    @lutum.tool(thread=True, abandon=True)
    def stuck() -> str:
        release.wait(10)
        return "late"

    _, round = await round_of(Toolset(stuck), ("stuck", "{}"))
    try:
        [result] = await round.run(timeout=0.01)
    finally:
        release.set()
    assert result.text == "timed out after 0.01 s; its thread was left running"
    assert round.calls[0].answer is result


@VIRTUAL
async def test_the_exception_is_on_the_result_and_in_no_transcript() -> None:
    """A committed round compares, dumps and loads as if the exception were not there."""
    session, round = await round_of(Toolset(nap), call(0, "value"))
    results = await round.run()
    assert isinstance(results[0].exception, ValueError)
    session.commit_round(round, results)
    stored = session.transcript[2]
    assert isinstance(stored, ToolResult)
    assert stored.exception is None
    assert "secret" not in session.transcript.dump().decode()
    assert lutum.Transcript.load(session.transcript.dump()) == session.transcript
    pushed = lutum.ModelInput().item(
        ToolResult("1", (lutum.Text("x"),), True, "n", "{}", exception=ValueError())
    )
    assert pushed.transcript.digest


FATES = ["fine", "raises", "hangs", "says"]


@given(
    fates=st.lists(st.sampled_from(FATES), min_size=1, max_size=6),
    limit=st.integers(1, 4),
    cut=st.none() | st.floats(0.1, 12),
)
@VIRTUAL
async def test_a_round_is_committed_whole_or_not_at_all(
    fates: list[str], limit: int, cut: float | None
) -> None:
    """Promise 6: whatever tools do and whoever cancels, the transcript pairs every call with one result, in
    order, or is the identical object; the budget is settled and no task is left."""
    running = 0

    @lutum.tool
    async def act(fate: str) -> str:
        nonlocal running
        running += 1
        try:
            await anyio.sleep(100 if fate == "hangs" else 1)
            if fate == "raises":
                raise RuntimeError(fate)
            if fate == "says":
                raise lutum.ToolError(fate)
            return fate
        finally:
            running -= 1

    session, round = await round_of(Toolset(act), *[("act", f'{{"fate":"{fate}"}}') for fate in fates])
    before = session.transcript
    with anyio.move_on_after(cut):
        session.commit_round(round, await round.run(limit=limit, timeout=3))
    assert running == 0
    assert session._llm.budget.reserved.total_tokens == 0
    if len(session.transcript) == 1:
        assert cut is not None
        assert session.transcript is before
        return
    turn, *results = list(session.transcript)[1:]
    assert isinstance(turn, lutum.CommittedTurn)
    assert not session.transcript.open_calls
    expected = {
        "fine": "fine",
        "raises": "failed: RuntimeError",
        "hangs": "timed out after 3 s",
        "says": "says",
    }
    told = [(item.call_id, item.text, item.is_error) for item in results if isinstance(item, ToolResult)]
    assert told == [(str(i), expected[fate], fate != "fine") for i, fate in enumerate(fates)]


async def test_a_trace_sees_a_run_and_its_words_only_when_asked() -> None:
    """Name, id and error always; arguments and result with `content=True`."""
    from lutum import trace

    for content in (False, True):
        async with trace.capture(content=content) as captured:
            _, round = await round_of(Toolset(nap), call(0), call(0, "value"))
            await round.run()
        fine, failed = sorted(captured.find("tool"), key=lambda span: str(span.fields["call"]))
        assert (fine.fields["tool"], fine.fields["call"], fine.fields["is_error"]) == ("nap", "0", False)
        assert (failed.fields["error"], failed.fields["is_error"]) == ("ValueError", True)
        assert (fine.fields.get("result") == "slept 0") is content
