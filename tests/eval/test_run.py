"""The runner: what it starts, what it keeps, how it ends."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import anyio
import msgspec
import pytest
from fakes import STALLED, VIRTUAL, FakeAdapter

import lutum
from lutum import trace
from lutum.eval import (
    Answer,
    Case,
    Eval,
    JudgeEval,
    Objective,
    PureEval,
    Score,
    Scored,
    assert_score,
    load_run,
    maximize,
    run,
)
from lutum.testing import Script, ScriptedAdapter


def house(answers: int = 100, **kwargs: Any) -> lutum.Lutum:
    return lutum.Lutum(ScriptedAdapter([["yes"]] * answers), **kwargs)


def some(n: int, *tags: str) -> list[Case[str, str]]:
    return [Case(f"c{i:03}", f"question {i}", "yes", tags) for i in range(n)]


async def ask(case: Case[str, str], llm: lutum.Lutum) -> str:
    return (await llm.text_turn(case.input).collect()).text


def equal(case: Case[str, str], output: str) -> bool:
    return output == case.expected


@dataclass
class Verdict:
    points: int


POINTS: Objective[Verdict] = maximize(lambda verdict: verdict.points / 10)


async def test_each_case_is_tried_so_often_and_scored() -> None:
    """One call of the task a trial, one request a call, and nothing else is sent."""
    llm = house()
    report = await run(some(4), ask, score=equal, llm=llm, trials=3)
    assert [(r.case, r.trial) for r in report.results] == [
        (f"c{i:03}", t) for i in range(4) for t in range(3)
    ]
    assert (report.score, report.stopped) == (1, None)
    assert report.usage == llm.budget.spent
    assert isinstance(llm.adapter, ScriptedAdapter)
    assert len(llm.adapter.requests) == 12


@VIRTUAL
@pytest.mark.parametrize(("limit", "seconds"), [(1, 12), (4, 3), (5, 3), (100, 1)])
async def test_so_many_trials_at_a_time(limit: int, seconds: int) -> None:
    """Twelve trials of a second each; the time of a trial is the task's, its scoring left out."""
    running = most = 0

    async def task(case: Case[str, str], llm: lutum.Lutum) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await anyio.sleep(1)
        running -= 1
        return ""

    async def slow(case: Case[str, str], output: str) -> float:
        await anyio.lowlevel.checkpoint()
        return 1

    began = anyio.current_time()
    report = await run(some(12), task, score=slow, llm=house(), limit=limit)
    assert anyio.current_time() - began == pytest.approx(seconds)
    assert most == min(limit, 12)
    assert report.seconds(50) == pytest.approx(1)


async def test_a_dataset_is_read_as_the_run_goes() -> None:
    """A generator is asked for no more than is being tried."""
    given = 0

    def endless() -> Iterator[Case[int]]:
        nonlocal given
        while True:
            given += 1
            yield Case(str(given), given)

    async def task(case: Case[int], llm: lutum.Lutum) -> int:
        if case.input == 7:
            scope.cancel()
        await anyio.lowlevel.checkpoint()
        return case.input

    with anyio.CancelScope() as scope:
        await run(endless(), task, score=lambda case, output: 1, llm=house(), limit=2)
    assert scope.cancelled_caught
    assert given <= 8


async def test_a_task_that_never_awaits_can_be_cancelled() -> None:
    """The run looks for its cancellation before each trial."""
    done = list[str]()

    async def task(case: Case[str, str], llm: lutum.Lutum) -> str:
        done.append(case.id)
        if len(done) == 5:
            scope.cancel()
        return "yes"

    with anyio.CancelScope() as scope:
        await run(some(1_000), task, score=equal, llm=house(), limit=3)
    assert scope.cancelled_caught
    assert len(done) <= 8


async def test_an_exception_of_the_task_is_no_score() -> None:
    """It is kept by its class, and its words; of a group by what it holds. The others run on."""

    async def task(case: Case[str, str], llm: lutum.Lutum) -> str:
        match case.id:
            case "c000":
                raise KeyError("\ud800 lost")
            case "c001":
                raise ExceptionGroup("both", [KeyError("a"), ExceptionGroup("in", [ValueError("b")])])
            case _:
                return await ask(case, llm)

    report = await run(some(4), task, score=equal, llm=house())
    assert (report.score, len(report.errors)) == (1, 2)
    assert [r.score for r in report.results] == [None, None, 1, 1]
    assert report.failures == {"KeyError": 1, "KeyError+ValueError": 1}
    assert report.results[1].failure is not None
    assert report.results[1].failure.message == "'a'; b"


