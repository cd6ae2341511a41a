"""The calls that a model makes. Your code runs or answers a call, and the call keeps its answer.

A tool runs only if your code calls `run`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Generic, cast, final

import anyio
import msgspec
from typing_extensions import TypeVar

from lutum._backend import TIE, running_backend_name
from lutum._telemetry.spans import inside, span
from lutum._tools.output import content_of, cut
from lutum._tools.tool import RESULT_LIMIT, BadArguments, Tool
from lutum._tools.toolset import Toolset
from lutum._values.errors import BadValue, ToolError, UsageError
from lutum._values.items import Text, ToolResult, parts
from lutum._values.media import repaired
from lutum._values.results import CommittedTurn, IssueReason
from lutum._values.transcript import Transcript

I = TypeVar("I", default=dict[str, Any])

logger = logging.getLogger("lutum.tools")

# Characters of malformed arguments that the answer quotes. They show the model its mistake. The whole text
# would be charged again as input.
QUOTED = 200

MAY_HAVE_HAPPENED = (
    "This call was started before and its outcome was lost. It may have happened. It was not run again."
)


class Started(msgspec.Struct, frozen=True, omit_defaults=True):
    """A recorded start of a call.

    Attributes:
      by: the run that started the call, such as a host and a process id; empty if unknown.
      at: the time of the start, by the clock of the process that recorded it.
      alive: True if that run is still in progress.
      token: the claim's random id.
    """

    by: str
    at: datetime
    alive: bool = False
    token: str = ""


class Approved(msgspec.Struct, frozen=True, omit_defaults=True):
    """An approval of a call: the person or program that approved it, and the time."""

    by: str
    at: datetime


class CallState:
    """The state of a call. The copies that `with_input` makes of a call share it.

    Attributes:
      place: a transcript, the call's turn, and the call's position in the turn. The transcript ends before
        the turn. If it ends with the turn, the second value is None.
      started: the start that a journal or a dump recorded.
      own_start: the start of the last run of this object.
      unrecorded: True while a journal has claimed the call and has not recorded its result.
    """

    __slots__ = (
        "answer",
        "approved",
        "began",
        "limit",
        "own_start",
        "place",
        "running",
        "scope",
        "seconds",
        "started",
        "unrecorded",
    )

    def __init__(self) -> None:
        self.answer: ToolResult | None = None
        self.approved: Approved | None = None
        self.place: tuple[Transcript, CommittedTurn | None, int] | None = None
        self.own_start: Started | None = None
        self.started: Started | None = None
        self.unrecorded = False
        self.began: float | None = None
        self.seconds = math.inf
        self.limit: anyio.CancelScope | None = None
        self.running: anyio.Event | None = None
        self.scope: anyio.CancelScope | None = None

    def __deepcopy__(self, memo: object) -> CallState:
        return self  # a copy is the same call


@final
@dataclass(frozen=True, slots=True)
class ToolCall(Generic[I]):
    """A call that the model made. Run it with `run`, or answer it with `complete`, `reject` or `fail`.

    Attributes:
      arguments: the model's JSON text. The committed turn contains this text.
      input: the decoded arguments, or the input that was set with `with_input`.
    """

    id: str
    name: str
    arguments: str
    input: I
    _tool: Tool[I] | None = field(default=None, repr=False, compare=False)
    _bound: Mapping[str, object] = field(default_factory=dict[str, object], repr=False, compare=False)
    _state: CallState = field(default_factory=CallState, repr=False, compare=False)

    @property
    def key(self) -> str:
        """The call's stable key: a digest of everything up to its turn, and its position in the turn.

        The key is the same in every process that has the round, so it can be used as an idempotency key.
        Provider ids cannot be used, because some hosts repeat them. If two forks get equal answers, their
        calls have equal keys.

        Raises:
          UsageError: the turn is not complete yet, or no turn made this call.
        """
        if self._state.place is None:
            raise UsageError(f"tool {self.name!r}: a call has no key before its turn has completed")
        base, turn, position = self._state.place
        return call_key((base if turn is None else base.append(turn)).digest, position)

    @property
    def approved(self) -> Approved | None:
        """The approval that was recorded with `approve` or in a store; None without one."""
        return self._state.approved

    @property
    def started(self) -> Started | None:
        """The start that a journal or a dump recorded; None without one."""
        return self._state.started

    def approve(self, by: str = "") -> None:
        """Record an approval on the round. The call does not run. `ToolRound.dump` stores the approval."""
        self._state.approved = Approved(by, datetime.now(UTC))

    @property
    def answer(self) -> ToolResult | None:
        """The last result of this call; None while there is no result."""
        return self._state.answer

    @property
    def cancel_scope(self) -> anyio.CancelScope:
        """The cancel scope of this call's `run`.

        Any task may cancel it. This ends the present run of this call and no other one. If no run is in
        progress, it ends the next run. The result then reports the cancellation.
        """
        if self._state.scope is None:
            self._state.scope = anyio.CancelScope()
        return self._state.scope

    def with_input(self, input: I) -> ToolCall[I]:
        """Return the same call with another input. The committed turn keeps the model's own arguments."""
        return replace(self, input=input)

    def with_arguments(self, arguments: str) -> ToolCall[I]:
        """Return the same call with an input from JSON text, such as a person's correction.

        The committed turn keeps the model's own arguments.

        Raises:
          BadValue: the tool does not accept this input; the message contains the path.
        """
        if self._tool is None:
            raise UsageError(f"tool {self.name!r}: no turn made this call")
        try:
            return self.with_input(self._tool.decode(arguments))
        except BadArguments as exc:
            raise BadValue(f"arguments of {self.name!r}", exc.detail) from None

    def complete(self, output: object) -> ToolResult:
        """Answer the call with an output, and return the result.

        Text is sent unchanged. A list of parts, with or without text between them, is sent as parts. A
        `ToolResult` becomes the result of this call. Any other output is sent as JSON. Text beyond the tool's
        `result_limit` is cut, with a note for the model.

        Raises:
          BadValue: the output cannot be encoded, mixes parts with something else, or is not of the tool's
            declared type. The message names the tool, and the path if there is one.
        """
        limit = RESULT_LIMIT if self._tool is None else self._tool.result_limit
        if isinstance(output, ToolResult):
            content = cut(content_of(self.name, output.content), limit)
            return self._answered(content, is_error=output.is_error, exception=output.exception)
        output = output if self._tool is None else self._tool.checked(output)
        return self._answered(cut(content_of(self.name, output), limit), is_error=False)

    def reject(self, why: str) -> ToolResult:
        """Return a result that informs the model that the call was not run."""
        return self._answered(parts("why", repaired(f"rejected: {why}")), is_error=True)

    def fail(self, exc: BaseException) -> ToolResult:
        """Return a result that informs the model that the tool failed.

        The result contains only the exception's type, or the message of a `ToolError`. A group with one
        exception is treated as that exception. The exception itself is in `ToolResult.exception`, and is
        never committed.
        """
        cause = only(exc)
        text = _words(cause) if isinstance(cause, ToolError) else ""
        text = text if text.strip() else f"failed: {type(cause).__name__}"
        return self._answered((Text(text),), is_error=True, exception=exc)

    async def run(self, *, timeout: float | None = None) -> ToolResult:
        """Run the tool, once. An answered call returns its answer. If the call is running, wait for that run.

        An exception of the tool becomes a result (see `fail`), and so does a timeout or a cancelled
        `cancel_scope`. If `run` is cancelled from outside, the tool is cancelled and the call has no answer.
        A function in a thread cannot be stopped, so `run` waits for it and its result counts, unless the tool
        has `abandon`.

        This is a checkpoint only if the tool's function is one; an answered call returns its answer at once.

        Args:
          timeout: seconds from the start of the call. For a running call this is the start of its present
            run. The wait for one of the tool's threads does not count.

        Raises:
          UsageError: the tool has no function.
        """
        check_seconds("timeout", timeout)
        state = self._state
        while state.answer is None and state.running is not None:
            if timeout is not None:
                state.seconds = min(state.seconds, timeout)
                if state.limit is not None and state.began is not None:
                    state.limit.deadline = min(state.limit.deadline, state.began + timeout + TIE)
            await state.running.wait()
        if state.answer is not None:
            return state.answer
        check_runs(self)
        state.running = done = anyio.Event()
        try:
            return await self._run(timeout)
        finally:
            state.running = state.scope = state.limit = state.began = None
            state.seconds = math.inf
            done.set()

    async def _run(self, timeout: float | None) -> ToolResult:
        assert self._tool is not None
        with span("tool", tool=self.name, call=self.id) as opened:
            with inside(opened):
                result = await self._outcome(self._tool, timeout)
            if result.exception is not None:
                _log_failure(self.name, result.exception)
            if opened is not None:
                opened.set(is_error=result.is_error)
                if opened.content:
                    opened.set(arguments=self.arguments, result=result.text)
                if result.exception is not None:
                    opened.set(error=type(result.exception).__name__, message=_words(result.exception))
        return result

    async def _outcome(self, tool: Tool[I], timeout: float | None) -> ToolResult:
        state = self._state
        state.seconds = min(state.seconds, timeout or math.inf)
        state.own_start = Started("", datetime.now(UTC))
        state.limit = limit = anyio.CancelScope()
        if self.cancel_scope.cancel_called:
            return self._answered((Text("cancelled"),), is_error=True)
        failed: ToolResult | None = None
        with self.cancel_scope as scope, limit:
            try:
                async with tool.slot():
                    state.began = anyio.current_time()
                    limit.deadline = state.began + state.seconds + TIE
                    output = await tool.run_call(self, self.input, self._bound)
                return self.complete(output)
            except Exception as exc:
                return self.fail(exc)
            except anyio.get_cancelled_exc_class() as exc:
                if _is_cancelled(exc):
                    raise
                own = RuntimeError("the tool raised a cancellation, but its call was not cancelled")
                own.__cause__ = exc
                return self.fail(own)
            except BaseExceptionGroup as group:
                # On trio a cancellation and the exceptions that it caused can arrive in one group.
                cancelled, rest = group.split(anyio.get_cancelled_exc_class())
                if cancelled is None or not isinstance(rest, Exception):
                    raise
                failed = self.fail(rest)
                raise cancelled from None
        if failed is not None:
            return failed
        left = "; its thread was left running" if tool.left_running else ""
        if scope.cancelled_caught:
            return self._answered((Text(f"cancelled{left}"),), is_error=True)
        assert limit.cancelled_caught
        assert state.began is not None
        text = f"timed out after {limit.deadline - TIE - state.began:g} s{left}"
        return self._answered((Text(text),), is_error=True, exception=TimeoutError(text))

    def _may_have_happened(self) -> ToolResult:
        return self._answered((Text(MAY_HAVE_HAPPENED),), is_error=True)

    def _answered(
        self, content: tuple[Any, ...], *, is_error: bool, exception: BaseException | None = None
    ) -> ToolResult:
        result = ToolResult(self.id, content, is_error, self.name, self.arguments, exception=exception)
        self._state.answer = result
        return result


