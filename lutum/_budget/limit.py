"""A named limit of a shared ledger, and the periods in which it applies. No I/O, no clock."""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Literal, get_args

from msgspec import Struct

from lutum._budget.amounts import pico_usd
from lutum._values.errors import BadValue

Period = Literal["minute", "hour", "day", "week", "month"]
"""The length of a limit's period. A week begins on Monday."""

LONGEST_NAME = 200


class Limit(Struct, frozen=True):
    """A limit of a shared ledger, known to all its processes by its name.

    If a figure is not given, the stored figure applies. If a later process gives a figure, it replaces the
    stored one.

    Attributes:
      name: what is limited, such as "team/a"; at most 200 bytes, without braces and control characters.
      tokens: input and output together.
      cost_usd: US dollars.
      per: the period after which the limit starts from 0 again; None if it has no period.
      timezone: the IANA name of the time zone in which a period begins, "UTC" unless it is given.

    Raises:
      BadValue: a figure, the name or the time zone is invalid; the message names the field.
    """

    name: str
    tokens: int | None = None
    cost_usd: Decimal | str | int | float | None = None
    per: Period | None = None
    timezone: str | None = None

    def __post_init__(self) -> None:
        check_name("limit.name", self.name)
        if self.tokens is not None:
            if isinstance(self.tokens, bool) or not isinstance(self.tokens, int):
                raise BadValue("limit.tokens", f"{self.tokens!r} is not an integer")
            if not 1 <= self.tokens <= 2**53:
                raise BadValue(
                    "limit.tokens",
                    f"{self.tokens} is not between 1 and 2**53; to end the turns under a limit, call stop()",
                )
        if self.cost_usd is not None and pico_usd(self.cost_usd, "limit.cost_usd") == 0:
            raise BadValue("limit.cost_usd", "is 0; to end the turns under a limit, call stop()")
        if self.per is not None and self.per not in get_args(Period):
            raise BadValue("limit.per", f"{self.per!r} is not one of {', '.join(get_args(Period))}")
        if self.timezone is not None:
            if self.per is None:
                raise BadValue("limit.timezone", "needs per=: without a period no time zone applies")
            zone(self.timezone)


def check_name(field: str, name: object) -> None:
    """Raise BadValue if a name cannot be part of the server's keys."""
    if not isinstance(name, str) or not name.strip():
        raise BadValue(field, f"{name!r} is not a name; give text with at least one visible character")
    if "{" in name or "}" in name:
        raise BadValue(field, f"{name!r} contains a brace, which has a meaning in Redis Cluster; remove it")
    if not name.isprintable():
        raise BadValue(field, f"{name!r} has a character that cannot be printed")
    if (size := len(name.encode("utf-8", "replace"))) > LONGEST_NAME:
        raise BadValue(field, f"has {size} bytes; at most {LONGEST_NAME} are allowed")
    if name == "*":
        raise BadValue(field, "'*' is the name of the whole ledger; choose another one")


def zone(name: str) -> tzinfo:
    """Return a time zone by its IANA name.

    Raises:
      BadValue: the name is unknown on this system.
    """
    from zoneinfo import ZoneInfo  # imported here, so that `import lutum` does not load it

    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError, TypeError):  # ZoneInfoNotFoundError is a KeyError
        raise BadValue(
            "limit.timezone",
            f"{name!r} is not a time zone known here; use an IANA name such as 'Europe/Oslo', and on a system"
            " without a time zone database install the package tzdata",
        ) from None


def period_around(per: Period, timezone: str, at: float) -> tuple[float, float]:
    """Return the beginning and the end of the period that contains `at`, in seconds since the epoch."""
    where = zone(timezone)
    now = datetime.fromtimestamp(at, where)
    match per:
        case "minute":
            start = at - at % 60
            return start, start + 60
        case "hour":  # by the local clock, because some zones are half an hour off
            start = at - (now.minute * 60 + now.second + now.microsecond / 1e6)
            return start, start + 3600
        case "day":
            first = now.replace(hour=0, minute=0, second=0, microsecond=0)
            last = first + timedelta(days=1)
        case "week":
            first = (now - timedelta(days=now.weekday())).replace(hour=0, minute=0, second=0, microsecond=0)
            last = first + timedelta(days=7)
        case "month":
            first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
            last = (first + timedelta(days=32)).replace(day=1)
    # fold=0: if the clock is put back over midnight, midnight comes twice, and the day begins at the first.
    return first.replace(fold=0).timestamp(), last.replace(fold=0).timestamp()
