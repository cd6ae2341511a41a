"""The events of a stream. One provider delta is one event; adjacent deltas are never merged.

The events are also the recorded format, because the pump (the turn's worker task) encodes them into frames.
A new field goes at the end of its event and has a default. Otherwise old frame logs cannot be loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from lutum._values.answer import FinishReason, IssueReason, Response, Usage
from lutum._values.committed import Citation, CommittedTurn


class TurnStarted(Struct, frozen=True, array_like=True, tag="start"):
    """The provider began to answer. The event has the model that answers, and the response's head."""

    model: str
    response: Response


class TextDelta(Struct, frozen=True, array_like=True, gc=False, repr_omit_defaults=True, tag="text"):
    """A piece of the model's text. `phase` is that of `TextItem`: text in `commentary` is not the answer."""

    text: str
    phase: str = ""


class CitationAdded(Struct, frozen=True, array_like=True, tag="citation"):
    """The model named a source for its text."""

    citation: Citation


class ReasoningDelta(Struct, frozen=True, array_like=True, gc=False, tag="reasoning"):
    """A piece of readable reasoning."""

    text: str


class RefusalDelta(Struct, frozen=True, array_like=True, gc=False, tag="refusal"):
    """A piece of a refusal, if the provider marks it as such."""

    text: str


class ToolCallDelta(Struct, frozen=True, array_like=True, gc=False, tag="call_delta"):
    """A piece of a call's arguments, as raw JSON text. It may be cut anywhere."""

    id: str
    name: str
    arguments: str


class ToolCallReady(Struct, frozen=True, array_like=True, tag="call"):
    """A whole call. `call` is the object that will be in `round.calls`; it can be started at once."""

    id: str
    name: str
    arguments: str
    call: Any = None


class ToolCallIssue(Struct, frozen=True, array_like=True, gc=False, tag="issue"):
    """A call that cannot be run: `not_available`, `unknown_tool`, `invalid_arguments` or
    `malformed_arguments`. When the round is committed, lutum adds its answer."""

    id: str
    name: str
    arguments: str
    reason: IssueReason
    detail: str = ""


class StructuredDelta(Struct, frozen=True, array_like=True, gc=False, tag="json"):
    """A piece of the structured value's JSON text."""

    json: str


class StructuredReady(Struct, frozen=True, array_like=True, tag="value"):
    """The structured value is complete. `value` is the decoded value, `json` is its text."""

    json: str
    value: Any = None


class UsageUpdate(Struct, frozen=True, array_like=True, tag="usage"):
    """The usage that the provider has reported so far. `final` is True if no content can follow."""

    usage: Usage
    final: bool = False


class WillRetry(Struct, frozen=True, array_like=True, tag="retry"):
    """The attempt failed before its first semantic event. Attempt number `attempt` starts in `after` s."""

    attempt: int
    after: float
    error: str
    status: int | None
    usage: Usage
    cumulative_usage: Usage


class ProviderEvent(Struct, frozen=True, array_like=True, gc=False, tag="provider"):
    """A provider's event for which lutum has no class of its own: its name and its JSON, unchanged."""

    name: str
    data: bytes


class Completed(Struct, frozen=True, array_like=True, tag="completed"):
    """The provider's own terminal event: the turn is whole and may be committed."""

    finish_reason: FinishReason
    usage: Usage
    turn: CommittedTurn
    open_items: tuple[bytes, ...] = ()


Event = (
    TurnStarted
    | TextDelta
    | CitationAdded
    | ReasoningDelta
    | RefusalDelta
    | ToolCallDelta
    | ToolCallReady
    | ToolCallIssue
    | StructuredDelta
    | StructuredReady
    | UsageUpdate
    | WillRetry
    | ProviderEvent
    | Completed
)


_encoder = msgspec.msgpack.Encoder()


_decoder = msgspec.msgpack.Decoder(list[Event])


def encode_frame(events: Sequence[Event]) -> bytes:
    """Return events as one frame."""
    return _encoder.encode(events)


def decode_frame(frame: bytes) -> list[Event]:
    """Return the events of one frame.

    Raises:
      msgspec.DecodeError: the bytes are not a frame of this library.
    """
    return _decoder.decode(frame)
