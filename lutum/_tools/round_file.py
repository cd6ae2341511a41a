"""Open rounds as bytes: the turn, its charge and the state of its calls, without the transcript before it.

A round is one JSON object. Its turn is stored as in a transcript's file. A round that could not be loaded
again is not dumped.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec
from msgspec import Struct

from lutum._tools.call import Approved, CallIssue, Started
from lutum._values.errors import TranscriptError
from lutum._values.items import ToolResult
from lutum._values.persistence import TurnRecord, record_of, turn_of
from lutum._values.results import Attempt, CommittedTurn, Response, TextResult, Usage
from lutum._values.transcript import Transcript

T = TypeVar("T")

VERSION = 1


class CallRecord(Struct, frozen=True, omit_defaults=True):
    """The recorded state of one call."""

    id: str
    approved: Approved | None = None
    started: Started | None = None
    result: ToolResult | None = None


class RoundRecord(Struct, frozen=True, omit_defaults=True):
    """An open round as it is stored; `base` is the digest of the transcript that it belongs to."""

    lutum: str
    version: int
    base: str
    turn: TurnRecord
    finish_reason: str
    usage: Usage
    cumulative_usage: Usage
    model: str
    response: Response
    placed: bool = False
    open_items: tuple[str, ...] = ()
    issues: tuple[CallIssue, ...] = ()
    calls: tuple[CallRecord, ...] = ()
    turn_id: str = ""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(RoundRecord).decode


def dump_round(
    result: TextResult, placed: bool, issues: tuple[CallIssue, ...], calls: tuple[CallRecord, ...]
) -> bytes:
    """Return a round as bytes.

    Raises:
      TranscriptError: a value of the turn or of a result cannot be stored.
    """
    try:
        record = RoundRecord(
            lutum="round",
            version=VERSION,
            base=result.base.digest,
            turn=record_of(result.turn),
            finish_reason=result.finish_reason,
            usage=result.usage,
            cumulative_usage=result.cumulative_usage,
            model=result.model,
            response=result.response,
            placed=placed,
            open_items=tuple(item.decode() for item in result.open_items),
            issues=issues,
            calls=calls,
            turn_id=result._turn_id,
        )
        data = _encode(record)
        back = _decode(data)
    except (msgspec.MsgspecError, UnicodeError, TypeError, RecursionError) as exc:
        raise TranscriptError(f"round: it cannot be stored: {exc}") from None
    if turn_of(back.turn) != result.turn or back.calls != calls:
        raise TranscriptError("round: it cannot be stored, because loading it would give another value")
    return data


def read_round(data: bytes, base: Transcript) -> RoundRecord:
    """Return the record of a round that was dumped.

    Raises:
      TranscriptError: `data` is not a dumped round, has a newer version, or has another base.
    """
    try:
        header = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        kind = msgspec.json.decode(header.get("lutum", b"null"))
        version = msgspec.json.decode(header.get("version", b"null"))
        if kind != "round":
            raise TranscriptError("round: the data is not a dumped round")
        if version != VERSION:
            raise TranscriptError(f"round: it has version {version}; this lutum reads version {VERSION}")
        record = _decode(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as exc:
        raise TranscriptError(f"round: the data is not a dumped round: {exc}") from None
    if record.base != base.digest:
        raise TranscriptError(
            f"round: it belongs to the transcript {record.base}, not to {base.digest} of {len(base)} items"
        )
    return record


def result_of(record: RoundRecord, base: Transcript) -> TextResult:
    """Return the result of the turn. Of its attempts it contains only the one that completed."""
    turn = turn_of(record.turn)
    return _result(
        turn,
        base,
        record.finish_reason,
        record.usage,
        record.cumulative_usage,
        record.model,
        record.response,
        tuple(item.encode() for item in record.open_items),
        record.turn_id,
    )


def result_of_turn(turn: CommittedTurn, base: Transcript) -> TextResult:
    """Return a result for a turn that is already in a transcript. Its charge is not known."""
    unknown = Usage(known="lower_bound")
    return _result(turn, base, "tool_calls", unknown, unknown, turn.model, Response(), (), "")


def _result(
    turn: CommittedTurn,
    base: Transcript,
    finish_reason: str,
    usage: Usage,
    cumulative_usage: Usage,
    model: str,
    response: Response,
    open_items: tuple[bytes, ...],
    turn_id: str,
) -> TextResult:
    return TextResult(
        text=turn.text,
        reasoning=turn.reasoning,
        refusal=turn.refusal or None,
        finish_reason=finish_reason,
        usage=usage,
        cumulative_usage=cumulative_usage,
        attempts=(Attempt(1, usage, response),),
        model=model,
        response=response,
        turn=turn,
        base=base,
        open_items=open_items,
        _request=None,
        _turn_id=turn_id,
    )
