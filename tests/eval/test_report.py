"""What a run prints, and what a comparison says: figures that are right, and lines that fit."""

import random
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

import lutum
from lutum._text import cells
from lutum.eval import Failure, RunReport, TrialResult, compare, pass_at_k, pass_hat_k
from lutum.eval._table import clipped, table


def result(case: str, score: float | None, trial: int = 0, **kwargs: Any) -> TrialResult:
    return TrialResult(case=case, trial=trial, score=score, **kwargs)


def run_of(scores: Iterable[float | None], **kwargs: Any) -> RunReport:
    return RunReport(result(f"c{i:03}", score, **kwargs) for i, score in enumerate(scores))


def test_a_case_counts_once() -> None:
    """However many trials it has; trials without a score are left out, of scores and of outcomes."""
    report = RunReport(
        [result("a", 1), result("b", 0), result("b", 1, 1), result("b", 0, 2), result("c", None)]
    )
    assert report.scores == {"a": 1, "b": pytest.approx(1 / 3)}
    assert report.score == pytest.approx(2 / 3)
    assert report.outcomes == {"a": (True,), "b": (False, True, False)}
    assert report.pass_at_k(1) == pytest.approx(2 / 3)
    with pytest.raises(lutum.BadValue, match="k: 2"):
        report.pass_at_k(2)


def test_what_passes_is_said_by_the_threshold() -> None:
    """For outcomes and both metrics; the score does not know it."""
    results = [result("a", 0.4), result("a", 0.6, 1), result("a", 0.8, 2)]
    low, high = RunReport(results, threshold=0.5), RunReport(results)
    assert low.outcomes == {"a": (False, True, True)}
    assert low.pass_at_k(2) == pass_at_k([False, True, True], 2)
    assert low.pass_hat_k(2) == pass_hat_k([False, True, True], 2)
    assert high.pass_at_k(3) == 0
    assert low.score == high.score == pytest.approx(0.6)


PRICED = lutum.Usage(700, 300, cost_usd=Decimal("0.0125"))
BROKEN = Failure("NetworkError", "no connection", "task")


def full() -> RunReport:
    """A run with everything in it."""
    results = list[TrialResult]()
    for i in range(40):
        for trial in range(3):
            failed = (i, trial) in ((3, 0), (3, 1), (7, 2))
            results.append(
                result(
                    f"c{i:03}",
                    0.0 if failed else float((i + trial) % 4 > 0),
                    trial,
                    tags=(
                        "math" if i % 2 else "\x1b[31mgeography of \u4e2d\u56fd and of all its neighbours",
                    ),
                    failure=BROKEN if failed else None,
                    seconds=1 + i / 10,
                    usage=PRICED,
                    judge_usage=lutum.Usage(10, 5, known="estimated"),
                    repeats=(1.0, 0.0, 1.0) if i == 5 else (1.0, 1.0, 1.0),
                )
            )
    unscored = Failure("Refused", "not me", "score")
    results.append(result("c999", None, failure=unscored, seconds=9))
    return RunReport(results, stopped="the budget refuses: 1100 tokens can never fit")


def test_a_report_in_print() -> None:
    """All of it, at 80 columns."""
    assert str(full()).split("\n") == [
        "trials        121 of 41 cases",
        "score         0.733  95 % 0.683 to 0.784",
        "passed        0.733  95 % 0.683 to 0.784",
        "pass@3        1.000  95 % 0.912 to 1.000",
        "pass^3        0.250  95 % 0.142 to 0.402",
        "cost          $1.5000, 120,000 tokens",
        "judge's cost  no price, 1,800 tokens (estimated)",
        "time          p50 3.00 s, p95 4.80 s",
        "judge         120 trials judged again: spread 0.014, split 2.5%",
        "failed        3 NetworkError",
        "unscored      1 Refused",
        "errors        1 trial ended in an error; run again",
        "stopped       the budget refuses: 1100 tokens can never fit",
        "",
        "tag                       cases  score                       failed",
        "geography of \u4e2d\u56fd and...  20     0.667  95 % 0.449 to 0.831  0",
        "math                      20     0.800  95 % 0.700 to 0.900  3",
    ]


