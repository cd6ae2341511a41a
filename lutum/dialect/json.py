"""JSON of a provider: decoded one level at a time, so that the parts that are kept keep their bytes.

Members that an adapter does not interpret stay `msgspec.Raw`. A Raw refers to the whole buffer that it was
decoded from, so copy it with `copied` (or encode it) before it leaves the decoder.
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
"""JSON as text, which is sent as it is, or a value, which is encoded. A Struct may have such a field."""

Json = bytes | JsonValue
"""The same, or the text as bytes."""

FAULTS = (msgspec.MsgspecError, UnicodeError, RecursionError)
"""The exceptions that decoding JSON of a stranger raises."""

encode: Final[Callable[[Any], bytes]] = msgspec.json.Encoder().encode
decode_object: Final[Callable[[Buffer | str], dict[str, Raw]]] = msgspec.json.Decoder(dict[str, Raw]).decode
"""Decode an object; its members stay raw."""
decode_array: Final[Callable[[Buffer | str], list[Raw]]] = msgspec.json.Decoder(list[Raw]).decode
"""Decode an array; its entries stay raw."""
decode_str: Final[Callable[[Buffer | str], str]] = msgspec.json.Decoder(str).decode


def is_null(value: Raw | bytes | None) -> bool:
    """Return whether a member is absent or null."""
    return value is None or bytes(value) in (b"", b"null")


def starts_with(value: Raw | bytes | None, opening: bytes) -> TypeGuard[Raw | bytes]:
    """Return whether a member is present and begins with `opening`: `{` for an object, `[` for an array."""
    return value is not None and bytes(value).startswith(opening)


def string(value: Raw | bytes | None) -> str | None:
    """Return a string member; None when it is absent or of another type."""
    return decode_str(value) if value is not None and bytes(value).startswith(b'"') else None


def copied(raw: Raw | bytes) -> bytes:
    """Copy a raw value out of its buffer.

    Raises:
      UnicodeDecodeError: the value is not UTF-8, which a Raw does not check.
    """
    copy = bytes(raw)
    copy.decode()
    return copy


def objects(value: bytes) -> list[bytes] | None:
    """Return the entries of an array of objects; None when `value` is something else."""
    if not value.startswith(b"["):
        return None
    entries = [bytes(entry) for entry in decode_array(value)]
    return entries if all(entry.startswith(b"{") for entry in entries) else None


def is_word(data: bytes) -> bool:
    """Return whether data that is not JSON is plain text too, as heartbeats are: no page, no cut JSON."""
    return data[:1] not in b'{["<'


def json_of(data: bytes) -> bytes:
    """Return `data` if it is JSON, else a JSON string of its text."""
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
    """Return JSON text as it is, or a value as JSON.

    Raises:
      BadValue: `value` is neither; `field` is named.
    """
    try:
        if not isinstance(value, str | bytes):
            return encode(value)
        msgspec.json.decode(value)
        return value.strip().encode() if isinstance(value, str) else value.strip()
    except (*FAULTS, TypeError, OverflowError) as exc:
        raise BadValue(field, f"is not JSON: {exc}") from None


def members_of(field: str, value: Json, name: str) -> Mapping[str, Raw]:
    """Return the members of an object; any other JSON value becomes its member `name`.

    Raises:
      BadValue: `value` is not JSON; `field` is named.
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
