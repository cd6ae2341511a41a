"""Error reports of all commands: three lines on standard error."""

from __future__ import annotations

import sys
from typing import cast

import lutum
from lutum._text import printable


def report(command: str, error: BaseException) -> None:
    """Return three lines: the error, its cause and the remedy; without characters that steer a terminal."""
    print(f"lutum {command}: {printable(lutum.explain(error))}", file=sys.stderr, flush=True)


def first_of(error: BaseException) -> BaseException:
    """Return the first exception in a group of them, however deep."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error
