"""A trace as a waterfall for a terminal: one line for each span, with its errors and notes below. No I/O.

A turn with one attempt is one line. A request has a line only if it does not belong to an attempt. A light
bar is the time before the first event. A full bar is the time during which the answer arrives.
"""

from __future__ import annotations

from typing import Final

from lutum._text import cells, printable, wrap
from lutum.trace._bill import pictured
from lutum.trace._say import failure, label, seconds, single, summary, tokens
from lutum.trace._tree import Note, Span, SpanTree

_NARROWEST: Final = 24


_STYLES: Final = {"error": "31", "cancelled": "33", "open": "36", "wait": "2", "dim": "2", "ok": "32"}


def render(trace: SpanTree, width: int = 80, *, color: bool = False) -> str:
    """Draw a trace with lines of at most `width` cells. The smallest width is 24."""
    return "\n".join(_Picture(trace, max(width, _NARROWEST), color=color).lines())


class _Picture:
    def __init__(self, trace: SpanTree, width: int, *, color: bool) -> None:
        self._trace = trace
        self._color = color
        self._width = width
        self._begin = trace.started
        self._last = trace.last
        self._length = max(self._last - trace.started, 1e-9)
        self._rows = _rows(trace)
        self._sums = [(name.rstrip("s") if value == "1" else name, value) for name, value in summary(trace)]
        self._tokens = max((len(tokens(span)) for _, span in self._rows), default=0) if width >= 72 else 0
        self._time = max((len(self._took(span)) for _, span in self._rows), default=0)
        rest = width - self._time - 1 - (self._tokens and self._tokens + 1)
        widest = max((cells(lead) + cells(_clean(label(span))) for lead, span in self._rows), default=0)
        self._label = min(widest, max(rest * 6 // 11, 10)) if rest >= 30 else rest
        self._bar = rest - self._label - 1 if rest >= 30 else 0

    def lines(self) -> list[str]:
        said = ", ".join(
            value if name in ("time", "cost", "cached") else f"{value} {name}" for name, value in self._sums
        )
        lines = wrap(said, self._width)
        if self._rows and self._bar:
            end = seconds(self._length)
            scale = "0 s" + end.rjust(self._bar - 3)
            lines.append(self._styled(" " * (self._label + 1) + scale, "dim"))
        if self._trace.error is not None:
            said = f"! {self._trace.error}: {self._trace.message}".rstrip(": ")
            lines.append(self._styled(_cut(_clean(said), self._width), "error"))
        for note in self._trace.notes:
            lines.append(self._note("", note))
        for lead, span in self._rows:
            lines += self._span(lead, span)
        if (branches := pictured(self._trace.walk())) is not None:
            lines += [self._styled(_cut(line, self._width), "dim") for line in branches.lines()]
        if reason := self._trace.open_reason:
            lines.append(self._styled(_cut(f"open: {reason}", self._width), "open"))
        return lines

    def _span(self, lead: str, span: Span) -> list[str]:
        name = _padded(lead + _clean(label(span)), self._label)
        end = self._last if span.ended is None else span.ended
        time = self._took(span).rjust(self._time)
        line = name
        if self._bar:
            style = "wait" if span.name == "wait" and span.status == "ok" else span.status
            line += " " + self._styled(self._drawn(span, end), style)
        line += f" {time}"
        if self._tokens:
            line += " " + tokens(span).rjust(self._tokens)
        below = _below(lead)
        lines = [line.rstrip()]
        if words := failure(span):
            lines.append(self._styled(_cut(f"{below}! {_clean(words)}", self._width), "error"))
        if span.name not in ("turn", "request"):
            lines += [self._note(below, note) for note in span.notes]
        return lines

    def _took(self, span: Span) -> str:
        end = self._last if span.ended is None else span.ended
        return seconds(max(0.0, end - span.started))

    def _drawn(self, span: Span, end: float) -> str:
        """Return the bar of a span, with a mark at its end for an error, a cancellation or an open span."""
        scale = self._bar / self._length
        left = min(int((span.started - self._begin) * scale), self._bar - 1)
        right = max(left + 1, min(round((end - self._begin) * scale), self._bar))
        left = max(left, 0)
        first = span.fields.get("first_event")
        full, light = ("\u2592", "\u2591") if span.status == "cancelled" else ("\u2588", "\u2591")
        middle = left
        if span.name == "wait":
            middle = right
        elif span.name in ("turn", "request", "attempt"):
            answered = span.started + first if isinstance(first, int | float) else None
            if answered is None and span.name == "attempt":
                answered = _answered(span)
            middle = right if answered is None else int((answered - self._begin) * scale)
            middle = min(max(middle, left), right)
        bar = " " * left + light * (middle - left) + full * (right - middle)
        mark = {"error": "\u2717", "cancelled": "\u2573", "open": "\u25b6"}.get(span.status)
        if mark:
            bar = bar[: right - 1] + mark
        return bar.ljust(self._bar)

    def _note(self, below: str, note: Note) -> str:
        fields = " ".join(f"{name}={value}" for name, value in note.fields.items())
        text = f"{below}\u00b7 {_clean(note.name)} {_clean(fields)}".rstrip()
        return self._styled(_cut(text, self._width), "dim")

    def _styled(self, text: str, style: str) -> str:
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if self._color and text.strip() else text


def _rows(trace: SpanTree) -> list[tuple[str, Span]]:
    """Return the spans that have a line, each with the tree branches to draw before its name."""
    rows = list[tuple[str, Span]]()
    waiting = [("", "", span) for span in reversed(trace.roots)]
    while waiting:
        lead, behind, span = waiting.pop()
        rows.append((lead, span))
        shown = _shown(span)
        for child in reversed(shown):
            last = child is shown[-1]
            # Deeper than this, the tree branches would leave no room for the name.
            deeper = behind if len(behind) >= 16 else behind + ("  " if last else "\u2502 ")
            waiting.append((behind + ("\u2514 " if last else "\u251c "), deeper, child))
    return rows


def _shown(span: Span) -> list[Span]:
    """Return the children that have a line. If an attempt has no line, its children are drawn below its
    turn."""
    shown = list[Span]()
    for child in span.children:
        if child.name == "attempt" and single(span):
            shown += [inner for inner in child.children if inner.name != "request"]
            shown += [deep for inner in child.children if inner.name == "request" for deep in inner.children]
        elif child.name == "request" and span.name == "attempt":
            shown += child.children
        else:
            shown.append(child)
    return shown


def _answered(span: Span) -> float | None:
    for child in span.children:
        first = child.fields.get("first_event")
        if isinstance(first, int | float):
            return child.started + first
    return None


def _below(lead: str) -> str:
    return lead[:-2] + ("\u2502 " if lead.endswith("\u251c ") else "  ") if lead else "  "


def _clean(text: str) -> str:
    return printable(text).replace("\n", " ")


def _cut(text: str, width: int) -> str:
    if cells(text) <= width:
        return text
    kept = list[str]()
    left = width - 1
    for char in text:
        left -= cells(char)
        if left < 0:
            break
        kept.append(char)
    return "".join(kept) + "\u2026"


def _padded(text: str, width: int) -> str:
    text = _cut(text, width)
    return text + " " * (width - cells(text))