def test_an_empty_report() -> None:
    """Nothing ran, nothing has a score: there are no figures, and no error but where one is asked for."""
    report = RunReport([])
    assert str(report).split("\n")[0] == "trials  0 of 0 cases"
    with pytest.raises(lutum.BadValue):
        assert report.score
    assert str(run_of([None, None])).count("\n") == 2


def test_a_better_run_is_significant() -> None:
    """Where the change is more than chance; with the cases that changed, and the same for the same seed."""
    chance = random.Random(5)
    before = [float(chance.random() < 0.4) for _ in range(80)]
    after = [max(score, float(chance.random() < 0.5)) for score in before]
    found = compare(run_of(before, usage=PRICED, seconds=2.0), run_of(after, usage=PRICED, seconds=1.5))
    assert found.score is not None
    assert found.score.significant
    assert found.score.change == pytest.approx(sum(after) / 80 - sum(before) / 80)
    low, high = found.score.interval
    assert 0 < low < found.score.change < high
    assert set(found.changed) == {f"c{i:03}" for i in range(80) if before[i] != after[i]}
    assert found.seconds.change == -0.5
    assert found.seconds.significant
    assert found.cost_usd is not None
    assert not found.cost_usd.significant
    assert found == compare(
        run_of(before, usage=PRICED, seconds=2.0), run_of(after, usage=PRICED, seconds=1.5)
    )


def test_pairing_sees_what_a_mean_does_not() -> None:
    """Cases of very different difficulty, each a little better: apart the intervals overlap, paired it is
    plain."""
    before = [i / 40 for i in range(30)]
    found = compare(run_of(before), run_of([score + 0.05 for score in before]))
    assert found.score is not None
    assert found.score.significant
    assert run_of(before).score.interval.high > run_of([s + 0.05 for s in before]).score.interval.low


@pytest.mark.parametrize(("different", "significant"), [(0, False), (5, False), (6, True)])
def test_few_differences_are_never_significant(different: int, significant: bool) -> None:
    """Five cases that all got better may be chance, though a bootstrap of five equal numbers has no width."""
    found = compare(run_of([0.0] * different), run_of([1.0] * different)) if different else None
    if found is None:
        found = compare(run_of([0.5] * 9), run_of([0.5] * 9))
    assert found.score is not None
    assert found.score.significant is significant


@settings(max_examples=20)
@given(st.integers(0, 2**32))
def test_two_runs_of_the_same_thing_are_seldom_significant(seed: int) -> None:
    """A difference without a cause is called significant only where it is large."""
    chance = random.Random(seed)
    before, after = ([float(chance.random() < 0.5) for _ in range(60)] for _ in range(2))
    found = compare(run_of(before), run_of(after))
    assert found.score is not None
    assert not found.score.significant or abs(found.score.change) > 0.1


def test_tags_hold_together() -> None:
    """The intervals of many tags are wider than one alone, so that one in twenty is not found by looking."""
    chance = random.Random(3)
    scores = [chance.random() for _ in range(60)]
    worse = [max(0.0, score - 0.2 * chance.random()) for score in scores]

    def tagged(values: list[float], tags: int) -> RunReport:
        return RunReport(result(f"c{i:03}", v, tags=(f"t{i % tags}",)) for i, v in enumerate(values))

    one, many = compare(tagged(scores, 1), tagged(worse, 1)), compare(tagged(scores, 6), tagged(worse, 6))
    assert one.score is not None
    assert one.tags["t0"] == one.score
    assert len(many.tags) == 6
    assert all(tag.significant for tag in many.tags.values())


