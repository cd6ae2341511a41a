"""What both dialects share in turning one item of a transcript into what it is on the wire. PURE.

A piece is worked out once per item and never changes: what depends on the rest of the request (ephemerals,
cache breakpoints, what an image costs) is left to each `_encode`, which joins the pieces.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import Hashable
from typing import ClassVar

import msgspec
from msgspec import Struct

from lutum import (
    BadValue,
    CommittedTurn,
    Document,
    Image,
    Item,
    Message,
    Part,
    Raw,
    Text,
    ToolResult,
    Transcript,
)
from lutum.abc import ReplayForm
from lutum_openai import _estimate

ERROR_MARK = "ERROR: "
"""Begins the text of a tool result that is an error: the dialects have no flag for it."""

IMAGE_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})  # guides/images-vision


class OpenAIPiece(Struct, frozen=True):
    """What one item is on the wire.

    Attributes:
      sent: whole messages, or input items, in order.
      answers: holds the result of a call that is open: nothing may stand before it.
      form: of a committed turn, how it goes out.
      preface: what among `sent` stood before a turn and no item of the transcript holds.
      images: how many there are; what one takes depends on the model.
      unbounded: what makes `tokens` worthless, each place named.
      calls: the ids of its calls as they are sent, where the API wants each to be there once.
      whole: of a turn that goes out with the ids it came with.
    """

    sent: tuple[bytes, ...]
    answers: bool = False
    form: ReplayForm | None = None
    preface: tuple[bytes, ...] = ()
    tokens: int = 0
    images: int = 0
    unbounded: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    whole: bool = False


class Content(Struct, frozen=True):
    """The parts of a content, and what they take."""

    parts: tuple[bytes, ...]
    tokens: int = 0
    images: int = 0
    unbounded: tuple[str, ...] = ()

    @property
    def array(self) -> bytes:
        return b"[" + b",".join(self.parts) + b"]"

    def piece(self, *sent: bytes, answers: bool = False, more: int = 0) -> OpenAIPiece:
        """The piece that holds it; `more` tokens stand beside it."""
        tokens = self.tokens + _estimate.MESSAGE_TOKENS + more
        return OpenAIPiece(sent, answers, tokens=tokens, images=self.images, unbounded=self.unbounded)


class ItemEncoder(ABC):
    """`make` for `Transcript.memo`, for one scope and whatever else (`about`) decides what is sent."""

    __slots__ = ("key", "scope")

    name: ClassVar[str]
    api: ClassVar[str]
    sizeless: ClassVar[tuple[bytes, ...]]
    """Marks of raw JSON whose size no rule of bytes tells."""

    def __init__(self, scope: str, about: Hashable) -> None:
        self.scope = scope
        self.key = (self.name, scope, about)

    def __call__(self, item: Item, before: Transcript) -> OpenAIPiece:
        """The piece of an item of a transcript.

        Raises:
          BadValue: the API takes no such thing; the field is the item's place.
        """
        return self.piece(item, f"input[{len(before)}]", before)

    def piece(self, item: Item, field: str, before: Transcript) -> OpenAIPiece:
        """The piece of an item that stands at `field`, behind the items of `before`."""
        match item:
            case Message():
                return self._as_read(self._message(item, field), item.wire)
            case ToolResult():
                result = self._result(item, field, before)
                return self._as_read(result, item.wire) if result.answers else result
            case CommittedTurn():
                return self._turn(item)
            case Raw():
                json, tokens = self._raw(item, field)
                return OpenAIPiece(
                    (json,), tokens=message_tokens(json), unbounded=(field,) * (tokens is None)
                )

    @abstractmethod
    def _message(self, item: Message, field: str) -> OpenAIPiece: ...

    @abstractmethod
    def _result(self, item: ToolResult, field: str, before: Transcript) -> OpenAIPiece: ...

    @abstractmethod
    def _turn(self, turn: CommittedTurn) -> OpenAIPiece: ...

    @abstractmethod
    def _keeps_ids(self, turn: CommittedTurn) -> bool:
        """Whether the turn's calls go out with the ids that came."""

    @abstractmethod
    def _text(self, text: str, role: str) -> bytes: ...

    @abstractmethod
    def _image(self, image: Image, field: str) -> bytes: ...

    @abstractmethod
    def _document(self, document: Document, field: str) -> tuple[bytes, ...]: ...

    def _takes_media(self, role: str) -> bool:
        return role in ("user", "tool")

    def _as_received(self, before: Transcript) -> bool:
        """Whether the calls that are open behind `before` go out with the ids that came."""
        for at in range(len(before) - 1, -1, -1):
            if not isinstance(item := before[at], ToolResult):
                return isinstance(item, CommittedTurn) and self._keeps_ids(item)
        return False

    def _as_read(self, piece: OpenAIPiece, wire: Raw | None) -> OpenAIPiece:
        """The piece with the JSON that its item was read from, where that was this dialect's."""
        if wire is None or wire.adapter != self.name:
            return piece
        return msgspec.structs.replace(piece, sent=(wire.json.encode(),))

    def _raw(self, raw: Raw, field: str) -> tuple[bytes, int | None]:
        """The JSON of a raw part or item of this dialect, and its tokens where they can be told."""
        if raw.adapter != self.name:
            raise BadValue(field, f"raw JSON of the adapter {raw.adapter!r} cannot go to {self.api}")
        json = raw.json.strip().encode()
        return json, None if any(mark in json for mark in self.sizeless) else _estimate.json_tokens(json)

    def _content(self, parts: tuple[Part, ...], field: str, role: str) -> Content:
        sent, tokens, images, unbounded = list[bytes](), 0, 0, list[str]()
        for i, part in enumerate(parts):
            at = f"{field}.content[{i}]"
            known: int | None
            match part:
                case Text(text=text):
                    sent.append(self._text(text, role))
                    known = _estimate.text_tokens(text)
                case Raw():
                    json, known = self._raw(part, at)
                    sent.append(json)
                case Image() | Document() if not self._takes_media(role):
                    raise BadValue(at, f"a message of role {role} holds text only, not {type(part).__name__}")
                case Image():
                    sent.append(self._image(part, at))
                    images += 1
                    known = None if part.data is None else 0
                case Document():
                    sent += self._document(part, at)
                    known = document_tokens(part)
            tokens += known or 0
            if known is None:
                unbounded.append(at)
        return Content(tuple(sent), tokens, images, tuple(unbounded))


