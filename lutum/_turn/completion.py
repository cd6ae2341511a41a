"""One prompt, one answer, no transcript: the builders and the results of completions.

A completion is a turn on a single user message, so an adapter sees nothing new; what it leaves behind
holds no turn and no base, so there is nothing a session could commit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar, final

from msgspec import UNSET, UnsetType

from lutum._turn.builder import Builder
from lutum._values.results import Attempt, FinishReason, Response, TextResult, Usage, value_or_raise

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionResult:
    """A completed completion. Its fields are those of a `TextResult`; it cannot be committed."""

    text: str
    finish_reason: FinishReason
    usage: Usage
    cumulative_usage: Usage
    attempts: tuple[Attempt, ...]
    model: str
    response: Response

    @property
    def request_id(self) -> str | None:
        """The provider's id of the request, for its support desk."""
        return self.response.request_id


@dataclass(frozen=True, slots=True, kw_only=True)
class StructuredCompletionResult(CompletionResult, Generic[T]):
    """A completed structured completion: a value, or a refusal."""

    refusal: str | None = None
    _value: T | UnsetType = field(default=UNSET)

    @property
    def value(self) -> T:
        """The decoded value. Raises as `StructuredResult.value`."""
        return value_or_raise(self._value, self.refusal)


@final
class Completion(Builder[CompletionResult]):
    """Text that goes on from a prompt; made by `Lutum.completion`."""

    __slots__ = ()


@final
class StructuredCompletion(Builder[StructuredCompletionResult[T]], Generic[T]):
    """A value of a type for a prompt; made by `Lutum.structured_completion`."""

    __slots__ = ()


def completion_result(result: TextResult) -> CompletionResult:
    """What a completion keeps of a turn."""
    return CompletionResult(
        text=result.text,
        finish_reason=result.finish_reason,
        usage=result.usage,
        cumulative_usage=result.cumulative_usage,
        attempts=result.attempts,
        model=result.model,
        response=result.response,
    )


def structured_completion_result(result: TextResult, value: T | UnsetType) -> StructuredCompletionResult[T]:
    """What a structured completion keeps of a turn."""
    return StructuredCompletionResult(
        text=result.text,
        finish_reason=result.finish_reason,
        usage=result.usage,
        cumulative_usage=result.cumulative_usage,
        attempts=result.attempts,
        model=result.model,
        response=result.response,
        refusal=result.refusal,
        _value=value,
    )
