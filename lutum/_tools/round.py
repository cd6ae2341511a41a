"""Rounds: a turn that called tools, and what it takes to commit it.

A round is answered as a whole or not at all: `answered` checks one result a call and puts them in call
order, and only then does anybody append them to a transcript.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, final

import anyio
from anyio import get_cancelled_exc_class
from typing_extensions import TypeVar

from lutum._telemetry.spans import span
from lutum._tools.call import CallIssue, ToolCall, check_runs, check_seconds, only
from lutum._values.errors import BadValue, ToolError, UsageError
from lutum._values.items import ModelInput, ToolResult
from lutum._values.results import CommittedTurn, TextResult, ToolCallItem, Usage
from lutum._values.transcript import Transcript

I = TypeVar("I", default=dict[str, Any])
R = TypeVar("R", default=TextResult)

OnError = Literal["result", "raise"]

ToolHook = Callable[[ToolCall[Any]], Awaitable[ToolCall[Any] | ToolResult | None]]
"""Looks at a call before it is run: None lets it be, `call.with_input(...)` edits it, and
`call.complete(...)` or `call.reject(...)` answers it."""


@final
@dataclass(frozen=True, slots=True)
class ToolRound(Generic[I]):
    """A turn that waits for results: its calls, in order, and the issues that are answered for you."""

    result: TextResult
    calls: tuple[ToolCall[I], ...]
    issues: tuple[CallIssue, ...] = ()

    @property
    def turn(self) -> CommittedTurn:
        """The turn that called."""
        return self.result.turn

    @property
    def usage(self) -> Usage:
        """What the request that called is charged."""
        return self.result.usage

    @property
    def finish_reason(self) -> str:
        """Why the turn ended; a turn with calls need not say `tool_calls`."""
        return self.result.finish_reason

    @property
    def base(self) -> Transcript:
        """The transcript the turn was built on."""
        return self.result.base

    def expect_one(self) -> ToolCall[I]:
        """The only call. Raises UsageError when there are none or several."""
        if len(self.calls) != 1:
            raise UsageError(f"round: {len(self.calls)} calls where one was expected")
        return self.calls[0]

    def expect_at_most_one(self) -> ToolCall[I] | None:
        """The only call, or None. Raises UsageError when there are several."""
        return self.expect_one() if self.calls else None

    async def run(
        self,
        *,
        limit: int = 16,
        timeout: float | None = None,
        on_error: OnError = "result",
    ) -> tuple[ToolResult, ...]:
        """Run the calls at once, those not answered yet, and give every result in call order.

        Cancelled, the tools are cancelled and nothing is committed; what was answered stays answered.

        Args:
          limit: how many run at the same time.
          timeout: seconds for each call, from its own start and not from its wait for a slot.
          on_error: what the exception of a tool does: it becomes its call's result, or cancels the other
            calls and is raised as it is. A `ToolError` is a result always.

        Raises:
          UsageError: a tool is no function and its call is not answered, or two calls have one id.
        """
        _check_ids(self.turn.tool_calls)
        return await _run_calls(self.calls, limit=limit, timeout=timeout, on_error=on_error)

    async def apply_hooks(self, hook: ToolHook) -> RoundPlan[I]:
        """Ask a hook, such as a `ToolHooks`, about each call in order. Runs and commits nothing.

        Raises:
          UsageError: the hook gave something else than this call, a result for it, or None.
          Exception: what the hook raised, with a note that names the tool.
        """
        return await RoundPlan(self, self.calls).apply_hooks(hook)

    def commit_into(self, base: ModelInput, results: Iterable[ToolResult]) -> ModelInput:
        """`base` with the turn and its results; `Session.commit_round` without a session.

        Raises:
          UsageError: a result is missing, double, extra or altered.
        """
        transcript = base.transcript.append(self.turn)
        for result in self.answered(results):
            transcript = transcript.append(result)
        return ModelInput(transcript)

    def answered(self, results: Iterable[ToolResult]) -> tuple[ToolResult, ...]:
        """One result a call, in call order, with issues answered where you did not.

        Raises:
          UsageError: a result is missing, double, extra, or says another name or other arguments; or two
            calls have one id, so that no result could tell them apart.
        """
        _check_ids(self.turn.tool_calls)
        wanted = {call.id: call for call in self.turn.tool_calls}
        given = dict[str, ToolResult]()
        for result in results:
            if not isinstance(result, ToolResult):
                raise UsageError(f"round: {type(result).__name__} is no result; call.complete(it) makes one")
            call = wanted.get(result.call_id)
            if call is None:
                raise UsageError(f"round: result {result.call_id!r} answers no call of this turn")
            if result.call_id in given:
                raise UsageError(f"round: two results for call {result.call_id!r} of {call.name!r}")
            given[result.call_id] = _bare(call, result)
        for issue in self.issues:
            given.setdefault(issue.id, _bare(wanted[issue.id], issue.answer()))
        for call in self.turn.tool_calls:
            if call.id not in given:
                raise UsageError(
                    f"round: no result for call {call.id!r} of {call.name!r};"
                    " run() gives all of them, call.complete(...) or .reject(...) one"
                )
        return tuple(given[id] for id in wanted)


@dataclass(frozen=True, slots=True)
class Finished(Generic[R]):
    """A turn with tools that called none: `result` may be committed."""

    result: R


@dataclass(frozen=True, slots=True)
class NeedsTools(Generic[I]):
    """A turn that called tools: run `round.calls`, then `session.commit_round(round, results)`."""

    round: ToolRound[I]


@final
@dataclass(frozen=True, slots=True)
class RoundPlan(Generic[I]):
    """A round after hooks: the calls they left, some with edited inputs, and those they answered.

    `handled` and `rejected` are results, in call order; `commit_round(plan, results)` takes results for
    `pending` only.
    """

    round: ToolRound[I]
    pending: tuple[ToolCall[I], ...]
    handled: tuple[ToolResult, ...] = ()
    rejected: tuple[ToolResult, ...] = ()

    @property
    def result(self) -> TextResult:
        """The turn that called, as a result."""
        return self.round.result

    async def apply_hooks(self, hook: ToolHook) -> RoundPlan[I]:
        """Ask another hook about what is still pending. As `ToolRound.apply_hooks`."""
        pending, handled, rejected = list[ToolCall[I]](), list(self.handled), list(self.rejected)
        for call in self.pending:
            decided = await _decided(hook, call)
            if isinstance(decided, ToolCall):
                pending.append(decided)
            else:
                (rejected if decided.is_error else handled).append(decided)
        return RoundPlan(self.round, tuple(pending), tuple(handled), tuple(rejected))

    async def run(
        self, *, limit: int = 16, timeout: float | None = None, on_error: OnError = "result"
    ) -> tuple[ToolResult, ...]:
        """Run what is pending, with the inputs as they are now. As `ToolRound.run`."""
        _check_ids(self.round.turn.tool_calls)
        return await _run_calls(self.pending, limit=limit, timeout=timeout, on_error=on_error)

    def answered(self, results: Iterable[ToolResult]) -> tuple[ToolResult, ...]:
        """Those results and the hooks', in call order. Raises as `ToolRound.answered`."""
        return self.round.answered([*self.handled, *self.rejected, *results])


