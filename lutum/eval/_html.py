"""HTML page of a run or a grid: a table of its trials, and each trial with its trace.

Like the page of a trace, it consists of data as JSON, one style sheet and one script, and loads nothing. Text
from a model or a task is inserted as text. The content security policy allows only the inline style sheet and
the inline script, by their digests.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import Any, Final

import msgspec

from lutum._text import printable
from lutum._values.errors import BadValue
from lutum.eval._results import TrialResult, as_json
from lutum.eval._table import money, rate
from lutum.trace import Span, Trace

Reports = Mapping[str, Any]
"""Each `RunReport` by its arm. The class is not named here, because reports import this module."""

LONGEST: Final = 4_000
"""The largest number of characters of one text in the page; less if there are more than 1,000 trials."""

MOST: Final = 4_000_000
"""The largest number of characters of all traces in the page. Traces of failed trials come first."""

TRACE: Final = 200_000
"""The largest number of characters of one trace in the page; `lutum eval RUN --trial CASE` shows all."""

_PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
script-src '{script_digest}'; style-src '{style_digest}'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
{sums}
</header>
<main>
<section aria-labelledby="trials-title">
<div class="bar">
<h2 id="trials-title">Trials</h2>
<label>Filter <input id="filter" type="search" autocomplete="off" spellcheck="false"></label>
<label>Show <select id="status"><option value="">all</option><option>passed</option>
<option>failed</option><option>error</option></select></label>
</div>
<p class="keys" id="count" role="status"></p>
<div class="wide" role="region" aria-label="Table of trials" tabindex="0">
<table id="trials"><thead></thead><tbody></tbody></table>
</div>
</section>
<aside id="details" aria-labelledby="details-title" hidden>
<div class="bar"><h2 id="details-title" tabindex="-1"></h2>
<button id="close" type="button">Close</button></div>
<div id="details-body"></div>
</aside>
<noscript><p>This page needs JavaScript. Without it, use <code>lutum eval RUN</code>.</p></noscript>
</main>
<script type="application/json" id="data">{data}</script>
<script>{script}</script>
</body>
</html>
"""


def write_page(reports: Reports, path: str | PathLike[str], title: str) -> None:
    """Write the page of a run, or of several arms by name. Raises OSError."""
    Path(path).write_text(page(reports, title), "utf-8")


def page(reports: Reports, title: str) -> str:
    """Return the page as text."""
    style, script = _part("page.css"), _part("page.js")
    return _PAGE.format(
        title=html.escape(_clean(title)),
        sums="\n".join(_sums(name, report) for name, report in reports.items()),
        style=style,
        style_digest=_digest(style),
        script=script,
        script_digest=_digest(script),
        data=_embedded(_data(reports)),
    )


@cache
def _part(name: str) -> str:
    return files("lutum.eval").joinpath("_page", name).read_text("utf-8")


def _sums(name: str, report: Any) -> str:
    rows = [("trials", f"{len(report.results):,} of {len(report.cases):,} cases")]
    if report.scores:
        rows += [("score", rate(report.score)), ("passed", rate(report.pass_at_k(1)))]
    rows += [(one, rate(part.score)) for one, part in list(report.named.items())[1:] if part.scores]
    rows.append(("cost", money(report.usage)))
    rows.append(("time", f"p50 {report.seconds(50):.2f} s, p95 {report.seconds(95):.2f} s"))
    if report.errors:
        rows.append(("errors", f"{len(report.errors):,} without a score"))
    about = (("model", report.info.model), ("task", report.info.task))
    rows += [(label, shown) for label, shown in about if shown]
    cells = "".join(
        f"<div><dt>{html.escape(_clean(label))}</dt><dd>{html.escape(_clean(shown))}</dd></div>"
        for label, shown in rows
    )
    head = f"<h2>{html.escape(_clean(name))}</h2>" if name else ""
    return f'{head}<dl class="sums">{cells}</dl>'


