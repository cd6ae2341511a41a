"""One item of a transcript to the messages it is on the wire. PURE, and worked out once per item."""

from __future__ import annotations

from typing import final

from lutum import BadValue, CommittedTurn, Document, Image, Message, Part, Text, ToolResult, Transcript
from lutum.dialect.json import encode
from lutum_openai import _estimate, _items
from lutum_openai._items import Content, ItemEncoder, OpenAIPiece
from lutum_openai._profiles import Profile
from lutum_openai.chat import _turn, _wire

ELSEWHERE = "(in the next user message)"
"""What a tool message says whose result is nothing but media that no tool message may hold."""


@final
class ChatItemEncoder(ItemEncoder):
    """`make` for `Transcript.memo`, for one scope and profile."""

    __slots__ = ("profile",)

    name = _wire.NAME
    api = "Chat Completions"
    sizeless = (b'"image_url"', b'"input_audio"', b'"video_url"', b'"document_url"', b'"file"', b'"audio"')

    def __init__(self, scope: str, profile: Profile) -> None:
        super().__init__(scope, profile)
        self.profile = profile

    def _keeps_ids(self, turn: CommittedTurn) -> bool:
        return _turn.replay_form(turn, self.scope, turn.model).exact

    def _turn(self, turn: CommittedTurn) -> OpenAIPiece:
        form = _turn.replay_form(turn, self.scope, turn.model)
        if form.exact:
            sent = _turn.replay_message(turn, self.profile)
        else:
            sent = _turn.view_message(turn, self.profile)
        spoken = ("a turn with audio",) if form.exact and b'"audio":{' in sent else ()
        return OpenAIPiece((sent,), form=form, tokens=_items.message_tokens(sent), unbounded=spoken)

    def _message(self, item: Message, field: str) -> OpenAIPiece:
        role = item.role
        if role == "developer" and not self.profile.developer:
            role = "system"
        content = self._content(item.content, field, item.role)
        return content.piece(_message(role, b'"content":' + _json(item.content, content)))

    def _result(self, item: ToolResult, field: str, before: Transcript) -> OpenAIPiece:
        answers = item.call_id in before.open_calls
        round = _round(before, item) if answers else (item,)
        said = _items.result_parts(item)
        if not self.profile.tool_media:
            said = tuple(part for part in said if not _is_media(part)) or (Text(ELSEWHERE),)
        content = self._content(said, field, "tool")
        json = _json(said, content)
        if item.call_id.startswith(_wire.FUNCTION_ID):
            name = item.call_id.removeprefix(_wire.FUNCTION_ID)
            sent = [_message("function", b'"name":%b,"content":%b' % (encode(name), json))]
        else:
            id = self._call_id(item, before)
            sent = [_message("tool", b'"tool_call_id":%b,"content":%b' % (encode(id), json))]
            if not answers and item.name is not None and item.arguments is not None:
                call = b'"tool_calls":[%b]' % _turn.call_json(id, item.name, item.arguments)
                if self.profile.required is not None:
                    call = encode(self.profile.required) + b':"",' + call
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
            )
            more += _estimate.MESSAGE_TOKENS
        return content.piece(*sent, answers=answers, more=more)

    def _media(self, round: tuple[ToolResult, ...], field: str, before: Transcript) -> Content | None:
        """What a round's results hold that their tool messages may not, for a user message behind the last:
        between two results none may stand."""
        parts = list[Part]()
        for result in round if not self.profile.tool_media else ():
            if media := [part for part in result.content if _is_media(part)]:
                id = self._call_id(result, before)
                parts += [Text(f"From the result of the tool call {id}:"), *media]
        return self._content(tuple(parts), field, "user") if parts else None

    def _call_id(self, result: ToolResult, before: Transcript) -> str:
        """The id by which a result names its call."""
        id = result.call_id
        if (sent := _turn.call_id(id, self.profile)) == id:
            return id
        return id if before.open_calls and self._as_received(before) else sent

    def _text(self, text: str, role: str) -> bytes:
        return b'{"type":"text","text":%b}' % encode(text)

    def _image(self, image: Image, field: str) -> bytes:
        if (url := _items.image_url(image, field)) is None:
            raise BadValue(field, "Chat Completions takes no image by file id: give its bytes or a URL")
        return b'{"type":"image_url","image_url":{"url":%b}}' % encode(url)

    def _document(self, document: Document, field: str) -> tuple[bytes, ...]:
        """A file part; plain text goes in as text, which every model reads. Chat knows no citations of it."""
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
                raise BadValue(f"{field}.media_type", f"{document.media_type!r} is no PDF and no plain text")
            name = title if title.lower().endswith(".pdf") else title + ".pdf"
            url = _items.data_url(document.media_type, document.data)
            file = {"filename": name, "file_data": url}
        elif document.file_id is not None:
            file = {"file_id": document.file_id}
        elif self.profile.file_urls and document.url is not None:
            file = {"filename": title, "file_data": document.url}
        else:
            raise BadValue(field, "Chat Completions takes no document by URL: give its bytes")
        return (b'{"type":"file","file":%b}' % encode(file),)


def _round(before: Transcript, last: ToolResult) -> tuple[ToolResult, ...]:
    """The results that answer the turn whose calls are open behind `before`, up to `last`."""
    found = [last]
    for at in range(len(before) - 1, -1, -1):
        if not isinstance(item := before[at], ToolResult):
            break
        found.append(item)
    return tuple(reversed(found))


def _is_media(part: Part) -> bool:
    return isinstance(part, Image) or (isinstance(part, Document) and part.media_type != "text/plain")


def _json(parts: tuple[Part, ...], content: Content) -> bytes:
    """A string where it is one text, which every server takes, else parts."""
    if len(parts) == 1 and isinstance(text := parts[0], Text):
        return encode(text.text)
    return content.array


def _message(role: str, members: bytes) -> bytes:
    return b'{"role":"%b",%b}' % (role.encode(), members)
