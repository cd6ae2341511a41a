"""Read the dialects' own JSON and write batch lines: the code that Chat and Responses share. No I/O."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
from msgspec import Raw as RawJson

from lutum import BadValue, Document, Event, Image, Message, Part, Raw, Text, ToolDef, ToolResult, Turn
from lutum.abc import Decoder
from lutum.dialect.json import FAULTS, decode_object, decode_str, encode, objects, same_value
from lutum_clouds import door_of, refuse

Said = TypeVar("Said", Message, ToolResult)

_NOT_IN_A_BATCH = frozenset({"stream", "stream_options"})


def image_of(url: str) -> Image:
    """Return the image that a URL refers to. The data of a `data:` URL is decoded.

    Raises:
      BadValue, binascii.Error: a `data:` URL contains no valid image data.
    """
    media_type, data = _data(url)
    return Image(url=url) if data is None else Image(media_type, data)


def document_of(url: str, title: str | None) -> Document:
    """Return the document in a `data:` URL.

    Raises:
      BadValue, binascii.Error: the URL contains no valid document.
    """
    media_type, data = _data(url)
    if data is None:
        raise BadValue("document", "is not a data: URL")
    return Document(media_type, data, title=title)


def _data(url: str) -> tuple[str, bytes | None]:
    head, comma, data = url.partition(",")
    if not head.startswith("data:") or not comma or not head.endswith(";base64"):
        return "", None
    return head[len("data:") : -len(";base64")], b64decode(data, validate=True)


UNREADABLE = (*FAULTS, BadValue, binascii.Error, KeyError)
"""Exceptions that reading a part may raise. The part then becomes a `Raw`."""


def with_wire(item: Said, name: str, render: Callable[[], Sequence[bytes]], received: bytes) -> Said:
    """Return the item with `received` as its `wire`, unless `render` returns the same JSON as `received`."""
    try:
        rendered = render()
    except BadValue:
        rendered = ()
    if len(rendered) == 1 and same_value(rendered[0], received):
        return item
    return msgspec.structs.replace(item, wire=Raw(name, received.decode()))


def parts_of(content: bytes, part: Callable[[bytes], Part]) -> tuple[Part, ...] | None:
    """Return the parts of a content or of an output; None if it is neither text nor an array of objects."""
    if content.startswith(b'"'):
        return (Text(decode_str(content)),)
    entries = objects(content)
    return None if entries is None else tuple(map(part, entries)) or (Text(""),)


class _FunctionEntry(msgspec.Struct):
    name: str
    parameters: RawJson = RawJson(b"{}")
    description: str | None = None


class _ToolEntry(msgspec.Struct):
    type: str
    function: _FunctionEntry | None = None
    name: str = ""
    parameters: RawJson = RawJson(b"{}")
    description: str | None = None


def tools_of(tools: RawJson | None) -> tuple[ToolDef, ...]:
    """Return the function tools in a request's `tools`. The entries may have the form of either dialect."""
    found = list[ToolDef]()
    for entry in objects(b"" if tools is None else bytes(tools)) or ():
        try:
            read = msgspec.json.decode(entry, type=_ToolEntry)
        except msgspec.MsgspecError:
            continue
        tool = read.function or _FunctionEntry(read.name, read.parameters, read.description)
        if read.type == "function" and tool.name:
            schema = bytes(tool.parameters).decode()
            found.append(ToolDef(tool.name, "{}" if schema == "null" else schema, tool.description or ""))
    return tuple(found)


def batch_line(turn: Turn[Any], id: str, path: str) -> bytes:
    """Return one line of a batch's input file. The batch's `endpoint` is `/v1` followed by `path`.

    Raises:
      BadValue: `id` is blank, or `turn` belongs to another API.
      UsageError: the request is impossible; the message names the field.
    """
    if not id.strip():
        raise BadValue("id", "is blank")
    preview = turn.preview()
    if not preview.url.partition("?")[0].endswith(path):
        raise BadValue("turn", f"{preview.url} is not a request for {path}")
    refuse(door_of(urlsplit(preview.url).hostname or "", "openai-chat"), "batches", "turn")
    members = decode_object(preview.body)
    sent = {name: value for name, value in members.items() if name not in _NOT_IN_A_BATCH}
    line = {"custom_id": id, "method": "POST", "url": "/v1" + path, "body": sent}
    return encode(line)


def events_of(decoder: Decoder, body: bytes) -> list[Event]:
    """Return the events of an answer that was received in one piece."""
    out = list[Event]()
    decoder.feed(body, out)
    decoder.eof(out)
    return out
