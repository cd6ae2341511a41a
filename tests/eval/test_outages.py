"""An outage is not a score: errors are kept as errors, tried again, and repeated by the same run."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pydantic
import pytest
from fakes import VIRTUAL

import lutum
from lutum import trace
from lutum.eval import Answer, Case, Eval, JudgeEval, PureEval, Scored, load_run, maximize, run
from lutum.testing import ScriptedAdapter

CASES = [Case(f"c{i}", f"question {i}", "yes", ("all",)) for i in range(4)]


def house(answer: Callable[[], Any] = lambda: ["yes"], **kwargs: Any) -> lutum.Lutum:
    return lutum.Lutum(ScriptedAdapter(lambda request: answer()), **kwargs)


def sent(llm: lutum.Lutum) -> int:
    assert isinstance(llm.adapter, ScriptedAdapter)
    return len(llm.adapter.requests)


async def ask(case: Case[str, str], llm: lutum.Lutum) -> str:
    return (await llm.text_turn(case.input).collect()).text


def equal(case: Case[str, str], output: str) -> bool:
    return output == case.expected


@dataclass
class Verdict:
    points: int


ERRORS: list[tuple[Callable[[], Exception], float | None]] = [
    (lambda: lutum.ProviderError("overloaded", kind="overloaded", status=529), None),
    (lambda: lutum.ProviderError("no such model", kind="not_found", status=404), None),
    (lambda: lutum.NetworkError("no route"), None),
    (lambda: lutum.Interrupted("cut"), None),
    (lambda: lutum.TurnTimeout("idle", reason="idle"), None),
    (lambda: ConnectionError("gone"), None),
    (lambda: KeyError("a bug of the task"), None),
    (lambda: TimeoutError(), None),
    (lambda: ExceptionGroup("both", [lutum.NetworkError("a"), lutum.Refused("no")]), None),
    (lambda: lutum.Refused("no"), 0.0),
    (lambda: lutum.OutputLimitExceeded("cut"), 0.0),
    (lambda: lutum.OutputInvalid("bad", raw="{", path="$", reason="bad"), 0.0),
    (lambda: lutum.ContractViolation("a tool that was not offered"), 0.0),
    (lambda: ExceptionGroup("one", [lutum.Refused("no")]), 0.0),
]


@pytest.mark.parametrize(("error", "score"), ERRORS, ids=range(len(ERRORS)))
@pytest.mark.parametrize("named", [False, True])
async def test_only_the_models_answer_is_scored(
    error: Callable[[], Exception], score: float | None, named: bool, tmp_path: Path
) -> None:
    """Errors of the infrastructure and of the task have no score, and are repeated; what the model's answer
    caused is 0, and finished."""
    down = True

    async def task(case: Case[str, str], llm: lutum.Lutum) -> str:
        if down and case.id == "c1":
            raise error()
        return await ask(case, llm)

    llm = house()
    scorers: Any = {"right": equal, "long": lambda case, output: len(output) > 2} if named else equal
    first = await run(CASES, task, score=scorers, llm=llm, into=tmp_path)
    result = first.cases["c1"][0]
    assert (result.score, result.errored) == (score, score is None)
    assert result.failure is not None
    assert result.failure.stage == "task"
    assert first.score == (1 if score is None else 0.75)
    down = False
    left = await run(CASES, task, score=scorers, llm=llm, into=tmp_path, again="unfinished")
    assert left.results == first.results
    second = await run(CASES, task, score=scorers, llm=llm, into=tmp_path)
    assert second.score == (1 if score is None else 0.75)
    assert len(second.errors) == 0
    assert sent(llm) == (4 if score is None else 3)
    assert load_run(tmp_path).results == second.results
    assert second.usage == llm.budget.spent


@pytest.mark.parametrize("named", [False, True])
async def test_a_judge_that_was_down_scores_the_stored_answers(named: bool, tmp_path: Path) -> None:
    """No request is sent for an answer that is there; of several scorers only those that raised run again."""
    llm, counted = house(), 0
    down = lutum.Lutum(ScriptedAdapter(lambda request: [lutum.NetworkError("judge is down")]))
    well = lutum.Lutum(ScriptedAdapter(lambda request: [lutum.StructuredDelta('{"points": 7}')]))

    def count(case: Case[str, str], output: str) -> float:
        nonlocal counted
        counted += 1
        return 1

    def shown(trace: trace.Trace, answer: Answer[str, str, str]) -> str:
        return f"{answer.output} after {len(trace.find('turn'))} turns"

    judge = JudgeEval[Answer[str, str, str], Verdict](Verdict, shown).scored_by(
        maximize(lambda verdict: verdict.points / 10)
    )
    scorers: Any = {"count": count, "judge": judge} if named else judge
    first = await run(CASES, ask, score=scorers, llm=llm, judge=down, into=tmp_path)
    assert first.unscored == {"NetworkError": 4}
    assert len(first.errors) == 4
    assert (first.scores == {}) is not named
    assert sent(llm) == 4
    again = await run(CASES, ask, score=scorers, llm=llm, judge=down, into=tmp_path, again="unfinished")
    assert again.results == first.results
    second = await run(CASES, ask, score=scorers, llm=llm, judge=well, into=tmp_path)
    assert sent(llm) == 4
    assert sent(well) == 4
    assert isinstance(well.adapter, ScriptedAdapter)
    assert "yes after 1 turns" in str(well.adapter.requests[0].transcript[0])
    report = second.named["judge"] if named else second
    assert report.score == pytest.approx(0.7)
    assert (len(second.errors), second.unscored) == (0, {})
    assert counted == (4 if named else 0)
    assert second.usage == llm.budget.spent
    assert second.judge_usage.total_tokens == well.budget.spent.total_tokens + down.budget.spent.total_tokens
    for result in load_run(tmp_path).results:
        assert result.trace is not None
        assert trace.load((tmp_path / result.trace).read_bytes()).span("turn").fields["output"]


class Pair(msgspec.Struct):
    left: int
    right: list[str]


class Model(pydantic.BaseModel):
    name: str
    size: int = 1


class Loose:
    """Has no JSON form."""


OUTPUTS: list[tuple[Any, bool]] = [
    ("text", True),
    (7, True),
    (None, True),
    ({"a": [1, 2.5, None, True], "b": {"c": "d"}}, True),
    (Pair(1, ["a"]), True),
    (Verdict(3), True),
    (Model(name="n"), True),
    ((1, "a"), True),
    ({1, 2}, True),
    ([Pair(1, [])], False),
    (Loose(), False),
]


@pytest.mark.parametrize(("output", "kept"), OUTPUTS, ids=range(len(OUTPUTS)))
async def test_a_stored_answer_is_the_same_value_again(output: Any, kept: bool, tmp_path: Path) -> None:
    """Of whatever type; one that cannot be kept is asked for again."""
    seen, runs, down = list[Any](), 0, True

    async def task(case: Case[str, str], llm: lutum.Lutum) -> Any:
        nonlocal runs
        runs += 1
        return output

    def score(case: Case[str, str], value: Any) -> float:
        if down:
            raise ConnectionError("down")
        seen.append(value)
        return 1

    await run(CASES[:1], task, score=score, llm=house(), into=tmp_path)
    down = False
    report = await run(CASES[:1], task, score=score, llm=house(), into=tmp_path)
    assert report.score == 1
    assert runs == (1 if kept else 2)
    [value] = seen
    assert type(value) is type(output)
    assert value == output


async def test_an_annotation_says_what_a_list_holds(tmp_path: Path) -> None:
    """The type that the task returns makes the value again where its class alone does not."""
    seen, runs, down = list[Any](), 0, True

    async def task(case: Case[str, str], llm: lutum.Lutum) -> list[Pair]:
        nonlocal runs
        runs += 1
        return [Pair(1, ["x"])]

    def score(case: Case[str, str], value: Any) -> float:
        if down:
            raise ConnectionError("down")
        seen.append(value)
        return 1

    await run(CASES[:1], task, score=score, llm=house(), into=tmp_path)
    down = False
    await run(CASES[:1], task, score=score, llm=house(), into=tmp_path)
    assert (seen, runs) == ([[Pair(1, ["x"])]], 1)


@pytest.mark.parametrize("structured", [False, True])
async def test_the_result_of_a_turn_is_kept_whole(structured: bool, tmp_path: Path) -> None:
    """Text, value, turn and transcript are there again."""
    seen, down = list[Any](), True
    llm = house(lambda: [lutum.StructuredDelta('{"points": 5}')] if structured else ["yes"])

    async def task(case: Case[str, str], llm: lutum.Lutum) -> Any:
        if structured:
            return await llm.structured_turn(Verdict, case.input).collect()
        return await llm.text_turn(case.input).collect()

    def score(case: Case[str, str], value: Any) -> float:
        seen.append(value)
        if down:
            raise ConnectionError("down")
        return 1

    await run(CASES[:1], task, score=score, llm=llm, into=tmp_path)
    down = False
    await run(CASES[:1], task, score=score, llm=llm, into=tmp_path)
    before, after = seen
    assert sent(llm) == 1
    assert type(after) is type(before)
    for name in ("text", "reasoning", "refusal", "finish_reason", "model", "turn", "base", "usage"):
        assert getattr(after, name) == getattr(before, name)
    if structured:
        assert after.value == before.value == Verdict(5)


@VIRTUAL
@pytest.mark.parametrize(
    ("retry", "fails", "tries"),
    [
        (2, 2, 3),
        (2, 5, 3),
        (lutum.RetryPolicy(attempts=2, jitter=0), 1, 2),
        (None, 1, 1),
        (0, 1, 1),
    ],
)
@pytest.mark.parametrize("stage", ["task", "score"])
async def test_errors_are_tried_again(retry: Any, fails: int, tries: int, stage: str, tmp_path: Path) -> None:
    """As often as `retry` says, with its pauses; of a scorer on the same answer."""
    ran = scored = 0

    async def task(case: Case[str, str], llm: lutum.Lutum) -> str:
        nonlocal ran
        ran += 1
        said = await ask(case, llm)
        if stage == "task" and ran <= fails:
            raise ConnectionError("gone")
        return said

    def score(case: Case[str, str], output: str) -> float:
        nonlocal scored
        scored += 1
        if stage == "score" and scored <= fails:
            raise ConnectionError("gone")
        return 1

    llm = house()
    began = anyio.current_time()
    report = await run(CASES[:1], task, score=score, llm=llm, retry=retry, into=tmp_path)
    assert (ran if stage == "task" else scored) == tries
    assert (report.scores == {"c0": 1}) is (fails < tries)
    assert report.usage == llm.budget.spent
    assert (anyio.current_time() > began) is (tries > 1)


@pytest.mark.parametrize(
    "error",
    [
        lutum.BadValue("model", "is blank"),
        lutum.UsageError("wrong"),
        lutum.ProviderError("no", kind="invalid_request", status=400),
        lutum.Refused("no"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_comes_again_is_not_tried_again(error: Exception) -> None:
    """Errors of the call, requests that the provider refuses, and answers."""
    ran = 0

    async def task(case: Case[str, str], llm: lutum.Lutum) -> str:
        nonlocal ran
        ran += 1
        raise error

    await run(CASES[:1], task, score=equal, llm=house(), retry=3)
    assert ran == 1


@VIRTUAL
async def test_a_providers_retry_after_counts() -> None:
    """As in a turn's own policy."""
    answers: list[Any] = [
        [lutum.ProviderError("wait", kind="rate_limit", status=429, retry_after=17.0)],
        ["yes"],
    ]
    llm = lutum.Lutum(ScriptedAdapter(answers))
    began = anyio.current_time()
    report = await run(CASES[:1], ask, score=equal, llm=llm, retry=1)
    assert report.score == 1
    assert anyio.current_time() - began == pytest.approx(17)


