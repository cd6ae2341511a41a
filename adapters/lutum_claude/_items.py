"""Encode one item of a transcript to its blocks on the wire. Each item is encoded once. No I/O.

Decisions that depend on the rest of the request are made later. `_request_body` joins the pieces: it decides
where a late system message is placed and which turns keep their thinking. `_write` sets cache breakpoints.
"""

from __future__ import annotations

from base64 import b64encode

import msgspec
from msgspec import Raw as RawJson, Struct

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
from lutum.abc import ReplayForm, TurnRequest
from lutum.dialect.json import decode_array, decode_object, encode, string
from lutum_claude import _estimate, _models, _turn, _wire


class ContentBlock(Struct, frozen=True, gc=False):
    """A content block's JSON. `markable`: whether a cache breakpoint may be set on it."""

    json: bytes
    markable: bool = True


class ClaudePiece(Struct, frozen=True):
    """The wire form of one item.

    Attributes:
      groups: blocks, with the role of their message. A role that begins with `raw` marks a whole message,
        which is sent unchanged.
      wrapped: a system item's blocks as user text, for places where a system message is not allowed.
      answers: whether the item is the result of an open call.
      form: the form in which a committed turn is sent; None for other items.
      bare: a turn's blocks without its thinking, sent if the turn is not replayed exactly. None if the turn
        has no thinking.
      bound: the prefix that a turn's thinking was bound to.
      digest: the digest of the items before the turn in this transcript, to compare with `bound`.
      home: whether the item is a turn that this adapter received from this endpoint.
      preface: whole messages that are sent right before a turn.
      marks: the number of cache breakpoints in the user's raw JSON.
      cites: whether the item contains a document whose citations are enabled.
      paused: whether the provider paused this turn. It then continues the turn when the turn is sent back.
      tokens: the estimated tokens.
      unbounded: the paths of content whose size is unknown. If there are any, `tokens` is not a bound.
      calls: the ids of the item's calls, as they are sent.
    """

    groups: tuple[tuple[str, tuple[ContentBlock, ...]], ...]
    wrapped: tuple[ContentBlock, ...] = ()
    answers: bool = False
    form: ReplayForm | None = None
    bare: tuple[ContentBlock, ...] | None = None
    bound: str | None = None
    digest: str = ""
    home: bool = False
    preface: tuple[bytes, ...] = ()
    paused: bool = False
    marks: int = 0
    cites: bool = False
    tokens: int = 0
    unbounded: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()


Ephemerals = tuple[tuple[int, Item, ClaudePiece], ...]
"""Position, item and piece of each ephemeral."""


