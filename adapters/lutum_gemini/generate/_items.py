"""Encode one item of a transcript to contents. Each item is encoded once.

Whatever depends on the rest of the request is added by `_contents`, which joins the pieces. For example, the
results of one round become one content.
"""

from __future__ import annotations

import mimetypes
from base64 import b64encode
from typing import Final

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
from lutum.dialect.json import FAULTS, decode_array, decode_object, encode, string
from lutum_gemini.generate import _estimate, _models, _turn, _wire

ASIDE: Final = "From the result of the tool call "
"""Start of the text before media of a result, for models whose results cannot contain media."""

_MEDIA: Final = (b'"inlineData"', b'"fileData"', b'"inline_data"', b'"file_data"')


class RoundAnswer(Struct, frozen=True):
    """The result of an open call: its part, and media to send after the results of its round."""

    call_id: str
    part: bytes
    aside: tuple[bytes, ...] = ()


class GeminiPiece(Struct, frozen=True):
    """The encoded form of one item.

    Attributes:
      contents: whole contents, in order.
      system: the parts of a system item, for `systemInstruction`.
      is_system: whether the item is a system item.
      answer: the encoded result, if the item is the result of an open call.
      form: how a committed turn is sent; None for other items.
      calls: the ids of a turn's calls, in order.
      continuation: the token that continues a paused turn.
      is_model: whether the last content is the model's.
      tokens: the estimated tokens.
      unbounded: the paths of content whose size is unknown. If there are any, `tokens` is not a bound.
      behind: the parts of a message that `from_messages` read from the same content as a round's results.
        They are sent after the results, in the same content.
      dropped: features that the item requests and the API does not offer, as sentences for the log.
    """

    contents: tuple[bytes, ...] = ()
    system: tuple[bytes, ...] = ()
    is_system: bool = False
    answer: RoundAnswer | None = None
    form: ReplayForm | None = None
    calls: tuple[str, ...] = ()
    continuation: str | None = None
    is_model: bool = False
    tokens: int = 0
    unbounded: tuple[str, ...] = ()
    behind: tuple[bytes, ...] = ()
    dropped: tuple[str, ...] = ()


class _ContentParts(Struct, frozen=True):
    """The encoded parts of a message's content, and their tokens."""

    parts: tuple[bytes, ...]
    tokens: int = 0
    unbounded: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


NO_CITATIONS: Final = "citations=True of a document is left out: Gemini does not cite documents"


