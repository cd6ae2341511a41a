"""Scores: a number from 0 to 1, alone or with the report that it was made from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Generic, Self, final

from typing_extensions import TypeVar

from lutum._values.errors import BadValue

R = TypeVar("R", covariant=True)


@final
class Score(float):
    """A float from 0 (failed) to 1 (passed). `Score(True)` is 1.

    Raises:
      BadValue: the value is outside that range, or is NaN; see `clamped`.
    """

    def __new__(cls, value: float) -> Self:
        score = super().__new__(cls, value)
        if math.isnan(score):
            raise BadValue("score", "NaN is not a score; a score is a number from 0 to 1")
        if not 0 <= score <= 1:
            raise BadValue("score", f"{float(value)!r} is not between 0 and 1")
        return score

    @classmethod
    def clamped(cls, value: float) -> Self:
        """Return the score that is nearest to `value`.

        Raises:
          BadValue: `value` is NaN, which is an error of the scorer, not a score of 0.
        """
        return cls(value if math.isnan(value) else min(1.0, max(0.0, value)))

    @property
    def inverse(self) -> Score:
        """1 minus the score."""
        return Score(1 - self)

    def __repr__(self) -> str:
        return f"Score({self})"

    def __str__(self) -> str:
        return repr(float(self))


@dataclass(frozen=True, slots=True)
class Scored(Generic[R]):
    """A report and its score."""

    report: R
    score: Score


@dataclass(frozen=True, slots=True)
class Repeats(Generic[R]):
    """The reports of an eval that ran several times on one artifact, with their scores."""

    reports: tuple[R, ...]
    scores: tuple[Score, ...]
