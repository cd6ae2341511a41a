"""Committed turns, and the tool definitions that are stored with them. Frozen values."""

from __future__ import annotations

from msgspec import Struct

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
from lutum._values.tokens import TokenChoice as TokenChoice, Tokens as Tokens


class ToolDef(Struct, frozen=True, gc=False, omit_defaults=True):
    """A tool as the provider receives it. `schema` is the JSON schema of its input, as JSON text.

    If `strict` is True, the schema has the form that strict modes accept: objects are closed, and every
    property is required.
    """

    name: str
    schema: str
    description: str = ""
    strict: bool = False


class CommittedTurn(Struct, frozen=True, gc=False, omit_defaults=True, tag="turn"):
    """An assistant turn: the JSON that its adapter sends back, and a semantic view for all other readers.

    The semantic view is a series of items that do not depend on the provider.

    Attributes:
      adapter: name of the adapter that owns `wire`.
      scope: endpoint and account family that signed the turn.
      model: the model that answered.
      wire: the adapter's own JSON of the turn, with everything received.
      items: the semantic view, in order.
      inexact_reason: why `wire` may not be replayed unchanged; None if it may.
      prefix: the digest of the transcript before the turn, if the provider bound the turn to that input.
      preface: JSON that the adapter sent right before the turn and that no item contains, such as a tool
        change or a one-turn instruction. Every exact replay sends it again.
      tools: the tools that were sent with the turn. Only the first turn of a transcript has them.
      tokens: token ids and log probabilities, where the server sends them. Never part of a request.
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
    tokens: Tokens | None = None

    def __repr__(self) -> str:
        form = "exact" if self.exact else f"inexact: {self.inexact_reason}"
        return f"<CommittedTurn of {self.model} by {self.adapter}, {len(self.items)} items, {form}>"

    @property
    def exact(self) -> bool:
        """True if the turn can be sent back to its endpoint without loss."""
        return self.inexact_reason is None

    @property
    def text(self) -> str:
        """The text of the answer, joined. `commentary` has the model's text between its steps."""
        return "".join(
            item.text for item in self.items if isinstance(item, TextItem) and item.phase != COMMENTARY
        )

    @property
    def commentary(self) -> str:
        """The model's text between its steps, joined, if the provider marks it."""
        return "".join(
            item.text for item in self.items if isinstance(item, TextItem) and item.phase == COMMENTARY
        )

    @property
    def citations(self) -> tuple[Citation, ...]:
        """The sources that the text cites, in order."""
        texts = (item for item in self.items if isinstance(item, TextItem))
        return tuple(citation for item in texts for citation in item.citations)

    @property
    def reasoning(self) -> str:
        """Its readable reasoning, joined."""
        return "".join(item.text for item in self.items if isinstance(item, ReasoningItem))

    @property
    def refusal(self) -> str:
        """The text of its refusal, joined."""
        return "".join(item.text for item in self.items if isinstance(item, RefusalItem))

    @property
    def tool_calls(self) -> tuple[ToolCallItem, ...]:
        """The calls of your tools, in order. Each call needs a result."""
        return tuple(item for item in self.items if isinstance(item, ToolCallItem))
