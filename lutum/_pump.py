"""The pump: the one child task of a turn. It drives the exchange, meters it, and puts frames into bags.

It raises nothing but cancellation. Any other exception is kept in `failure` for the consumer, who meets
it after the events that came before. However it ends, the socket is closed and the lease is settled.
"""

from __future__ import annotations

import logging
import math
import types
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any, Literal, TypeVar

import anyio
from anyio import get_cancelled_exc_class

from lutum._bags import Bags
from lutum._errors import BudgetExceeded, ContractViolation, Interrupted, TurnError, TurnTimeout
from lutum._events import Completed, Event
from lutum._frames import encode_frame
from lutum._meter import Meter
from lutum._results import Attempt, Usage
from lutum._settings import Timeouts
from lutum.abc import Adapter, Exchange, Lease, Phase, Prepared

T = TypeVar("T")
Reason = Literal["total", "first_event", "idle", "connect"]

# Seconds that letting go of a connection may take; a TLS close waits for the other side.
CLOSE = 2.0

logger = logging.getLogger("lutum")


class Deadlines:
    """All timeouts of a turn on one cancel scope whose deadline is moved.

    It is moved only when the pump is about to wait for the socket, never while it waits for the
    consumer; a scope a read would cost more than the read.
    """

    __slots__ = ("_next", "_timeouts", "_total_at", "reason", "scope")

    def __init__(self, timeouts: Timeouts) -> None:
        self.scope = anyio.CancelScope()
        self.reason: Reason = "total"
        self._timeouts = timeouts
        self._next: Reason | None = None
        self._total_at = anyio.current_time() + self._limit("total")

    def _limit(self, reason: Reason) -> float:
        seconds = getattr(self._timeouts, reason)
        return seconds if isinstance(seconds, float | int) else math.inf

    def arm(self, reason: Reason) -> None:
        """From now on, wait no longer than that timeout."""
        at = anyio.current_time() + self._limit(reason)
        if self._total_at <= at:
            at, reason = self._total_at, "total"
        self.reason = reason
        self.scope.deadline = at

    def progress(self, reason: Reason) -> None:
        """Events came: the next wait for the socket counts anew, as `reason`."""
        self._next = reason

    def waiting(self) -> None:
        """The pump waits for the socket. Pings are no progress, so they do not move the deadline."""
        if self._next is not None:
            self.arm(self._next)
            self._next = None

    def hold(self) -> None:
        """The pump waits for the consumer: only `total` runs."""
        self.scope.deadline = self._total_at
        self.reason = "total"

    def error(self) -> TurnTimeout:
        return TurnTimeout(self.reason, self._limit(self.reason))


