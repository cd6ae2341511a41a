"""Finds the first difference between an earlier request and a later request that should only add to it.

`Adapter.first_difference` converts the index to a JSON path.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["changed_at", "changed_path", "differs_at"]


def differs_at(earlier: Sequence[object], later: Sequence[object]) -> int | None:
    """Return the index of the first difference between two lists that must be equal, such as the tools."""
    if len(earlier) != len(later):
        at = changed_at(earlier, later)
        return min(len(earlier), len(later)) if at is None else at
    return changed_at(earlier, later)


def changed_at(earlier: Sequence[object], later: Sequence[object]) -> int | None:
    """Return the index of the first entry of `earlier` that `later` does not repeat; None if it repeats all.

    If `later` ends too early, the index is the length of `later`.
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
      earlier: role, block and JSON path of each block of the earlier request, in order.
      later: the same for the later request.
      whole: the path of the whole list. It is returned if a block is missing at the end.
    """
    at = changed_at([entry[:2] for entry in earlier], [entry[:2] for entry in later])
    if at is None:
        return None
    return later[at][2] if at < len(later) else whole
