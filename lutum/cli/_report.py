"""Error reports of all commands: three lines on standard error."""

from __future__ import annotations

import sys
from typing import cast

import lutum
from lutum._text import printable


def report(command: str, error: BaseException) -> None:
    """Print three lines: the error, its cause and the remedy. Remove characters that steer a terminal."""
    print(f"lutum {command}: {printable(lutum.explain(error))}", file=sys.stderr, flush=True)


def first_of(error: BaseException) -> BaseException:
    """Return the first exception of a group, also of nested groups. Return any other exception itself."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error
