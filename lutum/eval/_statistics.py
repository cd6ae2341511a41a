"""Rates and their intervals: closed forms where they exist, else a seeded bootstrap. No I/O, no clock.

All intervals are 95 % intervals. Trials of one case are not independent. Therefore the unit of every count,
spread and resample is the case, and each case counts once, with the mean of its trials.
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

RESAMPLES = 2_000  # the ends of an interval then have about 1 % of noise

# With more values the mean is close to normal, and a bootstrap is only slower: 2 s for 10,000 values.
BOOTSTRAP_UP_TO = 1_000


class Interval(NamedTuple):
    """The range that contains the true value with 95 % confidence."""

    low: float
    high: float


@final
class Rate(float):
    """A float: an estimated share, with its 95 % interval.

    Attributes:
      interval: the 95 % interval of the true value. It always contains the estimate.
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
    """Return an unbiased estimate, from `n` outcomes, of the chance that at least one of `k` attempts passes.

    It is 1 - C(n-c, k) / C(n, k) with `c` passes: the share of all choices of `k` outcomes that contain a
    pass. The interval is Wilson's interval for the chance p of one attempt, mapped by 1 - (1-p)^k.

    Raises:
      BadValue: `k` is below 0 or above the number of outcomes, or an outcome is neither True nor False.
    """
    n, c = _counts(outcomes, k)
    none = math.comb(n - c, k)
    low, high = wilson(c, n)
    return Rate((math.comb(n, k) - none) / math.comb(n, k), Interval(1 - (1 - low) ** k, 1 - (1 - high) ** k))


def pass_hat_k(outcomes: Iterable[bool], k: int) -> Rate:
    """Return an unbiased estimate of the chance that all of `k` attempts pass: C(c, k) / C(n, k).

    The interval is Wilson's interval for the chance p of one attempt, mapped by p^k.

    Raises:
      BadValue: as `pass_at_k`.
    """
    n, c = _counts(outcomes, k)
    low, high = wilson(c, n)
    return Rate(math.comb(c, k) / math.comb(n, k), Interval(low**k, high**k))


def mean_pass_at_k(cases: Iterable[Iterable[bool]], k: int) -> Rate:
    """Return the mean of `pass_at_k` over cases, with an interval over cases.

    Raises:
      BadValue: `cases` is empty, or a case has fewer than `k` outcomes.
    """
    return mean_rate([pass_at_k(outcomes, k) for outcomes in cases])


def mean_pass_hat_k(cases: Iterable[Iterable[bool]], k: int) -> Rate:
    """Return the mean of `pass_hat_k` over cases, with an interval over cases.

    Raises:
      BadValue: `cases` is empty, or a case has fewer than `k` outcomes.
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
    """Return Wilson's score interval for `passes` of `n`; 0 to 1 if `n` is 0."""
    if n == 0:
        return Interval(0.0, 1.0)
    share, z2 = passes / n, Z * Z
    middle = share + z2 / (2 * n)
    spread = Z * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    scale = 1 + z2 / n
    return Interval(max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale))


def mean_rate(values: Sequence[float], seed: int = 0) -> Rate:
    """Return the mean of shares in [0, 1], with its interval.

    The interval is Wilson's if each share is 0 or 1. It is also Wilson's if all shares are equal, because
    equal shares give no estimate of their spread. It is then wide enough, because shares of 0 or 1 have the
    largest spread. Otherwise the interval is that of `mean_interval`.

    Raises:
      BadValue: `values` is empty.
    """
    if not values:
        raise BadValue("values", "is empty; a mean needs at least one value")
    mean = fmean(values)
    if all(value in (0, 1) for value in values) or len(set(values)) == 1:
        return Rate(mean, wilson(sum(values), len(values)))
    low, high = mean_interval(values, seed)
    return Rate(mean, Interval(max(0.0, low), min(1.0, high)))


def mean_interval(values: Sequence[float], seed: int = 0, *, together: int = 1) -> Interval:
    """Return the interval of the true mean. `values` is a sample of any numbers, at least one.

    The ends are percentiles of the means of resamples; the same seed gives the same interval. `together` is
    the number of intervals that hold at once with this confidence. Each of them is then wider (Bonferroni).
    """
    tail = 0.025 / together
    if len(values) > BOOTSTRAP_UP_TO:
        mean, error = fmean(values), stdev(values) / math.sqrt(len(values))
        return Interval(*(mean + z * error for z in (-_quantile(1 - tail), _quantile(1 - tail))))
    chance = random.Random(seed)
    means = sorted(fmean(chance.choices(values, k=len(values))) for _ in range(RESAMPLES))
    return Interval(percentile(means, 100 * tail), percentile(means, 100 * (1 - tail)))


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return a percentile of sorted values, at least one, with linear interpolation."""
    at = (len(ordered) - 1) * percent / 100
    below = math.floor(at)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (at - below)
