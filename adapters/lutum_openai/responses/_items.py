"""One item of a transcript to the input items it is on the wire. PURE, and worked out once per item."""

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
from lutum_openai._common import encode
from lutum_openai.responses import _turn, _wire

ERROR_MARK = "ERROR: "
"""Begins the output of a result with `is_error`: the API has no member that says so."""


class Piece(Struct, frozen=True):
    """What one item is on the wire.

    Attributes:
      items: input items, in order.
      answers: holds the result of a call that is open.
      form: of a committed turn, how it goes out.
      preface: the items among them that stood before the turn and no item of the transcript holds.
      unbounded: what makes `tokens` worthless, each place named.
    """

    items: tuple[bytes, ...]
    answers: bool = False
    form: ReplayForm | None = None
    preface: tuple[bytes, ...] = ()
    tokens: int = 0
    unbounded: tuple[str, ...] = ()


class Encoder:
    """`make` for `Transcript.memo`, for one scope and model."""

    __slots__ = ("key", "model", "scope")

    def __init__(self, scope: str, model: str) -> None:
        self.scope = scope
        self.model = model
        self.key = (_wire.NAME, scope, model)

    def __call__(self, item: Item, before: Transcript) -> Piece:
        """The piece of an item of a transcript.

        Raises:
          BadValue: the API takes no such thing; the field is the item's place.
        """
        return self.piece(item, f"input[{len(before)}]", before.open_calls)

    def piece(self, item: Item, field: str, open_calls: tuple[str, ...] = ()) -> Piece:
        """The piece of an item that stands at `field`, while those calls are open."""
        match item:
            case Message():
                return self._message(item, field)
            case ToolResult():
                return self._result(item, field, open_calls)
            case CommittedTurn():
                return self._turn(item)
            case Raw():
                json = _own_json(item, field)
                # What a reference to something uploaded or stored holds, nobody can see here.
                seen = not any(mark in json for mark in (b'_url"', b'"file_id"', b'"item_reference"'))
                tokens = _common.json_tokens(json) + _common.MESSAGE_TOKENS
                return Piece((json,), tokens=tokens, unbounded=() if seen else (field,))

    def _turn(self, turn: CommittedTurn) -> Piece:
        form = _turn.replay_form(turn, self.scope, self.model)
        at_home = turn.adapter == _wire.NAME and turn.scope == self.scope
        reason = turn.inexact_reason or ""
        if not at_home or reason.startswith((_turn.UNFINISHED, _turn.VALUE_CALL)):
            preface, sent = list[bytes](), _turn.view_items(turn)
        else:
            # A turn that is inexact for another reason still goes out whole: nothing here is signed, and a
            # call keeps the reasoning that led to it.
            preface = _turn.preface_items(turn.preface)
            sent = _turn.replay_items(turn, reasoning=_wire.reasons(self.model) is not False)
        items = (*preface, *sent)
        tokens = sum(_common.json_tokens(item) + _common.MESSAGE_TOKENS for item in items)
        return Piece(items, form=form, preface=tuple(preface), tokens=tokens)

    def _message(self, item: Message, field: str) -> Piece:
        head = b'{"type":"message","role":"%b","content":' % item.role.encode()
        words = all(isinstance(part, Text) for part in item.content)
        if words and (len(item.content) == 1 or item.role == "assistant"):
            content, tokens, unbounded = encode(item.text), _common.text_tokens(item.text), tuple[str, ...]()
        else:
            parts, tokens, unbounded = self._parts(item.content, field, assistant=item.role == "assistant")
            content = b"[" + b",".join(parts) + b"]"
        return Piece((head + content + b"}",), tokens=tokens + _common.MESSAGE_TOKENS, unbounded=unbounded)

    def _result(self, item: ToolResult, field: str, open_calls: tuple[str, ...]) -> Piece:
        mark = ERROR_MARK if item.is_error else ""
        if all(isinstance(part, Text) for part in item.content):
            output, tokens, unbounded = (
                encode(mark + item.text),
                _common.text_tokens(item.text),
                tuple[str, ...](),
            )
        else:
            content = (Text(mark.strip()), *item.content) if mark else item.content
            parts, tokens, unbounded = self._parts(content, field)
            output = b"[" + b",".join(parts) + b"]"
        id = encode(_common.call_id(item.call_id))
        result = b'{"type":"function_call_output","call_id":%b,"output":%b}' % (id, output)
        tokens += _common.MESSAGE_TOKENS
        if item.call_id in open_calls:
            return Piece((result,), answers=True, tokens=tokens, unbounded=unbounded)
        if item.name is None or item.arguments is None:
            raise BadValue(field, f"result {item.call_id!r} has no call before it")
        call = _turn.call_item(item.call_id, item.name, item.arguments)
        return Piece((call, result), tokens=tokens + _common.json_tokens(call), unbounded=unbounded)

    def _parts(
        self, parts: tuple[Part, ...], field: str, *, assistant: bool = False
    ) -> tuple[list[bytes], int, tuple[str, ...]]:
        """Content parts, their tokens and what has no bound."""
        sent, tokens, unbounded = list[bytes](), 0, list[str]()
        for i, part in enumerate(parts):
            at = f"{field}.content[{i}]"
            known: int | None
            match part:
                case Text(text=text):
                    sent.append(_text(text, assistant=assistant))
                    known = _common.text_tokens(text)
                case Raw():
                    json = _own_json(part, at)
                    sent.append(json)
                    seen = b'_url"' not in json and b'"file_id"' not in json and b'"file_data"' not in json
                    known = _common.json_tokens(json) if seen else None
                case Image() | Document() if assistant:
                    raise BadValue(at, "an assistant message holds no image or document")
                case Image():
                    sent.append(_image(part, at))
                    known = None if part.data is None else _common.image_tokens(self.model)
                case Document():
                    if part.context:
                        sent.append(_text(part.context, assistant=False))
                        tokens += _common.text_tokens(part.context)
                    sent.append(_document(part, at))
                    known = _document_tokens(part)
            tokens += known or 0
            if known is None:
                unbounded.append(at)
        return sent, tokens, tuple(unbounded)


