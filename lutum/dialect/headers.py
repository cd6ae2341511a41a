"""Headers that users add to requests, and headers that identify a request in a response."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final, cast

from lutum._values.errors import BadValue

__all__ = ["REQUEST_IDS", "check_extra_headers", "is_name", "is_value"]

REQUEST_IDS: Final = ("request-id", "x-request-id")
"""Response headers that hold the id of the request at most providers, in order of preference."""

# RFC 9110, 5.6.2 and 5.5, ASCII only.
_name = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
_value = re.compile(r"(?:[!-~](?:[ \t!-~]*[!-~])?)?").fullmatch

# The HTTP library writes these.
_CONNECTION: Final = frozenset({"connection", "content-length", "host", "transfer-encoding"})


def is_name(name: str) -> bool:
    """Return whether `name` is a valid name of a header."""
    return _name(name) is not None


def is_value(value: str) -> bool:
    """Return whether `value` is a valid value of a header."""
    return _value(value) is not None


def check_extra_headers(headers: object, *, secret: Collection[str], instead: str = "api_key=") -> None:
    """Check `extra_headers` of a user's options.

    Args:
      secret: names, in lower case, of headers that hold a key.
      instead: the parameter that takes the key.

    Raises:
      BadValue: a name or a value is invalid, or the header holds a key, which previews and traces would show.
    """
    if headers is None:
        return
    if not isinstance(headers, Mapping):
        raise BadValue("extra_headers", f"maps names to values, and is not {type(headers).__name__}")
    for name, value in cast("Mapping[object, object]", headers).items():
        field = f"extra_headers[{name!r}]"
        if not isinstance(name, str) or not is_name(name):
            raise BadValue(field, "is not the name of a header")
        if name.lower() in secret:
            raise BadValue(field, f"holds a key, which previews and traces would show: use {instead}")
        if name.lower() in _CONNECTION:
            raise BadValue(field, "belongs to the connection and cannot be set")
        if not isinstance(value, str):
            raise BadValue(field, f"must be a str, not {type(value).__name__}")
        if not is_value(value):
            raise BadValue(field, "must be printable ASCII without spaces or a line end around it")
