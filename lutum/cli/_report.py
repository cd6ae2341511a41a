"""How every command says what went wrong: in three lines, to standard error."""

from __future__ import annotations

import sys

import lutum
from lutum._text import printable


def report(command: str, error: BaseException) -> None:
    """What happened, whose fault it is, what to do next; without anything that steers a terminal."""
    print(f"lutum {command}: {printable(lutum.explain(error))}", file=sys.stderr, flush=True)
