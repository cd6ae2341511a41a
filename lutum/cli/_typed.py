"""What the user types, a line at a time: edited and remembered where a person types it."""

from __future__ import annotations

import sys
from io import TextIOWrapper
from types import ModuleType
from typing import TextIO, final


@final
class Typed:
    """Lines of standard input."""

    def __init__(self) -> None:
        self.terminal = sys.stdin.isatty() and sys.stdout.isatty()
        stdin: TextIO = sys.stdin
        if isinstance(stdin, TextIOWrapper):
            stdin.reconfigure(errors="replace")
        self._readline = _readline() if self.terminal else None

    def offer(self, line: str) -> None:
        """Have a line found with the arrow up."""
        if self._readline is not None:
            self._readline.add_history(line)

    def line(self, prompt: str) -> str | None:
        """The next line, without its end; None at the end of all. At Ctrl-C it is begun again."""
        if not self.terminal:
            line = sys.stdin.readline()
            return line.rstrip("\n") if line else None
        while True:
            try:
                return input(prompt)
            except KeyboardInterrupt:
                print("\n(Ctrl-C stops an answer; /quit or Ctrl-D ends the chat.)")
            except EOFError:
                print()
                return None


def _readline() -> ModuleType | None:
    try:
        import readline
    except ImportError:  # Windows: its console edits lines itself
        return None
    # A pasted text with line ends stays what it is until Enter is pressed behind it.
    readline.parse_and_bind("set enable-bracketed-paste on")
    return readline
