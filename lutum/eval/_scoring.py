"""Scorers: functions and evals that score an answer. A run has one scorer, or several with names."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast, final

from lutum._lutum import Lutum
from lutum._values.errors import BadValue
from lutum.eval._dataset import Case
from lutum.eval._evals import Eval, PureEval
from lutum.eval._identity import signed
from lutum.eval._results import Failure, as_json, failure_of
from lutum.eval._score import Repeats, Score, Scored
from lutum.trace import Trace

I = TypeVar("I")
E = TypeVar("E")
O = TypeVar("O")

ONLY = "score"
"""The name of a scorer that was given without a name."""


@final
@dataclass(frozen=True, slots=True)
class Answer(Generic[I, E, O]):
    """The artifact of a trial: the case, and the output that the task returned for it.

    To make an eval of answers from an eval of outputs, use `.contramap(lambda answer: answer.output)`.
    """

    case: Case[I, E]
    output: O


Scorer = (
    Callable[[Case[I, E], O], float | Scored[Any] | Awaitable[float | Scored[Any]]]
    | PureEval[Answer[I, E, O], Scored[Any]]
    | Eval[Answer[I, E, O], Scored[Any]]
)
"""A sync or async function of the case and the output, or an eval of `Answer` on which
`.scored_by(objective)` was called."""


@dataclass(slots=True)
class Scoring:
    """The findings of the scorers about one answer, by name."""

    scores: dict[str, float] = field(default_factory=dict[str, float])
    reports: dict[str, Any] = field(default_factory=dict[str, Any])
    errors: dict[str, Exception] = field(default_factory=dict[str, Exception])
    repeats: tuple[float, ...] = ()


@final
class Scorers:
    """The scorers of a run, in order. The score of the first one decides whether a trial passes.

    Raises:
      BadValue: the mapping is empty, or a value is not a scorer.
    """

    def __init__(self, given: Any) -> None:
        named = isinstance(given, Mapping)
        scorers = dict(cast("Mapping[str, Any]", given)) if named else {ONLY: given}
        if not scorers:
            raise BadValue("score", "is empty; give at least one scorer")
        for name, scorer in scorers.items():
            if not isinstance(name, str) or not name.strip():
                raise BadValue("score", f"{name!r} is not a name, which must be a string that is not blank")
            if not callable(scorer) and not isinstance(scorer, PureEval | Eval):
                raise BadValue("score", f"{name}: {scorer!r} is neither a function nor an eval")
        self.named = named
        self.signatures = {name: signed(scorer) for name, scorer in scorers.items()}
        self._asks = [name for name, scorer in scorers.items() if isinstance(scorer, Eval)]
        self._evals: dict[str, Eval[Any, Scored[Any]]] = {
            name: _as_eval(scorer) for name, scorer in scorers.items()
        }

    @property
    def names(self) -> list[str]:
        return list(self._evals)

    @property
    def asks(self) -> list[str]:
        """The names of the scorers that may call a model."""
        return self._asks

    async def score(
        self,
        names: list[str],
        llm: Lutum,
        trace: Trace,
        answer: Answer[Any, Any, Any],
        found: Scoring,
    ) -> None:
        """Run these scorers and add their findings. If one raises, the others still run."""
        for name in names:
            found.errors.pop(name, None)
            try:
                scored = await self._evals[name].evaluate(llm, trace, answer)
                found.scores[name] = float(_checked(name, answer, scored.score))
                found.reports[name] = as_json(scored.report)
                if name == self.names[0]:
                    found.repeats = _repeats(scored.report)
            except Exception as exc:
                found.errors[name] = exc

    def fields(self, found: Scoring) -> dict[str, Any]:
        """Return the fields of a trial's result."""
        first = self.names[0]
        errors = {name: failure_of(exc, "score") for name, exc in found.errors.items()}
        failure: Failure | None = next((errors[name] for name in self.names if name in errors), None)
        return {
            "score": found.scores.get(first),
            "scores": dict(found.scores) if self.named else {},
            "errors": errors,
            "failure": failure,
            "report": dict(found.reports) if self.named else found.reports.get(first),
            "repeats": found.repeats,
        }


def _repeats(report: Any) -> tuple[float, ...]:
    return tuple(map(float, report.scores)) if isinstance(report, Repeats) else ()


def _checked(name: str, answer: Answer[Any, Any, Any], value: Any) -> Score:
    """Return the value as a score, or raise an error that names the scorer and the case."""
    try:
        return Score(value)
    except (BadValue, TypeError, ValueError) as exc:
        why = exc.problem if isinstance(exc, BadValue) else f"{value!r} is not a number"
        raise BadValue(
            "score", f"the scorer {name!r} returned {value!r} for case {answer.case.id!r}: {why}"
        ) from None


def _as_eval(score: Any) -> Eval[Answer[Any, Any, Any], Scored[Any]]:
    # issubclass, because isinstance narrows to an eval with unknown type arguments.
    if issubclass(type(score), PureEval):
        return cast("PureEval[Any, Scored[Any]]", score).lift()
    if issubclass(type(score), Eval):
        return cast("Eval[Any, Scored[Any]]", score)

    async def evaluate(llm: Lutum, trace: Trace, answer: Answer[Any, Any, Any]) -> Scored[Any]:
        found = score(answer.case, answer.output)
        if inspect.isawaitable(found):
            found = await found
        return cast("Scored[Any]", found) if issubclass(type(found), Scored) else Scored(None, found)

    return Eval.of(evaluate)
