"""Input lines from the user. On a terminal they can be edited, remembered and completed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path
from types import ModuleType
from typing import TextIO, final

REMEMBERED = 1_000
"""The number of lines that are kept for the next chat."""

VARIABLE = "LUTUM_HISTORY"
"""The environment variable that names another file for these lines. If it is empty, no line is kept."""


@final
class Typed:
    """Lines of standard input."""

    def __init__(self) -> None:
        self.terminal = sys.stdin.isatty() and sys.stdout.isatty()
        stdin: TextIO = sys.stdin
        if isinstance(stdin, TextIOWrapper):
            stdin.reconfigure(errors="replace")
        self._readline = _readline() if self.terminal else None
        self._file = history_file() if self._readline is not None else None
        if self._readline is not None and self._file is not None:
            try:
                self._readline.read_history_file(self._file)
            except (OSError, ValueError):
                pass  # the file does not exist yet, or cannot be read

    def complete(self, matches: Callable[[str], list[str]]) -> None:
        """Make the Tab key offer the completions that `matches` returns for the line so far."""
        readline = self._readline
        if readline is None:
            return

        def completer(text: str, state: int) -> str | None:
            try:
                line: str = readline.get_line_buffer()
                found = matches(line[: readline.get_endidx()])
            except Exception:  # an error here would be written into the line
                return None
            start: int = readline.get_begidx()
            return found[state][start:] if state < len(found) else None

        readline.set_completer_delims(" ")
        readline.set_completer(completer)
        readline.parse_and_bind("tab: complete")

    def offer(self, line: str) -> None:
        """Add a line to the lines that the arrow-up key recalls."""
        if self._readline is not None and "\n" not in line:
            last = self._readline.get_history_item(self._readline.get_current_history_length())
            if last != line:
                self._readline.add_history(line)

    def line(self, prompt: str) -> str | None:
        """Return the next line, without its end; None at the end of the input. Ctrl-C starts the line again.

        A line that ends with a backslash continues in the next one.
        """
        if not self.terminal:
            line = sys.stdin.readline()
            return line.rstrip("\n") if line else None
        lines = list[str]()
        while True:
            try:
                typed = input(f"{'...':>{len(prompt) - 1}} " if lines else prompt)
                if not typed.endswith("\\"):
                    return "\n".join([*lines, typed])
                lines.append(typed[:-1])
            except KeyboardInterrupt:
                lines.clear()
                print("\n(Ctrl-C stops an answer; /quit or Ctrl-D ends the chat.)")
            except EOFError:
                print()
                return None

    def everything(self) -> str:
        """Return the whole standard input, if it is not a terminal."""
        return sys.stdin.read()

    def close(self) -> None:
        """Save the typed lines for the next chat."""
        if self._readline is None or self._file is None:
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file.touch(mode=0o600)
            self._readline.set_history_length(REMEMBERED)
            self._readline.write_history_file(self._file)
        except OSError:
            pass  # a disk that is full or read-only does not end a chat with an error


def history_file() -> Path | None:
    """Return the file with earlier input lines; None if it is disabled or there is no home directory."""
    named = os.environ.get(VARIABLE)
    if named is not None:
        return Path(named).expanduser() if named else None
    state = os.environ.get("XDG_STATE_HOME")
    try:
        folder = Path(state) if state else Path.home() / ".local" / "state"
    except RuntimeError:  # no home directory
        return None
    return folder / "lutum" / "history"


def _readline() -> ModuleType | None:
    try:
        import readline
    except ImportError:  # Windows: its console edits lines itself
        return None
    # A pasted text with line ends is not sent until Enter is pressed.
    readline.parse_and_bind("set enable-bracketed-paste on")
    return readline
