"""Output to a terminal: headings, streaming answers, branches side by side or labelled.

All text is made printable here, so that no caller can forget it. The output is plain if it is not a terminal,
and without colour under NO_COLOR (no-color.org). The size is read at the start of each part.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from io import TextIOWrapper
from types import TracebackType
from typing import Self, TextIO, final

from lutum._text import Cleaner, Flow, printable, wrap
from lutum.cli._layout import Drawing, cell_width, labelled, side_by_side, table

SIDE_BY_SIDE = 100
"""Branches are shown side by side if the terminal has at least this many columns."""

READABLE = 100
"""The longest line of running text, in cells."""

BOLD, DIM, RED, GREEN = "1", "2", "31", "32"
_LABELS = ("36", "35", "33")  # cyan, magenta, yellow
_INDENT = "  "


def has_escapes(is_terminal: bool, environ: Mapping[str, str], platform: str) -> bool:
    """Return whether the terminal understands escape sequences. No I/O."""
    if not is_terminal or environ.get("TERM") == "dumb":
        return False
    # The console of older Windows prints the sequences as text, unless a program changes its mode.
    return platform != "win32" or "WT_SESSION" in environ or "TERM" in environ


@final
class Terminal:
    """Text output for a person. With `raw`, answers and paragraphs are written without changes."""

    def __init__(self, out: TextIO | None = None, *, raw: bool = False) -> None:
        self._out = stream = sys.stdout if out is None else out
        self.raw = raw
        self._tail = ""
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that is not UTF-8 cannot show everything
        self.escapes = has_escapes(stream.isatty(), os.environ, sys.platform)
        self.color = self.escapes and not os.environ.get("NO_COLOR")

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines, as they are now."""
        return shutil.get_terminal_size((80, 24))

    @property
    def width(self) -> int:
        """The most cells of a line: one less than the columns, because some terminals wrap at the last."""
        return self.size[0] - 1

    def title(self, text: str) -> None:
        """Write the first line of the output."""
        self.paragraph(text, BOLD, indent="")

    def heading(self, text: str) -> None:
        """Write the title of a part, after an empty line."""
        self.gap()
        self.paragraph(text, BOLD, indent="")

    def gap(self) -> None:
        """Write an empty line, unless the last line is empty."""
        if self._tail not in ("\n\n", ""):
            self.write("\n")

    def note(self, text: str) -> None:
        """Write an explanation."""
        self.paragraph(text, DIM)

    def asked(self, text: str) -> None:
        """Show the user's message, between empty lines."""
        self.gap()
        self.paragraph("> " + text, BOLD)
        self.gap()

    def line(self, text: str, style: str = "") -> None:
        """Write other text."""
        self.paragraph(text, style)

    def error(self, error: Exception) -> None:
        """Write an error: its class and its message."""
        self.gap()
        self.paragraph(f"{type(error).__name__}: {error}", RED)

    def table(self, rows: Sequence[Sequence[str]]) -> None:
        """Write a table. The first row is the heading. The first column is aligned left, the others right."""
        clean = [[printable(cell).replace("\n", " ") for cell in row] for row in rows]
        for number, row in enumerate(table(clean, min(self.width, READABLE) - len(_INDENT))):
            self.write(self.style(row, "" if number else DIM, _INDENT) + "\n")

    def answer(self) -> LiveAnswer:
        """Return the display of a streaming answer."""
        return LiveAnswer(self)

    def branches(self, labels: Sequence[str]) -> SideBySide | Labelled:
        """Return the display of several answers. They are side by side if the terminal is wide enough and
        understands escape sequences."""
        if self.escapes and self.size[0] >= SIDE_BY_SIDE:
            return SideBySide(self, labels)
        return Labelled(self, labels)

    def write(self, text: str) -> None:
        """Write the text without changes, and flush it."""
        self._tail = (self._tail + text)[-2:]
        self._out.write(text)
        self._out.flush()

    def style(self, text: str, style: str, indent: str = "") -> str:
        """Return printable text with an indent and a style."""
        return f"{indent}\x1b[{style}m{text}\x1b[0m" if self.color and style and text else indent + text

    def paragraph(self, text: str, style: str = "", indent: str = _INDENT) -> None:
        """Write running text with an indent."""
        width = min(self.width, READABLE) - len(indent)
        for row in text.split("\n") if self.raw else wrap(text, width):
            self.write(self.style(row, style, indent if row else "") + "\n")


