"""Evals and their combinators. An eval reads a trace and an artifact and returns a report.

There are two kinds. `PureEval` is a plain function of trace and artifact. `Eval` may await, and gets a
`Lutum` for requests. A combination raises the exceptions of its parts unchanged, with a note that names the
part.
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
    """An eval that only reads. Subclass it, or decorate a function with `@PureEval.of`."""

    @abstractmethod
    def evaluate(self, trace: Trace, artifact: A) -> R:
        """Return the report. May be called with any trace, any number of times."""

    @staticmethod
    def of(fn: Callable[[Trace, B], S]) -> PureEval[B, S]:
        """Make an eval from a function."""
        return _Pure(fn)

    def map_report(self, change: Callable[[R], S]) -> PureEval[A, S]:
        """Return an eval that reports `change(report)`."""
        return _Pure(lambda trace, artifact: change(self.evaluate(trace, artifact)))

    def map_error(self, change: Callable[[Exception], Exception]) -> PureEval[A, R]:
        """Return an eval that raises `change(exc)` instead of `exc`, with `exc` as its cause."""

        def evaluate(trace: Trace, artifact: A) -> R:
            with _changed(change):
                return self.evaluate(trace, artifact)

        return _Pure(evaluate)

    def contramap(self, project: Callable[[B], A]) -> PureEval[B, R]:
        """Return an eval of a larger artifact. `project` returns this eval's artifact from the larger one."""
        return _Pure(lambda trace, artifact: self.evaluate(trace, project(artifact)))

    def combine(self, other: PureEval[A, S], merge: Callable[[R, S], M]) -> PureEval[A, M]:
        """Return an eval that runs this eval, then `other`, and merges the reports.

        If one of them raises, the combined eval raises.
        """

        def evaluate(trace: Trace, artifact: A) -> M:
            with _noted("the left eval of combine"):
                left = self.evaluate(trace, artifact)
            with _noted("the right eval of combine"):
                right = other.evaluate(trace, artifact)
            return merge(left, right)

        return _Pure(evaluate)

    def scored_by(self, objective: Objective[R]) -> PureEval[A, Scored[R]]:
        """Return an eval whose report contains this eval's report and the objective's score of it."""
        return self.map_report(scored(objective))

    def lift(self) -> Eval[A, R]:
        """Return this eval as an `Eval`. It sends no request."""

        async def evaluate(llm: Lutum, trace: Trace, artifact: A) -> R:
            return self.evaluate(trace, artifact)

        return _Async(evaluate)


class Eval(ABC, Generic[A, R]):
    """An eval that may call a model. Subclass it, or decorate an async function with `@Eval.of`."""

    @abstractmethod
    async def evaluate(self, llm: Lutum, trace: Trace, artifact: A) -> R:
        """Return the report. Send every request of the eval through `llm`.

        This is a checkpoint only if it has to wait.
        """

    @staticmethod
    def of(fn: Callable[[Lutum, Trace, B], Awaitable[S]]) -> Eval[B, S]:
        """Make an eval from an async function."""
        return _Async(fn)

    def map_report(self, change: Callable[[R], S]) -> Eval[A, S]:
        """Return an eval that reports `change(report)`."""

        async def evaluate(llm: Lutum, trace: Trace, artifact: A) -> S:
            return change(await self.evaluate(llm, trace, artifact))

        return _Async(evaluate)

    def map_error(self, change: Callable[[Exception], Exception]) -> Eval[A, R]:
        """Return an eval that raises `change(exc)` instead of `exc`, with `exc` as its cause."""

        async def evaluate(llm: Lutum, trace: Trace, artifact: A) -> R:
            with _changed(change):
                return await self.evaluate(llm, trace, artifact)

        return _Async(evaluate)

    def contramap(self, project: Callable[[B], A]) -> Eval[B, R]:
        """Return an eval of a larger artifact. `project` returns this eval's artifact from the larger one."""

        async def evaluate(llm: Lutum, trace: Trace, artifact: B) -> R:
            return await self.evaluate(llm, trace, project(artifact))

        return _Async(evaluate)

    def combine(self, other: Eval[A, S], merge: Callable[[R, S], M]) -> Eval[A, M]:
        """Return an eval that runs this eval, then `other`, and merges the reports.

        If one of them raises, the combined eval raises.
        """

        async def evaluate(llm: Lutum, trace: Trace, artifact: A) -> M:
            with _noted("the left eval of combine"):
                left = await self.evaluate(llm, trace, artifact)
            with _noted("the right eval of combine"):
                right = await other.evaluate(llm, trace, artifact)
            return merge(left, right)

        return _Async(evaluate)

    def scored_by(self, objective: Objective[R]) -> Eval[A, Scored[R]]:
        """Return an eval whose report contains this eval's report and the objective's score of it."""
        return self.map_report(scored(objective))

    def scored_over(self, repeats: int, objective: Objective[R]) -> Eval[A, Scored[Repeats[R]]]:
        """Return an eval that runs this one `repeats` times in sequence and takes the mean of the scores.

        The report of a run contains the disagreement between the repeats.

        Raises:
          BadValue: `repeats` is below 2.
        """
        if repeats < 2:
            raise BadValue("repeats", f"{repeats} is below 2; use `scored_by` to score once")

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
