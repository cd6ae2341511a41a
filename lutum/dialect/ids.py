"""Ids and names that a provider accepts, in place of those that another one gave."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from hashlib import sha256

__all__ = ["CallIds", "bounded", "schema_name"]

_NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9_-]")


def schema_name(name: str, limit: int = 64) -> str:
    """Return a schema's name with letters, digits, _ and - only, and at most `limit` characters."""
    return _NOT_IN_A_NAME.sub("_", name)[:limit] or "schema"


def bounded(id: str, limit: int) -> str:
    """Return an id of 1 to `limit` characters: `id`, or a digest of an id that is empty or too long."""
    return id if 0 < len(id) <= limit else "call_" + sha256(id.encode()).hexdigest()[: limit - 5]


class CallIds:
    """The ids of calls in one request. A provider refuses a request in which two calls have one id.

    Some hosts number the calls of each turn anew, so ids of one conversation repeat. Feed the turns of a
    transcript in order. The replacement of an id depends on earlier turns only, so that the next request
    repeats this one.

    Args:
      fit: makes an id that the provider accepts, such as `bounded` with its limit.
    """

    def __init__(self, fit: Callable[[str], str] = str) -> None:
        self._fit = fit
        self._seen = set[str]()

    def rename(self, ids: Collection[str], turn: int, *, keep: bool = False) -> dict[str, str]:
        """Return new ids for those among the calls of a turn that an earlier call has.

        Args:
          turn: the turn's place in the transcript; new ids end in it.
          keep: the turn is sent as it was received, so its ids stay.
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
