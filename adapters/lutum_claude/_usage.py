"""The API's `usage` object to neutral fields."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Raw

from lutum.dialect.usage import Reported, cost, count, is_odd, member

COUNTS = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
"""Members that hold a number of tokens."""


def read_usage(members: Mapping[str, Raw]) -> Reported:
    """Read a usage object. Cache reads and writes come beside `input_tokens`, and are input too."""
    fresh, output, written, read = (count(members.get(name)) for name in COUNTS)
    odd = [name for name in COUNTS if is_odd(members.get(name))]
    # An unreadable part of the input makes the whole unknown.
    whole = None if fresh is None or {*odd} & {*COUNTS[2:]} else fresh + (written or 0) + (read or 0)
    return Reported(
        input_tokens=whole,
        output_tokens=output,
        cache_read_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=count(member(members, "output_tokens_details", "thinking_tokens")),
        cost_usd=cost(members.get("cost")),  # a gateway's bill; the API itself sends none
        odd=bool(odd),
    )
