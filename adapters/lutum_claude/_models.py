"""The capabilities of Claude's models: a table, and its queries. A new model needs one row here. No I/O.

Requests to a model without a row are sent unchecked.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

import msgspec
from msgspec import Struct

Forced = Literal["yes", "no", "without_budget"]


class Model(Struct, frozen=True):
    """The capabilities of a family of models.

    Attributes:
      thinking: the accepted types of thinking; None if they are unknown, so any type is sent unchecked.
      thinks: thinks by default, if the request has no `thinking`.
      sampling: temperature, top_p and top_k may be set.
      forced: accepts the tool_choice `any` and `tool`. `without_budget`: not together with a thinking budget.
      prefill: a request may end with an assistant message.
      late_system: `role: "system"` messages may follow other messages. With betas they may also apply to one
        turn only (`clear_at`), and contain tool changes.
      binds: checks that each thinking block follows its original prefix, and reports dropped thinking.
        Replay treats all models as if they did so, because the list of such models grows with every model.
      max_output: the largest `max_tokens`.
      strict: tools may have `strict` (build-with-claude/structured-outputs, "Strict tool use": from 4.5 on).
    """

    thinking: frozenset[str] | None = None
    thinks: bool = False
    sampling: bool = True
    forced: Forced = "yes"
    prefill: bool = True
    late_system: bool = False
    binds: bool = False
    max_output: int | None = None
    strict: bool = False


def _model(
    *thinking: str,
    thinks: bool = True,
    sampling: bool = False,
    forced: Forced = "yes",
    prefill: bool = False,
    late_system: bool = True,
    binds: bool = False,
    max_output: int = 128_000,
) -> Model:
    return Model(frozenset(thinking), thinks, sampling, forced, prefill, late_system, binds, max_output, True)


# Sources: the pages "What's new" of each model, "Extended thinking", "Prefix checks" and "Mid-conversation
# system messages" of platform.claude.com/docs, and the migration guide. fable-5-2 and mythos-5-2 are in the
# list of models that check prefixes. Their other values are assumed to be those of 5-1.
_ADAPTIVE_BOUND = _model("adaptive", forced="no", binds=True)
_ADAPTIVE = _model("adaptive")
_OPUS_4 = _model("adaptive", "disabled", thinks=False)
_SIX = _model(
    "adaptive", "enabled", "disabled", thinks=False, sampling=True, forced="without_budget", late_system=False
)
_FIVE = _model(
    "enabled",
    "disabled",
    thinks=False,
    sampling=True,
    forced="without_budget",
    prefill=True,
    late_system=False,
    max_output=64_000,
)
MODELS: dict[str, Model] = {
    "claude-fable-5-2": _ADAPTIVE_BOUND,
    "claude-fable-5-1": _ADAPTIVE_BOUND,
    "claude-fable-5": _ADAPTIVE,
    "claude-mythos-5-2": _ADAPTIVE_BOUND,
    "claude-mythos-5-1": _ADAPTIVE_BOUND,
    "claude-mythos-5": _ADAPTIVE,
    "claude-opus-5-5": _ADAPTIVE_BOUND,
    "claude-sonnet-5-5": _model("adaptive", "between_tools", forced="no", binds=True),
    "claude-haiku-5-5": _model("adaptive", "disabled", "between_tools", binds=True),
    "claude-opus-5": _model("adaptive", "disabled"),
    "claude-sonnet-5": _model("adaptive", "disabled", late_system=False),
    "claude-opus-4-8": _OPUS_4,
    "claude-opus-4-7": msgspec.structs.replace(_OPUS_4, late_system=False),
    "claude-opus-4-6": _SIX,
    "claude-sonnet-4-6": _SIX,
    "claude-opus-4-5": _FIVE,
    "claude-sonnet-4-5": _FIVE,
    "claude-haiku-4-5": _FIVE,
    **dict.fromkeys(
        ("claude-opus-4-1", "claude-opus-4", "claude-sonnet-4", "claude-3-7-sonnet"),
        Model(frozenset({"enabled", "disabled"}), forced="without_budget"),
    ),
    **dict.fromkeys(
        ("claude-3-5-sonnet", "claude-3-5-haiku", "claude-3-haiku"), Model(frozenset({"disabled"}))
    ),
}

ONE_OF_TWO = frozenset({"claude-opus-4-5", "claude-sonnet-4-5", "claude-haiku-4-5", "claude-opus-4-1"})
"""Models that accept temperature or top_p, not both (about-claude/models/migration-guide)."""

UNKNOWN = Model()
"""A model without a row. Its requests are sent unchecked."""

# A longer version number: a hyphen and one or two more digits. A date has eight digits.
_LONGER = re.compile(r"-\d{1,2}(?!\d)")


@lru_cache(maxsize=1024)
def family(model: str) -> str | None:
    """Return the row of `MODELS` that a model id belongs to. Spellings of other hosts are recognized."""
    start = model.find("claude-")
    if start < 0:
        return None
    name = model[start:].replace(".", "-")
    for prefix in sorted(MODELS, key=len, reverse=True):
        if name.startswith(prefix):
            rest = name[len(prefix) :]
            if not rest[:1].isalnum() and not _LONGER.match(rest):
                return prefix
    return None


@lru_cache(maxsize=1024)
def capabilities(model: str) -> Model:
    found = family(model)
    return MODELS[found] if found else UNKNOWN


# The shortest prefix, in tokens, that the prompt cache stores ("Prompt caching", cache limitations). It is
# 1,024 for models without a row. Later models of generation 5 are assumed to have the value of their family.
_CACHE_TOKENS = {
    "claude-fable-5": 512,
    "claude-mythos-5": 512,
    "claude-opus-5": 512,
    "claude-opus-4-7": 2048,
    "claude-opus-4-6": 4096,
    "claude-opus-4-5": 4096,
    "claude-haiku-5": 4096,
    "claude-haiku-4-5": 4096,
    "claude-3-5-haiku": 2048,
    "claude-3-haiku": 2048,
}


@lru_cache(maxsize=1024)
def shortest_cached(model: str) -> int:
    """Return the length in tokens of the shortest prefix that the model's prompt cache stores."""
    name = family(model) or ""
    return next((tokens for prefix, tokens in _CACHE_TOKENS.items() if name.startswith(prefix)), 1024)


# "Prefix checks": the 5.1 generation reads its own thinking blocks, those of all earlier models and those of
# opus-5-5. No other model reads the blocks of the 5.1 generation. haiku-5-5 reads only its own.
_READ_BY_THEMSELVES = frozenset(
    {"claude-fable-5-1", "claude-fable-5-2", "claude-mythos-5-1", "claude-mythos-5-2"}
)


def reads(model: str, other: str) -> bool:
    """Return whether `model` can read the thinking of `other`; True if one of them is unknown."""
    mine, theirs = family(model), family(other)
    if mine is None or theirs is None or mine == theirs:
        return True
    if mine == "claude-haiku-5-5":
        return False
    return theirs not in _READ_BY_THEMSELVES or mine in _READ_BY_THEMSELVES
