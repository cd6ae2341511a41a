"""The API's own JSON, in and out: logged or stored messages as transcripts, and lines of a batch. No I/O.

A message that is read becomes items with the same content. Details that items do not hold (a string or a
list of one text, a `cache_control`, the beginning of a message) are kept in `wire`, if there are any.
Content that no item can hold stays a `Raw` item.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Raw as RawJson

from lutum import (
    BadValue,
    CommittedTurn,
    Document,
    Image,
    Item,
    Message,
    Part,
    Raw,
    Text,
    ToolDef,
    ToolResult,
    Transcript,
    Turn,
)
from lutum.dialect.json import (
    FAULTS,
    Json,
    decode_array,
    decode_object,
    encode,
    members_of,
    same_value,
    string,
)
from lutum_claude import _turn, _wire
from lutum_claude._items import ClaudeItemEncoder, ClaudePiece, preface_messages
from lutum_clouds import door_of, refuse

HOST = "api.anthropic.com"

_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")  # api/creating-message-batches, `custom_id`
_NOT_IN_A_BATCH = frozenset({"stream"})  # build-with-claude/batch-processing, "What can be batched"
_ANSWER = frozenset({"id", "stop_reason", "usage"})  # members that an answer has and a request has not
_UNREADABLE = (*FAULTS, BadValue, binascii.Error, KeyError)


def from_messages(
    messages: Json, *, scope: str = HOST, model: str = "", tools: Iterable[ToolDef] | None = None
) -> Transcript:
    """The transcript of a list of messages, or of a whole request's body with its `system` and `tools`.

    Assistant messages become turns that are sent back as they are. Their thinking was signed for one account
    and one model, so give both if they are not the API's own: a request with another `scope` or `model` gets
    the readable content instead. User messages become `Message` and `ToolResult` items, which every adapter
    takes. `to_messages` returns the same JSON.

    Args:
      scope: the origin of the turns, as an adapter's `scope`: the host, unless it has a `replay_scope`.
      model: the model that answered; default: the body's `model`.
      tools: the tools at the start of the conversation, such as `Toolset.definitions`; default: the body's
        tools that have a schema.

    Raises:
      BadValue: not JSON, or no messages; the field is named.
    """
    body = members_of("messages", messages, "messages")
    array = bytes(body.get("messages", b"null"))
    entries = [bytes(entry) for entry in decode_array(array)] if array.startswith(b"[") else None
    if entries is None or not all(entry.startswith(b"{") for entry in entries):
        raise BadValue("messages", "is not an array of messages")
    if tools is None:
        tools = _tools(body.get("tools"))
    reader = _ClaudeReader(scope, model or string(body.get("model")) or "", tuple(tools))
    if (system := body.get("system")) is not None and bytes(system) != b"null":
        reader.system(bytes(system))
    try:
        reader.run(list(map(_ClaudeEntry, entries)))
    except FAULTS as exc:
        raise BadValue("messages", f"cannot be read: {exc}") from None
    return Transcript(reader.items)


def to_messages(transcript: Transcript) -> bytes:
    """The JSON array of the messages of a transcript; its head is `to_system`.

    Turns of this adapter come without what only answers hold, turns of others as what they say.

    Raises:
      BadValue: an item that Claude does not take; the field is its place.
    """
    encoder = ClaudeItemEncoder("", "")
    written = list[_Written]()
    open_calls, own = tuple[str, ...](), True
    head = len(transcript.head.system)
    for i, item in enumerate(transcript):
        if i < head:
            continue
        if isinstance(item, CommittedTurn):
            open_calls, own = tuple(call.id for call in item.tool_calls), item.adapter == _wire.NAME
            _add_turn(written, item)
            continue
        if (wire := _own_wire(item)) is not None:
            written.append(_Written.read(wire))
            if wire.startswith(b"[") and len(written) > 1:
                written[-2].blocks += written.pop().blocks
            continue
        for role, blocks in encoder.piece(item, f"input[{i}]", open_calls, own_id=own).groups:
            _add(written, role, [block.json for block in blocks])
    return b"[" + b",".join(message.json() for message in written) + b"]"


def to_system(transcript: Transcript) -> bytes | None:
    """The JSON of a request's `system`: the head of the transcript. None where it has none."""
    items = transcript.head.system
    if not items:
        return None
    if len(items) == 1 and isinstance(items[0], Message) and (wire := _own_wire(items[0])) is not None:
        return bytes(decode_object(wire).get("content", b"null"))
    encoder = ClaudeItemEncoder("", "")
    blocks = list[bytes]()
    for i, item in enumerate(items):
        for _, group in encoder.piece(item, f"input[{i}]", ()).groups:
            blocks += [block.json for block in group]
    return b"[" + b",".join(blocks) + b"]"


