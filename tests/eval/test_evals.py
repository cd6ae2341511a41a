"""Scores, objectives, combinators and judges: every report and every exception comes out as it should."""

import math
from dataclasses import dataclass
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given, strategies as st

import lutum
import lutum.trace
from lutum.eval import (
    Eval,
    JudgeEval,
    Objective,
    PureEval,
    Repeats,
    Score,
    Scored,
    assert_score,
    evaluate,
    maximize,
    minimize,
    pass_fail,
    record,
)
from lutum.testing import ScriptedAdapter

SCORES = st.floats(0, 1)


@PureEval.of
def length(trace: lutum.trace.Trace, artifact: str) -> int:
    """How long the artifact is."""
    return len(artifact)


@PureEval.of
def fails(trace: lutum.trace.Trace, artifact: str) -> int:
    """Nothing but an error."""
    raise KeyError("lost")


@Eval.of
async def asked(llm: lutum.Lutum, trace: lutum.trace.Trace, artifact: str) -> str:
    """What a model says of the artifact."""
    return (await llm.text_turn(artifact).collect()).text


def house(*answers: str) -> lutum.Lutum:
    return lutum.Lutum(ScriptedAdapter([[answer] for answer in answers]))


async def a_trace() -> lutum.trace.Trace:
    async with lutum.trace.capture() as trace:
        await house("hm").text_turn("hello").collect()
    return trace


@given(st.floats())
def test_a_score_is_from_0_to_1(value: float) -> None:
    """What is outside is refused by `Score` and moved by `Score.clamped`; NaN is refused by both."""
    if 0 <= value <= 1:
        assert Score(value) == value == Score.clamped(value)
        assert Score(value).inverse == 1 - value
        return
    with pytest.raises(lutum.BadValue, match="score: "):
        Score(value)
    if math.isnan(value):
        with pytest.raises(lutum.BadValue, match="NaN is not a score"):
            Score.clamped(value)
    else:
        assert Score.clamped(value) == (1 if value > 1 else 0)


def test_a_score_is_a_float() -> None:
    """Booleans are 1 and 0."""
    assert (Score(True), Score(False)) == (1, 0)
    assert (repr(Score(0.25)), str(Score(0.25))) == ("Score(0.25)", "0.25")
    assert isinstance(Score.clamped(math.inf), float)


@given(SCORES)
def test_objectives(value: float) -> None:
    """Maximize is the measure, minimize what is missing from 1, pass_fail all or nothing; invert undoes."""

    def same(x: float) -> float:
        return x

    assert maximize(same).score(value) == value
    assert minimize(same).score(value) == 1 - value
    assert pass_fail(lambda x: x > 0.5).score(value) == (value > 0.5)
    assert minimize(same).invert().score(value) == pytest.approx(value)


def test_an_objective_says_what_is_wrong() -> None:
    """A measure outside of 0 to 1 is refused; `map_error` puts another exception in its place."""
    loose: Objective[float] = maximize(lambda report: report)
    with pytest.raises(lutum.BadValue, match="2"):
        loose.score(2)
    with pytest.raises(LookupError) as caught:
        loose.map_error(lambda exc: LookupError(str(exc))).score(2)
    assert isinstance(caught.value.__cause__, lutum.BadValue)


async def test_pure_evals_combine() -> None:
    """Reports are mapped, artifacts projected, two evals merged, errors replaced, scores added."""
    trace = await a_trace()
    assert length.map_report(lambda n: n * 2).evaluate(trace, "abc") == 6
    assert length.contramap(lambda pair: pair[1]).evaluate(trace, (1, "abcd")) == 4
    both = length.combine(PureEval.of(lambda trace, artifact: artifact.upper()), lambda n, up: (n, up))
    assert both.evaluate(trace, "ab") == (2, "AB")
    scored = length.scored_by(maximize(lambda n: n / 10)).evaluate(trace, "abc")
    assert scored == Scored(3, Score(0.3))
    with pytest.raises(LookupError) as caught:
        fails.map_error(lambda exc: LookupError("other")).evaluate(trace, "")
    assert isinstance(caught.value.__cause__, KeyError)


