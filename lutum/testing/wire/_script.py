"""The scripts of a `WireServer`: the parts of a reply, its chunking, its faults.

All classes are immutable values that do not depend on a provider. A dialect renders them in its provider's
protocol, `_plan` inserts the faults, and the socket server or the in-memory server sends the result.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final

import msgspec

from lutum.testing.wire._request import WireRequest

__all__ = [
    "Answer",
    "At",
    "BeforeHead",
    "Block",
    "Call",
    "Chunking",
    "Cut",
    "CutAt",
    "Drip",
    "End",
    "ErrorEvent",
    "Garbage",
    "NeverEnding",
    "Part",
    "Pause",
    "RawEvent",
    "RedactedThink",
    "Refuse",
    "Reply",
    "Reset",
    "Say",
    "Script",
    "SlowClose",
    "Stall",
    "Status",
    "Step",
    "Think",
]


# Steps: actions between the events of the stream, or instead of an event.


@final
class Pause(msgspec.Struct, frozen=True):
    """Nothing is sent for `seconds`, then the stream continues."""

    seconds: float


@final
class Stall(msgspec.Struct, frozen=True):
    """Nothing is sent for `seconds`, or without end; the connection stays open."""

    seconds: float | None = None


@final
class ErrorEvent(msgspec.Struct, frozen=True):
    """The provider's error event. The body ends cleanly after it."""

    error_type: str
    message: str = "The wire server was told to fail here."


@final
class Garbage(msgspec.Struct, frozen=True):
    """Bytes that are sent unchanged instead of an event. In `BeforeHead` they replace the response head."""

    data: bytes = b"<html>\xff\xfe not an event\n\n"


@final
class RawEvent(msgspec.Struct, frozen=True):
    """A server-sent event with this name and data, for example one that no client knows."""

    name: str
    data: str


@final
class End(msgspec.Struct, frozen=True):
    """The body ends here, cleanly at the HTTP level, without the provider's terminal event."""


@final
class Cut(msgspec.Struct, frozen=True):
    """The connection is closed here, without the end of the body (FIN)."""


@final
class Reset(msgspec.Struct, frozen=True):
    """The connection is reset here (RST)."""


Step: TypeAlias = Pause | Stall | ErrorEvent | Garbage | RawEvent | End | Cut | Reset


# Steps at a place that is not among the parts.


@final
class At(msgspec.Struct, frozen=True):
    """A step after `event` events. 0 is the place after the head and before the first event."""

    step: Step
    event: int


@final
class BeforeHead(msgspec.Struct, frozen=True):
    """A step before the response head: a wait, garbage instead of the head, or the end of the connection."""

    step: Pause | Stall | Garbage | Cut | Reset


@final
class CutAt(msgspec.Struct, frozen=True):
    """The body stops after `byte` bytes: with a FIN, with an RST, or with a clean end."""

    byte: int
    end: Literal["cut", "reset", "end"] = "cut"


@final
class SlowClose(msgspec.Struct, frozen=True):
    """All events are sent, but the end of the body follows only after `seconds`; None: it never follows."""

    seconds: float | None = None


# Content.


@final
@dataclass(frozen=True, slots=True, init=False)
class Say:
    """A text block with one delta for each piece. A single piece is split into words.

    Steps may be put between the pieces.
    """

    pieces: tuple[str | Step, ...]
    citations: tuple[Mapping[str, Any], ...]

    def __init__(self, *pieces: str | Step, citations: Sequence[Mapping[str, Any]] = ()) -> None:
        object.__setattr__(self, "pieces", pieces)
        object.__setattr__(self, "citations", tuple(citations))


@final
@dataclass(frozen=True, slots=True, init=False)
class Think:
    """A reasoning block with pieces as in `Say`. Without pieces, its text is hidden.

    The server signs the block, unless you give another `signature`. `""` means no signature.
    """

    pieces: tuple[str | Step, ...]
    signature: str | None

    def __init__(self, *pieces: str | Step, signature: str | None = None) -> None:
        object.__setattr__(self, "pieces", pieces)
        object.__setattr__(self, "signature", signature)


