"""Rounds: a turn that called tools, its calls, and the commit of their results.

A round is answered as a whole or not at all. `answered` checks that each call has one result, and puts the
results in call order. Only checked results are appended to a transcript.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, final

import msgspec
from typing_extensions import TypeVar

from lutum._telemetry.spans import inside, span
from lutum._tools.call import CallIssue, ToolCall, typed_call
from lutum._tools.journal import Restarted, RoundJournal
from lutum._tools.round_file import CallRecord, dump_round, read_round, result_of, result_of_turn
from lutum._tools.run import OnError as OnError, Only, run_calls, selected
from lutum._tools.toolset import Toolset
from lutum._values.check import check_type
from lutum._values.errors import UsageError
from lutum._values.items import ToolResult
from lutum._values.model_input import ModelInput
from lutum._values.results import CommittedTurn, TextResult, ToolCallItem, Usage
from lutum._values.transcript import Transcript
from lutum._values.wrong_calls import OUTCOME, Pending, no_such_name

I = TypeVar("I", default=dict[str, Any])
J = TypeVar("J", default=dict[str, Any])
R = TypeVar("R", default=TextResult)

ToolHook = Callable[[ToolCall[Any]], Awaitable[ToolCall[Any] | ToolResult | None]]
"""A function that gets a call before the call runs. It returns None to change nothing, `call.with_input(...)`
to edit the call, or `call.complete(...)` or `call.reject(...)` to answer it."""


@final
@dataclass(frozen=True, slots=True)
class ToolRound(Generic[I]):
    """A turn that waits for results.

    Attributes:
      result: the result of the turn that made the calls.
      calls: the calls, in order.
      issues: the calls that cannot be run. The commit answers them, unless you do.
      placed: True if `base` already contains the turn. Only the results are then committed; see
        `Session.open_round`.
    """

    result: TextResult
    calls: tuple[ToolCall[I], ...]
    issues: tuple[CallIssue, ...] = ()
    placed: bool = False

    def __post_init__(self) -> None:
        base, turn = self.base, None if self.placed else self.turn
        if self.placed:
            base = base.prefix(_end_of_turn(base))
        waiting = list(self.calls)
        for position, item in enumerate(self.turn.tool_calls):
            if waiting and waiting[0].id == item.id:
                waiting.pop(0)._state.place = (base, turn, position)

    @property
    def turn(self) -> CommittedTurn:
        """The turn that made the calls."""
        return self.result.turn

    @property
    def usage(self) -> Usage:
        """The charge of the request that made the calls."""
        return self.result.usage

    @property
    def finish_reason(self) -> str:
        """The reason why the turn ended. A turn with calls may have another reason than `tool_calls`."""
        return self.result.finish_reason

    @property
    def base(self) -> Transcript:
        """The transcript that the turn was built on."""
        return self.result.base

    @property
    def unanswered(self) -> tuple[ToolCall[I], ...]:
        """The calls without a result, in call order."""
        return tuple(call for call in self.calls if call.answer is None)

    @property
    def results(self) -> tuple[ToolResult, ...]:
        """The results so far, in call order."""
        return tuple(call.answer for call in self.calls if call.answer is not None)

    def dump(self) -> bytes:
        """Return the round as bytes: its turn, its usage and the state of its calls. `base` is not included.

        Results are stored without their `exception`. Failed attempts are stored only as usage. If
        `with_input` changed the input of a call, the model's own arguments are stored.

        Raises:
          TranscriptError: a value cannot be stored.
        """
        calls = tuple(
            CallRecord(
                call.id,
                call.approved,
                call._state.started or call._state.own_start,
                None if call.answer is None else msgspec.structs.replace(call.answer, exception=None),
            )
            for call in self.calls
        )
        return dump_round(self.result, self.placed, self.issues, calls)

    @staticmethod
    def load(data: bytes, tools: Toolset[J], *, base: Transcript) -> ToolRound[J]:
        """Return the round of a dump, on its base. Commit it with `Session.commit_round`.

        A call becomes an issue if its tool is no longer in `tools`, or if its arguments no longer fit. A dump
        does not show whether a started call is still running elsewhere; a journal does.

        Raises:
          TranscriptError: `data` is not a dumped round or has a newer version, or `base` is not its base.
        """
        record = read_round(data, base)
        result = result_of(record, base)
        known = {one.id: one for one in record.calls}
        calls, issues = list[ToolCall[J]](), list[CallIssue]()
        stored = {issue.id: issue for issue in record.issues}
        for item in result.turn.tool_calls:
            made = stored.get(item.id) or typed_call(item.id, item.name, item.arguments, tools)
            if isinstance(made, CallIssue):
                issues.append(made)
                continue
            if (one := known.get(item.id)) is not None:
                state = made._state
                state.approved, state.started, state.answer = one.approved, one.started, one.result
            calls.append(made)
        return ToolRound(result, tuple(calls), tuple(issues), record.placed)

    def expect_one(self) -> ToolCall[I]:
        """Return the only call. Raises UsageError for zero or several calls."""
        if len(self.calls) != 1:
            raise UsageError(f"round: {len(self.calls)} calls where one was expected")
        return self.calls[0]

    def expect_at_most_one(self) -> ToolCall[I] | None:
        """Return the only call, or None without calls. Raises UsageError for several calls."""
        return self.expect_one() if self.calls else None

    def run(
        self,
        *,
        limit: int = 16,
        timeout: float | None = None,
        on_error: OnError = "result",
        only: Only | None = None,
        journal: RoundJournal | None = None,
        restarted: Restarted = "refuse",
    ) -> Coroutine[Any, Any, tuple[ToolResult, ...]]:
        """Run all unanswered calls, at most `limit` at the same time. Return every result in call order.

        If this is cancelled, the tools are cancelled and nothing is committed. Answered calls keep their
        answers, and their records in the journal are completed before the cancellation continues.

        A checkpoint.

        Args:
          limit: the number of calls that run at the same time.
          timeout: seconds for each call, from its own start. The wait for a slot does not count.
          on_error: the effect of a tool's exception. With `"result"` it becomes the result of its call. With
            `"raise"` it cancels the other calls and is raised unchanged. A `ToolError` always becomes a
            result.
          only: the calls to run, as calls, keys or a function of the call. Only their results are returned.
          journal: claims each call before it runs, and records its result. If the journal fails, no further
            call starts. When the running calls have ended, the journal's error is raised.
          restarted: what to do with a call that was started elsewhere and has no result, according to a
            journal or a dump. `"refuse"` raises CallTaken, `"run"` runs the call again, and `"report"`
            answers that it may have happened. A function of the call can return one of these.

        Raises:
          UsageError: a tool has no function and its call is not answered, or two calls have the same id.
          CallTaken: another run has claimed a call, or `restarted` refuses it.
        """
        running = _run(
            self.turn,
            self.calls,
            only,
            limit=limit,
            timeout=timeout,
            on_error=on_error,
            journal=journal,
            restarted=restarted,
        )
        return Pending(running, "run")

    async def apply_hooks(self, hook: ToolHook) -> RoundPlan[I]:
        """Run a hook, such as a `ToolHooks`, for each call in order. No call runs, and nothing is committed.

        This is a checkpoint only if a hook is one.

        Raises:
          UsageError: the hook returned something other than this call, a result for it, or None.
          Exception: the hook's own exception, with a note that names the tool.
        """
        return await RoundPlan(self, self.calls).apply_hooks(hook)

    def commit_into(self, base: ModelInput, results: Iterable[ToolResult]) -> ModelInput:
        """Return `base` with the turn and its results. This is `Session.commit_round` without a session.

        Raises:
          UsageError: a result is missing, given twice, extra or altered.
        """
        return ModelInput(self.append_to(base.transcript, self.answered(results)))

    def append_to(self, transcript: Transcript, results: Iterable[ToolResult]) -> Transcript:
        """Append the turn and the results, unless `transcript` already contains them.

        `answered` must have checked the results.
        """
        if not self.placed:
            transcript = transcript.append(self.turn)
        waiting = set(transcript.open_calls)
        for result in results:
            if result.call_id in waiting:
                transcript = transcript.append(result)
        return transcript

    def answered(self, results: Iterable[ToolResult]) -> tuple[ToolResult, ...]:
        """Return one result for each call, in call order. Issues without a result from you get one.

        Raises:
          UsageError: a result is missing, given twice or extra, or has another name or other arguments. Or
            two calls have the same id, so that results cannot be matched to them.
        """
        _check_ids(self.turn.tool_calls)
        wanted = {call.id: call for call in self.turn.tool_calls}
        given = dict[str, ToolResult]()
        check_type("results", results, Iterable, "results of the calls, as round.run() gives")
        for i, result in enumerate(results):
            check_type(f"results[{i}]", result, ToolResult, "a ToolResult, which call.complete(value) makes")
            call = wanted.get(result.call_id)
            if call is None:
                raise UsageError(f"round: result {result.call_id!r} answers no call of this turn")
            if result.call_id in given:
                raise UsageError(f"round: two results for call {result.call_id!r} of {call.name!r}")
            given[result.call_id] = _bare(call, result)
        if self.placed:
            there = set(self.base.open_calls)
            for typed in self.calls:
                if typed.id not in there and typed.answer is not None:
                    given.setdefault(typed.id, _bare(wanted[typed.id], typed.answer))
        for issue in self.issues:
            given.setdefault(issue.id, _bare(wanted[issue.id], issue.answer()))
        for call in self.turn.tool_calls:
            if call.id not in given:
                raise UsageError(
                    f"round: no result for call {call.id!r} of {call.name!r}; round.run() gives all results,"
                    " and call.complete(...) or call.reject(...) gives one"
                )
        return tuple(given[id] for id in wanted)


@dataclass(frozen=True, slots=True)
class Finished(Generic[R]):
    """The outcome of a turn with tools that made no call. `result` can be committed."""

    result: R

    if not TYPE_CHECKING:  # a type checker would accept any attribute name

        def __getattr__(self, name: str) -> object:
            raise no_such_name(self, name, OUTCOME)


@dataclass(frozen=True, slots=True)
class NeedsTools(Generic[I]):
    """The outcome of a turn that called tools.

    Run `round.calls`, then commit with `session.commit_round(round, results)`.
    """

    round: ToolRound[I]

    if not TYPE_CHECKING:  # a type checker would accept any attribute name

        def __getattr__(self, name: str) -> object:
            raise no_such_name(self, name, OUTCOME)


@final
@dataclass(frozen=True, slots=True)
class RoundPlan(Generic[I]):
    """A round after its hooks have run. `commit_round(plan, results)` takes results for `pending` only.

    Attributes:
      round: the round.
      pending: the calls that no hook has answered, in call order. Their inputs may be edited.
      handled: the hooks' results without an error, in the order in which the hooks returned them.
      rejected: the hooks' results that are errors, in the same order.
    """

    round: ToolRound[I]
    pending: tuple[ToolCall[I], ...]
    handled: tuple[ToolResult, ...] = ()
    rejected: tuple[ToolResult, ...] = ()

    @property
    def result(self) -> TextResult:
        """The result of the turn that made the calls."""
        return self.round.result

    async def apply_hooks(self, hook: ToolHook) -> RoundPlan[I]:
        """Run another hook for the calls that are still pending, as `ToolRound.apply_hooks` does.

        This is a checkpoint only if a hook is one.
        """
        pending, handled, rejected = list[ToolCall[I]](), list(self.handled), list(self.rejected)
        for call in self.pending:
            decided = await decided_by(hook, call)
            if isinstance(decided, ToolCall):
                pending.append(decided)
            else:
                (rejected if decided.is_error else handled).append(decided)
        return RoundPlan(self.round, tuple(pending), tuple(handled), tuple(rejected))

    def run(
        self,
        *,
        limit: int = 16,
        timeout: float | None = None,
        on_error: OnError = "result",
        only: Only | None = None,
        journal: RoundJournal | None = None,
        restarted: Restarted = "refuse",
    ) -> Coroutine[Any, Any, tuple[ToolResult, ...]]:
        """Run the pending calls with their present inputs, as `ToolRound.run` does.

        This is a checkpoint only if it has to wait.
        """
        running = _run(
            self.round.turn,
            self.pending,
            only,
            limit=limit,
            timeout=timeout,
            on_error=on_error,
            journal=journal,
            restarted=restarted,
        )
        return Pending(running, "run")

    def answered(self, results: Iterable[ToolResult]) -> tuple[ToolResult, ...]:
        """Return these results and the hooks' results, in call order. Raises as `ToolRound.answered`."""
        return self.round.answered([*self.handled, *self.rejected, *results])


