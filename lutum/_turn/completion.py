"""Builders and results of completions: one prompt, one answer, no transcript.

A completion is a turn with a single user message, so adapters need no code for it. Its result contains
neither the turn nor the transcript before it, so a session cannot commit the result.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, final

from msgspec import UNSET, UnsetType

from lutum._turn.builder import Builder
from lutum._turn.outcome import Answered, text_result
from lutum._turn.plan import TurnSpec, as_prompt, structured
from lutum._turn.prepare import TurnContext
from lutum._turn.reducer import Reducer
from lutum._values.results import Attempt, FinishReason, Response, TextResult, Tokens, Usage, value_or_raise

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionResult:
    """The result of a completion. It cannot be committed.

    Its fields are the same as in a `TextResult`. `tokens` has the token ids and log probabilities.
    """

    text: str
    finish_reason: FinishReason
    usage: Usage
    cumulative_usage: Usage
    attempts: tuple[Attempt, ...]
    model: str
    response: Response
    tokens: Tokens | None = None

    @property
    def request_id(self) -> str | None:
        """The provider's id of the request. Give it to the provider's support."""
        return self.response.request_id


@dataclass(frozen=True, slots=True, kw_only=True)
class StructuredCompletionResult(CompletionResult, Generic[T]):
    """The result of a structured completion: a value, or a refusal."""

    refusal: str | None = None
    _value: T | UnsetType = field(default=UNSET)

    @property
    def value(self) -> T:
        """The decoded value. Raises the same errors as `StructuredResult.value`."""
        return value_or_raise(self._value, self.refusal)


@final
class Completion(Builder[CompletionResult]):
    """Text that continues a prompt; made by `Lutum.completion`."""

    __slots__ = ()


@final
class StructuredCompletion(Builder[StructuredCompletionResult[T]], Generic[T]):
    """A value of a type for a prompt; made by `Lutum.structured_completion`."""

    __slots__ = ()


def completion(context: TurnContext, prompt: str) -> Completion:
    """Return the builder of a completion.

    Raises:
      BadValue: the prompt is blank.
    """
    return Completion(context, TurnSpec(base=as_prompt(prompt), operation="completion"), _completion_result)


def structured_completion(
    context: TurnContext, type: type[T], prompt: str, *, lenient: bool = False
) -> StructuredCompletion[T]:
    """Return the builder of a structured completion.

    Raises:
      BadValue: the prompt is blank, or no schema can express the type. For a type, the error's field is the
        path to the part that cannot be expressed.
    """
    plan = TurnSpec(base=as_prompt(prompt))
    shape, spec = structured(type, plan, "structured_completion", lenient=lenient)

    def finish(reducer: Reducer, answered: Answered) -> StructuredCompletionResult[T]:
        text = text_result(reducer, answered)
        value = reducer.conclude(shape, text.finish_reason, text.refusal)
        return StructuredCompletionResult(**_fields(text), refusal=text.refusal, _value=value)

    return StructuredCompletion(context, spec, finish)


def _completion_result(reducer: Reducer, answered: Answered) -> CompletionResult:
    return CompletionResult(**_fields(text_result(reducer, answered)))


def _fields(result: TextResult) -> dict[str, Any]:
    """Return the fields of a text result that a completion keeps."""
    names = CompletionResult.__dataclass_fields__.keys() - {"tokens"}
    return {name: getattr(result, name) for name in names} | {"tokens": result.turn.tokens}
