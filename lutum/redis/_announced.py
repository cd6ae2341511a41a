"""Limits as this process sends them to the server, and the periods in which they apply. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

from lutum._budget.amounts import pico_usd
from lutum._budget.limit import Limit, period_around
from lutum._values.errors import BadValue, LedgerError
from lutum.redis._figures import Figures
from lutum.redis._wire import MILLI


@final
class Windows:
    """The periods of limits, each computed once until it ends.

    Args:
      announced: the limits that this process has sent, by name.
    """

    def __init__(self, announced: Mapping[str, Limit]) -> None:
        self._announced = announced
        self._known = dict[str, list[Any]]()

    def window(self, name: str, figures: Figures, now: float) -> list[Any] | None:
        """Return the period of a limit around `now`: start and end in ms, its kind and its time zone.

        Return None if the limit has no period.
        """
        limit = self._announced.get(name)
        per, timezone = figures.per, figures.timezone
        if per is None and limit is not None and limit.per is not None:
            per, timezone = limit.per, limit.timezone or "UTC"
        if per is None:
            return None
        known = self._known.get(name)
        if known is None or not known[0] <= now * 1000 < known[1] or known[2:] != [per, timezone]:
            try:
                start, end = period_around(per, timezone, now)
            except BadValue as error:
                raise LedgerError(f"limit {name!r}: {error}") from None
            known = self._known[name] = [int(start * 1000), int(end * 1000), per, timezone]
        return known


def check_limits(limits: Sequence[Limit]) -> None:
    """Raise BadValue if an element is not a Limit, or two limits have the same name."""
    names = set[str]()
    for limit in limits:
        if not isinstance(limit, Limit):
            raise BadValue("limits", f"{limit!r} is not a Limit")
        if limit.name in names:
            raise BadValue("limits", f"two of them have the name {limit.name!r}")
        names.add(limit.name)


def limit_operation(limit: Limit, at: int) -> list[Any]:
    """Return the operation that sends a limit to the server.

    `at` is the time of the limit in ms; -1 is now. The server ignores a limit that is older than the stored
    limit of the same name.
    """
    cost = (-1, 0) if limit.cost_usd is None else divmod(pico_usd(limit.cost_usd), MILLI)
    tokens = -1 if limit.tokens is None else limit.tokens
    return ["limit", limit.name, tokens, *cost, limit.per or "", limit.timezone or "UTC", at]
