"""Encode one item of a transcript to messages. No I/O, no clock, no tasks. Done once per item."""

from __future__ import annotations

from typing import TypeGuard, final

import msgspec

from lutum import BadValue, CommittedTurn, Document, Image, Item, Message, Part, Text, ToolResult, Transcript
from lutum.dialect.json import encode
from lutum_openai import _estimate, _items
from lutum_openai._items import Content, ItemEncoder, OpenAIPiece
from lutum_openai._profiles import Profile
from lutum_openai.chat import _turn, _wire
from lutum_openai.chat._arrange import late_system

ELSEWHERE = "(in the next user message)"
"""The text of a tool message if the result is only media and the host accepts no media in tool messages."""


@final
class ChatItemEncoder(ItemEncoder):
    """The `make` function for `Transcript.memo`, for one scope and profile."""

    __slots__ = ("profile",)

    name = _wire.NAME
    api = "Chat Completions"
    sizeless = (b'"image_url"', b'"input_audio"', b'"video_url"', b'"document_url"', b'"file"', b'"audio"')

    def __init__(self, scope: str, profile: Profile) -> None:
        super().__init__(scope, profile)
        self.profile = profile

    def piece(self, item: Item, field: str, before: Transcript) -> OpenAIPiece:
        """Return the piece of `item`, which follows the items of `before`. Errors name `field`."""
        if _is_system(item) and self.profile.system == "one" and len(before) > len(before.head.system):
            return self._late_system(item, field)
        return super().piece(item, field, before)

    def ephemeral(self, item: Item, field: str) -> OpenAIPiece:
        """Return the piece of an ephemeral. An ephemeral system message is sent in the same form as a system
        message after the head."""
        if _is_system(item) and self.profile.system == "one":
            return self._late_system(item, field)
        return super().piece(item, field, Transcript())

    def _late_system(self, item: Message, field: str) -> OpenAIPiece:
        content = self._content(item.content, field, item.role)
        return content.piece(late_system(item.text))

    def _keeps_ids(self, turn: CommittedTurn) -> bool:
        return _turn.replay_form(turn, self.scope, turn.model).exact

    def _turn(self, turn: CommittedTurn) -> OpenAIPiece:
        form = _turn.replay_form(turn, self.scope, turn.model)
        exact = form.exact
        sent = _turn.replay_message(turn, self.profile) if exact else _turn.view_message(turn, self.profile)
        form = _turn.form_at(form, turn, self.profile)
        calls = tuple(
            call.id if exact else _turn.call_id(call.id, self.profile)
            for call in turn.tool_calls
            if not call.id.startswith(_wire.FUNCTION_ID)
        )
        if sent is None:
            return OpenAIPiece((), form=form)
        spoken = ("a turn with audio",) if exact and b'"audio":{' in sent else ()
        tokens = _items.message_tokens(sent)
        return OpenAIPiece((sent,), form=form, tokens=tokens, unbounded=spoken, calls=calls)

    def _message(self, item: Message, field: str) -> OpenAIPiece:
        role = item.role
        if role == "developer" and not self.profile.developer:
            role = "system"
        content = self._content(item.content, field, item.role)
        return content.piece(_message(role, b'"content":' + self._json(item.content, content)))

    def _result(self, item: ToolResult, field: str, before: Transcript) -> OpenAIPiece:
        answers = item.call_id in before.open_calls
        round = _round(before, item) if answers else (item,)
        said = _items.result_parts(item)
        if not self.profile.tool_media:
            said = tuple(part for part in said if not _is_media(part)) or (Text(ELSEWHERE),)
        content = self._content(said, field, "tool")
        json = self._json(said, content)
        if item.call_id.startswith(_wire.FUNCTION_ID):
            name = item.call_id.removeprefix(_wire.FUNCTION_ID)
            sent = [_message("function", b'"name":%b,"content":%b' % (encode(name), json))]
        else:
            id = self._call_id(item, before)
            sent = [_message("tool", b'"tool_call_id":%b,"content":%b' % (encode(id), json))]
            if not answers and item.name is not None and item.arguments is not None:
                call = b'"tool_calls":[%b]' % _turn.call_json(id, item.name, item.arguments, self.profile)
                if self.profile.required is not None:
                    call = b"%b:%b,%b" % (encode(self.profile.required), encode(self.profile.filler), call)
                if self.profile.null_content:
                    call = b'"content":null,' + call
                sent.insert(0, _message("assistant", call))
        more = sum(map(_items.message_tokens, sent[:-1]))
        if set(before.open_calls) <= {item.call_id} and (media := self._media(round, field, before)):
            sent.append(_message("user", b'"content":' + media.array))
            content = Content(
                content.parts,
                content.tokens + media.tokens,
                content.images + media.images,
                (*content.unbounded, *media.unbounded),
                content.dropped or media.dropped,
            )
            more += _estimate.MESSAGE_TOKENS
        piece = content.piece(*sent, answers=answers, more=more)
        if answers or item.call_id.startswith(_wire.FUNCTION_ID):
            return piece
        return msgspec.structs.replace(piece, calls=(self._call_id(item, before),))

    def _media(self, round: tuple[ToolResult, ...], field: str, before: Transcript) -> Content | None:
        """Return the media in the results of a round, if tool messages cannot contain media. They are sent in
        a user message after the last result, because no message is allowed between two results."""
        parts = list[Part]()
        for result in round if not self.profile.tool_media else ():
            if media := [part for part in result.content if _is_media(part)]:
                id = self._call_id(result, before)
                parts += [Text(f"From the result of the tool call {id}:"), *media]
        return self._content(tuple(parts), field, "user") if parts else None

    def _call_id(self, result: ToolResult, before: Transcript) -> str:
        """Return the call id that a result is sent with."""
        id = result.call_id
        if (sent := _turn.call_id(id, self.profile)) == id:
            return id
        return id if before.open_calls and self._as_received(before) else sent

    def _json(self, parts: tuple[Part, ...], content: Content) -> bytes:
        """Return the JSON of a content: a string for one text, because every server accepts a string, and a
        list for several parts. If the host accepts only strings, texts are joined. Media need a list."""
        texts = [part.text for part in parts if isinstance(part, Text)]
        if len(texts) == len(parts) and (len(parts) == 1 or self.profile.string_content):
            return encode("\n".join(texts))
        return content.array

    def _text(self, text: str, role: str) -> bytes:
        return b'{"type":"text","text":%b}' % encode(text)

    def _image(self, image: Image, field: str) -> bytes:
        if (url := _items.image_url(image, field)) is None:
            raise BadValue(
                field, "Chat Completions does not accept images by file id: give the bytes or a URL"
            )
        return b'{"type":"image_url","image_url":{"url":%b}}' % encode(url)

    def _document(self, document: Document, field: str) -> tuple[bytes, ...]:
        """Return a file part. Plain text becomes a text part, because every model reads text. Chat
        Completions has no citations of documents."""
        title = document.title or "document"
        if document.data is not None and document.media_type == "text/plain":
            try:
                text = document.data.decode()
            except UnicodeDecodeError as exc:
                raise BadValue(field, f"text/plain must be UTF-8: {exc}") from None
            heads = [words for words in (document.title, document.context) if words]
            return (self._text("\n\n".join([*heads, text]), "user"),)
        if document.data is not None:
            if document.media_type != "application/pdf":
                raise BadValue(
                    f"{field}.media_type",
                    f"{document.media_type!r} is not accepted: use application/pdf or text/plain",
                )
            name = title if title.lower().endswith(".pdf") else title + ".pdf"
            url = _items.data_url(document.media_type, document.data)
            file = {"filename": name, "file_data": url}
        elif document.file_id is not None:
            file = {"file_id": document.file_id}
        elif self.profile.file_urls and document.url is not None:
            file = {"filename": title, "file_data": document.url}
        else:
            raise BadValue(field, "Chat Completions does not accept documents by URL: give the bytes")
        return (b'{"type":"file","file":%b}' % encode(file),)


def _round(before: Transcript, last: ToolResult) -> tuple[ToolResult, ...]:
    """Return the results of the current round so far: those at the end of `before`, and `last`."""
    found = [last]
    for at in range(len(before) - 1, -1, -1):
        if not isinstance(item := before[at], ToolResult):
            break
        found.append(item)
    return tuple(reversed(found))


def _is_system(item: Item) -> TypeGuard[Message]:
    return isinstance(item, Message) and item.role in ("system", "developer")


def _is_media(part: Part) -> bool:
    return isinstance(part, Image) or (isinstance(part, Document) and part.media_type != "text/plain")


def _message(role: str, members: bytes) -> bytes:
    return b'{"role":"%b",%b}' % (role.encode(), members)