def batch_line(turn: Turn[Any], id: str) -> bytes:
    """Return one entry of `requests` in `POST /v1/messages/batches`: the request of `turn`, named `id`.

    Join the entries with commas. Betas are sent once for the whole batch: copy the header `anthropic-beta` of
    `turn.preview().headers`. Sends and reserves nothing.

    Raises:
      BadValue: the API does not take the id, or the turn does not belong to the Messages API.
      UsageError: the request is not possible; the message names the field.
    """
    if not _CUSTOM_ID.fullmatch(id):
        raise BadValue("id", f"{id!r} is more than 64, or other than, letters, digits, _ and -")
    preview = turn.preview()
    if not preview.url.endswith("/v1/messages"):
        raise BadValue("turn", f"{preview.url} takes no batches of the Messages API")
    refuse(door_of(urlsplit(preview.url).hostname or "", _wire.NAME), "batches", "turn")
    params = decode_object(preview.body)
    sent = {name: value for name, value in params.items() if name not in _NOT_IN_A_BATCH}
    return b'{"custom_id":%b,"params":%b}' % (encode(id), encode(sent))


def is_message(body: bytes) -> bool:
    """Return whether a body is a whole message."""
    try:
        members = decode_object(body)
        return string(members.get("type")) == "message" and string(members.get("stop_reason")) is not None
    except FAULTS:
        return False


def events_of(message: bytes) -> tuple[bytes, ...]:
    """The events of a message that came whole: all of it in the first one, as some servers stream."""
    return b'{"type":"message_start","message":%b}' % message, b'{"type":"message_stop"}'


def stream_of(message: bytes) -> bytes:
    """A message that came whole as the stream of its events."""
    # A line end can only be between two members: in a string it is escaped.
    lines = (event.replace(b"\r", b" ").replace(b"\n", b" ") for event in events_of(message))
    return b"".join(b"data: %b\n\n" % line for line in lines)


class _ClaudeEntry:
    """The readable parts of a message. `blocks` has no value (None) if its content is not a list of objects.

    `results` has the ids of the tool results at its beginning; None if a result is elsewhere.
    """

    __slots__ = ("blocks", "content", "extra", "json", "results", "role")

    def __init__(self, json: bytes) -> None:
        members = decode_object(json)
        self.json = json
        self.role = string(members.get("role")) or ""
        self.content = bytes(members.get("content", b"null"))
        self.extra = {name: value for name, value in members.items() if name not in ("role", "content")}
        self.blocks: list[bytes] | None = None
        self.results: list[str] | None = []
        if self.content.startswith(b"["):
            blocks = [bytes(block) for block in decode_array(self.content)]
            if all(block.startswith(b"{") for block in blocks):
                self.blocks = blocks
                answers = [_answered(block) for block in blocks]
                ids = [id for id in answers if id is not None]
                self.results = ids if answers[: len(ids)] == ids else None


def _answered(block: bytes) -> str | None:
    """The call that a block answers."""
    members = decode_object(block)
    if string(members.get("type")) != "tool_result":
        return None
    return string(members.get("tool_use_id")) or ""


