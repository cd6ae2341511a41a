"""Open calls of the provider, which the caller answers with raw items. No I/O, no clock, no tasks.

The API refuses a request in which the output of such a call is missing: 400 "No tool output found for custom
tool call call_..." (diegosouzapw/OmniRoute#8946).
"""

from __future__ import annotations

from lutum import CommittedTurn, Raw, Transcript
from lutum.dialect.json import decode_object, string
from lutum_openai.responses import _turn, _wire


def unanswered_items(transcript: Transcript, scope: str) -> tuple[bytes, ...]:
    """Return the open items of the last turn that raw items have not answered yet, as received.

    For a turn of another adapter or scope the result is empty. Only the view of such a turn is sent, and the
    view contains no open items.
    """
    answers = set[tuple[str, str | None]]()
    for at in range(len(transcript) - 1, -1, -1):
        item = transcript[at]
        if isinstance(item, Raw) and item.adapter == _wire.NAME:
            answers.add(_answer(item.json.encode()))
        elif isinstance(item, CommittedTurn):
            if item.adapter != _wire.NAME or item.scope != scope:
                return ()
            return tuple(json for json in _turn.open_items(item) if _due(json) not in answers)
    return ()


def _due(json: bytes) -> tuple[str, str | None]:
    """Return the type of the item that answers the open item `json`, and the id that the answer contains."""
    head = _wire.read_item(json)
    return _wire.OUTPUTS[head.type], head.id if head.type == "mcp_approval_request" else head.call_id


def _answer(json: bytes) -> tuple[str, str | None]:
    if not json.strip().startswith(b"{"):
        return "", None
    members = decode_object(json)
    kind = string(members.get("type")) or ""
    named = "approval_request_id" if kind == "mcp_approval_response" else "call_id"
    return kind, string(members.get(named))
