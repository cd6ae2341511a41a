"""Open custom tool calls, which the caller answers with raw messages. No I/O, no clock, no tasks."""

from __future__ import annotations

from lutum import CommittedTurn, Raw, Transcript
from lutum.dialect.json import FAULTS, decode_object, objects, string
from lutum_openai.chat import _wire


def unanswered_items(transcript: Transcript, scope: str) -> tuple[bytes, ...]:
    """Return the custom calls of the last turn that raw messages have not answered yet, as received.

    If the turn is not replayed exactly, the result is empty. In this case only the view of the turn is sent,
    and the view contains no custom calls.
    """
    answers = set[str | None]()
    for at in range(len(transcript) - 1, -1, -1):
        item = transcript[at]
        if isinstance(item, Raw) and item.adapter == _wire.NAME:
            answers.add(_id(item.json.encode(), "tool_call_id"))
        elif isinstance(item, CommittedTurn):
            if item.adapter != _wire.NAME or item.scope != scope or not item.exact:
                return ()
            return tuple(json for json in _custom(item.wire) if _id(json, "id") not in answers)
    return ()


def _custom(message: bytes) -> list[bytes]:
    if b'"custom"' not in message:
        return []
    calls = objects(bytes(decode_object(message).get("tool_calls", b"null"))) or []
    return [call for call in calls if string(decode_object(call).get("type")) == "custom"]


def _id(json: bytes, member: str) -> str | None:
    try:
        return string(decode_object(json).get(member))
    except FAULTS:
        return None