class _ClaudeReader:
    """Messages to items, in order."""

    def __init__(self, scope: str, model: str, tools: tuple[ToolDef, ...]) -> None:
        self.items = list[Item]()
        self._scope = scope
        self._model = model
        self._tools = tools
        self._encoder = ClaudeItemEncoder(scope, model)
        self._open = list[str]()

    def system(self, content: bytes) -> None:
        """A request's `system`, which no message before it can be one with."""
        self._say(_ClaudeEntry(b'{"role":"system","content":%b}' % content), begins=False)

    def run(self, messages: Sequence[_ClaudeEntry]) -> None:
        for i, message in enumerate(messages):
            begins = i > 0 and messages[i - 1].role == message.role
            if message.role == "assistant":
                self._turn(message, messages[i + 1] if i + 1 < len(messages) else None)
            elif self._open:
                self._answer(message)
            elif (message.role == "user" and message.results == []) or (
                message.role == "system" and i > 0 and not message.extra
            ):
                self._say(message, begins=begins)
            else:
                self._keep(message)

    def _keep(self, message: _ClaudeEntry) -> None:
        self.items.append(Raw(_wire.NAME, message.json.decode()))

    def _turn(self, message: _ClaudeEntry, following: _ClaudeEntry | None) -> None:
        """A turn; kept as it is where its calls are not answered as an item can say it."""
        try:
            turn = _turn.turn_from_message(message.json, scope=self._scope)
        except FAULTS:
            self._keep(message)
            return
        calls = [call.id for call in turn.tool_calls]
        answered = following is None or (
            following.role == "user" and sorted(following.results or ()) == sorted(calls)
        )
        if calls and (len(set(calls)) < len(calls) or not answered):
            self._keep(message)
            return
        self._open = calls
        self.items.append(msgspec.structs.replace(turn, model=turn.model or self._model, tools=self._tools))
        self._tools = ()  # the first turn keeps them

    def _answer(self, message: _ClaudeEntry) -> None:
        """Return the results of the open calls, and the content behind them."""
        blocks, count = message.blocks or [], len(self._open)
        parts = [[block] for block in blocks[:count]]
        if blocks[count:]:
            parts.append(blocks[count:])
        for i, group in enumerate(parts):
            item: Message | ToolResult = (
                _result(group[0]) if i < count else Message("user", tuple(map(_part, group)))
            )
            array = b"[" + b",".join(group) + b"]"
            if i == 0 and message.extra:
                members = {"role": RawJson(b'"user"'), "content": RawJson(array), **message.extra}
                wire: bytes | None = encode(members)
            else:
                said = _content(self._piece(item))
                wire = None if said is not None and same_value(said, array) else array
                if wire is not None and i == 0:
                    wire = b'{"role":"user","content":%b}' % wire
            self.items.append(_with_wire(item, wire))
        self._open = []

    def _say(self, message: _ClaudeEntry, *, begins: bool) -> None:
        """An item of a whole message; `begins` where it would be one with the message before."""
        content: tuple[Part, ...]
        if message.blocks is not None:
            content = tuple(map(_part, message.blocks))
        elif (text := string(message.content)) is not None:
            content = (Text(text),)
        else:
            self._keep(message)
            return
        if message.role == "system" and not all(isinstance(part, Text) for part in content):
            self._keep(message)  # changes of tools
            return
        role: Literal["system", "user"] = "system" if message.role == "system" else "user"
        item = Message(role, content or (Text(""),))
        said = _content(self._piece(item))
        plain = not begins and not message.extra and said is not None and same_value(said, message.content)
        self.items.append(_with_wire(item, None if plain else message.json))

    def _piece(self, item: Message | ToolResult) -> ClaudePiece | None:
        try:
            return self._encoder.piece(item, "messages", tuple(self._open), own_id=True)
        except BadValue:
            return None


def _content(piece: ClaudePiece | None) -> bytes | None:
    """The array of blocks that an item is sent as."""
    if piece is None or len(piece.groups) != 1:
        return None
    return b"[" + b",".join(block.json for block in piece.groups[0][1]) + b"]"


def _with_wire(item: Message | ToolResult, wire: bytes | None) -> Message | ToolResult:
    if wire is None:
        return item
    return msgspec.structs.replace(item, wire=Raw(_wire.NAME, wire.decode()))


def _result(block: bytes) -> ToolResult:
    members = decode_object(block)
    content = bytes(members.get("content", b"null"))
    said: tuple[Part, ...] = ()
    if content.startswith(b"["):
        said = tuple(_part(bytes(part)) for part in decode_array(content))
    elif text := string(content):
        said = (Text(text),)
    error = bytes(members.get("is_error", b"")) == b"true"
    return ToolResult(string(members["tool_use_id"]) or "", said or (Text(""),), error)


