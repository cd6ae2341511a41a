"""Probes: evals that watch a run while it happens.

One task, the actor, owns the probe. Changes of the trace, and the calls that hooks and tools `dispatch` to
it, are put into one queue and are handled one at a time, in order. The actor runs outside the capture, so
that the probe's own work is not in the trace that it watches.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, TypeVarTuple, cast, final

import anyio

from lutum._lutum import Lutum
from lutum._telemetry.spans import RawCapture
from lutum._values.errors import UsageError
from lutum.eval._evals import Eval, PureEval, scored
from lutum.eval._objective import Objective
from lutum.eval._record import EvalRecord
from lutum.eval._score import Scored
from lutum.trace import Change, Trace, capture

A = TypeVar("A")
B = TypeVar("B")
R = TypeVar("R")
S = TypeVar("S")
Args = TypeVarTuple("Args")


@final
@dataclass(frozen=True, slots=True)
class Complete(Generic[R]):
    """The final report of a probe, before the run is over. `cancel=True` also cancels the watched task."""

    report: R
    cancel: bool = False


class Probe(ABC, Generic[A, R]):
    """An eval with state that receives changes as they happen. One instance watches one run."""

    async def on_trace_event(self, change: Change) -> Complete[R] | None:
        """Handle a change of the trace.

        If this method returns `Complete`, it is not called again, and `finalize` is not called. If it raises,
        the run continues, and the exception is raised at the end instead of a report.

        This is a checkpoint only if it has to wait.
        """

    @abstractmethod
    async def finalize(self, llm: Lutum, trace: Trace, artifact: A) -> R:
        """Return the report when the run is over.

        This method may also be called alone on a stored trace. `on_trace_event` is then not called.

        This is a checkpoint only if it has to wait.
        """

    @staticmethod
    def of(evaluation: Eval[B, S] | PureEval[B, S]) -> Probe[B, S]:
        """Make a probe that runs an eval when the run is over."""
        return _Patient(evaluation.lift() if isinstance(evaluation, PureEval) else evaluation)

    def scored_by(self, objective: Objective[R]) -> Probe[A, Scored[R]]:
        """Return a probe whose report contains this probe's report and the objective's score of it."""
        return _ScoredProbe(self, objective)


@final
class ProbeHandle:
    """Handle of a probe for the code that it watches."""

    def __init__(self, actor: _Actor[Any, Any]) -> None:
        self._actor = actor

    async def dispatch(self, fn: Callable[[*Args], Awaitable[S]], *args: *Args) -> S:
        """Run `fn(*args)` in the probe's task, after all earlier messages, and return its value or raise its
        exception: `await handle.dispatch(probe.allows, call)`.

        If the wait is cancelled before the call starts, the call does not run. A call that started runs to
        its end.

        This is a checkpoint only if it has to wait.

        Raises:
          UsageError: the run is over, or the caller is the probe, which would wait for itself.
        """
        call = _ProbeCall(fn, args)
        self._actor.take(call)
        try:
            await call.done.wait()
        except BaseException:
            call.left = True
            raise
        if call.error is not None:
            raise call.error
        return cast("S", call.value)


async def run_probe(
    probe: Probe[A, R],
    task: Callable[[ProbeHandle], Awaitable[A]],
    *,
    llm: Lutum,
    raw: bool | RawCapture = False,
) -> R:
    """Run `task` while a probe watches it, and return the probe's report.

    Exceptions of the task propagate unchanged. Cancellation ends the task and the probe.

    This is a checkpoint only if it has to wait.
    """
    _, ask = await _watched(probe, task, llm, raw)
    return await ask()


async def record_probe(
    probe: Probe[A, Scored[R]],
    task: Callable[[ProbeHandle], Awaitable[A]],
    *,
    llm: Lutum,
    raw: bool | RawCapture = False,
) -> EvalRecord[R]:
    """Run as `run_probe`, for a probe that is `scored_by` an objective.

    The record contains an exception that the probe or the objective raised.

    This is a checkpoint only if it has to wait.
    """
    trace, ask = await _watched(probe, task, llm, raw)
    try:
        return EvalRecord(trace=trace, scored=await ask())
    except Exception as exc:
        return EvalRecord(trace=trace, error=exc)


async def _watched(
    probe: Probe[A, R],
    task: Callable[[ProbeHandle], Awaitable[A]],
    llm: Lutum,
    raw: bool | RawCapture,
) -> tuple[Trace, Callable[[], Awaitable[R]]]:
    """Run the task to its end. Return its trace, and a function that returns the report."""
    actor = _Actor(probe)
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(actor.work)
            await actor.watch(task, raw)
    finally:
        actor.close()
    if actor.failed is not None:
        raise actor.failed

    async def ask() -> R:
        if actor.error is not None:
            raise actor.error
        if actor.complete is not None:
            return actor.complete.report
        return await probe.finalize(llm, actor.trace, cast("A", actor.artifact))

    return actor.trace, ask


class _ProbeCall:
    """A dispatched call and its result."""

    def __init__(self, fn: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> None:
        self.fn = fn
        self.args = args
        self.done: anyio.Event = anyio.Event()
        self.left = False
        self.value: object = None
        self.error: Exception | None = None


@final
class _Actor(Generic[A, R]):
    """The task that owns a probe."""

    def __init__(self, probe: Probe[A, R]) -> None:
        self.complete: Complete[R] | None = None
        self.error: Exception | None = None
        self.trace: Trace
        self.artifact: A | None = None
        self.failed: Exception | None = None
        self._subject = anyio.CancelScope()
        self._probe = probe
        self._task: int | None = None
        # The queue is unbounded, because the code that sends a change must not wait for the probe. The trace
        # keeps the data of each change anyway.
        self._send, self._receive = anyio.create_memory_object_stream[Change | _ProbeCall](math.inf)

    def tell(self, change: Change) -> None:
        """Queue a change."""
        if self.complete is None and self.error is None:
            self._send.send_nowait(change)

    def take(self, call: _ProbeCall) -> None:
        """Queue a call."""
        if anyio.get_current_task().id == self._task:
            raise UsageError("dispatch: the probe dispatches a call to itself; call the method directly")
        try:
            self._send.send_nowait(call)
        except (anyio.ClosedResourceError, anyio.BrokenResourceError):
            raise UsageError("dispatch: the run that this probe watched has ended") from None

    async def watch(self, task: Callable[[ProbeHandle], Awaitable[A]], raw: bool | RawCapture) -> None:
        """Run the task to its end, then close the queue. Queued messages are still handled."""
        async with capture(raw=raw) as self.trace:
            with self.trace.subscribe(self.tell), self._subject:
                try:
                    self.artifact = await task(ProbeHandle(self))
                except Exception as exc:
                    self.failed = exc
        self._send.close()

    async def work(self) -> None:
        """Handle messages until the queue is closed and empty."""
        self._task = anyio.get_current_task().id
        async for message in self._receive:
            if isinstance(message, _ProbeCall):
                await self._run(message)
            elif self.complete is None and self.error is None:
                await self._see(message)

    def close(self) -> None:
        """Close both ends of the queue. The caller calls this, because a task that is cancelled before it
        starts cannot close them."""
        self._send.close()
        self._receive.close()

    async def _see(self, change: Change) -> None:
        try:
            self.complete = await self._probe.on_trace_event(change)
        except Exception as exc:
            self.error = exc
        if self.complete is not None and self.complete.cancel:
            self._subject.cancel()

    async def _run(self, call: _ProbeCall) -> None:
        if call.left:
            return
        try:
            call.value = await call.fn(*call.args)
        except Exception as exc:
            call.error = exc
        call.done.set()


@final
class _Patient(Probe[A, R]):
    def __init__(self, evaluation: Eval[A, R]) -> None:
        self._evaluation = evaluation

    async def finalize(self, llm: Lutum, trace: Trace, artifact: A) -> R:
        return await self._evaluation.evaluate(llm, trace, artifact)


@final
class _ScoredProbe(Probe[A, Scored[R]]):
    def __init__(self, probe: Probe[A, R], objective: Objective[R]) -> None:
        self._probe = probe
        self._score = scored(objective)

    async def on_trace_event(self, change: Change) -> Complete[Scored[R]] | None:
        said = await self._probe.on_trace_event(change)
        return None if said is None else Complete(self._score(said.report), said.cancel)

    async def finalize(self, llm: Lutum, trace: Trace, artifact: A) -> Scored[R]:
        return self._score(await self._probe.finalize(llm, trace, artifact))