async def _run(
    turn: CommittedTurn,
    calls: Sequence[ToolCall[I]],
    only: Only | None,
    *,
    limit: int,
    timeout: float | None,
    on_error: OnError,
    journal: RoundJournal | None,
    restarted: Restarted,
) -> tuple[ToolResult, ...]:
    _check_ids(turn.tool_calls)
    return await run_calls(
        selected(calls, only),
        limit=limit,
        timeout=timeout,
        on_error=on_error,
        journal=journal,
        restarted=restarted,
    )


async def decided_by(hook: ToolHook, call: ToolCall[I]) -> ToolCall[I] | ToolResult:
    """Run a hook for a call. Return the call, perhaps edited, or its result.

    This is a checkpoint only if the hook is one.

    Raises:
      UsageError: the hook returned something other than this call, a result for it, or None.
    """
    with span("hook", slot="tool", tool=call.name, call=call.id) as opened:
        try:
            with inside(opened):
                said = await hook(call)
        except Exception as exc:
            exc.add_note(f"in a hook for tool {call.name!r}")
            raise
        decided = call if said is None else said
        if not isinstance(decided, ToolCall | ToolResult):
            raise UsageError(f"hook for {call.name!r}: {type(said).__name__} is not a call, a result or None")
        if (decided.id if isinstance(decided, ToolCall) else decided.call_id) != call.id:
            raise UsageError(f"hook for {call.name!r}: it answered another call")
        if opened is not None:
            edited = isinstance(decided, ToolCall) and decided.input is not call.input
            answered = isinstance(decided, ToolResult) and ("reject" if decided.is_error else "complete")
            opened.set(decision=answered or ("edit" if edited else "run"))
        return decided


