"""One item of a transcript to the messages it is on the wire. PURE, and worked out once per item.

A message never moves and never changes: what depends on the rest of the request (ephemerals, cache
breakpoints) is left to `_encode`, which joins the pieces.
"""

from __future__ import annotations

from base64 import b64encode

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
from lutum_openai import _common
from lutum_openai.chat import _turn, _wire
from lutum_openai.chat._profiles import Profile

# Parts whose size no rule of bytes tells.
_SIZELESS = (b'"image_url"', b'"input_audio"', b'"video_url"', b'"document_url"', b'"file"', b'"audio"')


class Piece(Struct, frozen=True):
    """What one item is on the wire.

    Attributes:
      messages: whole messages, in order.
      answers: holds the result of a call that is open: nothing may stand before it.
      form: of a committed turn, how it goes out.
      images: how many there are; what one takes depends on the model.
    """

    messages: tuple[bytes, ...]
    answers: bool = False
    form: ReplayForm | None = None
    tokens: int = 0
    images: int = 0
    unbounded: tuple[str, ...] = ()


class Encoder:
    """`make` for `Transcript.memo`, for one scope and profile."""

    __slots__ = ("key", "profile", "scope")

    def __init__(self, scope: str, profile: Profile) -> None:
        self.scope = scope
        self.profile = profile
        self.key = (_wire.NAME, scope, profile)

    def __call__(self, item: Item, before: Transcript) -> Piece:
        """The piece of an item of a transcript.

        Raises:
          BadValue: Chat Completions takes no such thing; the field is the item's place.
        """
        return self.piece(item, f"input[{len(before)}]", before)

    def piece(self, item: Item, field: str, before: Transcript) -> Piece:
        """The piece of an item that stands at `field`, behind the items of `before`."""
        match item:
            case Message():
                return self._message(item, field)
            case ToolResult():
                return self._result(item, field, before)
            case CommittedTurn():
                return self._turn(item)
            case Raw():
                json = own_json(item, field)
                sizeless = any(mark in json for mark in _SIZELESS)
                return Piece((json,), tokens=_tokens(json), unbounded=(field,) if sizeless else ())

    def _turn(self, turn: CommittedTurn) -> Piece:
        form = _turn.replay_form(turn, self.scope, turn.model)
        if form.exact:
            sent = _turn.replay_message(turn, self.profile)
        else:
            sent = _turn.view_message(turn, self.profile)
        spoken = ("a turn with audio",) if form.exact and b'"audio":{' in sent else ()
        return Piece((sent,), form=form, tokens=_tokens(sent), unbounded=spoken)

    def _message(self, item: Message, field: str) -> Piece:
        role = item.role
        if role == "developer" and not self.profile.developer:
            role = "system"
        if role != "user":
            for part in item.content:
                if isinstance(part, Image | Document):
                    raise BadValue(field, f"a {item.role} message holds text only, not {type(part).__name__}")
        content = self._content(item.content, field)
        return content.piece(_message(role.encode(), b'"content":' + content.json))

    def _result(self, item: ToolResult, field: str, before: Transcript) -> Piece:
        answers = item.call_id in before.open_calls
        parts = item.content
        if item.is_error:
            parts = (Text(_wire.ERROR_MARK + item.text), *(p for p in parts if not isinstance(p, Text)))
        elif all(isinstance(part, Text) for part in parts):
            parts = (Text(item.text),)
        content = self._content(parts, field)
        if item.call_id.startswith(_wire.FUNCTION_ID):
            name = _wire.encode(item.call_id.removeprefix(_wire.FUNCTION_ID))
            message = _message(b"function", b'"name":%b,"content":%b' % (name, content.json))
            return content.piece(message, answers=answers)
        id = item.call_id
        if (sent := _turn.call_id(id, self.profile)) != id and not (answers and self._as_received(before)):
            id = sent
        message = _message(b"tool", b'"tool_call_id":%b,"content":%b' % (_wire.encode(id), content.json))
        if answers or item.name is None or item.arguments is None:
            return content.piece(message, answers=answers)
        call = b'"tool_calls":[%b]' % _turn.call_json(id, item.name, item.arguments)
        if self.profile.required is not None:
            call = _wire.encode(self.profile.required) + b':"",' + call
        asked = _message(b"assistant", b'"content":null,' + call)
        return content.piece(asked, message, more=_tokens(asked))

    def _as_received(self, before: Transcript) -> bool:
        """Whether the turn whose calls are open goes out with the ids that came."""
        at = len(before) - 1
        while isinstance(item := before[at], ToolResult):
            at -= 1
        return isinstance(item, CommittedTurn) and _turn.replay_form(item, self.scope, item.model).exact

    def _content(self, parts: tuple[Part, ...], field: str) -> _Content:
        """A string where it is one text, which every server takes, else parts."""
        if len(parts) == 1 and isinstance(text := parts[0], Text):
            return _Content(_wire.encode(text.text), _common.text_tokens(text.text))
        sent, tokens, images, unbounded = list[bytes](), 0, 0, list[str]()
        for i, part in enumerate(parts):
            at = f"{field}.content[{i}]"
            known: int | None = 0
            match part:
                case Text(text=words):
                    sent.append(_text_part(words))
                    known = _common.text_tokens(words)
                case Raw():
                    sent.append(json := own_json(part, at))
                    known = None if any(mark in json for mark in _SIZELESS) else _common.json_tokens(json)
                case Image():
                    sent.append(_image(part, at))
                    images += 1
                    known = None if part.data is None else 0
                case Document():
                    sent.append(self._document(part, at))
                    known = _document_tokens(part)
            tokens += known or 0
            if known is None:
                unbounded.append(at)
        return _Content(b"[" + b",".join(sent) + b"]", tokens, images, tuple(unbounded))

    def _document(self, document: Document, field: str) -> bytes:
        """A file part; plain text goes in as text, which every model reads. Chat knows no citations of it."""
        title = document.title or "document"
        if document.data is not None and document.media_type == "text/plain":
            try:
                text = document.data.decode()
            except UnicodeDecodeError as exc:
                raise BadValue(field, f"text/plain must be UTF-8: {exc}") from None
            heads = [words for words in (document.title, document.context) if words]
            return _text_part("\n\n".join([*heads, text]))
        if document.data is not None:
            if document.media_type != "application/pdf":
                raise BadValue(f"{field}.media_type", f"{document.media_type!r} is no PDF and no plain text")
            name = title if title.lower().endswith(".pdf") else title + ".pdf"
            file = {"filename": name, "file_data": _data_url(document)}
        elif document.file_id is not None:
            file = {"file_id": document.file_id}
        elif self.profile.file_urls and document.url is not None:
            file = {"filename": title, "file_data": document.url}
        else:
            raise BadValue(field, "Chat Completions takes no document by URL: give its bytes")
        return b'{"type":"file","file":%b}' % _wire.encode(file)