class Pump:
    """One turn's sending side. Its fields are read by the consumer; cancelling `scope` ends it alone."""

    def __init__(
        self, adapter: Adapter, prepared: Prepared, lease: Lease, timeouts: Timeouts, bags: Bags
    ) -> None:
        self.adapter = adapter
        self.prepared = prepared
        self.lease = lease
        self.timeouts = timeouts
        self.bags = bags
        self.failure: BaseException | None = None
        self.meter = Meter(self.prepared.estimate, hidden=self.prepared.hidden_reasoning)
        self.usage: Usage | None = None
        self.attempts: tuple[Attempt, ...] = ()
        self.scope = anyio.CancelScope()
        self.done = anyio.Event()
        self._exchange = adapter.exchange(prepared)
        self._held = prepared.estimate.total_tokens

    async def run(self) -> None:
        """Pump until the turn ends. Cancelled, the socket is closed and the lease settled."""
        started = anyio.current_time()
        deadlines = Deadlines(self.timeouts)
        exchange = self._exchange
        try:
            with self.scope, deadlines.scope:
                await self._attempt(exchange, deadlines)
            if deadlines.scope.cancelled_caught:
                self.failure = deadlines.error()
        except get_cancelled_exc_class():
            raise
        except BaseException as exc:  # the consumer raises it: KeyboardInterrupt and SystemExit too
            self.failure = exc
        finally:
            self._settle(exchange)
            self.bags.end()
            await self._close(exchange)
            self._log(exchange, anyio.current_time() - started)
            self.done.set()

    def settle_unstarted(self) -> None:
        """For a pump whose task was cancelled before its first step: nothing was sent."""
        if self.usage is None:
            self.usage = Usage()
            self.lease.settle(self.usage)

    async def _close(self, exchange: Exchange) -> None:
        try:
            with anyio.move_on_after(CLOSE, shield=True):
                await exchange.aclose()
        except Exception:
            logger.exception("%s: the exchange could not be closed", self.adapter.name)
        except BaseException as exc:
            self.failure = self.failure or exc

    async def _attempt(self, exchange: Exchange, deadlines: Deadlines) -> None:
        meter, bags, waiting = self.meter, self.bags, deadlines.waiting
        await self._open(exchange, deadlines)
        meter.answered = True
        more = True
        while more:
            events = list[Event]()
            try:
                more = await _on_suspend(exchange.receive(events), waiting)
            finally:
                if events:
                    deadlines.progress("idle")
                    meter.see(events)
                    bags.put(encode_frame(events))
            if events:
                self._check()
                if type(events[-1]) is Completed:
                    return
            if bags.full:
                deadlines.hold()
                await bags.wait_taken()
                deadlines.progress("idle")
        raise Interrupted("the response ended without its terminal event")

    async def _open(self, exchange: Exchange, deadlines: Deadlines) -> None:
        marked = False

        def mark(phase: Phase) -> None:
            nonlocal marked
            marked = True
            if phase == "sent":
                self.meter.sent = True
            else:
                deadlines.arm("connect" if phase == "connecting" else "first_event")

        deadlines.arm("first_event")
        try:
            await exchange.open(mark)
        finally:
            # A client that tells no phases may have sent everything, so it is charged as if it had.
            self.meter.sent = self.meter.sent or not marked

    def _check(self) -> None:
        """Raises when the turn must not go on: a call nobody offered, or a lease that cannot grow."""
        if self.meter.called is not None and self.prepared.request.tools.choice == "none":
            raise ContractViolation(f"the model called {self.meter.called!r} in a turn without tools")
        if self.meter.final:
            return
        so_far = self.meter.so_far()
        if so_far.total_tokens > self._held:
            if not self.lease.grow(so_far):
                raise BudgetExceeded(f"the budget cannot grow past {self._held} tokens for this turn")
            self._held = so_far.total_tokens

    def _settle(self, exchange: Exchange) -> None:
        self.usage = self.meter.settlement(self.failure)
        self.lease.settle(self.usage)
        error = self.failure if isinstance(self.failure, TurnError) else None
        if error is not None:
            error.response = exchange.response
        self.attempts = (Attempt(1, self.usage, exchange.response, error),)

    def _log(self, exchange: Exchange, seconds: float) -> None:
        response, usage = exchange.response, self.usage or Usage()
        logger.info(
            "%s %s: %s, status %s, request %s, %d + %d tokens (%s), %.3f s",
            self.adapter.name,
            self.prepared.model,
            "completed" if self.failure is None and self.meter.final else type(self.failure).__name__,
            None if response is None else response.status,
            None if response is None else response.request_id,
            usage.input_tokens,
            usage.output_tokens,
            usage.known,
            seconds,
        )


@types.coroutine
def _on_suspend(coro: Coroutine[Any, Any, T], tell: Callable[[], None]) -> Generator[Any, Any, T]:
    """Run a coroutine, calling `tell` when and if it first really suspends.

    Most reads of a burst do not, and a deadline moved for each of them costs as much as the read.
    """
    try:
        trap = coro.send(None)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    tell()
    while True:
        try:
            value = yield trap
        except BaseException as exc:
            resume = partial(coro.throw, exc)
        else:
            resume = partial(coro.send, value)
        try:
            trap = resume()
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