class ClaudeItemEncoder:
    """The `make` function for `Transcript.memo`, for one scope and model."""

    __slots__ = ("key", "model", "scope")

    def __init__(self, scope: str, model: str) -> None:
        self.scope = scope
        self.model = model
        self.key = (_wire.NAME, scope, model)

    def __call__(self, item: Item, before: Transcript) -> ClaudePiece:
        """Encode an item of a transcript.

        Raises:
          BadValue: Claude does not accept the item. The error's field is the path of the item.
        """
        digest = before.digest if isinstance(item, CommittedTurn) and item.prefix is not None else ""
        own = isinstance(item, ToolResult) and not _turn.takes_id(item.call_id) and self._own_call(before)
        return self.piece(item, f"input[{len(before)}]", before.open_calls, digest, own_id=own)

    def _own_call(self, before: Transcript) -> bool:
        """True if the open calls belong to a turn that is sent with its original ids."""
        at = len(before) - 1
        while at >= 0:
            item = before[at]
            if not isinstance(item, ToolResult):
                return isinstance(item, CommittedTurn) and self._home(item)
            at -= 1
        return False

    def _home(self, turn: CommittedTurn) -> bool:
        return turn.adapter == _wire.NAME and turn.scope == self.scope

    def piece(
        self, item: Item, field: str, open_calls: tuple[str, ...], digest: str = "", *, own_id: bool = False
    ) -> ClaudePiece:
        """Encode an item. Errors name `field`, the path of the item.

        Args:
          open_calls: the ids of the calls that are open before the item.
          digest: the digest of the items before a committed turn.
          own_id: whether a result keeps its call's id unchanged. Otherwise an id with characters that Claude
            refuses is replaced.
        """
        piece = self._encode(item, field, open_calls, digest, own_id=own_id)
        if any(_estimate.cites(block.json) for _, blocks in piece.groups for block in blocks):
            return msgspec.structs.replace(piece, cites=True)
        return piece

    def _encode(
        self, item: Item, field: str, open_calls: tuple[str, ...], digest: str, *, own_id: bool
    ) -> ClaudePiece:
        match item:
            case Message():
                return _as_read(_message(item, field), item.wire)
            case ToolResult():
                result = _result(item, field, open_calls, own_id=own_id)
                return _as_read(result, item.wire) if item.call_id in open_calls else result
            case CommittedTurn():
                try:
                    return self._turn(item, field, digest)
                except (msgspec.DecodeError, UnicodeError) as exc:
                    raise BadValue(field, f"its wire is not a message of the Messages API: {exc}") from None
            case Raw():
                return _raw_message(item, field)

    def _turn(self, turn: CommittedTurn, field: str, digest: str) -> ClaudePiece:
        form = judged = _turn.replay_form(turn, self.scope, self.model)
        home = self._home(turn)
        if turn.adapter != _wire.NAME and not turn.items and not _turn.is_empty(turn):
            raise BadValue(field, f"{form.reason}, and the turn has nothing that can be sent in another form")
        if _turn.was_replaced_before(turn):
            unmarked = msgspec.structs.replace(turn, inexact_reason=None)
            judged = _turn.replay_form(unmarked, self.scope, self.model)
        bare: tuple[ContentBlock, ...] | None = None
        if not home or (turn.inexact_reason or "").startswith(_turn.INCOMPLETE):
            sent = _turn.view_blocks(turn)
        else:
            # Claude refuses thinking without a signature: "thinking.signature: Field required". Other models
            # at endpoints of this dialect do not sign their thinking, and may require it in later requests.
            unsigned = "claude" not in self.model.lower()
            sent = _turn.replay_blocks(turn, unsigned=unsigned)
            if form.exact and not unsigned and _turn.has_unsigned(turn):
                form = ReplayForm(False, "its thinking has no signature, so the API does not accept it")
            if _turn.has_thinking(turn):
                bare = tuple(map(_turn_block, _turn.replay_blocks(turn, thinking=False)))
        capable = _models.capabilities(self.model)
        return ClaudePiece(
            (("assistant", tuple(map(_turn_block, sent))),),
            form=form,
            bare=bare,
            bound=turn.prefix if judged.exact else None,
            digest=digest,
            home=home,
            preface=preface_messages(turn.preface) if home and capable.late_system else (),
            paused=home and _turn.is_paused(turn),
            calls=tuple(call.id if home else _turn.call_id(call.id) for call in turn.tool_calls),
            tokens=sum(map(_estimate.json_tokens, sent)) + _estimate.MESSAGE_TOKENS,
        )


class RequestPieces(Struct, frozen=True):
    """The pieces of a request.

    Attributes:
      transcript: one piece for each item, in order.
      ephemerals: position, item and piece of each ephemeral.
    """

    transcript: list[ClaudePiece]
    ephemerals: Ephemerals


def pieces_of(request: TurnRequest, scope: str, model: str) -> RequestPieces:
    """Return the pieces of a request's items.

    Raises:
      BadValue: Claude does not accept an item. The error's field is the path of the item.
    """
    encoder = ClaudeItemEncoder(scope, model)
    pieces = request.transcript.memo(encoder.key, encoder)
    found = list[tuple[int, Item, ClaudePiece]]()
    open_calls: tuple[str, ...] = ()
    for i, (position, item) in enumerate(request.ephemerals):
        found.append((position, item, encoder.piece(item, f"ephemerals[{i}]", open_calls)))
        if isinstance(item, CommittedTurn):
            open_calls = tuple(call.id for call in item.tool_calls)
    return RequestPieces(pieces, tuple(found))


def preface_messages(preface: bytes) -> tuple[bytes, ...]:
    """Return the messages of `CommittedTurn.preface`, which is a JSON array of messages."""
    return tuple(map(bytes, decode_array(preface))) if preface else ()


def system_texts(item: Message, field: str) -> list[str]:
    """Return the texts of a system or developer item.

    Raises:
      BadValue: the item contains something other than text.
    """
    texts = list[str]()
    for part in item.content:
        if not isinstance(part, Text):
            raise BadValue(field, f"a {item.role} message contains text only, not {type(part).__name__}")
        if part.text.strip():
            texts.append(part.text)
    return texts


def _turn_block(block: bytes) -> ContentBlock:
    # The API allows no breakpoint on thinking. A call gets none, because its round ends with its result.
    kind = _wire.decode_tag(block).type
    return ContentBlock(block, kind == "text" or kind.endswith("_tool_result"))


