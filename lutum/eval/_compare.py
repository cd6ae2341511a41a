"""Comparison of two runs, case by case: the changes, and whether each is more than chance.

Differences are taken within a case, so that the difficulty of a case cancels out. The mean difference has a
seeded bootstrap interval. A change is significant if the interval does not contain zero and at least six
cases differ. With five cases, the same direction in all of them is still too likely by chance (a sign test
gives 2/2^5 = 6 %).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from statistics import fmean
from typing import final

from lutum._values.errors import BadValue
from lutum._values.results import Usage
from lutum.eval._report import RunReport, load_run
from lutum.eval._results import TrialResult
from lutum.eval._statistics import Interval, mean_interval
from lutum.eval._table import clipped, number, table, words

LEAST_DIFFERENT = 6


@final
@dataclass(frozen=True, slots=True)
class Difference:
    """The mean of a figure over the cases that are in both runs, before and after.

    Attributes:
      before: the mean in the first run.
      after: the mean in the second run.
      interval: the 95 % interval of `after - before`. The intervals of several tags are widened, so that they
        hold together with 95 % confidence.
      significant: True if the change is more than chance.
    """

    before: float
    after: float
    interval: Interval
    significant: bool

    @property
    def change(self) -> float:
        """`after - before`."""
        return self.after - self.before


@final
@dataclass(frozen=True, slots=True)
class Comparison:
    """The result of `compare`. `print(comparison)` shows it at 80 columns.

    Attributes:
      pairs: the ids of the cases that are in both runs.
      score: the scores of the cases that have a score in both runs; None without such cases.
      cost_usd: the cost of a trial; None if a run has no price.
      tokens: the tokens of a trial, without those of the judge.
      seconds: the duration of a trial.
      tags: the score of the cases of each tag.
      changed: the change of each case whose score changed, by id, the greatest change first.
      only_before: the ids of the cases that the second run does not have.
      only_after: the ids of the cases that the first run does not have.
      failures_before: the number of failures of the paired cases in the first run, by class.
      failures_after: the same for the second run.
    """

    pairs: tuple[str, ...]
    score: Difference | None
    cost_usd: Difference | None
    tokens: Difference
    seconds: Difference
    tags: dict[str, Difference]
    changed: dict[str, float]
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]
    failures_before: dict[str, int]
    failures_after: dict[str, int]

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def compare(
    before: RunReport | str | PathLike[str], after: RunReport | str | PathLike[str], *, seed: int = 0
) -> Comparison:
    """Compare two runs, or their folders, with cases paired by id. The same seed gives the same result.

    Raises:
      BadValue: the runs have no case in common, or an id belongs to different cases.
    """
    a = before if isinstance(before, RunReport) else load_run(before)
    b = after if isinstance(after, RunReport) else load_run(after)
    pairs = tuple(case for case in a.cases if case in b.cases)
    if not pairs:
        raise BadValue("after", "has no case in common with the run before")
    for case in pairs:
        if a.cases[case][0].digest != b.cases[case][0].digest:
            raise BadValue(
                "after", f"case {case!r} has another input or expected value than in the run before"
            )
    both = [case for case in pairs if case in a.scores and case in b.scores]
    changes = {case: _change(a.scores[case], b.scores[case]) for case in both}
    tagged = dict[str, list[str]]()
    for case in both:
        for tag in a.cases[case][0].tags:
            tagged.setdefault(tag, []).append(case)
    in_a, in_b = (RunReport(result for case in pairs for result in run.cases[case]) for run in (a, b))
    priced = all(_priced(run) for run in (in_a, in_b))
    return Comparison(
        pairs=pairs,
        score=_difference(a.scores, b.scores, both, seed) if both else None,
        cost_usd=_measured(in_a, in_b, lambda r: float(r.usage.cost_usd or 0), seed) if priced else None,
        tokens=_measured(in_a, in_b, lambda r: r.usage.total_tokens, seed),
        seconds=_measured(in_a, in_b, lambda r: r.seconds, seed),
        tags={
            tag: _difference(a.scores, b.scores, cases, seed, together=len(tagged))
            for tag, cases in sorted(tagged.items())
        },
        changed=dict(sorted(((c, d) for c, d in changes.items() if d), key=lambda pair: -abs(pair[1]))),
        only_before=tuple(case for case in a.cases if case not in b.cases),
        only_after=tuple(case for case in b.cases if case not in a.cases),
        failures_before=in_a.failures,
        failures_after=in_b.failures,
    )


def _priced(run: RunReport) -> bool:
    """Return whether the run used something and all of it has a price."""
    unpriced = any(r.usage.cost_usd is None and r.usage != Usage() for r in run.results)
    return run.usage.cost_usd is not None and not unpriced


def _measured(
    before: RunReport, after: RunReport, read: Callable[[TrialResult], float], seed: int
) -> Difference:
    """Return the difference of the figure that `read` returns for a trial. The figure of a case is the mean
    of its trials."""
    a, b = ({case: fmean(map(read, trials)) for case, trials in run.cases.items()} for run in (before, after))
    return _difference(a, b, list(a), seed)


def _difference(
    before: Mapping[str, float],
    after: Mapping[str, float],
    cases: Sequence[str],
    seed: int,
    *,
    together: int = 1,
) -> Difference:
    changes = [_change(before[case], after[case]) for case in cases]
    interval = mean_interval(changes, seed, together=together)
    different = sum(change != 0 for change in changes)
    significant = different >= LEAST_DIFFERENT and not interval.low <= 0 <= interval.high
    mean_before, mean_after = (fmean(run[case] for case in cases) for run in (before, after))
    return Difference(mean_before, mean_after, interval, significant)


def _lines(found: Comparison) -> list[str]:
    shown = [
        ("score", found.score, ".3f"),
        ("cost", found.cost_usd, ".5f"),
        ("tokens", found.tokens, ",.0f"),
        ("seconds", found.seconds, ".2f"),
        *((clipped(tag, 16), difference, ".3f") for tag, difference in found.tags.items()),
    ]
    rows = [["", "before", "after", "change", "95 %", ""]]
    rows += [[name, *_cells(change, form)] for name, change, form in shown if change is not None]
    any_is = any(change is not None and change.significant for _, change, _ in shown)
    lines = [f"{len(found.pairs):,} cases in both runs", "", *table(rows)]
    lines.append("* significant" if any_is else "no change is significant")
    better = [case for case, change in found.changed.items() if change > 0]
    worse = [case for case, change in found.changed.items() if change < 0]
    tail = [
        ["better", _cases(better)],
        ["worse", _cases(worse)],
        ["failed before", words(found.failures_before) or "none"],
        ["failed after", words(found.failures_after) or "none"],
    ]
    tail += [["only before", _cases(found.only_before)]] if found.only_before else []
    tail += [["only after", _cases(found.only_after)]] if found.only_after else []
    return [*lines, "", *table(tail)]


def _change(before: float, after: float) -> float:
    """Return the difference, or 0 if it is only a rounding error."""
    return 0.0 if math.isclose(before, after, rel_tol=1e-9, abs_tol=1e-12) else after - before


def _cells(difference: Difference, form: str) -> list[str]:
    fine = _fine(difference, form)
    before, after = number(difference.before, fine), number(difference.after, fine)
    return [before, after, *change_and_interval(difference, form), "*" if difference.significant else ""]


def change_and_interval(difference: Difference, form: str) -> tuple[str, str]:
    """Return a change and its interval in a format, with more digits if the change would look like 0."""
    fine = _fine(difference, form)
    low, high = (number(end, fine) for end in difference.interval)
    return number(difference.change, "+" + fine), f"{low} to {high}"


def _fine(difference: Difference, form: str) -> str:
    """Return the format, with more digits if a significant change or an end of its interval looks like 0."""
    if not difference.significant:
        return form
    shown = (difference.change, *difference.interval)
    head, _, digits = form[:-1].partition(".")
    for more in range(int(digits), int(digits) + 9):
        fine = f"{head}.{more}f"
        if all(float(format(value, f".{more}f")) != 0 for value in shown):
            return fine
    return ".3g"


def _cases(cases: Iterable[str]) -> str:
    cases = list(cases)
    return clipped(f"{len(cases)}: {', '.join(cases)}" if cases else "none", 62)
