"""The page of a trace, in a real browser without a network: by keyboard alone, and with hostile text.

Skipped where there is no Chromium, or no playwright to drive it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lutum import trace

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
HOSTILE = [
    "</script><script>document.title='owned'</script>",
    "<!--<script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "\x1b]52;c;b3duZWQ=\x07copied",
    "\u202egnp.exe\u2066 turned \u200b\x9b31m",
    "\u2028line\u2029ends",
    "a & b &lt; c",
]


def made(spans: list[dict[str, Any]]) -> trace.Trace:
    lines = [{"type": "trace", "version": 1, "wall": 1.7e9, "started": 0, "ended": 10}]
    lines += [{"type": "span", "id": number, **span} for number, span in enumerate(spans, 1)]
    return trace.load("\n".join(map(json.dumps, lines)).encode())


def small() -> trace.Trace:
    """One of everything that the page draws."""
    used = {"input_tokens": 12, "output_tokens": 5, "usage_known": "exact", "cost_usd": "0.002"}
    curve = {"curve": [[0.5, 0], [1, 3], [2, 5]], "first_event": 0.5}
    failed = {"error": "ProviderError", "message": "busy", "error_status": 529}
    return made(
        [
            {"name": "fan-out", "started": 0, "ended": 9, "fields": {}},
            {"name": "turn", "parent": 1, "started": 0, "ended": 3, "fields": {"model": "m-1", **used}},
            {"name": "attempt", "parent": 2, "started": 0, "ended": 3, "fields": {"number": 1}},
            {"name": "request", "parent": 3, "started": 0, "ended": 3, "fields": {"status": 200, **curve}},
            {"name": "turn", "parent": 1, "started": 1, "ended": 4, "fields": failed},
            {"name": "wait", "parent": 1, "started": 1, "ended": 4, "fields": {"reason": "reservation"}},
            {"name": "tool", "started": 3, "ended": 4, "fields": {"tool": "weather", "cancelled": True}},
            {"name": "turn", "started": 5, "fields": {"model": "m-2"}, "notes": [["half", 6, {"of": "it"}]]},
        ]
    )


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
        self.page.on("requestfinished", self._asked)  # what the policy refuses never gets that far
        self.url = path.as_uri()
        self.page.goto(self.url)

    def _asked(self, request: Any) -> None:
        if request.url != self.url:
            self.problems.append(f"asked for {request.url}")

    def focused(self) -> str:
        """What the focused element says first."""
        return self.page.evaluate(
            "(document.activeElement.querySelector('.words')||document.activeElement).textContent"
        )

    def labels(self) -> list[str]:
        """The spans that can be seen."""
        return self.page.evaluate(
            "[...document.querySelectorAll('.row:not(.head)')].filter(row => row.offsetParent)"
            ".map(row => row.querySelector('.words').textContent)"
        )

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)


def test_by_keyboard(browser: Any, tmp_path: Path) -> None:
    """Everything can be reached, opened, read and left with the keyboard alone."""
    small().to_html(tmp_path / "t.html", title="A run")
    opened = Opened(browser, tmp_path / "t.html")
    assert opened.page.title() == "A run"
    whole = ["fan-out", "turn m-1", "turn", "wait reservation", "tool weather", "turn m-2"]
    assert opened.labels() == whole
    opened.press("Tab", "Tab", "Tab")
    assert opened.focused() == "fan-out"
    opened.press("ArrowDown", "ArrowRight")
    assert opened.labels() == [*whole[:2], "attempt 1", "request 200", *whole[2:]]
    opened.press("ArrowRight", "ArrowRight")
    assert opened.focused() == "request 200"
    opened.press("Enter")
    assert opened.focused() == "request 200"
    details = opened.page.inner_text("#details")
    assert "first_event" in details
    assert opened.page.locator("#details svg").get_attribute("aria-label") == "5 pieces in 3 s"
    opened.press("Escape")
    assert opened.page.is_hidden("#details")
    assert opened.focused() == "request 200"
    opened.press("ArrowLeft", "ArrowLeft", "ArrowLeft", "ArrowLeft")
    assert opened.focused() == "turn m-1"
    opened.press("Home", "ArrowLeft")
    assert opened.labels() == ["fan-out", "tool weather", "turn m-2"]
    opened.press("End", "Enter")
    assert "of=it" in opened.page.inner_text("#details")
    opened.press("Escape", "Shift+Tab", "Shift+Tab")
    opened.page.keyboard.type("529")
    assert opened.labels() == ["fan-out", "turn"]
    assert "ProviderError 529: busy" in opened.page.inner_text("#spans")
    opened.page.keyboard.type("none such")
    assert opened.page.is_visible("#none")
    assert opened.problems == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
def test_trace_accessible(browser: Any, tmp_path: Path, scheme: str, width: int) -> None:
    """axe finds nothing, with details open or not, in either colour scheme, wide or narrow."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe").Axe()
    small().to_html(tmp_path / "t.html")
    options = {"color_scheme": scheme, "viewport": {"width": width, "height": 800}, "bypass_csp": True}
    opened = Opened(browser, tmp_path / "t.html", **options)

    def found() -> list[Any]:
        rules = axe.run(opened.page).response["violations"]
        return [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in rules]

    assert found() == []
    opened.page.click("#all")
    opened.page.locator(".row", has_text="request 200").click()
    assert found() == []
    wide = opened.page.evaluate("document.documentElement.scrollWidth")
    assert wide <= width


