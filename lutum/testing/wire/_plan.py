"""Plans: what the server does for one request. No I/O, no clock, no tasks.

A plan combines rendered events, steps, faults and chunking. The socket server, the byte stream in memory and
the httpx transport execute the same plans.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from typing import Literal, TypeAlias, final

import msgspec

from lutum.testing.wire._script import (
    At,
    BeforeHead,
    Chunking,
    Cut,
    CutAt,
    Drip,
    End,
    ErrorEvent,
    Garbage,
    Part,
    Pause,
    RawEvent,
    Reset,
    SlowClose,
    Stall,
    Step,
)

__all__ = ["AnswerHead", "Burst", "Ending", "Forever", "Item", "Repeat", "Wait", "WirePlan", "build", "sse"]

Ending: TypeAlias = Literal["end", "cut", "reset"]


@final
class Forever(msgspec.Struct, frozen=True):
    """An event that is repeated until the client leaves."""

    event: bytes
    delay: float


Item: TypeAlias = bytes | Step | Forever
"""One event, a step between two events, or a last event that is repeated."""


@final
class AnswerHead(msgspec.Struct, frozen=True):
    """The response's status and headers, including those for the framing of the body."""

    status: int
    headers: tuple[tuple[str, str], ...]
    chunked: bool


@final
class Wait(msgspec.Struct, frozen=True):
    """A wait of `seconds`; None: without end."""

    seconds: float | None


@final
class Burst(msgspec.Struct, frozen=True):
    """Chunks that are written without waiting."""

    chunks: tuple[bytes, ...]


@final
class Repeat(msgspec.Struct, frozen=True):
    """One chunk every `delay` seconds until the client leaves."""

    chunk: bytes
    delay: float


@final
class WirePlan(msgspec.Struct, frozen=True):
    """The actions of the server for one request, in this order."""

    connect: Wait | None = None
    """If set, the connection is refused after this wait, and the other fields are unused."""
    before: tuple[Wait, ...] = ()
    head: AnswerHead | bytes | None = None
    """The response head, or bytes as garbage in its place; None if the connection ends before it."""
    body: tuple[Wait | Burst | Repeat, ...] = ()
    ending: Ending = "end"


def sse(name: str, data: bytes) -> bytes:
    """Write one server-sent event."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)


def build(
    head: AnswerHead,
    items: Sequence[Item],
    parts: Sequence[Part],
    chunking: Chunking,
    error_event: Callable[[ErrorEvent], bytes],
) -> WirePlan:
    """Insert the faults among `parts` into the stream of `items`, and divide the stream into chunks.

    Raises:
      ValueError: a fault comes after the end of the stream, or a chunk has no bytes.
    """
    match chunking:
        case tuple():
            smallest = min(chunking, default=0)
        case Drip(smallest):
            pass
        case int(smallest):
            pass
        case _:
            smallest = 1
    if smallest < 1:
        raise ValueError(f"chunking={chunking!r}: a chunk must have at least one byte or event")
    before: list[Wait] = []
    for part in parts:
        if isinstance(part, BeforeHead):
            match part.step:
                case Pause(seconds) | Stall(seconds):
                    before.append(Wait(seconds))
                case Garbage(data):
                    return WirePlan(before=tuple(before), head=data, ending="cut")
                case Cut():
                    return WirePlan(before=tuple(before), ending="cut")
                case Reset():
                    return WirePlan(before=tuple(before), ending="reset")
    flow, ending = _resolve(_placed(items, parts), error_event)
    flow += [Wait(part.seconds) for part in parts if isinstance(part, SlowClose)]
    body = tuple(_chunked(flow, chunking))
    for part in parts:
        if isinstance(part, CutAt):
            body, ending = _cut(body, part), part.end
    return WirePlan(before=tuple(before), head=head, body=body, ending=ending)


def _placed(items: Sequence[Item], parts: Sequence[Part]) -> Iterator[Item]:
    """Insert the step of each `At` after the first `At.event` events. 0 is before the first event."""
    waiting: dict[int, list[Step]] = {}
    for part in parts:
        if isinstance(part, At):
            waiting.setdefault(part.event, []).append(part.step)
    events = 0
    yield from waiting.pop(0, ())
    for item in items:
        yield item
        if isinstance(item, bytes):
            events += 1
            yield from waiting.pop(events, ())
    if waiting:
        raise ValueError(f"At(event={min(waiting)}): the stream has only {events} events")


def _resolve(
    items: Iterator[Item], error_event: Callable[[ErrorEvent], bytes]
) -> tuple[list[bytes | Wait | Repeat], Ending]:
    """Turn steps into bytes, waits and an ending."""
    flow: list[bytes | Wait | Repeat] = []
    for item in items:
        match item:
            case bytes():
                flow.append(item)
            case Pause(seconds) | Stall(seconds):
                flow.append(Wait(seconds))
            case RawEvent(name, data):
                flow.append(sse(name, data.encode()))
            case Garbage(data):
                flow.append(data)
            case Forever(event, delay):
                flow.append(Repeat(event, delay))
            case ErrorEvent():
                flow.append(error_event(item))
                return flow, "end"
            case End():
                return flow, "end"
            case Cut():
                return flow, "cut"
            case Reset():
                return flow, "reset"
    return flow, "end"


def _chunked(flow: Sequence[bytes | Wait | Repeat], chunking: Chunking) -> Iterator[Wait | Burst | Repeat]:
    """Divide the events between two waits into chunks."""
    sizes = cycle(chunking) if isinstance(chunking, tuple) else None
    events: list[bytes] = []

    def close() -> Iterator[Wait | Burst]:
        if not events:
            return
        data = b"".join(events)
        if sizes is not None:
            chunks: list[bytes] = []
            at = 0
            while at < len(data):
                size = next(sizes)
                chunks.append(data[at : at + size])
                at += size
            yield Burst(tuple(chunks))
        elif isinstance(chunking, Drip):
            for at in range(0, len(data), chunking.bytes_per_chunk):
                yield Burst((data[at : at + chunking.bytes_per_chunk],))
                yield Wait(chunking.delay)
        elif chunking == "burst":
            yield Burst((data,))
        elif isinstance(chunking, int):
            groups = range(0, len(events), chunking)
            yield Burst(tuple(b"".join(events[at : at + chunking]) for at in groups))
        else:
            yield Burst(tuple(events))
        events.clear()

    for item in flow:
        if isinstance(item, bytes):
            events.append(item)
        else:
            yield from close()
            yield item
    yield from close()


def _cut(body: Sequence[Wait | Burst | Repeat], cut: CutAt) -> tuple[Wait | Burst | Repeat, ...]:
    """Keep the first `cut.byte` bytes of the body."""
    kept: list[Wait | Burst | Repeat] = []
    left = cut.byte
    for item in body:
        if not left:
            return tuple(kept)
        match item:
            case Wait():
                kept.append(item)
            case Repeat(chunk, delay):
                while left:
                    kept += [Burst((chunk[:left],)), Wait(delay)]
                    left -= min(left, len(chunk))
            case Burst(chunks):
                some: list[bytes] = []
                for chunk in chunks:
                    if left:
                        some.append(chunk[:left])
                        left -= len(some[-1])
                kept.append(Burst(tuple(some)))
    if left:
        raise ValueError(f"CutAt(byte={cut.byte}): the body has only {cut.byte - left} bytes")
    return tuple(kept)
