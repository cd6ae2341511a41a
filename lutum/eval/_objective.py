"""Objectives: they turn a report into a score, so that an eval itself only reports findings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar, final

from lutum.eval._score import Score

R = TypeVar("R")


@final
@dataclass(frozen=True, slots=True)
class Objective(Generic[R]):
    """A rule that gives a report its score. `maximize`, `minimize` and `pass_fail` make one.

    Attributes:
      score: returns the score of a report; exceptions of the underlying function propagate.
    """

    score: Callable[[R], Score]

    def invert(self) -> Objective[R]:
        """Return the inverse objective, whose score is 1 minus this one's."""
        return Objective(lambda report: self.score(report).inverse)

    def map_error(self, change: Callable[[Exception], Exception]) -> Objective[R]:
        """Return an objective that raises `change(exc)` instead of `exc`, with `exc` as its cause."""

        def score(report: R) -> Score:
            try:
                return self.score(report)
            except Exception as exc:
                raise change(exc) from exc

        return Objective(score)


def maximize(measure: Callable[[R], float]) -> Objective[R]:
    """Make an objective with the score `measure(report)`. It raises BadValue if that is not from 0 to 1."""
    return Objective(lambda report: Score(measure(report)))


def minimize(measure: Callable[[R], float]) -> Objective[R]:
    """Make an objective with the score `1 - measure(report)`. `measure` returns a value from 0 to 1."""
    return maximize(measure).invert()


def pass_fail(test: Callable[[R], bool]) -> Objective[R]:
    """Make an objective whose score is 1 if the test returns True, else 0."""
    return Objective(lambda report: Score(bool(test(report))))