async def test_what_failed_tries_used_is_kept(tmp_path: Path) -> None:
    """Beside the usage of the trial, whose figures stay comparable."""
    down = True

    async def task(case: Case[str, str], llm: lutum.Lutum) -> str:
        said = await ask(case, llm)
        if down:
            raise ConnectionError("behind the request")
        return said

    llm = house()
    await run(CASES, task, score=equal, llm=llm, into=tmp_path)
    down = False
    report = await run(CASES, task, score=equal, llm=llm, into=tmp_path)
    assert report.usage.total_tokens == report.earlier.total_tokens == 4 * 11
    assert (report.usage + report.earlier) == llm.budget.spent
    assert all(result.tries == 2 for result in report.results)
    assert "errors' cost" in str(report)


async def test_a_report_says_that_trials_have_no_score(tmp_path: Path) -> None:
    """So that a mean of the rest is not taken for the whole."""
    ran = 0

    async def task(case: Case[str, str], llm: lutum.Lutum) -> str:
        nonlocal ran
        ran += 1
        if ran > 2:
            raise lutum.NetworkError("down")
        return "yes"

    report = await run(CASES, task, score=equal, llm=house(), limit=1)
    assert "errors  2 trials ended in an error; run again" in str(report)
    assert [result.case for result in report.errors] == ["c2", "c3"]


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize(
    "wrong", [float("nan"), float("inf"), -0.1, 1.5, None, "high", Scored("report", float("nan"))]
)
async def test_a_score_that_is_none_names_the_scorer_and_the_case(wrong: Any, named: bool) -> None:
    """NaN above all: it would make every mean NaN."""

    def judge(case: Case[str, str], output: str) -> Any:
        return wrong if case.id == "c2" else 1

    score: Any = {"judge": judge} if named else judge
    report = await run(CASES, ask, score=score, llm=house())
    failure = report.cases["c2"][0].failure
    assert failure is not None
    assert (failure.kind, failure.stage) == ("BadValue", "score")
    assert f"the scorer {'judge' if named else 'score'!r} returned" in failure.message
    assert "for case 'c2'" in failure.message
    assert report.score == 1
    assert len(report.errors) == 1


