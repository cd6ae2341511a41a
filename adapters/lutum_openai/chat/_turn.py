"""The committed turn: how a received message becomes a turn, and how the turn is sent back. No I/O, no clock.

A turn contains the received message (`wire`) and its content as lutum's items (the view). `turn_from_message`
is the only function that makes a Chat turn. The message is sent back without the members that only responses
may have (the constants below). The host's profile decides how its reasoning is sent.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from hashlib import sha256
from typing import TypeVar

import msgspec
from msgspec import Raw

from lutum import Citation, CommittedTurn, ReasoningItem, RefusalItem, TextItem, ToolCallItem, ViewItem
from lutum.abc import ReplayForm
from lutum.dialect.json import decode_array, decode_object, decode_str, encode, is_null, is_object
from lutum.dialect.replay import origin_form
from lutum_openai._citations import citations_of
from lutum_openai._profiles import Profile
from lutum_openai.chat import _wire
from lutum_openai.chat._think import split

T = TypeVar("T")

RESPONSE_ONLY = frozenset(
    {
        # url citations; openai-python's ChatCompletionAssistantMessageParam has no such member
        "annotations",
        "channel",  # Groq's name for the part of a gpt-oss answer; not in requests of its API reference
        "executed_tools",  # server-side tool runs of Groq's compound systems (console.groq.com, "Compound")
        "index",  # Mistral numbers its deltas; a message has no number
        "obfuscation",  # padding against traffic analysis (openai-python, stream_options param)
        "padding",  # the same, at GitHub Copilot
        "parsed",  # the decoded content (recorded from api.x.ai); SDKs add it, requests do not accept it
        "provider_metadata",  # the bill of the gateway's upstream (vercel.com/docs/ai-gateway)
        "reasoning_encrypted",  # Venice's flag that reasoning is hidden; it contains no reasoning
        "token_id",  # Together: the number of the delta's last token
    }
)
"""Members of a received message that are never sent back, because the server would not read them. Null
members and an empty `refusal`, `tool_calls` or `function_call` are left out too."""

RESPONSE_ONLY_IN_CALL = frozenset(
    {
        "index",  # the call's position; many servers repeat it in whole messages, but requests lack it
    }
)

AUDIO_KEEPS = "id"
"""The only member of `audio` that is sent back (openai-python, ChatCompletionAssistantMessageParam)."""

SILENCE = b'{"role":"assistant","content":"(no answer)"}'
"""The message that replaces a turn without text and calls, if the host requires alternating roles."""

_EMPTY = frozenset({b"null", b'""', b"[]", b"{}"})
_ORDER = ("role", "name", "content", "refusal", *_wire.REASONING, "tool_calls", "function_call", "audio")


class _CalledFunction(msgspec.Struct):
    name: str = ""
    arguments: Raw = Raw()


class _ChatCall(msgspec.Struct):
    id: str = ""
    type: str | None = None
    function: _CalledFunction | None = None


class _Audio(msgspec.Struct):
    id: str = ""
    transcript: str | None = None


class _Detail(msgspec.Struct):
    text: str | None = None
    summary: str | None = None


_decode_calls = msgspec.json.Decoder(list[_ChatCall] | None).decode
_decode_legacy = msgspec.json.Decoder(_CalledFunction | None).decode
_decode_audio = msgspec.json.Decoder(_Audio | None).decode
_decode_details = msgspec.json.Decoder(list[_Detail] | None).decode


def turn_from_message(
    message: bytes,
    *,
    scope: str,
    model: str,
    inexact_reason: str | None = None,
    value_tool: str | None = None,
    think: tuple[str, ...] = (),
) -> CommittedTurn:
    """Return the turn of a whole assistant message. Its `wire` is `message`, byte for byte.

    Args:
      value_tool: the forced tool whose arguments are the structured value. The view contains these arguments
        as a text instead of the call.
      think: names of tags that enclose reasoning at the start of the text.

    Raises:
      msgspec.DecodeError: `message` is not a message.
    """
    members = decode_object(message)
    items = _view(members, value_tool, think)
    for item in items:
        if isinstance(item, ToolCallItem) and not is_object(item.arguments):
            inexact_reason = inexact_reason or f"the arguments of call {item.id!r} are not a JSON object"
    return CommittedTurn(
        adapter=_wire.NAME,
        scope=scope,
        model=model,
        wire=message,
        items=items,
        inexact_reason=inexact_reason,
    )


def replay_form(turn: CommittedTurn, scope: str, model: str) -> ReplayForm:
    """Return whether `turn` is replayed exactly to `scope`. All models of a host read each other's turns."""
    return origin_form(turn, _wire.NAME, scope)


