"""What is written to a terminal: safe text, a little style, and columns that grow side by side.

Plain where the output is no terminal, without colour under NO_COLOR (no-color.org).
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
import unicodedata
from typing import TextIO, final

# C0 and C1 controls but the line feed, and the bidirectional overrides and isolates that can make text
# read as what it is not (Unicode TR 9): model text must not steer the terminal or the reader.
_UNSAFE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_ESCAPES = re.compile("\x1b(?:\\[[0-?]*[ -/]*[@-~]|\\][^\x07\x1b]*(?:\x07|\x1b\\\\)?|[PX^_][^\x1b]*(?:\x1b\\\\)?|.)?")

WIDE = 100
"""Columns of a terminal from which branches are shown side by side."""


def printable(text: str) -> str:
    """Text with escape sequences, control characters and bidirectional overrides taken out."""
    return _UNSAFE.sub("", _ESCAPES.sub("", text.replace("\t", "    ")))


def width_of(text: str) -> int:
    """Cells that text takes: two for wide characters, none for combining ones."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


@final
class Terminal:
    """Standard output as a person sees it."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = sys.stdout if out is None else out
        self.is_tty = self._out.isatty()
        self._color = self.is_tty and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self.width = shutil.get_terminal_size((80, 24)).columns
        self._column = 0

    def heading(self, text: str) -> None:
        self.line()
        self.line(self._style("1", text))

    def line(self, text: str = "") -> None:
        """A whole line of our own words."""
        if self._column:
            self._write("\n")
        self._write(text + "\n")
        self._column = 0

    def note(self, text: str) -> None:
        """A line that explains; wrapped and dimmed."""
        for row in textwrap.wrap(text, min(self.width, 100) - 2):
            self.line(self._style("2", "  " + row))

    def piece(self, text: str, *, dim: bool = False) -> None:
        """A piece of model text as it comes, wrapped at the edge between words."""
        for part in re.split("(\n| )", printable(text)):
            if part == "\n":
                self._write("\n")
                self._column = 0
                continue
            if self._column == 0:
                self._write("  ")
                self._column = 2
                part = part.lstrip(" ")
            if self._column + width_of(part) > self.width - 1 and part != " ":
                self._write("\n  ")
                self._column = 2
            self._write(self._style("2", part) if dim and part else part)
            self._column += width_of(part)
        self._out.flush()

    def columns(self, labels: list[str]) -> Columns | Labelled:
        """Something that takes pieces of several texts at once, side by side if there is room."""
        if self.is_tty and self.width >= WIDE:
            return Columns(self, labels)
        return Labelled(self, labels)

    def raw(self, text: str) -> None:
        """Write as it is; for redrawing."""
        self._write(text)
        self._out.flush()

    def _style(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._color else text

    def _write(self, text: str) -> None:
        self._out.write(text)


@final
class Columns:
    """Texts side by side, drawn again whenever one of them grows."""

    def __init__(self, terminal: Terminal, labels: list[str]) -> None:
        self._terminal = terminal
        self._labels = labels
        self._texts = [""] * len(labels)
        self._cell = (terminal.width - 2) // len(labels) - 2
        self._drawn = 0

    def piece(self, column: int, text: str) -> None:
        self._texts[column] += printable(text)
        self._draw()

    def close(self) -> None:
        """Leave what is drawn where it is."""

    def _draw(self) -> None:
        columns = [
            [label, *textwrap.wrap(text, self._cell)]
            for label, text in zip(self._labels, self._texts, strict=True)
        ]
        rows = max(self._drawn, *(len(column) for column in columns))
        lines = list[str]()
        for row in range(rows):
            cells = [column[row] if row < len(column) else "" for column in columns]
            lines.append("  " + "  ".join(cell + " " * (self._cell - width_of(cell)) for cell in cells).rstrip())
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        self._terminal.raw(up + "".join(f"\x1b[2K{line}\n" for line in lines))
        self._drawn = rows


@final
class Labelled:
    """Texts interleaved, a line at a time, each line with its label."""

    def __init__(self, terminal: Terminal, labels: list[str]) -> None:
        self._terminal = terminal
        self._labels = labels
        self._texts = [""] * len(labels)
        self._room = terminal.width - 5 - max(width_of(label) for label in labels)

    def piece(self, column: int, text: str) -> None:
        self._texts[column] += printable(text)
        lines = textwrap.wrap(self._texts[column], self._room) or [""]
        for line in lines[:-1]:
            self._print(column, line)
        self._texts[column] = lines[-1] + (" " if self._texts[column].endswith(" ") else "")

    def close(self) -> None:
        """Print what is left of each."""
        for column, text in enumerate(self._texts):
            if text.strip():
                self._print(column, text)
            self._texts[column] = ""

    def _print(self, column: int, text: str) -> None:
        pad = max(width_of(label) for label in self._labels)
        label = self._labels[column]
        self._terminal.line(f"  {label}{' ' * (pad - width_of(label))} | {text.strip()}")
