"""HTML page of a run or a grid: a table of its trials, and each trial with its trace. See `_page`."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Final

import msgspec

from lutum._page import html_page, one_line, shortened
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

_MAIN: Final = """\
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
</section>"""


def write_page(reports: Reports, path: str | PathLike[str], title: str) -> None:
    """Write the page of a run, or of several arms by name. Raises OSError."""
    Path(path).write_text(page(reports, title), "utf-8")


def page(reports: Reports, title: str) -> str:
    """Return the page as text."""
    sums = "\n".join(_sums(name, report) for name, report in reports.items())
    return html_page("lutum.eval", title, sums, _MAIN, _data(reports), command="lutum eval RUN")


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
        f"<div><dt>{html.escape(one_line(label))}</dt><dd>{html.escape(one_line(shown))}</dd></div>"
        for label, shown in rows
    )
    head = f"<h2>{html.escape(one_line(name))}</h2>" if name else ""
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
    return {"scores": [one_line(name) for name in names], "arms": any(reports), "trials": rows}


def _row(arm: str, report: Any, result: TrialResult, names: Sequence[str], longest: int) -> dict[str, Any]:
    scores = [result.scores.get(name) for name in names] if result.scores else [result.score]
    status = "error" if result.errored else "passed" if result.passed(report.threshold) else "failed"
    failures = [("", result.failure)] if not result.errors else list(result.errors.items())
    row: dict[str, Any] = {
        "arm": one_line(arm),
        "case": one_line(result.case),
        "trial": result.trial,
        "tags": [one_line(tag) for tag in result.tags],
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
        fields = [[one_line(name), _text(value)] for name, value in span.fields.items() if name != "curve"]
        size = sum(len(name) + len(value) for name, value in fields)
        if size > room:
            fields = [["not shown", "this trace is too long; `lutum eval RUN --trial CASE` shows it"]]
        room -= min(size, room)
        end = last if span.ended is None else span.ended
        made: dict[str, Any] = {
            "parent": -1 if id(span) in roots else places.get(id(span.parent), -1),
            "label": one_line(_label(span)),
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


def _text(value: Any, longest: int = LONGEST) -> str:
    if not isinstance(value, str):
        value = msgspec.json.format(msgspec.json.encode(as_json(value)), indent=2).decode()
    return shortened(value, longest)
