"""JSON of the Responses API: conversion to and from transcripts, and lines of a batch. No I/O.

Consecutive output items of the model become one turn. Input items become `Message` and `ToolResult` items. If
lutum would write such an item differently from the JSON that was read, the item keeps that JSON in `wire`.
Input that these items cannot express becomes a `Raw` item.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

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
from lutum.dialect.json import FAULTS, Json, decode_object, encode, members_of, objects, string
from lutum_openai import _endpoint, _messages
from lutum_openai._messages import Said
from lutum_openai.responses import _turn, _wire
from lutum_openai.responses._items import ResponsesItemEncoder

# Types of input items that a model produces (openai-python, types/responses/response_input_item.py).
_PUT_OUT = frozenset(
    {
        "apply_patch_call",
        "code_interpreter_call",
        "compaction",
        "computer_call",
        "custom_tool_call",
        "file_search_call",
        "function_call",
        "image_generation_call",
        "local_shell_call",
        "mcp_approval_request",
        "mcp_call",
        "mcp_list_tools",
        "reasoning",
        "shell_call",
        "tool_search_call",
        "web_search_call",
    }
)
_ROLES = frozenset({"user", "system", "developer"})
# Members of a response that was received. The turns that `from_messages` makes lack them.
_ANSWER = frozenset({"id", "status", "object"})


def from_messages(
    messages: Json,
    *,
    scope: str = _endpoint.OWN_HOST,
    model: str = "",
    tools: Iterable[ToolDef] | None = None,
) -> Transcript:
    """Return the transcript of a list of input items, or of a whole request body with its `instructions`.

    The model's output becomes turns, which are sent back unchanged. Because reasoning is encrypted for one
    account, give `scope` if the turns do not come from OpenAI's own host. An adapter with another `scope`
    sends the readable content of the turns instead. All other input becomes `Message` and `ToolResult` items,
    which every adapter accepts, or `Raw` items, which only this adapter accepts. `instructions` become the
    first item, a system message. `to_messages` returns the same JSON, except that an input string comes back
    as a user message.

    Args:
      scope: the origin of the turns, equal to the adapter's `scope`: its `replay_scope`, or else its host.
      model: the model that answered. Default: the body's `model`.
      tools: the tools at the start of the conversation, such as `Toolset.definitions`. Default: the functions
        in the body.

    Raises:
      BadValue: `messages` is not JSON or has no input; the error names the field.
    """
    body = members_of("messages", messages, "input")
    if tools is None:
        tools = _messages.tools_of(body.get("tools"))
    given = body.get("input", RawJson(b"null"))
    try:
        if (text := string(given)) is not None:
            entries: list[bytes] | None = [b'{"type":"message","role":"user","content":%b}' % encode(text)]
        else:
            entries = objects(bytes(given))
        if entries is None:
            raise BadValue("messages", "is neither text nor an array of items")
        reader = _ResponsesReader(scope, model or string(body.get("model")) or "", tuple(tools))
        if text := string(body.get("instructions")):
            reader.say(b'{"type":"message","role":"system","content":%b}' % encode(text))
        reader.run(list(map(_ResponsesEntry, entries)))
        return reader.transcript
    except FAULTS as exc:
        raise BadValue("messages", f"cannot be read: {exc}") from None


def to_messages(transcript: Transcript) -> bytes:
    """Return a transcript as a JSON array of input items.

    Turns of this adapter are written without the members that only responses have. Turns of other adapters
    are written with their readable content.

    Raises:
      BadValue: the API does not accept an item. The field is the place of the item.
    """
    written = list[bytes]()
    before, scope = Transcript(), ""
    for i, item in enumerate(transcript):
        if isinstance(item, CommittedTurn):
            scope = item.scope
            written += _turn_items(item)
        elif isinstance(item, Raw) and item.adapter == _wire.NAME:
            written.append(item.json.strip().encode())
        else:
            written += ResponsesItemEncoder(scope, "").piece(item, f"input[{i}]", before).sent
        before = before.append(item)
    return b"[" + b",".join(written) + b"]"


def batch_line(turn: Turn[Any], id: str) -> bytes:
    """Return one line of a batch's input file: the request that `turn` would send, with the id `id`.

    The batch's endpoint is `/v1/responses`. The line has no line end. Nothing is sent or reserved.

    Raises:
      BadValue: `id` is blank, or the turn does not use the Responses API.
      UsageError: the request is not possible; the message names the field.
    """
    return _messages.batch_line(turn, id, "/responses")


def _turn_items(turn: CommittedTurn) -> list[bytes]:
    if turn.adapter != _wire.NAME or (turn.inexact_reason or "").startswith(
        (_turn.UNFINISHED, _turn.VALUE_CALL)
    ):
        return _turn.view_items(turn)
    if not _ANSWER & decode_object(turn.wire).keys():
        return _turn.wire_items(turn)
    return [*_turn.preface_items(turn.preface), *_turn.replay_items(turn)]


class _ResponsesEntry:
    """The members of an input item that the reader needs."""

    __slots__ = ("call_id", "execution", "json", "kind", "role")

    def __init__(self, json: bytes) -> None:
        members = decode_object(json)
        kind, self.role = string(members.get("type")), string(members.get("role")) or ""
        self.json = json
        self.kind = kind or "message"
        self.call_id = string(members.get("call_id")) or ""
        self.execution = string(members.get("execution"))

    @property
    def put_out(self) -> bool:
        if self.kind == "tool_search_output":
            return self.execution == "server"
        return self.kind in _PUT_OUT or (self.kind == "message" and self.role == "assistant")


class _ResponsesReader:
    """Converts input items to the items of a transcript, in order."""

    def __init__(self, scope: str, model: str, tools: tuple[ToolDef, ...]) -> None:
        self.transcript = Transcript()
        self._model = model
        self._tools = tools
        self._encoder = ResponsesItemEncoder(scope, model)

    def run(self, items: Sequence[_ResponsesEntry]) -> None:
        at = 0
        while at < len(items):
            end = at
            while end < len(items) and items[end].put_out:
                end += 1
            if end > at:
                self._turn(items[at:end], items[end : end + end - at])
                at = end
                continue
            item = items[at]
            at += 1
            if item.kind == "function_call_output" and item.call_id in self.transcript.open_calls:
                self._append(self._result(item))
            elif item.kind == "message" and item.role in _ROLES:
                self.say(item.json)
            else:
                self._keep(item.json)

    def say(self, json: bytes) -> None:
        """Append a message of the system, a developer or a user."""
        members = decode_object(json)
        content = _messages.parts_of(bytes(members.get("content", b"null")), _part)
        if content is None:
            self._keep(json)
            return
        role: Any = string(members["role"])
        self._append(self._with_wire(Message(role, content), json))

    def _turn(self, output: Sequence[_ResponsesEntry], following: Sequence[_ResponsesEntry]) -> None:
        """Append the turn of some output items.

        The items are kept as `Raw` if they cannot be read as a turn, if two calls have the same id, or if the
        items that follow are not exactly the results of the calls.
        """
        response = b'{"output":[%b]}' % b",".join(item.json for item in output)
        try:
            turn = _turn.turn_from_response(response, scope=self._encoder.scope, model=self._model)
        except FAULTS:
            turn = None
        calls = [] if turn is None else [call.id for call in turn.tool_calls]
        # There are at most as many calls as items, so `following` is long enough for all results.
        answers = [item.call_id for item in following[: len(calls)] if item.kind == "function_call_output"]
        if turn is None or len(set(calls)) < len(calls) or (following and sorted(answers) != sorted(calls)):
            for item in output:
                self._keep(item.json)
            return
        self._append(msgspec.structs.replace(turn, tools=self._tools))
        self._tools = ()  # only the first turn stores them

    def _result(self, item: _ResponsesEntry) -> ToolResult:
        output = bytes(decode_object(item.json).get("output", b"null"))
        result = ToolResult(item.call_id, _messages.parts_of(output, _part) or (Text(""),))
        return self._with_wire(result, item.json)

    def _with_wire(self, item: Said, json: bytes) -> Said:
        def render() -> Sequence[bytes]:
            return self._encoder.piece(item, "messages", self.transcript).sent

        return _messages.with_wire(item, _wire.NAME, render, json)

    def _keep(self, json: bytes) -> None:
        self._append(Raw(_wire.NAME, json.decode()))

    def _append(self, item: Item) -> None:
        self.transcript = self.transcript.append(item)


def _part(json: bytes) -> Part:
    """Return a part, as `Raw` if no other class can express it."""
    try:
        members = decode_object(json)
        kind = string(members.get("type"))
        if kind == "input_text" and (text := string(members.get("text"))) is not None:
            return Text(text)
        file_id = string(members.get("file_id"))
        if kind == "input_image":
            if file_id is not None:
                return Image(file_id=file_id)
            return _messages.image_of(string(members["image_url"]) or "")
        if kind == "input_file":
            title, url = string(members.get("filename")), string(members.get("file_url"))
            if file_id is not None or url is not None:
                return Document(file_id=file_id, url=url, title=title)
            return _messages.document_of(string(members["file_data"]) or "", title)
    except _messages.UNREADABLE:
        pass
    return Raw(_wire.NAME, json.decode())