class GeminiItemEncoder:
    """The `make` function for `Transcript.memo`, for one scope and model."""

    __slots__ = ("_anywhere", "_capable", "_model", "_scope", "_thoughts", "key")

    def __init__(self, scope: str, model: str, *, thoughts: bool = True, anywhere: bool = False) -> None:
        """Make an encoder.

        Args:
          thoughts: send summaries of thoughts.
          anywhere: send turns of all scopes and models unchanged.
        """
        self._scope = scope
        self._model = model
        self._thoughts = thoughts
        self._anywhere = anywhere
        self._capable = _models.capabilities(model)
        self.key = (_wire.NAME, scope, model, thoughts, anywhere)

    def __call__(self, item: Item, before: Transcript) -> GeminiPiece:
        """Encode an item of a transcript.

        Raises:
          BadValue: the API does not accept the item. The error's field is the path of the item.
        """
        return self.piece(item, f"input[{len(before)}]", before)

    def piece(self, item: Item, field: str, before: Transcript) -> GeminiPiece:
        """Encode the item that follows the items of `before`. Errors name `field`."""
        match item:
            case Message():
                return self._as_read(self._message(item, field), item.wire)
            case ToolResult():
                return self._result(item, field, before)
            case CommittedTurn():
                try:
                    return self._turn(item)
                except FAULTS as exc:
                    raise BadValue(field, f"its wire is not an answer of generateContent: {exc}") from None
            case Raw():
                return _raw_content(item, field)

    # --- turns ---------------------------------------------------------------------------------

    def _turn(self, turn: CommittedTurn) -> GeminiPiece:
        form = _turn.replay_form(turn, self._scope, self._model)
        whole, continuation = None, None
        if self._goes_whole(turn):
            parts = _turn.replay_parts(turn, thoughts=self._thoughts)
            continuation = _turn.continuation_of(turn)
            whole = _turn.read_content(turn)
        else:
            parts = _turn.view_parts(turn, bypass=self._capable.signed)
        return GeminiPiece(
            # The API refuses a content without parts, so a turn without parts is left out.
            (whole or content("model", parts),) if parts or whole else (),
            form=form,
            calls=tuple(call.id for call in turn.tool_calls),
            continuation=continuation,
            is_model=bool(parts or whole),
            tokens=sum(map(_part_tokens, parts)) + _estimate.CONTENT_TOKENS,
        )

    def _goes_whole(self, turn: CommittedTurn) -> bool:
        if self._anywhere:
            return _turn.goes_whole(turn, turn.scope, turn.model)
        return _turn.goes_whole(turn, self._scope, self._model)

    # --- messages ------------------------------------------------------------------------------

    def _message(self, item: Message, field: str) -> GeminiPiece:
        if item.role in ("system", "developer"):
            return _system(item, field)
        if item.role == "assistant" and any(isinstance(part, Image | Document) for part in item.content):
            raise BadValue(field, "an assistant message cannot contain an image or a document")
        sent = self._parts(item.content, field)
        if not sent.parts and item.role == "user" and item.wire is None:
            raise BadValue(field, "is empty")
        role = "model" if item.role == "assistant" else "user"
        return GeminiPiece(
            (content(role, sent.parts),) if sent.parts else (),
            is_model=role == "model",
            tokens=sent.tokens + _estimate.CONTENT_TOKENS,
            unbounded=sent.unbounded,
            dropped=sent.dropped,
        )

    def _as_read(self, piece: GeminiPiece, wire: Raw | None) -> GeminiPiece:
        """Return the piece with the JSON that its item was read from, if that JSON is of this dialect."""
        if wire is None or wire.adapter != _wire.NAME:
            return piece
        json = wire.json.encode()
        if piece.is_system:
            return msgspec.structs.replace(piece, system=parts_of(json))
        if json.startswith(b"["):
            parts = tuple(map(bytes, decode_array(json)))
            return msgspec.structs.replace(piece, contents=(content("user", parts),), behind=parts)
        return msgspec.structs.replace(piece, contents=(json,))

    # --- results -------------------------------------------------------------------------------

    def _result(self, item: ToolResult, field: str, before: Transcript) -> GeminiPiece:
        turn = _open_turn(before) if item.call_id in before.open_calls else None
        if turn is None and (item.name is None or item.arguments is None):
            raise BadValue(field, f"result {item.call_id!r} has no call before it")
        call = next((call for call in turn.tool_calls if call.id == item.call_id), None) if turn else None
        name = call.name if call is not None else item.name or ""
        keeps_id = turn is not None and self._keeps_id(turn, item.call_id)
        if turn is not None and item.wire is not None and item.wire.adapter == _wire.NAME:
            part = item.wire.json.encode()
            tokens = _part_tokens(part) + _estimate.CONTENT_TOKENS
            unknown = (field,) if has_media(part) else ()
            return GeminiPiece(answer=RoundAnswer(item.call_id, part), tokens=tokens, unbounded=unknown)
        media = [part for part in item.content if isinstance(part, Image | Document)]
        raws = [part for part in item.content if isinstance(part, Raw)]
        sent = self._parts((*media, *raws), field)
        inside = sent.parts if self._capable.result_media else ()
        aside = () if self._capable.result_media or not sent.parts else (_aside(name), *sent.parts)
        members: list[bytes] = []
        if keeps_id:
            members.append(b'"id":' + encode(item.call_id))
        members.append(b'"name":' + encode(name))
        key = "error" if item.is_error else "output"
        members.append(b'"response":' + encode({key: item.text}))
        if inside:
            members.append(b'"parts":' + _turn.joined(inside))
        part = b'{"functionResponse":{%b}}' % b",".join(members)
        tokens = _estimate.text_tokens(item.text) + sent.tokens + 3 * _estimate.CONTENT_TOKENS
        answer = RoundAnswer(item.call_id, part, aside)
        if turn is not None:
            return GeminiPiece(answer=answer, tokens=tokens, unbounded=sent.unbounded, dropped=sent.dropped)
        made = _turn.call_part(name, item.arguments or "", bypass=self._capable.signed)
        return GeminiPiece(
            (content("model", [made]), content("user", [part, *aside])),
            tokens=tokens + _estimate.json_tokens(made),
            unbounded=sent.unbounded,
            dropped=sent.dropped,
        )

    def _keeps_id(self, turn: CommittedTurn, call_id: str) -> bool:
        """Return whether the call is sent with an id from the server."""
        return self._goes_whole(turn) and call_id in _turn.server_ids(turn)

    # --- parts ---------------------------------------------------------------------------------

    def _parts(self, parts: tuple[Part, ...], field: str) -> _ContentParts:
        sent, tokens, unbounded = list[bytes](), 0, list[str]()
        dropped: tuple[str, ...] = ()
        for i, part in enumerate(parts):
            at = f"{field}.content[{i}]"
            known: int | None
            match part:
                case Text(text=text):
                    if not text:
                        continue
                    sent.append(_turn.text_part(text))
                    known = _estimate.text_tokens(text)
                case Raw():
                    json = own_json(part, at)
                    sent.append(json)
                    known = None if has_media(json) else _estimate.json_tokens(json)
                case Image():
                    sent.append(_image(part, at))
                    most = self._capable.image_tokens
                    known = None if part.data is None else _estimate.image_tokens(part.data, most)
                case Document():
                    sent += _document(part)
                    if part.citations:
                        dropped = (NO_CITATIONS,)
                    known = None
                    if part.data is not None:
                        known = _estimate.document_tokens(part.media_type, part.data)
                    if known is not None:
                        known += _estimate.text_tokens((part.title or "") + (part.context or ""))
            tokens += known or 0
            if known is None:
                unbounded.append(at)
        return _ContentParts(tuple(sent), tokens, tuple(unbounded), dropped)


