"""Error reports of all commands: three lines on standard error."""

from __future__ import annotations

import sys
from typing import cast

import lutum
from lutum._text import printable


def report(command: str, error: BaseException) -> None:
    """What happened, whose fault it is, what to do next; without anything that steers a terminal."""
    print(f"lutum {command}: {printable(lutum.explain(error))}", file=sys.stderr, flush=True)


def first_of(error: BaseException) -> BaseException:
    """Return the first exception in a group of them, however deep."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error
