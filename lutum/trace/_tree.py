"""The tree of a trace: spans, their notes, and search methods. For live traces and for traces from a file.

A live span is written by the code that it describes, and may be read at any time. Nothing here awaits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal, Protocol, cast, final

from lutum._telemetry.redact import SHORTEST, masked_value
from lutum._telemetry.spans import RawCapture
from lutum._values.errors import ProviderError

Status = Literal["open", "ok", "error", "cancelled"]

MESSAGE: Final = 500
"""The largest number of characters of an exception's message that a span keeps."""

# The exceptions for a cancellation in trio, a cancellation in asyncio, and an abandoned generator.
_CANCELLED: Final = frozenset({"Cancelled", "CancelledError", "GeneratorExit"})


@final
@dataclass(frozen=True, slots=True)
class Note:
    """An event at one moment. `at` is its time, in seconds on the event loop's clock."""

    name: str
    at: float
    fields: dict[str, Any]


@final
@dataclass(frozen=True, slots=True)
class RawEntry:
    """Unchanged data of a span: a `request`, a `frame` of events, or an `error`.

    `span` is the span to which the entry belongs. The members of the data depend on the kind. A request has
    `method`, `url`, `headers` and `body`. A frame has `sequence` and `frame` (see `lutum.decode_frame`). An
    error has `stage`, `error` and other known details. `body` and `frame` are bytes.
    """

    kind: str
    at: float
    span: Span | None
    data: dict[str, Any]


@final
@dataclass(frozen=True, slots=True)
class SpanOpened:
    """A change: a span was opened."""

    span: Span


@final
@dataclass(frozen=True, slots=True)
class SpanRecorded:
    """A change: fields of a span were recorded."""

    span: Span
    fields: dict[str, Any]


@final
@dataclass(frozen=True, slots=True)
class Noted:
    """A change: an event was recorded, in a span or outside any span."""

    span: Span | None
    note: Note


@final
@dataclass(frozen=True, slots=True)
class SpanEnded:
    """A change: a span was closed."""

    span: Span


Change = SpanOpened | SpanRecorded | Noted | SpanEnded


class Recorder(Protocol):
    """The recorder of a live span, such as a capture."""

    @property
    def closed(self) -> bool: ...
    @property
    def content(self) -> bool: ...
    @property
    def raw(self) -> RawCapture | None: ...
    @property
    def secrets(self) -> set[str]: ...
    @property
    def watched(self) -> bool: ...
    @property
    def kept(self) -> bool: ...

    def behind(self) -> Recorder | None: ...
    def clock(self) -> float: ...
    def tell(self, change: Change) -> None: ...
    def keep(self, entry: RawEntry) -> None: ...


