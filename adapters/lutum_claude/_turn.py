"""The committed turn: how it is made from a message's JSON, and how it is replayed. No I/O.

Only `turn_from_message` creates Claude turns, from streamed messages and from whole messages. A replay sends
the content of the wire without its response-only parts. The three RESPONSE_ONLY constants define these parts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec
from msgspec import Raw

from lutum import CommittedTurn, ReasoningItem, RefusalItem, TextItem, ToolCallItem, ViewItem
from lutum.abc import ReplayForm
from lutum.dialect.json import decode_object, encode, is_object, starts_with, string
from lutum.dialect.replay import origin_form
from lutum_claude import _models, _wire
from lutum_claude._citations import citations_of

THINKING = frozenset({"thinking", "redacted_thinking", "connector_text"})
"""Types of blocks that models sign. Some models bind them to a prefix (build-with-claude/prefix-checks)."""

INCOMPLETE = "a delta of an unknown kind was left out: "
"""Prefix of `inexact_reason` if the turn's `wire` lacks a part of a block. Then only the view of the turn is
sent back."""


STRINGS = {"text": ("text",), "thinking": ("thinking", "signature")}
"""Members of blocks that must be strings. If one is not, the answer is read on, but only the view of the turn
is sent back."""


class _ToolUse(msgspec.Struct):
    id: str
    name: str
    input: Raw


class _MessageBody(msgspec.Struct):
    content: list[Raw] | str  # a string in requests only
    model: Raw = Raw()
    stop_reason: Raw = Raw()
    stop_details: Raw = Raw()


_decode_call = msgspec.json.Decoder(_ToolUse).decode
_decode_message = msgspec.json.Decoder(_MessageBody).decode


# The API sends text blocks that contain only white space, and refuses them in a request: 400 "text content
# blocks must contain non-whitespace text" (api/messages). They are always dropped, so all requests agree.
RESPONSE_ONLY_BLOCKS: dict[str, Callable[[bytes], bool]] = {
    "text": lambda block: not _said(block, "text").strip(),
}
# Members of the response type that the request type lacks (anthropic-sdk-python: compare
# types/citation_char_location.py and citation_char_location_param.py).
RESPONSE_ONLY_CITATION_MEMBERS = frozenset({"file_id"})
# Blocks of the first model, if another model took over in the middle of the answer. A server_tool_use is
# dropped only without its result (build-with-claude/refusals-and-fallback, "Continuing the conversation").
RESPONSE_ONLY_BEFORE_FALLBACK = frozenset({"thinking", "redacted_thinking", "tool_use", "server_tool_use"})


def turn_from_message(
    message: bytes,
    *,
    scope: str,
    inexact_reason: str | None = None,
    prefix: str | None = None,
    preface: bytes = b"",
    malformed: Mapping[str, str] | None = None,
    value_tool: str | None = None,
) -> CommittedTurn:
    """Make the turn of a whole message. Its `wire` is `message`, byte for byte.

    Args:
      prefix: the prefix to which the model binds its thinking. It is kept only if the message contains signed
        thinking.
      malformed: the received arguments of the calls whose input in `message` had to become `{}`, by call id.
      value_tool: the forced tool whose input is the structured value. The view contains this input as a text
        instead of the call.

    Raises:
      msgspec.DecodeError: `message` is not a message.
    """
    read = _decode_message(message)
    blocks = _blocks(read)
    return CommittedTurn(
        adapter=_wire.NAME,
        scope=scope,
        model=string(read.model) or "",
        wire=message,
        items=_view(blocks, read, malformed or {}, value_tool),
        inexact_reason=inexact_reason,
        prefix=prefix if any(map(_signed, blocks)) else None,
        preface=preface,
    )


def refusal_words(stop_details: bytes) -> str:
    """Return the API's explanation of a refusal, for an answer without text."""
    details = decode_object(stop_details) if stop_details.startswith(b"{") else {}
    if explanation := string(details.get("explanation")):
        return explanation
    category = string(details.get("category"))
    return f"The request was refused ({category})." if category else "The request was refused."


def is_paused(turn: CommittedTurn) -> bool:
    """Return whether the provider paused the turn. The provider continues a paused turn that is sent back."""
    return turn.adapter == _wire.NAME and _stopped(_decode_message(turn.wire)) == "pause_turn"


def was_replaced_before(turn: CommittedTurn) -> bool:
    """Return whether `turn` cannot be replayed exactly, only because `Transcript.replace` changed an earlier
    item."""
    reason = turn.inexact_reason or ""
    return reason.startswith("item ") and reason.endswith("was replaced")


def is_empty(turn: CommittedTurn) -> bool:
    """Return whether the answer is empty; False for a turn of another adapter, where it is unknown."""
    return turn.adapter == _wire.NAME and not _decode_message(turn.wire).content


def has_thinking(turn: CommittedTurn) -> bool:
    """Return whether the wire contains a thinking block, which only some models can read."""
    return any(_wire.decode_tag(block).type in THINKING for block in _blocks(_decode_message(turn.wire)))


def replay_form(turn: CommittedTurn, scope: str, model: str) -> ReplayForm:
    """Return whether `turn` can be replayed exactly to `scope` and `model`. The prefix is not checked."""
    form = origin_form(turn, _wire.NAME, scope)
    if not form.exact:
        return form
    if not _models.reads(model, turn.model) and has_thinking(turn):
        return ReplayForm(False, f"{model} cannot read the thinking of {turn.model}")
    return form


