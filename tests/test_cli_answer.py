"""An answer in a terminal: rendered once as Markdown, and a countdown before another attempt."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from fakes import VIRTUAL

import lutum
from lutum.cli import _answer
from lutum.cli._terminal import Terminal
from lutum.testing.wire import Reply, Say, Status, Think, WireServer

pytest.importorskip("rich")
pyte = pytest.importorskip("pyte")

TEXT = "# Rivers\n\n- the **Nile**\n- the [Danube](https://x.test/d)\n\n```python\nprint(1)\n```\n"


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch, columns: int = 60, lines: int = 30) -> tuple[Terminal, Screen]:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", str(lines))
    monkeypatch.delenv("NO_COLOR", raising=False)
    out = Screen()
    return Terminal(out), out


def look(out: Screen, columns: int = 60, lines: int = 200) -> list[str]:
    screen = pyte.Screen(columns, lines)
    pyte.Stream(screen).feed(out.getvalue().replace("\n", "\r\n"))
    return [row.rstrip() for row in screen.display]


async def show(out: Terminal, *scripts: Any, plain: bool = False, **given: Any) -> None:
    server = WireServer(scripts)
    adapter = lutum.ClaudeAdapter("m", api_key="k", base_url=server.url, http_client=server.connect)
    llm = lutum.Lutum(adapter, **given)
    await _answer.shown(llm.text_turn("x").stream(), out, plain=plain)


async def test_markdown_is_rendered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end there is the rendered text alone; links are text, without an escape sequence."""
    out, screen = terminal(monkeypatch)
    await show(out, Reply(Think("Hm."), Say(*TEXT.splitlines(keepends=True))))
    rows = look(screen)
    text = "\n".join(rows)
    assert "(thinking) Hm." in text
    assert text.count("Rivers") == 1
    assert "**" not in text
    assert "https://x.test/d" in text
    assert "\x1b]8" not in screen.getvalue()


async def test_an_answer_longer_than_the_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line is there once, although only the last ones can be drawn again."""
    out, screen = terminal(monkeypatch, lines=10)
    lines = [f"- item number {i}\n" for i in range(40)]
    await show(out, Reply(Say(*lines)))
    screened = pyte.HistoryScreen(60, 10, history=500, ratio=1)
    pyte.Stream(screened).feed(screen.getvalue().replace("\n", "\r\n"))
    top = ["".join(row[i].data for i in range(60)) for row in screened.history.top]
    text = "\n".join([*top, *screened.display])
    assert [len(re.findall(rf"item number {i}\b", text)) for i in range(40)] == [1] * 40


async def test_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    out, screen = terminal(monkeypatch)
    await show(out, Reply(Say(TEXT)), plain=True)
    assert "**Nile**" in "\n".join(look(screen))


async def test_hostile_markdown(monkeypatch: pytest.MonkeyPatch) -> None:
    """What steers a terminal is gone before it is rendered."""
    out, screen = terminal(monkeypatch)
    await show(out, Reply(Say("a\x1b]52;c;eA==\x07b [x](javascript:1) \x1b[2J `\x1b[31m`")))
    assert set(re.findall(r"\x1b(.)", screen.getvalue())) <= {"["}
    assert not re.search(r"\x1b\[(?!\d*[A-Z]|[\d;]*m|2K)", screen.getvalue())
    assert "\x1b[2J" not in screen.getvalue()


@VIRTUAL
async def test_a_countdown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The seconds before another attempt are counted down and then gone."""
    out, screen = terminal(monkeypatch)
    retry = lutum.RetryPolicy(initial=3.0, jitter=0.0)
    await show(out, Status(529, "overloaded_error", "Overloaded"), Reply("Nile."), retry=retry)
    counted = re.findall(r"attempt 2 follows in (\d) s", screen.getvalue())
    assert counted[:3] == ["3", "2", "1"]
    text = "\n".join(look(screen))
    assert "follows in" not in text
    assert "Nile." in text


@VIRTUAL
async def test_a_failure_during_the_countdown(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is raised as it is, and not in a group."""
    out, _ = terminal(monkeypatch)
    retry = lutum.RetryPolicy(initial=1.0, jitter=0.0, attempts=2)
    with pytest.raises(lutum.ProviderError, match="529"):
        await show(out, *[Status(529, "overloaded_error", "Overloaded")] * 2, retry=retry)


@VIRTUAL
async def test_outside_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line instead of a countdown, and no rendering."""
    out = Terminal(io.StringIO())
    assert not _answer.can_render(out)
    retry = lutum.RetryPolicy(initial=1.0, jitter=0.0)
    await show(out, Status(429, "rate_limit_error", "Slow"), Reply(Say("**a**")), retry=retry)
