"""The handle of a running turn: its block, its events and its result.

Entering opens a task group with the pump as its only child. Inside the group it enters the turn's own cancel
scope. The order of the steps in leaving is chosen so that every exception leaves the block unchanged. In any
other order, an exception was lost; docs/design.md, "How a turn is entered and left", has the reasons.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from types import TracebackType
from typing import Any, Generic, Self, final

import anyio
import msgspec
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint
from msgspec import UNSET
from typing_extensions import TypeVar

from lutum._backend import running_backend
from lutum._schema.lenient import Stripped
from lutum._telemetry.spans import CURRENT, open_span, span
from lutum._telemetry.turn import TurnSpan
from lutum._turn.bills import Bills
from lutum._turn.channel import FrameChannel
from lutum._turn.gate import Lead, PrefixGate
from lutum._turn.outcome import Finish, tokens_of, with_settled
from lutum._turn.prepare import PreparedTurn
from lutum._turn.preview import logged
from lutum._turn.pump import Pump
from lutum._turn.reducer import Reducer
from lutum._values.errors import (
    BudgetExceeded,
    Interrupted,
    LutumError,
    TurnError,
    TurnNotFinished,
    UsageError,
    after_sending,
)
from lutum._values.events import (
    Completed,
    Event,
    ProviderEvent,
    StructuredReady,
    TextDelta,
    decode_frame,
)
from lutum._values.frames import shortened
from lutum._values.results import COMMENTARY, PartialResult, TextResult, Usage

R = TypeVar("R", default=TextResult, covariant=True)

logger = logging.getLogger("lutum")


@final
class Stream(Generic[R]):
    """One turn while it runs. Made by `.stream()`, used as `async with turn.stream() as stream`.

    Entering the block validates the request, reserves its amount and starts it. It may wait for hooks, a gate
    and the reservation, but not for the answer. Leaving the block in any way closes the socket and settles
    the budget before the block ends. To end the block without an exception, cancel `cancel_scope` from any
    task.

    Raises (entering):
      UsageError: the request is not possible. Nothing was reserved or sent.
      BudgetExceeded: the reservation was refused. Nothing was sent.
    """

    __slots__ = (
        "_bills",
        "_channel",
        "_consumer",
        "_current_task",
        "_due",
        "_error",
        "_events",
        "_finish",
        "_frames",
        "_group",
        "_met",
        "_open",
        "_pump",
        "_reducer",
        "_result",
        "_scope",
        "_span",
        "_start",
        "_task",
        "_used",
    )

    def __init__(
        self,
        start: Callable[[], Awaitable[PreparedTurn]],
        reducer: Reducer,
        finish: Finish[R],
    ) -> None:
        self._start = start
        self._reducer = reducer
        self._finish = finish
        self._bills: Bills | None = None
        self._scope: anyio.CancelScope | None = None
        self._channel: FrameChannel | None = None
        self._frames: Iterator[bytes] = iter(())
        self._events: Iterator[Event] = iter(())
        self._group: TaskGroup | None = None
        self._pump: Pump | None = None
        self._current_task: Callable[[], object] = lambda: None
        self._task: object = None
        self._span: TurnSpan | None = None
        self._consumer: object = None
        self._due: R | None = None
        self._result: R | None = None
        self._error: TurnError | None = None
        self._met: BaseException | None = None
        self._open = False
        self._used = False

    async def __aenter__(self) -> Self:
        """A checkpoint."""
        if self._used:
            raise after_sending(
                UsageError("stream: this stream was entered before; call .stream() again for another turn")
            )
        self._used = True
        opened = open_span("turn")
        if opened is None:
            try:
                await self._enter(None)
            except LutumError as error:
                shortened(error)
                raise
            return self
        self._span = TurnSpan(opened)
        # Spans of hooks and of the pump are children of the turn's span. Spans of the block are not, so that
        # blocks of several turns may overlap in one task.
        found = CURRENT.get()
        CURRENT.set(opened)
        try:
            await self._enter(self._span)
        except BaseException as exc:
            self._span.refused(exc)
            if isinstance(exc, LutumError):
                shortened(exc)
            raise
        finally:
            CURRENT.set(found)
        return self

    async def _enter(self, turn_span: TurnSpan | None) -> None:
        start = await self._start()
        self._bills = start.bills
        if turn_span is not None:
            turn_span.prepared(start.adapter.name, start.prepared)
        lead = None if start.gate is None else await _wait_for_prefix(start.gate)
        try:
            await self._begin(start, turn_span, lead)
        except BaseException:
            if lead is not None:
                lead.left()
            raise

    async def _begin(self, start: PreparedTurn, turn_span: TurnSpan | None, lead: Lead | None) -> None:
        if turn_span is None:
            lease = await start.reserve()
        else:
            lease = await turn_span.wait(start.reserve())
        backend = running_backend()
        channel = FrameChannel(backend)
        try:
            self._pump = Pump(
                start.adapter,
                start.prepared,
                lease,
                channel,
                backend,
                pricing=start.pricing,
                recovery=start.recovery,
                turn_span=turn_span,
                lead=lead,
            )
            if logger.isEnabledFor(logging.DEBUG):
                logger.debug("%s", logged(start.adapter, start.prepared))
            self._group = anyio.create_task_group()
            await self._group.__aenter__()
        except BaseException:
            lease.settle(Usage())
            lease.end()
            channel.end()
            channel.close()
            raise
        self._scope = self.cancel_scope
        self._scope.__enter__()
        self._channel = channel
        self._group.start_soon(self._pump.run, name="lutum turn")
        self._current_task = backend.current_task
        self._task = backend.current_task()
        self._open = True

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """This is a checkpoint only if it has to wait."""
        left = exc
        try:
            return await self._leave(kind, exc, trace)
        except BaseException as own:
            left = own
            raise
        finally:
            if self._bills is not None and self._pump is not None:
                self._bill(self._bills, self._pump, exc)
            if self._span is not None and self._pump is not None and self._scope is not None:
                failure = self._pump.failure or self._error
                stopped, read = self._scope.cancel_called, self._result is not None
                self._span.ended(
                    self._pump.usage, failure, left, stopped=stopped, read=read, saved=self._pump.saved()
                )

    def _bill(self, bills: Bills, pump: Pump, exc: BaseException | None) -> None:
        error = pump.failure or self._error
        if error is None and self._result is None:  # the block ended before the turn did
            error = exc or TurnNotFinished("left")
        model, tokens = pump.prepared.model, tokens_of(self._due)
        bills.settled(pump.turn_id, pump.adapter.name, model, pump.so_far(), error, tokens)

    async def _leave(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> bool:
        assert self._group is not None
        assert self._pump is not None
        assert self._channel is not None
        assert self._scope is not None
        self._open = False
        self._frames, self._events = iter(()), iter(())
        elsewhere = self._current_task() is not self._task
        self._task = self._consumer = None  # so that a stored result does not keep a task in memory
        if elsewhere:
            await self._leave_elsewhere(self._pump)
        try:
            quiet = bool(self._scope.__exit__(kind, exc, trace))
        finally:  # `__exit__` raises the rest of an exception group that contains the scope's cancellation
            self._channel.close()
            self._group.cancel_scope.shield = True
            if not self._pump.ended:  # a cancellation takes one more iteration of the event loop
                self._group.cancel_scope.cancel()
            try:
                await self._group.__aexit__(None, None, None)
            finally:  # a native cancellation may come out of the group
                self._pump.settle_unstarted()
                self._channel.end()
                if self._error is not None:
                    self._error.usage = self._pump.so_far()
        failure = self._pump.failure
        if failure is None or isinstance(failure, Exception) or failure is self._met:
            return quiet
        if exc is None or quiet:
            raise failure  # such as a KeyboardInterrupt in the pump that no consumer has raised
        return False

    def __aiter__(self) -> Self:
        """Raises UsageError if another task has begun to read the stream."""
        # The task is checked here too, because `__anext__` does not check it for events that it already
        # holds.
        if self._consumer is not None:
            self._check_consumer()
        return self

    async def __anext__(self) -> Event:
        """Return the next event.

        A checkpoint whenever it takes events from the channel. It is not a checkpoint for events that it
        already holds, because a checkpoint takes more time than an event. Cancellation loses no event.

        Raises:
          StopAsyncIteration: the turn completed; see `result`.
          TurnError: the turn did not complete. The class of the error shows the cause.
          UsageError: your code has left the block, or another task reads this stream.
        """
        while True:
            for event in self._events:
                return self._see(event)
            for frame in self._frames:
                self._events = iter(decode_frame(frame))
                break
            else:
                await self._refill()

    def text(self) -> TextPieces:
        """Return an async iterator over the text pieces only. Reading it also advances the stream."""
        return TextPieces(self)

    @property
    def cancel_scope(self) -> anyio.CancelScope:
        """A scope that ends the block without an exception. Cancel it from any task, also before entering."""
        if self._scope is None:
            self._scope = anyio.CancelScope()  # not in the constructor, which runs without an event loop too
        return self._scope

    @property
    def result(self) -> R:
        """The result of the turn, once its consumer has reached `Completed`.

        Its usage has the figures known at that time. After the budget is settled, this property returns a
        result with the settled figures. Recovery of the usage may delay the settlement to the end of the
        block.

        Raises:
          TurnNotFinished: the events have not been read as far as `Completed`. The turn may be charged
            nevertheless.
          TurnError: the turn failed with this error.
        """
        if self._error is not None:
            raise self._error
        if self._result is not None:
            if self._pump is not None and self._pump.usage is not None:
                self._result = with_settled(self._result, self._pump.answered())
            return self._result
        raise TurnNotFinished(
            "turn: the events have not been read as far as `Completed`; read the stream to its end"
        )

    @property
    def partial(self) -> PartialResult:
        """The part of the answer that the consumer has read so far. It can never be committed."""
        return self._reducer.partial()

    def partial_value(self, *, as_type: bool = False) -> Any:
        """Return the part of a structured value that has arrived; UNSET if nothing has arrived.

        The part is plain data. With `as_type` it is a `Partial` of the type, whose missing fields are UNSET.
        Strings may be cut; numbers, literals and enums are never cut. Nothing is validated. The JSON is
        parsed only by this call, and a later call parses only the new part.

        Raises:
          UsageError: this turn is not structured.
        """
        return self._reducer.partial_value(as_type=as_type)

    @property
    def started(self) -> bool:
        """True once the consumer has read a semantic event: a piece of the answer."""
        return self._reducer.started

    @property
    def usage(self) -> Usage:
        """The usage known so far; after the block has ended, the settled usage."""
        if self._pump is None:
            return Usage()
        return self._pump.so_far()

    def _see(self, event: Event) -> Event:
        if type(event) is TextDelta:
            self._reducer.take_text(event)
            return event
        if isinstance(event, Completed) and self._pump is not None:
            if self._due is None:
                self._reducer.apply(event)
                self._due = self._conclude(self._pump)
                if self._reducer.value is not UNSET:
                    left_out = [stripped_event(one) for one in self._reducer.stripped]
                    ready = StructuredReady(self._reducer.value_json, self._reducer.value)
                    events: list[Event] = [*left_out, ready, event]
                    self._events = iter(events[1:])
                    return events[0]
            self._result = self._due
            return event
        return self._reducer.apply(event)

    def _conclude(self, pump: Pump) -> R:
        try:
            return self._finish(self._reducer, pump.answered())
        except TurnError as error:  # a structured value was cut or cannot be decoded
            raise self._failed(error) from error.__cause__  # pydantic's own error

    async def _refill(self) -> None:
        if not self._open or self._channel is None or self._pump is None:
            raise after_sending(
                UsageError(
                    "stream: it is iterated outside of its block; write `async with turn.stream() as events:`"
                    " and iterate inside"
                )
            )
        self._check_consumer()
        if self._result is not None and self._channel.ended and self._pump.failure is None:
            raise StopAsyncIteration  # nothing follows `Completed`
        try:
            self._frames = iter(await self._channel.receive())
            return
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            pass
        failure = self._pump.failure
        if failure is not None:
            if isinstance(failure, BudgetExceeded):
                await checkpoint()  # if the budget has cancelled its block, the cancellation arrives here
            raise self._failed(failure)
        if self._error is not None:
            raise self._error
        if self._result is not None:
            raise StopAsyncIteration
        # The pump was cancelled. On asyncio, the end of the pump may wake this task before the cancellation
        # of this task arrives.
        await checkpoint()
        raise self._failed(Interrupted("the turn was stopped"))

    def _check_consumer(self) -> None:
        task = self._current_task()
        if self._consumer is None:
            self._consumer = task
        elif self._consumer is not task:
            raise after_sending(UsageError("stream: another task reads it; a stream has one consumer"))

    def _failed(self, failure: BaseException) -> BaseException:
        self._met = failure
        if isinstance(failure, TurnError):
            failure.partial = self.partial
            failure.usage = self.usage
            failure.started = self._reducer.started
            failure.response = failure.response or self._reducer.response
            if self._pump is not None:
                self._pump.locate(failure)
            self._error = failure
        elif isinstance(failure, UsageError) and self.usage.total_tokens:
            after_sending(failure)
        return shortened(failure) if isinstance(failure, LutumError) else failure

    async def _leave_elsewhere(self, pump: Pump) -> None:
        """End the request, because a task leaves the block that did not enter it. Then raise UsageError."""
        pump.stop()
        with anyio.move_on_after(5, shield=True):
            await pump.wait_ended()
        if self._channel is not None:
            self._channel.close()
        raise after_sending(
            UsageError(
                "stream: the task that leaves the block is not the one that entered it (an abandoned async"
                " generator?); see docs/execution-model.md, 'One task'"
            )
        )


def stripped_event(stripped: Stripped) -> ProviderEvent:
    """Return the event for the text that a lenient turn left out around its value."""
    return ProviderEvent("stripped", msgspec.json.encode({"kind": stripped.kind, "text": stripped.text}))


async def _wait_for_prefix(gate: PrefixGate) -> Lead | None:
    with span("wait", reason="prefix"):
        return await gate.enter()


@final
class TextPieces:
    """The text pieces of a stream; made by `Stream.text()`."""

    __slots__ = ("_stream",)

    def __init__(self, stream: Stream[object]) -> None:
        self._stream = stream

    def __aiter__(self) -> Self:
        aiter(self._stream)
        return self

    async def __anext__(self) -> str:
        """Return the next text piece. It skips other events; otherwise it behaves like `Stream.__anext__`."""
        while True:
            event = await self._stream.__anext__()
            if isinstance(event, TextDelta) and event.phase != COMMENTARY:
                return event.text