def content(role: str, parts: list[bytes] | tuple[bytes, ...]) -> bytes:
    """Return a whole content."""
    return b'{"role":"%b","parts":%b}' % (role.encode(), _turn.joined(parts))


def parts_of(content: bytes) -> tuple[bytes, ...]:
    """Return the parts of a content."""
    found = decode_object(content).get("parts", msgspec.Raw(b"[]"))
    json = bytes(found)
    if json.startswith(b"["):
        return tuple(map(bytes, msgspec.json.decode(json, type=list[msgspec.Raw])))
    return (json,) if json.startswith(b"{") else ()


def has_media(json: bytes) -> bool:
    """Return whether raw JSON refers to media, whose token count does not follow from the JSON."""
    return any(mark in json for mark in _MEDIA)


def own_json(raw: Raw, field: str) -> bytes:
    """Return the JSON object of a raw part or item.

    Raises:
      BadValue: it belongs to another adapter, or is not an object.
    """
    if raw.adapter != _wire.NAME:
        raise BadValue(field, f"raw JSON of the adapter {raw.adapter!r} cannot go to Gemini")
    json = raw.json.strip().encode()
    try:
        decode_object(json)
    except FAULTS as exc:
        raise BadValue(field, f"is not a JSON object: {exc}") from None
    return json


def _system(item: Message, field: str) -> GeminiPiece:
    """Encode a system item: as parts for `systemInstruction`, and as user text.

    The user text is sent if the item is not at the start of the transcript.
    """
    texts = list[str]()
    for part in item.content:
        if not isinstance(part, Text):
            raise BadValue(field, f"a {item.role} message contains text only, not {type(part).__name__}")
        if part.text:
            texts.append(part.text)
    wrapped = [_turn.text_part(f"<system>\n{text}\n</system>") for text in texts]
    return GeminiPiece(
        (content("user", wrapped),) if wrapped else (),
        system=tuple(map(_turn.text_part, texts)),
        is_system=True,
        tokens=sum(map(_estimate.text_tokens, texts)) + 2 * _estimate.CONTENT_TOKENS,
    )


def _raw_content(item: Raw, field: str) -> GeminiPiece:
    json = own_json(item, field)
    members = decode_object(json)
    role = string(members.get("role")) or "user"
    if role not in ("user", "model", "function"):
        raise BadValue(f"{field}.role", f"{role!r} is not allowed: use user or model")
    return GeminiPiece(
        (json,),
        is_model=role == "model",
        tokens=_estimate.json_tokens(json),
        unbounded=(field,) if has_media(json) else (),
    )


def _open_turn(before: Transcript) -> CommittedTurn | None:
    """Return the turn whose calls are open."""
    for at in range(len(before) - 1, -1, -1):
        item = before[at]
        if isinstance(item, CommittedTurn):
            return item
    return None


def _aside(name: str) -> bytes:
    return _turn.text_part(f"{ASIDE}{name}:")


def _part_tokens(part: bytes) -> int:
    """Return the estimated tokens of a part of a turn.

    A signature has fewer tokens per byte than text. An image counts as a fixed number of tokens.
    """
    if b'"inlineData"' in part:
        return _estimate.UNKNOWN_IMAGE_TOKENS
    if b'"thoughtSignature"' not in part:
        return _estimate.json_tokens(part)
    members = decode_object(part)
    signature = bytes(members.pop("thoughtSignature", msgspec.Raw(b"")))
    return _estimate.json_tokens(encode(members)) + int(len(signature) / _estimate.SIGNATURE_PER_TOKEN)


def _image(image: Image, field: str) -> bytes:
    if image.data is not None and image.media_type not in _wire.IMAGE_TYPES:
        allowed = ", ".join(sorted(_wire.IMAGE_TYPES))
        raise BadValue(f"{field}.media_type", f"{image.media_type!r} is not accepted: use one of {allowed}")
    return _media(image.media_type, image.data, image.url or image.file_id)


def _document(document: Document) -> list[bytes]:
    """Return the parts of a document, audio or video: its title and context, then the media."""
    said = "\n".join(text for text in (document.title, document.context) if text)
    media = _media(document.media_type, document.data, document.url or document.file_id)
    return [_turn.text_part(said), media] if said else [media]


def _media(media_type: str, data: bytes | None, uri: str | None) -> bytes:
    if data is not None:
        return encode({"inlineData": {"mimeType": media_type, "data": b64encode(data).decode()}})
    media_type = media_type or mimetypes.guess_type((uri or "").partition("?")[0])[0] or ""
    typed = {"mimeType": media_type} if media_type else {}
    return encode({"fileData": {**typed, "fileUri": uri}})
