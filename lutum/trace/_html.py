"""HTML page of a trace: a table of branches, and the spans on a line of time. See `_page`."""

from __future__ import annotations

import html
from os import PathLike
from pathlib import Path
from typing import Any, Final

import msgspec

from lutum._page import html_page, one_line, shortened
from lutum.trace._bill import pictured
from lutum.trace._file import plain
from lutum.trace._say import failure, label, single, summary, tokens
from lutum.trace._tree import Note, Span, SpanTree

LONGEST: Final = 4_000
"""The largest number of characters of one text in the page, so that a page with 1,000 spans stays below 1 MB.
A dump contains the whole texts."""

MOST: Final = 600_000
"""The largest number of characters of all details in the page. The page shows a note in place of further
details."""

_MAIN: Final = """\
<section id="over-time" aria-labelledby="over-time-title" hidden>
<h2 id="over-time-title">Output over time</h2>
<div id="curve"></div>
</section>
{branches}<section aria-labelledby="spans-title">
<div class="bar">
<h2 id="spans-title">Spans</h2>
<label>Filter <input id="filter" type="search" autocomplete="off" spellcheck="false"></label>
<button id="all" type="button">Open all</button>
</div>
<p class="legend" id="legend"><span class="key light"></span> waits for an answer
<span class="key full"></span> answers
<span class="key tool"></span> tool
<span class="key hook"></span> hook
<span class="key wait"></span> waits to begin
<span class="key cancelled"></span> cancelled
<span class="key error"></span> failed
<span class="key open"></span> open</p>
<p class="keys">Arrow keys move, open and close; Enter shows all of a span, Escape goes back.</p>
<div id="spans"></div>
<p id="none" hidden>No span matches.</p>
</section>"""


def write_html(trace: SpanTree, path: str | PathLike[str], title: str) -> None:
    """Write the page. Raises OSError."""
    Path(path).write_text(page(trace, title), "utf-8")


def page(trace: SpanTree, title: str = "Trace") -> str:
    """Return the page as text."""
    sums = "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>"
        for name, value in summary(trace)
    )
    return html_page(
        "lutum.trace",
        title,
        f'<dl id="sums">{sums}</dl>',
        _MAIN.format(branches=_branches(trace)),
        _data(trace),
        command="lutum trace FILE",
    )


def _branches(trace: SpanTree) -> str:
    """Return the table with the bill of each branch; empty if the turns have fewer than two labels."""
    found = pictured(trace.walk())
    if found is None:
        return ""
    head, *rows = found.rows()
    cells = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in head)
    lines = [
        f'<tr><th scope="row">{html.escape(row[0])}</th>'
        + "".join(f"<td>{html.escape(text)}</td>" for text in row[1:])
        + "</tr>"
        for row in rows
    ]
    body, total = "\n".join(lines[:-1]), lines[-1]
    return (
        '<section aria-labelledby="branches-title">\n<h2 id="branches-title">Branches</h2>\n'
        f'<table id="branches"><thead><tr>{cells}</tr></thead>\n<tbody>{body}</tbody>\n'
        f"<tfoot>{total}</tfoot></table>\n</section>\n"
    )


def _data(trace: SpanTree) -> dict[str, Any]:
    room, last = MOST, trace.last
    spans = list[dict[str, Any]]()
    numbers: dict[int, int] = {}
    roots = set(map(id, trace.roots))
    for number, span in enumerate(trace.walk()):
        numbers[id(span)] = number
        said = _said(span)
        size = len(msgspec.json.encode(said))
        if size > room:
            said = {"fields": [["not shown", "this page is full; the dump contains it"]], "notes": []}
        room -= min(size, room)
        parent = -1 if id(span) in roots or span.parent is None else numbers.get(id(span.parent), -1)
        spans.append(_drawn(trace, last, span, parent) | said)
    return {
        "length": max(last - trace.started, 1e-9),
        "open": trace.open_reason,
        "notes": [_note(trace.started, note) for note in trace.notes],
        "spans": spans,
    }


def _drawn(trace: SpanTree, last: float, span: Span, parent: int) -> dict[str, Any]:
    """Return the data that the script needs to draw a span's line."""
    end = last if span.ended is None else span.ended
    drawn: dict[str, Any] = {
        "parent": parent,
        "name": one_line(span.name),
        "label": one_line(label(span)),
        "start": round(span.started - trace.started, 7),
        "end": round(end - trace.started, 7),
        "status": span.status,
    }
    if words := failure(span):
        drawn["failure"] = one_line(words)[:300]
    if used := tokens(span):
        drawn["tokens"] = one_line(used)
    if single(span):
        drawn["folded"] = True
    first = span.fields.get("first_event")
    if isinstance(first, int | float):
        drawn["first"] = round(span.started - trace.started + first, 7)
    curve = _points(span.fields.get("curve"))
    if curve:
        drawn["curve"] = curve
    return drawn


def _said(span: Span) -> dict[str, Any]:
    fields = [[one_line(name), _text(value)] for name, value in span.fields.items() if name != "curve"]
    return {"fields": fields, "notes": [_note(span.started, note) for note in span.notes]}


def _note(since: float, note: Note) -> list[Any]:
    fields = [[one_line(name), _text(value)] for name, value in note.fields.items()]
    return [one_line(note.name), round(note.at - since, 7), fields]


def _points(curve: Any) -> list[tuple[float, float]]:
    """Return the points of a curve; empty if the curve is invalid. A trace from a file may contain any
    value."""
    try:
        return msgspec.convert(curve, list[tuple[float, float]])
    except msgspec.ValidationError:
        return []


def _text(value: Any) -> str:
    if not isinstance(value, str):
        value = msgspec.json.format(msgspec.json.encode(plain(value)), indent=2).decode()
    return shortened(value, LONGEST)
