"""How fast a ledger may be drawn on, and what the rate-limit headers of providers say about it: PURE.

A bucket of tokens or requests is one number, the instant at which it is full again; that is also what
providers report. A draw moves it later, what is given back moves it earlier, and time refills it without
anybody doing anything. Growth and second attempts draw without asking: they put what comes later off.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Literal, Protocol

from msgspec import Struct

from lutum._errors import BadValue

Kind = Literal["requests", "tokens", "input", "output"]

MINUTE = 60.0
DAY = 86_400.0

# Instants are floats, and what is due now may be due a rounding error later.
_TICK = 1e-6


class Reading(Struct, frozen=True):
    """What an answer says of one limit: `limit` in `period` seconds, `left` of it now.

    `full_in` is given by a provider that starts afresh at an instant instead of refilling all the time.
    """

    kind: Kind
    limit: int
    left: int
    period: float = MINUTE
    full_in: float | None = None


class Tokens(Protocol):
    """An amount."""

    @property
    def input(self) -> int: ...

    @property
    def output(self) -> int: ...


class _Bucket:
    """So many in so many seconds, in bursts of as many at the most."""

    __slots__ = ("_full_at", "_limit", "_period")

    def __init__(self, limit: int, period: float = MINUTE) -> None:
        self._limit = limit
        self._period = period
        self._full_at = -math.inf

    def due(self, amount: int, now: float) -> float:
        """When that much can be drawn, or all that it ever holds."""
        return max(now, self._full_at + min(0, amount - self._limit) * self._period / self._limit)

    def draw(self, amount: int, now: float) -> None:
        """Take it, or with a negative amount give it back."""
        self._full_at = max(now, self._full_at) + amount * self._period / self._limit

    def read(self, reading: Reading, now: float) -> None:
        """The provider may know of less than we, never of more: it has not seen what is under way."""
        used = max(0.0, self._full_at - now) * self._limit / self._period
        self._limit, self._period = reading.limit, reading.period
        self._full_at = now + max(used, reading.limit - reading.left) * self._period / self._limit


class _Window(_Bucket):
    """So many until an instant, at which it starts afresh."""

    __slots__ = ("_used",)

    def __init__(self, limit: int, period: float = MINUTE) -> None:
        super().__init__(limit, period)
        self._used = 0

    def due(self, amount: int, now: float) -> float:
        fresh = now >= self._full_at - _TICK
        return now if fresh or self._used + min(amount, self._limit) <= self._limit else self._full_at

    def draw(self, amount: int, now: float) -> None:
        if now >= self._full_at - _TICK:
            self._used, self._full_at = 0, now + self._period
        self._used = max(0, self._used + amount)

    def read(self, reading: Reading, now: float) -> None:
        used = self._used if now < self._full_at - _TICK else 0
        self._limit, self._used = reading.limit, max(used, reading.limit - reading.left)
        self._full_at = now + (reading.full_in or 0.0)


class Pace:
    """The rates of one ledger. `unknown` says that they are to be read from the first answer."""

    __slots__ = ("_buckets", "_fixed", "_follow", "_not_before", "_tokens", "unknown")

    def __init__(self, tokens: int | None, requests: int | None, *, follow: bool) -> None:
        for field, limit in (("tokens_per_minute", tokens), ("requests_per_minute", requests)):
            if limit is not None and limit < 1:
                raise BadValue(field, f"{limit} is below 1")
        self._buckets = dict[Kind, _Bucket]()
        if tokens is not None:
            self._buckets["tokens"] = _Bucket(tokens)
        if requests is not None:
            self._buckets["requests"] = _Bucket(requests)
        self._fixed = frozenset(self._buckets)
        self._tokens = tokens
        self._follow = follow
        self._not_before = -math.inf
        self.unknown = follow

    def due(self, amount: Tokens, now: float) -> float:
        """When one request of that size may be sent. One that is larger than a limit which was read waits
        for all of it: what a provider counts beforehand is not always what a turn reserves."""
        drawn = _drawn(amount, 1)
        due = max(now, self._not_before)
        for kind, bucket in self._buckets.items():
            due = max(due, bucket.due(drawn[kind], now))
        return due

    def too_large(self, tokens: int) -> bool:
        """Whether a limit that was given is smaller than that."""
        return self._tokens is not None and tokens > self._tokens

    def ready(self, amount: Tokens, now: float) -> bool:
        """Whether one request of that size may be sent now."""
        return self.due(amount, now) <= now + _TICK

    def draw(self, amount: Tokens, requests: int, now: float) -> None:
        """Take it, or give back what is negative."""
        drawn = _drawn(amount, requests)
        for kind, bucket in self._buckets.items():
            bucket.draw(drawn[kind], now)

    def learn(
        self,
        headers: Mapping[str, str],
        wait: float | None,
        held: Tokens,
        requests: int,
        now: float,
        wall: float,
    ) -> None:
        """Take over what an answer says. `wait` is what it asked for after refusing, `held` and `requests`
        what open leases hold, `wall` the time since the epoch."""
        if not self._follow:
            return
        self.unknown = False
        if wait is not None:
            self._not_before = max(self._not_before, now + wait)
        for reading in readings(headers, wall):
            if reading.kind in self._fixed:
                continue
            if reading.kind not in self._buckets:
                make = _Bucket if reading.full_in is None else _Window
                self._buckets[reading.kind] = bucket = make(reading.limit, reading.period)
                bucket.draw(_drawn(held, requests)[reading.kind], now)
            self._buckets[reading.kind].read(reading, now)


def _drawn(amount: Tokens, requests: int) -> dict[Kind, int]:
    given, spoken = amount.input, amount.output
    return {"requests": requests, "tokens": given + spoken, "input": given, "output": spoken}


def readings(headers: Mapping[str, str], wall: float) -> list[Reading]:
    """What the headers of an answer say, in the words of Claude, of OpenAI and Groq, or of OpenRouter.

    `wall` is the time since the epoch, where the answer does not say its own.
    """
    found = list[Reading]()
    for kind, said in _CLAUDE.items():
        names = (f"anthropic-ratelimit-{said}-limit", f"anthropic-ratelimit-{said}-remaining")
        if (figures := _figures(headers, *names)) is not None:
            found.append(Reading(kind, *figures))
    for kind in ("requests", "tokens"):
        names = (f"x-ratelimit-limit-{kind}", f"x-ratelimit-remaining-{kind}")
        if (figures := _figures(headers, *names)) is not None:
            reset = _duration(headers.get(f"x-ratelimit-reset-{kind}", ""))
            found.append(Reading(kind, *figures, _period(*figures, reset)))
    if (figures := _figures(headers, "x-ratelimit-limit", "x-ratelimit-remaining")) is not None:
        if "date" in headers:
            wall = _date(headers["date"], wall)
        resets = headers.get("x-ratelimit-reset", "")
        if resets.isascii() and resets.isdigit() and len(resets) == 13:  # milliseconds since the epoch
            found.append(Reading("requests", *figures, full_in=max(0.0, int(resets) / 1000 - wall)))
    return found


# api/rate-limits: `tokens` is the limit that binds most at the moment, so its size may change.
_CLAUDE: dict[Kind, str] = {
    "requests": "requests",
    "tokens": "tokens",
    "input": "input-tokens",
    "output": "output-tokens",
}

_DURATION = re.compile(
    r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?", re.ASCII
)


def _period(limit: int, left: int, reset: float | None) -> float:
    """Seconds in which an empty bucket is full: a minute, unless what is missing takes clearly longer to
    come back. Groq counts requests by the day under the same names, OpenAI on its lowest tiers."""
    if not reset or left >= limit:
        return MINUTE
    return DAY if reset * limit / (limit - left) > 2 * MINUTE else MINUTE


def _duration(text: str) -> float | None:
    """Seconds of `6m0s`, `17.212s` or `26ms`; None for anything else."""
    match = _DURATION.fullmatch(text)
    if match is None or not text:
        return None
    units = (86_400.0, 3_600.0, 60.0, 1.0, 0.001)
    return sum(float(part) * unit for part, unit in zip(match.groups(), units, strict=True) if part)


def _figures(headers: Mapping[str, str], limit: str, left: str) -> tuple[int, int] | None:
    texts = headers.get(limit, ""), headers.get(left, "")
    if not all(text.isascii() and text.isdigit() and len(text) < 16 for text in texts):
        return None
    figures = int(texts[0]), int(texts[1])
    return figures if figures[0] > 0 else None


def _date(text: str, otherwise: float) -> float:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return otherwise