async def test_an_eval_may_read_the_trace_alone() -> None:
    """Of one capture several evals may be asked, now and again."""
    turns = PureEval[object, int].of(lambda trace, artifact: len(trace.find("turn")))
    trace = await a_trace()
    assert [turns.evaluate(trace, None), turns.evaluate(trace, "x")] == [1, 1]
    assert length.evaluate(trace, "abc") == 3


@pytest.mark.parametrize("side", ["left", "right"])
async def test_combine_tells_the_side(side: str) -> None:
    """What a side raises comes out as it is, with a note; after the left one the right is not run."""
    trace, ran = await a_trace(), list[str]()

    def watched(name: str) -> PureEval[str, int]:
        def run(trace: lutum.trace.Trace, artifact: str) -> int:
            ran.append(name)
            return (fails if name == side else length).evaluate(trace, artifact)

        return PureEval.of(run)

    for pair in (
        watched("left").combine(watched("right"), max).lift(),
        watched("left").lift().combine(watched("right").lift(), max),
    ):
        ran.clear()
        with pytest.raises(KeyError) as caught:
            await pair.evaluate(house(), trace, "")
        assert caught.value.__notes__ == [f"raised by the {side} eval of combine"]
        assert ran == (["left"] if side == "left" else ["left", "right"])


async def test_evals_that_ask_combine_too() -> None:
    """The same combinators over evals that ask a model; a lifted one asks nobody."""
    trace, llm = await a_trace(), house("abc", "abc", "yes", "no", "5")
    assert await asked.map_report(len).evaluate(llm, trace, "q") == 3
    mixed = asked.combine(length.lift(), lambda text, n: (text, n))
    assert await mixed.evaluate(llm, trace, "qq") == ("abc", 2)
    projected = asked.contramap(lambda pair: pair[0]).scored_by(pass_fail(lambda text: text == "yes"))
    assert await projected.evaluate(llm, trace, ("q", 1)) == Scored("yes", Score(1))
    with pytest.raises(ZeroDivisionError) as caught:
        await asked.scored_by(maximize(lambda text: 1 / 0)).evaluate(llm, trace, "q")
    assert caught.value.__notes__ == ["raised by the objective"]
    number = asked.map_report(float).map_error(lambda exc: LookupError("no number"))
    assert await number.evaluate(llm, trace, "q") == 5
    with pytest.raises(LookupError, match="no number"):
        await number.evaluate(house("five"), trace, "q")


class Count(PureEval[str, int]):
    """An eval as a class."""

    def __init__(self, letter: str) -> None:
        self.letter = letter

    def evaluate(self, trace: lutum.trace.Trace, artifact: str) -> int:
        return artifact.count(self.letter)


async def test_evaluate_captures_what_it_runs() -> None:
    """The artifact is what the task returned, the trace what it did; what the task raises is its own."""
    llm = house("banana", "hm")

    async def task() -> str:
        return (await llm.text_turn("a fruit").collect()).text

    assert await evaluate(Count("a"), task) == 3
    turns = PureEval[str, int].of(lambda trace, artifact: len(trace.find("turn")))
    assert await evaluate(turns, task) == 1
    with pytest.raises(LookupError):
        await evaluate(turns, task)
    with pytest.raises(lutum.BadValue, match="llm"):
        await evaluate(asked, task)


