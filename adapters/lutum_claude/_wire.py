"""What the Messages API's JSON looks like, as far as it is looked into, and the tables of what it takes.

Structs name only the members that are used; whatever else comes stays in `msgspec.Raw`, copied out with
`bytes` or by encoding before it leaves the decoder.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Literal, get_args

import msgspec
from msgspec import Raw, Struct

from lutum import ErrorKind

NAME = "claude"

VERSION = "2023-06-01"
"""The `anthropic-version` that is sent. It takes everything the later 2026-10-21 takes, and sampling
parameters on the models that have them, which 2026-10-21 refuses on every model; the adapter's `version=`
chooses another."""

NO_SAMPLING_VERSION = "2026-10-21"
VERTEX_VERSION = "vertex-2023-10-16"

# --- stream events (api/streaming) -------------------------------------------------------------


class TextDelta(Struct, tag="text_delta", gc=False):
    text: str


class ThinkingDelta(Struct, tag="thinking_delta", gc=False):
    thinking: str


class SignatureDelta(Struct, tag="signature_delta", gc=False):
    signature: str


class JsonDelta(Struct, tag="input_json_delta", gc=False):
    partial_json: str


class CitationsDelta(Struct, tag="citations_delta"):
    citation: Raw


class CompactionDelta(Struct, tag="compaction_delta"):
    content: Raw = Raw()
    encrypted_content: Raw = Raw()


Delta = TextDelta | ThinkingDelta | SignatureDelta | JsonDelta | CitationsDelta | CompactionDelta


class BlockDelta(Struct, tag="content_block_delta"):
    index: int
    delta: Delta


class MessageStart(Struct, tag="message_start"):
    message: Raw


class BlockStart(Struct, tag="content_block_start"):
    index: int
    content_block: Raw


class BlockStop(Struct, tag="content_block_stop"):
    index: int


class MessageDelta(Struct, tag="message_delta"):
    delta: Raw = Raw()
    usage: Raw = Raw()


class MessageStop(Struct, tag="message_stop"):
    pass


class Ping(Struct, tag="ping"):
    pass


class Error(Struct, tag="error"):
    pass


StreamEvent = BlockDelta | MessageStart | BlockStart | BlockStop | MessageDelta | MessageStop | Ping | Error

decode_event = msgspec.json.Decoder(StreamEvent).decode

EVENT_TYPES = frozenset(str(kind.__struct_config__.tag) for kind in get_args(StreamEvent))
DELTA_TYPES = frozenset(str(kind.__struct_config__.tag) for kind in get_args(Delta))


class _Tagged(Struct):
    type: str


class _LooseDelta(Struct):
    index: int
    delta: _Tagged


decode_tag = msgspec.json.Decoder(_Tagged).decode
decode_loose_delta = msgspec.json.Decoder(_LooseDelta).decode
decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
decode_array = msgspec.json.Decoder(list[Raw]).decode
decode_str = msgspec.json.Decoder(str).decode
encode = msgspec.json.Encoder().encode


class OutputDetails(Struct):
    thinking_tokens: int | None = None


class Usage(Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens_details: OutputDetails | None = None
    cost: Raw = Raw()


decode_usage = msgspec.json.Decoder(Usage).decode

# --- errors (api/errors) -----------------------------------------------------------------------


class ErrorObject(Struct):
    type: str | None = None
    message: str = ""
    code: str | None = None


ERRORS: dict[str, tuple[ErrorKind, int]] = {
    "invalid_request_error": ("invalid_request", 400),
    "authentication_error": ("authentication", 401),
    "billing_error": ("billing", 402),
    "permission_error": ("permission", 403),
    "not_found_error": ("not_found", 404),
    "conflict_error": ("invalid_request", 409),
    "request_too_large": ("too_large", 413),
    "rate_limit_error": ("rate_limit", 429),
    "api_error": ("server", 500),
    "timeout_error": ("timeout", 504),
    "overloaded_error": ("overloaded", 529),
}
"""What an error's type means: its class, and the HTTP status it stands for."""

