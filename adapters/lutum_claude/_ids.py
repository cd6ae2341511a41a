"""Replace repeated ids of calls in one request. No I/O.

Claude refuses repeated ids ("`tool_use` ids must be unique"), and some hosts number the calls of each turn
from the beginning. A call whose id was used by an earlier call is sent with another id. A turn that was
received from this endpoint keeps its ids.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec
from msgspec import Raw

from lutum.dialect.ids import CallIds
from lutum.dialect.json import decode_object, encode, string
from lutum_claude import _wire
from lutum_claude._items import ClaudePiece, ContentBlock, RequestPieces

_MEMBERS = {"tool_use": "id", "tool_result": "tool_use_id"}


def distinct(request: RequestPieces) -> RequestPieces:
    """Return the pieces of a request with distinct call ids.

    A repeated id is replaced by a new id, which ends with the position of the turn.
    """
    pieces = request.transcript
    if not any(piece.calls for piece in pieces):
        return request
    found, renamed = list[ClaudePiece](), dict[str, str]()
    ids = CallIds()
    for at, piece in enumerate(pieces):
        if piece.calls:
            renamed = ids.rename(piece.calls, at, keep=piece.home)
        elif not piece.answers:
            renamed = {}
        found.append(_renamed(piece, tuple(renamed.items())) if renamed else piece)
    return RequestPieces(found, request.ephemerals)


def _renamed(piece: ClaudePiece, ids: tuple[tuple[str, str], ...]) -> ClaudePiece:
    groups = tuple(
        (role, blocks if role.startswith("raw") else tuple(_block(block, ids) for block in blocks))
        for role, blocks in piece.groups
    )
    return msgspec.structs.replace(piece, groups=groups)


@lru_cache(maxsize=4096)
def _block(block: ContentBlock, ids: tuple[tuple[str, str], ...]) -> ContentBlock:
    member = _MEMBERS.get(_wire.decode_tag(block.json).type)
    if member is None:
        return block
    members = decode_object(block.json)
    id = string(members.get(member))
    if id is None or (new := dict(ids).get(id)) is None:
        return block
    return ContentBlock(encode({**members, member: Raw(encode(new))}), block.markable)
