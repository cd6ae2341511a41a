"""Encoding of one transcript item: the code that Chat and Responses share. No I/O, no clock, no tasks.

A piece is made once per item and never changes. The `_encode` module of each dialect joins the pieces. It
adds everything that depends on the rest of the request: ephemerals, cache breakpoints, the cost of an image.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import Hashable
from typing import ClassVar, Final

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
"""Prefix of a tool result's text if the result is an error. The dialects have no flag for errors."""

IMAGE_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})  # guides/images-vision


NO_CITATIONS: Final = "citations=True of a document is left out: this API does not cite documents"


class OpenAIPiece(Struct, frozen=True):
    """The encoded form of one item.

    Attributes:
      sent: whole messages, or input items, in order.
      answers: the piece is the result of an open call. Nothing may be inserted before it.
      form: how a committed turn is sent; None for other items.
      preface: the entries of `sent` that come from the turn's preface. The turn's request sent them before
        the answer, and no item of the transcript contains them.
      tokens: the estimated tokens, without images.
      images: the number of images. Their tokens are counted later, because they depend on the model.
      unbounded: the places of content whose size is unknown. If there are any, `tokens` is not a bound.
      calls: the ids of the item's calls as they are sent, if the API requires unique ids.
      whole: the item is a turn that is sent whole, with its original ids.
      dropped: features that the content requests and the API does not offer, as sentences for the log.
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
    dropped: tuple[str, ...] = ()


class Content(Struct, frozen=True):
    """The encoded parts of one item's content, and their tokens."""

    parts: tuple[bytes, ...]
    tokens: int = 0
    images: int = 0
    unbounded: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    @property
    def array(self) -> bytes:
        return b"[" + b",".join(self.parts) + b"]"

    def piece(self, *sent: bytes, answers: bool = False, more: int = 0) -> OpenAIPiece:
        """Return a piece with `sent` and the figures of this content; `more` is added to its tokens."""
        tokens = self.tokens + _estimate.MESSAGE_TOKENS + more
        return OpenAIPiece(
            sent,
            answers,
            tokens=tokens,
            images=self.images,
            unbounded=self.unbounded,
            dropped=self.dropped,
        )


class ItemEncoder(ABC):
    """The `make` function for `Transcript.memo`.

    The bytes of a piece depend on the adapter's name, the scope and `about`. Therefore these are the `key`.
    """

    __slots__ = ("key", "scope")

    name: ClassVar[str]
    api: ClassVar[str]
    sizeless: ClassVar[tuple[bytes, ...]]
    """Substrings that mark raw JSON of unknown size: its token count does not follow from its bytes."""

    def __init__(self, scope: str, about: Hashable) -> None:
        self.scope = scope
        self.key = (self.name, scope, about)

    def __call__(self, item: Item, before: Transcript) -> OpenAIPiece:
        """Return the piece of `item`, which follows the items of `before`.

        Raises:
          BadValue: the API does not accept the item. The error's field is the place of the item.
        """
        return self.piece(item, f"input[{len(before)}]", before)

    def piece(self, item: Item, field: str, before: Transcript) -> OpenAIPiece:
        """Return the piece of `item`, which follows the items of `before`. Errors name `field`."""
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
        """Return whether the turn's calls are sent with their original ids."""

    @abstractmethod
    def _text(self, text: str, role: str) -> bytes: ...

    @abstractmethod
    def _image(self, image: Image, field: str) -> bytes: ...

    @abstractmethod
    def _document(self, document: Document, field: str) -> tuple[bytes, ...]: ...

    def _takes_media(self, role: str) -> bool:
        return role in ("user", "tool")

    def _as_received(self, before: Transcript) -> bool:
        """Return whether the calls that are open after `before` are sent with their original ids."""
        for at in range(len(before) - 1, -1, -1):
            if not isinstance(item := before[at], ToolResult):
                return isinstance(item, CommittedTurn) and self._keeps_ids(item)
        return False

    def _as_read(self, piece: OpenAIPiece, wire: Raw | None) -> OpenAIPiece:
        """Return the piece. If its item was read from JSON of this dialect, the piece sends that JSON."""
        if wire is None or wire.adapter != self.name:
            return piece
        return msgspec.structs.replace(piece, sent=(wire.json.encode(),))

    def _raw(self, raw: Raw, field: str) -> tuple[bytes, int | None]:
        """Return the JSON of a raw part or item of this dialect, and its tokens (None if unknown)."""
        if raw.adapter != self.name:
            raise BadValue(field, f"raw JSON of the adapter {raw.adapter!r} cannot go to {self.api}")
        json = raw.json.strip().encode()
        return json, None if any(mark in json for mark in self.sizeless) else _estimate.json_tokens(json)

    def _content(self, parts: tuple[Part, ...], field: str, role: str) -> Content:
        sent, tokens, images, unbounded = list[bytes](), 0, 0, list[str]()
        dropped: tuple[str, ...] = ()
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
                    raise BadValue(at, f"a {role} message contains text only, not {type(part).__name__}")
                case Image():
                    sent.append(self._image(part, at))
                    images += 1
                    known = None if part.data is None else 0
                case Document():
                    sent += self._document(part, at)
                    known = document_tokens(part)
                    if part.citations:
                        dropped = (NO_CITATIONS,)
            tokens += known or 0
            if known is None:
                unbounded.append(at)
        return Content(tuple(sent), tokens, images, tuple(unbounded), dropped)


def json_instruction(schema: str) -> str:
    """Return the instruction for JSON mode. It contains the schema, because JSON mode has no field for one.

    The API refuses JSON mode if no message contains the word "JSON". The instruction is the last entry of
    the input, and is sent for this request only.
    """
    return f"Answer with one JSON object, and nothing else, that fits this JSON schema:\n{schema}"


def result_parts(result: ToolResult) -> tuple[Part, ...]:
    """Return the parts of a tool result. If all parts are text, they are joined into one part."""
    mark = ERROR_MARK if result.is_error else ""
    if all(isinstance(part, Text) for part in result.content):
        return (Text(mark + result.text),)
    return (Text(mark.strip()), *result.content) if mark else result.content


def message_tokens(json: bytes) -> int:
    """Return the tokens of a whole message or item that is sent as JSON."""
    return _estimate.json_tokens(json)


def document_tokens(document: Document) -> int | None:
    """Return the tokens of a document; None if its text is not available here."""
    if document.data is None:
        return None
    context = _estimate.text_tokens(document.context) if document.context else 0
    if document.media_type == "text/plain":
        return context + _estimate.text_tokens(document.data.decode(errors="replace"))
    pages = _estimate.pdf_tokens(document.data)
    return None if pages is None else context + pages


def data_url(media_type: str | None, data: bytes) -> str:
    """Return a `data:` URL."""
    return f"data:{media_type};base64,{b64encode(data).decode()}"


def image_url(image: Image, field: str) -> str | None:
    """Return the URL of an image, or a `data:` URL with its bytes; None if it has only a file id.

    Raises:
      BadValue: the APIs do not read images of this media type.
    """
    if image.data is None:
        return image.url
    if image.media_type not in IMAGE_TYPES:
        allowed = ", ".join(sorted(IMAGE_TYPES))
        raise BadValue(f"{field}.media_type", f"{image.media_type!r} is not accepted: use one of {allowed}")
    return data_url(image.media_type, image.data)
