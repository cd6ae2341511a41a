"""The return value of a tool as content that can be sent. No I/O, no clock, no tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import msgspec

from lutum._tools.tool import encodable
from lutum._values.errors import BadValue
from lutum._values.items import Document, Image, Part, Raw, Text, parts
from lutum._values.media import IMAGE_TYPES, repaired, type_of

_encode = msgspec.json.Encoder(enc_hook=encodable).encode


def content_of(tool: str, output: object) -> tuple[Part, ...]:
    """Return the output of a tool as parts that every provider accepts, in this request and in later ones."""
    field = f"output of {tool!r}"
    if isinstance(output, str | Text | Image | Document | Raw):
        return parts(field, _sendable(output))
    if isinstance(output, list | tuple):
        several = cast("Sequence[object]", output)
        if any(isinstance(part, Text | Image | Document | Raw) for part in several):
            return parts(field, cast("Any", [_sendable(part) for part in several]))
    try:
        text = _encode(output).decode()
        if "null" in text:  # perhaps a NaN or an infinity, which msgspec writes as null
            text = _encode(_named(msgspec.to_builtins(output, enc_hook=encodable))).decode()
        return (Text(text),)
    except UnicodeEncodeError:  # lone surrogates, for example from a file name that is not UTF-8
        return (Text(_encode(_repaired(msgspec.to_builtins(output, enc_hook=encodable))).decode()),)
    except (TypeError, ValueError, msgspec.MsgspecError, RecursionError) as exc:
        raise BadValue(field, str(exc)) from None


def _sendable(part: object) -> Any:
    match part:
        case str(text) | Text(text=text):
            return Text(repaired(text))
        case Image(data=bytes(data)) if type_of(data) not in IMAGE_TYPES:
            return _as_text(part, data)
        case _:
            return part


def _as_text(image: Image, data: bytes) -> Text:
    """Return text instead of an image that some provider refuses.

    The image would stay in the transcript, so the provider would refuse every later request of the session.
    """
    if image.media_type.partition(";")[0].strip().lower() == "image/svg+xml":
        return Text(data.decode(errors="replace"))
    return Text(f"[an image of type {image.media_type}, {len(data):,} bytes, which cannot be shown]")


def _repaired(value: object) -> object:
    """Return a JSON value without lone surrogates."""
    if isinstance(value, str):
        return repaired(value)
    if isinstance(value, list | tuple):
        return [_repaired(one) for one in cast("Sequence[object]", value)]
    if isinstance(value, dict):
        members = cast("dict[object, object]", value)
        return {_repaired(name): _repaired(one) for name, one in members.items()}
    return value


def _named(value: object) -> object:
    """Return a JSON value with text instead of NaN and infinities. JSON has no such numbers.

    They would become null.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, list | tuple):
        return [_named(one) for one in cast("Sequence[object]", value)]
    if isinstance(value, dict):
        return {name: _named(one) for name, one in cast("dict[object, object]", value).items()}
    return value


def cut(content: tuple[Part, ...], limit: int | None) -> tuple[Part, ...]:
    """Return the content with at most `limit` bytes of text. If text is cut, add a note with the size."""
    sizes = [len(part.text.encode()) if isinstance(part, Text) else 0 for part in content]
    if limit is None or sum(sizes) <= limit:
        return content
    kept, left = list[Part](), limit
    for part, size in zip(content, sizes, strict=True):
        if not isinstance(part, Text):
            kept.append(part)
        elif left > 0:
            kept.append(Text(part.text.encode()[:left].decode(errors="ignore")))
            left -= size
    said = (
        f"[cut: the result has {sum(sizes):,} bytes, and only the first {limit:,} are shown."
        " Ask for less, such as one page, fewer fields or a narrower search.]"
    )
    return (*kept, Text(said))