def test_trace_hostile_text(browser: Any, tmp_path: Path) -> None:
    """Text from models, tools and providers is shown as text, runs nothing and steers nothing."""
    spans = [
        {"name": "tool", "started": 0, "ended": 1, "fields": {"tool": text, text: [text], "error": text}}
        | {"notes": [[text, 0.5, {text: text}]]}
        for text in HOSTILE
    ]
    t = made(spans)
    t.roots[5].fields["surrogate"] = "a \ud800"
    t.to_html(tmp_path / "t.html", title=HOSTILE[0])
    source = (tmp_path / "t.html").read_text("utf-8")
    assert source.count("</script>") == 2
    for sign in "\x1b\x07\x9b\u202e\u2066\u200b\u2028\u2029\ud800":
        assert sign not in source
    opened = Opened(browser, tmp_path / "t.html")
    assert opened.page.title() == HOSTILE[0]
    for number, shown in enumerate([HOSTILE[0], HOSTILE[1], HOSTILE[2], "copied", "gnp.exe turned "]):
        row = opened.page.locator(".row:not(.head)").nth(number)
        assert row.locator(".words").text_content() == f"tool {shown}"
        row.click()
        assert shown in opened.page.text_content("#details")
    assert opened.page.evaluate("document.scripts.length") == 2
    assert opened.page.evaluate("document.images.length") == 0
    assert opened.problems == []


def test_trace_its_policy(browser: Any, tmp_path: Path) -> None:
    """The policy of the page runs its one script, and nothing that would come in by another way."""
    small().to_html(tmp_path / "t.html")
    source = (tmp_path / "t.html").read_text("utf-8")
    assert "default-src 'none'" in source
    assert "unsafe" not in source
    evil = "<script>document.title='owned'</script><img src='https://x.test/'><p style='color:red'>red</p>"
    (tmp_path / "evil.html").write_text(source.replace("</body>", evil + "</body>"), "utf-8")
    opened = Opened(browser, tmp_path / "evil.html")
    assert opened.page.title() == "Trace"
    assert len([problem for problem in opened.problems if "Content Security Policy" in problem]) == 3
    assert not [problem for problem in opened.problems if problem.startswith("asked")]


def test_a_thousand_spans(browser: Any, tmp_path: Path) -> None:
    """1,000 spans with all their fields are less than 1 MB, and opening draws few elements for each."""
    fields = {f"field_{number}": "value " * 5 for number in range(14)}
    spans: list[dict[str, Any]] = []
    for number in range(1000):
        parent = {"parent": number - number % 4} if number % 4 else {}
        curve = {"curve": [[at / 64, at] for at in range(64)]} if number % 4 == 3 else {}
        name = ["turn", "attempt", "wait", "request"][number % 4]
        more = {"fields": fields | curve, "notes": [["sent", 1, {}], ["head", 2, {"status": 200}]]}
        spans.append({"name": name, "started": number / 100, "ended": number / 100 + 1, **parent, **more})
    for span in spans:
        if "parent" in span:
            span["parent"] += 1
    path = tmp_path / "t.html"
    made(spans).to_html(path)
    assert path.stat().st_size < 1_000_000
    opened = Opened(browser, path)
    assert len(opened.labels()) >= 250
    assert opened.page.evaluate("document.querySelectorAll('*').length") < 12_000
    opened.page.click("#all")
    assert len(opened.labels()) == 1000
    assert opened.problems == []


def test_as_text() -> None:
    """Without a browser: one file, its texts capped, and a trace of nothing is a page too."""
    from lutum.trace._html import page

    long = made([{"name": "turn", "started": 0, "ended": 1, "fields": {"output": "x" * 10_000}}])
    assert "(6,000 characters more)" in page(long)
    assert len(page(made([]))) < 30_000
    huge = [{"name": "a", "started": 0, "ended": 1, "fields": {"text": "x" * 3_900}} for _ in range(400)]
    assert len(page(made(huge))) < 1_000_000
    assert "the dump contains it" in page(made(huge))
    odd = [{"name": "request", "started": 0, "ended": 1, "fields": {"curve": "?", "first_event": "?"}}]
    assert "request" in page(made(odd))
