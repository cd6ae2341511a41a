"""What a turn leaves behind: usage, the committed turn, results. Frozen values, no behaviour
beyond reading them."""

from __future__ import annotations

from dataclasses import dataclass, field as dc_field
from decimal import Decimal
from typing import TYPE_CHECKING, Generic, Literal

from msgspec import UNSET, Struct, UnsetType, field
from typing_extensions import TypeVar

from lutum._values.errors import BadValue, Refused, TurnError, TurnNotFinished

if TYPE_CHECKING:
    from lutum._values.transcript import Transcript
    from lutum.abc import TurnRequest

T = TypeVar("T")

Known = Literal["exact", "recovered", "lower_bound", "estimated"]
"""How a usage is known, best first. A sum is known as badly as its worst part."""

FinishReason = str
"""`stop`, `length`, `tool_calls`, `content_filter`, `paused`, or the provider's own word."""

IssueReason = Literal["not_available", "unknown_tool", "invalid_arguments", "malformed_arguments"]
"""Why a call cannot be run."""

_RANK: dict[Known, int] = {"exact": 0, "recovered": 1, "lower_bound": 2, "estimated": 3}


class Usage(Struct, frozen=True, omit_defaults=True):
    """Tokens and cost of one or more requests.

    `input_tokens` holds everything read, cache reads and writes included; `output_tokens`
    holds everything written, reasoning included. `cost_usd` is in US dollars, None where
    nobody said and no price is known.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: Decimal | None = None
    known: Known = "exact"

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        cost = None
        if self.cost_usd is not None or other.cost_usd is not None:
            cost = (self.cost_usd or Decimal(0)) + (other.cost_usd or Decimal(0))
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cache_read_tokens + other.cache_read_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            cost,
            max(self.known, other.known, key=_RANK.__getitem__),
        )


class Estimate(Struct, frozen=True, omit_defaults=True):
    """What a request is expected to use at most; this is what a turn reserves."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal | None = None

    def __post_init__(self) -> None:
        for name in ("input_tokens", "output_tokens"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 0:
                raise BadValue(f"estimate.{name}", f"{value!r} is no number of tokens")

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


class Response(Struct, frozen=True, omit_defaults=True):
    """The head of a provider's answer.

    `id` is the provider's id of the answer (`msg_...`), `request_id` that of the HTTP request.
    `headers` are lower-case and hold only ids, rate limits and processing times.
    """

    status: int = 200
    request_id: str | None = None
    id: str | None = None
    headers: dict[str, str] = field(default_factory=dict[str, str])


class TextItem(Struct, frozen=True, gc=False, tag="text"):
    """Text the model said."""

    text: str


class ReasoningItem(Struct, frozen=True, gc=False, tag="reasoning"):
    """Reasoning the provider lets you read; may be a summary, may be empty."""

    text: str


class RefusalItem(Struct, frozen=True, gc=False, tag="refusal"):
    """Words of refusal, where the provider marks them."""

    text: str


class ToolCallItem(Struct, frozen=True, gc=False, tag="tool_call"):
    """A call of one of your tools; `arguments` is the raw JSON text."""

    id: str
    name: str
    arguments: str


ViewItem = TextItem | ReasoningItem | RefusalItem | ToolCallItem


class ToolDef(Struct, frozen=True, gc=False, omit_defaults=True):
    """A tool as the provider sees it; `schema` is the JSON schema of its input, as JSON text.

    `strict` schemas are of the form that strict modes take: objects closed, every property required.
    """

    name: str
    schema: str
    description: str = ""
    strict: bool = False


class CommittedTurn(Struct, frozen=True, gc=False, omit_defaults=True, tag="turn"):
    """An assistant turn, as its adapter will send it back and as everyone else may read it.

    Attributes:
      adapter: name of the adapter that owns `wire`.
      scope: endpoint and account family that signed it.
      model: the model that answered.
      wire: the adapter's own JSON of the turn, with everything received.
      items: the semantic view, in order.
      inexact_reason: why `wire` may not be replayed as it is; None when it may.
      prefix: digest of the transcript before it, when the provider bound the turn to what it was sent.
      preface: the adapter's JSON of what it sent right before the turn and no item holds (a tool change,
        a one-turn instruction); it goes out again with every exact replay.
      tools: the tools sent with it, kept on the first turn of a transcript only.
    """

    adapter: str
    scope: str
    model: str
    wire: bytes
    items: tuple[ViewItem, ...] = ()
    inexact_reason: str | None = None
    prefix: str | None = None
    preface: bytes = b""
    tools: tuple[ToolDef, ...] = ()

    def __repr__(self) -> str:
        form = "exact" if self.exact else f"inexact: {self.inexact_reason}"
        return f"<CommittedTurn of {self.model} by {self.adapter}, {len(self.items)} items, {form}>"

    @property
    def exact(self) -> bool:
        """True when the turn goes back to where it came from without loss."""
        return self.inexact_reason is None

    @property
    def text(self) -> str:
        """What the model said, joined."""
        return "".join(item.text for item in self.items if isinstance(item, TextItem))

    @property
    def reasoning(self) -> str:
        """Its readable reasoning, joined."""
        return "".join(item.text for item in self.items if isinstance(item, ReasoningItem))

    @property
    def refusal(self) -> str:
        """Its words of refusal, joined."""
        return "".join(item.text for item in self.items if isinstance(item, RefusalItem))

    @property
    def tool_calls(self) -> tuple[ToolCallItem, ...]:
        """The calls of your tools, in order; a result is due for each."""
        return tuple(item for item in self.items if isinstance(item, ToolCallItem))


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request that was sent for a turn: how it ended and what it is charged.

    `error` is None for the attempt that completed.
    """

    number: int
    usage: Usage
    response: Response | None = None
    error: TurnError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialResult:
    """What had arrived of a turn that did not, or not yet, complete. Never committable."""

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    tool_calls: tuple[ToolCallItem, ...] = ()
    json: str = ""
    model: str = ""
    response: Response | None = None


# Here, because the errors are below the results: nothing had arrived, nothing was used.
TurnError.partial = PartialResult()
TurnError.usage = Usage()


@dataclass(frozen=True, slots=True, kw_only=True)
class TextResult:
    """A completed turn.

    Attributes:
      refusal: its words of refusal; None when it did not refuse.
      finish_reason: `stop`, `length`, `tool_calls`, `content_filter`, `paused` or the provider's word.
      usage: the request that completed; `cumulative_usage` adds the failed attempts before it.
      attempts: every request sent for this turn, in order.
      turn: what `commit_text` stores.
      base: the transcript the turn was built on; a commit compares its digest.
      open_items: provider calls that wait for an answer from you, as raw JSON.
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
        """The provider's id of the request, for its support desk."""
        return self.response.request_id


@dataclass(frozen=True, slots=True, kw_only=True)
class StructuredResult(TextResult, Generic[T]):
    """A completed structured turn: a value, or a refusal. Where the provider paused it, neither."""

    _value: T | UnsetType = dc_field(default=UNSET)

    @property
    def value(self) -> T:
        """The decoded value.

        Raises:
          Refused: the model refused; `refusal` holds its words, as far as there were any.
          TurnNotFinished: the provider paused the turn: commit it, and start the next with nothing pushed.
        """
        return value_or_raise(self._value, self.refusal)


def value_or_raise(value: T | UnsetType, refusal: str | None) -> T:
    """The value of a structured result, or why there is none."""
    if value is not UNSET:
        return value
    if refusal is None:
        raise TurnNotFinished("value: the provider paused the turn; commit it and start the next")
    raise Refused(refusal or "the model refused, without a word")
