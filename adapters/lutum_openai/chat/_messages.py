"""Chat Completions' own JSON, in and out: logged or stored messages as transcripts, lines of a batch. PURE.

An assistant message becomes a turn, any other the item that says what it says. What that leaves open is kept
beside it in `wire`, and only where it leaves something open. What no item can say stays a `Raw` item.
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
# What is written is for whoever takes the dialect as its owner defines it.
_PROFILE = profile_of(_endpoint.OWN_HOST)


def from_messages(
    messages: Json,
    *,
    scope: str = _endpoint.OWN_HOST,
    model: str = "",
    tools: Iterable[ToolDef] | None = None,
) -> Transcript:
    """The transcript of a list of messages, or of a whole request's body.

    Assistant messages become turns that go back as they are, with their reasoning, to the host they came
    from: say which. Where a request's `scope` differs, it gets what can be read instead. Other messages
    become `Message` and `ToolResult` items, which every adapter takes. `to_messages` gives back the same
    JSON.

    Args:
      scope: where the turns come from, as an adapter's `scope`: the host, unless it has a `replay_scope`.
      model: who answered; unsaid, the body's `model`.
      tools: what the conversation began with, such as `Toolset.definitions`; unsaid, the body's functions.

    Raises:
      BadValue: not JSON, or no messages; the field is named.
    """
    body = members_of("messages", messages, "messages")
    if tools is None:
        tools = _messages.tools_of(body.get("tools"))
    try:
        entries = objects(bytes(body.get("messages", b"null")))
        if entries is None:
            raise BadValue("messages", "is no array of messages")
        reader = _ChatReader(scope, model or string(body.get("model")) or "", tuple(tools))
        reader.run(list(map(_ChatEntry, entries)))
        return reader.transcript
    except FAULTS as exc:
        raise BadValue("messages", f"cannot be read: {exc}") from None


def to_messages(transcript: Transcript) -> bytes:
    """The JSON array of the messages of a transcript.

    Turns of this dialect come with everything that was received, turns of others as what they say. What a
    host refuses of its own answers, only an adapter with its profile knows to leave out.

    Raises:
      BadValue: an item that the dialect does not take; the field is its place.
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
    """One line, without its end, of the input file of a batch with the endpoint `/v1/chat/completions`: what
    `turn` would send, named `id`. Sends and reserves nothing.

    Raises:
      BadValue: a blank id, or no turn of Chat Completions.
      UsageError: the request cannot be; the message names the field.
    """
    return _messages.batch_line(turn, id, "/chat/completions")


class _ChatEntry:
    """A message as far as it can be read; `answers` is the call that a result of a tool answers."""

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
    """Messages to items, in order."""

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
        """A turn; kept as it is where its calls are not answered as an item can say it."""
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
        self._tools = ()  # the first turn keeps them

    def _say(self, item: Said, message: _ChatEntry) -> None:
        def render() -> Sequence[bytes]:
            return self._encoder.piece(item, "messages", self.transcript).sent

        self._append(_messages.with_wire(item, _wire.NAME, render, message.json))

    def _append(self, item: Item) -> None:
        self.transcript = self.transcript.append(item)


def _part(json: bytes) -> Part:
    """A part; raw where none of ours says it."""
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
