"""The name of a server in error messages, without secrets. No I/O."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from typing import Any, Final

from mcp import Client

from lutum._telemetry.redact import MASK, is_secret, masked_url

LONGEST: Final = 100
"""The most characters of a name in an error message."""

_END_OF_NAME: Final = re.compile(r"[=:]")


def command_name(words: Sequence[str]) -> str:
    """Return the command with its arguments, in at most 100 characters, with secrets masked by name."""
    shown, hide = list[str](), False
    for word in words:
        end = _END_OF_NAME.search(word)
        name = word[: end.start()] if end else word
        secret = is_secret(name) or (word.startswith("-") and "header" in name.lower())
        if hide and not word.startswith("-"):
            shown.append(MASK)
        elif "://" in word:
            shown.append(shlex.quote(masked_url(word)))
        elif end and secret:
            shown.append(f"{shlex.quote(name)}{end[0]}{MASK}")
        else:
            shown.append(shlex.quote(word))
        hide = secret and not end and word.startswith("-")
    text = " ".join(shown)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def client_name(given: Client | Callable[[], Client]) -> str:
    """Return the URL or the name of a client's server, else the name of the function or class."""
    server: Any = given.server if isinstance(given, Client) else given
    if isinstance(server, str):
        return masked_url(server)
    name: Any = getattr(server, "name", None) or getattr(server, "__name__", None)
    return str(name or type(server).__name__)[:LONGEST]
