"""Ids of calls that stand in a request twice. PURE.

The Responses API refuses it, and some hosts number the calls of each turn anew. What such a turn says goes
out with other ids where they repeat; a turn that goes out whole keeps its own.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec
from msgspec import Raw

from lutum_openai._common import call_id, decode_object, encode
from lutum_openai._items import OpenAIPiece
from lutum_openai._messages import string

_KINDS = frozenset({"function_call", "function_call_output"})


def distinct(pieces: list[OpenAIPiece]) -> list[OpenAIPiece]:
    """The pieces of a whole transcript, with the turn's place in an id that an earlier call has.

    Decided by what stands before alone, so that the next request says the same.
    """
    found, seen, renamed = list[OpenAIPiece](), set[str](), dict[str, str]()
    for at, piece in enumerate(pieces):
        if piece.calls:
            renamed = {} if piece.whole else {id: _free(id, at, seen) for id in piece.calls if id in seen}
            seen.update(renamed.get(id, id) for id in piece.calls)
        elif not piece.answers:
            renamed = {}
        if renamed:
            ids = tuple(renamed.items())
            piece = msgspec.structs.replace(piece, sent=tuple(_item(item, ids) for item in piece.sent))
        found.append(piece)
    return found


def _free(id: str, at: int, seen: set[str]) -> str:
    new = f"{id}_{at}"
    while call_id(new) in seen:
        new += "_"
    return call_id(new)


@lru_cache(maxsize=4096)
def _item(item: bytes, ids: tuple[tuple[str, str], ...]) -> bytes:
    members = decode_object(item)
    if string(members.get("type")) not in _KINDS:
        return item
    new = dict(ids).get(string(members.get("call_id")) or "")
    return item if new is None else encode({**members, "call_id": Raw(encode(new))})
