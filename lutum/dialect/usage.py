"""A provider's usage report to `Usage`, with a label for the source of the figures.

An adapter reads its report into neutral fields (`Reported`), with `count` and `cost` for each member.
`settle` is the one rule for all dialects. Nothing here raises: a figure that cannot be read is not reported,
and never costs a user the answer that was paid for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from itertools import combinations
from typing import Any, Final, Literal

import msgspec
from msgspec import Raw, Struct

from lutum._values.events import Event, ProviderEvent, UsageUpdate
from lutum._values.results import Estimate, Known, Usage
from lutum.dialect.json import FAULTS, decode_object, is_null, starts_with

__all__ = [
    "MOST",
    "Reported",
    "UsageReports",
    "cost",
    "count",
    "is_odd",
    "largest",
    "member",
    "recovered",
    "settle",
    "total",
]

MOST: Final = 2**53
"""The largest count that is read: the integers that JSON in every language holds exactly."""


class Reported(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A provider's report in neutral fields. None means that the figure was not reported.

    Attributes:
      input_tokens: the whole input, with cache reads and writes.
      output_tokens: the whole output, with reasoning where the provider counts it so.
      total_tokens: the provider's own sum.
      cache_read_tokens: input read from a cache.
      cache_write_tokens: input written to a cache.
      reasoning_tokens: output that was reasoning. A total that exceeds the sum by it means that the output
        is without it.
      audio_input_tokens: input that was audio, likewise for the input.
      tool_input_tokens: input that came from tools of the provider, likewise.
      cost_usd: the amount that the provider or a gateway billed. 0 is a known amount.
      cache_write_1h_tokens: input written to a cache for an hour, a part of `cache_write_tokens`.
      web_searches: searches that the provider ran.
      rates: what was billed at another than the standard rate, see `Usage.rates`.
      parts: what other models used, by model; the figures include it.
      odd: a member is present, is not null and cannot be read as what it should be. Show the raw report as a
        `ProviderEvent`.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    audio_input_tokens: int | None = None
    tool_input_tokens: int | None = None
    cost_usd: Decimal | None = None
    cache_write_1h_tokens: int | None = None
    web_searches: int | None = None
    rates: tuple[str, ...] = ()
    parts: tuple[tuple[str, Usage], ...] = ()
    odd: bool = False

    @property
    def empty(self) -> bool:
        """Neither input, output, total nor cost is reported, or all of them are 0."""
        return not (self.input_tokens or self.output_tokens or self.total_tokens or self.cost_usd)


# --- members of a report -----------------------------------------------------------------------


def count(value: Raw | bytes | None) -> int | None:
    """Return a count of tokens: an integer from 0 to 2**53.

    Whole floats (`5.0`, `1e2`) and digits in a string are read. Anything else is not a report: None.
    """
    if value is None:
        return None
    lexeme = bytes(value)
    if len(lexeme) < 16 and lexeme.isdigit():  # nearly every count is one, and below 2**53
        return int(lexeme)
    if lexeme == b"null":
        return None
    number = _decimal(value)
    if number is None or not 0 <= number <= MOST or number != number.to_integral_value():
        return None
    return int(number)


def cost(value: Raw | bytes | None) -> Decimal | None:
    """Return an amount of money by its digits, also from a string; None when it is absent or negative."""
    number = _decimal(value)
    return None if number is None or number < 0 else number


def is_odd(value: Raw | bytes | None) -> bool:
    """Return whether a member is present and not null, but is not a count."""
    return count(value) is None and not is_null(value)


def member(members: Mapping[str, Raw], *path: str) -> Raw | None:
    """Return the member at a path through nested objects; None when it or an object on the way is missing."""
    *outer, last = path
    for name in outer:
        inner = members.get(name)
        if inner is None or not starts_with(inner, b"{"):
            return None
        try:
            members = decode_object(inner)
        except FAULTS:
            return None
    return members.get(last)


def _decimal(value: Raw | bytes | None) -> Decimal | None:
    if value is None:
        return None
    lexeme = bytes(value).strip()
    if lexeme.startswith(b'"'):
        try:
            lexeme = msgspec.json.decode(lexeme, type=str).strip().encode()
        except FAULTS:
            return None
        if not lexeme.replace(b".", b"", 1).isdigit():
            return None
    if len(lexeme) > 64:
        return None
    try:
        number = Decimal(lexeme.decode("ascii"))
    except (InvalidOperation, UnicodeDecodeError):
        return None
    return number if number.is_finite() and number.adjusted() < 20 else None


# --- reports together --------------------------------------------------------------------------


_FIGURES: Final = ("input_tokens", "output_tokens", "total_tokens")


def total(*reports: Reported) -> Reported:
    """Return the sum of reports about parts of one request, such as the iterations of a compaction.

    Input, output and total are reported only if each part reports them; a missing detail is 0.
    """
    return _joined(reports, sum, whole=_FIGURES)


def largest(*reports: Reported) -> Reported:
    """Return the largest value of each figure: reports in every chunk of a stream are cumulative."""
    return _joined(reports, max)


def _joined(
    reports: tuple[Reported, ...], join: Callable[[list[Any]], Any], whole: tuple[str, ...] = ()
) -> Reported:
    found = dict[str, Any]()
    for name in Reported.__struct_fields__:
        if name == "odd":
            found[name] = any(report.odd for report in reports)
            continue
        if name in ("rates", "parts"):
            found[name] = next((told for r in reversed(reports) if (told := getattr(r, name))), ())
            continue
        figures = [getattr(report, name) for report in reports]
        known = [figure for figure in figures if figure is not None]
        found[name] = join(known) if known and (name not in whole or len(known) == len(figures)) else None
    return msgspec.structs.replace(Reported(), **found)


# --- the rule ----------------------------------------------------------------------------------


def settle(
    reported: Reported | None,
    counted: int,
    estimate: Estimate,
    *,
    final: bool = True,
    hidden: bool = False,
    free: bool = False,
) -> Usage:
    """Return the usage of a turn, and how it is known.

    - Zero output beside streamed content, and zero input without cache reads, are not a report.
    - A total above input plus output: if the difference is the reasoning, it is output; if it is audio, tool
      or cached input, it is input; it may be the sum of these. The label stays `exact`. Otherwise the
      difference is output, or the figure that is missing, and the label is `estimated`. A total below the sum
      is ignored.
    - Input that is not reported comes from the estimate, output from the count. The label is `estimated`.

    Args:
      reported: the provider's last report; None if there was none.
      counted: non-empty content deltas, each at least one token.
      estimate: the estimate of the request.
      final: the report covers the whole turn. Otherwise content may have followed it, so the larger of report
        and count is the output, and the label is `lower_bound`, or `estimated` when the count is larger.
      hidden: the model reasons out of sight, so that every count is a lower bound.
      free: the response holds only calls of a program that an earlier response paid for, so that reported
        zeros are true.
    """
    found = Reported() if reported is None else reported
    if free and final and found.empty and found.input_tokens == found.output_tokens == 0:
        return Usage(cost_usd=found.cost_usd)
    input_tokens, output_tokens = found.input_tokens, found.output_tokens
    cached = found.cache_read_tokens or 0
    known: Known = "exact" if final else "lower_bound"

    missing_input = not input_tokens and not cached
    missing_output = output_tokens is None or (output_tokens == 0 and counted > 0)
    more = (found.total_tokens or 0) - (input_tokens or 0) - (output_tokens or 0)
    if more > 0:
        if (sides := _sides(found, more)) is not None:
            to_input, to_output = sides
            if to_input:
                input_tokens, missing_input = (input_tokens or 0) + to_input, False
            if to_output:
                output_tokens, missing_output = (output_tokens or 0) + to_output, False
        else:
            known = "estimated"
            if missing_input and missing_output:  # only the sum is known
                input_tokens = min(estimate.input_tokens, max(0, more - counted))
                output_tokens = more - input_tokens
            elif missing_input:
                input_tokens = (input_tokens or 0) + more
            else:
                output_tokens = (output_tokens or 0) + more
            missing_input = missing_output = False

    if missing_input:
        input_tokens, known = estimate.input_tokens, "estimated"
    if missing_output or (not final and counted > (output_tokens or 0)):
        output_tokens, known = counted, "lower_bound" if hidden else "estimated"
    written = found.cache_write_tokens or 0
    input_tokens = input_tokens or cached + written
    # Some hosts report more cache reads than input. Only the input is billed in full.
    cached = min(cached, input_tokens)
    written = min(written, input_tokens - cached)
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens or 0,
        cache_read_tokens=cached,
        cache_write_tokens=written,
        reasoning_tokens=found.reasoning_tokens or 0,
        cost_usd=found.cost_usd,
        known=known,
        cache_write_1h_tokens=min(found.cache_write_1h_tokens or 0, written),
        web_searches=found.web_searches or 0,
        rates=found.rates,
        parts=found.parts,
    )


def _sides(found: Reported, more: int) -> tuple[int, int] | None:
    """Return how much of a difference is input and output, if reported details explain it."""
    inputs = (
        found.audio_input_tokens,
        found.tool_input_tokens,
        found.cache_read_tokens,
        found.cache_write_tokens,
    )
    details = [(0, found.reasoning_tokens), *((1, figure) for figure in inputs)]
    known = [(side, figure) for side, figure in details if figure]
    for count in range(1, len(known) + 1):
        for chosen in combinations(known, count):
            if sum(figure for _, figure in chosen) == more:
                to_input = sum(figure for side, figure in chosen if side)
                return to_input, more - to_input
    return None


def recovered(reported: Reported | None) -> Usage | None:
    """Return the usage in a provider's record of a past request; None when the record has no figure yet."""
    if reported is None or reported.empty:
        return None
    return msgspec.structs.replace(settle(reported, 0, Estimate()), known="recovered")


