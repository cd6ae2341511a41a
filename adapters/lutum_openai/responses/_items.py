"""Encode one item of a transcript to input items. No I/O, no clock, no tasks. Done once per item."""

from __future__ import annotations

from typing import final

import msgspec

from lutum import BadValue, CommittedTurn, Document, Image, Message, Text, ToolResult, Transcript
from lutum.dialect.json import encode
from lutum_openai import _estimate, _items
from lutum_openai._items import ItemEncoder, OpenAIPiece
from lutum_openai.responses import _turn, _wire
from lutum_openai.responses._wire import call_id


@final
class ResponsesItemEncoder(ItemEncoder):
    """The `make` function for `Transcript.memo`, for one scope and model."""

    __slots__ = ("model",)

    name = _wire.NAME
    api = "the Responses API"
    # References to uploaded or stored content, whose size is unknown here.
    sizeless = (b'_url"', b'"file_id"', b'"file_data"', b'"item_reference"')

    def __init__(self, scope: str, model: str) -> None:
        super().__init__(scope, model)
        self.model = model

    def _keeps_ids(self, turn: CommittedTurn) -> bool:
        """Return whether the turn is sent whole.

        Most turns of this adapter and scope are sent whole, even if they have an `inexact_reason`, because
        the API signs nothing, and because a call then keeps its reasoning. Turns with one of the two reasons
        below are not sent whole.
        """
        at_home = turn.adapter == _wire.NAME and turn.scope == self.scope
        reason = turn.inexact_reason or ""
        return at_home and not reason.startswith((_turn.UNFINISHED, _turn.VALUE_CALL))

    def _turn(self, turn: CommittedTurn) -> OpenAIPiece:
        form = _turn.replay_form(turn, self.scope, self.model)
        whole = self._keeps_ids(turn)
        if whole:
            preface = _turn.preface_items(turn.preface)
            sent = _turn.replay_items(turn, reasoning=_wire.reasons(self.model) is not False)
        else:
            preface, sent = [], _turn.view_items(turn)
        items = (*preface, *sent)
        tokens = sum(map(_items.message_tokens, items))
        return OpenAIPiece(
            items,
            form=form,
            preface=tuple(preface),
            tokens=tokens,
            calls=tuple(call.id if whole else call_id(call.id) for call in turn.tool_calls),
            whole=whole,
        )

    def _message(self, item: Message, field: str) -> OpenAIPiece:
        content = self._content(item.content, field, item.role)
        words = all(isinstance(part, Text) for part in item.content)
        plain = words and (len(item.content) == 1 or item.role == "assistant")
        json = encode(item.text) if plain else content.array
        return content.piece(
            b'{"type":"message","role":"%b","content":%b}' % (item.role.encode(), json),
        )

    def _result(self, item: ToolResult, field: str, before: Transcript) -> OpenAIPiece:
        answers = item.call_id in before.open_calls
        parts = _items.result_parts(item)
        content = self._content(parts, field, "tool")
        plain = len(parts) == 1 and isinstance(parts[0], Text)
        id = item.call_id if answers and self._as_received(before) else call_id(item.call_id)
        result = b'{"type":"function_call_output","call_id":%b,"output":%b}' % (
            encode(id),
            encode(parts[0].text) if plain and isinstance(parts[0], Text) else content.array,
        )
        if answers:
            return content.piece(result, answers=True)
        if item.name is None or item.arguments is None:
            raise BadValue(field, f"result {item.call_id!r} has no call before it")
        call = _turn.call_item(item.call_id, item.name, item.arguments)
        piece = content.piece(call, result, more=_estimate.json_tokens(call))
        return msgspec.structs.replace(piece, calls=(id,))

    def _takes_media(self, role: str) -> bool:
        return role != "assistant"

    def _text(self, text: str, role: str) -> bytes:
        kind = b"output_text" if role == "assistant" else b"input_text"
        return b'{"type":"%b","text":%b}' % (kind, encode(text))

    def _image(self, image: Image, field: str) -> bytes:
        if image.file_id is not None:
            return b'{"type":"input_image","detail":"auto","file_id":%b}' % encode(image.file_id)
        url = _items.image_url(image, field)
        return b'{"type":"input_image","detail":"auto","image_url":%b}' % encode(url)

    def _document(self, document: Document, field: str) -> tuple[bytes, ...]:
        """Return an input_file. `citations=True` is not sent, because this API does not cite documents. It is
        not an error, so that a conversation from another provider can be continued here."""
        said = (self._text(document.context, "user"),) if document.context else ()
        if document.file_id is not None:
            return *said, b'{"type":"input_file","file_id":%b}' % encode(document.file_id)
        if document.url is not None:
            return *said, b'{"type":"input_file","file_url":%b}' % encode(document.url)
        if document.data is None:
            raise BadValue(field, "a document needs data, a URL or a file id")
        ending = {"application/pdf": ".pdf", "text/plain": ".txt"}.get(document.media_type, "")
        name = document.title or "document"
        file = b'{"type":"input_file","filename":%b,"file_data":%b}' % (
            encode(name if name.endswith(ending) else name + ending),
            encode(_items.data_url(document.media_type, document.data)),
        )
        return *said, file
