"""pass@k and pass^k against their closed forms and against chance; intervals against what they promise."""

import itertools
import math
import pickle
import random
from fractions import Fraction
from statistics import fmean

import pytest
from hypothesis import given, settings, strategies as st

import lutum
from lutum.eval import Interval, Rate, mean_pass_at_k, mean_pass_hat_k, pass_at_k, pass_hat_k
from lutum.eval._statistics import mean_interval, mean_rate, percentile, wilson

OUTCOMES = st.lists(st.booleans(), min_size=1, max_size=9)


def outcomes(n: int, c: int) -> list[bool]:
    """`n` attempts of which `c` passed."""
    return [True] * c + [False] * (n - c)


@given(OUTCOMES, st.data())
def test_both_metrics_are_shares_of_all_choices(attempts: list[bool], data: st.DataObject) -> None:
    """Of all choices of k attempts: the share that holds a pass, and the share that holds nothing else."""
    k = data.draw(st.integers(0, len(attempts)))
    choices = list(itertools.combinations(attempts, k))
    assert pass_at_k(attempts, k) == float(Fraction(sum(map(any, choices)), len(choices)))
    assert pass_hat_k(attempts, k) == float(Fraction(sum(map(all, choices)), len(choices)))


@given(st.integers(1, 300), st.data())
def test_pass_at_k_is_the_product_form(n: int, data: st.DataObject) -> None:
    """Equal to 1 - prod(1 - k/i), the form in which it is usually given, to rounding."""
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(0, n))
    product = math.prod(1 - k / i for i in range(n - c + 1, n + 1)) if n - c >= k else 0.0
    assert pass_at_k(outcomes(n, c), k) == pytest.approx(1 - product, abs=1e-9)


@settings(max_examples=15)
@given(st.floats(0.05, 0.95), st.integers(1, 6), st.integers(0, 2**32))
def test_pass_at_k_has_no_bias(p: float, k: int, seed: int) -> None:
    """Over many experiments of n attempts its mean is the true 1 - (1-p)^k, and p^k for pass^k."""
    chance, n, experiments = random.Random(seed), 8, 3_000
    runs = [[chance.random() < p for _ in range(n)] for _ in range(experiments)]
    counts = {c: sum(sum(run) == c for run in runs) for c in range(n + 1)}

    def mean(metric: object) -> float:
        assert callable(metric)
        return sum(metric(outcomes(n, c), k) * times for c, times in counts.items()) / experiments

    # The standard deviation of one experiment is at most 1/2: 0.05 is more than 5 of the mean's.
    assert mean(pass_at_k) == pytest.approx(1 - (1 - p) ** k, abs=0.05)
    assert mean(pass_hat_k) == pytest.approx(p**k, abs=0.05)


def test_edges() -> None:
    """No attempts at all, no passes, and more passes than can be missed."""
    assert (pass_at_k([], 0), pass_hat_k([], 0)) == (0, 1)
    assert pass_at_k(outcomes(5, 0), 3) == 0
    assert pass_at_k(outcomes(5, 3), 3) == 1
    assert pass_hat_k(outcomes(5, 2), 3) == 0
    assert pass_at_k(outcomes(5, 1), 1) == 0.2


@pytest.mark.parametrize("metric", [pass_at_k, pass_hat_k])
def test_more_attempts_than_there_were_are_refused(metric: object) -> None:
    """`k` beyond the outcomes, or below 0, names the argument; a score is no outcome."""
    assert callable(metric)
    for given_outcomes, k, field in ([True], 2, "k"), ([True], -1, "k"), ([0.5], 1, "outcomes"):
        with pytest.raises(lutum.BadValue) as caught:
            metric(given_outcomes, k)
        assert caught.value.field == field