async def _run_calls(
    calls: Sequence[ToolCall[I]], *, limit: int, timeout: float | None, on_error: OnError
) -> tuple[ToolResult, ...]:
    """The results of calls, in order, at most `limit` running at once. As `ToolRound.run`."""
    if limit < 1:
        raise BadValue("limit", f"{limit} is below 1")
    check_seconds("timeout", timeout)
    if on_error not in ("result", "raise"):
        raise BadValue("on_error", f"{on_error!r} is neither 'result' nor 'raise'")
    for call in calls:
        check_runs(call)
    slots = anyio.CapacityLimiter(limit)
    raised = list[BaseException]()

    async def one(call: ToolCall[I]) -> None:
        try:
            async with slots:
                result = await call.run(timeout=timeout)
        except get_cancelled_exc_class():
            raise
        except BaseException as exc:  # KeyboardInterrupt too: it comes out as it is, and not in a group
            raised.append(exc)
            group.cancel_scope.cancel()
            return
        failure = result.exception
        if on_error == "raise" and failure is not None and not isinstance(only(failure), ToolError):
            raised.append(failure)
            group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        for call in calls:
            group.start_soon(one, call, name=f"lutum tool {call.name}")
    if raised:
        raise raised[0]
    return tuple(call.answer for call in calls if call.answer is not None)


async def _decided(hook: ToolHook, call: ToolCall[I]) -> ToolCall[I] | ToolResult:
    with span("hook", slot="tool", tool=call.name, call=call.id) as opened:
        try:
            said = await hook(call)
        except Exception as exc:
            exc.add_note(f"in a hook for tool {call.name!r}")
            raise
        decided = call if said is None else said
        if not isinstance(decided, ToolCall | ToolResult):
            raise UsageError(f"hook for {call.name!r}: {type(said).__name__} is no call, result or None")
        if (decided.id if isinstance(decided, ToolCall) else decided.call_id) != call.id:
            raise UsageError(f"hook for {call.name!r}: it gave an answer to another call")
        if opened is not None:
            edited = isinstance(decided, ToolCall) and decided.input is not call.input
            answered = isinstance(decided, ToolResult) and ("reject" if decided.is_error else "complete")
            opened.set(decision=answered or ("edit" if edited else "run"))
        return decided


def _check_ids(calls: Sequence[ToolCallItem]) -> None:
    ids = [call.id for call in calls]
    if len(set(ids)) < len(ids):
        raise UsageError(f"round: two calls of this turn have one id: {ids}")


def _bare(call: ToolCallItem, result: ToolResult) -> ToolResult:
    """The result as the transcript keeps it: name and arguments stand in the turn before it."""
    if result.name is not None and result.name != call.name:
        raise UsageError(f"round: the result for {call.name!r} ({call.id!r}) says it is of {result.name!r}")
    if result.arguments is not None and result.arguments != call.arguments:
        raise UsageError(f"round: the result for {call.name!r} ({call.id!r}) says other arguments")
    return ToolResult(result.call_id, result.content, result.is_error, wire=result.wire)