async def test_a_record_holds_a_score_or_an_error_and_always_the_trace() -> None:
    """What eval and objective raise is kept; JSON has it all, also the raw requests that were asked for."""
    llm = house("banana", "banana")

    async def task() -> str:
        return (await llm.text_turn("a fruit").collect()).text

    good = await record(Count("a").scored_by(maximize(lambda n: n / 4)), task, raw=True)
    assert (good.score, good.report, good.error, good.passed()) == (0.75, 3, None, False)
    assert good.passed(0.75)
    found = msgspec.json.decode(good.to_json())
    assert (found["score"], found["report"], found["error"]) == (0.75, 3, None)
    assert {"request", "frame"} <= {entry.kind for entry in good.trace.raw}
    assert any(line["type"] == "raw" for line in found["trace"])

    bad = await record(Count("a").scored_by(maximize(float)), task)
    assert (bad.score, bad.report, bad.passed(0)) == (None, None, False)
    assert isinstance(bad.error, lutum.BadValue)
    assert bad.trace.find("turn")
    assert bad.trace.raw == []
    error = msgspec.json.decode(bad.to_json())["error"]
    assert error["kind"] == "BadValue"
    assert error["message"].endswith("raised by the objective")


@dataclass
class Verdict:
    points: int
    why: str


def verdict(points: int) -> lutum.StructuredDelta:
    return lutum.StructuredDelta(f'{{"points": {points}, "why": "so"}}')


def render(trace: lutum.trace.Trace, artifact: str) -> str:
    return f"From 0 to 10: {artifact} ({len(trace.find('turn'))} turns)"


POINTS: Objective[Verdict] = maximize(lambda verdict: verdict.points / 10)


async def test_a_judge_reports_what_it_filled_in() -> None:
    """One structured turn on what was rendered, set up as you like; its value is the report."""
    adapter = ScriptedAdapter([[verdict(7)]])
    judge = JudgeEval(Verdict, render, setup=lambda turn: turn.temperature(0).max_output_tokens(99))
    scored = await judge.scored_by(POINTS).evaluate(lutum.Lutum(adapter), await a_trace(), "a poem")
    assert scored == Scored(Verdict(7, "so"), Score(0.7))
    [request] = adapter.requests
    assert (request.settings.temperature, request.settings.max_output_tokens) == (0, 99)
    assert cast("Any", request.transcript[0]).text == "From 0 to 10: a poem (1 turns)"


async def test_a_judge_that_refuses_or_breaks_off_is_an_error() -> None:
    """A refusal is `Refused`, a value that does not decode `OutputInvalid`: as every turn's."""
    judge, trace = JudgeEval(Verdict, render), await a_trace()
    refusing = lutum.Lutum(ScriptedAdapter([[lutum.RefusalDelta("I will not judge.")]]))
    with pytest.raises(lutum.Refused, match="I will not judge"):
        await judge.evaluate(refusing, trace, "x")
    with pytest.raises(lutum.OutputInvalid):
        wrong = lutum.StructuredDelta('{"points": "many"}')
        await judge.evaluate(lutum.Lutum(ScriptedAdapter([[wrong]])), trace, "x")


async def test_a_judge_may_be_asked_again() -> None:
    """One request a repeat, no more; the score is the mean, and each repeat's is there."""
    adapter = ScriptedAdapter([[verdict(points)] for points in (2, 4, 9)])
    judge = JudgeEval(Verdict, render).scored_over(3, POINTS)
    scored = await judge.evaluate(lutum.Lutum(adapter), await a_trace(), "a poem")
    assert isinstance(scored.report, Repeats)
    assert scored.report.scores == (0.2, 0.4, 0.9)
    assert scored.score == pytest.approx(0.5)
    assert len(adapter.requests) == 3
    with pytest.raises(lutum.BadValue, match="repeats"):
        JudgeEval(Verdict, render).scored_over(1, POINTS)


async def test_a_score_is_asserted_on() -> None:
    """Of a number, a scored report or a record; the error shows why."""
    assert_score(0.8, 0.8)
    assert_score(Scored("fine", Score(1)), 1)
    with pytest.raises(AssertionError, match=r"the score is 0\.500; at least 0\.8 is required"):
        assert_score(0.5, 0.8)

    async def task() -> str:
        return "banana"

    failed = await record(fails.scored_by(maximize(float)), task)
    with pytest.raises(
        AssertionError, match=r"there is no score; at least 0 is required\nKeyError\('lost'\)"
    ):
        assert_score(failed, 0)
    with pytest.raises(lutum.BadValue):
        assert_score(1, 2)