@dataclass(frozen=True, slots=True)
class CallIssue:
    """A call that cannot be run, with the reason. The commit of its round answers it, unless you do."""

    id: str
    name: str
    arguments: str
    reason: IssueReason
    detail: str = ""

    @property
    def message(self) -> str:
        """The text for the model."""
        match self.reason:
            case "not_available":
                return f"tool {self.name!r} is not available in this round"
            case "unknown_tool":
                return f"there is no tool {self.name!r}"
            case "invalid_arguments":
                return f"the arguments of {self.name!r} do not fit its schema: {self.detail}"
            case "malformed_arguments":
                quoted = self.arguments[:QUOTED]
                return f"the arguments of {self.name!r} are not one JSON object; they began: {quoted}"

    def answer(self) -> ToolResult:
        """Return the result that is committed if you do not answer the issue yourself."""
        return ToolResult(self.id, (Text(self.message),), True, self.name, self.arguments)


def call_key(digest: str, position: int) -> str:
    """Return the key of a call from its position in its turn.

    `digest` is the digest of the transcript that ends with this turn.
    """
    return blake2b(f"{digest} {position}".encode(), digest_size=16).hexdigest()


def typed_call(
    id: str, name: str, arguments: str, toolset: Toolset[I], available: Sequence[str] | None = None
) -> CallIssue | ToolCall[I]:
    """Return a call with its decoded input, or an issue if no tool of the set can run the call."""
    tool = toolset.get(name)
    if tool is None:
        return CallIssue(id, name, arguments, "unknown_tool")
    if available is not None and name not in available:
        return CallIssue(id, name, arguments, "not_available")
    try:
        input = tool.decode(arguments)
    except BadArguments as exc:
        return CallIssue(id, name, arguments, exc.reason, exc.detail)
    return ToolCall(id, name, arguments, input, tool, toolset.bound(name))


