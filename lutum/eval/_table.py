"""Columns of text for a terminal. Control characters are removed from foreign texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lutum._text import cells, printable
from lutum._values.results import Usage
from lutum.eval._statistics import Rate


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines with aligned columns, two spaces apart."""
    widths = [max(map(cells, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell + " " * (width - cells(cell)) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]


def clipped(text: str, width: int) -> str:
    """Return one line of at most `width` cells, without control characters."""
    line = " ".join(printable(text).split())
    if cells(line) <= width:
        return line
    while cells(line) > width - 3:
        line = line[:-1]
    return line + "..."


def rate(value: Rate) -> str:
    """Format a rate with its interval."""
    low, high = value.interval
    return f"{value:.3f}  95 % {low:.3f} to {high:.3f}"


def money(usage: Usage) -> str:
    """Format cost and tokens, with a label if they are not exact."""
    cost = "no price" if usage.cost_usd is None else f"${usage.cost_usd:.4f}"
    label = "" if usage.known == "exact" else f" ({usage.known.replace('_', ' ')})"
    return f"{cost}, {usage.total_tokens:,} tokens{label}"


def spent(usage: Usage) -> str:
    """Format the cost alone, or the tokens if the price is not known."""
    return f"{usage.total_tokens:,} tokens" if usage.cost_usd is None else f"${usage.cost_usd:.4f}"


def figure(value: float) -> str:
    """Format a number with one decimal below 10, else without decimals."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def words(counts: Mapping[str, int]) -> str:
    """Format counts by word, in the given order."""
    return clipped(", ".join(f"{count} {word}" for word, count in counts.items()), 64)


def number(value: float, form: str) -> str:
    """Format a number, but without a minus sign if the text shows a zero."""
    text = format(value, form)
    if text.lstrip("+-").strip("0.,") == "":
        return text.lstrip("+-") if "+" not in form else "+" + text.lstrip("+-")
    return text


def duration(seconds: float) -> str:
    """Format a duration in seconds, minutes, or hours and minutes."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"