def open_round(transcript: Transcript, tools: Toolset[I]) -> ToolRound[I]:
    """Return the round of the last turn of a transcript. See `Session.open_round`.

    Raises:
      UsageError: no call of the transcript waits for a result.
    """
    if not transcript.open_calls:
        raise UsageError("open_round: no call of the transcript waits for a result")
    end = _end_of_turn(transcript)
    turn = transcript[end - 1]
    assert isinstance(turn, CommittedTurn)
    answers = [
        item
        for item in [transcript[at] for at in range(end, len(transcript))]
        if isinstance(item, ToolResult)
    ]
    given = {answer.call_id: answer for answer in answers}
    calls, issues = list[ToolCall[I]](), list[CallIssue]()
    for item in turn.tool_calls:
        made = typed_call(item.id, item.name, item.arguments, tools)
        if isinstance(made, ToolCall):
            made._state.answer = given.get(item.id)
            calls.append(made)
        elif item.id not in given:
            issues.append(made)
    return ToolRound(result_of_turn(turn, transcript), tuple(calls), tuple(issues), placed=True)


def _end_of_turn(transcript: Transcript) -> int:
    """Return the number of items up to the last turn, including the turn."""
    end = len(transcript)
    while end and isinstance(transcript[end - 1], ToolResult):
        end -= 1
    return end


def _check_ids(calls: Sequence[ToolCallItem]) -> None:
    ids = [call.id for call in calls]
    if len(set(ids)) < len(ids):
        raise UsageError(f"round: two calls of this turn have the same id: {ids}")


def _bare(call: ToolCallItem, result: ToolResult) -> ToolResult:
    """Return the result as the transcript keeps it: without name and arguments, which are in the turn."""
    if result.name is not None and result.name != call.name:
        raise UsageError(
            f"round: the result for call {call.id!r} of {call.name!r} has the name of another tool,"
            f" {result.name!r}"
        )
    if result.arguments is not None and result.arguments != call.arguments:
        raise UsageError(
            f"round: the result for call {call.id!r} of {call.name!r} has other arguments than the call"
        )
    return ToolResult(result.call_id, result.content, result.is_error, wire=result.wire)
