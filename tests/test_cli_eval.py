"""`lutum eval`: listing, filtering, opening a trial, comparing, and what goes wrong."""

import asyncio
import json
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import lutum
from lutum._text import cells
from lutum.cli import main
from lutum.eval import Arm, Case, grid, run
from lutum.testing import Script, ScriptedAdapter

BAD = "\x1b[31mred\x1b[0m\u202e"
CASES = [Case(f"c{i}", f"question {i}", "yes", ("odd",) if i % 2 else ("even",)) for i in range(8)]


async def ask(case: Case[str, str], llm: lutum.Lutum) -> str:
    if case.id == "c6":
        raise ConnectionError(f"gone {BAD}")
    return (await llm.text_turn(case.input).collect()).text


def equal(case: Case[str, str], output: str) -> bool:
    return output == case.expected


def brief(case: Case[str, str], output: str) -> float:
    return 0.25


def house(*answers: str) -> lutum.Lutum:
    usage = lutum.Usage(700, 300, cost_usd=Decimal("0.0125"))
    return lutum.Lutum(ScriptedAdapter([Script((answer,), usage) for answer in answers]))


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two runs with named scores and an error, and a grid."""

    async def made() -> None:
        score: Any = {"right": equal, "brief": brief}
        before = house(*["yes", "no", f"no {BAD}", "no", "no", "no", "no"])
        await run(CASES, ask, score=score, llm=before, limit=1, into=tmp_path / "a", progress=False)
        after = house(*["yes"] * 7)
        await run(CASES, ask, score=score, llm=after, limit=1, into=tmp_path / "b", progress=False)
        arms = {"plain": Arm(house(*["yes"] * 7), ask), "other": Arm(house(*["no"] * 7), ask)}
        await grid(CASES, arms, score=equal, into=tmp_path / "grid", limit=1, progress=False)

    asyncio.run(made())
    return tmp_path


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    monkeypatch.setenv("COLUMNS", "100")

    def show(*words: object, code: int = 0) -> str:
        capsys.readouterr()
        assert main(["eval", *map(str, words)]) == code
        out, err = capsys.readouterr()
        text = out if code == 0 else err
        assert "\x1b" not in text
        assert "\u202e" not in text
        return text

    return show


def cases_of(text: str) -> list[str]:
    return re.findall(r"^(c\d)", text, re.MULTILINE)


def test_a_run_is_listed(runs: Path, shown: Callable[..., str]) -> None:
    """The report, then a line a trial that fits the terminal."""
    text = shown(runs / "a")
    assert text.startswith("trials  8 of 8 cases\n")
    assert "brief   0.250" in text
    assert "errors  1 trial ended in an error; run again" in text
    assert cases_of(text) == [f"c{i}" for i in range(8)]
    assert "c0    1.000  $0.0125" in text
    assert re.search(r"^c6 +- .*ConnectionError: gone red", text, re.MULTILINE)
    assert text.rstrip().endswith("8 of 8 trials")
    assert max(map(cells, text.split("\n"))) <= 100


FILTERS: list[tuple[list[str], list[str]]] = [
    (["--case", "c[01]"], ["c0", "c1"]),
    (["--case", "none"], []),
    (["--tag", "odd"], ["c1", "c3", "c5", "c7"]),
    (["--errors"], ["c6"]),
    (["--failed"], ["c1", "c2", "c3", "c4", "c5", "c7"]),
    (["--below", "0.5", "--tag", "even"], ["c2", "c4"]),
    (["--score", "brief", "--below", "0.5", "--case", "c0"], ["c0"]),
]


@pytest.mark.parametrize(("words", "expected"), FILTERS, ids=range(len(FILTERS)))
def test_trials_are_filtered(
    runs: Path, shown: Callable[..., str], words: list[str], expected: list[str]
) -> None:
    """As a list, and as JSON lines."""
    text = shown(runs / "a", *words)
    assert cases_of(text) == expected
    assert f"{len(expected)} of 8 trials" in text
    lines = shown(runs / "a", *words, "--json").splitlines()
    assert [json.loads(line)["case"] for line in lines] == expected


def test_one_trial_is_opened(runs: Path, shown: Callable[..., str]) -> None:
    """With scores, cost, output and its trace."""
    text = shown(runs / "a", "--trial", "c2")
    for words in (
        "case    c2",
        "right: 0.000",
        "brief: 0.250",
        "$0.012500, 700 + 300 tokens (exact)",
        "no red",
    ):
        assert words in text
    assert "turn scripted-1" in text
    failed = shown(runs / "a", "--trial", "c6:0")
    assert "error   ConnectionError: gone red (task)" in failed


def test_two_runs_are_compared(runs: Path, shown: Callable[..., str]) -> None:
    """With paired intervals; also by a named score."""
    text = shown(runs / "a", "--compare", runs / "b")
    assert "8 cases in both runs" in text
    assert re.search(r"^score +0\.143 +1\.000 +\+0\.857 +\S+ to \S+ +\*", text, re.MULTILINE)
    assert "better         6: c1, c2, c3, c4, c5, c7" in text
    text = shown(runs / "a", "--compare", runs / "b", "--score", "brief")
    assert re.search(r"^score +0\.250 +0\.250 +\+0\.000 [^*]*$", text, re.MULTILINE)


def test_a_grid_is_listed(runs: Path, shown: Callable[..., str]) -> None:
    """Its arms, each against the first; then as a run."""
    text = shown(runs / "grid")
    assert re.search(r"^plain +8 +1\.000", text, re.MULTILINE)
    assert re.search(r"^other - plain: -1\.000, 95 % -1\.000 to -1\.000 \*$", text, re.MULTILINE)
    assert cases_of(shown(runs / "grid", "--arm", "other", "--failed", "--case", "c1")) == ["c1"]
    assert "8 cases in both" in shown(runs / "grid", "--arm", "plain", "--compare", "other")
    assert cases_of(shown(runs / "grid" / "plain")) == [f"c{i}" for i in range(8)]


WRONG: list[tuple[list[str], str]] = [
    (["none"], "has no run.json"),
    (["a", "--trial", "c99"], "there is no trial of a case 'c99'"),
    (["a", "--trial", "c1:7"], "there is no trial 7 of case 'c1'"),
    (["a", "--arm", "plain"], "is a single run, which has no arms"),
    (["a", "--score", "size"], "its named scores are right, brief"),
    (["a", "--compare", "none"], "has no run.json"),
    (["grid", "--trial", "c1"], "its arms are plain, other"),
    (["grid", "--arm", "none"], "'none' is not one of plain, other"),
    (["a", "--html", "none/x.html"], "No such file"),
]


@pytest.mark.parametrize(("words", "said"), WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_is_plain(
    runs: Path, shown: Callable[..., str], monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.chdir(runs)
    assert said in shown(*words, code=1)


def test_a_page_is_written(runs: Path, shown: Callable[..., str]) -> None:
    """Of a run, a grid, or an arm of it."""
    for words in ([runs / "a"], [runs / "grid"], [runs / "grid", "--arm", "plain"]):
        assert shown(*words, "--html", runs / "page.html") == ""
        assert "<table id" in (runs / "page.html").read_text()
