"""Results of MCP tools as parts for the model. No I/O.

Bytes never become text, because one megabyte of audio would count as 430,000 tokens. Images and PDFs become
parts. Other content in bytes becomes one line with its uri, type and size.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import msgspec
from mcp.types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    EmbeddedResource,
    ImageContent,
    PromptMessage,
    ResourceLink,
    TextContent,
    TextResourceContents,
)

from lutum._values.items import Document, Image, Part, Text
from lutum._values.model_input import ModelInput

# The base64 text of "%PDF-".
_PDF = "JVBERi"

FOR_USER = "[the output of this tool is for the user only]"


def parts_of(result: CallToolResult, limit: int) -> list[Part]:
    """Return the parts for the model, with at most `limit` characters of text."""
    if not result.content and result.structured_content is not None:
        return cut_text([Text(msgspec.json.encode(result.structured_content).decode())], limit)
    shown = [block for block in result.content if not _for_user_only(block)]
    if result.content and not shown:
        return [Text(FOR_USER)]
    return cut_text([part_of(block) for block in shown] or [Text("")], limit)


def resource_parts(contents: Sequence[TextResourceContents | BlobResourceContents], limit: int) -> list[Part]:
    """Return the contents of a resource, with at most `limit` characters of text."""
    return cut_text([part_of(EmbeddedResource(type="resource", resource=one)) for one in contents], limit)


def prompt_input(messages: Sequence[PromptMessage]) -> ModelInput:
    """Return the messages of a prompt. The assistant's images and documents become a word in brackets."""
    made = ModelInput()
    for message in messages:
        part = part_of(message.content)
        if message.role == "user":
            made = made.user([part])
        else:
            made = made.assistant(part.text if isinstance(part, Text) else f"[{type(part).__name__.lower()}]")
    return made


def _for_user_only(block: Any) -> bool:
    """Return whether the server addresses the block to the user and not to the model."""
    annotations: Any = getattr(block, "annotations", None)
    audience: Any = getattr(annotations, "audience", None)
    return bool(audience) and "assistant" not in audience


def cut_text(parts: Sequence[Part], limit: int) -> list[Part]:
    """Cut the text after `limit` characters, and add a line that says so."""
    total = sum(len(part.text) for part in parts if isinstance(part, Text))
    if total <= limit:
        return list(parts)
    kept, left = list[Part](), limit
    for part in parts:
        if not isinstance(part, Text):
            kept.append(part)
        elif left > 0:
            kept.append(Text(part.text[:left]))
            left -= len(part.text)
    said = f"[cut: the tool returned {total:,} characters, and the first {limit:,} are above]"
    return [*kept, Text(said)]


def part_of(block: object) -> Part:
    """Return one block of content as a part."""
    match block:
        case TextContent(text=text) | EmbeddedResource(resource=TextResourceContents(text=text)):
            return Text(text)
        case ImageContent(data=data, mime_type=media_type):
            return _image(data, media_type, "")
        case AudioContent(data=data, mime_type=media_type):
            return _line("audio", "", media_type, _size(data))
        case EmbeddedResource(resource=BlobResourceContents(uri=uri, blob=blob, mime_type=media_type)):
            return _blob(blob, media_type, str(uri))
        case ResourceLink(uri=uri, mime_type=media_type, size=size, name=name):
            return _line(f"a link to {name!r}", str(uri), media_type, size)
        case _:
            return Text(f"[content of a kind that cannot be shown: {type(block).__name__}]")


def _blob(data: str, media_type: str | None, uri: str) -> Part:
    """Return a blob as a part, by its type. If the type is missing, the first bytes decide."""
    kind = media_type or ""
    if kind.startswith("image/"):
        return _image(data, kind, uri)
    if kind == "application/pdf":
        return _pdf(data, uri)
    if not kind:
        if data.startswith(_PDF):
            return _pdf(data, uri)
        if not isinstance(found := _image(data, None, uri), Text):
            return found
    return _line("a file", uri, media_type, _size(data))


def _image(data: str, media_type: str | None, uri: str) -> Part:
    """Return an image. Data that is not an image becomes text, so that the provider does not refuse it."""
    try:
        # The type is read from the bytes, because the given type may be wrong. A type that providers do not
        # accept raises ValueError.
        return Image.from_bytes(base64.b64decode(data, validate=True))
    except ValueError as exc:  # BadValue is one too
        return _line(f"an image that cannot be shown ({exc})", uri, media_type, _size(data))


def _pdf(data: str, uri: str) -> Part:
    try:
        return Document.from_bytes(base64.b64decode(data, validate=True), media_type="application/pdf")
    except ValueError as exc:
        return _line(f"a PDF that cannot be read ({exc})", uri, "application/pdf", _size(data))


def _size(data: str) -> int:
    """Return the number of bytes that base64 text encodes, without decoding it."""
    return len(data) * 3 // 4 - data[-2:].count("=")


def _line(what: str, uri: str, media_type: str | None, size: int | None) -> Text:
    """Return one line that replaces bytes. The uri is cut, because it may be a data: URI."""
    facts = [uri[:200], (media_type or "of unknown type")[:100]]
    facts += [] if size is None else [f"{size:,} bytes"]
    return Text(f"[{what[:300]}: {', '.join(fact for fact in facts if fact)}; its content is not shown]")
