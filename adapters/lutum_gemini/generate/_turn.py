"""The committed turn: how it is made from an answer's JSON, and how it is replayed.

The wire of the turn is the answer as one response object. The parts of the answer are kept byte for byte. A
replay sends the parts of the first candidate, without the response-only parts: see `replay_parts`.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Final

from msgspec import Raw, Struct

from lutum import (
    CommittedTurn,
    ReasoningItem,
    RefusalItem,
    TextItem,
    TokenChoice,
    Tokens,
    ToolCallItem,
    Usage,
    ViewItem,
)
from lutum.abc import ReplayForm
from lutum.dialect.json import (
    FAULTS,
    decode_array,
    decode_object,
    encode,
    is_null,
    is_object,
    starts_with,
    string,
)
from lutum.dialect.logprobs import SampledTokens
from lutum.dialect.replay import origin_form
from lutum_gemini.generate import _models, _wire
from lutum_gemini.generate._citations import citations_of
from lutum_gemini.generate._parts import is_plain, members_of_part, text_of

ASKED: Final = "model"
"""The member of the wire with the requested model, if another model answered. lutum adds this member."""

UNFINISHED: Final = "a call was not received in full: "
VALUE_CALL: Final = "the value came as a call of the forced tool "
MALFORMED: Final = "the arguments of call "
VIEW_ONLY: Final = (UNFINISHED, VALUE_CALL, MALFORMED)
"""Prefixes of the reasons of turns whose wire cannot be sent back, not even to its own model."""

BYPASSED: Final = "; its first call carries the documented validator bypass in place of a signature"

_SIGNATURE: Final = b64encode(_wire.BYPASS)
_CLEAN: Final = re.compile(r"[A-Za-z0-9_-]{1,48}")


class WireCandidate(Struct, frozen=True):
    """The members of an answer that lutum reads."""

    parts: tuple[bytes, ...] = ()
    finish: str | None = None
    finish_message: str | None = None
    blocked: str | None = None
    block_message: str | None = None
    continuation: str | None = None
    members: dict[str, Raw] = {}


class FunctionCallPart(Struct, frozen=True):
    """The call of a part."""

    id: str | None
    name: str
    arguments: str
    goes_back: bool = True
    """The arguments are a JSON object. The API requires an object in a request."""


def candidate_of(response: bytes) -> WireCandidate:
    """Read the first candidate of a response object. Missing members are empty."""
    members = decode_object(response)
    feedback = _members(members.get("promptFeedback"))
    blocked, block_message = word(feedback.get("blockReason")), string(feedback.get("blockReasonMessage"))
    candidates = _entries(members.get("candidates"))
    first = _members(candidates[0]) if candidates else {}
    content = _members(first.get("content"))
    return WireCandidate(
        tuple(map(bytes, _entries(content.get("parts")))),
        word(first.get("finishReason")),
        string(first.get("finishMessage")),
        blocked,
        block_message,
        string(first.get("continuationToken")),
        first,
    )


def turn_from_response(
    response: bytes,
    *,
    scope: str,
    model: str,
    id_base: str = "",
    inexact_reason: str | None = None,
    value_tool: str | None = None,
) -> CommittedTurn:
    """Make the turn of a whole response object.

    Args:
      model: the requested model.
      id_base: the start of the ids of calls that the server sent without an id.
      value_tool: the forced tool whose arguments are the structured value. Its call is text in the view.

    Raises:
      msgspec.DecodeError: `response` is not a response object.
    """
    candidate = candidate_of(response)
    answered = string(decode_object(response).get("modelVersion")) or model
    answered, asked = _models.base_name(answered), _models.base_name(model)
    if asked and asked != answered:
        response = encode({**decode_object(response), ASKED: Raw(encode(asked))})
    view = view_of(candidate, id_base, value_tool)
    if inexact_reason is None and value_tool and any(_is_value(part, value_tool) for part in candidate.parts):
        inexact_reason = f"{VALUE_CALL}{value_tool!r}"
    if inexact_reason is None:
        calls = [call for part in candidate.parts if (call := call_of(members_of_part(part))) is not None]
        if bad := next((call for call in calls if not call.goes_back), None):
            inexact_reason = f"{MALFORMED}{bad.name!r} are not a JSON object"
    return CommittedTurn(
        adapter=_wire.NAME,
        scope=scope,
        model=answered,
        wire=response,
        items=view,
        inexact_reason=inexact_reason,
    )


def tokens_of(result: Raw | None, usage: Usage) -> Tokens | None:
    """Return the log probabilities of an answer; None if they are missing or unreadable."""
    try:
        found = _wire.decode_logprobs(b"null" if result is None else result)
    except FAULTS:
        found = None
    if found is None or not found.chosenCandidates:
        return None
    tokens = SampledTokens()
    for i, chosen in enumerate(found.chosenCandidates):
        top = found.topCandidates[i].candidates if i < len(found.topCandidates) else []
        tokens.add(_choice(chosen), map(_choice, top))
    return tokens.finish(usage)


def _choice(token: _wire.LogprobToken) -> TokenChoice:
    return TokenChoice(token.logProbability, token.token, token.tokenId)


def view_of(candidate: WireCandidate, id_base: str, value_tool: str | None = None) -> tuple[ViewItem, ...]:
    """Return the semantic view of an answer."""
    items, calls = list[ViewItem](), 0
    for part in candidate.parts:
        members = members_of_part(part)
        if (said := text_of(members)) is not None:
            text, is_thought = said
            if text:
                items.append(ReasoningItem(text) if is_thought else TextItem(text))
        elif (call := call_of(members)) is not None:
            if call.name == value_tool:
                items.append(TextItem(call.arguments))
            else:
                items.append(ToolCallItem(call.id or made_id(id_base, calls), call.name, call.arguments))
            calls += 1
    text = "".join(item.text for item in items if isinstance(item, TextItem))
    if text and (cited := citations_of(candidate.members, text)):
        # Offsets count from the beginning of the answer, so the last text item gets all citations.
        last, item = [(i, item) for i, item in enumerate(items) if isinstance(item, TextItem)][-1]
        items[last] = TextItem(item.text, cited)
    called = any(isinstance(item, ToolCallItem) for item in items)
    if not called and (words := refusal_words(candidate)):
        items.append(RefusalItem(words))
    return tuple(items)


def call_of(members: Mapping[str, Raw]) -> FunctionCallPart | None:
    """Return the call of a part; None for a part of another kind."""
    found = members.get("functionCall", members.get("function_call"))
    if found is None or not starts_with(found, b"{"):
        return None
    call = decode_object(found)
    given = call.get("args")
    if given is None or is_null(given):
        arguments, are_json = "{}", True
    else:
        # Gateways to other models send a string, as OpenAI does. The API accepts only objects.
        text = string(given)
        arguments, are_json = (bytes(given).decode(), True) if text is None else (text, False)
    id, name = string(call.get("id")) or None, string(call.get("name")) or ""
    return FunctionCallPart(id, name, arguments, are_json and is_object(arguments))


def made_id(base: str, number: int) -> str:
    """Return an id for a call that the server sent without an id. It is never sent to Gemini."""
    return f"call_{base}_{number}" if base else f"call_{number}"


def id_base(response_id: str | None) -> str:
    """Return the start of generated ids, with characters that every provider accepts."""
    if not response_id or _CLEAN.fullmatch(response_id):
        return response_id or ""
    return sha256(response_id.encode()).hexdigest()[:24]


def refusal_words(candidate: WireCandidate) -> str:
    """Return the refusal text of a blocked answer; empty if the answer was not blocked."""
    if candidate.blocked is not None:
        return candidate.block_message or f"The prompt was blocked ({candidate.blocked})."
    if _wire.FINISH.read(candidate.finish or "") == "content_filter":
        return candidate.finish_message or f"The answer was blocked ({candidate.finish})."
    return ""


def replay_form(turn: CommittedTurn, scope: str, model: str) -> ReplayForm:
    """Return whether `turn` can be replayed exactly to `scope` and `model`."""
    reason = _why_not(turn, scope, model)
    if reason is None:
        return ReplayForm(True)
    if turn.tool_calls and _models.capabilities(model).signed and not goes_whole(turn, scope, model):
        reason += BYPASSED
    return ReplayForm(False, reason)


def goes_whole(turn: CommittedTurn, scope: str, model: str) -> bool:
    """Return whether the turn's own parts are sent. This includes some inexact turns.

    A turn that is inexact because a tool was added keeps its signatures, because they do not depend on the
    prefix.
    """
    if turn.adapter != _wire.NAME or turn.scope != scope or not _is_readable(turn, model):
        return False
    return not (turn.inexact_reason or "").startswith(VIEW_ONLY)


def _why_not(turn: CommittedTurn, scope: str, model: str) -> str | None:
    form = origin_form(turn, _wire.NAME, scope)
    if (turn.adapter, turn.scope) != (_wire.NAME, scope):
        return form.reason
    if _is_readable(turn, model):
        return turn.inexact_reason
    if has_signature(turn.wire):
        return f"{model} does not accept the signatures of {turn.model}"
    return f"{model} requires a signature on its calls, and {turn.model} did not make one"


def _is_readable(turn: CommittedTurn, model: str) -> bool:
    if _models.reads(model, turn.model):
        return True
    if string(decode_object(turn.wire).get(ASKED)) == _models.base_name(model):
        return True
    return not has_signature(turn.wire) and not (turn.tool_calls and _models.capabilities(model).signed)


def has_signature(json: bytes) -> bool:
    """Return whether JSON contains a signature, in either spelling of the API."""
    return b'"thoughtSignature"' in json or b'"thought_signature"' in json


def read_content(turn: CommittedTurn) -> bytes | None:
    """Return the unchanged content of a turn that was read from a request; None for a received answer."""
    if b'"finishReason"' in turn.wire or b'"promptFeedback"' in turn.wire:
        return None
    candidates = _entries(decode_object(turn.wire).get("candidates"))
    return bytes(decode_object(candidates[0]).get("content", b"")) or None if candidates else None


def text_of_part(part: bytes) -> str | None:
    """Return the text of a part that contains only text; None for another part."""
    members = members_of_part(part)
    said = text_of(members)
    return said[0] if said is not None and is_plain(members) and not said[1] else None


def replay_parts(turn: CommittedTurn, *, thoughts: bool = True) -> list[bytes]:
    """Return the parts that are sent back.

    These parts are response-only and left out:
    - text parts without text, signature and other members: Gemini's own chat drops them too
      (google-genai, chats.py);
    - parts without members: 400 "contents.parts must have one initialized field: data".

    Args:
      thoughts: send summaries of thoughts. gemini-3-pro-preview refused them once (inspect_ai#2804).
    """
    return [part for part in candidate_of(turn.wire).parts if _goes_back(part, thoughts=thoughts)]


def _goes_back(part: bytes, *, thoughts: bool) -> bool:
    if b'""' not in part and b'"' in part and (thoughts or b'"thought"' not in part):
        return True
    members = members_of_part(part)
    said = text_of(members)
    if said is None or not is_plain(members):
        return bool(members)
    text, is_thought = said
    return bool(text) and (thoughts or not is_thought)


def view_parts(turn: CommittedTurn, *, bypass: bool) -> list[bytes]:
    """Return the semantic view as parts: text and refusals as text, and calls. Reasoning is left out.

    Args:
      bypass: the model requires a signature on the first call.
    """
    sent = list[bytes]()
    for item in turn.items:
        match item:
            case TextItem(text=text) | RefusalItem(text=text):
                if text:
                    sent.append(text_part(text))
            case ToolCallItem():
                sent.append(call_part(item.name, item.arguments, bypass=bypass))
                bypass = False
            case ReasoningItem():
                pass
    return sent


def text_part(text: str) -> bytes:
    """Return a text part."""
    return b'{"text":' + encode(text) + b"}"


def call_part(name: str, arguments: str, *, bypass: bool) -> bytes:
    """Return a part with a call. Arguments that are not a JSON object become `{}`."""
    args = arguments.encode() if is_object(arguments) else b"{}"
    signature = b',"thoughtSignature":"%b"' % _SIGNATURE if bypass else b""
    return b'{"functionCall":{"name":%b,"args":%b}%b}' % (encode(name), args, signature)


def server_ids(turn: CommittedTurn) -> frozenset[str]:
    """Return the ids of calls that came from the server."""
    if turn.adapter != _wire.NAME or b'"functionCall"' not in turn.wire:
        return frozenset()
    calls = (call_of(members_of_part(part)) for part in candidate_of(turn.wire).parts)
    return frozenset(call.id for call in calls if call is not None and call.id is not None)


def continuation_of(turn: CommittedTurn) -> str | None:
    """Return the token that continues a paused turn; None for a turn that is not paused."""
    if turn.adapter != _wire.NAME or b'"continuationToken"' not in turn.wire:
        return None
    candidate = candidate_of(turn.wire)
    return candidate.continuation if _wire.FINISH.read(candidate.finish or "") == "paused" else None


def _is_value(part: bytes, value_tool: str) -> bool:
    call = call_of(members_of_part(part))
    return call is not None and call.name == value_tool


def _entries(value: Raw | None) -> list[Raw]:
    return decode_array(value) if value is not None and starts_with(value, b"[") else []


def _members(value: Raw | None) -> dict[str, Raw]:
    return decode_object(value) if value is not None and starts_with(value, b"{") else {}


def word(value: Raw | None) -> str | None:
    """Return an enum value, which may be a name or a number; None if it is absent or unspecified."""
    if value is None or is_null(value):
        return None
    word = string(value)
    if word is None:
        word = bytes(value).decode(errors="replace")
    return None if word in ("", "0", "FINISH_REASON_UNSPECIFIED", "BLOCK_REASON_UNSPECIFIED") else word


def joined(parts: Sequence[bytes]) -> bytes:
    """Return the JSON array of parts."""
    return b"[" + b",".join(parts) + b"]"
