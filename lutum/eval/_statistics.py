"""Rates and their intervals. PURE: closed forms where there are any, else a seeded bootstrap; the standard
library is enough for both.

An interval is 95 % everywhere. Trials of one case are not independent, so what is spread, resampled or
counted is cases: each counts once, with the mean of its trials.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from statistics import NormalDist, fmean, stdev
from typing import NamedTuple, Self, final

from lutum._values.errors import BadValue

_quantile = NormalDist().inv_cdf
Z = _quantile(0.975)

RESAMPLES = 2_000  # leaves about 1 % of noise in the ends of an interval

# Above it the mean is as good as normal, and a bootstrap only slower: 10,000 values take it 2 s.
BOOTSTRAP_UP_TO = 1_000


class Interval(NamedTuple):
    """Where the true value lies, with 95 % confidence."""

    low: float
    high: float


@final
class Rate(float):
    """An estimated share with its 95 % interval; otherwise a float.

    Attributes:
      interval: where the true value lies; it always holds the estimate.
    """

    interval: Interval

    def __new__(cls, value: float, interval: Interval) -> Self:
        rate = super().__new__(cls, value)
        rate.interval = Interval(min(interval.low, value), max(interval.high, value))
        return rate

    def __reduce__(self) -> tuple[type[Rate], tuple[float, Interval]]:
        return type(self), (float(self), self.interval)

    def __repr__(self) -> str:
        return f"Rate({float(self):.4g}, 95 % {self.interval.low:.4g} to {self.interval.high:.4g})"


def pass_at_k(outcomes: Iterable[bool], k: int) -> Rate:
    """The chance that at least one of `k` attempts passes, estimated without bias from `n` outcomes.

    That is 1 - C(n-c, k) / C(n, k) with `c` passes: the share of all choices of `k` outcomes that hold a
    pass. The interval is Wilson's for the chance p of one attempt, carried through 1 - (1-p)^k.

    Raises:
      BadValue: `k` is below 0 or more than there are outcomes, or an outcome is neither True nor False.
    """
    n, c = _counts(outcomes, k)
    none = math.comb(n - c, k)
    low, high = wilson(c, n)
    return Rate((math.comb(n, k) - none) / math.comb(n, k), Interval(1 - (1 - low) ** k, 1 - (1 - high) ** k))


def pass_hat_k(outcomes: Iterable[bool], k: int) -> Rate:
    """The chance that all of `k` attempts pass, estimated without bias: C(c, k) / C(n, k).

    The interval is Wilson's for the chance p of one attempt, carried through p^k.

    Raises:
      BadValue: as `pass_at_k`.
    """
    n, c = _counts(outcomes, k)
    low, high = wilson(c, n)
    return Rate(math.comb(c, k) / math.comb(n, k), Interval(low**k, high**k))


def mean_pass_at_k(cases: Iterable[Iterable[bool]], k: int) -> Rate:
    """The mean of `pass_at_k` over cases, with an interval over cases.

    Raises:
      BadValue: there is no case, or one has fewer than `k` outcomes.
    """
    return mean_rate([pass_at_k(outcomes, k) for outcomes in cases])


def mean_pass_hat_k(cases: Iterable[Iterable[bool]], k: int) -> Rate:
    """The mean of `pass_hat_k` over cases, with an interval over cases.

    Raises:
      BadValue: there is no case, or one has fewer than `k` outcomes.
    """
    return mean_rate([pass_hat_k(outcomes, k) for outcomes in cases])


def _counts(outcomes: Iterable[bool], k: int) -> tuple[int, int]:
    given = list(outcomes)
    for outcome in given:
        if outcome not in (0, 1):
            raise BadValue("outcomes", f"{outcome!r} is neither True nor False")
    if not 0 <= k <= len(given):
        raise BadValue("k", f"{k} is not between 0 and the number of outcomes, {len(given)}")
    return len(given), sum(map(bool, given))


def wilson(passes: float, n: int) -> Interval:
    """Wilson's score interval for a share of `n`; everything from 0 to 1 when there is nothing."""
    if n == 0:
        return Interval(0.0, 1.0)
    share, z2 = passes / n, Z * Z
    middle = share + z2 / (2 * n)
    spread = Z * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    scale = 1 + z2 / n
    return Interval(max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale))


def mean_rate(values: Sequence[float], seed: int = 0) -> Rate:
    """The mean of shares in [0, 1], with its interval.

    Wilson's where each is 0 or 1, and where all are equal, which says nothing about their spread (for shares
    it is wide enough, a passed-or-failed one spreads most); else that of `mean_interval`.

    Raises:
      BadValue: there is none.
    """
    if not values:
        raise BadValue("values", "there is nothing to take the mean of")
    mean = fmean(values)
    if all(value in (0, 1) for value in values) or len(set(values)) == 1:
        return Rate(mean, wilson(sum(values), len(values)))
    low, high = mean_interval(values, seed)
    return Rate(mean, Interval(max(0.0, low), min(1.0, high)))


def mean_interval(values: Sequence[float], seed: int = 0, *, together: int = 1) -> Interval:
    """Where the mean of what `values` were drawn from lies; of any numbers, at least one.

    The ends are percentiles of means of resamples: the same seed gives the same interval. `together` is
    how many intervals are to hold at once, which makes each of them wider (Bonferroni).
    """
    tail = 0.025 / together
    if len(values) > BOOTSTRAP_UP_TO:
        mean, error = fmean(values), stdev(values) / math.sqrt(len(values))
        return Interval(*(mean + z * error for z in (-_quantile(1 - tail), _quantile(1 - tail))))
    chance = random.Random(seed)
    means = sorted(fmean(chance.choices(values, k=len(values))) for _ in range(RESAMPLES))
    return Interval(percentile(means, 100 * tail), percentile(means, 100 * (1 - tail)))


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Of sorted values, at least one; between two of them by their distance."""
    at = (len(ordered) - 1) * percent / 100
    below = math.floor(at)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (at - below)
