"""Layout of the screen: columns, labels, a table, and updates of a drawing in place. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from lutum._text import cells, wrap

_MARGIN = 2
_GAP = 3


def cell_width(width: int, columns: int) -> int:
    """Cells of each of that many columns between a margin and gaps."""
    return (width - _MARGIN - _GAP * (columns - 1)) // columns


def side_by_side(columns: Sequence[Sequence[str]], cell: int) -> list[str]:
    """Rows of a terminal that show columns of lines next to each other.

    Each line is put at its place by the cursor and not by spaces before it, so that columns stay straight
    where a terminal's idea of a character's width is not ours.
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
    """Return labels for the beginnings of lines, all equally wide."""
    room = max(map(cells, labels))
    return [f"{label}{' ' * (room - cells(label))} | " for label in labels]


def table(rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Return rows of cells as lines, figures to the right.

    If the width is too small, the first cell gets its own lines and the others follow below it.
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
    """Rows above the cursor that are drawn again in place."""

    def __init__(self) -> None:
        self._rows = list[str]()

    def show(self, rows: Sequence[str]) -> str:
        """Return the text that draws these rows in place of the last ones; there are never fewer."""
        old, self._rows = self._rows, list(rows)
        same = next((i for i, (was, now) in enumerate(zip(old, rows, strict=False)) if was != now), len(old))
        up = len(old) - same
        return (f"\x1b[{up}A" if up else "") + "".join(f"\x1b[2K{row}\n" for row in rows[same:])

    def cleared(self) -> str:
        """What to write so that the rows are gone and the cursor stands where the first one stood."""
        count = len(self._rows)
        self._rows = []
        return f"\x1b[{count}A" + "\x1b[2K\n" * count + f"\x1b[{count}A" if count else ""
