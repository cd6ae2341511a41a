"""A trace in a terminal: lines that fit, say what happened and hold no escape sequence."""

from __future__ import annotations

import io
import json
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import pytest
from fakes import STALL, STARTED, FakeAdapter, Text, Wait, done
from hypothesis import given, strategies as st

import lutum
from lutum import trace
from lutum._text import cells
from lutum.cli import main
from lutum.testing import virtual_time
from lutum.trace._say import seconds

USAGE = lutum.Usage(12, 5, cost_usd=Decimal("0.002"))
BUSY = lutum.ProviderError("busy\x1b[31m", kind="overloaded", status=529)


def captured() -> trace.Trace:
    """A trace with one of everything, at times that are always the same."""
    adapter = FakeAdapter(
        [Wait(1), STARTED, Wait(3), Text("a"), done(USAGE)],
        [Wait(1), BUSY],
        [Wait(1), STARTED, Text("a"), done(USAGE)],
        [Wait(2), STARTED, Text("a"), STALL],
    )
    llm = lutum.Lutum(adapter, retry=lutum.RetryPolicy(initial=2, jitter=0))

    async def run() -> trace.Trace:
        async with trace.capture() as t:
            await llm.text_turn("hello").collect()
            trace.event("verdict", score=0.5)
            with pytest.raises(ValueError, match="no"), trace.span("tool", tool="weather \x1b]52;c;aGk=\x07"):
                await anyio.sleep(1)
                raise ValueError("no")
            with trace.span("branch", number=1):
                trace.event("half\u202e")
                await llm.text_turn("hello").collect()
            with anyio.move_on_after(5):
                await llm.text_turn("hello").collect()
        return t

    return anyio.run(run, backend_options=virtual_time("asyncio"))


def test_eighty_columns() -> None:
    """The picture of a trace is this one."""
    assert captured().render(80) == (
        "3 turns, 4 requests, 1 tool, 1 cancelled, 44 + 11 tokens, $0.0040, 14 s\n"
        "                0 s                                             14 s\n"
        "· verdict score=0.5\n"
        "turn fake-1     ░░░████████████                                      4 s  12 + 5\n"
        "tool weather                  ████✗                                  1 s\n"
        "  ! ValueError: no\n"
        "branch number=1                   ███████████████                    4 s\n"
        "  · half\n"
        "└ turn fake-1                     ░░░░░░░░░░░░░░░                    4 s ~22 + 5\n"
        "  ├ attempt 1                     ░░░✗                               1 s ~10 + 0\n"
        "  │ ! ProviderError 529: busy\n"
        "  ├ wait retry                        ░░░░░░░░                       2 s\n"
        "  └ attempt 2                                ░░░░                    1 s  12 + 5\n"
        "turn fake-1                                      ░░░░░░░▒▒▒▒▒▒▒▒▒▒▒╳ 5 s ~10 + 1"
    )


@pytest.mark.parametrize("width", [24, 40, 57, 80, 132])
def test_every_line_fits(width: int) -> None:
    """No line is wider than it may be, with colours or without; only colours are escape sequences."""
    t = captured()
    plain = t.render(width)
    assert max(map(cells, plain.split("\n"))) <= width
    assert not set("\x1b\x07\u202e") & set(plain)
    coloured = t.render(width, color=True)
    for code in ("2", "31", "32", "33"):
        coloured = coloured.replace(f"\x1b[{code}m", "")
    assert coloured.replace("\x1b[0m", "") == plain


NAMES = st.text(max_size=30)
WORDS = st.dictionaries(st.text(max_size=8), st.none() | st.text(max_size=30) | st.integers(), max_size=3)


@given(st.lists(st.tuples(NAMES, WORDS, st.integers(0, 5), st.none() | st.floats(-10, 1e9)), max_size=8))
def test_whatever_a_file_holds(spans: list[tuple[str, dict[str, Any], int, float | None]]) -> None:
    """Whatever names, fields and times spans have, the picture fits and steers nothing."""
    lines = [{"type": "trace", "version": 1, "wall": 0, "started": 0}]
    for number, (name, fields, parent, ended) in enumerate(spans, 1):
        span = {"type": "span", "id": number, "name": name, "started": 1, "ended": ended, "fields": fields}
        lines.append(span | ({"parent": parent} if 0 < parent < number else {}))
    t = trace.load("\n".join(map(json.dumps, lines)).encode())
    for width in (24, 80):
        shown = t.render(width)
        assert max(map(cells, shown.split("\n"))) <= width
        assert shown.replace("\n", "").isprintable() or not shown.isascii()
    from lutum.trace._html import page

    assert "</html>" in page(t)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0 s"),
        (2e-6, "2 us"),
        (0.000999, "999 us"),
        (0.0009996, "1 ms"),
        (0.0421, "42.1 ms"),
        (0.9996, "1 s"),
        (12.34, "12.3 s"),
        (99.96, "1 m 40 s"),
        (3599.4, "59 m 59 s"),
        (7384, "2 h 03 m"),
    ],
)
def test_durations(value: float, said: str) -> None:
    """A duration in as many digits as one reads."""
    assert seconds(value) == said


def test_open() -> None:
    """Spans that never ended are marked, and the last line says why."""
    lines = [
        {"type": "trace", "version": 1, "wall": 0, "started": 0},
        {"type": "span", "id": 1, "name": "a", "started": 0, "ended": 1},
        {"type": "span", "id": 2, "name": "b", "started": 1},
    ]
    shown = trace.load("\n".join(map(json.dumps, lines)).encode()).render(60)
    assert "▶" in shown
    assert shown.endswith("open: the capture had not ended when this was written")


def test_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`lutum trace FILE` draws, with --html it writes a page; what it cannot read it says, with code 1."""
    monkeypatch.setenv("COLUMNS", "80")
    path, t = tmp_path / "a run.jsonl", captured()
    path.write_bytes(t.dump())
    assert main(["trace", str(path)]) == 0
    assert capsys.readouterr().out == t.render(80) + "\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(t.dump())))
    assert main(["trace", "-"]) == 0
    assert capsys.readouterr().out == t.render(80) + "\n"
    assert main(["trace", str(path), "--html", str(tmp_path / "t.html")]) == 0
    assert "<title>a run</title>" in (tmp_path / "t.html").read_text("utf-8")
    path.write_bytes(b"no trace\n")
    for bad in (path, tmp_path / "none"):
        assert main(["trace", str(bad)]) == 1
        assert capsys.readouterr().err.startswith("lutum trace: ")
