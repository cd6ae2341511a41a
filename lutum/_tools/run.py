"""The run of several calls: at most `limit` at once. If there is a journal, each call is recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, TypeVar

import anyio
from anyio import get_cancelled_exc_class

from lutum._tools.call import ToolCall, check_runs, check_seconds, only as only_cause
from lutum._tools.journal import Restarted, RoundJournal, check_restarted, run_recorded
from lutum._values.errors import BadValue, ToolError
from lutum._values.items import ToolResult

I = TypeVar("I")

OnError = Literal["result", "raise"]

Only = Iterable["ToolCall[Any] | str"] | Callable[[ToolCall[Any]], object]
"""The calls to run: calls of the round, their keys, or a function that returns true for them."""


def selected(calls: Sequence[ToolCall[I]], only: Only | None) -> tuple[ToolCall[I], ...]:
    """Return the calls that `only` selects, in call order.

    Raises:
      BadValue: `only` contains a call or key that is not in `calls`.
    """
    if only is None:
        return tuple(calls)
    if callable(only):
        return tuple(call for call in calls if only(call))
    if isinstance(only, str):
        raise BadValue("only", "is a str; give a list of calls or keys, or a function of the call")
    wanted = {one.key if isinstance(one, ToolCall) else one for one in only}
    found = tuple(call for call in calls if call.key in wanted)
    for key in wanted - {call.key for call in found}:
        raise BadValue("only", f"{key!r} is not the key of a call of this round")
    return found


async def run_calls(
    calls: Sequence[ToolCall[I]],
    *,
    limit: int,
    timeout: float | None,
    on_error: OnError,
    journal: RoundJournal | None,
    restarted: Restarted,
) -> tuple[ToolResult, ...]:
    """Run calls as `ToolRound.run` does, and return their results in order."""
    if limit < 1:
        raise BadValue("limit", f"{limit} is below 1")
    check_seconds("timeout", timeout)
    if on_error not in ("result", "raise"):
        raise BadValue("on_error", f"{on_error!r} is neither 'result' nor 'raise'")
    check_restarted(restarted)
    for call in calls:
        check_runs(call)
    slots = anyio.CapacityLimiter(limit)
    raised = list[BaseException]()
    unrecorded = dict[int, Exception]()

    async def one(place: int, call: ToolCall[I]) -> None:
        try:
            async with slots:
                if unrecorded and call.answer is None:
                    return  # the journal failed: no further call starts, and running calls may end
                result = await recorded(place, call)
        except get_cancelled_exc_class():
            raise
        except BaseException as exc:  # also KeyboardInterrupt: it is raised unchanged, and not in a group
            raised.append(exc)
            group.cancel_scope.cancel()
            return
        failure = None if result is None else result.exception
        if on_error == "raise" and failure is not None and not isinstance(only_cause(failure), ToolError):
            raised.append(failure)
            group.cancel_scope.cancel()

    async def recorded(place: int, call: ToolCall[I]) -> ToolResult | None:
        if journal is None and call.started is None:
            return await call.run(timeout=timeout)
        try:
            return await run_recorded(call, journal, restarted, timeout)
        except Exception as exc:
            unrecorded[place] = exc
            return None

    async with anyio.create_task_group() as group:
        for place, call in enumerate(calls):
            group.start_soon(one, place, call, name=f"lutum tool {call.name}")
    if raised:
        raise raised[0]
    if unrecorded:
        first, *others = (unrecorded[place] for place in sorted(unrecorded))
        for other in others:
            first.add_note(f"also: {type(other).__name__}: {other}")
        raise first
    return tuple(call.answer for call in calls if call.answer is not None)