@final
class Span:
    """An operation with a duration: `name`, `fields`, `notes` (its events) and `children`.

    `started` and `ended` are seconds on the event loop's clock; `ended` is None while the span is open. A
    root of an inner capture has a `parent` if an outer capture contains both spans.
    """

    __slots__ = ("_recorder", "children", "ended", "exports", "fields", "name", "notes", "parent", "started")

    def __init__(
        self,
        name: str,
        fields: dict[str, Any],
        started: float,
        parent: Span | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self.name: str = name
        self.fields: dict[str, Any] = fields
        self.started: float = started
        self.ended: float | None = None
        self.parent: Span | None = parent
        self.children: list[Span] = list[Span]()
        self.notes: list[Note] = list[Note]()
        self.exports: dict[object, Any] | None = None
        self._recorder = recorder

    # Reading.

    @property
    def status(self) -> Status:
        """`open`, `ok`, `error` or `cancelled`."""
        if self.ended is None:
            return "open"
        if self.fields.get("cancelled"):
            return "cancelled"
        return "error" if "error" in self.fields else "ok"

    @property
    def error(self) -> str | None:
        """The class of the exception that ended the span; None if no exception ended it."""
        return self.fields.get("error")

    @property
    def duration(self) -> float | None:
        """Seconds from start to end; None while the span is open."""
        return None if self.ended is None else self.ended - self.started

    def walk(self) -> Iterator[Span]:
        """Yield this span and all spans below it, depth first. Siblings are in the order of their start."""
        return _walk([self])

    def find(self, name: str, **fields: object) -> list[Span]:
        """Return the spans with this name and these field values, from this span and all spans below it."""
        return [span for span in self.walk() if _is(span, name, fields)]

    def span(self, name: str, **fields: object) -> Span:
        """Return the first span below this span with this name and these field values.

        Raises LookupError if there is none.
        """
        return _first(_walk(self.children), name, fields)

    def events(self, name: str | None = None) -> list[Note]:
        """Return the events of this span and of all spans below it, depth first. With `name`, only events
        with this name are returned."""
        return [note for span in self.walk() for note in span.notes if name is None or note.name == name]

    def __repr__(self) -> str:
        return f"<Span {self.name}, {self.status}, {len(self.children)} children>"

    # Writing: `lutum._telemetry.spans.Span`.

    @property
    def content(self) -> bool:
        """True if a capture around the span keeps prompts and answers."""
        return self._recorder is not None and self._recorder.content

    @property
    def raw(self) -> RawCapture | None:
        """The raw data that captures around the span keep; None without such a capture."""
        return None if self._recorder is None else self._recorder.raw

    def child(self, name: str, fields: dict[str, Any]) -> Span | None:
        """Open a span under this one; None if the capture is over."""
        recorder = self._recorder
        if recorder is not None and recorder.closed:
            recorder = recorder.behind()
        if recorder is None:
            return None
        if recorder.secrets:
            fields = _masked(fields, recorder.secrets)
        span = Span(name, fields, recorder.clock(), self, recorder)
        if recorder.kept:
            self.children.append(span)
        if recorder.watched:
            recorder.tell(SpanOpened(span))
        return span

    def set(self, /, **fields: Any) -> None:
        """Record fields. A later value replaces an earlier one."""
        recorder = self._recorder
        if recorder is None:
            return
        if recorder.secrets:
            fields = _masked(fields, recorder.secrets)
        self.fields.update(fields)
        if recorder.watched:
            recorder.tell(SpanRecorded(self, fields))

    def add(self, field: str, amount: int) -> None:
        """Add an amount to a field."""
        self.fields[field] = self.fields.get(field, 0) + amount

    def event(self, name: str, /, **fields: Any) -> None:
        """Record an event with the present time."""
        recorder = self._recorder
        if recorder is None or recorder.closed:
            return
        if recorder.secrets:
            fields = _masked(fields, recorder.secrets)
        note = Note(name, recorder.clock(), fields)
        if recorder.kept:
            self.notes.append(note)
        if recorder.watched:
            recorder.tell(Noted(self, note))

    def keep(self, kind: str, /, **data: Any) -> None:
        """Keep unchanged data, if a capture keeps this kind."""
        recorder = self._recorder
        if recorder is None or recorder.closed:
            return
        if recorder.secrets:
            data = _masked(data, recorder.secrets)
        recorder.keep(RawEntry(kind, recorder.clock(), self, data))

    def hide(self, *secrets: str) -> None:
        """Mask these strings in all later records."""
        if self._recorder is not None:
            self._recorder.secrets.update(_longer(secrets))

    def end(self, error: BaseException | None = None) -> None:
        """Close the span. Only the first call has an effect."""
        recorder = self._recorder
        if recorder is None or self.ended is not None:
            return
        if error is not None:
            self._fail(error, recorder)
        self.ended = recorder.clock()
        if recorder.watched:
            recorder.tell(SpanEnded(self))

    def _fail(self, error: BaseException, recorder: Recorder) -> None:
        said = error_words(error)
        if said is None:
            self.fields["cancelled"] = True
        elif "error" not in self.fields:
            self.fields.update(_masked(said, recorder.secrets) if recorder.secrets else said)


def error_words(error: BaseException) -> dict[str, Any] | None:
    """Return the class and the message of an exception; None for a cancellation."""
    error = _innermost(error)
    if type(error).__name__ in _CANCELLED:
        return None
    said: dict[str, Any] = {"error": type(error).__name__}
    if words := (error.message if isinstance(error, ProviderError) else str(error)):
        said["message"] = words[:MESSAGE]
    return said


class SpanTree:
    """The recorded tree of a capture, for reading.

    Attributes:
      roots: the spans that have no parent in this trace.
      notes: the events outside any span.
      wall: the start, in seconds since the epoch.
      started: the start, in seconds on the event loop's clock. Spans use the same clock.
      ended: the end, on the event loop's clock; None while the capture runs.
      raw: the unchanged requests, frames and errors, in order, if they were kept.
      error: the class of the exception that the captured block raised; None if it did not raise.
      message: the message of that exception, up to 500 characters.
      open_reason: the reason why spans are open; "" if all are closed.
    """

    __slots__ = ("ended", "error", "message", "notes", "raw", "roots", "started", "unfinished", "wall")

    def __init__(self, wall: float, started: float, *, unfinished: str = "") -> None:
        self.wall: float = wall
        self.started: float = started
        self.ended: float | None = None
        self.roots: list[Span] = list[Span]()
        self.notes: list[Note] = list[Note]()
        self.raw: list[RawEntry] = list[RawEntry]()
        self.error: str | None = None
        self.message: str = ""
        self.unfinished: str = unfinished

    def walk(self) -> Iterator[Span]:
        """Yield every span, depth first. Siblings are in the order of their start."""
        return _walk(self.roots)

    def find(self, name: str, **fields: object) -> list[Span]:
        """Return every span with this name and these field values, depth first."""
        return [span for span in self.walk() if _is(span, name, fields)]

    def span(self, name: str, **fields: object) -> Span:
        """Return the first span with this name and these field values. Raises LookupError if there is
        none."""
        return _first(self.walk(), name, fields)

    def events(self, name: str | None = None) -> list[Note]:
        """Return the events outside any span, then the events of each span, depth first. With `name`, only
        events with this name are returned."""
        notes = [*self.notes, *(note for span in self.walk() for note in span.notes)]
        return notes if name is None else [note for note in notes if note.name == name]

    def ordered(self, *names: str) -> bool:
        """Return whether the first spans with these names occur in this order, depth first."""
        first: dict[str, int] = {}
        for place, span in enumerate(self.walk()):
            first.setdefault(span.name, place)
        places = [first.get(name, -1) for name in names]
        return -1 not in places and all(a < b for a, b in pairwise(places))

    @property
    def open_reason(self) -> str:
        """The reason why spans are open; empty if all are closed."""
        if all(span.ended is not None for span in self.walk()):
            return ""
        if self.unfinished:
            return self.unfinished
        if self.ended is None:
            return "the trace is still being captured"
        return "its task was still running when the capture ended"

    @property
    def last(self) -> float:
        """The latest time in the trace, on the event loop's clock."""
        latest = self.started if self.ended is None else self.ended
        for span in self.walk():
            latest = max(latest, span.started, span.ended or latest)
            for note in span.notes:
                latest = max(latest, note.at)
        return latest


def _walk(spans: Iterable[Span]) -> Iterator[Span]:
    # A loop, because a trace from a file may be deeper than the recursion limit.
    waiting = list(spans)[::-1]
    while waiting:
        span = waiting.pop()
        yield span
        waiting += span.children[::-1]


def _is(span: Span, name: str, fields: dict[str, object]) -> bool:
    return span.name == name and all(
        field in span.fields and span.fields[field] == value for field, value in fields.items()
    )


def _first(spans: Iterator[Span], name: str, fields: dict[str, object]) -> Span:
    for span in spans:
        if _is(span, name, fields):
            return span
    wanted = "".join(f", {field}={value!r}" for field, value in fields.items())
    raise LookupError(f"there is no span {name!r}{wanted} in this trace")


def _innermost(error: BaseException) -> BaseException:
    """Return the innermost exception of nested groups.

    It stops at a group with more than one exception that is not a cancellation.
    """
    while inner := _grouped(error):
        others = [exc for exc in inner if type(exc).__name__ not in _CANCELLED]
        if len(others) > 1:
            break
        error = others[0] if others else inner[0]
    return error


def _grouped(error: BaseException) -> tuple[BaseException, ...]:
    if isinstance(error, BaseExceptionGroup):
        return cast("BaseExceptionGroup[BaseException]", error).exceptions
    return ()


def _longer(secrets: Iterable[str]) -> Iterator[str]:
    for secret in secrets:
        scheme, space, rest = secret.partition(" ")
        if space and scheme.lower() in ("bearer", "basic", "token"):
            secret = rest
        if len(secret) >= SHORTEST:
            yield secret


def _masked(fields: dict[str, Any], secrets: set[str]) -> dict[str, Any]:
    return {name: masked_value(value, secrets) for name, value in fields.items()}
