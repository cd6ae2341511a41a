"""Replacements for ids and names that came from another provider and that this provider refuses."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from hashlib import sha256

__all__ = ["CallIds", "bounded", "schema_name"]

_NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9_-]")


def schema_name(name: str, limit: int = 64) -> str:
    """Return a name for a schema that has only letters, digits, `_` and `-`, and at most `limit`
    characters."""
    return _NOT_IN_A_NAME.sub("_", name)[:limit] or "schema"


def bounded(id: str, limit: int) -> str:
    """Return an id of 1 to `limit` characters: `id` itself, or a digest of `id` if it is empty or too
    long."""
    return id if 0 < len(id) <= limit else "call_" + sha256(id.encode()).hexdigest()[: limit - 5]


class CallIds:
    """The ids of calls in one request. A provider refuses a request in which two calls have the same id.

    Some hosts number the calls of each turn from the start again, so ids repeat in a conversation. Call
    `rename` for each turn of a transcript, in order. A new id depends only on earlier turns, so the next
    request begins with the same bytes as this request.

    Args:
      fit: a function that converts an id to an id that the provider accepts, such as `bounded` with a limit.
    """

    def __init__(self, fit: Callable[[str], str] = str) -> None:
        self._fit = fit
        self._seen = set[str]()

    def rename(self, ids: Collection[str], turn: int, *, keep: bool = False) -> dict[str, str]:
        """Return a new id for each call of a turn whose id was used by an earlier call.

        Args:
          turn: the turn's position in the transcript. New ids are made from this number.
          keep: change no ids, because the turn is sent exactly as it was received.
        """
        renamed = {} if keep else {id: self._free(id, turn) for id in ids if id in self._seen}
        self._seen.update(self._renamed(ids, renamed))
        return renamed

    @staticmethod
    def _renamed(ids: Iterable[str], renamed: dict[str, str]) -> Iterable[str]:
        return (renamed.get(id, id) for id in ids)

    def _free(self, id: str, turn: int) -> str:
        new = f"{id}_{turn}"
        while self._fit(new) in self._seen:
            new += "_"
        return self._fit(new)