async def test_an_objective_of_nan_is_an_error_too() -> None:
    """Also behind `maximize`, `scored_over` and a PureEval."""

    @PureEval.of
    def nothing(trace: trace.Trace, answer: Answer[str, str, str]) -> float:
        return float("nan")

    @Eval.of
    async def asked(llm: lutum.Lutum, trace: trace.Trace, answer: Answer[str, str, str]) -> float:
        return float("nan")

    for score in nothing.scored_by(maximize(float)), asked.scored_over(2, maximize(float)):
        report = await run(CASES[:1], ask, score=score, llm=house())
        assert report.unscored == {"BadValue": 1}


@pytest.mark.parametrize("lazy", [False, True])
async def test_two_cases_of_one_id_are_refused(lazy: bool, tmp_path: Path) -> None:
    """A sequence before anything is sent; the message names the id."""
    cases = [*CASES, Case("c1", "other")]
    llm = house()
    with pytest.raises(lutum.BadValue, match="two cases have the id 'c1': numbers 1 and 4") as raised:
        await run(iter(cases) if lazy else cases, ask, score=equal, llm=llm, into=tmp_path)
    assert raised.value.field == "cases"
    assert sent(llm) <= (4 if lazy else 0)


async def test_an_old_folder_goes_on(tmp_path: Path) -> None:
    """One of format 1 does not know what was run: it is taken as it is."""
    old = {"case": "c0", "trial": 0, "score": 0.0, "failure": {"kind": "X", "message": "", "stage": "task"}}
    (tmp_path / "run.json").write_text('{"format": 1, "started": "then", "threshold": 1.0}')
    from lutum.eval._dataset import digest_of

    old["digest"] = digest_of(CASES[0])
    (tmp_path / "results.jsonl").write_text(json.dumps(old) + "\n")
    report = await run(CASES, ask, score=equal, llm=house(), into=tmp_path)
    assert len(report.results) == 4
    assert load_run(tmp_path).info.started == "then"


@pytest.mark.parametrize("retry", [-1, True, "3", 1.5])
async def test_a_wrong_retry_is_refused(retry: Any) -> None:
    with pytest.raises(lutum.BadValue, match="retry: "):
        await run(CASES, ask, score=equal, llm=house(), retry=retry)
    with pytest.raises(lutum.BadValue, match="again: "):
        await run(CASES, ask, score=equal, llm=house(), again="all")  # type: ignore[arg-type]
