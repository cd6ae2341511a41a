"""Prompts and answers as plain data, for captures that keep content.

The data has the shape of OpenTelemetry's GenAI messages: `{"role", "parts": [{"type", ...}]}`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from lutum._values.items import Document, Image, Item, Message, Text, ToolResult
from lutum._values.results import CommittedTurn, ReasoningItem, RefusalItem, TextItem, ToolCallItem
from lutum.abc import TurnRequest


def input_messages(request: TurnRequest) -> list[dict[str, Any]]:
    """Return the messages of a request in order. Ephemeral items are at the positions at which they are
    sent."""
    items = list[Item]()
    ephemerals = list(request.ephemerals)
    for position, item in enumerate(request.transcript):
        while ephemerals and ephemerals[0][0] <= position:
            items.append(ephemerals.pop(0)[1])
        items.append(item)
    items += [item for _, item in ephemerals]
    return [_message(item) for item in items]


def output_message(turn: CommittedTurn, finish_reason: str) -> dict[str, Any]:
    """Return an answer as a message."""
    return {"role": "assistant", "parts": _turn_parts(turn), "finish_reason": finish_reason}


def _message(item: Item) -> dict[str, Any]:
    if isinstance(item, CommittedTurn):
        return {"role": "assistant", "parts": _turn_parts(item)}
    if isinstance(item, ToolResult):
        said = [_part(part) for part in item.content]
        response: Any = said[0]["content"] if len(said) == 1 and said[0]["type"] == "text" else said
        part = {"type": "tool_call_response", "id": item.call_id, "response": response}
        return {"role": "tool", "parts": [part | ({"is_error": True} if item.is_error else {})]}
    if isinstance(item, Message):
        return {"role": item.role, "parts": [_part(part) for part in item.content]}
    return {"role": "user", "parts": [_part(item)]}


def _part(part: Any) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "content": part.text}
    if isinstance(part, Image | Document):
        about = {"modality": "image" if isinstance(part, Image) else "document", "mime_type": part.media_type}
        if part.url:
            return {"type": "uri", **about, "uri": part.url}
        if part.file_id:
            return {"type": "file", **about, "file_id": part.file_id}
        # The bytes are left out, because a few pictures would make the trace very large.
        return {"type": "blob", **about, "content": "", "bytes": len(part.data or b"")}
    return {"type": type(part).__name__.lower(), "content": msgspec.to_builtins(part)}


def _turn_parts(turn: CommittedTurn) -> list[dict[str, Any]]:
    parts = list[dict[str, Any]]()
    for item in turn.items:
        match item:
            case TextItem(text=text):
                parts.append({"type": "text", "content": text})
            case ReasoningItem(text=text):
                parts.append({"type": "reasoning", "content": text})
            case RefusalItem(text=text):
                parts.append({"type": "refusal", "content": text})
            case ToolCallItem(id=id, name=name, arguments=arguments):
                parts.append({"type": "tool_call", "id": id, "name": name, "arguments": arguments})
    return parts