async def test_an_exception_of_the_scoring_leaves_no_score() -> None:
    """It is told apart, and does not count as a failure of what was tried."""

    def moody(case: Case[str, str], output: str) -> float:
        if case.id == "c000":
            raise LookupError("no idea")
        return 2 if case.id == "c001" else 1

    report = await run(some(4), ask, score=moody, llm=house())
    assert (report.score, report.failures) == (1, {})
    assert report.unscored == {"LookupError": 1, "BadValue": 1}
    assert [r.score for r in report.results] == [None, None, 1, 1]


async def test_an_eval_that_is_wrong_does_not_end_the_run() -> None:
    """A report without a score, or a score that is none, is an exception of the scoring."""

    @PureEval.of
    def bare(trace: trace.Trace, answer: Answer[str, str, str]) -> Any:
        return answer.output if answer.case.id == "c000" else Scored("report", cast("Any", 7))

    report = await run(some(2), ask, score=bare, llm=house())
    assert report.unscored == {"AttributeError": 1, "BadValue": 1}


async def test_evals_score_answers() -> None:
    """Pure ones and judges; the judge asks its own Lutum, and its cost is apart. Reports are kept."""

    @PureEval.of
    def right(trace: trace.Trace, answer: Answer[str, str, str]) -> int:
        return len(trace.find("turn")) + len(answer.output) - len(answer.case.expected or "")

    report = await run(some(2), ask, score=right.scored_by(maximize(float)), llm=house())
    assert (report.score, report.results[0].report) == (1, 1)

    judge = JudgeEval[Answer[str, str, str], Verdict](Verdict, lambda trace, answer: answer.output)
    llm, other = house(), lutum.Lutum(ScriptedAdapter([[lutum.StructuredDelta('{"points": 7}')]] * 2))
    report = await run(some(2), ask, score=judge.scored_by(POINTS), llm=llm, judge=other)
    assert report.score == pytest.approx(0.7)
    assert (report.usage, report.judge_usage) == (llm.budget.spent, other.budget.spent)
    assert report.judge_usage.total_tokens > 0


async def test_a_judge_that_is_asked_again_shows_its_disagreement() -> None:
    """Spread within a trial, and the share of trials on which it said both."""
    points = iter([1, 1, 0, 1])

    @Eval.of
    async def fickle(llm: lutum.Lutum, trace: trace.Trace, answer: Answer[str, str, str]) -> int:
        return next(points)

    report = await run(some(2), ask, score=fickle.scored_over(2, maximize(float)), llm=house(), limit=1)
    assert [r.repeats for r in report.results] == [(1, 1), (0, 1)]
    assert report.results[1].report == {"reports": [0, 1], "scores": [0, 1]}
    assert report.disagreement is not None
    assert (report.disagreement.judged, report.disagreement.split) == (2, 0.5)
    assert report.disagreement.spread == pytest.approx(0.5**0.5 / 2)
    assert "judged again" in str(report)


def refusing() -> lutum.Lutum:
    """Turns reserve 1,024 tokens and more, and spend 11."""
    return house(budget=lutum.Budget(tokens=1_100, on_exhausted="wait"))


@pytest.mark.parametrize("limit", [1, 4])
async def test_a_spent_budget_ends_the_run(limit: int, tmp_path: Path) -> None:
    """What it refused is not finished: with another budget the same run goes on where it stopped."""
    llm = refusing()
    report = await run(some(30), ask, score=equal, llm=llm, limit=limit, into=tmp_path)
    assert report.stopped is not None
    assert "never fit" in report.stopped or "spent" in report.stopped
    assert 0 < len(report.results) < 30
    assert report.failures == {}
    assert llm.budget.spent.total_tokens <= 1_100
    assert "stopped" in str(report)
    rest = house()
    whole = await run(some(30), ask, score=equal, llm=rest, into=tmp_path)
    assert (len(whole.results), whole.stopped, whole.score) == (30, None, 1)
    assert rest.budget.spent.total_tokens == 11 * (30 - len(report.results))


