"""OpenRouter's record of a generation (`GET /generation?id=`) to `Usage`. PURE."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

import msgspec
from msgspec import Raw, Struct

from lutum import Usage


class _Generation(Struct):
    """Native counts are the upstream's, which is what is billed; the others are normalised."""

    native_tokens_prompt: int | None = None
    native_tokens_completion: int | None = None
    native_tokens_reasoning: int | None = None
    native_tokens_cached: int | None = None
    tokens_prompt: int | None = None
    tokens_completion: int | None = None
    cached_tokens: int | None = None
    total_cost: Raw = Raw()


class _Record(Struct):
    data: _Generation | None = None


_decode = msgspec.json.Decoder(_Record).decode


def usage_of(record: bytes) -> Usage | None:
    """What a generation used, the cost by its digits; None where the record has no counts yet.

    Raises:
      msgspec.DecodeError: it is no such record.
    """
    found = _decode(record).data
    if found is None:
        return None
    input = _first(found.native_tokens_prompt, found.tokens_prompt)
    output = _first(found.native_tokens_completion, found.tokens_completion)
    if input is None and output is None:
        return None
    return Usage(
        input_tokens=input or 0,
        output_tokens=output or 0,
        cache_read_tokens=_first(found.native_tokens_cached, found.cached_tokens) or 0,
        reasoning_tokens=found.native_tokens_reasoning or 0,
        cost_usd=_cost(bytes(found.total_cost)),
        known="recovered",
    )


def _first(*counts: int | None) -> int | None:
    return next((count for count in counts if count is not None), None)


def _cost(lexeme: bytes) -> Decimal | None:
    try:
        cost = Decimal(lexeme.decode().strip('"'))
    except (InvalidOperation, UnicodeDecodeError):
        return None
    return cost if cost.is_finite() and cost > 0 else None
