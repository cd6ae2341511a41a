"""The open round of a branch, and the claims, approvals and results of its calls. One transaction each."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from lutum._tools.call import Approved, Started, ToolCall
from lutum._tools.journal import me
from lutum._tools.round import ToolRound
from lutum._tools.toolset import Toolset
from lutum._turn.bills import TurnBill
from lutum._values.errors import CallTaken, RoundOpen, StoreCorrupt, StoreValue, TranscriptError
from lutum._values.items import ToolResult
from lutum._values.transcript import Transcript
from lutum.store._branches import find, save
from lutum.store._database import Transaction
from lutum.store._nodes import Nodes, raw

I = TypeVar("I")

Alive = Callable[[int, str], bool]
"""A function that returns whether the run of a claim still runs, from the claim's runner and its id."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ToolResult).decode


def hold(
    at: Transaction,
    nodes: Nodes,
    name: str,
    expected: Transcript | None,
    round: ToolRound[Any],
    bills: tuple[TurnBill, ...],
    *,
    whole: bool = False,
) -> None:
    """Save the round's base, and insert the round and its calls.

    Raises:
      RoundOpen: the branch holds a round already.
      StaleBranch: as `save`.
    """
    branch = find(at, name, lock=True)
    if at.rows("select 1 from lutum_round where branch = ?", branch.id):
        raise RoundOpen(f"branch {name!r}: it holds an open round already; see branch.held() and .discard()")
    save(at, nodes, name, round.base, expected, bills, whole=whole)
    turn = round.base if round.placed else round.base.append(round.turn)
    at.run(
        "insert into lutum_round (branch, base, turn, turn_length, data, at) values (?, ?, ?, ?, ?, ?)",
        branch.id,
        raw(round.base),
        raw(turn),
        len(turn),
        nodes.codec.encode(round.dump()),
        time.time(),
    )
    for call in round.calls:
        at.run(
            "insert into lutum_call (branch, key, call_id, approved_by, approved_at, result)"
            " values (?, ?, ?, ?, ?, ?)",
            branch.id,
            call.key,
            call.id,
            None if call.approved is None else call.approved.by,
            None if call.approved is None else call.approved.at.timestamp(),
            None if call.answer is None else nodes.codec.encode(_stored(call.answer)),
        )


def held(
    at: Transaction, nodes: Nodes, name: str, tools: Toolset[I], alive: Alive
) -> tuple[ToolRound[I] | None, Transcript]:
    """Return the open round with the state of its calls, and its base. Return None and the head if there is
    no open round."""
    branch = find(at, name)
    rows = at.rows("select base, data from lutum_round where branch = ?", branch.id)
    if not rows:
        return None, nodes.load(at, branch.head)
    base = nodes.load(at, bytes(rows[0][0]))
    try:
        round = ToolRound.load(nodes.codec.decode(bytes(rows[0][1])), tools, base=base)
    except TranscriptError as exc:
        raise StoreCorrupt(f"store: the open round of branch {name!r} is damaged: {exc}") from exc
    calls = {call.key: call for call in round.calls}
    found = at.rows(
        "select key, claim, runner, started_by, started_at, ended, result, approved_by, approved_at"
        " from lutum_call where branch = ?",
        branch.id,
    )
    for key, claim, runner, by, since, ended, result, approved_by, approved_at in found:
        call = calls.get(key)
        if call is None:  # the call is an issue now, for example because its tool is missing
            continue
        state = call._state
        state.answer = None if result is None else _read(name, call, nodes.codec.decode(bytes(result)))
        state.started = None
        if claim is not None and result is None:
            goes_on = not ended and alive(int(runner), claim)
            state.started = Started(by, datetime.fromtimestamp(since, UTC), goes_on, claim)
        if approved_at is not None:
            state.approved = Approved(approved_by, datetime.fromtimestamp(approved_at, UTC))
    return round, base


def discard(at: Transaction, name: str) -> bool:
    """Delete the open round. Return whether there was one."""
    branch = find(at, name, lock=True)
    return bool(at.run("delete from lutum_round where branch = ?", branch.id))


