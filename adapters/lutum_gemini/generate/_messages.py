"""The API's own JSON: stored contents to transcripts and back, and lines of a batch.

A content becomes items with the same meaning. If the items do not determine the JSON, the original JSON is
kept in their `wire`. Examples are the order of members, and where a content begins. A content that no item
can represent becomes a `Raw` item.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeGuard, cast

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
    ToolCallItem,
    ToolDef,
    ToolResult,
    Transcript,
    Turn,
)
from lutum.dialect.json import (
    FAULTS,
    Json,
    decode_object,
    encode,
    is_null,
    members_of,
    objects,
    same_value,
    starts_with,
    string,
)
from lutum_gemini.generate import _turn, _wire
from lutum_gemini.generate._contents import Contents
from lutum_gemini.generate._items import GeminiItemEncoder, GeminiPiece, content, parts_of

HOST: Final = "generativelanguage.googleapis.com"

_METHOD: Final = ":streamGenerateContent"
_UNREADABLE: Final = (*FAULTS, BadValue, binascii.Error, KeyError)


def from_messages(
    messages: Json, *, scope: str = HOST, model: str = "", tools: Iterable[ToolDef] | None = None
) -> Transcript:
    """Return the transcript of a list of contents, or of the body of a whole request.

    The model's contents become turns, which are sent back unchanged. Their signatures belong to one account
    and one model, so pass `scope` and `model` if they are not the API's own host and the body's model. A
    request with another `scope` or `model` gets only the readable content of a turn. User contents become
    `Message` and `ToolResult` items, which every adapter accepts. `to_messages` returns the same JSON again.

    Args:
      scope: the origin of the turns, as an adapter's `scope`: the host, or the adapter's `replay_scope`.
      model: the model that answered. Default: the body's `model`.
      tools: the conversation's first tools, such as `Toolset.definitions`. Default: the body's functions.

    Raises:
      BadValue: `messages` is not JSON, or has no contents. The error names the field.
    """
    body = members_of("messages", messages, "contents")
    try:
        entries = _entries(body.get("contents", RawJson(b"null")))
        if entries is None:
            raise BadValue("messages", "is not an array of contents")
        if tools is None:
            tools = _functions(body.get("tools"))
        reader = _GeminiReader(scope, model or string(body.get("model")) or "", tuple(tools))
        system = body.get("systemInstruction", body.get("system_instruction"))
        if system is not None and not is_null(system):
            reader.system(bytes(system))
        reader.run(entries)
        return reader.transcript
    except FAULTS as exc:
        raise BadValue("messages", f"cannot be read: {exc}") from None


def to_messages(transcript: Transcript) -> bytes:
    """Return the JSON array of the contents of a transcript.

    The system items at its start are left out; `to_system` returns them.

    Turns of this adapter are written without response-only members, turns of other adapters with their
    readable content.

    Raises:
      BadValue: Gemini does not accept an item. The error's field is the path of the item.
    """
    encoder = GeminiItemEncoder("", "", anywhere=True)
    joined = Contents(0)
    before, pieces = Transcript(), list[GeminiPiece]()
    head = len(transcript.head.system)
    for i, item in enumerate(transcript):
        if i >= head:
            pieces.append(encoder.piece(item, f"input[{i}]", before))
        before = before.append(item)
    joined.run(pieces, ())
    return _turn.joined(joined.contents)


def to_system(transcript: Transcript) -> bytes | None:
    """Return the JSON of a request's `systemInstruction`: the system items at the start of the transcript.

    None if the transcript does not begin with system items.
    """
    items = transcript.head.system
    if not items:
        return None
    if len(items) == 1 and isinstance(items[0], Message):
        wire = items[0].wire
        if wire is not None and wire.adapter == _wire.NAME:
            return wire.json.encode()
    encoder = GeminiItemEncoder("", "", anywhere=True)
    parts = list[bytes]()
    for i, item in enumerate(items):
        parts += encoder.piece(item, f"input[{i}]", Transcript()).system
    return b'{"parts":%b}' % _turn.joined(parts)


def batch_line(turn: Turn[Any], id: str) -> bytes:
    """Return one line of the input file of a batch: the request of `turn`, named `id`, without a line end.

    The result's line has the same `key`; `result_from_body` reads its `response`. This function sends and
    reserves nothing.

    Raises:
      BadValue: `id` is blank, or `turn` belongs to another API.
      UsageError: the request is impossible. The message names the field.
    """
    if not id.strip():
        raise BadValue("id", "is blank")
    preview = turn.preview()
    if not preview.url.partition("?")[0].endswith(_METHOD):
        raise BadValue("turn", f"{preview.url} is not a request of generateContent")
    return b'{"key":%b,"request":%b}' % (encode(id), preview.body)


class _Content:
    """The readable members of a content. `parts`: None if one part is not an object."""

    __slots__ = ("extra", "is_model", "json", "parts", "responses", "role")

    def __init__(self, json: bytes) -> None:
        members = decode_object(json)
        self.json = json
        self.role = string(members.get("role")) or "user"
        self.is_model = self.role == "model"
        self.extra = members.keys() - {"role", "parts"}
        self.parts: tuple[bytes, ...] | None = parts_of(json)
        if not all(part.startswith(b"{") for part in self.parts):
            self.parts = None
        self.responses = 0  # the number of tool results at the start of the content
        for part in self.parts or ():
            if _response_of(part) is None:
                break
            self.responses += 1


class _GeminiReader:
    """Converts contents to items, in order."""

    def __init__(self, scope: str, model: str, tools: tuple[ToolDef, ...]) -> None:
        self.transcript = Transcript()
        self._scope = scope
        self._model = model
        self._tools = tools
        self._encoder = GeminiItemEncoder("", "", anywhere=True)
        self._skip = False

    def system(self, json: bytes) -> None:
        """Append a request's system instruction."""
        texts = [_turn.text_of_part(part) for part in parts_of(json)]
        if not texts or None in texts:
            raise BadValue("systemInstruction", "contains something other than text")
        item = Message("system", tuple(Text(text or "") for text in texts))
        said = b'{"parts":%b}' % _turn.joined(self._encoder.piece(item, "messages", Transcript()).system)
        self._append(_with_wire(item, said, json))

    def run(self, contents: Sequence[_Content]) -> None:
        for i, entry in enumerate(contents):
            following = contents[i + 1] if i + 1 < len(contents) else None
            if self._skip:
                self._skip = False
                self._keep(entry)
            elif entry.is_model:
                self._turn(entry, following, i)
            elif self.transcript.open_calls:
                self._answer(entry)
            elif entry.role == "user" and entry.responses == 0 and entry.parts:
                self._say(entry)
            else:
                self._keep(entry)

    def _keep(self, entry: _Content) -> None:
        self._append(Raw(_wire.NAME, entry.json.decode()))

    def _turn(self, entry: _Content, following: _Content | None, at: int) -> None:
        """Append a turn.

        If the next content does not answer its calls with results that items can represent, append a `Raw`
        item instead.
        """
        try:
            turn = _turn.turn_from_response(
                b'{"candidates":[{"content":%b}]}' % entry.json,
                scope=self._scope,
                model=self._model,
                id_base=str(at),
            )
        except FAULTS:
            turn = None
        calls = [] if turn is None else [call.name for call in turn.tool_calls]
        ids = [] if turn is None else [call.id for call in turn.tool_calls]
        answered = following is None or _answers(following, calls)
        if turn is None or len(set(ids)) < len(ids) or (calls and not answered):
            self._keep(entry)
            self._skip = bool(calls) and following is not None and following.responses > 0
            return
        self._append(msgspec.structs.replace(turn, tools=self._tools))
        self._tools = ()  # the first turn contains the tools

    def _answer(self, entry: _Content) -> None:
        """Append the results of the open calls, and a message with the parts that follow them."""
        turn = self.transcript[-1]
        assert isinstance(turn, CommittedTurn)
        parts = entry.parts or ()
        results = [(part, _response_of(part) or {}) for part in parts[: entry.responses]]
        order = _matched(turn.tool_calls, results)
        for (part, members), id in zip(results, order, strict=True):
            item = _result(id, members)
            said = self._encoder.piece(item, "messages", self.transcript).answer
            self._append(_with_wire(item, None if said is None else said.part, part))
        if behind := parts[entry.responses :]:
            wire = Raw(_wire.NAME, _turn.joined(behind).decode())
            self._append(Message("user", tuple(map(_part, behind)), wire))

    def _say(self, entry: _Content) -> None:
        item = Message("user", tuple(map(_part, entry.parts or ())))
        try:
            (said,) = self._encoder.piece(item, "messages", self.transcript).contents
        except (BadValue, ValueError):
            said = None
        self._append(_with_wire(item, said, entry.json))

    def _append(self, item: Item) -> None:
        self.transcript = self.transcript.append(item)