def _part(block: bytes) -> Part:
    """Return a block as a part; raw if no part can hold it."""
    try:
        members = decode_object(block)
        kind = string(members.get("type"))
        if kind == "text" and (text := string(members.get("text"))) is not None:
            return Text(text)
        if kind in ("image", "document") and (media := _media(members, document=kind == "document")):
            return media
    except _UNREADABLE:
        pass
    return Raw(_wire.NAME, block.decode())


def _media(members: Mapping[str, RawJson], *, document: bool) -> Image | Document | None:
    source = decode_object(members["source"])
    kind, media_type = string(source.get("type")), string(source.get("media_type")) or ""
    data = url = file_id = None
    if kind == "base64":
        data = b64decode(string(source.get("data")) or "", validate=True)
    elif kind == "text" and document:
        data = (string(source.get("data")) or "").encode()
    elif kind == "url":
        url, media_type = string(source.get("url")), ""
    elif kind == "file":
        file_id, media_type = string(source.get("file_id")), ""
    else:
        return None
    if not document:
        return Image(media_type, data, url, file_id)
    cited = members.get("citations")
    return Document(
        media_type,
        data,
        url,
        file_id,
        title=string(members.get("title")),
        context=string(members.get("context")),
        citations=cited is not None and b"true" in bytes(cited),
    )


class _Written:
    """A message that is being written; members beside its role and content stay as they were."""

    __slots__ = ("blocks", "members", "whole")

    def __init__(self, role: str, blocks: Iterable[bytes]) -> None:
        self.members: dict[str, RawJson] = {"role": RawJson(encode(role))}
        self.blocks = list(blocks)
        self.whole = b""

    @classmethod
    def read(cls, wire: bytes) -> _Written:
        """From a message, or from an array of blocks of one."""
        array = wire if wire.startswith(b"[") else b"null"
        members = {} if wire.startswith(b"[") else decode_object(wire)
        content = array if array != b"null" else bytes(members.get("content", b"null"))
        written = cls("user", map(bytes, decode_array(content)) if content.startswith(b"[") else ())
        if members:
            written.members = members
            written.whole = b"" if content.startswith(b"[") else wire
        return written

    @property
    def role(self) -> str | None:
        return string(self.members.get("role"))

    def json(self) -> bytes:
        if self.whole:
            return self.whole
        content = RawJson(b"[" + b",".join(self.blocks) + b"]")
        return encode({**self.members, "content": content})


def _add(written: list[_Written], role: str, blocks: Sequence[bytes]) -> None:
    if not blocks:
        return
    last = written[-1] if written else None
    if last is not None and last.role == role and not last.whole:
        last.blocks += blocks
    else:
        written.append(_Written(role, blocks))


def _add_turn(written: list[_Written], turn: CommittedTurn) -> None:
    if turn.adapter != _wire.NAME:
        _add(written, "assistant", _turn.view_blocks(turn))
        return
    members = decode_object(turn.wire)
    if not _ANSWER & members.keys():
        written.append(_Written.read(turn.wire))
        return
    written += [_Written.read(message) for message in preface_messages(turn.preface)]
    incomplete = (turn.inexact_reason or "").startswith(_turn.INCOMPLETE)
    _add(written, "assistant", _turn.view_blocks(turn) if incomplete else _turn.replay_blocks(turn))


def _own_wire(item: Item) -> bytes | None:
    """The JSON of this adapter that an item is, or was read from."""
    raw = item if isinstance(item, Raw) else None if isinstance(item, CommittedTurn) else item.wire
    return raw.json.strip().encode() if raw is not None and raw.adapter == _wire.NAME else None


class _GivenTool(msgspec.Struct):
    name: str
    input_schema: RawJson
    description: str = ""
    type: str = "custom"


def _tools(tools: RawJson | None) -> tuple[ToolDef, ...]:
    """The tools of a request that have a schema; the others run at the provider."""
    found = list[ToolDef]()
    for tool in decode_array(tools) if tools is not None and bytes(tools).startswith(b"[") else ():
        try:
            read = msgspec.json.decode(tool, type=_GivenTool)
        except msgspec.MsgspecError:
            continue
        if read.type == "custom":
            found.append(ToolDef(read.name, bytes(read.input_schema).decode(), read.description))
    return tuple(found)