def claim(at: Transaction, name: str, call: ToolCall[Any], runner: int, alive: Alive) -> Started:
    """Claim a call for a run. Take over an earlier claim if its run has ended and `call` contains this claim.

    Raises:
      CallTaken: another run has claimed the call, the call has a result, or the branch no longer holds the
        round.
    """
    branch = find(at, name, lock=True)
    key, known = call.key, call.started
    rows = at.rows(
        "select claim, runner, started_by, ended, result from lutum_call where branch = ? and key = ?",
        branch.id,
        key,
    )
    what = f"call {call.id!r} of {call.name!r}"
    if not rows:
        raise CallTaken(f"{what}: branch {name!r} does not hold its round any more", key=key, alive=False)
    [(token, owner, by, ended, result)] = rows
    if result is not None:
        raise CallTaken(
            f"{what} has a result already; branch.held() gives it", key=key, by=by or "", alive=False
        )
    if token is not None:
        if not ended and alive(int(owner), token):
            raise CallTaken(f"{what} was started by {by} and is still running", key=key, by=by)
        if known is None or known.token != token:
            text = f"{what} was started by {by} and has no result, so it may have happened: see branch.held()"
            raise CallTaken(text, key=key, by=by, alive=False)
    made = Started(me(), datetime.now(UTC), True, secrets.token_hex(16))
    at.run(
        "update lutum_call set claim = ?, runner = ?, started_by = ?, started_at = ?, ended = 0"
        " where branch = ? and key = ?",
        made.token,
        runner,
        made.by,
        made.at.timestamp(),
        branch.id,
        key,
    )
    return made


def finish(
    at: Transaction, nodes: Nodes, name: str, call: ToolCall[Any], token: str, result: ToolResult
) -> None:
    """Record the result of a call that this run claimed.

    Raises:
      CallTaken: another run has taken over the claim, or the branch no longer holds the round.
    """
    branch = find(at, name, lock=True)
    done = at.run(
        "update lutum_call set result = ?, ended = 1 where branch = ? and key = ? and claim = ?",
        nodes.codec.encode(_stored(result)),
        branch.id,
        call.key,
        token,
    )
    if not done:
        text = f"call {call.id!r} of {call.name!r}: branch {name!r} does not hold this claim any more"
        raise CallTaken(text, key=call.key, alive=False)


def release(at: Transaction, name: str, key: str, token: str, *, began: bool) -> None:
    """Record that a claim's run ended without a result. If the run never began, remove the claim."""
    branch = find(at, name)
    if began:
        sql = "update lutum_call set ended = 1 where branch = ? and key = ? and claim = ?"
    else:
        sql = (
            "update lutum_call set claim = null, runner = null, started_by = null, started_at = null"
            " where branch = ? and key = ? and claim = ? and result is null"
        )
    at.run(sql, branch.id, key, token)


def answer(
    at: Transaction, nodes: Nodes, name: str, key: str, given: ToolResult | str, by: str, alive: Alive
) -> None:
    """Record an approval, or a result that was given from outside a run.

    Raises:
      CallTaken: the call runs, or has a result.
      StoreValue: the branch holds no round with such a call.
    """
    branch = find(at, name, lock=True)
    rows = at.rows(
        "select call_id, claim, runner, started_by, ended, result from lutum_call"
        " where branch = ? and key = ?",
        branch.id,
        key,
    )
    if not rows:
        raise StoreValue("key", f"branch {name!r} holds no open round with the call {key!r}")
    [(call_id, token, owner, started_by, ended, result)] = rows
    if isinstance(given, str):
        at.run(
            "update lutum_call set approved_by = ?, approved_at = ? where branch = ? and key = ?",
            by,
            time.time(),
            branch.id,
            key,
        )
        return
    if given.call_id != call_id:
        raise StoreValue("result", f"it answers the call {given.call_id!r}, not {call_id!r}")
    if result is not None:
        if nodes.codec.decode(bytes(result)) == _stored(given):
            return
        raise CallTaken(f"call {key}: it has a result already", key=key, by=started_by or "", alive=False)
    if token is not None and not ended and alive(int(owner), token):
        raise CallTaken(f"call {key}: it was started by {started_by} and is still running", key=key)
    at.run(
        "update lutum_call set result = ? where branch = ? and key = ?",
        nodes.codec.encode(_stored(given)),
        branch.id,
        key,
    )


def _stored(result: ToolResult) -> bytes:
    try:
        data = _encode(msgspec.structs.replace(result, exception=None))
        _decode(data)
    except (msgspec.MsgspecError, UnicodeError, TypeError, RecursionError) as exc:
        raise StoreValue("result", f"the result of {result.call_id!r} cannot be stored: {exc}") from None
    return data


def _read(name: str, call: ToolCall[Any], data: bytes) -> ToolResult:
    try:
        return _decode(data)
    except (msgspec.MsgspecError, UnicodeError) as exc:
        raise StoreCorrupt(
            f"store: the result of call {call.id!r} of branch {name!r} is damaged: {exc}"
        ) from exc