def json_instruction(schema: str) -> str:
    """Return the instruction for JSON mode, which has no schema and is refused where no message says "JSON".

    It goes last in the input, for its request alone.
    """
    return f"Answer with one JSON object, and nothing else, that fits this JSON schema:\n{schema}"


def result_parts(result: ToolResult) -> tuple[Part, ...]:
    """What a tool result says: one text where it is nothing else."""
    mark = ERROR_MARK if result.is_error else ""
    if all(isinstance(part, Text) for part in result.content):
        return (Text(mark + result.text),)
    return (Text(mark.strip()), *result.content) if mark else result.content


def message_tokens(json: bytes) -> int:
    """Tokens of a whole message or item that is sent as JSON."""
    return _estimate.json_tokens(json)


def document_tokens(document: Document) -> int | None:
    """Tokens of a document; None where nobody here can see its text."""
    if document.data is None:
        return None
    context = _estimate.text_tokens(document.context) if document.context else 0
    if document.media_type == "text/plain":
        return context + _estimate.text_tokens(document.data.decode(errors="replace"))
    pages = _estimate.pdf_tokens(document.data)
    return None if pages is None else context + pages


def data_url(media_type: str | None, data: bytes) -> str:
    """A `data:` URL."""
    return f"data:{media_type};base64,{b64encode(data).decode()}"


def image_url(image: Image, field: str) -> str | None:
    """The URL of an image, `data:` where it has its bytes; None of one that has only a file id.

    Raises:
      BadValue: a type that the APIs do not read.
    """
    if image.data is None:
        return image.url
    if image.media_type not in IMAGE_TYPES:
        raise BadValue(f"{field}.media_type", f"{image.media_type!r} is none of {sorted(IMAGE_TYPES)}")
    return data_url(image.media_type, image.data)
