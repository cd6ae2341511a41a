"""What is kept of a trial: a line of `results.jsonl`."""

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
    """An exception, as far as it can be kept.

    Attributes:
      kind: its class; of a group, those of what it holds.
      message: what it said.
      stage: whether the task or its scoring raised it.
    """

    kind: str
    message: str
    stage: Literal["task", "score"]


class TrialResult(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One trial of one case.

    Attributes:
      case: the id of its case.
      trial: which of the case's trials, from 0.
      digest: tells its case from another one of that id.
      tags: those of its case.
      score: the score, of several named ones the first; 0 when the model's answer failed the task
        (see `MODEL_FAULTS`); None when the trial ended in an error, which is not a score.
      failure: what ended it, or kept it from a score.
      scores: each named score, where there are several.
      errors: of several scorers those that raised, by name.
      seconds: how long the task took, without the scoring.
      usage: what went through the task's `llm`.
      judge_usage: what the scoring used.
      repeats: the score of each repeat of a judge that was asked several times.
      output: what the task returned, as JSON, or its repr.
      report: what the eval reported, likewise.
      trace: the file of its trace, under the folder of the run.
      tries: how often it was tried; above 1 when an error was followed by another try.
      earlier: what tries that ended in an error used.
      cached: requests that were answered from a cache, and cost nothing this time.
      input_digest: tells the input of its case from another one.
      output_type: the class of an output that is not plain JSON.
      output_turn: of the result of a turn, its transcript.
      finish_reason: of the result of a turn, why it ended.
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
        """True if it ended in an error: the task or a scorer raised, and a score is missing."""
        return self.failure is not None and (self.score is None or bool(self.errors))

    @property
    def answered(self) -> bool:
        """True if the task returned, so that its output can be scored again without a request."""
        return self.failure is None or self.failure.stage == "score"

    def passed(self, threshold: float = 1.0) -> bool:
        """Whether it has a score, of at least that."""
        return self.score is not None and self.score >= threshold


MODEL_FAULTS: Final = (ContractViolation, OutputInvalid, OutputLimitExceeded, Refused)
"""Errors that the model's answer caused. A task that raises one has a score of 0."""


def is_model_fault(exc: BaseException) -> bool:
    """Return whether only the model's answer is at fault, and not the provider, the network or the task."""
    return all(isinstance(leaf, MODEL_FAULTS) for leaf in leaves_of(exc))


def better(one: TrialResult, other: TrialResult) -> TrialResult:
    """Of two results of one trial, return the one that counts: without an error, else of the later try."""
    if one.errored != other.errored:
        return other if one.errored else one
    return other if one.errored and other.tries > one.tries else one


def failure_of(exc: Exception, stage: Literal["task", "score"]) -> Failure:
    leaves = list(leaves_of(exc))
    kinds = dict.fromkeys(type(leaf).__name__ for leaf in leaves)
    messages = (" ".join([str(leaf), *added_notes(leaf)]) for leaf in leaves)
    return Failure("+".join(kinds), plain("; ".join(messages)), stage)


def leaves_of(exc: BaseException) -> Iterator[BaseException]:
    """The exceptions in a group, or the one that is none."""
    if isinstance(exc, BaseExceptionGroup):
        for inner in cast("BaseExceptionGroup[BaseException]", exc).exceptions:
            yield from leaves_of(inner)
    else:
        yield exc


def as_json(value: object) -> Any:
    """What JSON can hold of a value: itself, the text of a result, or its repr."""
    if isinstance(value, TextResult):
        value = value.text
    try:
        return msgspec.json.decode(msgspec.json.encode(value, enc_hook=_other))
    except Exception:  # whatever it is, or its repr: the trial is paid for, and is kept
        try:
            return plain(repr(value))
        except Exception:
            return plain(object.__repr__(value))


def _other(value: object) -> object:
    if isinstance(value, float):  # msgspec takes no subclass of float
        return float(value)
    dump = getattr(value, "model_dump", None)  # a pydantic model
    return dump(mode="json") if callable(dump) and not isinstance(value, type) else repr(value)


def plain(text: str) -> str:
    """Text that can be written: a surrogate becomes a question mark."""
    return text.encode("utf-8", "replace").decode()