STATUSES: dict[int, ErrorKind] = {
    **{status: kind for kind, status in ERRORS.values()},
    408: "timeout",
    422: "invalid_request",
}

FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    "pause_turn": "paused",
}
"""`stop_reason` in lutum's words; others keep the provider's."""

# --- models ------------------------------------------------------------------------------------

Forced = Literal["yes", "no", "without_budget"]


class Model(Struct, frozen=True):
    """What a family of models takes.

    Attributes:
      thinking: accepted types; None where nothing is known, so that everything is sent as asked.
      thinks: thinks when `thinking` is left out.
      sampling: temperature, top_p and top_k may be set.
      forced: tool_choice `any` and `tool` are taken.
      prefill: a request may end with an assistant message.
      late_system: `role: "system"` messages stand in the conversation; with the betas below also for one
        turn (`clear_at`) and with tool changes.
      binds: checks that thinking comes back behind what it was made behind, and reports what it drops. What
        goes back is decided as if all of them did: the list grows with every model.
      max_output: cap of max_tokens.
    """

    thinking: frozenset[str] | None = None
    thinks: bool = False
    sampling: bool = True
    forced: Forced = "yes"
    prefill: bool = True
    late_system: bool = False
    binds: bool = False
    max_output: int | None = None


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
    return Model(frozenset(thinking), thinks, sampling, forced, prefill, late_system, binds, max_output)


# Sources: the pages "What's new" of each model, "Extended thinking", "Prefix checks" and "Mid-conversation
# system messages" of platform.claude.com/docs, and the migration guide; fable-5-2 and mythos-5-2 are in
# the list of models that check prefixes and otherwise taken to be as 5-1.
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
"""Take temperature or top_p, not both (about-claude/models/migration-guide)."""

UNKNOWN = Model()
"""Sent what you asked for."""

# A version number goes on with one or two digits, a date has eight.
_LONGER = re.compile(r"-\d{1,2}(?!\d)")


def family(model: str) -> str | None:
    """The row of `MODELS` that a model id belongs to, also in the spellings of other hosts."""
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


@cache
def capabilities(model: str) -> Model:
    found = family(model)
    return MODELS[found] if found else UNKNOWN


# "Prefix checks": the 5.1 generation reads its own blocks, those of all before it and of opus-5-5; nothing
# else reads theirs. haiku-5-5 reads nobody's but its own.
_READ_BY_THEMSELVES = frozenset(
    {"claude-fable-5-1", "claude-fable-5-2", "claude-mythos-5-1", "claude-mythos-5-2"}
)


def reads(model: str, other: str) -> bool:
    """Whether `model` can read the thinking of `other`; True where nothing is known."""
    mine, theirs = family(model), family(other)
    if mine is None or theirs is None or mine == theirs:
        return True
    if mine == "claude-haiku-5-5":
        return False
    return theirs not in _READ_BY_THEMSELVES or mine in _READ_BY_THEMSELVES


# --- betas (api/beta-headers) ------------------------------------------------------------------

BETA_BINDING = "thinking-binding-controls-2026-08-01"
BETA_ONE_TURN = "mid-conversation-system-clear-at-2026-08-21"
BETA_INLINE_TOOLS = "inline-tools-2026-09-15"
BETA_DISPLAY_UPDATES = "thinking-display-updates-2026-08-18"
OPTION_BETAS = {
    "mcp_servers": "mcp-client-2025-11-20",
    "context_management": "context-management-2025-06-27",
    "fallbacks": "server-side-fallback-2026-07-01",
    "task_budget": "task-budgets-2026-03-13",
}

# --- limits (build-with-claude/vision, .../pdf-support, api/overview) --------------------------

IMAGE_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
IMAGE_BASE64_BYTES = 10 * 2**20  # 5 MiB on older models; the larger is refused here, the rest by the API
DOCUMENT_TYPES = frozenset({"application/pdf", "text/plain"})
REQUEST_BYTES = 32 * 2**20
TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
CALL_ID = re.compile(r"[a-zA-Z0-9_-]+")
MIN_BUDGET = 1024
LOOKBACK = 20  # content blocks that a cache breakpoint looks back for an earlier entry
