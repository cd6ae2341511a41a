"""Journals of rounds: claims before calls run, results after them, and calls that may have happened.

A claim is a compare-and-set, so the journal can refuse it. A mere record of the start could not be refused,
so two processes could run the same call.
"""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Literal, Protocol, cast, runtime_checkable

import anyio
import msgspec
from anyio.lowlevel import checkpoint_if_cancelled

from lutum._tools.call import MAY_HAVE_HAPPENED as MAY_HAVE_HAPPENED, Started, ToolCall
from lutum._values.errors import BadValue, CallTaken
from lutum._values.items import ToolResult

logger = logging.getLogger("lutum")

# The time limit of one record, in seconds. A tool's result must not wait forever for a database that does not
# answer.
BOUND = 10

RestartDecision = Literal["refuse", "run", "report"]
"""What to do with a call that was started elsewhere and has no result: raise `CallTaken`, run it again, or
return to the model that it may have happened."""

Restarted = RestartDecision | Callable[[ToolCall[Any]], RestartDecision]


class RoundJournal(Protocol):
    """The place where a round's claims and results are recorded, for `round.run(journal=)`.

    `lutum.store.StoredBranch` is a journal. Both methods run shielded from cancellation, for 10 s at most.
    """

    async def start(self, call: ToolCall[Any]) -> Started | None:
        """Claim the call `call.key` before it runs. Return the claim; with None the round makes one.

        A recorded claim that equals `call.started` may be replaced, unless its run is still in progress.

        Raises:
          CallTaken: another run has claimed or answered the call. The call is not run.
        """
        ...

    async def finish(self, call: ToolCall[Any], result: ToolResult) -> None:
        """Record the result of a claimed call. It is called again after an error, so make it idempotent."""
        ...


@runtime_checkable
class ReleasesClaims(Protocol):
    """A journal with a method for claimed calls that end without a result."""

    async def release(self, call: ToolCall[Any], *, began: bool) -> None:
        """Record that the run of a claimed call ended. If the run never began, drop the claim."""
        ...


def decision(restarted: Restarted, call: ToolCall[Any]) -> RestartDecision:
    """Return what to do with a call that was started and has no result.

    Raises:
      BadValue: the function returned something else.
    """
    chosen = restarted(call) if callable(restarted) else restarted
    check_restarted(chosen)
    return chosen


def check_restarted(restarted: object) -> None:
    """Raise BadValue if this is neither one of the three decisions nor a function."""
    if not callable(restarted) and restarted not in ("refuse", "run", "report"):
        raise BadValue(
            "restarted", f"{restarted!r} is not 'refuse', 'run', 'report' or a function of the call"
        )


def taken(call: ToolCall[Any], started: Started) -> CallTaken:
    """Return the error for a call that was started elsewhere and has no result."""
    by = f" by {started.by}" if started.by else ""
    at = started.at.isoformat(timespec="seconds")
    end = (
        "and is still running"
        if started.alive
        else "and has no result, so it may have happened: see `restarted=`"
    )
    text = f"call {call.id!r} of {call.name!r} was started{by} at {at} {end}"
    return CallTaken(text, key=call.key, by=started.by, alive=started.alive)


async def run_recorded(
    call: ToolCall[Any], journal: RoundJournal | None, restarted: Restarted, timeout: float | None
) -> ToolResult:
    """Run a call at most once, with a claim before it and its result recorded after it.

    If this is cancelled, the tool is cancelled too, and the journal records that the run ended. If the tool
    has already returned a result, the result is still recorded.

    Raises:
      CallTaken: the call was claimed by another run, or was started before and `restarted` refuses it.
      Exception: the journal's own exception, with a note that names the call.
    """
    state = call._state
    if state.answer is not None:
        if journal is not None and state.unrecorded:
            await _finish(call, journal, state.answer)
        return state.answer
    report = False
    if state.started is not None:
        if state.started.alive and journal is None:
            raise taken(call, state.started)
        chosen = decision(restarted, call)
        if chosen == "refuse":
            raise taken(call, state.started)
        report = chosen == "report"
    if journal is None:
        return call._may_have_happened() if report else await call.run(timeout=timeout)
    before = state.started
    await _start(call, journal)
    began = False
    try:
        await checkpoint_if_cancelled()
        began = True
        result = call._may_have_happened() if report else await call.run(timeout=timeout)
    finally:
        if state.started is not None:
            state.started = msgspec.structs.replace(state.started, alive=False)
        if state.answer is None:
            await _release(call, journal, before, began=began)
    await _finish(call, journal, result)
    return result


def me() -> str:
    """Return a readable name of this process, for claims."""
    return f"{platform.node() or 'host'}:{os.getpid()}"


async def _start(call: ToolCall[Any], journal: RoundJournal) -> None:
    try:
        with anyio.fail_after(BOUND, shield=True):
            claim = await journal.start(call)
    except CallTaken:
        raise
    except TimeoutError as exc:
        raise TimeoutError(
            f"call {call.id!r} of {call.name!r} was not run: its start was not recorded in {BOUND} s"
        ) from exc
    except Exception as exc:
        exc.add_note(
            f"call {call.id!r} of {call.name!r} was not run, because its start could not be recorded"
        )
        raise
    call._state.started = claim or Started(me(), datetime.now(UTC), True)
    call._state.unrecorded = True


async def _finish(call: ToolCall[Any], journal: RoundJournal, result: ToolResult) -> None:
    try:
        with anyio.fail_after(BOUND, shield=True):
            await journal.finish(call, result)
    except TimeoutError as exc:
        raise TimeoutError(
            f"call {call.id!r} of {call.name!r} was run, but its result was not recorded in {BOUND} s;"
            " it is in `round.results`, and `run` with this journal tries again"
        ) from exc
    except Exception as exc:
        exc.add_note(
            f"call {call.id!r} of {call.name!r} was run, but its result could not be recorded; it is in"
            " `round.results`, and `run` with this journal tries again"
        )
        raise
    call._state.unrecorded = False


async def _release(
    call: ToolCall[Any], journal: RoundJournal, before: Started | None, *, began: bool
) -> None:
    try:
        if isinstance(journal, ReleasesClaims):
            with suppress(TimeoutError), anyio.fail_after(BOUND, shield=True):
                await cast("ReleasesClaims", journal).release(call, began=began)
    except Exception as exc:  # it must not replace the exception that ended the call
        logger.warning("round: the end of call %r of %r was not recorded: %s", call.id, call.name, exc)
    finally:
        if not began:
            call._state.started = before
        call._state.unrecorded = False