def _message(item: Message, field: str) -> ClaudePiece:
    if item.role in ("system", "developer"):
        texts = system_texts(item, field)
        return ClaudePiece(
            (("system", tuple(ContentBlock(_turn.text_block(text)) for text in texts)),),
            wrapped=tuple(ContentBlock(_turn.text_block(f"<system>\n{text}\n</system>")) for text in texts),
            tokens=sum(map(_estimate.text_tokens, texts)) + _estimate.MESSAGE_TOKENS,
        )
    if item.role == "assistant" and any(isinstance(part, Image | Document) for part in item.content):
        raise BadValue(field, "an assistant message cannot contain an image or a document")
    blocks, tokens, unbounded = _parts(item.content, field)
    if not blocks and item.role == "user":
        raise BadValue(field, "is blank")
    return ClaudePiece(
        ((item.role, blocks),),
        marks=_marks(blocks),
        tokens=tokens + _estimate.MESSAGE_TOKENS,
        unbounded=unbounded,
    )


def _as_read(piece: ClaudePiece, wire: Raw | None) -> ClaudePiece:
    """Return the piece with the JSON that its item was read from, if that JSON is of this adapter.

    `wire` is a whole message, or an array of blocks, which continue the message before.
    """
    if wire is None or wire.adapter != _wire.NAME:
        return piece
    json = wire.json.encode()
    role = piece.groups[0][0]
    if json.startswith(b"["):
        blocks = _blocks(json)
    else:
        members = decode_object(json)
        blocks = _content_blocks(bytes(members.get("content", b"null")))
        if set(members) - {"role", "content"}:
            role, blocks = f"raw {role}", (ContentBlock(json, False),)
    return msgspec.structs.replace(piece, groups=((role, blocks),), marks=_marks(blocks))


def _content_blocks(content: bytes) -> tuple[ContentBlock, ...]:
    if (text := string(content)) is not None:
        return (ContentBlock(_turn.text_block(text)),) if text.strip() else ()
    return _blocks(content)


def _blocks(array: bytes) -> tuple[ContentBlock, ...]:
    blocks = map(bytes, decode_array(array))
    return tuple(ContentBlock(block, b'"cache_control"' not in block) for block in blocks)


def _result(item: ToolResult, field: str, open_calls: tuple[str, ...], *, own_id: bool) -> ClaudePiece:
    content, tokens, unbounded = b'""', 0, tuple[str, ...]()
    if all(isinstance(part, Text) for part in item.content):
        # The API refuses an error result without text: 400 "tool_result: content cannot be empty if
        # `is_error` is true".
        text = item.text if item.text.strip() or not item.is_error else "failed"
        content = encode(text)
        tokens = _estimate.text_tokens(text)
    else:
        blocks, tokens, unbounded = _parts(item.content, field)
        content = b"[" + b",".join(block.json for block in blocks) + b"]"
    result = b'{"type":"tool_result","tool_use_id":%b,"content":%b%b}' % (
        encode(item.call_id if own_id else _turn.call_id(item.call_id)),
        content,
        b',"is_error":true' if item.is_error else b"",
    )
    answer = ("user", (ContentBlock(result),))
    tokens += _estimate.MESSAGE_TOKENS
    if item.call_id in open_calls:
        return ClaudePiece((answer,), answers=True, tokens=tokens, unbounded=unbounded)
    if item.name is None or item.arguments is None:
        raise BadValue(field, f"result {item.call_id!r} has no call before it")
    call = _turn.call_block(item.call_id, item.name, item.arguments)
    return ClaudePiece(
        (("assistant", (ContentBlock(call, False),)), answer),
        tokens=tokens + _estimate.json_tokens(call),
        unbounded=unbounded,
        calls=(_turn.call_id(item.call_id),),
    )


def _raw_message(item: Raw, field: str) -> ClaudePiece:
    json = _own_json(item, field)
    members = decode_object(json)
    role, content = string(members.get("role")), bytes(members.get("content", b""))
    if not role:
        raise BadValue(field, "a raw message must have a role")
    if content.startswith(b"["):
        blocks = tuple(ContentBlock(bytes(block), False) for block in decode_array(content))
        for j, block in enumerate(blocks):
            if not block.json.startswith(b"{"):
                raise BadValue(f"{field}.content[{j}]", "is not a JSON object")
    elif (text := string(content)) is not None:
        blocks = (ContentBlock(_turn.text_block(text)),)
    else:
        raise BadValue(f"{field}.content", "must be a string or an array of blocks in a raw message")
    if set(members) != {"role", "content"} or role not in ("user", "assistant"):
        role, blocks = f"raw {role}", (ContentBlock(json, False),)
        return ClaudePiece(((role, blocks),), marks=_marks(blocks), tokens=_estimate.json_tokens(json))
    return ClaudePiece(
        ((role, blocks),),
        marks=_marks(blocks),
        tokens=_estimate.json_tokens(json),
        unbounded=(field,) if b'"source"' in json else (),
    )


