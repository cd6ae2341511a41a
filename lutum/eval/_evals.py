"""Evals: what reads a trace and an artifact and says what it found; and how they are put together.

An eval comes in two kinds. `PureEval` is a plain function of the two. `Eval` may await, and gets a `Lutum`
to ask. What an eval raises comes out of every combination as it is, with a note that says which part
of the combination raised it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from statistics import fmean
from typing import TYPE_CHECKING, Generic, TypeVar, final

from lutum._lutum import Lutum
from lutum._values.errors import BadValue
from lutum.eval._objective import Objective
from lutum.eval._score import Repeats, Score, Scored

if TYPE_CHECKING:
    from lutum.trace import Trace

A = TypeVar("A")
R = TypeVar("R")
B = TypeVar("B")
M = TypeVar("M")
S = TypeVar("S")


class PureEval(ABC, Generic[A, R]):
    """An eval that only reads. Subclass it, or write `@PureEval.of` over a function."""

    @abstractmethod
    def evaluate(self, trace: Trace, artifact: A) -> R:
        """What it found; may be asked of any trace, as often as you like."""

    @staticmethod
    def of(fn: Callable[[Trace, B], S]) -> PureEval[B, S]:
        """The eval that is this function."""
        return _Pure(fn)

    def map_report(self, change: Callable[[R], S]) -> PureEval[A, S]:
        """The same eval with another report."""
        return _Pure(lambda trace, artifact: change(self.evaluate(trace, artifact)))

    def map_error(self, change: Callable[[Exception], Exception]) -> PureEval[A, R]:
        """Raise another exception in the place of this one's, which becomes its cause."""

        def evaluate(trace: Trace, artifact: A) -> R:
            with _changed(change):
                return self.evaluate(trace, artifact)

        return _Pure(evaluate)

    def contramap(self, project: Callable[[B], A]) -> PureEval[B, R]:
        """The same eval of what `project` takes out of a larger artifact."""
        return _Pure(lambda trace, artifact: self.evaluate(trace, project(artifact)))

    def combine(self, other: PureEval[A, S], merge: Callable[[R, S], M]) -> PureEval[A, M]:
        """Both evals of one artifact, this one first; when it raises, the other is not run."""

        def evaluate(trace: Trace, artifact: A) -> M:
            with _noted("the left eval of combine"):
                left = self.evaluate(trace, artifact)
            with _noted("the right eval of combine"):
                right = other.evaluate(trace, artifact)
            return merge(left, right)

        return _Pure(evaluate)

    def scored_by(self, objective: Objective[R]) -> PureEval[A, Scored[R]]:
        """Its report together with the score that the objective gives it."""
        return self.map_report(scored(objective))

    def lift(self) -> Eval[A, R]:
        """The same as an `Eval`, where one is wanted; it asks nobody."""

        async def evaluate(llm: Lutum, trace: Trace, artifact: A) -> R:
            return self.evaluate(trace, artifact)

        return _Async(evaluate)


class Eval(ABC, Generic[A, R]):
    """An eval that may ask a model. Subclass it, or write `@Eval.of` over an async function."""

    @abstractmethod
    async def evaluate(self, llm: Lutum, trace: Trace, artifact: A) -> R:
        """What it found; every request that this takes goes through `llm`.

        A checkpoint only if it has to wait.
        """

    @staticmethod
    def of(fn: Callable[[Lutum, Trace, B], Awaitable[S]]) -> Eval[B, S]:
        """The eval that is this function."""
        return _Async(fn)

    def map_report(self, change: Callable[[R], S]) -> Eval[A, S]:
        """The same eval with another report."""

        async def evaluate(llm: Lutum, trace: Trace, artifact: A) -> S:
            return change(await self.evaluate(llm, trace, artifact))

        return _Async(evaluate)

    def map_error(self, change: Callable[[Exception], Exception]) -> Eval[A, R]:
        """Raise another exception in the place of this one's, which becomes its cause."""

        async def evaluate(llm: Lutum, trace: Trace, artifact: A) -> R:
            with _changed(change):
                return await self.evaluate(llm, trace, artifact)

        return _Async(evaluate)

    def contramap(self, project: Callable[[B], A]) -> Eval[B, R]:
        """The same eval of what `project` takes out of a larger artifact."""

        async def evaluate(llm: Lutum, trace: Trace, artifact: B) -> R:
            return await self.evaluate(llm, trace, project(artifact))

        return _Async(evaluate)

    def combine(self, other: Eval[A, S], merge: Callable[[R, S], M]) -> Eval[A, M]:
        """Both evals of one artifact, one after the other; when this one raises, the other is not run."""

        async def evaluate(llm: Lutum, trace: Trace, artifact: A) -> M:
            with _noted("the left eval of combine"):
                left = await self.evaluate(llm, trace, artifact)
            with _noted("the right eval of combine"):
                right = await other.evaluate(llm, trace, artifact)
            return merge(left, right)

        return _Async(evaluate)

    def scored_by(self, objective: Objective[R]) -> Eval[A, Scored[R]]:
        """Its report together with the score that the objective gives it."""
        return self.map_report(scored(objective))

    def scored_over(self, repeats: int, objective: Objective[R]) -> Eval[A, Scored[Repeats[R]]]:
        """Ask `repeats` times, one after the other; the score is the mean. A run reports the disagreement.

        Raises:
          BadValue: fewer than 2 repeats.
        """
        if repeats < 2:
            raise BadValue("repeats", f"{repeats} is below 2; see `scored_by`")

        async def evaluate(llm: Lutum, trace: Trace, artifact: A) -> Scored[Repeats[R]]:
            once = self.scored_by(objective)
            each = [await once.evaluate(llm, trace, artifact) for _ in range(repeats)]
            reports = tuple(scored.report for scored in each)
            scores = tuple(scored.score for scored in each)
            return Scored(Repeats(reports, scores), Score.clamped(fmean(scores)))

        return _Async(evaluate)


@final
class _Pure(PureEval[A, R]):
    def __init__(self, fn: Callable[[Trace, A], R]) -> None:
        self._fn = fn

    def evaluate(self, trace: Trace, artifact: A) -> R:
        return self._fn(trace, artifact)


@final
class _Async(Eval[A, R]):
    def __init__(self, fn: Callable[[Lutum, Trace, A], Awaitable[R]]) -> None:
        self._fn = fn

    async def evaluate(self, llm: Lutum, trace: Trace, artifact: A) -> R:
        return await self._fn(llm, trace, artifact)


def scored(objective: Objective[R]) -> Callable[[R], Scored[R]]:
    def score(report: R) -> Scored[R]:
        with _noted("the objective"):
            return Scored(report, objective.score(report))

    return score


@contextmanager
def _noted(part: str) -> Generator[None]:
    try:
        yield
    except Exception as exc:
        exc.add_note(f"raised by {part}")
        raise


@contextmanager
def _changed(change: Callable[[Exception], Exception]) -> Generator[None]:
    try:
        yield
    except Exception as exc:
        raise change(exc) from exc