def form_at(form: ReplayForm, turn: CommittedTurn, profile: Profile) -> ReplayForm:
    """Return the form in which a turn is sent to a host. If a part of the turn is left out, the form is not
    exact, and contains the reason.

    Args:
      form: the form that follows from the adapter, the scope and the turn itself.
    """
    if not form.exact:
        return form
    members = decode_object(turn.wire)
    if _is_empty(members) and not profile.empty_assistant:
        left = "replaced by a short text" if profile.alternate else "left out"
        return ReplayForm(False, f"the host refuses an assistant message without text, so it is {left}")
    has = [name for name in _wire.REASONING if bytes(members.get(name, b"null")) not in _EMPTY]
    if has and profile.reasoning is not None and not any(name in profile.reasoning for name in has):
        return ReplayForm(False, f"its reasoning is left out, because the host does not accept {has[0]}")
    return form


def replay_message(turn: CommittedTurn, profile: Profile) -> bytes | None:
    """Return the message that is sent back. Its members have a fixed order, with unknown members at the end.

    Returns None for a message without text and calls, if the host refuses such messages.
    """
    members = decode_object(turn.wire)
    sent = {name: bytes(members[name]) for name in _ORDER if name in members}
    sent |= {name: bytes(raw) for name, raw in members.items() if name not in sent}
    listed = sent.get("tool_calls", b"null") not in _EMPTY
    if listed:  # llama-cpp-python adds the same call in its older form, but only one of the two is answered
        sent.pop("function_call", None)
    calls = listed or not no_function(sent.get("function_call"))
    kept = {"role": b'"assistant"'}
    for name, value in sent.items():
        if name in RESPONSE_ONLY or name == "role" or name in _wire.REASONING:
            continue
        if name == "content":
            # A message without calls needs content, and null is refused.
            if value != b"null" or (calls and profile.null_content):
                kept[name] = value
            elif not calls:
                kept[name] = b'""'
        elif name == "tool_calls":
            if value not in _EMPTY:
                kept[name] = _replay_calls(value, profile)
        elif name == "function_call":
            if not no_function(value):
                kept[name] = value
        elif name == "audio":
            if id := (_read(_decode_audio, members[name]) or _Audio()).id:
                kept[name] = encode({AUDIO_KEEPS: id})
        elif value != b"null" and not (name == "refusal" and value == b'""'):
            kept[name] = value
    if "content" not in kept and not calls and "audio" not in kept:
        kept["content"] = b'""'
    if _is_empty(members) and not profile.empty_assistant:
        return SILENCE if profile.alternate else None
    for name in _reasoning_members(sent, profile, calls):
        kept[name] = encode(profile.filler) if sent.get(name, b"null") in _EMPTY else sent[name]
    ordered = [name for name in _ORDER if name in kept]
    ordered += [name for name in kept if name not in _ORDER]
    return b"{" + b",".join(encode(name) + b":" + kept[name] for name in ordered) + b"}"


