"""The capabilities of each family of models. A new model needs one row here.

Requests to a model without a row are sent unchecked. Sources: ai.google.dev/gemini-api/docs, the pages
"Thinking", "Thought signatures", "Function calling", "Structured output" and the changelog (October 2026).
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

import msgspec
from msgspec import Struct

LOW_TO_HIGH: Final = frozenset({"low", "medium", "high"})
MINIMAL_TO_HIGH: Final = LOW_TO_HIGH | {"minimal"}


class GeminiModel(Struct, frozen=True, kw_only=True):
    """The capabilities of a family.

    Attributes:
      levels: accepted thinking levels; None if unknown.
      budget: the smallest and the largest thinking budget in tokens; None if budgets are refused, () if
        unknown.
      off: thinking can be turned off with budget 0.
      thinks: thinks by default.
      signed: refuses the function calls of the current turn if the first call has no signature.
      result_media: tool results may contain images and documents.
      prefill: a request may end with a model turn.
      penalties: accepts presence and frequency penalties.
      tools_with_schema: accepts function declarations and a response schema in one request.
      mixes_tools: accepts the provider's tools and function declarations in one request, with
        `includeServerSideToolInvocations`.
      image_tokens: the largest number of tokens of one image. None: the API counts an image in tiles of 258
        tokens.
      max_output: the largest `maxOutputTokens`.
      cache_tokens: the shortest prefix, in tokens, that the API caches automatically; None if it never does.
      locations: the Vertex AI locations that serve it; empty if unknown.
    """

    levels: frozenset[str] | None = None
    budget: tuple[int, int] | tuple[()] | None = ()
    off: bool = True
    thinks: bool = True
    signed: bool = True
    result_media: bool = True
    prefill: bool = True
    penalties: bool = True
    tools_with_schema: bool = True
    mixes_tools: bool = True
    image_tokens: int | None = 1_120
    max_output: int | None = None
    cache_tokens: int | None = 4_096
    locations: frozenset[str] = frozenset()


UNKNOWN: Final = GeminiModel()
"""A model without a row. Its requests are sent unchecked."""

_NONE: Final = frozenset[str]()
_TWO = GeminiModel(
    levels=_NONE,
    budget=None,
    thinks=False,
    signed=False,
    result_media=False,
    tools_with_schema=False,
    mixes_tools=False,
    image_tokens=None,
    max_output=8_192,
    cache_tokens=None,
)
_TWO_FIVE = msgspec.structs.replace(
    _TWO, budget=(0, 24_576), thinks=True, max_output=65_536, cache_tokens=2_048
)
_THREE = GeminiModel(levels=MINIMAL_TO_HIGH, budget=(0, 32_768), prefill=False, max_output=65_536)
_THREE_SEVEN = msgspec.structs.replace(_THREE, levels=LOW_TO_HIGH)
# The output limit applies to the sum of all continued answers (generate-content/long-decode). So this row has
# no `max_output`.
_FOUR = GeminiModel(
    levels=LOW_TO_HIGH,
    budget=None,
    prefill=False,
    penalties=False,
    cache_tokens=6_144,
    locations=frozenset({"global", "us", "eu"}),
)

MODELS: Final[dict[str, GeminiModel]] = {
    "gemma": msgspec.structs.replace(_TWO, max_output=None),
    "gemini-1.5": _TWO,
    "gemini-2.0": _TWO,
    "gemini-2.0-flash-thinking": msgspec.structs.replace(_TWO, thinks=True, max_output=65_536),
    "gemini-2.5-pro": msgspec.structs.replace(_TWO_FIVE, budget=(128, 32_768), off=False),
    "gemini-2.5-flash": _TWO_FIVE,
    "gemini-2.5-flash-lite": msgspec.structs.replace(_TWO_FIVE, budget=(512, 24_576), thinks=False),
    "gemini-2.5-flash-image": msgspec.structs.replace(_TWO, max_output=32_768),
    "gemini-3-pro": msgspec.structs.replace(_THREE, levels=frozenset({"low", "high"})),
    "gemini-3-pro-image": msgspec.structs.replace(_THREE, levels=None, budget=(), signed=False),
    "gemini-3-flash": _THREE,
    "gemini-3.1-pro": msgspec.structs.replace(_THREE, levels=LOW_TO_HIGH),
    "gemini-3.1-flash-lite": _THREE,
    "gemini-3.1-flash-image": msgspec.structs.replace(_THREE, levels=None, budget=(), signed=False),
    "gemini-3.5-flash": _THREE,
    "gemini-3.5-flash-lite": _THREE,
    "gemini-3.6-flash": _THREE,
    "gemini-3.7-flash": _THREE_SEVEN,
    "gemini-3.8-flash": _THREE_SEVEN,
    "gemini-4-argon": _FOUR,
    "gemini-4-carbon": _FOUR,
    "gemini-4-neon": msgspec.structs.replace(_FOUR, levels=LOW_TO_HIGH | {"xhigh"}),
    "gemini-4-hydrogen": msgspec.structs.replace(_FOUR, levels=None),
}

_BY_LENGTH: Final = sorted(MODELS, key=len, reverse=True)
_TAIL: Final = re.compile(r"(?![0-9.])(?!-lite|-image)")


def base_name(model: str) -> str:
    """Return a model's id without the folders before it, such as `models/`."""
    return model.rpartition("/")[2]


@cache
def family(model: str) -> str | None:
    """Return the row of `MODELS` that a model's id belongs to."""
    name = base_name(model)
    for prefix in _BY_LENGTH:
        if name.startswith(prefix) and (_TAIL.match(name, len(prefix)) or name == prefix):
            return prefix
    return None


@cache
def capabilities(model: str) -> GeminiModel:
    """Return the capabilities of a model."""
    found = family(model)
    return MODELS[found] if found else UNKNOWN


def reads(model: str, other: str) -> bool:
    """Return whether `model` accepts signatures of `other`; True if one of them is unknown.

    The API refuses a signature of another model: 400 "Corrupted thought signature".
    """
    mine, theirs = family(model), family(other)
    return mine is None or theirs is None or mine == theirs
