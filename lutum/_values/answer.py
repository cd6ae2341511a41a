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
"""How exact a usage is, the best label first. A sum has the label of its worst part."""


FinishReason = str
"""`stop`, `length`, `tool_calls`, `content_filter`, `paused`, or the provider's own word."""


IssueReason = Literal["not_available", "unknown_tool", "invalid_arguments", "malformed_arguments"]
"""Why a call cannot be run."""


_RANK: dict[Known, int] = {"exact": 0, "recovered": 1, "lower_bound": 2, "estimated": 3}


class Usage(Struct, frozen=True, omit_defaults=True):
    """Tokens and cost of one or more requests.

    Attributes:
      input_tokens: everything that was read, cache reads and writes included.
      output_tokens: everything that was written, reasoning included.
      cache_read_tokens, cache_write_tokens: parts of the input.
      reasoning_tokens: a part of the output.
      cost_usd: US dollars. None if it was not reported and no price is known; 0 is a known cost.
      known: how exact the figures are.
      cache_write_1h_tokens: cache writes that live an hour, a part of `cache_write_tokens`.
      web_searches: searches that the provider ran. Most providers bill each search.
      rates: the rates of the bill if they are not the standard rate, such as `priority`, `flex`, `batch`,
        `fast` or a region. Empty in the sum of requests with different rates.
      parts: the usage of other models within the request, by model. The figures above include it. A sum has
        no parts.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: Decimal | None = None
    known: Known = "exact"
    cache_write_1h_tokens: int = 0
    web_searches: int = 0
    rates: tuple[str, ...] = ()
    parts: tuple[tuple[str, Usage], ...] = ()

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        cost = None
        if self.cost_usd is not None or other.cost_usd is not None:
            cost = (self.cost_usd or Decimal(0)) + (other.cost_usd or Decimal(0))
        rates = self.rates if self.rates == other.rates or not other.total_tokens else ()
        if not self.total_tokens:
            rates = other.rates
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cache_read_tokens + other.cache_read_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            cost,
            max(self.known, other.known, key=_RANK.__getitem__),
            self.cache_write_1h_tokens + other.cache_write_1h_tokens,
            self.web_searches + other.web_searches,
            rates,
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


COMMENTARY = "commentary"
"""The phase of the model's text between its steps."""


class Citation(Struct, frozen=True, gc=False, omit_defaults=True):
    """A source that the model names for a part of its text.

    Attributes:
      title: the title of the source.
      url: the address of the source, if it is a web page.
      document: the index of the cited document among the documents of the request, from 0.
      file_id: the provider's id of the cited file.
      quote: the cited words of the source.
      start, end: the part of the answer's text to which the citation belongs, in characters. None if the
        provider does not report it.
      type: the provider's word for the kind of citation, such as `web_search_result_location`.
      data: the provider's own JSON, with all members.
    """

    title: str = ""
    url: str = ""
    document: int | None = None
    file_id: str = ""
    quote: str = ""
    start: int | None = None
    end: int | None = None
    type: str = ""
    data: bytes = b""


class TextItem(Struct, frozen=True, gc=False, omit_defaults=True, tag="text"):
    """Text of the model, with the sources that it cites.

    `phase` is the provider's word for the part of a long turn that the text belongs to. Text of the phase
    `commentary` is the model's text between its steps; it is not the answer.
    """

    text: str
    citations: tuple[Citation, ...] = ()
    phase: str = ""


class ReasoningItem(Struct, frozen=True, gc=False, tag="reasoning"):
    """Readable reasoning, as the provider sends it. It may be a summary, and it may be empty."""

    text: str


class RefusalItem(Struct, frozen=True, gc=False, tag="refusal"):
    """The text of a refusal, if the provider marks it as such."""

    text: str


class ToolCallItem(Struct, frozen=True, gc=False, tag="tool_call"):
    """A call of one of your tools; `arguments` is the raw JSON text."""

    id: str
    name: str
    arguments: str


ViewItem = TextItem | ReasoningItem | RefusalItem | ToolCallItem


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialResult:
    """The received part of a turn that failed, or is not complete yet. It can never be committed."""

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    tool_calls: tuple[ToolCallItem, ...] = ()
    json: str = ""
    model: str = ""
    response: Response | None = None
