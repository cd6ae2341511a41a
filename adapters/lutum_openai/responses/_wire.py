"""The shapes of the Responses API's JSON, and tables of the values that it accepts.

Structs have only the members that lutum reads. Values that are passed on undecoded are fields of the type
`msgspec.Raw`, a view of the received bytes. They are copied, with `bytes` or by encoding, before other code
gets them. Event and item shapes are those of the API reference
(developers.openai.com/api/reference/resources/responses) and of openai-python's generated types.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar, get_args

import msgspec
from msgspec import Raw, Struct

from lutum.dialect.finish import FinishTable
from lutum.dialect.ids import bounded
from lutum.dialect.json import FAULTS, decode_object, encode

NAME = "openai-responses"

CALL_ID_CHARACTERS = 64
"""The longest `call_id`. The API refuses a longer id ("string too long"), and other providers may send longer
ids."""


def call_id(id: str) -> str:
    """Return a call's id as the API accepts it."""
    return bounded(id, CALL_ID_CHARACTERS)


# --- stream events -----------------------------------------------------------------------------


class _Delta(Struct, tag_field="type", forbid_unknown_fields=True, gc=False):
    """A delta of an item. Some servers leave out the item's id, some change it with every event, and some
    leave out the index. Therefore an item is found by id or by index. A delta with unknown members is also
    shown as a `ProviderEvent`."""

    delta: str
    item_id: str | None = None
    output_index: int | None = None
    sequence_number: int | None = None
    obfuscation: str | None = None  # padding against traffic analysis


class ResponsesTextDelta(_Delta, tag="response.output_text.delta", gc=True):
    content_index: int = 0
    logprobs: Raw = Raw()


class ResponsesRefusalDelta(_Delta, tag="response.refusal.delta", gc=False):
    content_index: int = 0


class SummaryDelta(_Delta, tag="response.reasoning_summary_text.delta", gc=False):
    summary_index: int = 0


class ResponsesReasoningDelta(_Delta, tag="response.reasoning_text.delta", gc=False):
    content_index: int = 0


class OldReasoningDelta(_Delta, tag="response.reasoning.delta", gc=False):
    content_index: int = 0


class ArgumentsDelta(_Delta, tag="response.function_call_arguments.delta", gc=False):
    pass


class ArgumentsDone(Struct, tag_field="type", tag="response.function_call_arguments.done"):
    arguments: str
    name: str | None = None
    item_id: str | None = None
    output_index: int | None = None


class AnnotationAdded(Struct, tag_field="type", tag="response.output_text.annotation.added"):
    annotation: Raw = Raw()
    item_id: str | None = None
    output_index: int | None = None
    content_index: int = 0


class ItemAdded(Struct, tag_field="type", tag="response.output_item.added"):
    item: Raw
    output_index: int | None = None


class ItemDone(Struct, tag_field="type", tag="response.output_item.done"):
    item: Raw
    output_index: int | None = None


class Created(Struct, tag_field="type", tag="response.created"):
    response: Raw = Raw()


class Queued(Struct, tag_field="type", tag="response.queued"):
    response: Raw = Raw()


class InProgress(Struct, tag_field="type", tag="response.in_progress"):
    response: Raw = Raw()


class ResponsesCompleted(Struct, tag_field="type", tag="response.completed"):
    response: Raw


class Incomplete(Struct, tag_field="type", tag="response.incomplete"):
    response: Raw


class Done(Struct, tag_field="type", tag="response.done"):
    """The name of `response.completed` in older versions of OpenRouter."""

    response: Raw


class Failed(Struct, tag_field="type", tag="response.failed"):
    response: Raw


class Cancelled(Struct, tag_field="type", tag="response.cancelled"):
    response: Raw


class ResponsesErrorEvent(Struct, tag_field="type", tag="error"):
    pass


Delta = (
    ResponsesTextDelta
    | ResponsesRefusalDelta
    | SummaryDelta
    | ResponsesReasoningDelta
    | OldReasoningDelta
    | ArgumentsDelta
)
StreamEvent = (
    Delta
    | ArgumentsDone
    | AnnotationAdded
    | ItemAdded
    | ItemDone
    | Created
    | Queued
    | InProgress
    | ResponsesCompleted
    | Incomplete
    | Done
    | Failed
    | Cancelled
    | ResponsesErrorEvent
)

decode_event = msgspec.json.Decoder(StreamEvent).decode

MEMBERS = {
    str(kind.__struct_config__.tag): frozenset(("type", *kind.__struct_fields__))
    for kind in get_args(StreamEvent)
}
"""The members of each event that lutum reads."""

EVENT_TYPES = frozenset(MEMBERS)

DELTA_TYPES = frozenset(str(kind.__struct_config__.tag) for kind in get_args(Delta))

IDENTIFYING = frozenset({"item_id", "name"})
INDICES = frozenset({"output_index", "content_index", "summary_index"})
PLAIN = frozenset({"sequence_number", "obfuscation"})
"""These three sets contain the members that an event can lack: ids and names (`IDENTIFYING`), indices
(`INDICES`), and the sequence number and the padding (`PLAIN`)."""

REPEATS = frozenset(
    {
        "response.content_part.added",
        "response.content_part.done",
        "response.output_text.done",
        "response.refusal.done",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_part.done",
        "response.reasoning_summary_text.done",
        "response.reasoning_text.done",
        "response.reasoning.done",
    }
)
"""Events that only repeat earlier deltas or the later `response.output_item.done`."""


