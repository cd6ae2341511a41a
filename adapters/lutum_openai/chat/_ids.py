"""Duplicate ids of calls within a request. No I/O.

Some hosts start the numbering of calls again in each turn. Gateways to Claude refuse a request if two of its
calls have the same id. Therefore the second call and its result get another id.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import msgspec
from msgspec import Raw

from lutum.abc import ReplayForm
from lutum.dialect.ids import CallIds
from lutum.dialect.json import decode_array, decode_object, encode, starts_with, string
from lutum_openai._items import OpenAIPiece
from lutum_openai._profiles import Profile
from lutum_openai.chat import _turn

_REPEATED = ReplayForm(False, "its calls have the ids of earlier calls, so they are sent with other ids")


def distinct(pieces: Sequence[OpenAIPiece], profile: Profile) -> Sequence[OpenAIPiece]:
    """Return the pieces with distinct call ids. A repeated id gets the position of its turn as a suffix."""
    if not any(piece.calls for piece in pieces):
        return pieces
    found, renamed = list[OpenAIPiece](), dict[str, str]()
    ids = CallIds(lambda id: _turn.call_id(id, profile))
    for at, piece in enumerate(pieces):
        if piece.calls:
            renamed = ids.rename(piece.calls, at)
        elif not piece.answers:
            renamed = {}
        found.append(_renamed(piece, tuple(renamed.items())) if renamed else piece)
    return found


def _renamed(piece: OpenAIPiece, ids: tuple[tuple[str, str], ...]) -> OpenAIPiece:
    form = _REPEATED if piece.form is not None and piece.form.exact else piece.form
    sent = tuple(_message(message, ids) for message in piece.sent)
    return msgspec.structs.replace(piece, sent=sent, form=form)


@lru_cache(maxsize=4096)
def _message(message: bytes, ids: tuple[tuple[str, str], ...]) -> bytes:
    members, new = decode_object(message), dict(ids)
    answers = string(members.get("tool_call_id"))
    if answers in new:
        return encode({**members, "tool_call_id": Raw(encode(new[answers]))})
    if not starts_with(members.get("tool_calls"), b"["):
        return message
    calls = list[Raw]()
    for call in decode_array(members["tool_calls"]):
        made = decode_object(call)
        id = string(made.get("id"))
        calls.append(Raw(encode({**made, "id": Raw(encode(new[id]))})) if id in new else call)
    return encode({**members, "tool_calls": calls})