def test_a_comparison_in_print() -> None:
    """At 80 columns, with who is in one run only, and failures."""
    before = RunReport(
        [
            *run_of([0.0] * 10, tags=("math",), failure=BROKEN, usage=PRICED, seconds=1).results,
            result("old", 1),
        ]
    )
    after = RunReport(
        [*run_of([1.0] * 9 + [0.0], tags=("math",), seconds=2).results, result("new\x1b[0m", 1)]
    )
    assert str(compare(before, after)).split("\n") == [
        "10 cases in both runs",
        "",
        "         before  after  change  95 %",
        "score    0.000   0.900  +0.900  0.700 to 1.000    *",
        "tokens   1,000   0      -1,000  -1,000 to -1,000  *",
        "seconds  1.00    2.00   +1.00   1.00 to 1.00      *",
        "math     0.000   0.900  +0.900  0.700 to 1.000    *",
        "* significant",
        "",
        "better         9: c000, c001, c002, c003, c004, c005, c006, c007, c008",
        "worse          none",
        "failed before  10 NetworkError",
        "failed after   none",
        "only before    1: old",
        "only after     1: new",
    ]


def test_a_comparison_fits_the_terminal() -> None:
    """Long names, large numbers and many cases: at 80 columns still."""
    usage = lutum.Usage(4_000_000, 3_000_000, cost_usd=Decimal("12.5"))
    wide = run_of([0.5] * 400, tags=("a tag of many words, \u4e2d\u56fd",), usage=usage, seconds=3_600)
    other = run_of([0.0, 1.0] * 200, tags=("a tag of many words, \u4e2d\u56fd",), seconds=1)
    text = str(compare(other, wide))
    assert max(map(cells, text.split("\n"))) <= 80
    assert max(map(cells, str(wide).split("\n"))) <= 80
    assert "no change is significant" in str(compare(wide, wide))


def test_what_cannot_be_compared() -> None:
    """No case in common; a case that is another one now."""
    with pytest.raises(lutum.BadValue, match="no case in common"):
        compare(run_of([1]), RunReport([result("other", 1)]))
    with pytest.raises(lutum.BadValue, match="'c000' has another input"):
        compare(run_of([1], digest="a"), run_of([1], digest="b"))
    unscored = compare(run_of([None]), run_of([1]))
    assert unscored.score is None
    assert "score" not in str(unscored)


@given(st.text(), st.integers(4, 40))
def test_text_of_others_is_clean_and_fits(text: str, width: int) -> None:
    """One line, at most that wide, without anything that steers a terminal."""
    line = clipped(text, width)
    assert cells(line) <= width
    assert all(char.isprintable() or char in "\u200c\u200d" or not char.isascii() for char in line)


def test_columns_are_as_wide_as_they_look() -> None:
    """Wide characters take two cells."""
    assert table([["\u4e2d", "a"], ["abc", "b"]]) == ["\u4e2d   a", "abc  b"]


@pytest.mark.parametrize("scale", [1e-9, 1e-6, 1e-4, 0.004, 0.3])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_significant_change_is_never_shown_as_zero(scale: float, sign: int) -> None:
    """More digits are shown instead, and a zero has no minus sign."""
    chance = random.Random(7)
    before = run_of([0.5] * 12, seconds=2.0)
    after = RunReport(
        result(f"c{i:03}", 0.5, seconds=2.0 + sign * scale * (1 + chance.random() / 10)) for i in range(12)
    )
    text = str(compare(before, after))
    for line in text.split("\n"):
        figures = line.split()
        for figure in figures:
            if figure.startswith("-") and figure.lstrip("-").replace(".", "").isdecimal():
                assert float(figure) != 0
        if figures and figures[-1] == "*" and len(figures) > 2:
            assert all(float(figure) != 0 for figure in figures[3:4] + figures[4:7:2])
    assert compare(before, after).seconds.significant is (scale > 1e-8)


def test_rounding_makes_no_change() -> None:
    """Sums in another order differ in the last bit: that is no difference."""
    before, after = [0.1 + 0.2 + i for i in range(9)], [0.3 + i for i in range(9)]
    found = compare(
        RunReport(result(f"c{i}", 0.5, seconds=s) for i, s in enumerate(before)),
        RunReport(result(f"c{i}", 0.5, seconds=s) for i, s in enumerate(after)),
    )
    assert (found.seconds.change == 0) or not found.seconds.significant
    assert "-0.00" not in str(found)
    assert "*" not in str(found).replace("* significant", "")
