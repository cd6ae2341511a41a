"""The bill of each branch of a search: the sums of the turns of a trace, one sum for each label. No I/O.

A turn is counted once, under the label of the branch that ran it, even if several forks continue after it.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Any, Final, final

from msgspec import Struct

from lutum._text import cells, printable
from lutum._values.check import check_number
from lutum.trace._tree import Span

MOST: Final = 24
"""The largest number of branches in the table of a rendered trace."""

_HEAD: Final = ("branch", "turns", "input", "new", "cache read", "cache write", "output", "cost", "saved")


class BranchBill(Struct, frozen=True):
    """The sum of the turns with one label.

    Attributes:
      label: the label, or only its first parts (`Trace.bill(parts=)`); empty for turns without a label.
      turns: the number of turns that started.
      cancelled: the number of turns that were stopped before their end. They are settled too.
      input_tokens: all input tokens.
      cache_read_tokens: the input tokens that were read from the provider's cache.
      cache_write_tokens: the input tokens that were written to the provider's cache.
      output_tokens: all output tokens.
      cost_usd: the cost in US dollars; None if no turn has a price.
      saved_usd: what the turns would have cost without a cache, minus what they did cost. It is negative if
        cache writes cost more than cache reads saved. None if there are no prices or no cache was used.
      open: the number of turns that are still running. The other figures do not include these turns.
    """

    label: str
    turns: int
    cancelled: int
    input_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    output_tokens: int
    cost_usd: Decimal | None
    saved_usd: Decimal | None
    open: int = 0

    @property
    def new_tokens(self) -> int:
        """The input tokens that were not read from a cache. If branches share a cached prefix, the sum of
        their new tokens counts the prefix once."""
        return max(0, self.input_tokens - self.cache_read_tokens)

    def __add__(self, other: BranchBill) -> BranchBill:
        return BranchBill(
            self.label,
            self.turns + other.turns,
            self.cancelled + other.cancelled,
            self.input_tokens + other.input_tokens,
            self.cache_read_tokens + other.cache_read_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.output_tokens + other.output_tokens,
            _sum(self.cost_usd, other.cost_usd),
            _sum(self.saved_usd, other.saved_usd),
            self.open + other.open,
        )


@final
class TraceBill(Struct, frozen=True):
    """The bill of a search. `str(bill)` is a table.

    Attributes:
      branches: one entry for each label, in the order in which the first turns began.
      total: the sum of all branches.
    """

    branches: tuple[BranchBill, ...]
    total: BranchBill

    def branch(self, *parts: str | int) -> BranchBill:
        """Return the entry of a label, given as in `turn.label(*parts)`.

        Raises:
          LookupError: the bill has no entry with this label.
        """
        label = "/".join(map(str, parts))
        for one in self.branches:
            if one.label == label:
                return one
        raise LookupError(f"the bill has no branch {label!r}; it has {[one.label for one in self.branches]}")

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """Return the table as lines. Columns without a figure are left out."""
        rows = self.rows()
        widths = [max(map(cells, column)) for column in zip(*rows, strict=True)]
        return [
            "  ".join(
                text + " " * (width - cells(text)) if i == 0 else " " * (width - cells(text)) + text
                for i, (text, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]

    def rows(self) -> list[tuple[str, ...]]:
        """Return the table as rows of texts: the head, the branches and the total."""
        rows = [_HEAD, *(_row(one, one.label or "-") for one in self.branches), _row(self.total, "total")]
        used = [i for i, column in enumerate(zip(*rows, strict=True)) if set(column[1:]) - {"", "0"} or i < 2]
        return [tuple(row[i] for i in used) for row in rows]


def bill(spans: Iterable[Span], parts: int | None = None) -> TraceBill:
    """Return the bill of the turns among spans.

    Raises:
      BadValue: `parts` is below 1.
    """
    if parts is not None:
        check_number("parts", parts, 1, whole=True)
    found = dict[str, BranchBill]()
    for span in spans:
        if span.name == "turn":
            one = _of(span, parts)
            found[one.label] = found[one.label] + one if one.label in found else one
    total = BranchBill("", 0, 0, 0, 0, 0, 0, None, None)
    for one in found.values():
        total += one
    return TraceBill(tuple(found.values()), total)


def pictured(spans: Iterable[Span]) -> TraceBill | None:
    """Return the bill to show in a rendered trace; None if its turns have fewer than two labels.

    Labels are shortened to their first parts until the table has at most `MOST` branches.
    """
    turns = [span for span in spans if span.name == "turn" and span.fields.get("label")]
    whole = bill(turns)
    if len(whole.branches) < 2:
        return None
    longest = max(one.label.count("/") for one in whole.branches)
    for parts in range(longest, 0, -1):
        if len(whole.branches) <= MOST:
            break
        whole = bill(turns, parts)
    return whole


def _of(span: Span, parts: int | None) -> BranchBill:
    fields = span.fields
    label = str(fields.get("label") or "")
    if parts is not None:
        label = "/".join(label.split("/")[:parts])
    return BranchBill(
        label=label,
        turns=1,
        cancelled=int(span.status == "cancelled"),
        input_tokens=_count(fields.get("input_tokens")),
        cache_read_tokens=_count(fields.get("cache_read_tokens")),
        cache_write_tokens=_count(fields.get("cache_write_tokens")),
        output_tokens=_count(fields.get("output_tokens")),
        cost_usd=_amount(fields.get("cost_usd")),
        saved_usd=_amount(fields.get("cache_saved_usd")),
        open=int(span.status == "open"),
    )


def _row(one: BranchBill, name: str) -> tuple[str, ...]:
    marks = [f"{one.cancelled} cancelled"] if one.cancelled else []
    marks += [f"{one.open} open"] if one.open else []
    turns = f"{one.turns}" + (f" ({', '.join(marks)})" if marks else "")
    figures = (
        one.input_tokens,
        one.new_tokens if one.cache_read_tokens or one.cache_write_tokens else 0,
        one.cache_read_tokens,
        one.cache_write_tokens,
        one.output_tokens,
    )
    cost = "" if one.cost_usd is None else f"${one.cost_usd:.4f}"
    saved = "" if one.saved_usd is None else f"{'-' if one.saved_usd < 0 else ''}${abs(one.saved_usd):.4f}"
    return printable(name).replace("\n", " "), turns, *(f"{figure:,}" for figure in figures), cost, saved


def _sum(a: Decimal | None, b: Decimal | None) -> Decimal | None:
    return a if b is None else b if a is None else a + b


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _amount(value: Any) -> Decimal | None:
    """Return the amount in a field; None if it is invalid. A trace from a file may contain any value."""
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return None
    return amount if amount.is_finite() else None
