"""Duplicate ids of calls within a request. No I/O, no clock, no tasks.

Some hosts start the numbering of calls again in each turn. The Responses API refuses a request if two of its
calls have the same id. If only the view of a turn (its readable content) is sent, its repeated ids are
replaced. A turn that is sent whole keeps its ids.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec
from msgspec import Raw

from lutum.dialect.ids import CallIds
from lutum.dialect.json import decode_object, encode, string
from lutum_openai._items import OpenAIPiece
from lutum_openai.responses._wire import call_id

_KINDS = frozenset({"function_call", "function_call_output"})


def distinct(pieces: list[OpenAIPiece]) -> list[OpenAIPiece]:
    """Return the pieces with distinct call ids. A repeated id gets the position of its turn as a suffix."""
    found, renamed = list[OpenAIPiece](), dict[str, str]()
    ids = CallIds(call_id)
    for at, piece in enumerate(pieces):
        if piece.calls:
            renamed = ids.rename(piece.calls, at, keep=piece.whole)
        elif not piece.answers:
            renamed = {}
        if renamed:
            changed = tuple(renamed.items())
            piece = msgspec.structs.replace(piece, sent=tuple(_item(item, changed) for item in piece.sent))
        found.append(piece)
    return found


@lru_cache(maxsize=4096)
def _item(item: bytes, ids: tuple[tuple[str, str], ...]) -> bytes:
    members = decode_object(item)
    if string(members.get("type")) not in _KINDS:
        return item
    new = dict(ids).get(string(members.get("call_id")) or "")
    return item if new is None else encode({**members, "call_id": Raw(encode(new))})
