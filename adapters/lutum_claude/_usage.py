"""Reading of the API's `usage` object."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Raw

from lutum import Estimate
from lutum.dialect.json import FAULTS, decode_array, decode_object, starts_with, string
from lutum.dialect.usage import Reported, cost, count, is_odd, member, settle, total

COUNTS = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
"""Members that contain a number of tokens."""

_RATE_MEMBERS = frozenset({"service_tier", "speed", "inference_geo"})


def read_usage(members: Mapping[str, Raw]) -> Reported:
    """Read a usage object. `input_tokens` does not include cache reads and writes; they are input too.

    The top-level counts are those of the answer. Other steps of the request are billed too, such as a
    compaction or an advisor's answer. They are only in `iterations` (anthropic-sdk-python,
    types/beta/beta_usage.py), so the sum of the iterations is used.
    """
    top = _read(members)
    steps = _iterations(members.get("iterations"))
    if steps:
        entries = [_read(step) for step in steps]
        whole = total(*entries)
        own = [entry for entry, kind in zip(entries, map(_kind, steps), strict=True) if kind == "message"]
        if not own and whole.input_tokens is not None:  # the answer itself is not among the steps
            whole = total(top, *entries)
        parts = tuple(
            (model, settle(entry, 0, Estimate()))
            for model, entry in zip(map(_model, steps), entries, strict=True)
            if model and entry.input_tokens is not None
        )
        if whole.input_tokens is not None and whole.output_tokens is not None:
            top = msgspec.structs.replace(
                whole,
                reasoning_tokens=top.reasoning_tokens,
                cost_usd=top.cost_usd,
                web_searches=top.web_searches,
                rates=top.rates,
                parts=parts,
                odd=top.odd or whole.odd,
            )
    return top


def _read(members: Mapping[str, Raw]) -> Reported:
    get = members.get
    fresh, output, written, read = map(count, map(get, COUNTS))
    odd = has_odd_count(members) if None in (fresh, output, written, read) else False
    # If one part of the input is unreadable, the total is unknown.
    unknown = fresh is None or (odd and any(is_odd(get(name)) for name in COUNTS[2:]))
    return Reported(
        input_tokens=None if unknown or fresh is None else fresh + (written or 0) + (read or 0),
        output_tokens=output,
        cache_read_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=count(member(members, "cache_creation", "ephemeral_1h_input_tokens")),
        reasoning_tokens=count(member(members, "output_tokens_details", "thinking_tokens")),
        cost_usd=cost(get("cost")),  # sent by a gateway; the API itself sends no cost
        web_searches=count(member(members, "server_tool_use", "web_search_requests")),
        rates=_rates(members),
        odd=odd,
    )


def has_odd_count(members: Mapping[str, Raw]) -> bool:
    """Return whether a count is present but cannot be read as a count."""
    return any(is_odd(members.get(name)) for name in COUNTS)


def requested_rates(tail: Mapping[str, bytes], *, one_hour: bool) -> tuple[str, ...]:
    """Return the rates that a request selects by members of its body and by its cache breakpoints."""
    found = _rates({name: Raw(value) for name, value in tail.items()})
    return (*found, "1h") if one_hour else found


def with_requested(reported: Reported, members: Mapping[str, Raw], requested: tuple[str, ...]) -> Reported:
    """Return the report. Requested rates are added if the report does not name the billed rates."""
    if not requested:
        return reported
    silent = {"fast": "speed", "us": "inference_geo", "priority": "service_tier", "batch": "service_tier"}
    more = tuple(r for r in requested if r in silent and silent[r] not in members and r not in reported.rates)
    return msgspec.structs.replace(reported, rates=reported.rates + more) if more else reported


def _rates(members: Mapping[str, Raw]) -> tuple[str, ...]:
    """Return the billed rates that differ from the standard rate (platform.claude.com, "Pricing")."""
    if _RATE_MEMBERS.isdisjoint(members):
        return ()
    try:
        tier, speed = string(members.get("service_tier")), string(members.get("speed"))
        place = string(members.get("inference_geo"))
    except FAULTS:
        return ()
    found = [tier] if tier in ("priority", "batch", "flex") else []
    found += ["fast"] if speed == "fast" else []
    found += ["us"] if place == "us" else []
    return tuple(found)


def _iterations(value: Raw | None) -> list[dict[str, Raw]]:
    if not starts_with(value, b"["):
        return []
    try:
        return [decode_object(entry) for entry in decode_array(value)]
    except FAULTS:
        return []


def _model(step: Mapping[str, Raw]) -> str | None:
    try:
        return string(step.get("model"))
    except FAULTS:
        return None


def _kind(step: Mapping[str, Raw]) -> str:
    try:
        kind = string(step.get("type")) or "message"
    except FAULTS:
        return "message"
    return "message" if kind.endswith("message") and kind != "advisor_message" else kind
