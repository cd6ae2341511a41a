"""The page of a run in a real browser without a network: by keyboard alone, and with hostile text.

Skipped where there is no Chromium, or no playwright to drive it.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import lutum
from lutum.eval import Arm, Case, RunReport, TrialResult, grid, load_grid, load_run, run
from lutum.eval._html import page
from lutum.testing import Script, ScriptedAdapter

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
HOSTILE = [
    "</script><script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "\x1b]52;c;b3duZWQ=\x07copied",
    "\u202egnp.exe\u2066 turned \u200b\x9b31m",
]
CASES = [Case(f"c{i}", f"question {i}", "yes", ("odd",) if i % 2 else ()) for i in range(6)]


async def ask(case: Case[str, str], llm: lutum.Lutum) -> str:
    if case.id == "c4":
        raise ConnectionError("the line is down")
    return (await llm.text_turn(case.input).collect()).text


def equal(case: Case[str, str], output: str) -> bool:
    return output == case.expected


def brief(case: Case[str, str], output: str) -> float:
    return 0.25


def house(*answers: str) -> lutum.Lutum:
    usage = lutum.Usage(700, 300, cost_usd=Decimal("0.0125"))
    return lutum.Lutum(ScriptedAdapter([Script((answer,), usage) for answer in answers]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two scores, and a grid."""
    path = tmp_path_factory.mktemp("runs")

    async def made() -> None:
        score: Any = {"right": equal, "brief": brief}
        llm = house("yes", "no", "yes", "no", "yes")
        await run(CASES, ask, score=score, llm=llm, limit=1, into=path / "run", progress=False)
        arms = {"plain": Arm(house(*["yes"] * 5), ask), "other": Arm(house(*["no"] * 5), ask)}
        await grid(CASES, arms, score=equal, limit=1, into=path / "grid", progress=False)

    with ThreadPoolExecutor(1) as thread:  # the driver of the browser has a loop in this one
        thread.submit(lambda: asyncio.run(made())).result()
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A Chromium without a display."""
    driver = pytest.importorskip("playwright.sync_api", reason="no playwright to drive a browser")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    with driver.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Opened:
    """A page, and what went wrong in it."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        self.problems = list[str]()
        self.page = browser.new_page(**options)
        self.page.on("console", lambda message: self.problems.append(message.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("requestfinished", self._asked)
        self.url = path.as_uri()
        self.page.goto(self.url)

    def _asked(self, request: Any) -> None:
        if request.url != self.url:
            self.problems.append(f"asked for {request.url}")

    def cells(self, column: int = 1) -> list[str]:
        return self.page.locator(f"#trials tbody tr td:nth-child({column})").all_text_contents()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)


def test_cases_scores_cost_latency_and_the_trace(browser: Any, folder: Path, tmp_path: Path) -> None:
    """A table that is filtered and sorted; a trial opens with its trace, by keyboard alone."""
    load_run(folder / "run").to_html(tmp_path / "run.html", title="Monday")
    opened = Opened(browser, tmp_path / "run.html")
    page = opened.page
    assert page.title() == "Monday"
    heads = page.locator("#trials thead th").all_text_contents()
    assert heads == ["case", "result", "right", "brief", "cost", "tokens", "time", "output"]
    assert opened.cells() == [f"c{i}" for i in range(6)]
    assert opened.cells(2) == ["passed", "failed", "passed", "failed", "error", "passed"]
    assert opened.cells(3) == ["1.000", "0.000", "1.000", "0.000", "-", "1.000"]
    assert opened.cells(5)[0] == "$0.0125"
    assert all(cell.endswith("s") for cell in opened.cells(7))
    sums = page.inner_text(".sums")
    for words in ("6 of 6 cases", "0.600", "$0.0625", "1 without a score", "scripted:scripted-1"):
        assert words in sums
    page.select_option("#status", "failed")
    assert opened.cells() == ["c1", "c3"]
    page.select_option("#status", "")
    page.locator("#filter").focus()
    page.keyboard.type("line is down")
    assert opened.cells() == ["c4"]
    page.fill("#filter", "")
    page.get_by_role("button", name="right").click()
    assert opened.cells(3) == ["-", "0.000", "0.000", "1.000", "1.000", "1.000"]
    page.get_by_role("button", name="right").click()
    assert opened.cells(3)[0] == "1.000"
    assert page.locator("#trials th").nth(2).get_attribute("aria-sort") == "descending"
    page.get_by_role("button", name="c1", exact=True).focus()
    opened.press("Enter")
    details = page.inner_text("#details")
    for words in ("c1", "failed", "0.250", "$0.0125, 1,000 tokens", "Output", "Trace", "turn scripted-1"):
        assert words in details
    assert page.locator("#details li").count() == 3
    opened.press("Tab", "Tab", "Enter")
    assert "question 1" in page.inner_text("#details")
    opened.press("Escape")
    assert page.is_hidden("#details")
    assert page.evaluate("document.activeElement.textContent") == "c1"
    page.get_by_role("button", name="c4", exact=True).click()
    assert "ConnectionError: the line is down" in page.inner_text("#details")
    assert opened.problems == []


def test_a_grid_has_its_arms(browser: Any, folder: Path, tmp_path: Path) -> None:
    load_grid(folder / "grid").to_html(tmp_path / "grid.html")
    opened = Opened(browser, tmp_path / "grid.html")
    assert opened.cells(1) == ["plain"] * 6 + ["other"] * 6
    assert opened.page.locator("header h2").all_text_contents() == ["plain", "other"]
    opened.page.fill("#filter", "other")
    assert set(opened.cells(1)) == {"other"}
    assert opened.problems == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
def test_eval_accessible(browser: Any, folder: Path, tmp_path: Path, scheme: str, width: int) -> None:
    """axe finds nothing, with a trial open or not; nothing is wider than the window."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe").Axe()
    load_run(folder / "run").to_html(tmp_path / "run.html")
    options = {"color_scheme": scheme, "viewport": {"width": width, "height": 800}, "bypass_csp": True}
    opened = Opened(browser, tmp_path / "run.html", **options)

    def found() -> list[Any]:
        rules = axe.run(opened.page).response["violations"]
        return [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in rules]

    assert found() == []
    opened.page.get_by_role("button", name="c4", exact=True).click()
    assert found() == []
    opened.press("Escape")
    opened.page.get_by_role("button", name="c1", exact=True).click()
    opened.page.locator("#details summary").first.click()
    assert found() == []
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width


def test_eval_hostile_text(browser: Any, tmp_path: Path) -> None:
    """What models and tasks said is shown as text, runs nothing and steers nothing."""
    failure = lutum.eval.Failure(HOSTILE[0], HOSTILE[1], "task")
    results = [
        TrialResult(
            case=text, trial=0, score=0.0, output=text, report={text: text}, tags=(text,), failure=failure
        )
        for text in HOSTILE
    ]
    path = tmp_path / "run.html"
    RunReport(results).to_html(path, title=HOSTILE[0])
    source = path.read_text("utf-8")
    assert source.count("</script>") == 2
    for sign in "\x1b\x07\x9b\u202e\u2066\u200b":
        assert sign not in source
    assert "default-src 'none'" in source
    assert "unsafe" not in source
    opened = Opened(browser, path)
    assert opened.page.title() == HOSTILE[0]
    for button in opened.page.locator("#trials td button").all():
        button.click()
        assert HOSTILE[1] in opened.page.inner_text("#details")
        opened.press("Escape")
    assert opened.page.evaluate("document.scripts.length") == 2
    assert opened.page.evaluate("document.images.length") == 0
    assert opened.problems == []


def test_eval_its_policy(browser: Any, folder: Path, tmp_path: Path) -> None:
    """The policy of the page runs its one script, and nothing that would come in by another way."""
    load_run(folder / "run").to_html(tmp_path / "run.html")
    source = (tmp_path / "run.html").read_text("utf-8")
    evil = "<script>document.title='owned'</script><img src='https://x.test/'><p style='color:red'>red</p>"
    (tmp_path / "evil.html").write_text(source.replace("</body>", evil + "</body>"), "utf-8")
    opened = Opened(browser, tmp_path / "evil.html")
    assert opened.page.title() == "Run"
    assert len([problem for problem in opened.problems if "Content Security Policy" in problem]) == 3
    assert not [problem for problem in opened.problems if problem.startswith("asked")]


def test_a_large_run_is_bounded(browser: Any, tmp_path: Path) -> None:
    """A thousand trials open at once; long texts are cut, and what is left out is said."""
    results = [
        TrialResult(case=f"c{i:04}", trial=0, score=i % 2, output="x" * 5_000, seconds=i)
        for i in range(1_000)
    ]
    path = tmp_path / "run.html"
    RunReport(results).to_html(path)
    assert path.stat().st_size < 6_000_000
    opened = Opened(browser, path)
    assert len(opened.cells()) == 1_000
    opened.page.fill("#filter", "c0500")
    assert opened.cells() == ["c0500"]
    opened.page.get_by_role("button", name="c0500", exact=True).click()
    assert "(1,000 characters more)" in opened.page.inner_text("#details")
    assert opened.problems == []


def test_many_trials_have_shorter_texts() -> None:
    """A page of any run can be opened."""
    results = [TrialResult(case=f"c{i}", trial=0, score=1.0, output="x" * 5_000) for i in range(10_000)]
    assert len(page({"": RunReport(results)}, "x")) < 10_000_000


def test_a_missing_trace_is_said(folder: Path) -> None:
    """A page can be made of what is left of a folder."""
    report = load_run(folder / "run")
    lost = RunReport(report.results, folder=Path("nowhere"))
    assert "The file of the trace is missing or damaged." in page({"": lost}, "x")
    assert "Trace" not in page({"": RunReport([])}, "x").partition("<script>")[0]
