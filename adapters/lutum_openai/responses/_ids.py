"""Ids of calls that stand in a request twice. PURE.

The Responses API refuses it, and some hosts number the calls of each turn anew. What such a turn says goes
out with other ids where they repeat; a turn that goes out whole keeps its own.
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
    """The pieces of a whole transcript, with the turn's place in an id that an earlier call has."""
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