def view_message(turn: CommittedTurn, profile: Profile) -> bytes | None:
    """Return the view of a turn as a message: text, refusals, and calls with their arguments as received.

    Returns None for a turn without text and calls, if the host refuses such messages.
    """
    words = "".join(item.text for item in turn.items if isinstance(item, TextItem | RefusalItem))
    calls = [item for item in turn.items if isinstance(item, ToolCallItem)]
    members = [b'"role":"assistant"']
    if not words and not calls and not profile.empty_assistant:
        return SILENCE if profile.alternate else None
    if words or not calls:
        members.append(b'"content":' + encode(words))
    elif profile.null_content:
        members.append(b'"content":null')
    if calls:
        if profile.required is not None:  # reasoning of another host is not sent, so the filler replaces it
            members.append(b"%b:%b" % (encode(profile.required), encode(profile.filler)))
        members.append(
            b'"tool_calls":[%b]'
            % b",".join(
                call_json(call_id(call.id, profile), call.name, call.arguments, profile) for call in calls
            )
        )
    return b"{" + b",".join(members) + b"}"


def call_id(id: str, profile: Profile) -> str:
    """Return a call's id if the host accepts it, else a digest of it."""
    if re.fullmatch(profile.call_id, id):
        return id
    return sha256(id.encode()).hexdigest()[:9]


def call_json(id: str, name: str, arguments: str, profile: Profile) -> bytes:
    """Return a tool call of another provider. Its arguments are a string, so any received text is valid."""
    signed = b"" if profile.call_signature is None else b',"extra_content":' + profile.call_signature.encode()
    return b'{"id":%b,"type":"function","function":{"name":%b,"arguments":%b}%b}' % (
        encode(id),
        encode(name),
        encode(arguments),
        signed,
    )


def thinking_text(raw: Raw | None) -> str | None:
    """Return the text of a thinking part: a string, or a list of text parts; None if it is neither."""
    if raw is None:
        return None
    try:
        if bytes(raw).startswith(b'"'):
            return decode_str(raw)
        parts = msgspec.json.decode(raw, type=list[_wire.ChatPart])
    except (msgspec.DecodeError, UnicodeError):
        return None
    if any(part.type != "text" or part.text is None for part in parts):
        return None
    return "".join(part.text or "" for part in parts)


def _reasoning_members(sent: dict[str, bytes], profile: Profile, calls: bool) -> list[str]:
    has = [name for name in _wire.REASONING if sent.get(name, b"null") not in _EMPTY]
    if profile.reasoning is not None:
        has = [name for name in profile.reasoning if name in has][:1]
    if calls and profile.required is not None and profile.required not in has:
        has.append(profile.required)
    return has


def no_function(value: bytes | None, begun: bool = False) -> bool:
    """Return whether a `function_call` is absent, null, or the empty function that Go servers send.

    `begun`: an earlier delta began a function already, so a piece without a name continues it.
    """
    if value is None or value in _EMPTY:
        return True
    if begun:
        return False
    read = _read(_decode_legacy, Raw(value))
    return read is None or not read.name


def _replay_calls(calls: bytes, profile: Profile) -> bytes:
    """Return the calls of a turn of this host. If the host requires signatures and the turn has none, each
    call gets the signature for calls of other providers. Turns of older models have no signatures."""
    sent = list(map(_replay_call, decode_array(calls)))
    if profile.call_signature is not None and b'"thought_signature"' not in calls:
        extra = Raw(profile.call_signature.encode())
        sent = [encode({"extra_content": extra, **decode_object(call)}) for call in sent]
    return b"[" + b",".join(sent) + b"]"


def _is_empty(members: dict[str, Raw]) -> bool:
    """Return whether a message has neither text nor a call; it may have reasoning."""
    content = members.get("content")
    words = content is not None and bytes(content) not in _EMPTY and not _is_blank(content)
    return not words and not any(
        bytes(members.get(name, b"null")) not in _EMPTY
        for name in ("refusal", "tool_calls", "audio", "function_call")
    )


def _is_blank(content: Raw) -> bool:
    """Return whether content is a list that contains only empty text and thinking."""
    if not bytes(content).startswith(b"["):
        return False
    return all(
        part.type == "thinking" or (part.type == "text" and not part.text)
        for part in map(_wire.decode_part, decode_array(content))
    )