def test_means_are_over_cases() -> None:
    """Each case counts once, however many attempts it had; a case with too few is refused."""
    cases = [outcomes(4, 1), outcomes(2, 2)]
    assert mean_pass_at_k(cases, 1) == fmean([0.25, 1])
    assert mean_pass_hat_k(cases, 2) == fmean([0, 1])
    with pytest.raises(lutum.BadValue, match="k: 3"):
        mean_pass_at_k(cases, 3)
    with pytest.raises(lutum.BadValue, match="a mean needs at least one value"):
        mean_pass_hat_k([], 1)


@given(OUTCOMES, st.data())
def test_an_interval_holds_its_estimate(attempts: list[bool], data: st.DataObject) -> None:
    """Between 0 and 1, with the estimate inside; a point only where nothing is open."""
    k = data.draw(st.integers(0, len(attempts)))
    for rate in pass_at_k(attempts, k), pass_hat_k(attempts, k):
        low, high = rate.interval
        assert 0 <= low <= rate <= high <= 1
        assert (low < high) == (k > 0)


def test_wilson_is_the_published_one() -> None:
    """Newcombe (1998), table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29."""
    published = {(81, 263): (0.2553, 0.3662), (15, 148): (0.0624, 0.1605)}
    published |= {(0, 20): (0.0, 0.1611), (1, 29): (0.0061, 0.1718)}
    for (passes, n), expected in published.items():
        assert wilson(passes, n) == pytest.approx(expected, abs=5e-5)
    assert wilson(0, 0) == Interval(0, 1)


def test_a_bootstrap_is_seeded_and_covers() -> None:
    """The same seed gives the same interval; over 200 samples it misses the true mean about as often as
    it says."""
    chance = random.Random(7)
    values = [chance.random() for _ in range(40)]
    assert mean_interval(values, 3) == mean_interval(values, 3)
    assert mean_interval(values, 3) != mean_interval(values, 4)
    wide, narrow = mean_interval(values, 3, together=10), mean_interval(values, 3)
    assert wide.low < narrow.low < narrow.high < wide.high
    missed = 0
    for seed in range(60):
        sample = [chance.random() for _ in range(40)]
        low, high = mean_interval(sample, seed)
        missed += not low <= 0.5 <= high
    assert missed <= 9  # 3 are expected; 10 or more have a chance of 1 in 1,000


def test_many_values_have_the_normal_interval() -> None:
    """Above 1,000 values the closed form takes over, and differs little from the bootstrap."""
    chance = random.Random(1)
    values = [chance.random() for _ in range(1_001)]
    assert mean_interval(values) == pytest.approx(mean_interval(values[:1_000]), abs=0.005)


def test_a_mean_of_shares_knows_its_kind() -> None:
    """Wilson's for passes and failures and for equal values, of which one is a case; else a bootstrap, inside
    of 0 and 1."""
    assert mean_rate([0, 1, 1]).interval == wilson(2, 3)
    assert mean_rate([0.5]).interval == wilson(0.5, 1)
    assert mean_rate([0.25] * 8).interval == wilson(2, 8)
    assert mean_rate([0.5, 1, 1]).interval.high <= 1


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=20))
def test_percentiles_are_between_the_ends(values: list[float]) -> None:
    """0 and 100 are the least and the greatest, 50 is the median."""
    ordered = sorted(values)
    assert (percentile(ordered, 0), percentile(ordered, 100)) == (ordered[0], ordered[-1])
    middle = len(ordered) // 2
    median = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    assert percentile(ordered, 50) == pytest.approx(median)


def test_a_rate_is_a_float() -> None:
    """It compares and formats as its estimate, shows its interval, and survives pickling."""
    rate = pass_at_k(outcomes(10, 5), 1)
    assert isinstance(rate, float)
    assert f"{rate:.2f}" == "0.50"
    assert repr(rate) == "Rate(0.5, 95 % 0.2366 to 0.7634)"
    copy = pickle.loads(pickle.dumps(rate))
    assert (copy, copy.interval) == (rate, rate.interval)
    assert isinstance(copy, Rate)
