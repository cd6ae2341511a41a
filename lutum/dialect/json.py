"""JSON of a provider: decoded one level at a time, so that the parts that are kept keep their bytes.

Members that an adapter does not interpret stay `msgspec.Raw`. A Raw refers to the whole buffer from which it
was decoded. Copy it with `copied`, or encode it, before it leaves the decoder.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeGuard

import msgspec
from msgspec import Raw
from typing_extensions import Buffer

from lutum._values.errors import BadValue

__all__ = [
    "FAULTS",
    "Json",
    "JsonValue",
    "copied",
    "decode_array",
    "decode_object",
    "decode_str",
    "encode",
    "is_null",
    "is_object",
    "is_word",
    "json_of",
    "members_of",
    "objects",
    "same_value",
    "starts_with",
    "string",
    "to_bytes",
]

JsonValue = str | Mapping[str, Any] | Sequence[Any]
"""JSON as text, which is sent unchanged, or a value, which is encoded. A Struct may have a field of this
type."""

Json = bytes | JsonValue
"""The same as `Json`, but the text may also be bytes."""

FAULTS = (msgspec.MsgspecError, UnicodeError, RecursionError)
"""The exceptions that may be raised while JSON from outside is decoded."""

encode: Final[Callable[[Any], bytes]] = msgspec.json.Encoder().encode
decode_object: Final[Callable[[Buffer | str], dict[str, Raw]]] = msgspec.json.Decoder(dict[str, Raw]).decode
"""Decode an object. The values of its members stay raw."""
decode_array: Final[Callable[[Buffer | str], list[Raw]]] = msgspec.json.Decoder(list[Raw]).decode
"""Decode an array. Its entries stay raw."""
decode_str: Final[Callable[[Buffer | str], str]] = msgspec.json.Decoder(str).decode


def is_null(value: Raw | bytes | None) -> bool:
    """Return whether a member is absent or null."""
    return value is None or bytes(value) in (b"", b"null")


def starts_with(value: Raw | bytes | None, opening: bytes) -> TypeGuard[Raw | bytes]:
    """Return whether a member is present and begins with `opening`: `{` for an object, `[` for an array."""
    return value is not None and bytes(value).startswith(opening)


def string(value: Raw | bytes | None) -> str | None:
    """Return the string value of a member; None if the member is absent or has another type."""
    return decode_str(value) if value is not None and bytes(value).startswith(b'"') else None


def copied(raw: Raw | bytes) -> bytes:
    """Copy a raw value out of its buffer.

    Raises:
      UnicodeDecodeError: the value is not UTF-8. A Raw is not checked for this when it is decoded.
    """
    copy = bytes(raw)
    copy.decode()
    return copy


def objects(value: bytes) -> list[bytes] | None:
    """Return the entries of an array of objects; None if `value` is not such an array."""
    if not value.startswith(b"["):
        return None
    entries = [bytes(entry) for entry in decode_array(value)]
    return entries if all(entry.startswith(b"{") for entry in entries) else None


def is_word(data: bytes) -> bool:
    """Return whether data that is not JSON is a plain word, such as a heartbeat.

    The start of an HTML page or of cut JSON is not a plain word.
    """
    return data[:1] not in b'{["<'


def json_of(data: bytes) -> bytes:
    """Return `data` if it is JSON. Otherwise return its text as a JSON string."""
    try:
        msgspec.json.decode(data)
    except FAULTS:
        return encode(data.decode(errors="replace"))
    return data


def is_object(text: str | bytes) -> bool:
    """Return whether `text` is one JSON object."""
    try:
        decode_object(text)
    except FAULTS:
        return False
    return True


def to_bytes(field: str, value: object) -> bytes:
    """Return JSON text unchanged, or a value as JSON.

    Raises:
      BadValue: `value` is neither JSON text nor a value that JSON can express. The error names `field`.
    """
    try:
        if not isinstance(value, str | bytes):
            return encode(value)
        msgspec.json.decode(value)
        return value.strip().encode() if isinstance(value, str) else value.strip()
    except (*FAULTS, TypeError, OverflowError) as exc:
        raise BadValue(field, f"is not JSON: {exc}") from None


def members_of(field: str, value: Json, name: str) -> Mapping[str, Raw]:
    """Return the members of an object. Any other JSON value is returned as the only member, with the name
    `name`.

    Raises:
      BadValue: `value` is not JSON. The error names `field`.
    """
    whole = to_bytes(field, value)
    return decode_object(whole) if whole.startswith(b"{") else {name: Raw(whole)}


def same_value(a: bytes, b: bytes) -> bool:
    """Return whether two texts are the same JSON value. Numbers must have the same digits."""
    return a == b or _value(a) == _value(b)


def _value(text: bytes) -> object:
    return json.loads(text, parse_float=_number, parse_int=_number)


def _number(digits: str) -> tuple[str]:
    return (digits,)  # no other JSON value is a tuple