def own_json(raw: Raw, field: str) -> bytes:
    """The JSON of a raw part or item of this dialect.

    Raises:
      BadValue: it is another adapter's.
    """
    if raw.adapter != _wire.NAME:
        raise BadValue(field, f"raw JSON of the adapter {raw.adapter!r} cannot go to Chat Completions")
    return raw.json.strip().encode()


class _Content(Struct, frozen=True):
    """The JSON of a content, and what it takes."""

    json: bytes
    tokens: int
    images: int = 0
    unbounded: tuple[str, ...] = ()

    def piece(self, *messages: bytes, answers: bool = False, more: int = 0) -> Piece:
        tokens = self.tokens + _common.MESSAGE_TOKENS + more
        return Piece(messages, answers, None, tokens, self.images, self.unbounded)


def _tokens(message: bytes) -> int:
    return _common.json_tokens(message) + _common.MESSAGE_TOKENS


def _document_tokens(document: Document) -> int | None:
    if document.data is None:
        return None
    if document.media_type == "text/plain":
        return _common.text_tokens(document.data.decode(errors="replace"))
    return _common.pdf_tokens(document.data)


def _message(role: bytes, members: bytes) -> bytes:
    return b'{"role":"%b",%b}' % (role, members)


def _text_part(text: str) -> bytes:
    return b'{"type":"text","text":%b}' % _wire.encode(text)


def _image(image: Image, field: str) -> bytes:
    if image.data is not None:
        if image.media_type not in _wire.IMAGE_TYPES:
            allowed = sorted(_wire.IMAGE_TYPES)
            raise BadValue(f"{field}.media_type", f"{image.media_type!r} is none of {allowed}")
        url = _data_url(image)
    elif image.url is not None:
        url = image.url
    else:
        raise BadValue(field, "Chat Completions takes no image by file id: give its bytes or a URL")
    return b'{"type":"image_url","image_url":{"url":%b}}' % _wire.encode(url)


def _data_url(media: Image | Document) -> str:
    return f"data:{media.media_type};base64,{b64encode(media.data or b'').decode()}"
