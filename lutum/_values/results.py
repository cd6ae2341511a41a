"""The results of a turn: usage, attempts, and a result for each kind of turn. Frozen values."""

from __future__ import annotations

from dataclasses import dataclass, field as dc_field
from typing import TYPE_CHECKING, Generic

from msgspec import UNSET, UnsetType
from typing_extensions import TypeVar

from lutum._text import preformatted
from lutum._values.answer import (
    COMMENTARY as COMMENTARY,
    Citation as Citation,
    FinishReason as FinishReason,
    IssueReason as IssueReason,
    Known as Known,
    PartialResult as PartialResult,
    ReasoningItem as ReasoningItem,
    RefusalItem as RefusalItem,
    Response as Response,
    TextItem as TextItem,
    ToolCallItem as ToolCallItem,
    Usage as Usage,
    ViewItem as ViewItem,
)
from lutum._values.committed import (
    CommittedTurn as CommittedTurn,
    TokenChoice as TokenChoice,
    Tokens as Tokens,
    ToolDef as ToolDef,
)
from lutum._values.contracts import TurnRequest
from lutum._values.errors import Refused, TurnError, TurnNotFinished
from lutum._values.settings import Estimate as Estimate
from lutum._values.transcript import Transcript
from lutum._values.wrong_calls import RESULT, no_such_name

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request of a turn: how it ended, and its charge.

    `error` is None for the attempt that completed. `notes` are sentences about the attempt, for example that
    a foreign ledger could not settle it.
    """

    number: int
    usage: Usage
    response: Response | None = None
    error: TurnError | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TextResult:
    """A completed turn.

    Attributes:
      refusal: the text of the refusal; None if the model did not refuse.
      finish_reason: `stop`, `length`, `tool_calls`, `content_filter`, `paused` or the provider's word.
      usage: the usage of the request that completed.
      cumulative_usage: the same, with the usage of the failed attempts before it.
      attempts: every request sent for this turn, in order.
      turn: the committed turn, which `commit_text` stores.
      base: the transcript that the turn was built on. A commit compares its digest.
      open_items: provider calls that wait for your answer, as raw JSON.
    """

    text: str
    reasoning: str
    refusal: str | None
    finish_reason: FinishReason
    usage: Usage
    cumulative_usage: Usage
    attempts: tuple[Attempt, ...]
    model: str
    response: Response
    turn: CommittedTurn
    base: Transcript
    open_items: tuple[bytes, ...] = ()
    _request: TurnRequest | None = dc_field(repr=False, compare=False)
    _turn_id: str = dc_field(default="", repr=False, compare=False)

    @property
    def request_id(self) -> str | None:
        """The provider's id of the request. The provider's support needs it."""
        return self.response.request_id

    def _repr_html_(self) -> str:
        """The text and the bill, in a notebook."""
        usage = self.usage
        bill = f"{self.model}, {self.finish_reason}, {usage.input_tokens:,} + {usage.output_tokens:,} tokens"
        return preformatted(f"{self.text or self.refusal or ''}\n\n[{bill}, {usage.known}]")

    if not TYPE_CHECKING:  # a type checker that sees `__getattr__` would accept every name

        def __getattr__(self, name: str) -> object:
            raise no_such_name(self, name, RESULT)


@dataclass(frozen=True, slots=True, kw_only=True)
class StructuredResult(TextResult, Generic[T]):
    """A completed structured turn: a value, or a refusal. If the provider paused the turn, it has neither."""

    _value: T | UnsetType = dc_field(default=UNSET)

    @property
    def value(self) -> T:
        """The decoded value.

        Raises:
          Refused: the model refused; `refusal` has its text, if there was any.
          TurnNotFinished: the provider paused the turn. Commit it, and start the next turn without a push.
        """
        return value_or_raise(self._value, self.refusal)


def value_or_raise(value: T | UnsetType, refusal: str | None) -> T:
    """Return the value of a structured result, or raise the reason why it is missing."""
    if value is not UNSET:
        return value
    if refusal is None:
        raise TurnNotFinished("value: the provider paused the turn; commit it and start the next")
    raise Refused(refusal or "the model refused without a reason")
