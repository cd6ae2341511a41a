"""Texts about a span, the same in a terminal and in an HTML page. No I/O."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Final

from lutum.trace._tree import Span, SpanTree

_ENDS: Final = frozenset({"error", "message", "cancelled"})
_LONGEST: Final = 200
_CACHED: Final = ("cache_read_tokens", "cache_write_tokens")


def label(span: Span) -> str:
    """Return the name of a span and the fields that distinguish it from other spans with the same name."""
    fields = span.fields
    match span.name:
        case "turn":
            named = (fields.get("label"), fields.get("response_model") or fields.get("model"))
            more = " ".join(str(word) for word in named if word) or None
        case "attempt":
            more = fields.get("number")
        case "request":
            more = fields.get("purpose") or fields.get("status")
        case "wait":
            more = fields.get("reason")
        case "tool" | "hook":
            more = (
                fields.get(span.name) or fields.get("tool_name") or fields.get("name") or fields.get("slot")
            )
        case _:
            own = (item for item in fields.items() if item[0] not in _ENDS)
            more = " ".join(f"{name}={value}" for name, value in own)[:_LONGEST] or None
    return span.name if more is None else f"{span.name} {more}"


def tokens(span: Span) -> str:
    """Return the tokens of a turn or an attempt: `12 + 5`, with a `~` if they are not exact."""
    fields = span.fields
    if "input_tokens" not in fields or span.name not in ("turn", "attempt"):
        return ""
    mark = "" if fields.get("usage_known") in ("exact", "recovered") else "~"
    return f"{mark}{_number(fields['input_tokens'])} + {_number(fields.get('output_tokens', 0))}"


def seconds(value: float) -> str:
    """Format a duration with three digits."""
    if value < 5e-7:
        return "0 s"
    if value < 0.0009995:
        return f"{value * 1e6:.0f} us"
    if value < 0.9995:
        return f"{value * 1e3:.3g} ms"
    if value < 99.95:
        return f"{value:.3g} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} m {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} m"


def failure(span: Span) -> str:
    """Return the error that ended a span, in one line; empty if it has none."""
    if span.error is None:
        return ""
    words = span.fields.get("message")
    status = span.fields.get("error_status")
    return f"{span.error}{f' {status}' if status else ''}{f': {words}' if words else ''}"


def single(span: Span) -> bool:
    """Return whether a turn has exactly one attempt. A line for this attempt would add nothing."""
    return span.name == "turn" and sum(child.name == "attempt" for child in span.children) == 1


def summary(trace: SpanTree) -> list[tuple[str, str]]:
    """Return the totals of a trace, as pairs of a name and a value."""
    spans = list(trace.walk())
    turns = [span for span in spans if span.name == "turn"]
    counted = [(name, sum(span.name == name for span in spans)) for name in ("request", "tool")]
    rows = [
        ("turns", _number(len(turns))),
        *((f"{name}s", _number(count)) for name, count in counted if count),
    ]
    for status, word in (("error", "failed"), ("cancelled", "cancelled"), ("open", "open")):
        if count := sum(span.status == status for span in turns):
            rows.append((word, _number(count)))
    if trace.error is not None:
        rows.append(("raised", trace.error))
    used = [sum(_int(span.fields.get(name)) for span in turns) for name in ("input_tokens", "output_tokens")]
    rows.append(("tokens", f"{_number(used[0])} + {_number(used[1])}"))
    cached = [sum(_int(span.fields.get(name)) for span in turns) for name in _CACHED]
    if any(cached):
        rows.append(("cached", f"{_number(cached[0])} read, {_number(cached[1])} written"))
    if costs := [cost for span in turns if (cost := _cost(span)) is not None]:
        rows.append(("cost", f"${sum(costs):.4f}"))
    if saves := [saved for span in turns if (saved := _cost(span, "cache_saved_usd")) is not None]:
        total = sum(saves)
        rows.append(("saved", f"{'-' if total < 0 else ''}${abs(total):.4f}"))
    return [*rows, ("time", seconds(max(0.0, trace.last - trace.started)))]


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _int(value: object) -> int:
    return value if isinstance(value, int) else 0


def _cost(span: Span, field: str = "cost_usd") -> Decimal | None:
    try:
        cost = Decimal(str(span.fields[field]))
    except (KeyError, InvalidOperation):
        return None
    return cost if cost.is_finite() else None