def has_unsigned(turn: CommittedTurn) -> bool:
    """Return whether the wire contains unsigned thinking: cut by the output limit, or made by a bridge."""
    return any(map(_is_unsigned, _blocks(_decode_message(turn.wire))))


def replay_blocks(turn: CommittedTurn, *, thinking: bool = True, unsigned: bool = True) -> list[bytes]:
    """Return the content for a replay.

    Args:
      thinking: include thinking.
      unsigned: include unsigned thinking.
    """
    blocks = _blocks(_decode_message(turn.wire))
    sent = list[bytes]()
    for kind, block in _live(blocks):
        is_dropped = RESPONSE_ONLY_BLOCKS.get(kind)
        if (is_dropped and is_dropped(block)) or (kind in THINKING and not thinking):
            continue
        if not unsigned and _is_unsigned(block):
            continue
        sent.append(_without_response_members(block) if kind == "text" else block)
    return sent


def view_blocks(turn: CommittedTurn) -> list[bytes]:
    """Return the view of a turn as content blocks: text and refusals as text, calls as tool_use. Reasoning is
    left out."""
    sent = list[bytes]()
    for item in turn.items:
        match item:
            case TextItem(text=text) | RefusalItem(text=text):
                if text.strip():
                    sent.append(text_block(text))
            case ToolCallItem():
                sent.append(call_block(item.id, item.name, item.arguments))
            case ReasoningItem():
                pass
    return sent


def text_block(text: str) -> bytes:
    return b'{"type":"text","text":' + encode(text) + b"}"


def call_block(id: str, name: str, arguments: str) -> bytes:
    """Return a tool_use block. The API accepts only objects, so other arguments are sent as `{}`."""
    return b'{"type":"tool_use","id":%b,"name":%b,"input":%b}' % (
        encode(call_id(id)),
        encode(name),
        arguments.encode() if is_object(arguments) else b"{}",
    )


def call_id(id: str) -> str:
    """Return a call's id. An id with characters that Claude refuses (of another provider) is replaced."""
    return id if takes_id(id) else "call_" + id.encode().hex()


def takes_id(id: str) -> bool:
    """Return whether Claude accepts `id` as the id of a call."""
    return _wire.CALL_ID.fullmatch(id) is not None


def is_by_program(block: bytes) -> bool:
    """Return whether a block is a call made by a program that the model wrote in an earlier response."""
    if b'"caller"' not in block or _wire.decode_tag(block).type != "tool_use":
        return False
    caller = decode_object(block).get("caller")
    return starts_with(caller, b"{") and string(decode_object(caller).get("type")) not in (None, "direct")


def _blocks(message: _MessageBody) -> list[bytes]:
    if isinstance(message.content, str):
        return [text_block(message.content)]
    return [bytes(block) for block in message.content]


def _live(blocks: Sequence[bytes]) -> list[tuple[str, bytes]]:
    """Return the blocks with their types, without the blocks that a fallback made invalid."""
    typed = [(_wire.decode_tag(block).type, block) for block in blocks]
    last = max((i for i, (kind, _) in enumerate(typed) if kind == "fallback"), default=0)
    if not last:
        return typed
    answered = {_id(block, "tool_use_id") for _, block in typed}
    return [
        (kind, block)
        for i, (kind, block) in enumerate(typed)
        if i >= last
        or kind not in RESPONSE_ONLY_BEFORE_FALLBACK
        or (kind == "server_tool_use" and _id(block, "id") in answered)
    ]


def _id(block: bytes, member: str) -> bytes | None:
    found = decode_object(block).get(member)
    return None if found is None else bytes(found)


def _without_response_members(block: bytes) -> bytes:
    if b'"file_id"' not in block:
        return block
    members = decode_object(block)
    try:
        citations = msgspec.json.decode(members["citations"], type=list[dict[str, Raw]])
    except (KeyError, msgspec.DecodeError):
        return block
    kept = [{k: v for k, v in c.items() if k not in RESPONSE_ONLY_CITATION_MEMBERS} for c in citations]
    members["citations"] = Raw(encode(kept))
    return encode(members)


def _view(
    blocks: Sequence[bytes], message: _MessageBody, malformed: Mapping[str, str], value_tool: str | None
) -> tuple[ViewItem, ...]:
    refused = _stopped(message) == "refusal"
    items = list[ViewItem]()
    for kind, block in _live(blocks):
        if kind == "text":
            if text := _said(block, "text"):
                items.append(RefusalItem(text) if refused else TextItem(text, citations_of(block)))
        elif kind == "thinking":
            items.append(ReasoningItem(_said(block, "thinking")))
        elif kind == "redacted_thinking":
            items.append(ReasoningItem(""))
        elif kind == "tool_use":
            call = _decode_call(block)
            arguments = malformed.get(call.id) or bytes(call.input).decode()
            if call.name == value_tool:
                items.append(TextItem(arguments))
            else:
                items.append(ToolCallItem(call.id, call.name, arguments))
    if refused and not any(isinstance(item, RefusalItem) for item in items):
        items.append(RefusalItem(refusal_words(bytes(message.stop_details))))
    return tuple(items)


def _said(block: bytes, member: str) -> str:
    return string(decode_object(block).get(member)) or ""


def _stopped(message: _MessageBody) -> str | None:
    return string(message.stop_reason)


def _is_unsigned(block: bytes) -> bool:
    return _wire.decode_tag(block).type == "thinking" and not _said(block, "signature")


def _signed(block: bytes) -> bool:
    kind = _wire.decode_tag(block).type
    return kind == "redacted_thinking" or (kind in THINKING and bool(_said(block, "signature")))
