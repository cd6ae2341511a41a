"""Assertion about a score, for any test framework: a plain function that raises AssertionError."""

from __future__ import annotations

from typing import Any

from lutum.eval._record import EvalRecord
from lutum.eval._report import RunReport
from lutum.eval._score import Score, Scored
from lutum.eval._table import clipped

SHOWN = 10


def assert_score(
    found: RunReport | EvalRecord[Any] | Scored[Any] | float, at_least: float, *, errors: int = 0
) -> None:
    """Raise AssertionError if a score, or the mean score of a run, is below `at_least`.

    The assertion also fails if more than `errors` trials of a run ended in an error, or if the budget stopped
    the run. The mean of the other trials is then not reliable.

    The error contains the report and, for a run, the ten worst cases. A mean can be high by chance. To
    exclude that, check the low end of the interval: `assert_score(report.score.interval.low, 0.8)`.

    Raises:
      AssertionError: the score is lower or missing, the run has too many errors, or it was stopped.
      BadValue: `at_least` is not a number from 0 to 1.
    """
    Score(at_least)
    if isinstance(found, RunReport):
        count = len(found.errors)
        if count > errors:
            raise AssertionError(f"{count} of {len(found.results)} trials ended in an error\n{_worst(found)}")
        if found.stopped is not None:
            raise AssertionError(f"the run was stopped: {found.stopped}\n{_worst(found)}")
    match found:
        case RunReport():
            score, text = (float(found.score) if found.scores else None), _worst(found)
        case EvalRecord():
            score, text = found.score, f"{found.error!r}" if found.error else f"{found.report!r}"
        case Scored():
            score, text = found.score, f"{found.report!r}"
        case _:
            score, text = found, ""
    if score is None or not score >= at_least:
        said = "there is no score" if score is None else f"the score is {float(score):.3f}"
        raise AssertionError(f"{said}; at least {at_least:g} is required\n{text}".rstrip())


def _worst(report: RunReport) -> str:
    lines = [str(report), ""]
    order = sorted(report.cases, key=lambda case: report.scores.get(case, -1.0))
    for case in order[:SHOWN]:
        score = report.scores.get(case)
        shown = "-" if score is None else f"{score:.3f}"
        last = report.cases[case][-1]
        why = f"{last.failure.kind}: {last.failure.message}" if last.failure else f"{last.output!r}"
        lines.append(f"{shown:>6}  {clipped(case, 20):<20}  {clipped(why, 48)}")
    return "\n".join(lines)