def _entries(given: RawJson) -> list[_Content] | None:
    """Return the contents. A string, or one content, counts as a list of one."""
    json = bytes(given)
    if (text := string(given)) is not None:
        return [_Content(content("user", [_turn.text_part(text)]))]
    if json.startswith(b"{"):
        return [_Content(json)]
    entries = objects(json)
    return None if entries is None else list(map(_Content, entries))


def _answers(entry: _Content, names: Sequence[str]) -> bool:
    """Return whether a content answers these calls, each once."""
    if entry.is_model or entry.role != "user" or entry.extra or entry.responses != len(names):
        return False
    found = [(_response_of(part) or {}).get("name") for part in (entry.parts or ())[: len(names)]]
    return sorted(string(name) or "" for name in found) == sorted(names)


def _matched(
    calls: Sequence[ToolCallItem], results: Sequence[tuple[bytes, Mapping[str, RawJson]]]
) -> list[str]:
    """Return the id of the call that each result answers. Calls are matched by id, else by name and order."""
    free = list(calls)
    found = list[str]()
    for _, members in results:
        id, name = string(members.get("id")), string(members.get("name"))
        at = next((i for i, call in enumerate(free) if call.id == id), None)
        if at is None:
            at = next((i for i, call in enumerate(free) if call.name == name), 0)
        found.append(free.pop(at).id)
    return found