def _text(text: str, *, assistant: bool) -> bytes:
    return b'{"type":"%b","text":%b}' % (b"output_text" if assistant else b"input_text", encode(text))


def _own_json(raw: Raw, field: str) -> bytes:
    if raw.adapter != _wire.NAME:
        raise BadValue(field, f"raw JSON of the adapter {raw.adapter!r} cannot go to {_wire.NAME!r}")
    return raw.json.strip().encode()


def _image(image: Image, field: str) -> bytes:
    if image.file_id is not None:
        return b'{"type":"input_image","detail":"auto","file_id":%b}' % encode(image.file_id)
    url = image.url
    if image.data is not None:
        if image.media_type not in _wire.IMAGE_TYPES:
            allowed = sorted(_wire.IMAGE_TYPES)
            raise BadValue(f"{field}.media_type", f"{image.media_type!r} is none of {allowed}")
        url = _data_url(image.media_type, image.data)
    return b'{"type":"input_image","detail":"auto","image_url":%b}' % encode(url)


def _document(document: Document, field: str) -> bytes:
    """An input_file. `citations` asks for something of the answer that this API does not offer, and is not
    sent, so that a conversation begun elsewhere can go on here."""
    if document.file_id is not None:
        return b'{"type":"input_file","file_id":%b}' % encode(document.file_id)
    if document.url is not None:
        return b'{"type":"input_file","file_url":%b}' % encode(document.url)
    if document.data is None:
        raise BadValue(field, "a document needs data, a url or a file_id")
    ending = {"application/pdf": ".pdf", "text/plain": ".txt"}.get(document.media_type, "")
    name = document.title or "document"
    return b'{"type":"input_file","filename":%b,"file_data":%b}' % (
        encode(name if name.endswith(ending) else name + ending),
        encode(_data_url(document.media_type, document.data)),
    )


def _document_tokens(document: Document) -> int | None:
    if document.data is None:
        return None
    if document.media_type == "text/plain":
        return _common.text_tokens(document.data.decode(errors="replace"))
    return _common.pdf_tokens(document.data)


def _data_url(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{b64encode(data).decode()}"