@final
class RedactedThink(msgspec.Struct, frozen=True):
    """A reasoning block that contains only encrypted data."""

    data: str | None = None


@final
class Call(msgspec.Struct, frozen=True):
    """A tool call. Its input is a mapping, raw JSON (valid or not), or raw JSON in pieces."""

    name: str
    input: Mapping[str, Any] | str | tuple[str, ...] = ""
    id: str | None = None


@final
@dataclass(frozen=True, slots=True, init=False)
class Block:
    """A block and its deltas in the provider's form: a mapping, or JSON text that is sent unchanged."""

    raw: Mapping[str, Any] | str
    deltas: tuple[Mapping[str, Any] | str | Step, ...]

    def __init__(self, raw: Mapping[str, Any] | str, *deltas: Mapping[str, Any] | str | Step) -> None:
        object.__setattr__(self, "raw", raw)
        object.__setattr__(self, "deltas", deltas)


@final
class NeverEnding(msgspec.Struct, frozen=True):
    """An endless text block: one delta every `delay` seconds, until the client closes the connection."""

    text: str = "and "
    delay: float = 0.0


Content: TypeAlias = Say | Think | RedactedThink | Call | Block | NeverEnding
Part: TypeAlias = Content | Step | At | BeforeHead | CutAt | SlowClose


# A whole answer.


@final
class Drip(msgspec.Struct, frozen=True):
    """Chunks of `bytes_per_chunk` bytes, with a pause of `delay` seconds after each."""

    bytes_per_chunk: int = 1
    delay: float = 0.0


Chunking: TypeAlias = Literal["event", "burst"] | int | tuple[int, ...] | Drip
"""How events become HTTP chunks.

- `"event"`: one event in each chunk.
- `"burst"`: all events up to the next wait in one chunk.
- A number: this many events in each chunk.
- A tuple: chunks of these sizes in bytes, in rotation. Such a chunk may end inside an event.
- `Drip`: small chunks with a pause after each.
"""


@final
@dataclass(frozen=True, slots=True, init=False)
class Reply:
    """A successful answer: its parts in order, with steps and faults among them.

    `stop_reason`, `stop_sequence`, `stop_details` and the members of `usage` are written as the provider
    writes them. Those that are not given get plausible values. `model` is the model that the answer names.
    `headers` are added to the headers of the response.
    """

    parts: tuple[Part, ...]
    stop_reason: str | None
    stop_sequence: str | None
    stop_details: Mapping[str, Any] | None
    usage: Mapping[str, Any]
    model: str | None
    chunking: Chunking | None
    headers: Mapping[str, str]

    def __init__(
        self,
        *parts: Part | str,
        stop_reason: str | None = None,
        stop_sequence: str | None = None,
        stop_details: Mapping[str, Any] | None = None,
        usage: Mapping[str, Any] | None = None,
        model: str | None = None,
        chunking: Chunking | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        spelled = tuple(Say(part) if isinstance(part, str) else part for part in parts)
        object.__setattr__(self, "parts", spelled)
        object.__setattr__(self, "stop_reason", stop_reason)
        object.__setattr__(self, "stop_sequence", stop_sequence)
        object.__setattr__(self, "stop_details", stop_details)
        object.__setattr__(self, "usage", usage or {})
        object.__setattr__(self, "model", model)
        object.__setattr__(self, "chunking", chunking)
        object.__setattr__(self, "headers", headers or {})


@final
class Status(msgspec.Struct, frozen=True):
    """An answer with this status. It contains the provider's error body, or `body` unchanged."""

    status: int
    error_type: str | None = None
    message: str = "The wire server was told to fail."
    headers: Mapping[str, str] = {}
    body: bytes | None = None


@final
class Refuse(msgspec.Struct, frozen=True):
    """The connection is refused after `after` seconds. If `after` is None, the attempt never ends.

    This works in memory only. A listening socket cannot refuse a single request, so there the connection is
    reset before the response head.
    """

    after: float | None = 0.0


Answer: TypeAlias = Reply | Status | Refuse
Script: TypeAlias = Answer | Callable[[WireRequest], Answer]
"""An answer, or a function that returns the answer to a request."""