def _response_of(part: bytes) -> Mapping[str, RawJson] | None:
    members = decode_object(part)
    found = members.get("functionResponse", members.get("function_response"))
    return decode_object(found) if found is not None and starts_with(found, b"{") else None


def _result(id: str, members: Mapping[str, RawJson]) -> ToolResult:
    response = bytes(members.get("response", b"{}"))
    inner = decode_object(response) if response.startswith(b"{") else {}
    if len(inner) == 1 and (key := next(iter(inner))) in ("output", "error", "result"):
        text = string(inner[key])
        return ToolResult(id, (Text(bytes(inner[key]).decode() if text is None else text),), key == "error")
    return ToolResult(id, (Text(response.decode()),))


def _with_wire(item: Any, rendered: bytes | None, received: bytes) -> Any:
    """Return the item with the JSON that it was read from, unless encoding the item gives the same JSON."""
    if rendered is not None and same_value(rendered, received):
        return item
    return msgspec.structs.replace(item, wire=Raw(_wire.NAME, received.decode()))


def _part(json: bytes) -> Part:
    """Return a part; `Raw` if no other part can represent it."""
    try:
        members = decode_object(json)
        if members.keys() == {"text"} and (text := string(members["text"])) is not None:
            return Text(text)
        for name in ("inlineData", "inline_data", "fileData", "file_data"):
            if members.keys() == {name}:
                return _media(decode_object(members[name]))
    except _UNREADABLE:
        pass
    return Raw(_wire.NAME, json.decode())


def _media(members: Mapping[str, RawJson]) -> Image | Document:
    media_type = string(members.get("mimeType", members.get("mime_type"))) or ""
    uri = string(members.get("fileUri", members.get("file_uri")))
    kind = Image if media_type.startswith("image/") else Document
    if uri is not None:
        if uri.startswith(("http://", "https://")):
            return kind(media_type, url=uri)
        return kind(media_type, file_id=uri)
    return kind(media_type, b64decode(string(members["data"]) or "", validate=True))


def _functions(tools: RawJson | None) -> tuple[ToolDef, ...]:
    """Return the functions among the tools of a request."""
    found = list[ToolDef]()
    for entry in objects(b"" if tools is None else bytes(tools)) or ():
        members = decode_object(entry)
        declared = members.get("functionDeclarations", members.get("function_declarations"))
        for raw in objects(b"" if declared is None else bytes(declared)) or ():
            tool = decode_object(raw)
            given = tool.get("parametersJsonSchema", tool.get("parameters_json_schema"))
            if given is not None and not is_null(given):
                schema = bytes(given).decode()
            else:
                parameters = tool.get("parameters")
                node = msgspec.json.decode(parameters) if parameters is not None else None
                schema = encode(_json_schema(node or {"type": "object"})).decode()
            name, description = string(tool.get("name")), string(tool.get("description"))
            if name:
                found.append(ToolDef(name, schema, description or ""))
    return tuple(found)


def _is_array(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _json_schema(node: Any) -> Any:
    """Convert an OpenAPI schema, with its types in capitals and `nullable`, to a JSON schema."""
    if _is_array(node):
        return [_json_schema(one) for one in node]
    if not isinstance(node, dict):
        return node
    members = cast("dict[str, Any]", node)
    found = dict[str, Any]()
    for name, value in members.items():
        if name == "type" and isinstance(value, str):
            found[name] = value.lower()
        elif name == "properties" and isinstance(value, dict):
            properties = cast("dict[str, Any]", value)
            found[name] = {key: _json_schema(inner) for key, inner in properties.items()}
        elif name in ("items", "anyOf", "any_of"):
            found["anyOf" if name == "any_of" else name] = _json_schema(value)
        elif name not in ("nullable", "propertyOrdering", "property_ordering"):
            found[name] = value
    if members.get("nullable") is True and isinstance(found.get("type"), str):
        found["type"] = [found["type"], "null"]
    return found