class Tagged(Struct):
    type: str = ""


decode_tag = msgspec.json.Decoder(Tagged).decode
decode_str = msgspec.json.Decoder(str).decode

# --- responses and items -------------------------------------------------------------------------


class IncompleteDetails(Struct):
    reason: str | None = None


class ResponseHead(Struct):
    """The members of a response object that lutum reads.

    `stop_reason` and `finish_reason` are not members of the API. Servers that translate other APIs add them.
    """

    id: str | None = None
    model: str | None = None
    status: str | None = None
    stop_reason: str | None = None
    finish_reason: str | None = None
    incomplete_details: IncompleteDetails | None = None
    max_output_tokens: int | None = None
    usage: Raw = Raw()
    error: Raw = Raw()
    output: list[Raw] | None = None
    input_transformations: list[Raw] | None = None
    store: bool | None = None
    service_tier: Raw = Raw()


_decode_head = msgspec.json.Decoder(ResponseHead).decode


def decode_head(json: Raw | bytes) -> ResponseHead:
    """Read the head of a response. A member of a wrong type counts as absent.

    Raises:
      msgspec.DecodeError: `json` is not an object.
    """
    try:
        return _decode_head(json)
    except msgspec.ValidationError:
        return _read_members(json, _decode_head, ResponseHead())


T = TypeVar("T", bound=Struct)


def _read_members(json: Raw | bytes, decode: Callable[[bytes], T], empty: T) -> T:
    found = dict[str, Any]()
    for name, raw in decode_object(json).items():
        if name not in empty.__struct_fields__:
            continue
        try:
            found[name] = getattr(decode(encode({name: raw})), name)
        except FAULTS:
            continue
    return msgspec.structs.replace(empty, **found)


class ItemHead(Struct):
    """The members of output items of all kinds that lutum reads."""

    type: str = ""
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: Raw = Raw()
    phase: str | None = None
    execution: str | None = None
    content: Raw = Raw()
    summary: Raw = Raw()
    encrypted_content: Raw = Raw()


_decode_item = msgspec.json.Decoder(ItemHead).decode

ITEM_TYPES = frozenset({"message", "reasoning", "function_call"})
"""Types of items whose content lutum reads."""


def read_item(json: bytes) -> ItemHead:
    """Read the head of an item. A member of a wrong type counts as absent.

    Raises:
      msgspec.DecodeError: `json` is not an object.
    """
    try:
        return _decode_item(json)
    except msgspec.ValidationError:
        return _read_members(json, _decode_item, ItemHead())


class ResponsesPart(Struct):
    type: str = ""
    text: str | None = None
    refusal: str | None = None
    annotations: Raw = Raw()
    logprobs: Raw = Raw()


_decode_part = msgspec.json.Decoder(ResponsesPart).decode


class _Called(Struct):
    caller: Tagged | None = None


_decode_called = msgspec.json.Decoder(_Called).decode


def caller_of(json: bytes) -> str:
    """Return the type of a call's caller; empty if the caller is the model or cannot be read."""
    try:
        caller = _decode_called(json).caller
    except msgspec.DecodeError:
        return ""
    return "" if caller is None else caller.type


def read_part(json: bytes) -> ResponsesPart:
    """Read a part of a message or of reasoning. A part with a member of a wrong type counts as empty."""
    try:
        return _decode_part(json)
    except msgspec.ValidationError:
        return ResponsesPart()


FINISH = FinishTable()
"""The table for values of `incomplete_details.reason`, and for finish reasons of servers that translate other
APIs. `lutum.dialect.finish.FINISH` contains all these values, so this table adds none."""

OUTPUTS = {
    "custom_tool_call": "custom_tool_call_output",
    "computer_call": "computer_call_output",
    "local_shell_call": "local_shell_call_output",
    "shell_call": "shell_call_output",
    "apply_patch_call": "apply_patch_call_output",
    "tool_search_call": "tool_search_output",
    "mcp_approval_request": "mcp_approval_response",
}
"""Calls that need an answer from the caller, each with the type of the answer. If the output of a call is in
the same turn, a hosted shell or search has already run it, and the call needs no answer. A `tool_search_call`
needs an answer only if its `execution` is `client`."""

# --- models --------------------------------------------------------------------------------------

# guides/reasoning: gpt-5 and later except gpt-5-chat, the o series, and codex. xAI: grok-3-mini, and grok-4
# and later. Other hosts put their own prefix before the name: openai/gpt-5 or openai.gpt-5. The pattern does
# not match gpt-oss, so `reasons` returns None for it.
_REASONS = re.compile(r"(?:^|[/.])(?:gpt-(?:[5-9]|\d\d)(?!-chat)|o[1-9](?!\w)|codex|grok-3-mini|grok-[4-9])")
_NEVER_REASONS = re.compile(r"(?:^|[/.])(?:gpt-(?:3\.5|4)|chatgpt-4o|gpt-5-chat|grok-(?:2|3(?!-mini)))")


@cache
def reasons(model: str) -> bool | None:
    """Return whether a model reasons; None if its name does not show this."""
    if _NEVER_REASONS.search(model):
        return False
    return True if _REASONS.search(model) else None


# --- limits --------------------------------------------------------------------------------------

TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")  # api/reference, "function": 64 on older models
MIN_OUTPUT_TOKENS = 16  # below it: 400 "integer below minimum value. Expected a value >= 16"
