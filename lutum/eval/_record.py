"""`evaluate` and `record`: run one task and evaluate it. In essence they are these lines:

async with capture() as trace:
    artifact = await task()
report = evaluation.evaluate(trace, artifact)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, final

import msgspec

from lutum._lutum import Lutum
from lutum._telemetry.spans import RawCapture
from lutum._values.errors import BadValue
from lutum.eval._evals import Eval, PureEval
from lutum.eval._results import as_json, failure_of
from lutum.eval._score import Score, Scored
from lutum.trace import Trace, capture

A = TypeVar("A")
R = TypeVar("R")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class EvalRecord(Generic[R]):
    """The result of an eval: a scored report, or the exception that was raised instead, and always the trace.

    Raw requests and answers are in `trace.raw`, if `raw` was set.
    """

    trace: Trace
    scored: Scored[R] | None = None
    error: Exception | None = None

    @property
    def score(self) -> Score | None:
        """The score; None if the eval raised an error."""
        return None if self.scored is None else self.scored.score

    @property
    def report(self) -> R | None:
        """The report; None if the eval raised an error."""
        return None if self.scored is None else self.scored.report

    def passed(self, threshold: float = 1.0) -> bool:
        """Return whether the score is at least `threshold`; False if the eval raised an error."""
        return self.scored is not None and self.scored.score >= threshold

    def to_json(self) -> bytes:
        """Return a JSON object: `score`, `report` (or its repr), `error`, and the lines of `trace.dump()`."""
        error = None if self.error is None else failure_of(self.error, "score")
        found: dict[str, Any] = {
            "score": None if self.score is None else float(self.score),
            "report": as_json(self.report),
            "error": None if error is None else {"kind": error.kind, "message": error.message},
            "trace": [msgspec.Raw(line) for line in self.trace.dump().split(b"\n") if line],
        }
        return msgspec.json.encode(found)


async def evaluate(
    evaluation: Eval[A, R] | PureEval[A, R],
    task: Callable[[], Awaitable[A]],
    *,
    llm: Lutum | None = None,
    raw: bool | RawCapture = False,
) -> R:
    """Capture `task()`, and run an eval on its trace and its return value. A cancelled call keeps nothing.

    Exceptions of the task and the eval propagate unchanged.

    This is a checkpoint only if it has to wait.

    Args:
      evaluation: the eval.
      task: the task to evaluate.
      llm: the `Lutum` of an `Eval`; not needed for a `PureEval`.
      raw: keep unchanged requests and answers in the trace.

    Raises:
      BadValue: the eval needs an `llm`.
    """
    judge = asking(evaluation, llm)
    async with capture(raw=raw) as trace:
        artifact = await task()
    return await judge(trace, artifact)


async def record(
    evaluation: Eval[A, Scored[R]] | PureEval[A, Scored[R]],
    task: Callable[[], Awaitable[A]],
    *,
    llm: Lutum | None = None,
    raw: bool | RawCapture = False,
) -> EvalRecord[R]:
    """Run as `evaluate`, for an eval that is `scored_by` an objective.

    The record contains an exception that the eval or the objective raised. Exceptions of the task propagate
    unchanged.

    This is a checkpoint only if it has to wait.

    Raises:
      BadValue: the eval needs an `llm`.
    """
    judge = asking(evaluation, llm)
    async with capture(raw=raw) as trace:
        artifact = await task()
    try:
        return EvalRecord(trace=trace, scored=await judge(trace, artifact))
    except Exception as exc:
        return EvalRecord(trace=trace, error=exc)


def asking(evaluation: Eval[A, R] | PureEval[A, R], llm: Lutum | None) -> Callable[[Trace, A], Awaitable[R]]:
    """Return the eval as a function of trace and artifact."""
    lifted = evaluation.lift() if isinstance(evaluation, PureEval) else evaluation
    if llm is None and lifted is evaluation:
        raise BadValue("llm", "is missing; give a Lutum, because this eval may ask a model")

    async def ask(trace: Trace, artifact: A) -> R:
        return await lifted.evaluate(llm, trace, artifact)  # type: ignore[arg-type]  # a lifted eval ignores it

    return ask
