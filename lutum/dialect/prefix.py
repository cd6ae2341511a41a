"""Where a later request is not an earlier one with more at its end.

`Adapter.first_difference` makes a JSON path of the index.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["changed_at", "changed_path", "differs_at"]


def differs_at(earlier: Sequence[object], later: Sequence[object]) -> int | None:
    """Return the index of the first difference of two lists that must be equal, such as tools."""
    if len(earlier) != len(later):
        at = changed_at(earlier, later)
        return min(len(earlier), len(later)) if at is None else at
    return changed_at(earlier, later)


def changed_at(earlier: Sequence[object], later: Sequence[object]) -> int | None:
    """Return the index of the first entry of `earlier` that `later` does not repeat; None if it repeats all.

    It is the length of `later` if an entry is missing there.
    """
    for i, entry in enumerate(earlier):
        if i >= len(later) or later[i] != entry:
            return i
    return None


def changed_path(
    earlier: Sequence[tuple[object, object, str]], later: Sequence[tuple[object, object, str]], whole: str
) -> str | None:
    """Return the path of the first block of `earlier` that `later` does not repeat; None if it repeats all.

    Args:
      earlier: role, block and JSON path of each block, in order.
      later: the same of the later request.
      whole: the path of the list, for a block that is missing at its end.
    """
    at = changed_at([entry[:2] for entry in earlier], [entry[:2] for entry in later])
    if at is None:
        return None
    return later[at][2] if at < len(later) else whole
