"""Several named scores a trial, and stored answers that are scored again."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import lutum
from lutum.eval import (
    Answer,
    Case,
    JudgeEval,
    PureEval,
    compare,
    load_run,
    maximize,
    pass_fail,
    rescore,
    run,
)
from lutum.testing import ScriptedAdapter

CASES = [Case(f"c{i}", f"question {i}", "yes", ("odd",) if i % 2 else ()) for i in range(8)]


def house(*answers: str) -> lutum.Lutum:
    return lutum.Lutum(ScriptedAdapter([[answer] for answer in answers or ("yes",) * 8]))


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def ask(case: Case[str, str], llm: lutum.Lutum) -> str:
    return (await llm.text_turn(case.input).collect()).text


def equal(case: Case[str, str], output: str) -> bool:
    return output == case.expected


async def brief(case: Case[str, str], output: str) -> float:
    return 1 / len(output)


@PureEval.of
def turns(trace: lutum.trace.Trace, answer: Answer[str, str, str]) -> int:
    return len(trace.find("turn"))


@dataclass
class Verdict:
    points: int


SCORERS: dict[str, Any] = {"right": equal, "brief": brief, "one turn": turns.scored_by(pass_fail(bool))}


async def test_each_scorer_has_a_score_of_its_own(tmp_path: Path) -> None:
    """Functions, coroutines and evals; the first one is the score that passes a trial."""
    report = await run(CASES, ask, score=SCORERS, llm=house("yes", *["no"] * 7), limit=1, into=tmp_path)
    first = report.results[0]
    assert first.scores == {"right": 1, "brief": pytest.approx(1 / 3), "one turn": 1}
    assert first.score == 1
    assert first.report == {"right": None, "brief": None, "one turn": 1}
    assert report.score == 1 / 8
    assert {name: float(part.score) for name, part in report.named.items()} == {
        "right": 1 / 8,
        "brief": pytest.approx((1 / 3 + 7 / 2) / 8),
        "one turn": 1,
    }
    assert report.named["one turn"].pass_at_k(1) == 1
    assert report.tags["odd"].named["brief"].score == 0.5
    text = str(report)
    assert "brief" in text
    assert "one turn  1.000" in text
    loaded = load_run(tmp_path)
    assert loaded.named.keys() == report.named.keys()
    assert str(loaded) == text
    assert compare(loaded.named["brief"], report.named["brief"]).changed == {}


async def test_one_scorer_that_raises_leaves_the_others() -> None:
    def broken(case: Case[str, str], output: str) -> float:
        raise ConnectionError("down")

    for scorers in {"right": equal, "broken": broken}, {"broken": broken, "right": equal}:
        report = await run(CASES, ask, score=scorers, llm=house())
        assert len(report.errors) == 8
        assert report.unscored == {"ConnectionError": 8}
        assert report.named["right"].score == 1
        assert report.named["broken"].scores == {}
        assert [len(report.named[name].errors) for name in ("right", "broken")] == [0, 8]
        assert report.results[0].errors.keys() == {"broken"}
        assert (report.results[0].score is None) is (next(iter(scorers)) == "broken")


@pytest.mark.parametrize("wrong", [{}, {"": equal}, {7: equal}, {"a": 3}, "equal", 7])
async def test_what_is_no_scorer_is_refused(wrong: Any) -> None:
    with pytest.raises(lutum.BadValue, match="score: "):
        await run(CASES, ask, score=wrong, llm=house())


async def test_one_scorer_is_as_before() -> None:
    report = await run(CASES, ask, score=equal, llm=house())
    assert report.named == {}
    assert report.results[0].scores == {}


async def test_rescoring_asks_no_model(tmp_path: Path) -> None:
    """Other scorers on the same answers; the folder stays as it was."""
    llm = house()
    await run(CASES, ask, score=equal, llm=llm, into=tmp_path / "a")
    before = contents(tmp_path / "a")
    report = await rescore(tmp_path / "a", CASES, str, score=SCORERS)
    assert report.named["brief"].score == pytest.approx(1 / 3)
    assert report.named["one turn"].score == 1  # from the stored trace
    assert len(llm.adapter.requests) == 8  # type: ignore[attr-defined]
    assert contents(tmp_path / "a") == before
    kept = await rescore(tmp_path / "a", CASES, score=SCORERS, into=tmp_path / "b")
    loaded = load_run(tmp_path / "b")
    assert loaded.results == kept.results
    assert all((tmp_path / "b" / str(result.trace)).is_file() for result in loaded.results)
    assert loaded.info.model == "scripted:scripted-1"
    assert list(loaded.info.scorers) == list(SCORERS)
    again = await rescore(tmp_path / "a", CASES, score=SCORERS, into=tmp_path / "b")
    assert again.results == loaded.results
    with pytest.raises(lutum.BadValue, match="the scorer 'brief' was"):
        await rescore(tmp_path / "a", CASES, score=equal, into=tmp_path / "b")


async def test_a_corrected_answer_key_is_rescored(tmp_path: Path) -> None:
    """What is expected may change, the input may not."""
    await run(CASES[:2], ask, score=equal, llm=house(), into=tmp_path)
    key = [Case(case.id, case.input, "no", case.tags) for case in CASES[:2]]
    report = await rescore(tmp_path, key, score=equal)
    assert report.score == 0
    with pytest.raises(lutum.BadValue, match="case 'c0' has another input"):
        await rescore(tmp_path, [Case("c0", "other", "yes")], score=equal)
    assert len((await rescore(tmp_path, CASES[:1], score=equal)).results) == 1


async def test_rescoring_with_a_judge(tmp_path: Path) -> None:
    judge = JudgeEval[Any, Verdict](Verdict, lambda trace, answer: answer.output).scored_by(
        maximize(lambda verdict: verdict.points / 10)
    )
    await run(CASES[:2], ask, score=equal, llm=house(), into=tmp_path)
    with pytest.raises(lutum.BadValue, match="judge: is missing; give a Lutum, because the scorer 'points'"):
        await rescore(tmp_path, CASES, score={"points": judge})
    asked = lutum.Lutum(ScriptedAdapter([[lutum.StructuredDelta('{"points": 6}')]] * 2))
    report = await rescore(tmp_path, CASES, score={"points": judge}, judge=asked)
    assert report.score == pytest.approx(0.6)
    assert report.judge_usage == asked.budget.spent


async def test_values_are_made_again_for_a_scorer(tmp_path: Path) -> None:
    """By the type that is given, or by a function of the JSON; an answer that is another type is refused."""

    async def task(case: Case[str, str], llm: lutum.Lutum) -> Any:
        await ask(case, llm)
        return [Verdict(4)]

    def points(case: Case[str, str], output: list[Verdict]) -> float:
        return output[0].points / 10

    await run(CASES[:2], task, score=lambda case, output: 1, llm=house(), into=tmp_path)
    assert (await rescore(tmp_path, CASES, list[Verdict], score=points)).score == pytest.approx(0.4)
    made = await rescore(tmp_path, CASES, lambda json: [Verdict(json[0]["points"] * 2)], score=points)
    assert made.score == pytest.approx(0.8)
    for wrong in (None, list[int]):
        with pytest.raises(lutum.BadValue, match=r"output: the stored output of trial 0 of case 'c"):
            await rescore(tmp_path, CASES, wrong, score=points)


async def test_failed_trials_stay_what_they_are(tmp_path: Path) -> None:
    async def task(case: Case[str, str], llm: lutum.Lutum) -> str:
        if case.id == "c1":
            raise ConnectionError("gone")
        return await ask(case, llm)

    await run(CASES[:3], task, score=equal, llm=house(), into=tmp_path)
    report = await rescore(tmp_path, CASES, str, score=lambda case, output: 0.5)
    assert [result.score for result in report.results] == [0.5, None, 0.5]
    assert report.failures == {"ConnectionError": 1}
