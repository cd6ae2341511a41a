"""`TrialResult`: the stored result of a trial, which is one line of `results.jsonl`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal, cast

import msgspec
from msgspec import Struct

from lutum._values.errors import (
    ContractViolation,
    OutputInvalid,
    OutputLimitExceeded,
    Refused,
    added_notes,
)
from lutum._values.results import TextResult, Usage


class Failure(Struct, frozen=True):
    """The stored form of an exception.

    Attributes:
      kind: its class; for a group, the classes of the exceptions in it.
      message: its message.
      stage: "task" if the task raised it, "score" if the scoring did.
    """

    kind: str
    message: str
    stage: Literal["task", "score"]


class TrialResult(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One trial of one case.

    Attributes:
      case: the id of its case.
      trial: the number of the trial within its case, from 0.
      digest: a digest of the case, to detect another case with the same id.
      tags: the tags of its case.
      score: the score, or the first of several named scores. 0 if the model's answer made the task fail (see
        `MODEL_FAULTS`). None if the trial ended in an error, because an error is not a score.
      failure: the exception that ended the trial or prevented its score.
      scores: each score by name, if the scorers have names.
      errors: the exceptions of scorers that have names, by name.
      seconds: the duration of the task, without the scoring.
      usage: the usage of the task's `llm`.
      judge_usage: the usage of the scoring.
      repeats: the score of each repeat of a judge that was called several times.
      output: the return value of the task, as JSON, or its repr.
      report: the report of the eval, as JSON, or its repr.
      trace: the file of its trace, relative to the folder of the run.
      tries: the number of tries; above 1 if an error was followed by another try.
      earlier: the usage of tries in earlier runs that ended in an error.
      cached: the number of requests that were answered from a cache and cost nothing this time.
      input_digest: a digest of the input of its case, to detect another input.
      output_type: the type of an output that is not plain JSON.
      output_turn: the transcript, if the output is the result of a turn.
      finish_reason: the finish reason, if the output is the result of a turn.
    """

    case: str
    trial: int
    digest: str = ""
    tags: tuple[str, ...] = ()
    score: float | None = None
    failure: Failure | None = None
    seconds: float = 0.0
    usage: Usage = Usage()
    judge_usage: Usage = Usage()
    repeats: tuple[float, ...] = ()
    output: Any = None
    report: Any = None
    trace: str | None = None
    scores: dict[str, float] = {}
    errors: dict[str, Failure] = {}
    tries: int = 1
    earlier: Usage = Usage()
    cached: int = 0
    input_digest: str = ""
    output_type: str = ""
    output_turn: bytes | None = None
    finish_reason: str = ""

    @property
    def errored(self) -> bool:
        """True if the trial ended in an error: the task or a scorer raised, and a score is missing."""
        return self.failure is not None and (self.score is None or bool(self.errors))

    @property
    def answered(self) -> bool:
        """True if the task returned, so that its output can be scored again without a request."""
        return self.failure is None or self.failure.stage == "score"

    def passed(self, threshold: float = 1.0) -> bool:
        """Return whether the score is at least `threshold`; False if it is missing."""
        return self.score is not None and self.score >= threshold


MODEL_FAULTS: Final = (ContractViolation, OutputInvalid, OutputLimitExceeded, Refused)
"""Errors that the model's answer caused. A task that raises one has a score of 0."""


def is_model_fault(exc: BaseException) -> bool:
    """Return whether only the model's answer caused the error, not the provider, the network or the task."""
    return all(isinstance(leaf, MODEL_FAULTS) for leaf in leaves_of(exc))


def better(one: TrialResult, other: TrialResult) -> TrialResult:
    """Return the better of two results of one trial: the result without an error. If both have an error,
    return the result of the later try."""
    if one.errored != other.errored:
        return other if one.errored else one
    return other if one.errored and other.tries > one.tries else one


def failure_of(exc: Exception, stage: Literal["task", "score"]) -> Failure:
    leaves = list(leaves_of(exc))
    kinds = dict.fromkeys(type(leaf).__name__ for leaf in leaves)
    messages = (" ".join([str(leaf), *added_notes(leaf)]) for leaf in leaves)
    return Failure("+".join(kinds), plain("; ".join(messages)), stage)


def leaves_of(exc: BaseException) -> Iterator[BaseException]:
    """Yield the exceptions in a group, or the exception itself if it is not a group."""
    if isinstance(exc, BaseExceptionGroup):
        for inner in cast("BaseExceptionGroup[BaseException]", exc).exceptions:
            yield from leaves_of(inner)
    else:
        yield exc


def as_json(value: object) -> Any:
    """Return a value that JSON can represent: the value itself, the text of a result, or the repr."""
    if isinstance(value, TextResult):
        value = value.text
    try:
        return msgspec.json.decode(msgspec.json.encode(value, enc_hook=_other))
    except Exception:  # any value and any error of its repr, because a paid trial is always kept
        try:
            return plain(repr(value))
        except Exception:
            return plain(object.__repr__(value))


def _other(value: object) -> object:
    if isinstance(value, float):  # msgspec does not encode subclasses of float
        return float(value)
    dump = getattr(value, "model_dump", None)  # a pydantic model
    return dump(mode="json") if callable(dump) and not isinstance(value, type) else repr(value)


def plain(text: str) -> str:
    """Return text that UTF-8 can encode: a surrogate becomes a question mark."""
    return text.encode("utf-8", "replace").decode()