def _data(reports: Reports) -> dict[str, Any]:
    names = list(dict.fromkeys(name for report in reports.values() for name in report.named)) or ["score"]
    given = [(arm, report, result) for arm, report in reports.items() for result in report.results]
    longest = max(200, min(LONGEST, 1_000 * LONGEST // max(1, len(given))))
    rows = [_row(arm, report, result, names, longest) for arm, report, result in given]
    room = MOST
    # Readers look at failed trials first, so these get room for their traces first.
    for place in sorted(range(len(rows)), key=lambda at: (rows[at]["status"] == "passed", at)):
        _, report, result = given[place]
        found = _trace(report, result)
        size = len(msgspec.json.encode(found))
        if size > room:
            found = {
                "left_out": "Left out, because this page is full. `lutum eval RUN --trial CASE` shows it."
            }
        room -= min(size, room)
        rows[place]["trace"] = found
    return {"scores": [_clean(name) for name in names], "arms": any(reports), "trials": rows}


def _row(arm: str, report: Any, result: TrialResult, names: Sequence[str], longest: int) -> dict[str, Any]:
    scores = [result.scores.get(name) for name in names] if result.scores else [result.score]
    status = "error" if result.errored else "passed" if result.passed(report.threshold) else "failed"
    failures = [("", result.failure)] if not result.errors else list(result.errors.items())
    row: dict[str, Any] = {
        "arm": _clean(arm),
        "case": _clean(result.case),
        "trial": result.trial,
        "tags": [_clean(tag) for tag in result.tags],
        "scores": (scores + [None] * len(names))[: len(names)],
        "status": status,
        "seconds": round(result.seconds, 4),
        "tokens": result.usage.total_tokens,
        "known": result.usage.known,
        "tries": result.tries,
        "output": _text(result.output, longest),
        "failures": [
            _text(f"{name}: {one.kind}: {one.message}" if name else f"{one.kind}: {one.message}")
            for name, one in failures
            if one is not None
        ],
    }
    if result.usage.cost_usd is not None:
        row["cost"] = float(result.usage.cost_usd)
    if result.report is not None:
        row["report"] = _text(result.report, longest)
    return row


def _trace(report: Any, result: TrialResult) -> dict[str, Any] | None:
    try:
        found = report.trace_of(result)
    except (OSError, BadValue):
        return {"left_out": "The file of the trace is missing or damaged."}
    return None if found is None else _spans(found)


def _spans(trace: Trace) -> dict[str, Any]:
    """Return the spans of a trace, parents first, with as many of their fields as there is room for."""
    room, spans, places = TRACE, list[dict[str, Any]](), dict[int, int]()
    last = trace.last
    roots = set(map(id, trace.roots))
    for place, span in enumerate(trace.walk()):
        places[id(span)] = place
        fields = [[_clean(name), _text(value)] for name, value in span.fields.items() if name != "curve"]
        size = sum(len(name) + len(value) for name, value in fields)
        if size > room:
            fields = [["not shown", "this trace is too long; `lutum eval RUN --trial CASE` shows it"]]
        room -= min(size, room)
        end = last if span.ended is None else span.ended
        made: dict[str, Any] = {
            "parent": -1 if id(span) in roots else places.get(id(span.parent), -1),
            "label": _clean(_label(span)),
            "start": round(span.started - trace.started, 6),
            "end": round(end - trace.started, 6),
            "status": span.status,
            "fields": fields,
        }
        if span.error is not None:
            made["failure"] = _text(f"{span.error}: {span.fields.get('message', '')}".rstrip(": "))
        spans.append(made)
    return {"length": max(last - trace.started, 1e-9), "spans": spans}


def _label(span: Span) -> str:
    named = {"turn": "model", "attempt": "number", "request": "status", "tool": "tool", "hook": "slot"}
    more = span.fields.get(named.get(span.name, "reason"))
    return span.name if more is None else f"{span.name} {more}"


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _embedded(data: object) -> str:
    """Return JSON in which an HTML parser finds neither an end tag nor a comment."""
    text = msgspec.json.encode(data).decode()
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _text(value: Any, longest: int = LONGEST) -> str:
    if not isinstance(value, str):
        value = msgspec.json.format(msgspec.json.encode(as_json(value)), indent=2).decode()
    shown = printable(value)
    more = len(shown) - longest
    return shown if more <= 0 else f"{shown[:longest]}\u2026 ({more:,} characters more)"


def _clean(text: str) -> str:
    return printable(text).replace("\n", " ")
