"""The file format of a trace: JSON lines, written in one of two ways.

- `dump` writes a header, then each span with all its fields, then the raw entries.
- `Writer` writes the same header, then each change when it happens. Each line is written immediately. If the
  file has no final `end` line, the process died. An incomplete last line is ignored.

Spans are numbered from 1. Each span is after its parent in the file. Bytes are written as a string if they
are UTF-8, and otherwise as base64 in the member `base64`.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable
from os import PathLike
from typing import Any, Final, TypeVar, final

import msgspec
from msgspec import Struct, field

from lutum._values.errors import BadValue
from lutum.trace._tree import (
    Change,
    Note,
    Noted,
    RawEntry,
    Span,
    SpanEnded,
    SpanOpened,
    SpanRecorded,
    SpanTree,
)

logger = logging.getLogger("lutum.trace")

T = TypeVar("T", bound=SpanTree)

VERSION: Final = 1


class _TraceHeader(Struct, tag="trace", omit_defaults=True):
    version: int
    wall: float
    started: float
    ended: float | None = None
    error: str | None = None
    message: str = ""


class _Whole(Struct, tag="span", omit_defaults=True):
    id: int
    name: str
    started: float
    parent: int | None = None
    ended: float | None = None
    fields: dict[str, Any] = field(default_factory=dict[str, Any])
    notes: list[tuple[str, float, dict[str, Any]]] = field(
        default_factory=list[tuple[str, float, dict[str, Any]]]
    )


class _Set(Struct, tag="set"):
    span: int
    fields: dict[str, Any]


class _Note(Struct, tag="note", omit_defaults=True):
    name: str
    at: float
    fields: dict[str, Any] = field(default_factory=dict[str, Any])
    span: int | None = None


class _Closed(Struct, tag="close"):
    span: int
    ended: float
    fields: dict[str, Any]


class _Kept(Struct, tag="raw", omit_defaults=True):
    kind: str
    at: float
    data: dict[str, Any]
    span: int | None = None


class _End(Struct, tag="end", omit_defaults=True):
    ended: float
    error: str | None = None
    message: str = ""


_Line = _TraceHeader | _Whole | _Set | _Note | _Closed | _Kept | _End

_decoder: Final = msgspec.json.Decoder(_Line)


def _other(value: object) -> object:
    """Encode a value that has no form in JSON: a set as a list, any other value as the name of its type."""
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))  # pyright: ignore[reportUnknownArgumentType]  # elements are anything
    return f"<{type(value).__name__}>"


_encoder: Final = msgspec.json.Encoder(enc_hook=_other)


def _line(line: _Line) -> bytes:
    try:
        return _encoder.encode(line) + b"\n"
    except (UnicodeError, TypeError, ValueError, OverflowError, RecursionError):
        return _encoder.encode(plain(msgspec.structs.asdict(line)) | {"type": _tag(line)}) + b"\n"


def _tag(line: _Line) -> Any:
    return line.__struct_config__.tag


def plain(value: Any, depth: int = 20) -> Any:
    """Return a value that JSON can encode: without lone surrogates, with strings as keys, with limited
    depth."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**63 else str(value)
    if depth and isinstance(value, dict):
        items: Any = value.items()  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]  # isinstance gives no parameters
        return {plain(str(name), 1): plain(item, depth - 1) for name, item in items}
    if depth and isinstance(value, list | tuple):
        return [plain(item, depth - 1) for item in value]  # pyright: ignore[reportUnknownVariableType]  # isinstance gives no parameters
    return _other(value)


def dump(trace: SpanTree) -> bytes:
    """Return the lines of a trace in its present state. Open spans are written as open."""
    lines = [_line(_TraceHeader(VERSION, trace.wall, trace.started, trace.ended, trace.error, trace.message))]
    ids: dict[Span | None, int | None] = {None: None}
    roots = set(map(id, trace.roots))
    lines += [_line(_Note(note.name, note.at, note.fields)) for note in trace.notes]
    for number, span in enumerate(trace.walk(), 1):
        ids[span] = number
        parent = None if id(span) in roots else ids.get(span.parent)
        notes = [(note.name, note.at, note.fields) for note in span.notes]
        lines.append(_line(_Whole(number, span.name, span.started, parent, span.ended, span.fields, notes)))
    for entry in trace.raw:
        lines.append(_line(_Kept(entry.kind, entry.at, _as_text(entry.data), ids.get(entry.span))))
    return b"".join(lines)


def load(data: bytes, make: Callable[..., T]) -> T:
    """Read the output of `dump` or a file of `capture(to=...)`, complete or cut off.

    `make` creates the empty trace.

    Raises:
      BadValue: the data is not a trace; the error contains the line number.
    """
    number, lines = 0, data.split(b"\n")
    trace: T | None = None
    spans: dict[int, Span] = {}
    for number, text in enumerate(lines, 1):
        if not text:
            continue
        try:
            line = _decoder.decode(text)
            if trace is None:
                trace = _begun(line, make)
            else:
                _apply(trace, spans, line)
        except (msgspec.MsgspecError, UnicodeError, RecursionError, KeyError) as exc:
            if number == len(lines) and trace is not None and isinstance(exc, msgspec.DecodeError):
                break  # an incomplete last line: the process died while it wrote
            what = f"there is no span {exc}" if isinstance(exc, KeyError) else str(exc) or type(exc).__name__
            raise BadValue(f"trace: line {number}", what) from None
    if trace is None:
        raise BadValue("trace", "is empty")
    return trace


