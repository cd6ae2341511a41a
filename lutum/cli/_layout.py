"""Layout of the screen: columns, labels, tables, and drawings that are updated in place. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from lutum._text import cells, wrap

_MARGIN = 2
_GAP = 3


def cell_width(width: int, columns: int) -> int:
    """Return the width of one column if `columns` of them, a margin and the gaps share `width` cells."""
    return (width - _MARGIN - _GAP * (columns - 1)) // columns


def side_by_side(columns: Sequence[Sequence[str]], cell: int) -> list[str]:
    """Return terminal rows that show columns of lines next to each other.

    A cursor movement, not spaces, puts each line in its column. Columns therefore stay straight even if the
    terminal draws a character with a width that differs from the computed width.
    """
    rows = list[str]()
    for number in range(max(map(len, columns))):
        row = ""
        for place, lines in enumerate(columns):
            if number < len(lines) and lines[number]:
                row += f"\x1b[{_MARGIN + place * (cell + _GAP) + 1}G{lines[number]}"
        rows.append(row)
    return rows


def labelled(labels: Sequence[str]) -> list[str]:
    """Return labels for the beginnings of lines, all padded to the same width."""
    room = max(map(cells, labels))
    return [f"{label}{' ' * (room - cells(label))} | " for label in labels]


def table(rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Return a table as lines. The first column is aligned left, the others are aligned right.

    If the width is too small, the first cell of a row gets its own lines and the other cells follow below it.
    """
    sizes = [max(cells(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = list[str]()
    if sum(sizes) + 2 * (len(sizes) - 1) <= width:
        for row in rows:
            figures = [" " * (size - cells(cell)) + cell for cell, size in zip(row, sizes, strict=True)][1:]
            lines.append("  ".join([row[0] + " " * (sizes[0] - cells(row[0])), *figures]).rstrip())
        return lines
    names = rows[0][1:]
    for row in rows[1:]:
        lines += wrap(row[0], width)
        below = ", ".join(f"{name} {cell}".strip() for name, cell in zip(names, row[1:], strict=True))
        lines += [f"    {line}" for line in wrap(below, width - 4)]
    return lines


@final
class Drawing:
    """Rows above the cursor that are redrawn in place."""

    def __init__(self) -> None:
        self._rows = list[str]()

    def show(self, rows: Sequence[str]) -> str:
        """Return the text that replaces the shown rows by `rows`. `rows` must not be fewer than before."""
        old, self._rows = self._rows, list(rows)
        same = next((i for i, (was, now) in enumerate(zip(old, rows, strict=False)) if was != now), len(old))
        up = len(old) - same
        return (f"\x1b[{up}A" if up else "") + "".join(f"\x1b[2K{row}\n" for row in rows[same:])

    def cleared(self) -> str:
        """Return the text that erases the rows and moves the cursor to the place of the first row."""
        count = len(self._rows)
        self._rows = []
        return f"\x1b[{count}A" + "\x1b[2K\n" * count + f"\x1b[{count}A" if count else ""
