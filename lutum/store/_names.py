"""Checks of branch names, metadata and the path of a URL, and the removal of a URL's password."""

from __future__ import annotations

import os
from collections.abc import Mapping

from lutum._values.errors import StoreValue

# The limit keeps names usable in lists and on command lines.
LONGEST_NAME = 500


def check_name(name: str) -> None:
    """Raise StoreValue if the name is not valid for a branch."""
    if not isinstance(name, str) or not name.strip():
        raise StoreValue("name", f"{name!r} is blank")
    if len(name) > LONGEST_NAME:
        raise StoreValue("name", f"has {len(name)} characters; at most {LONGEST_NAME} are allowed")
    if any(ord(one) < 32 or 127 <= ord(one) < 160 or 0xD800 <= ord(one) < 0xE000 for one in name):
        raise StoreValue("name", f"{name!r} has control characters")


def check_metadata(metadata: Mapping[str, str] | None) -> dict[str, str]:
    """Return a copy. Raise StoreValue if a key or a value is not text."""
    found = dict(metadata or {})
    for key, value in found.items():
        for text in (key, value):
            if not isinstance(text, str) or any(0xD800 <= ord(one) < 0xE000 for one in text):
                raise StoreValue("metadata", f"{key!r}: keys and values must be strings")
    return found


def masked(url: str) -> str:
    """Return the URL without its password."""
    head, at, host = url.rpartition("@")
    if not at:
        return url
    scheme, slashes, user = head.partition("://")
    return f"{scheme}{slashes}{user.partition(':')[0]}@{host}"


def check_root(url: str, path: str) -> None:
    """Raise StoreValue for `sqlite:///NAME` that would create a file directly under the root.

    SQLAlchemy reads such a URL as a relative path. `sqlite:/NAME` is not ambiguous.
    """
    name = path.removeprefix("/")
    if url.startswith("sqlite:///") and name and "/" not in name and not os.path.exists(path):
        raise StoreValue(
            "url", f"{url} is the absolute path {path}; for the current folder, write sqlite:{name}"
        )
