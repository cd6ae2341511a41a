"""Checks of values that become part of a host name or a path. No I/O."""

from __future__ import annotations

import re
from typing import Final

from lutum import BadValue

# RFC 1123, 2.1: letters, digits and inner hyphens, 63 characters at most.
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE | re.ASCII)
_PROJECT: Final = re.compile(
    r"(?:[a-z0-9][a-z0-9.-]*:)?[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE | re.ASCII
)


def host_label(field: str, value: object, example: str) -> str:
    """Return a value that is one label of a host name, in lower case.

    Raises:
      BadValue: `value` is not a label. If it is an address, the message explains what to pass.
    """
    if not isinstance(value, str):
        raise BadValue(field, f"must be a str such as {example!r}, not {type(value).__name__}")
    if not value.strip():
        raise BadValue(field, f"is blank; give a name such as {example!r}")
    if "://" in value or "." in value or "/" in value:
        raise BadValue(
            field, f"{value!r} is an address; give only the name, such as {example!r}, or give base_url="
        )
    if not _LABEL.fullmatch(value):
        raise BadValue(
            field,
            f"{value!r} is not part of a host name: use at most 63 letters, digits and inner hyphens, such as"
            f" {example!r}",
        )
    return value.lower()


def project_id(field: str, value: object) -> str:
    """Return the id of a Google Cloud project, which may have a domain as a prefix.

    Raises:
      BadValue: `value` is not a project id.
    """
    if not isinstance(value, str) or not _PROJECT.fullmatch(value):
        raise BadValue(field, f"{value!r} is not a project id: use letters, digits and inner hyphens")
    return value
