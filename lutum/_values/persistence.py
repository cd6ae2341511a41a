"""Transcripts as JSON lines: a header, then one item a line, each with the digest of all items up to it.

    {"lutum":"transcript","version":1}
    {"item":{"type":"message","role":"user","content":[...]},"digest":"9f..."}
    {"item":{"type":"turn","adapter":"claude",...,"wire":"{...}","items":[...]},"digest":"03..."}

A longer transcript only adds lines, so a file can be followed while it grows. `wire` is the adapter's JSON as
a string, so that its bytes stay the same (line ends, the spelling of numbers). A turn also contains its view,
so that a program without that adapter can read it. Media are base64. The digests form a chain over the items,
so that the error can name a line that was altered, moved or left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Protocol, Self, TypeVar

import msgspec
from msgspec import Struct

from lutum._values.answer import ViewItem
from lutum._values.check import describe
from lutum._values.committed import CommittedTurn, ToolDef
from lutum._values.errors import BadValue, TranscriptError
from lutum._values.items import Item, Message, Raw, ToolResult
from lutum._values.tokens import Tokens

VERSION = 1


class _TranscriptHeader(Struct, frozen=True):
    lutum: str
    version: int


class TurnRecord(Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True, tag="turn"):
    """CommittedTurn with its wire as text, not base64."""

    adapter: str
    scope: str
    model: str
    wire: str
    items: tuple[ViewItem, ...] = ()
    inexact_reason: str | None = None
    prefix: str | None = None
    preface: str = ""
    tools: tuple[ToolDef, ...] = ()
    tokens: Tokens | None = None


class _Line(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    item: Message | ToolResult | Raw | TurnRecord
    digest: str


_encode = msgspec.json.Encoder().encode
_decode_line = msgspec.json.Decoder(_Line).decode


class ItemChain(Protocol):
    """The part of a transcript's interface that is needed to read a file."""

    @property
    def digest(self) -> str: ...

    def __len__(self) -> int: ...

    def link(self, item: Item) -> Self: ...


C = TypeVar("C", bound=ItemChain)


def dump_header() -> bytes:
    """Return the first line of a file."""
    return _encode(_TranscriptHeader("transcript", VERSION)) + b"\n"


def dump_items(items: Iterable[tuple[Item, str]]) -> bytes:
    """Return items with their digests, a line each.

    Raises:
      TranscriptError: an item cannot be stored without loss.
    """
    return b"".join(_line(item, digest) + b"\n" for item, digest in items)


def load_lines(data: bytes, digest: str | None, empty: C) -> C:
    """Return `empty` with the items of a file. Raises as `Transcript.load`."""
    if not isinstance(data, bytes | bytearray | memoryview):
        name = f"{str(data)!r}" if isinstance(data, str | os.PathLike) else "'chat.jsonl'"
        raise BadValue(
            "data", f"needs the bytes of a dump, not {describe(data)}: write Path({name}).read_bytes()"
        )
    lines = data.split(b"\n")
    check_header(lines[0])
    if lines[-1]:
        raise TranscriptError(f"line {len(lines)}: the line has no line end, so it is cut")
    transcript = empty
    for number, line in enumerate(lines[1:-1], 2):
        try:
            transcript = read_line(line, transcript)
        except TranscriptError as exc:
            raise TranscriptError(f"line {number}: {exc}") from exc
    if digest is not None and transcript.digest != digest:
        raise TranscriptError(
            f"the file ends after {len(transcript)} items with another digest than {digest}"
        )
    return transcript


def read_line(line: bytes, before: C) -> C:
    """Return `before` with the item of one more line.

    Raises:
      TranscriptError: the line is not an item, does not belong after `before`, or was altered.
    """
    if line.startswith(b'{"branch":'):
        raise TranscriptError(
            "this line begins a branch, as in the file of a `lutum chat`; /save in the chat writes a file"
            " with one branch"
        )
    try:
        read = _decode_line(line)
        transcript = before.link(_item(read.item))
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as exc:
        raise TranscriptError(str(exc)) from exc
    if transcript.digest != read.digest:
        raise TranscriptError("the line was altered or is out of order; its digest does not match")
    return transcript


def check_header(line: bytes) -> None:
    """Raise TranscriptError if the line is not the header of a file that this version can read."""
    try:
        header = msgspec.json.decode(line, type=_TranscriptHeader)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        header = None
    if header is None or header.lutum != "transcript":
        raise TranscriptError("line 1: not a lutum transcript")
    if header.version != VERSION:
        raise TranscriptError(f"line 1: the version is {header.version}; this lutum reads version {VERSION}")


def _line(item: Item, digest: str, where: str = "dump") -> bytes:
    """Return one line. It is decoded again first, so that no line is dumped that cannot be loaded."""
    try:
        line = _encoded(item, digest)
        back = _item(_decode_line(line).item)
    # ValueError is raised for an integer beyond 64 bits. BadValue is raised if a part's constructor refuses
    # it.
    except (msgspec.MsgspecError, ValueError, AttributeError, TypeError, RecursionError) as exc:
        raise TranscriptError(f"{where}: {type(item).__name__} cannot be stored: {exc}") from None
    if back != item:
        raise TranscriptError(
            f"{where}: {type(item).__name__} cannot be stored, because loading it would give another value"
        )
    return line


def check_item(item: Item, at: int) -> None:
    """Raise TranscriptError if a file could not hold the item, which would be at index `at`."""
    _line(item, "", f"item {at}")


def _encoded(item: Item, digest: str) -> bytes:
    if not isinstance(item, CommittedTurn):
        return _encode(_Line(item, digest))
    return _encode(_Line(record_of(item), digest))


def record_of(turn: CommittedTurn) -> TurnRecord:
    """Return the form in which a turn is stored. Raises UnicodeError for a wire that is not text."""
    fields = msgspec.structs.asdict(turn)
    fields |= {"wire": turn.wire.decode(), "preface": turn.preface.decode()}
    return TurnRecord(**fields)


def turn_of(record: TurnRecord) -> CommittedTurn:
    """Return the turn that was stored."""
    fields = msgspec.structs.asdict(record)
    fields |= {"wire": record.wire.encode(), "preface": record.preface.encode()}
    return CommittedTurn(**fields)


def _item(stored: Message | ToolResult | Raw | TurnRecord) -> Item:
    return turn_of(stored) if isinstance(stored, TurnRecord) else stored
