"""The input of a turn: parts and items.

All are frozen values that do not depend on a provider. If a provider cannot take one, its adapter raises an
error that names the field, before anything is reserved. The classes have `gc=False`, because values of
strings and tuples cannot form cycles. Otherwise the garbage collector would visit every item of every
transcript.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import msgspec
from msgspec import Struct

from lutum._values.check import check_type, describe
from lutum._values.committed import CommittedTurn
from lutum._values.errors import BadValue
from lutum._values.media import check_text, checked_url, not_blank, read_file, sniff, true_type

if TYPE_CHECKING:
    pass

Role = Literal["system", "developer", "user", "assistant"]
_ROLES: tuple[Role, ...] = get_args(Role)


class Text(Struct, frozen=True, gc=False, tag="text"):
    """Plain text."""

    text: str


class Media(Struct, frozen=True, gc=False, omit_defaults=True):
    """The source of an image or a document: exactly one of `data`, `url` and `file_id`."""

    media_type: str = ""
    data: bytes | None = None
    url: str | None = None
    file_id: str | None = None

    def __post_init__(self) -> None:
        if sum(source is not None for source in (self.data, self.url, self.file_id)) != 1:
            raise BadValue(type(self).__name__.lower(), "needs exactly one of data, url and file_id")


class Image(Media, frozen=True, gc=False, tag="image"):
    """An image; make one with `from_path`, `from_bytes`, `from_url` or `from_file_id`."""

    @classmethod
    def from_bytes(cls, data: bytes, *, media_type: str | None = None) -> Image:
        """Make an image from encoded bytes. If no media type is given, it is read from the first bytes.

        Raises:
          BadValue: the data is empty, is over 50 MB, or is not of a known image type.
        """
        return cls(sniff("image", data, media_type, "image/"), data)

    @classmethod
    def from_path(cls, path: str | os.PathLike[str], *, media_type: str | None = None) -> Image:
        """Make an image from a file, which is read at once. Raises BadValue as `from_bytes`, and OSError."""
        return cls.from_bytes(read_file("image", path), media_type=media_type)

    @classmethod
    def from_url(cls, url: str) -> Image:
        """Make an image from a URL that the provider fetches. Its size in tokens is not known beforehand."""
        return cls(url=checked_url("image.url", url))

    @classmethod
    def from_file_id(cls, file_id: str) -> Image:
        """Make an image from a file that was uploaded to the provider."""
        return cls(file_id=not_blank("image.file_id", file_id))


class Document(Media, frozen=True, gc=False, omit_defaults=True, tag="document"):
    """A document (PDF or plain text), with an optional title and context for the model."""

    title: str | None = None
    context: str | None = None
    citations: bool = False

    @classmethod
    def from_bytes(
        cls,
        data: bytes,
        *,
        media_type: str | None = None,
        title: str | None = None,
        context: str | None = None,
        citations: bool = False,
    ) -> Document:
        """Make a document from the bytes of a PDF, or of UTF-8 text.

        Raises:
          BadValue: the data is empty, is over 50 MB, or is neither.
        """
        check_text("document.title", title or "")
        check_text("document.context", context or "")
        kind = sniff("document", data, media_type, "application/pdf", text=True)
        return cls(kind, data, title=title, context=context, citations=citations)

    @classmethod
    def from_path(
        cls,
        path: str | os.PathLike[str],
        *,
        media_type: str | None = None,
        title: str | None = None,
        context: str | None = None,
        citations: bool = False,
    ) -> Document:
        """Make a document from a file, which is read at once. Raises BadValue as `from_bytes`, and OSError.

        If no title is given, it is the file's name.
        """
        data = read_file("document", path)
        title = Path(path).name if title is None else title
        return cls.from_bytes(data, media_type=media_type, title=title, context=context, citations=citations)

    @classmethod
    def from_text(cls, text: str, *, title: str | None = None, citations: bool = False) -> Document:
        """Make a `text/plain` document from text. Raises BadValue as `from_bytes`."""
        check_text("document", text)
        return cls.from_bytes(text.encode(), media_type="text/plain", title=title, citations=citations)

    @classmethod
    def from_url(cls, url: str, *, title: str | None = None) -> Document:
        """Make a document from a URL that the provider fetches. Its size in tokens is unknown beforehand."""
        return cls(url=checked_url("document.url", url), title=title)

    @classmethod
    def from_file_id(cls, file_id: str, *, title: str | None = None) -> Document:
        """Make a document from a file that was uploaded to the provider."""
        return cls(file_id=not_blank("document.file_id", file_id), title=title)


class Raw(Struct, frozen=True, gc=False, tag="raw"):
    """JSON of one adapter's own protocol. That adapter sends it unchanged, other adapters refuse it.

    As a part it is one content block; as an item it is one whole message or input item.
    """

    adapter: str
    json: str

    @property
    def text(self) -> str:
        """Empty, because only its adapter can read it. Every item of a transcript has a `text`."""
        return ""


Part = Text | Image | Document | Raw
Content = str | Part | Sequence[Part]


class Message(Struct, frozen=True, gc=False, omit_defaults=True, tag="message"):
    """A message of the conversation. An assistant message is plain text, not a turn.

    `wire` is the provider's own JSON of the message, if `content` does not contain all of it. The adapter of
    `wire` sends `wire`, every other adapter sends `content`.
    """

    role: Role
    content: tuple[Part, ...]
    wire: Raw | None = None

    def __post_init__(self) -> None:
        if self.role not in _ROLES:
            raise BadValue("role", f"{self.role!r} is not one of {', '.join(_ROLES)}")
        if not isinstance(self.content, tuple):
            raise BadValue("content", f"needs a tuple of parts, not {type(self.content).__name__}")

    @property
    def text(self) -> str:
        """The text parts, joined."""
        return "".join(part.text for part in self.content if isinstance(part, Text))


class ToolResult(Struct, frozen=True, omit_defaults=True, tag="tool_result"):
    """The answer to one call.

    A result with `name` and `arguments` does not need the turn with its call, because adapters then send the
    call too. `wire` is that of `Message`. `exception` is the tool's exception; a transcript keeps the result
    without it.
    """

    call_id: str
    content: tuple[Part, ...]
    is_error: bool = False
    name: str | None = None
    arguments: str | None = None
    wire: Raw | None = None
    exception: BaseException | None = None

    @property
    def text(self) -> str:
        """The text parts, joined."""
        return "".join(part.text for part in self.content if isinstance(part, Text))


Item = Message | ToolResult | CommittedTurn | Raw


def parts(field: str, content: Content) -> tuple[Part, ...]:
    """Return content as a tuple of parts, each image and document with the media type of its bytes.

    Raises:
      BadValue: the content is empty, an element is not a part, or bytes are not of their media type.
    """
    if isinstance(content, str):
        check_text(field, content)
        return (Text(content),)
    if isinstance(content, Text | Image | Document | Raw):
        found: tuple[Part, ...] = (content,)
    elif isinstance(content, Mapping):
        raise BadValue(field, "a dict is neither text nor parts; give the text itself, or a lutum.Text")
    elif isinstance(content, bytes) or not isinstance(content, Iterable):
        raise BadValue(field, f"{describe(content)} is neither text nor parts")
    else:
        found = tuple(content)
    if not found:
        raise BadValue(field, "has no parts")
    found = tuple(_typed(f"{field}[{i}]", part) for i, part in enumerate(found))
    for i, part in enumerate(found):
        if not isinstance(part, Text | Image | Document | Raw):
            raise BadValue(f"{field}[{i}]", f"needs lutum.Text, Image, Document or Raw, not {describe(part)}")
        if isinstance(part, Text):
            check_text(f"{field}[{i}]", part.text)
    return found


def _typed(field: str, part: Part) -> Part:
    """Return a part with the media type of its bytes. A wrong type would make every later request fail."""
    if not isinstance(part, Image | Document) or not isinstance(part.data, bytes) or not part.media_type:
        return part
    media_type = true_type(f"{field}.data", part.data, part.media_type)
    return part if media_type == part.media_type else msgspec.structs.replace(part, media_type=media_type)


def message(role: Role, content: Content) -> Message:
    return Message(role, parts(role, content))


def tool_result(
    call_id: str,
    content: Content,
    *,
    is_error: bool = False,
    name: str | None = None,
    arguments: str | None = None,
) -> ToolResult:
    return ToolResult(
        not_blank("tool_result.call_id", call_id),
        parts("tool_result", content),
        is_error,
        name,
        arguments,
    )


def raw(adapter: str, json: str | bytes) -> Raw:
    """Return a raw item. Raises BadValue if `json` is not one JSON value."""
    check_type("raw.json", json, str | bytes, "JSON as text or bytes")
    try:
        text = json if isinstance(json, str) else json.decode()
        msgspec.json.decode(text)
    except (UnicodeError, RecursionError, msgspec.DecodeError) as exc:
        raise BadValue("raw.json", f"is not JSON: {exc}") from None
    return Raw(not_blank("raw.adapter", adapter), text)
