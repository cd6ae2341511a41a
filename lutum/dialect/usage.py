"""Conversion of a provider's usage report to `Usage`, with a label for the source of the figures.

An adapter reads its report into neutral fields (`Reported`), with `count` and `cost` for each member.
`settle` has the rule for all dialects. Nothing here raises. A figure that cannot be read counts as not
reported, because the user must not lose an answer that was paid for.
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
"""The largest count that is read. All languages can read integers up to this one exactly from JSON."""


class Reported(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A provider's report in neutral fields. None means that the figure was not reported.

    Attributes:
      input_tokens: the whole input, including cache reads and writes.
      output_tokens: the whole output. It includes reasoning if the provider counts reasoning as output.
      total_tokens: the total as the provider reports it.
      cache_read_tokens: input read from a cache.
      cache_write_tokens: input written to a cache.
      reasoning_tokens: output that was reasoning. If the total exceeds input plus output by this number, the
        reported output does not include the reasoning.
      audio_input_tokens: input that was audio. The same rule applies to the reported input.
      tool_input_tokens: input that came from tools of the provider. The same rule applies to the reported
        input.
      cost_usd: the amount that the provider or a gateway billed. 0 is a known amount.
      cache_write_1h_tokens: input written to a cache for an hour; a part of `cache_write_tokens`.
      web_searches: the number of web searches that the provider ran.
      rates: the parts that were billed at a rate other than the standard rate; see `Usage.rates`.
      parts: the usage of other models, by model. The figures above include it.
      odd: a member is present and not null, but its value has the wrong type. The raw report is then shown as
        a `ProviderEvent`.
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
        """True if each of input, output, total and cost is 0 or not reported."""
        return not (self.input_tokens or self.output_tokens or self.total_tokens or self.cost_usd)


# --- members of a report -----------------------------------------------------------------------


def count(value: Raw | bytes | None) -> int | None:
    """Return a count of tokens: an integer from 0 to 2**53.

    Whole floats (`5.0`, `1e2`) and digits in a string are read. For anything else the result is None.
    """
    if value is None:
        return None
    lexeme = bytes(value)
    if len(lexeme) < 16 and lexeme.isdigit():  # most counts; 15 digits are below 2**53
        return int(lexeme)
    if lexeme == b"null":
        return None
    number = _decimal(value)
    if number is None or not 0 <= number <= MOST or number != number.to_integral_value():
        return None
    return int(number)


def cost(value: Raw | bytes | None) -> Decimal | None:
    """Return an amount of money with all its digits, from a number or a string; None if absent or
    negative."""
    number = _decimal(value)
    return None if number is None or number < 0 else number


def is_odd(value: Raw | bytes | None) -> bool:
    """Return whether a member is present and not null, but is not a count."""
    return count(value) is None and not is_null(value)


def member(members: Mapping[str, Raw], *path: str) -> Raw | None:
    """Return the member at a path through nested objects; None if the member or an object on the path is
    missing."""
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

    Input, output and total are reported only if each part reports them. A missing detail counts as 0.
    """
    return _joined(reports, sum, whole=_FIGURES)


def largest(*reports: Reported) -> Reported:
    """Return the largest value of each figure, because the reports in the chunks of a stream are
    cumulative."""
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
    """Return the usage of a turn, with the label for the source of its figures.

    - Output of 0 counts as not reported if content was streamed. Input of 0 counts as not reported if no
      cache reads are reported.
    - If the total is above input plus output, the difference is added to them. A difference that equals the
      reported reasoning is output. A difference that equals reported audio, tool or cached input is input.
      The difference may also be the sum of several of these. The label stays `exact`. Any other difference is
      added to the missing figure, or to the output if none is missing, and the label is `estimated`.
    - A total below input plus output is ignored.
    - Input that is not reported comes from the estimate. Output that is not reported comes from the count.
      The label is `estimated`.

    Args:
      reported: the provider's last report; None if there was none.
      counted: the number of non-empty content deltas. Each is at least one token.
      estimate: the estimate of the request.
      final: the report covers the whole turn. Otherwise content may have followed it: the output is the
        larger of report and count. The label is `lower_bound`, or `estimated` if the count is larger.
      hidden: the provider does not send the model's reasoning, so every count is a lower bound.
      free: the response contains only calls of a program that an earlier response paid for, so reported zeros
        are correct.
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
            if missing_input and missing_output:  # only the total is known
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
    # Some hosts report more cache reads than input. The cache figures are limited to the input, because only
    # the input is billed in full.
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
    """Return how much of a difference is input and how much is output; None if no reported details explain
    it."""
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
    """Return the usage in a provider's record of a past request; None if the record has no figures yet."""
    if reported is None or reported.empty:
        return None
    return msgspec.structs.replace(settle(reported, 0, Estimate()), known="recovered")


Mode = Literal["cumulative", "increments", "latest"]
"""The rule for joining the reports of one stream: the largest value of each figure, the sum, or the last
report."""


class UsageReports:
    """The usage reports of one response. Each report becomes an event; `settle` returns the usage.

    A report of zeros after another report is ignored, because some servers send such a report at the end.

    Args:
      estimate: the request's own estimate.
      hidden: the provider does not send the model's reasoning.
      mode: the rule for joining several reports. Reports in every chunk are cumulative, unless the host is
        known to send increments.
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
        """Add a report. Append a `UsageUpdate` to `out` if the figures are new, and a `ProviderEvent` if the
        report is `odd`.

        Args:
          raw: the report's JSON.
          counted: the number of non-empty content deltas so far.
          final: no content can follow.
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
        """Use the last report as a report of the whole turn, because the response arrived as one body."""
        self._final = self._last is not None

    def settle(self, counted: int, *, free: bool = False) -> Usage:
        """Return the usage of the response that is known now. The arguments are those of the function
        `settle`."""
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
        # The report of the whole answer is used, even if a figure is below an earlier one (recorded at
        # Google). Figures that are missing or 0 in it come from the earlier reports.
        told = {name: value for name in Reported.__struct_fields__ if (value := getattr(reported, name))}
        return msgspec.structs.replace(joined, **told)