async def test_a_budget_that_refuses_the_judge_ends_the_run_too() -> None:
    """A trial without its judgement is not finished, and neither is it a failure."""
    judge = JudgeEval[Answer[str, str, str], Verdict](Verdict, lambda trace, answer: answer.output)
    poor = lutum.Lutum(ScriptedAdapter([]), budget=lutum.Budget(tokens=10))
    report = await run(some(3), ask, score=judge.scored_by(POINTS), llm=house(), judge=poor, limit=1)
    assert (report.results, report.unscored) == ((), {})
    assert report.stopped is not None


async def test_a_budget_of_the_tasks_own_is_its_failure() -> None:
    """A task that caps itself and meets its cap has failed; the run goes on."""

    async def frugal(case: Case[str, str], llm: lutum.Lutum) -> str:
        async with llm.within(tokens=10) as own:
            return await ask(case, own)

    llm = house(budget=lutum.Budget(tokens=100_000))
    report = await run(some(3), frugal, score=equal, llm=llm, limit=2)
    assert (report.stopped, report.failures) == (None, {"BudgetExceeded": 3})


@VIRTUAL
async def test_a_cancelled_run_keeps_what_had_finished(tmp_path: Path) -> None:
    """Turns under way are closed and settled; their trials are not finished."""
    adapter = FakeAdapter(STALLED)
    llm = lutum.Lutum(adapter, budget=lutum.Budget(tokens=100_000))

    async def task(case: Case[str, str], llm: lutum.Lutum) -> str:
        return "yes" if case.id < "c003" else await ask(case, llm)

    with anyio.move_on_after(1):
        await run(some(8), task, score=equal, llm=llm, limit=2, into=tmp_path)
    assert [r.case for r in load_run(tmp_path).results] == ["c000", "c001", "c002"]
    assert llm.budget.reserved.total_tokens == 0
    assert all(exchange.closed is not None for exchange in adapter.exchanges)


async def test_a_folder_holds_everything(tmp_path: Path) -> None:
    """A line a trial, a trace a trial; the report of the folder is that of the run."""
    into = tmp_path / "runs" / "today"
    report = await run(some(3, "easy"), ask, score=equal, llm=house(), trials=2, into=into, threshold=0.5)
    again = load_run(into)
    assert (again.results, again.threshold) == (report.results, 0.5)
    assert str(again) == str(report)
    info = msgspec.json.decode((into / "run.json").read_bytes())
    assert (info["format"], info["threshold"]) == (2, 0.5)
    for result in report.results:
        assert result.trace is not None
        kept = trace.load((into / result.trace).read_bytes())
        assert "yes" in str(kept.span("turn").fields["output"])
        assert (result.output, result.tags) == ("yes", ("easy",))
    assert len(list((into / "traces").iterdir())) == 6


async def test_finished_trials_are_not_run_again(tmp_path: Path) -> None:
    """More trials and more cases do the rest; the same again does nothing."""
    llm = house()
    await run(some(2), ask, score=equal, llm=llm, into=tmp_path)
    await run(some(3), ask, score=equal, llm=llm, into=tmp_path, trials=2)
    report = await run(some(3), ask, score=equal, llm=llm, into=tmp_path, trials=2)
    assert len(report.results) == 6
    assert isinstance(llm.adapter, ScriptedAdapter)
    assert len(llm.adapter.requests) == 6


async def test_another_case_of_the_same_id_is_refused(tmp_path: Path) -> None:
    """Its result would be that of something else."""
    await run(some(2), ask, score=equal, llm=house(), into=tmp_path)
    with pytest.raises(lutum.BadValue, match="another case with the id 'c000'"):
        await run([Case("c000", "other", "yes")], ask, score=equal, llm=house(), into=tmp_path)


async def test_what_is_wrong_with_a_run_is_plain() -> None:
    """Its own errors are no groups, and name the argument; of a bad dataset what ran before is settled."""
    llm = house()
    wrong: list[tuple[str, Any, dict[str, Any]]] = [
        ("cases", [Case("a", "1"), Case("a", "2")], {}),
        ("cases", ["a"], {}),
        ("cases", [Case(1, "")], {}),
        ("cases", [Case("\ud800", "")], {}),
        ("trials", [], {"trials": 0}),
        ("limit", [], {"limit": 0}),
        ("score", [], {"threshold": 2}),
    ]
    for field, cases, kwargs in wrong:
        with pytest.raises(lutum.BadValue) as caught:
            await run(cases, ask, score=equal, llm=llm, **kwargs)
        assert caught.value.field == field
    assert llm.budget.reserved.total_tokens == 0

    def broken() -> Iterator[Case[str, str]]:
        yield from some(3)
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        await run(broken(), ask, score=equal, llm=llm)


