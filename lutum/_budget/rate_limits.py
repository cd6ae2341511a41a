"""Rate limits of a ledger, learned from the limits that responses report.

A bucket of tokens or requests is one number: the instant at which it is full again, because providers report
this instant. A draw moves the instant later, a refund moves it earlier, and a bucket refills without any
work. Growth and second attempts always draw, and so delay later requests.

If a provider's limits must be learned and no answer has reported any, requests start slowly, as in TCP: one
request in flight at first, and one more after each answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol, get_args

from lutum._budget.amounts import check_whole
from lutum._values.rate_limit import RateKind, RateLimit

_KINDS: tuple[RateKind, ...] = get_args(RateKind)

MINUTE = 60.0

# Instants are floats. A rounding error can make an instant that is due now a little later.
_TICK = 1e-6


class TokenAmount(Protocol):
    """An amount."""

    @property
    def input(self) -> int: ...

    @property
    def output(self) -> int: ...


class _Bucket:
    """A limit of an amount in a period. The whole amount may be drawn at once."""

    __slots__ = ("_full_at", "_limit", "_period", "refunds")

    def __init__(self, limit: int, period: float = MINUTE, *, refunds: bool = True) -> None:
        self._limit = limit
        self._period = period
        self._full_at = -math.inf
        self.refunds = refunds

    def due(self, amount: int, now: float) -> float:
        """Return when the amount can be drawn. If it is above the limit, return when the bucket is full."""
        return max(now, self._full_at + min(0, amount - self._limit) * self._period / self._limit)

    def draw(self, amount: int, now: float) -> None:
        """Draw an amount. A negative amount is given back."""
        self._full_at = max(now, self._full_at) + amount * self._period / self._limit

    def apply(self, reported: RateLimit, unseen: int, now: float) -> None:
        """Take over the figures of an answer. `unseen` is the amount that they may not include yet.

        The larger of two counts is used: that of the provider and that of this bucket. A provider that gives
        nothing back counts differently. The count of this bucket is then at most the provider's plus
        `unseen`.
        """
        used = max(0.0, self._full_at - now) * self._limit / self._period
        told = reported.limit - reported.left
        self._limit, self._period = reported.limit, reported.period
        if not reported.refunds:
            used = min(used, told + unseen)
        self._full_at = now + max(used, told) * self._period / self._limit


class _Window(_Bucket):
    """A limit of an amount until an instant, at which the next window begins.

    An amount that was drawn beyond the limit counts in the next window.
    """

    __slots__ = ("_used",)

    def __init__(self, limit: int, period: float = MINUTE, *, refunds: bool = True) -> None:
        super().__init__(limit, period, refunds=refunds)
        self._used = 0

    def due(self, amount: int, now: float) -> float:
        used, at = self._used, now
        if now >= self._full_at - _TICK:
            used = max(0, used - self._limit)
        else:
            at = self._full_at
        wanted = min(amount, self._limit)
        if used + wanted <= self._limit:
            return now
        # The next window, or the first later one that earlier draws beyond the limit do not use up.
        owed = max(0, used - self._limit) + wanted - 1
        return (at if at > now else now + self._period) + owed // self._limit * self._period

    def draw(self, amount: int, now: float) -> None:
        self._turn(now)
        self._used = max(0, self._used + amount)

    def apply(self, reported: RateLimit, unseen: int, now: float) -> None:
        self._turn(now)
        self._limit, self._used = reported.limit, max(self._used, reported.limit - reported.left)
        self._full_at = now + (reported.full_in or 0.0)

    def _turn(self, now: float) -> None:
        if now >= self._full_at - _TICK:
            self._used, self._full_at = max(0, self._used - self._limit), now + self._period


class _Sent:
    """A request, and the answered amounts at the time when it was sent."""

    __slots__ = ("amount", "answered")

    def __init__(self, amount: TokenAmount, answered: dict[RateKind, int]) -> None:
        self.amount = amount
        self.answered = answered


class RateLimits:
    """The rates of one ledger, and the requests that have no answer yet."""

    __slots__ = (
        "_answered",
        "_buckets",
        "_fixed",
        "_follow",
        "_not_before",
        "_sent",
        "_slow",
        "_tokens",
        "_unknown",
        "_unseen",
        "_waiting",
    )

    def __init__(self, tokens: int | None, requests: int | None, *, follow: bool) -> None:
        for field, limit in (("tokens_per_minute", tokens), ("requests_per_minute", requests)):
            check_whole(field, limit, 1)
        # By period too, because a host may count requests by the day, and your own limit may be by the
        # minute.
        self._buckets = dict[tuple[RateKind, float], _Bucket]()
        if tokens is not None:
            self._buckets["tokens", MINUTE] = _Bucket(tokens)
        if requests is not None:
            self._buckets["requests", MINUTE] = _Bucket(requests)
        self._fixed = frozenset(self._buckets)
        self._tokens = tokens
        self._follow = follow
        self._not_before = -math.inf
        self._unknown = follow
        self._slow = 1  # how many requests may be in flight while no limit is known
        self._sent = 0
        self._waiting = dict[int, _Sent]()  # the requests that wait for an answer
        # Sums by kind: the amounts of the waiting requests, and of all answered requests.
        self._unseen, self._answered = dict.fromkeys(_KINDS, 0), dict.fromkeys(_KINDS, 0)

    @property
    def holds(self) -> bool:
        """True while no request may be sent until an answer arrives."""
        return self._unknown and len(self._waiting) >= self._slow

    def due(self, amount: TokenAmount, now: float) -> float:
        """Return when one request of that size may be sent.

        A request that is larger than a learned limit waits until the whole limit is free. It is not refused,
        because a provider may count another amount beforehand than a turn reserves.
        """
        drawn = _drawn(amount, 1)
        due = max(now, self._not_before)
        for (kind, _), bucket in self._buckets.items():
            due = max(due, bucket.due(drawn[kind], now))
        return due

    def too_large(self, tokens: int) -> bool:
        """Return whether the amount is larger than the limit in tokens that you gave."""
        return self._tokens is not None and tokens > self._tokens

    def ready(self, amount: TokenAmount, now: float) -> bool:
        """Return whether one request of that size may be sent now."""
        return self.due(amount, now) <= now + _TICK

    def send(self, amount: TokenAmount, now: float) -> int:
        """Draw for a request that is sent. Return the number that identifies its answer."""
        self._draw(_drawn(amount, 1), now)
        return self._wait(amount)

    def send_again(self, number: int, amount: TokenAmount, now: float) -> int:
        """Draw for another request of the same turn, after the first one failed.

        The tokens of the first request remain drawn and count for this one. They are drawn again only from
        buckets of providers that give nothing back. A request is always drawn again.
        """
        self.forget(number)
        for bucket, drawn in self._further(amount):
            bucket.draw(drawn, now)
        return self._wait(amount)

    def grow(self, more: TokenAmount, now: float) -> None:
        """Draw for a turn that takes more than was drawn for it."""
        self._draw(_drawn(more, 0), now)

    def settle(self, number: int, change: TokenAmount, now: float) -> None:
        """Correct the draw of a turn that is over. `change` is the used amount minus the drawn amount.

        A negative `change` is given back only to buckets of providers that give amounts back.
        """
        self.forget(number)
        drawn = _drawn(change, 0)
        for (kind, _), bucket in self._buckets.items():
            if bucket.refunds or drawn[kind] > 0:
                bucket.draw(drawn[kind], now)

    def release(self, number: int, amount: TokenAmount, now: float) -> None:
        """Give back the draw of a request that was not sent."""
        self.forget(number)
        self._draw({kind: -drawn for kind, drawn in _drawn(amount, 1).items()}, now)

    def forget(self, number: int) -> None:
        """Stop waiting for the answer of that number."""
        sent = self._waiting.pop(number, None)
        if sent is not None:
            for kind, drawn in _drawn(sent.amount, 1).items():
                self._unseen[kind] -= drawn
                self._answered[kind] += drawn

    def learn(self, number: int, found: Sequence[RateLimit], wait: float | None, now: float) -> float | None:
        """Take over the limits that the response to that request reports.

        Return the seconds until they allow the same request; None if it reports none.

        Args:
          wait: the pause in seconds that the provider requires after a refusal.
        """
        sent = self._waiting.get(number)
        # The provider may have counted answers that arrived while this request was in flight before or after
        # it.
        since = dict(self._answered)
        self.forget(number)
        if not self._follow or sent is None:
            return None
        if wait is not None:
            self._not_before = max(self._not_before, now + wait)
        self._slow += 1
        for reported in found:
            self._unknown = False
            kind: RateKind = reported.kind
            key = (kind, reported.period)
            unseen = self._unseen[kind] + since[kind] - sent.answered[kind]
            if key in self._fixed:
                continue
            if key not in self._buckets:
                make = _Bucket if reported.full_in is None else _Window
                self._buckets[key] = bucket = make(reported.limit, reported.period, refunds=reported.refunds)
                bucket.draw(self._unseen[kind], now)
            self._buckets[key].apply(reported, unseen, now)
        if not found:
            return None
        return max(now, *(bucket.due(drawn, now) for bucket, drawn in self._further(sent.amount))) - now

    def _wait(self, amount: TokenAmount) -> int:
        self._sent += 1
        self._waiting[self._sent] = _Sent(amount, dict(self._answered))
        for kind, drawn in _drawn(amount, 1).items():
            self._unseen[kind] += drawn
        return self._sent

    def _further(self, amount: TokenAmount) -> list[tuple[_Bucket, int]]:
        """Return the buckets, each with the amount that a further request of a turn draws from it."""
        drawn = _drawn(amount, 1)
        return [
            (bucket, drawn[kind] if kind == "requests" or not bucket.refunds else 0)
            for (kind, _), bucket in self._buckets.items()
        ]

    def _draw(self, drawn: dict[RateKind, int], now: float) -> None:
        for (kind, _), bucket in self._buckets.items():
            bucket.draw(drawn[kind], now)


def _drawn(amount: TokenAmount, requests: int) -> dict[RateKind, int]:
    given, spoken = amount.input, amount.output
    return {"requests": requests, "tokens": given + spoken, "input": given, "output": spoken}