def check_runs(call: ToolCall[Any]) -> None:
    """Raise UsageError if a call has no answer and there is no function that `run` could call."""
    if call.answer is not None:
        return
    tool = call._tool
    if tool is None:
        raise UsageError(f"tool {call.name!r}: no turn made this call; answer with call.complete(...)")
    tool.check_runs()


def check_seconds(field: str, value: float | None) -> None:
    if value is not None and not value > 0:
        raise BadValue(field, f"{value!r} is not above 0 s; None means no limit")


def only(exc: BaseException) -> BaseException:
    """Return the only exception of a group, or the exception itself.

    A task group raises a group even if only one of its tasks has failed.
    """
    while isinstance(exc, BaseExceptionGroup):
        inner = cast("Sequence[BaseException]", exc.exceptions)  # pyright: ignore[reportUnknownMemberType]  # isinstance gives no parameter
        if len(inner) != 1:
            break
        exc = inner[0]
    return exc  # pyright: ignore[reportUnknownVariableType]  # of a group of anything


_ASYNCIO_ONLY = (
    "It uses a library that runs on asyncio only, and this program runs on trio. Start the program with"
    ' lutum.run(main, backend="asyncio").'
)


def _log_failure(tool: str, failure: BaseException) -> None:
    """Log the failure of a tool, with the traceback. The model receives only the exception's type."""
    cause = only(failure)
    if isinstance(cause, ToolError):
        logger.info("tool %r: %s", tool, _words(cause))
    elif cause.__traceback__ is None:  # a timeout
        logger.warning("tool %r failed: %s: %s", tool, type(cause).__name__, _words(cause))
    else:
        hint = ""
        if _needs_asyncio(cause):
            hint = f" {_ASYNCIO_ONLY}"
            cause.add_note(_ASYNCIO_ONLY)
        logger.warning(
            "tool %r failed: %s: %s.%s", tool, type(cause).__name__, _words(cause), hint, exc_info=failure
        )


def _needs_asyncio(exc: BaseException) -> bool:
    """Return whether an exception means that the tool needs asyncio, while trio runs."""
    if running_backend_name() != "trio":
        return False
    last = exc.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    # asyncio's "no running event loop", trio's error for an asyncio future, or an error raised in asyncio.
    module = "" if last is None else str(last.tb_frame.f_globals.get("__name__", ""))
    return "event loop" in (words := _words(exc)) or "asyncio" in words or module.split(".")[0] == "asyncio"


def _words(exc: BaseException) -> str:
    """Return the message of an exception as text that can be sent; empty if its `__str__` fails."""
    try:
        return repaired(str(exc))
    except Exception:
        return ""


def _is_cancelled(exc: BaseException) -> bool:
    """Return whether this task was cancelled.

    On asyncio a tool can raise the cancellation exception without being cancelled, for example if it awaits a
    cancelled task.
    """
    if anyio.current_effective_deadline() == -math.inf:
        return True
    if not any(cls.__module__ == "asyncio.exceptions" for cls in type(exc).__mro__):
        return True
    import asyncio  # it is loaded already, because it runs this task

    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