Mode = Literal["cumulative", "increments", "latest"]
"""How the reports of one stream are joined: the largest value of each figure, the sum, or the last one."""


class UsageReports:
    """The usage reports of one response: shows each as an event, and settles them.

    A report of zeros after another report does not count, because some servers send one last.

    Args:
      estimate: the request's own estimate.
      hidden: the model reasons out of sight.
      mode: how several reports are joined. Reports in every chunk are cumulative unless the host is known to
        send increments.
    """

    __slots__ = ("_estimate", "_final", "_hidden", "_last", "_mode")

    def __init__(self, estimate: Estimate, *, hidden: bool = False, mode: Mode = "cumulative") -> None:
        self._estimate = estimate
        self._hidden = hidden
        self._mode = mode
        self._last: Reported | None = None
        self._final = False

    @property
    def final(self) -> bool:
        """True if the last report covers the whole turn."""
        return self._final

    def take(
        self,
        reported: Reported | None,
        raw: bytes,
        out: list[Event],
        *,
        counted: int,
        final: bool,
        free: bool = False,
    ) -> None:
        """Take a report; append a `UsageUpdate` if it is new, and a `ProviderEvent` if a member is odd.

        Args:
          raw: the report's JSON.
          counted: non-empty content deltas so far.
          final: content can no longer follow.
          free: see `settle`.
        """
        if reported is None:
            return
        if reported.odd:
            out.append(ProviderEvent("usage", raw))
        if reported.empty and (self._last is not None or not final):
            return
        joined = self._joined(reported, final=final)
        new = joined != self._last or final != self._final
        self._last, self._final = joined, final
        if new and (free or not reported.empty):
            out.append(UsageUpdate(self.settle(counted, free=free), final))

    def mark_final(self) -> None:
        """Take the last report as one of the whole turn, because the response came whole."""
        self._final = self._last is not None

    def settle(self, counted: int, *, free: bool = False) -> Usage:
        """Return the usage of the response as it is known now; the arguments are those of `settle`."""
        return settle(self._last, counted, self._estimate, final=self._final, hidden=self._hidden, free=free)

    def _joined(self, reported: Reported, *, final: bool) -> Reported:
        last = self._last
        if last is None or self._mode == "latest":
            return reported
        if self._mode == "increments":
            return _joined((last, reported), sum)
        joined = largest(last, reported)
        if not final or self._final:
            return joined
        # The report of the whole answer counts, also where it is below an earlier one (recorded at Google);
        # figures that it lacks or has as 0 come from the earlier ones.
        told = {name: value for name in Reported.__struct_fields__ if (value := getattr(reported, name))}
        return msgspec.structs.replace(joined, **told)
