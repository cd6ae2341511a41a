"""The parts of an answer: usage, the response head, items of text, reasoning and calls, and partial results.

Frozen values. Errors carry them, so nothing here raises.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

from msgspec import Struct, field

if TYPE_CHECKING:
    pass


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
