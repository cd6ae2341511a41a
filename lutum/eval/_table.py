"""Columns of text for a terminal. What others wrote is stripped of what would steer one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lutum._text import cells, printable
from lutum._values.results import Usage
from lutum.eval._statistics import Rate


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows in columns, two spaces apart."""
    widths = [max(map(cells, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell + " " * (width - cells(cell)) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]


def clipped(text: str, width: int) -> str:
    """One clean line of at most that many cells."""
    line = " ".join(printable(text).split())
    if cells(line) <= width:
        return line
    while cells(line) > width - 3:
        line = line[:-1]
    return line + "..."


def rate(value: Rate) -> str:
    """A rate with its interval."""
    low, high = value.interval
    return f"{value:.3f}  95 % {low:.3f} to {high:.3f}"


def money(usage: Usage) -> str:
    """Cost and tokens, and how they are known where that is not exactly."""
    cost = "no price" if usage.cost_usd is None else f"${usage.cost_usd:.4f}"
    label = "" if usage.known == "exact" else f" ({usage.known.replace('_', ' ')})"
    return f"{cost}, {usage.total_tokens:,} tokens{label}"


def spent(usage: Usage) -> str:
    """The cost alone, or the tokens where there is no price."""
    return f"{usage.total_tokens:,} tokens" if usage.cost_usd is None else f"${usage.cost_usd:.4f}"


def figure(value: float) -> str:
    """A number in two digits, without an exponent."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def words(counts: Mapping[str, int]) -> str:
    """Counts by word, the most frequent first."""
    return clipped(", ".join(f"{count} {word}" for word, count in counts.items()), 64)


def number(value: float, form: str) -> str:
    """A number in a format; a zero has no minus sign."""
    text = format(value, form)
    if text.lstrip("+-").strip("0.,") == "":
        return text.lstrip("+-") if "+" not in form else "+" + text.lstrip("+-")
    return text


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, as a person says them."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"