class Unshowable:
    """Has no repr."""

    def __repr__(self) -> str:
        raise RuntimeError("no words")


async def test_whatever_a_task_returns_can_be_kept(tmp_path: Path) -> None:
    """Results by their text, values as JSON, and what is no JSON by its repr."""
    outputs: dict[str, Any] = {
        "set": {1},
        "object": Score,
        "surrogate": "\ud800",
        "nested": {"a": [1, {"b": object}]},
        "keys": {(1, 2): 3},
        "unshowable": Unshowable(),
    }

    async def task(case: Case[str], llm: lutum.Lutum) -> Any:
        if case.id == "result":
            return await llm.text_turn("hello").collect()
        return outputs[case.id]

    cases = [Case(id, "") for id in ("result", *outputs)]
    await run(cases, task, score=lambda case, output: 1, llm=house(), into=tmp_path)
    kept = {result.case: result.output for result in load_run(tmp_path).results}
    assert kept["result"] == "yes"
    assert kept["set"] == [1]
    assert kept["nested"]["a"][0] == 1
    assert isinstance(kept["surrogate"], str)
    assert "(1, 2)" in str(kept["keys"])
    assert "Unshowable object" in kept["unshowable"]


async def test_progress_is_a_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """Shown when asked for; by itself only on a terminal."""
    await run(some(2), ask, score=equal, llm=house())
    assert capsys.readouterr() == ("", "")
    await run(some(2), ask, score=equal, llm=house(), trials=2, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.split("\r")
    assert lines[1].startswith("[###.........] 25% 1/4, score 1.000, 0 failed")
    assert "11 tokens" in lines[1]
    assert lines[-1].startswith("[############] 100% 4/4, score 1.000, 0 failed")
    assert "44 tokens" in lines[-1]
    assert lines[-1].endswith("\n")


async def test_a_run_is_asserted_on() -> None:
    """The error is the report, and the worst cases with what they said."""
    llm = lutum.Lutum(ScriptedAdapter([["yes"], ["no\x1b[2J"], [ConnectionError("gone")], ["yes"]]))
    report = await run(some(4), ask, score=equal, llm=llm, limit=1)
    assert_score(report, 0.5, errors=1)
    for errors, words in (
        (1, "the score is 0.667; at least 0.9 is required"),
        (0, "1 of 4 trials ended in an error"),
    ):
        with pytest.raises(AssertionError) as caught:
            assert_score(report, 0.9, errors=errors)
        said = str(caught.value)
        assert said.startswith(f"{words}\ntrials")
        assert "-  c002                  ConnectionError: gone" in said
        assert "\x1b" not in said
    broke = await run(some(4), ask, score=equal, llm=house(budget=lutum.Budget(tokens=1_040)), limit=1)
    with pytest.raises(AssertionError, match="the run was stopped"):
        assert_score(broke, 0.1)


async def test_tokens_of_a_trial_are_its_own() -> None:
    """Also when many run at once, each result has what its own task spent."""
    sizes = {f"c{i:03}": i + 1 for i in range(6)}

    async def task(case: Case[str, str], llm: lutum.Lutum) -> str:
        for _ in range(sizes[case.id]):
            await ask(case, llm)
        return "yes"

    llm = lutum.Lutum(ScriptedAdapter([Script(("yes",), lutum.Usage(2, 1))] * 21))
    report = await run(some(6), task, score=equal, llm=llm, limit=6)
    assert {r.case: r.usage.total_tokens for r in report.results} == {c: 3 * n for c, n in sizes.items()}
    assert report.usage == llm.budget.spent


async def test_runs_are_in_the_trace_around_them() -> None:
    """A capture around a run sees the turns of every trial, and no judge's in a trial's own."""
    judge = JudgeEval[Answer[str, str, str], Verdict](
        Verdict, lambda trace, answer: str(len(trace.find("turn")))
    )
    other = lutum.Lutum(ScriptedAdapter([[lutum.StructuredDelta('{"points": 10}')]] * 2))
    async with trace.capture() as around:
        report = await run(some(2), ask, score=judge.scored_by(POINTS), llm=house(), judge=other)
    assert report.score == 1
    assert len(around.find("turn")) == 4
