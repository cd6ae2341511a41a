"""From a report to a score: what is good, said apart from what was found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar, final

from lutum.eval._score import Score

R = TypeVar("R")


@final
@dataclass(frozen=True, slots=True)
class Objective(Generic[R]):
    """What makes a report good. Made by `maximize`, `minimize` and `pass_fail`.

    Attributes:
      score: the score of a report; raises what the function behind it raises.
    """

    score: Callable[[R], Score]

    def invert(self) -> Objective[R]:
        """What was good is bad."""
        return Objective(lambda report: self.score(report).inverse)

    def map_error(self, change: Callable[[Exception], Exception]) -> Objective[R]:
        """Raise another exception in the place of this one's, which becomes its cause."""

        def score(report: R) -> Score:
            try:
                return self.score(report)
            except Exception as exc:
                raise change(exc) from exc

        return Objective(score)


def maximize(measure: Callable[[R], float]) -> Objective[R]:
    """The more the better; `measure` gives from 0 to 1, else scoring raises BadValue."""
    return Objective(lambda report: Score(measure(report)))


def minimize(measure: Callable[[R], float]) -> Objective[R]:
    """The less the better; `measure` gives from 0 to 1, else scoring raises BadValue."""
    return maximize(measure).invert()


def pass_fail(test: Callable[[R], bool]) -> Objective[R]:
    """1 where the test holds, else 0."""
    return Objective(lambda report: Score(bool(test(report))))