class _Live:
    """A part of the output that is shown in pieces. Its drawing is completed even after an error."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Show the text that was held back."""
        raise NotImplementedError


class LiveAnswer(_Live):
    """Running text, word by word. Reasoning and answer are separate paragraphs."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._width = min(terminal.width, READABLE) - len(_INDENT)
        self._reasoning: bool | None = None
        self._cleaner, self._flow = Cleaner(), Flow(self._width)
        self._at_margin = True

    def piece(self, text: str, *, reasoning: bool = False) -> None:
        """Show the next piece of text."""
        if reasoning is not self._reasoning:
            if self._reasoning is not None:
                self.close()
                self._terminal.gap()
            self._reasoning = reasoning
            self._cleaner, self._flow = Cleaner(), Flow(self._width)
            text = "(thinking) " + text if reasoning else text
        self._show(text if self._terminal.raw else self._flow.feed(self._cleaner.feed(text)))

    def close(self) -> None:
        self._show(self._flow.end())
        if not self._at_margin:
            self._terminal.write("\n")
            self._at_margin = True

    def _show(self, text: str) -> None:
        style = DIM if self._reasoning else ""
        out = ""
        for number, row in enumerate(text.split("\n")):
            if number:
                out += "\n"
                self._at_margin = True
            if row:
                out += self._terminal.style(row, style, _INDENT if self._at_margin else "")
                self._at_margin = False
        self._terminal.write(out)


@final
class SideBySide(_Live):
    """Answers in columns. Whenever an answer grows, the changed rows are drawn again."""

    def __init__(self, terminal: Terminal, labels: Sequence[str]) -> None:
        self._terminal = terminal
        columns, self._height = terminal.size
        self._cell = cell_width(columns - 1, len(labels))
        self._cleaners = [Cleaner() for _ in labels]
        self._flows = [Flow(self._cell) for _ in labels]
        self._heads = [
            terminal.style(wrap(label, self._cell)[0], _LABELS[i % len(_LABELS)])
            for i, label in enumerate(labels)
        ]
        self._texts = [""] * len(labels)
        self._drawing = Drawing()

    def piece(self, column: int, text: str) -> None:
        """Show the next piece of one answer."""
        self._texts[column] += self._flows[column].feed(self._cleaners[column].feed(text))
        # A row that has left the screen at its top cannot be drawn again.
        self._terminal.write(self._drawing.show(self._rows()[1 - self._height :]))

    def close(self) -> None:
        for column, flow in enumerate(self._flows):
            self._texts[column] += flow.end()
        self._terminal.write(self._drawing.show(self._rows()))

    def _rows(self) -> list[str]:
        texts = [text.rstrip("\n").split("\n") for text in self._texts]
        return side_by_side(
            [[head, *lines] for head, lines in zip(self._heads, texts, strict=True)], self._cell
        )


@final
class Labelled(_Live):
    """Interleaved answers: they are written line by line, each line with its label."""

    def __init__(self, terminal: Terminal, labels: Sequence[str]) -> None:
        self._terminal = terminal
        self._heads = labelled([printable(label) for label in labels])
        room = min(terminal.width, READABLE) - len(_INDENT) - max(map(len, self._heads))
        self._cleaners = [Cleaner() for _ in labels]
        self._flows = [Flow(room) for _ in labels]
        self._texts = [""] * len(labels)

    def piece(self, column: int, text: str) -> None:
        """Show the next piece of one answer."""
        *lines, self._texts[column] = (
            self._texts[column] + self._flows[column].feed(self._cleaners[column].feed(text))
        ).split("\n")
        self._show(column, lines)

    def close(self) -> None:
        for column, flow in enumerate(self._flows):
            self._show(column, (self._texts[column] + flow.end()).split("\n"))
            self._texts[column] = ""

    def _show(self, column: int, lines: Sequence[str]) -> None:
        head = self._terminal.style(self._heads[column], _LABELS[column % len(_LABELS)], _INDENT)
        self._terminal.write("".join(f"{head}{line}\n" for line in lines if line))
