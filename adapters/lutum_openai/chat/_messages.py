"""Chat Completions' own JSON: stored messages to transcripts and back, and lines of a batch. No I/O.

An assistant message becomes a turn. Any other message becomes an item with the same content. If lutum would
write this item differently from the JSON that was read, the item keeps that JSON in `wire`. A message that no
item can represent becomes a `Raw` item.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from lutum import (
    BadValue,
    CommittedTurn,
    Document,
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
from lutum.dialect.json import FAULTS, Json, decode_object, members_of, objects, string
from lutum_openai import _endpoint, _messages
from lutum_openai._hosts import profile_of
from lutum_openai._messages import Said
from lutum_openai.chat import _turn, _wire
from lutum_openai.chat._items import ChatItemEncoder

_ROLES = frozenset({"user", "system", "developer"})
# The written JSON follows OpenAI's own definition of the dialect.
_PROFILE = profile_of(_endpoint.OWN_HOST)


def from_messages(
    messages: Json,
    *,
    scope: str = _endpoint.OWN_HOST,
    model: str = "",
    tools: Iterable[ToolDef] | None = None,
) -> Transcript:
    """Return the transcript of a list of messages, or of the body of a whole request.

    Assistant messages become turns. They are sent back unchanged, with their reasoning, to the host that they
    came from. Pass that host as `scope`. An adapter with another `scope` sends only their readable content.
    Other messages become `Message` and `ToolResult` items, which every adapter accepts. `to_messages` returns
    the same JSON again.

    Args:
      scope: the origin of the turns, equal to the adapter's `scope`: its `replay_scope`, or else its host.
      model: the model that answered. Default: the body's `model`.
      tools: the tools at the start of the conversation, such as `Toolset.definitions`. Default: the functions
        in the body.

    Raises:
      BadValue: `messages` is not JSON, or contains no messages; the error names the field.
    """
    body = members_of("messages", messages, "messages")
    if tools is None:
        tools = _messages.tools_of(body.get("tools"))
    try:
        entries = objects(bytes(body.get("messages", b"null")))
        if entries is None:
            raise BadValue("messages", "is not an array of messages")
        reader = _ChatReader(scope, model or string(body.get("model")) or "", tuple(tools))
        reader.run(list(map(_ChatEntry, entries)))
        return reader.transcript
    except FAULTS as exc:
        raise BadValue("messages", f"cannot be read: {exc}") from None


def to_messages(transcript: Transcript) -> bytes:
    """Return the JSON array of the messages of a transcript.

    Turns of this dialect keep every received member; turns of other adapters contain their readable content.
    Some hosts send members that they refuse in requests. These members are kept, because only an adapter with
    the host's profile can remove them.

    Raises:
      BadValue: the dialect does not accept an item. The error's field is the place of the item.
    """
    written = list[bytes]()
    before, scope = Transcript(), ""
    for i, item in enumerate(transcript):
        if isinstance(item, CommittedTurn):
            scope = item.scope
            own = item.adapter == _wire.NAME
            view = item.wire if own else _turn.view_message(item, _PROFILE)
            written += [] if view is None else [view]
        elif isinstance(item, Raw) and item.adapter == _wire.NAME:
            written.append(item.json.strip().encode())
        else:
            written += ChatItemEncoder(scope, _PROFILE).piece(item, f"input[{i}]", before).sent
        before = before.append(item)
    return b"[" + b",".join(written) + b"]"


def batch_line(turn: Turn[Any], id: str) -> bytes:
    """Return one line of the input file of a batch with the endpoint `/v1/chat/completions`.

    The line contains the request of `turn` with the id `id`. It has no line end. Nothing is sent or reserved.

    Raises:
      BadValue: `id` is blank, or `turn` is not a turn of Chat Completions.
      UsageError: the request is impossible; the message names the field.
    """
    return _messages.batch_line(turn, id, "/chat/completions")


class _ChatEntry:
    """The readable members of a message. `answers`: the id of the call that a tool message answers."""

    __slots__ = ("answers", "content", "json", "role")

    def __init__(self, json: bytes) -> None:
        members = decode_object(json)
        self.json = json
        self.role = string(members.get("role")) or ""
        self.content = bytes(members.get("content", b"null"))
        self.answers: str | None = None
        if self.role == "tool":
            self.answers = string(members.get("tool_call_id"))
        elif self.role == "function":
            self.answers = _wire.FUNCTION_ID + (string(members.get("name")) or "")


class _ChatReader:
    """Converts messages to items, in order."""

    def __init__(self, scope: str, model: str, tools: tuple[ToolDef, ...]) -> None:
        self.transcript = Transcript()
        self._model = model
        self._tools = tools
        self._encoder = ChatItemEncoder(scope, _PROFILE)

    def run(self, messages: Sequence[_ChatEntry]) -> None:
        for i, message in enumerate(messages):
            content = _messages.parts_of(message.content, _part)
            if message.role == "assistant":
                self._turn(message, messages, i + 1)
            elif message.answers is not None and message.answers in self.transcript.open_calls:
                self._say(ToolResult(message.answers, content or (Text(""),)), message)
            elif message.role in _ROLES and content is not None:
                role: Any = message.role
                self._say(Message(role, content), message)
            else:
                self._append(Raw(_wire.NAME, message.json.decode()))

    def _turn(self, message: _ChatEntry, messages: Sequence[_ChatEntry], behind: int) -> None:
        """Append the turn of an assistant message. `behind` is the index of the message after it.

        The message becomes a `Raw` item if it cannot be read as a turn, if two calls have the same id, or if
        messages follow that are not exactly the results of its calls.
        """
        scope = self._encoder.scope
        try:
            turn = _turn.turn_from_message(message.json, scope=scope, model=self._model)
        except FAULTS:
            turn = None
        calls = [] if turn is None else [call.id for call in turn.tool_calls]
        answers = [answer.answers or "" for answer in messages[behind : behind + len(calls)]]
        answered = behind == len(messages) or sorted(answers) == sorted(calls)
        if turn is None or len(set(calls)) < len(calls) or not answered:
            self._append(Raw(_wire.NAME, message.json.decode()))
            return
        self._append(msgspec.structs.replace(turn, tools=self._tools))
        self._tools = ()  # only the first turn stores them

    def _say(self, item: Said, message: _ChatEntry) -> None:
        def render() -> Sequence[bytes]:
            return self._encoder.piece(item, "messages", self.transcript).sent

        self._append(_messages.with_wire(item, _wire.NAME, render, message.json))

    def _append(self, item: Item) -> None:
        self.transcript = self.transcript.append(item)


def _part(json: bytes) -> Part:
    """Return a part; `Raw` if no other part can represent it."""
    try:
        members = decode_object(json)
        kind = string(members.get("type"))
        if kind == "text" and (text := string(members.get("text"))) is not None:
            return Text(text)
        if kind == "image_url":
            return _messages.image_of(string(decode_object(members["image_url"])["url"]) or "")
        if kind == "file":
            file = decode_object(members["file"])
            if (file_id := string(file.get("file_id"))) is not None:
                return Document(file_id=file_id)
            return _messages.document_of(string(file["file_data"]) or "", string(file.get("filename")))
    except _messages.UNREADABLE:
        pass
    return Raw(_wire.NAME, json.decode())
