"""What is kept of a trial: a line of `results.jsonl`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, cast

import msgspec
from msgspec import Struct

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
      score: 0 when the task failed; None when the scoring did.
      failure: what ended it, or kept it from a score.
      seconds: how long the task took, without the scoring.
      usage: what went through the task's `llm`.
      judge_usage: what the scoring used.
      repeats: the score of each repeat of a judge that was asked several times.
      output: what the task returned, as JSON, or its repr.
      report: what the eval reported, likewise.
      trace: the file of its trace, under the folder of the run.
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

    def passed(self, threshold: float = 1.0) -> bool:
        """Whether it has a score, of at least that."""
        return self.score is not None and self.score >= threshold


def failure_of(exc: Exception, stage: Literal["task", "score"]) -> Failure:
    leaves = list(leaves_of(exc))
    kinds = dict.fromkeys(type(leaf).__name__ for leaf in leaves)
    messages = (" ".join([str(leaf), *getattr(leaf, "__notes__", ())]) for leaf in leaves)
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
    return float(value) if isinstance(value, float) else repr(value)  # msgspec takes no subclass of float


def plain(text: str) -> str:
    """Text that can be written: a surrogate becomes a question mark."""
    return text.encode("utf-8", "replace").decode()
