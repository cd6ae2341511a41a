"""The `usage` object of OpenAI's APIs, and of the servers that speak them, to neutral fields."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from msgspec import Raw

from lutum.dialect.json import FAULTS, decode_object, is_null, starts_with
from lutum.dialect.usage import Reported, cost, count, is_odd, member

# xAI: ten thousand million ticks are a dollar.
_TICKS_PER_DOLLAR = 10**10

# Figures, each with its places in order of preference: Responses, Chat Completions, others.
_FIGURES = {
    "input_tokens": (("input_tokens",), ("prompt_tokens",)),
    "output_tokens": (("output_tokens",), ("completion_tokens",)),
    "total_tokens": (("total_tokens",),),
    "cache_read_tokens": (
        ("input_tokens_details", "cached_tokens"),
        ("prompt_tokens_details", "cached_tokens"),
        ("prompt_cache_hit_tokens",),  # DeepSeek
    ),
    "cache_write_tokens": (
        ("input_tokens_details", "cache_write_tokens"),
        ("prompt_tokens_details", "cache_write_tokens"),
    ),
    "reasoning_tokens": (
        ("output_tokens_details", "reasoning_tokens"),
        ("completion_tokens_details", "reasoning_tokens"),
    ),
    "audio_input_tokens": (
        ("input_tokens_details", "audio_tokens"),
        ("prompt_tokens_details", "audio_tokens"),
    ),
}


def read_usage(reported: Raw | bytes) -> Reported | None:
    """Read a usage object; None when it is null or has no figure. Never raises."""
    if is_null(reported):
        return None
    try:
        members = decode_object(reported)
    except FAULTS:
        return Reported(odd=True)
    figures = dict[str, int]()
    odd = False
    for name, places in _FIGURES.items():
        for place in places:
            value = member(members, *place)
            odd = odd or is_odd(value)
            if (figure := count(value)) is not None:
                figures[name] = figure
                break
    amount = _cost(members)
    if not odd and amount is None and not figures:
        return None
    return Reported(**figures, cost_usd=amount, odd=odd)


def _cost(members: Mapping[str, Raw]) -> Decimal | None:
    """Return the bill of a gateway or host in US dollars; OpenAI itself sends none."""
    ticks = count(members.get("cost_in_usd_ticks"))
    if ticks is not None:
        return Decimal(ticks) / _TICKS_PER_DOLLAR
    value = members.get("cost")
    if starts_with(value, b"{"):  # Perplexity's parts and their sum
        value = member(members, "cost", "total_cost")
    return cost(value)
