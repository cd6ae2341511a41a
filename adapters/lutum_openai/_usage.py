"""Reading of the `usage` object of OpenAI's APIs and of compatible servers."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import msgspec
from msgspec import Raw

from lutum.dialect.json import FAULTS, decode_object, encode, is_null, starts_with, string
from lutum.dialect.usage import Reported, cost, count, member
from lutum_openai._options import OpenAIOptions

# xAI: a dollar has 10,000,000,000 ticks.
_TICKS_PER_DOLLAR = 10**10

# The places of each figure, in order of preference: Responses, Chat Completions, others. A place is an object
# in the report (or "" for the report itself) and a member.
_FIGURES = {
    "input_tokens": (("", "input_tokens"), ("", "prompt_tokens")),
    "output_tokens": (("", "output_tokens"), ("", "completion_tokens")),
    "total_tokens": (("", "total_tokens"),),
    "cache_read_tokens": (
        ("input_tokens_details", "cached_tokens"),
        ("prompt_tokens_details", "cached_tokens"),
        ("", "prompt_cache_hit_tokens"),  # DeepSeek
        ("", "cached_tokens"),  # Moonshot
        ("", "num_cached_tokens"),  # Together
        ("", "cache_read_input_tokens"),  # LiteLLM, Databricks
    ),
    "cache_write_tokens": (
        ("input_tokens_details", "cache_write_tokens"),
        ("prompt_tokens_details", "cache_write_tokens"),
        ("", "cache_creation_input_tokens"),  # LiteLLM, Databricks
    ),
    "cache_write_1h_tokens": (("cache_creation", "ephemeral_1h_input_tokens"),),
    "reasoning_tokens": (
        ("output_tokens_details", "reasoning_tokens"),
        ("completion_tokens_details", "reasoning_tokens"),
        ("", "reasoning_tokens"),  # Perplexity
    ),
    "tool_input_tokens": (("prompt_tokens_details", "tool_use_tokens"),),
    "web_searches": (
        ("server_tool_use", "web_search_requests"),
        ("server_tool_use_details", "web_search_requests"),  # OpenRouter
        ("server_side_tool_usage_details", "web_search_calls"),  # xAI
        ("", "num_search_queries"),  # Perplexity
    ),
    "audio_input_tokens": (
        ("input_tokens_details", "audio_tokens"),
        ("prompt_tokens_details", "audio_tokens"),
    ),
}


def read_usage(reported: Raw | bytes) -> Reported | None:
    """Read a usage object; None if it is null or has no figure. Never raises."""
    if is_null(reported):
        return None
    try:
        members = decode_object(reported)
    except FAULTS:
        return Reported(odd=True)
    details = {name: _details(value) for name, value in members.items() if starts_with(value, b"{")}
    figures = dict[str, int]()
    odd = False
    for name, places in _FIGURES.items():
        for outer, last in places:
            value = (details.get(outer, {}) if outer else members).get(last)
            if value is None:
                continue
            if (figure := count(value)) is None:
                odd = odd or not is_null(value)
                continue
            figures[name] = figure
            if figure:
                break
    amount = _cost(members)
    if not odd and amount is None and not figures:
        return None
    return msgspec.structs.replace(Reported(cost_usd=amount, odd=odd), **figures)


def _details(value: Raw | bytes) -> dict[str, Raw]:
    try:
        return decode_object(value)
    except FAULTS:
        return {}


def read_timings(reported: Raw | bytes | None) -> Reported | None:
    """Read the `timings` that llama.cpp's server sends if it leaves out `usage`."""
    if not starts_with(reported, b"{"):
        return None
    try:
        members = decode_object(reported)
    except FAULTS:
        return None
    read, cached, written = (count(members.get(name)) for name in ("prompt_n", "cache_n", "predicted_n"))
    if read is None and written is None:
        return None
    input = None if read is None else read + (cached or 0)
    return Reported(input_tokens=input, output_tokens=written, cache_read_tokens=cached)


def requested_rates(options: OpenAIOptions) -> tuple[str, ...]:
    """Return the rate that a request selects with its `service_tier`."""
    tier = (options.extra_body or {}).get("service_tier", options.service_tier)
    return rates_of(encode(tier)) if isinstance(tier, str) else ()


def rates_of(service_tier: Raw | bytes | None) -> tuple[str, ...]:
    """Return the rate that an answer was billed at, from its `service_tier` (OpenAI, Groq)."""
    try:
        tier = string(service_tier)
    except FAULTS:
        return ()
    return (tier,) if tier in ("priority", "flex", "batch", "fast") else ()


def _cost(members: Mapping[str, Raw]) -> Decimal | None:
    """Return the cost that a gateway or host reports, in US dollars. OpenAI does not report a cost.

    If a request uses the user's own key (`is_byok`), OpenRouter's `cost` is only OpenRouter's fee, often 0.
    The upstream provider bills the rest.
    """
    ticks = count(members.get("cost_in_usd_ticks"))
    if ticks is not None:
        return Decimal(ticks) / _TICKS_PER_DOLLAR
    value = members.get("cost")
    if starts_with(value, b"{"):  # an object: Perplexity's (parts and their sum), hyper.charm.land's
        places = (("cost", "total_cost"), ("cost", "usd"), ("cost", "total"))
        return next((sum for place in places if (sum := cost(member(members, *place))) is not None), None)
    fee = cost(value)
    if members.get("is_byok") != Raw(b"true"):
        return fee
    upstream = cost(member(members, "cost_details", "upstream_inference_cost"))
    return fee if upstream is None else (fee or Decimal(0)) + upstream