def _begun(line: _Line, make: Callable[..., T]) -> T:
    if not isinstance(line, _TraceHeader):
        raise BadValue("trace: line 1", "is not the header of a trace")
    if line.version != VERSION:
        raise BadValue("trace: version", f"is {line.version}; this version of lutum reads only {VERSION}")
    why = "the capture had not ended when this was written" if line.ended is None else ""
    trace = make(line.wall, line.started, unfinished=why)
    trace.ended = line.ended
    trace.error, trace.message = line.error, line.message
    return trace


def _apply(trace: SpanTree, spans: dict[int, Span], line: _Line) -> None:
    """Apply a line to the trace. Raises KeyError if the line names a span that was not opened."""
    match line:
        case _Whole():
            parent = None if line.parent is None else spans[line.parent]
            span = Span(line.name, line.fields, line.started, parent)
            span.ended = line.ended
            span.notes += [Note(*note) for note in line.notes]
            (trace.roots if parent is None else parent.children).append(span)
            spans[line.id] = span
        case _Set():
            spans[line.span].fields.update(line.fields)
        case _Note():
            where = trace if line.span is None else spans[line.span]
            where.notes.append(Note(line.name, line.at, line.fields))
        case _Closed():
            spans[line.span].fields.update(line.fields)
            spans[line.span].ended = line.ended
        case _Kept():
            at = None if line.span is None else spans[line.span]
            trace.raw.append(RawEntry(line.kind, line.at, at, _as_bytes(line.data)))
        case _End():
            trace.ended = line.ended
            trace.error, trace.message = line.error, line.message
            trace.unfinished = ""
        case _TraceHeader():
            raise BadValue("trace", "has a second header")


@final
class Writer:
    """Writes the changes of a trace when they happen. Each line is written immediately."""

    def __init__(self, trace: SpanTree, path: str | PathLike[str]) -> None:
        self._trace = trace
        self._broken = False
        self._ids: dict[Span, int] = {}
        # The fields of each open span that are already in the file. Counters are written when their span
        # ends.
        self._written: dict[Span, dict[str, Any]] = {}
        # Unbuffered, because the content of a buffer is lost if the process is killed.
        self._file = open(path, "wb", buffering=0)  # noqa: SIM115  # closed by close(), with the capture
        self._put(_TraceHeader(VERSION, trace.wall, trace.started))

    def write(self, change: Change) -> None:
        """Write one change."""
        match change:
            case SpanOpened(span=span):
                self._ids[span] = number = len(self._ids) + 1
                parent = None if span.parent is None else self._ids.get(span.parent)
                self._written[span] = dict(span.fields)
                self._put(_Whole(number, span.name, span.started, parent, None, span.fields))
            case SpanRecorded(span=span, fields=fields):
                if span in self._ids:
                    self._written.get(span, {}).update(fields)
                    self._put(_Set(self._ids[span], fields))
            case Noted(span=at, note=note):
                where = None if at is None else self._ids.get(at)
                self._put(_Note(note.name, note.at, note.fields, where))
            case SpanEnded(span=span):
                if span in self._ids and span.ended is not None:
                    written = self._written.pop(span)
                    new = {
                        name: value
                        for name, value in span.fields.items()
                        if name not in written or value is not written[name]
                    }
                    self._put(_Closed(self._ids[span], span.ended, new))

    def raw(self, entry: RawEntry) -> None:
        """Write a raw entry."""
        number = None if entry.span is None else self._ids.get(entry.span)
        self._put(_Kept(entry.kind, entry.at, _as_text(entry.data), number))

    def close(self) -> None:
        """Write the end of the capture and close the file."""
        trace = self._trace
        self._put(_End(trace.last if trace.ended is None else trace.ended, trace.error, trace.message))
        self._file.close()

    def _put(self, line: _Line) -> None:
        """Write a line. After an error, such as a full disk, write nothing more and raise nothing."""
        if self._broken:
            return
        try:
            self._file.write(_line(line))
        except OSError:
            self._broken = True
            logger.exception("a trace cannot be written; the rest of it is missing in its file")


def _as_text(data: dict[str, Any]) -> dict[str, Any]:
    return {name: _text(value) if isinstance(value, bytes) else value for name, value in data.items()}


def _text(value: bytes) -> dict[str, str]:
    try:
        return {"text": value.decode()}
    except UnicodeError:
        return {"base64": base64.b64encode(value).decode()}


def _as_bytes(data: dict[str, Any]) -> dict[str, Any]:
    for name, value in data.items():
        if isinstance(value, dict) and len(value) == 1:  # pyright: ignore[reportUnknownArgumentType]  # isinstance gives no parameters
            [(form, text)] = value.items()  # pyright: ignore[reportUnknownVariableType]  # isinstance gives no parameters
            if form == "text" and isinstance(text, str):
                data[name] = text.encode()
            elif form == "base64" and isinstance(text, str):
                try:
                    data[name] = base64.b64decode(text, validate=True)
                except ValueError:
                    raise BadValue(f"raw {name}", "is not base64") from None
    return data