def _marks(blocks: tuple[ContentBlock, ...]) -> int:
    return sum(block.json.count(b'"cache_control"') for block in blocks if not block.markable)


def _parts(parts: tuple[Part, ...], field: str) -> tuple[tuple[ContentBlock, ...], int, tuple[str, ...]]:
    """Return the blocks, their tokens, and the paths of parts whose size is unknown.

    Blank text is left out, because the API refuses it.
    """
    blocks, tokens, unbounded = list[ContentBlock](), 0, list[str]()
    for i, part in enumerate(parts):
        at = f"{field}.content[{i}]"
        match part:
            case Text(text=text):
                if not text.strip():
                    continue
                blocks.append(ContentBlock(_turn.text_block(text)))
                tokens += _estimate.text_tokens(text)
                continue
            case Raw():
                json = _own_json(part, at)
                blocks.append(ContentBlock(json, False))
                known = None if b'"source"' in json else _estimate.json_tokens(json)
            case Image():
                blocks.append(ContentBlock(_image(part, at)))
                known = None if part.data is None else _estimate.image_tokens(part.data)
            case Document():
                blocks.append(ContentBlock(_document(part, at)))
                known = _document_tokens(part)
        tokens += known or 0
        if known is None:
            unbounded.append(at)
    return tuple(blocks), tokens, tuple(unbounded)


def _own_json(raw: Raw, field: str) -> bytes:
    """Return the JSON object of a raw part or item. The API refuses a request that contains another value.

    Raises:
      BadValue: it belongs to another adapter, or is not a JSON object.
    """
    if raw.adapter != _wire.NAME:
        raise BadValue(field, f"raw JSON of the adapter {raw.adapter!r} cannot go to Claude")
    try:
        json = raw.json.strip().encode()
        msgspec.json.decode(json)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as exc:
        raise BadValue(field, f"is not JSON: {exc}") from None
    if not json.startswith(b"{"):
        raise BadValue(field, "is not a JSON object")
    return json


def _image(image: Image, field: str) -> bytes:
    if image.data is not None:
        if image.media_type not in _wire.IMAGE_TYPES:
            allowed = ", ".join(sorted(_wire.IMAGE_TYPES))
            raise BadValue(
                f"{field}.media_type", f"{image.media_type!r} is not accepted: use one of {allowed}"
            )
        if len(image.data) * 4 // 3 > _wire.IMAGE_BASE64_BYTES:
            raise BadValue(
                field,
                f"has {len(image.data)} bytes; in base64 the limit is {_wire.IMAGE_BASE64_BYTES} bytes."
                " Send a smaller image",
            )
    return b'{"type":"image","source":%b}' % _source(image)


def _document(document: Document, field: str) -> bytes:
    members: dict[str, object] = {"type": "document"}
    if document.data is not None and document.media_type not in _wire.DOCUMENT_TYPES:
        allowed = ", ".join(sorted(_wire.DOCUMENT_TYPES))
        raise BadValue(
            f"{field}.media_type", f"{document.media_type!r} is not accepted: use one of {allowed}"
        )
    if document.data is not None and document.media_type == "text/plain":
        try:
            text = document.data.decode()
        except UnicodeDecodeError as exc:
            raise BadValue(field, f"text/plain must be UTF-8: {exc}") from None
        members["source"] = {"type": "text", "media_type": "text/plain", "data": text}
    else:
        members["source"] = RawJson(_source(document))
    if document.title is not None:
        members["title"] = document.title
    if document.context is not None:
        members["context"] = document.context
    if document.citations:
        members["citations"] = {"enabled": True}
    return encode(members)


def _source(media: Image | Document) -> bytes:
    if media.url is not None:
        return encode({"type": "url", "url": media.url})
    if media.file_id is not None:
        return encode({"type": "file", "file_id": media.file_id})
    data = b64encode(media.data or b"").decode()
    return encode({"type": "base64", "media_type": media.media_type, "data": data})


def _document_tokens(document: Document) -> int | None:
    if document.data is None:
        return None
    if document.media_type == "text/plain":
        return _estimate.text_tokens(document.data.decode(errors="replace"))
    return _estimate.pdf_tokens(document.data)
