"""A bar on a terminal, a line a minute elsewhere."""

import sys
from decimal import Decimal

import anyio
import pytest
from fakes import VIRTUAL

import lutum
from lutum.eval import Case, TrialResult, run
from lutum.eval._progress import Progress
from lutum.testing import ScriptedAdapter

CASES = [Case(f"c{i}", f"question {i}", "yes") for i in range(4)]


def house() -> lutum.Lutum:
    return lutum.Lutum(ScriptedAdapter(lambda request: ["yes"]))


async def slow(case: Case[str, str], llm: lutum.Lutum) -> str:
    await anyio.sleep(50)
    return (await llm.text_turn(case.input).collect()).text


def equal(case: Case[str, str], output: str) -> bool:
    return output == case.expected


@VIRTUAL
async def test_a_line_a_minute_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """With rate, cost and time left; nothing in a shorter run, and nothing where it is switched off."""
    await run(CASES, slow, score=equal, llm=house(), limit=1)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.split("\n") == [
        "1 of 4 trials, score 1.000, 0 failed, 1.0/min, 3 min left, no price, 11 tokens",
        "2 of 4 trials, score 1.000, 0 failed, 1.0/min, 2 min left, no price, 22 tokens",
        "3 of 4 trials, score 1.000, 0 failed, 1.0/min, 60 s left, no price, 33 tokens",
        "",
    ]
    await run(CASES[:1], slow, score=equal, llm=house())
    await run(CASES, slow, score=equal, llm=house(), limit=1, progress=False)
    assert capsys.readouterr() == ("", "")


@VIRTUAL
async def test_the_bar_shows_rate_cost_and_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By itself on a terminal; it fits the width and ends with a line feed."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    await run(CASES, slow, score=equal, llm=house(), limit=1)
    err = capsys.readouterr().err
    drawn = err.split("\r")[1:]
    assert all(len(line.rstrip("\n")) < 80 for line in drawn)
    assert any(line.startswith("[######......] 50% 2/4, score 1.000, 0 failed, 1.2/min") for line in drawn)
    assert any("min left" in line for line in drawn)
    assert drawn[-1].startswith("[############] 100% 4/4, score 1.000, 0 failed")
    assert "44 tokens" in drawn[-1]
    assert err.endswith("\n")


@VIRTUAL
async def test_an_unknown_total_has_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    await run(iter(CASES), slow, score=equal, llm=house(), limit=1, progress=True)
    assert "4 trials, score 1.000" in capsys.readouterr().err.split("\r")[-1]


def test_a_repeated_trial_counts_once() -> None:
    """Its error goes, and what its tries used is added up."""
    paid = lutum.Usage(10, 5, cost_usd=Decimal("0.5"))
    failure = lutum.eval.Failure("X", "", "task")
    error = TrialResult(case="a", trial=0, failure=failure, usage=paid)
    done = TrialResult(case="a", trial=0, score=1.0, usage=paid, earlier=paid)
    bar = Progress(False, 1)
    bar.count([error])
    assert bar.line() == "1 of 1 trials, score -, 1 failed, $0.5000, 15 tokens"
    bar.add(done, error)
    assert bar.line() == "1 of 1 trials, score 1.000, 0 failed, $1.0000, 30 tokens"
    judged = TrialResult(case="a", trial=0, score=0.5, usage=paid, earlier=paid, judge_usage=paid)
    bar.add(judged, done)
    assert bar.line() == "1 of 1 trials, score 0.500, 0 failed, $1.5000, 45 tokens"
