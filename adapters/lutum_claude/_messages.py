"""The API's own JSON: logged or stored messages to transcripts and back, and lines of a batch. No I/O.

A message becomes items with the same content. If the items do not determine the JSON, the original JSON is
kept in their `wire`. Examples are a text as a string or as a list, a `cache_control`, and where a message
begins. Content that no item can represent becomes a `Raw` item.
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
_ANSWER = frozenset({"id", "stop_reason", "usage"})  # members that only the message of an answer has
_UNREADABLE = (*FAULTS, BadValue, binascii.Error, KeyError)


def from_messages(
    messages: Json, *, scope: str = HOST, model: str = "", tools: Iterable[ToolDef] | None = None
) -> Transcript:
    """Return the transcript of a list of messages, or of a whole request's body with `system` and `tools`.

    Assistant messages become turns, which are sent back unchanged. Their thinking was signed for one account
    and one model, so pass `scope` and `model` if they are not the API's own host and the body's model. A
    request with another `scope` or `model` gets only the readable content of a turn. User messages become
    `Message` and `ToolResult` items, which every adapter accepts. `to_messages` returns the same JSON again.

    Args:
      scope: the origin of the turns, as an adapter's `scope`: the host, or the adapter's `replay_scope`.
      model: the model that answered. Default: the body's `model`.
      tools: the tools at the start of the conversation, such as `Toolset.definitions`. Default: the body's
        tools that have a schema.

    Raises:
      BadValue: `messages` is not JSON, or has no messages. The error names the field.
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
    """Return the JSON array of the messages of a transcript.

    The system items at its start are left out; `to_system` returns them.

    Turns of this adapter are written without response-only members, turns of other adapters with their
    readable content.

    Raises:
      BadValue: Claude does not accept an item. The error's field is the path of the item.
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
    """Return the JSON of a request's `system`: the system items at the start of the transcript.

    None if the transcript does not begin with system items.
    """
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
    `turn.preview().headers`. This function sends and reserves nothing.

    Raises:
      BadValue: the API does not accept `id`, or `turn` does not belong to the Messages API.
      UsageError: the request is impossible. The message names the field.
    """
    if not _CUSTOM_ID.fullmatch(id):
        raise BadValue("id", f"{id!r} is invalid: use 1 to 64 letters, digits, _ and -")
    preview = turn.preview()
    if not preview.url.endswith("/v1/messages"):
        raise BadValue("turn", f"{preview.url} does not accept batches of the Messages API")
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
    """Return the events of a message that was received in one piece.

    The first event contains the whole message. Some servers stream in this way.
    """
    return b'{"type":"message_start","message":%b}' % message, b'{"type":"message_stop"}'


def stream_of(message: bytes) -> bytes:
    """Return the stream of the events of a message that was received in one piece."""
    # A line end can be replaced by a space, because it is outside of strings. In strings it is escaped.
    lines = (event.replace(b"\r", b" ").replace(b"\n", b" ") for event in events_of(message))
    return b"".join(b"data: %b\n\n" % line for line in lines)


class _ClaudeEntry:
    """The readable parts of a message.

    `blocks` is None if the content is not a list of objects. `results` contains the call ids of the tool
    results at the start of the message. It is None if a tool result follows another block.
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
    """Return the id of the call that a block answers; None if the block is not a tool result."""
    members = decode_object(block)
    if string(members.get("type")) != "tool_result":
        return None
    return string(members.get("tool_use_id")) or ""


class _ClaudeReader:
    """Converts messages to items, in order."""

    def __init__(self, scope: str, model: str, tools: tuple[ToolDef, ...]) -> None:
        self.items = list[Item]()
        self._scope = scope
        self._model = model
        self._tools = tools
        self._encoder = ClaudeItemEncoder(scope, model)
        self._open = list[str]()

    def system(self, content: bytes) -> None:
        """Append a request's `system`. It is the first message, so it is not joined with an earlier one."""
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
        """Append a turn.

        If the next message does not answer its calls with results that items can represent, append a `Raw`
        item instead.
        """
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
        self._tools = ()  # the first turn contains the tools

    def _answer(self, message: _ClaudeEntry) -> None:
        """Append the results of the open calls, and a message with the content that follows them."""
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
        """Append the item of a whole message.

        Args:
          begins: whether the previous message has the same role. If so, the original JSON is kept, so that
            the two messages are not joined.
        """
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
    """Return the array of blocks that is sent for an item; None if it is not exactly one message."""
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
    """Return a block as a part; `Raw` if no other part can represent it."""
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
    """A message that is being written. Members other than its role and content stay unchanged."""

    __slots__ = ("blocks", "members", "whole")

    def __init__(self, role: str, blocks: Iterable[bytes]) -> None:
        self.members: dict[str, RawJson] = {"role": RawJson(encode(role))}
        self.blocks = list(blocks)
        self.whole = b""

    @classmethod
    def read(cls, wire: bytes) -> _Written:
        """Read `wire`, which is a message or an array of the blocks of one message."""
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
    """Return the JSON of a `Raw` item of this adapter, or the JSON that an item was read from; else None."""
    raw = item if isinstance(item, Raw) else None if isinstance(item, CommittedTurn) else item.wire
    return raw.json.strip().encode() if raw is not None and raw.adapter == _wire.NAME else None


class _GivenTool(msgspec.Struct):
    name: str
    input_schema: RawJson
    description: str = ""
    type: str = "custom"


def _tools(tools: RawJson | None) -> tuple[ToolDef, ...]:
    """Return the tools of a request that have a schema. The provider runs the others."""
    found = list[ToolDef]()
    for tool in decode_array(tools) if tools is not None and bytes(tools).startswith(b"[") else ():
        try:
            read = msgspec.json.decode(tool, type=_GivenTool)
        except msgspec.MsgspecError:
            continue
        if read.type == "custom":
            found.append(ToolDef(read.name, bytes(read.input_schema).decode(), read.description))
    return tuple(found)