def _replay_call(call: Raw) -> bytes:
    members = decode_object(call)
    kind = bytes(members.get("type", b""))
    dropped = set(RESPONSE_ONLY_IN_CALL)
    if kind != b'"custom"':
        dropped.add("custom")  # servers written in Go send an empty one in function calls
    kept = {name: raw for name, raw in members.items() if name not in dropped and not is_null(raw)}
    order = list[str]()
    order += [name for name in ("id", "type", "function", "custom") if name in kept]
    order += [name for name in kept if name not in order]
    return encode({name: kept[name] for name in order})


def _view(members: dict[str, Raw], value_tool: str | None, think: tuple[str, ...]) -> tuple[ViewItem, ...]:
    items = list[ViewItem]()
    said = list[str]()
    for name in _wire.REASONING_TEXT:
        raw = members.get(name)
        if raw is not None and bytes(raw).startswith(b'"'):
            text = decode_str(raw)
            if text and text not in said:
                said.append(text)
    details = members.get("reasoning_details")
    if not said and details is not None and bytes(details) not in _EMPTY:
        read = _read(_decode_details, details) or ()
        said.append("".join((detail.text or "") + (detail.summary or "") for detail in read))
    items += map(ReasoningItem, said)
    cited = citations_of(bytes(members.get("annotations", b"")))
    items += _content_items(members.get("content"), cited, think)
    audio = members.get("audio")
    spoken = _read(_decode_audio, audio)
    if spoken is not None and spoken.transcript:
        items.append(TextItem(spoken.transcript))
    refusal = members.get("refusal")
    if refusal is not None and bytes(refusal).startswith(b'"') and (text := decode_str(refusal)):
        items.append(RefusalItem(text))
    items += _call_items(members, value_tool)
    return tuple(items)


def _read(decode: Callable[[Raw], T], raw: Raw | None) -> T | None:
    """Return a decoded member; None if it is absent or of another type. `wire` keeps the raw member."""
    try:
        return None if raw is None else decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def _content_items(
    content: Raw | None, cited: tuple[Citation, ...], think: tuple[str, ...]
) -> list[ViewItem]:
    if content is None or is_null(content):
        return []
    if bytes(content).startswith(b'"'):
        thought, text = split(decode_str(content), think)
        said: list[ViewItem] = [ReasoningItem(thought)] if thought else []
        return [*said, TextItem(text, cited)] if text else said
    items = list[ViewItem]()
    if not bytes(content).startswith(b"["):
        return items
    for raw in decode_array(content):
        part = _wire.decode_part(raw)
        if part.type == "text" and part.text:
            items.append(TextItem(part.text))
        elif part.type == "refusal" and part.refusal:
            items.append(RefusalItem(part.refusal))
        elif part.type == "thinking" and (words := thinking_text(decode_object(raw).get("thinking"))):
            items.append(ReasoningItem(words))
    return items


def _call_items(members: dict[str, Raw], value_tool: str | None) -> list[ViewItem]:
    items = list[ViewItem]()
    calls = members.get("tool_calls")
    for call in _read(_decode_calls, calls) or ():
        if call.function is None or call.type == "custom":
            continue
        arguments = arguments_text(bytes(call.function.arguments))
        if call.function.name == value_tool:
            items.append(TextItem(arguments))
        else:
            items.append(ToolCallItem(call.id, call.function.name, arguments))
    legacy = members.get("function_call")
    listed = calls is not None and bytes(calls) not in _EMPTY
    if legacy is not None and not listed and not no_function(bytes(legacy)):
        function = _decode_legacy(legacy) or _CalledFunction()
        arguments = arguments_text(bytes(function.arguments))
        items.append(ToolCallItem(_wire.FUNCTION_ID + function.name, function.name, arguments))
    return items


def arguments_text(value: bytes) -> str:
    """Return arguments as tools receive them. Blank or absent arguments become `{}`."""
    if value in (b"", b"null"):
        return "{}"
    text = decode_str(value) if value.startswith(b'"') else value.decode()
    return text if text.strip() else "{}"
