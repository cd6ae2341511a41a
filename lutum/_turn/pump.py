"""The pump: the one child task of a turn. It runs the exchange, counts tokens, and puts frames into the
channel.

It raises only cancellation. Any other exception is kept in `failure`, and the consumer raises it after the
earlier events. However the pump ends, the socket is closed and the lease is settled.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import anyio
import msgspec
from anyio import get_cancelled_exc_class

from lutum._backend import Backend
from lutum._budget.pricing import Pricing
from lutum._budget.turn_lease import TurnLease
from lutum._telemetry.spans import span
from lutum._telemetry.turn import TracedExchange, TurnSpan
from lutum._turn.channel import FrameChannel
from lutum._turn.deadlines import Deadlines
from lutum._turn.gate import Lead
from lutum._turn.outcome import Answered
from lutum._turn.usage_counter import UsageCounter
from lutum._values.errors import (
    BudgetExceeded,
    ContractViolation,
    Interrupted,
    ProviderError,
    TurnError,
)
from lutum._values.events import Completed, Event, WillRetry, encode_frame
from lutum._values.results import Attempt, Estimate, Response, Usage
from lutum._values.settings import RetryPolicy
from lutum.abc import Adapter, Exchange, Phase, Prepared, RateLimit, RecoversUsage

# The longest time in seconds to release a connection. It is limited because the user's HTTP client may wait
# for the server.
CLOSE = 2.0

# The longest time in seconds to ask the provider for the usage of a failed request. The turn's block stays
# open meanwhile.
RECOVERY = 2.0


logger = logging.getLogger("lutum")


class Pump:
    """The sending side of one turn. The consumer reads its fields.

    Attributes:
      usage: the settled usage of all attempts; None before the settlement.
      attempts: the attempts that have ended, in order.
      failure: the exception that ended the turn; None if there is none.
    """

    def __init__(
        self,
        adapter: Adapter,
        prepared: Prepared,
        lease: TurnLease,
        channel: FrameChannel,
        backend: Backend,
        *,
        pricing: Pricing | None = None,
        recovery: RecoversUsage | None = None,
        turn_span: TurnSpan | None = None,
        lead: Lead | None = None,
    ) -> None:
        self.adapter = adapter
        self.prepared = prepared
        self.lease = lease
        self.channel = channel
        self.turn_id = secrets.token_hex(16)
        self.failure: BaseException | None = None
        self.usage: Usage | None = None
        self.attempts: tuple[Attempt, ...] = ()
        self.scope = anyio.CancelScope()
        self._backend = backend
        self._stopped = False
        self._ended = False
        self._wait: anyio.Event | None = None
        self._pricing = pricing
        self._recovery = recovery
        self._charged = Usage()
        self._cost_limited = lease.cost_limited
        self._held = prepared.estimate.total_tokens
        self._exchange: Exchange | None = None
        self._untraced: Exchange | None = None
        self._span = turn_span
        self._lead = lead
        self._traced: TracedExchange | None = None
        self._renew()
        lease.begin(self.stop)

    async def run(self) -> None:
        """Run the turn to its end. If this is cancelled, it closes the socket and settles the lease too."""
        timeouts = self.prepared.request.settings.timeout
        deadlines = Deadlines(timeouts, self.scope, self._backend.current_time)
        try:
            with self.scope:
                await self._attempts(deadlines)
            if self.scope.cancelled_caught and not self._stopped:
                self.failure = self._refusal() or deadlines.error("total")
        except get_cancelled_exc_class():
            raise
        except BaseExceptionGroup as group:
            # On trio the connection is opened in a separate nursery, which raises a cancellation as a group.
            _, rest = group.split(get_cancelled_exc_class())
            if rest is None:
                raise
            self.failure = rest.exceptions[0] if len(rest.exceptions) == 1 else rest
        except BaseException as exc:  # the consumer raises it: KeyboardInterrupt and SystemExit too
            self.failure = exc
        finally:
            self.lease.forget_stop()
            if self._lead is not None:
                self._lead.left()
            try:
                self._record(self.failure)
                if self._recovery is not None and self.attempts[-1].usage.known != "exact":
                    await self._close()
                    await self._recover(self._recovery)
            finally:
                self._settle()
                self.channel.end()
            try:
                await self._close()
            finally:
                self._end()

    @property
    def ended(self) -> bool:
        """True once the socket is closed and the lease is settled."""
        return self._ended

    def so_far(self) -> Usage:
        """Return the known usage of all attempts; after the pump has ended, the settled usage."""
        if self.usage is not None:
            return self.usage
        return self._charged if self._recorded else self._charged + self.counter.so_far()

    def answered(self) -> Answered:
        """Return the request and its attempts so far."""
        return Answered(self.prepared, self.attempts, self.so_far(), self.turn_id)

    def stop(self, error: BudgetExceeded | None = None) -> None:
        """End the turn with this error. The block of the turn is not cancelled."""
        self._stopped = True
        self.failure = self.failure or error
        self.scope.cancel()

    def saved(self) -> Decimal | None:
        """Return the US dollars that the provider's prompt cache saved; None if it was not used or no price
        is known."""
        if self._pricing is None or self.usage is None:
            return None
        return self._pricing.saved(self.prepared.model, self.usage, self.prepared.billed_by)

    async def wait_ended(self) -> None:
        """Wait until the socket is closed and the lease is settled. Cancellation changes nothing."""
        if not self._ended:
            self._wait = self._wait or anyio.Event()
            await self._wait.wait()

    def settle_unstarted(self) -> None:
        """Settle 0 if the pump's task was cancelled before its first step, because nothing was sent then."""
        if self.usage is None:
            self.usage = Usage()
            self.lease.settle(self.usage)
            if self._traced is not None:
                self._traced.finish()
            self._end()

    def _end(self) -> None:
        self.lease.end()
        self._ended = True
        if self._wait is not None:
            self._wait.set()

    def _settle(self) -> None:
        self.usage = self._charged
        try:
            self.lease.settle(self._charged)
        except BaseException as exc:  # such as KeyboardInterrupt; the connection must still be closed
            self.failure = self.failure or exc
        if self.lease.failure is not None and self.attempts:
            note = f"the ledger could not settle it: {self.lease.failure!r}"
            self.attempts = (*self.attempts[:-1], replace(self.attempts[-1], notes=(note,)))

    async def _recover(self, recovery: RecoversUsage) -> None:
        """Ask the provider for the usage of the last attempt. If that fails, the known figures stay."""
        last = self.attempts[-1]
        if last.response is None:
            return
        found: Usage | None = None
        with anyio.move_on_after(RECOVERY, shield=True):
            try:
                with span("request", purpose="recovery"):
                    found = await recovery.recover_usage(last.response)
            except Exception as exc:
                logger.warning("%s: usage could not be recovered: %s", self.adapter.name, exc)
        if found is None:
            return
        usage = msgspec.structs.replace(found, known="recovered")
        if self._pricing is not None:
            usage = self._pricing.settled(self.prepared.model, usage, self.prepared.billed_by)
        self.attempts = (*self.attempts[:-1], replace(last, usage=usage))
        if self._traced is not None:
            self._traced.recovered(usage)
        self._charged = sum((attempt.usage for attempt in self.attempts[1:]), self.attempts[0].usage)

    async def _attempts(self, deadlines: Deadlines) -> None:
        """Send the request. Send it again if the retry policy allows it and no answer has begun."""
        policy = self.prepared.request.settings.retry
        while True:
            try:
                with deadlines.attempt():
                    return await self._attempt(deadlines)
                raise self._refusal() or deadlines.error(deadlines.reason)
            except TurnError as error:
                number = len(self.attempts) + 1
                pause = policy.delay(number, error) if isinstance(policy, RetryPolicy) else None
                if pause is None or self.counter.started:
                    raise
                self._record(error)
                if not self._top_up():
                    error.add_note("not sent again, because the budget has no room for another attempt")
                    raise
                self._announce(number + 1, pause, error)
                if self._lead is not None:
                    self._lead.left()
            self.lease.reserve_retry()  # before the pause, so that a waiter does not take the attempt's place
            await self._close()
            with span("wait", reason="retry", seconds=pause):
                await anyio.sleep(pause)
            self._renew()

    async def _attempt(self, deadlines: Deadlines) -> None:
        assert self._exchange is not None
        counter, channel, receive = self.counter, self.channel, self._exchange.receive
        await self._open(self._exchange, deadlines)
        counter.answered = True
        more = True
        while more:
            events = list[Event]()
            try:
                deadlines.waiting()
                more = await receive(events)
            except Exception:
                # After `Completed` the turn is complete, so an error later in the same piece is ignored, in
                # the same way as later pieces are not read.
                if not events or type(events[-1]) is not Completed:
                    raise
            finally:
                if events:
                    deadlines.progress("idle")
                    counter.see(events)
                    if self._lead is not None and counter.response is not None:
                        self._lead.started()
                        self._lead = None
                    if self._is_violated() and type(events[-1]) is Completed:
                        # The turn must not get a result if it called a tool.
                        events.pop()
                    channel.send_nowait(encode_frame(events))
            if events:
                if self._is_violated():
                    raise ContractViolation(f"the model called {counter.called!r} in a turn without tools")
                if isinstance(last := events[-1], Completed):
                    # The budget is not checked: no more tokens can follow, and the answer is already charged.
                    return self._note_cut(last)
                self._cover()
            if channel.full:
                deadlines.hold()
                await channel.wait_room()
        unfinished: Callable[[], TurnError] | None = getattr(self._untraced, "unfinished", None)
        if unfinished is not None:
            raise unfinished()
        raise Interrupted("the response ended without its terminal event")

    async def _open(self, exchange: Exchange, deadlines: Deadlines) -> None:
        marked: Phase | None = None

        def mark(phase: Phase) -> None:
            nonlocal marked
            if phase == "sent":
                self.counter.sent = True
            elif phase == "connecting":
                deadlines.arm("connect")
            else:
                self.lease.sent()  # before the first byte, because the process may be killed during the write
                if marked is not None:  # None on a reused connection, where `first_event` has just started
                    deadlines.arm("first_event")
            marked = phase

        deadlines.arm("first_event")
        try:
            await exchange.open(mark)
        except ProviderError as error:
            if exchange.response is not None:
                refused = error.kind == "rate_limit"
                limits = self._rate_limits(exchange.response)
                wait = self.lease.update_rates(
                    exchange.response, error.retry_after if refused else None, limits
                )
                if refused and error.retry_after is None:
                    error.retry_after = wait or None
            raise
        else:
            if exchange.response is not None and self.lease.keeps_rates:
                self.lease.update_rates(exchange.response, None, self._rate_limits(exchange.response))
        finally:
            # A client that reports no phases may have sent the whole request. It is charged as if it was
            # sent.
            if marked is None and not getattr(self._untraced, "unsent", False):
                self.counter.sent = True
                self.lease.sent()

    def _refusal(self) -> ProviderError | None:
        """Return the error of an error status if a timeout ended the read of its body.

        This error explains more than the timeout.
        """
        return None if self.counter.answered else getattr(self._untraced, "refusal", None)

    def _rate_limits(self, response: Response) -> Sequence[RateLimit]:
        read: Any = getattr(self.adapter, "rate_limits", None)
        found: Sequence[RateLimit] = () if read is None else read(response, time.time())
        return found

    def _is_violated(self) -> bool:
        return self.counter.called is not None and self.prepared.request.tools.choice == "none"

    def _cover(self) -> None:
        """Grow the lease to the usage so far. Raises BudgetExceeded if the lease cannot grow."""
        counter = self.counter
        fits = self._charged.total_tokens + counter.tokens <= self._held
        if counter.final or (fits and not self._cost_limited):
            return
        so_far = self._charged + self._priced(counter.so_far())
        if not self.lease.grow(so_far):
            self.lease.mark_spent()
            raise BudgetExceeded(f"the budget does not allow more than {self.lease.bound} for this turn")
        self._held = max(self._held, so_far.total_tokens)

    def _note_cut(self, completed: Completed) -> None:
        """Log a warning if the answer was cut at an output bound that the user did not set."""
        if completed.finish_reason == "length" and (bound := self.prepared.implicit_bound) is not None:
            logger.warning(
                "%s %s: the answer was cut at %s output tokens, the bound that lutum sends when none is set;"
                " set .max_output_tokens(n)",
                self.adapter.name,
                self.prepared.model,
                f"{bound:,}",
            )

    def _top_up(self) -> bool:
        """Reserve the amount of another whole attempt, in addition to the charges of the failed attempts."""
        charged, more = self._charged, self.prepared.estimate
        cost = None if more.cost_usd is None else more.cost_usd + (charged.cost_usd or 0)
        tokens = charged.input_tokens + more.input_tokens, charged.output_tokens + more.output_tokens
        if not self.lease.grow(Estimate(*tokens, cost)):
            return False
        self._held = max(self._held, sum(tokens))
        return True

    def _renew(self) -> None:
        """Prepare the fields for the next attempt."""
        self.counter = UsageCounter(self.prepared.estimate, hidden=self.prepared.hidden_reasoning)
        self._exchange = self._untraced = self.adapter.exchange(self.prepared)
        if self._span is not None:
            self._traced = self._span.attempt(self._exchange, self.prepared, len(self.attempts) + 1)
            self._exchange = self._traced
        self._recorded = False
        self._started = self._backend.current_time()

    def _record(self, failure: BaseException | None) -> None:
        """Charge the attempt that ended. Further calls for the same attempt do nothing."""
        if self._recorded:
            return
        self._recorded = True
        # The event `TurnStarted` contains the answer's id too. Before this event only the head is known.
        response = self.counter.response or (None if self._exchange is None else self._exchange.response)
        error = failure if isinstance(failure, TurnError) else None
        if error is not None:
            error.response = response
            self.locate(error)
        if isinstance(error, ProviderError) and error.kind == "invalid_request" and self.prepared.structured:
            error.message += f" (a structured value was requested with {self.prepared.structured})"
        usage = self._priced(self.counter.settlement(failure))
        self._charged = usage if not self.attempts else self._charged + usage
        self.attempts = (*self.attempts, Attempt(len(self.attempts) + 1, usage, response, error))
        if self._traced is not None:
            self._traced.charged(usage, failure)
        logger.info(
            "%s %s: %s, status %s, request %s, %d + %d tokens (%s), %.3f s",
            self.adapter.name,
            self.prepared.model,
            type(failure).__name__ if failure is not None else "completed" if self.counter.final else "left",
            None if response is None else response.status,
            None if response is None else response.request_id,
            usage.input_tokens,
            usage.output_tokens,
            usage.known,
            self._backend.current_time() - self._started,
        )

    def locate(self, error: TurnError) -> None:
        """Set URL, host, model and request id of an error, because the decoder does not know them.

        The error's message shows them.
        """
        error.url = error.url or self.prepared.url
        error.host = error.host or urlsplit(error.url).hostname
        error.model = error.model or self.prepared.model
        if isinstance(error, ProviderError) and error.request_id is None and error.response is not None:
            error.request_id = error.response.request_id

    def _announce(self, attempt: int, pause: float, error: TurnError) -> None:
        status = error.status if isinstance(error, ProviderError) else None
        usage = self.attempts[-1].usage
        logger.warning(
            "%s %s: attempt %d follows in %.1f s, because the one before failed: %s",
            self.adapter.name,
            self.prepared.model,
            attempt,
            pause,
            error,
        )
        self.channel.send_nowait(
            encode_frame([WillRetry(attempt, pause, str(error), status, usage, self._charged)])
        )
        if self._span is not None:
            self._span.retry(attempt, pause, error)

    def _priced(self, usage: Usage) -> Usage:
        """Return the usage with its cost: the cost that the provider reported, plus the price of later
        tokens."""
        pricing, model, billed_by = self._pricing, self.prepared.model, self.prepared.billed_by
        if pricing is None:
            return usage
        beyond = self.counter.beyond(usage)
        if beyond is not None and usage.cost_usd is not None:
            more = pricing.cost(model, beyond, billed_by) or 0
            return msgspec.structs.replace(usage, cost_usd=usage.cost_usd + more)
        return pricing.settled(model, usage, billed_by)

    async def _close(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        try:
            release: Callable[[], bool] | None = getattr(exchange, "release", None)
            if release is not None and release():
                return
            with anyio.move_on_after(CLOSE, shield=True):
                await exchange.aclose()
        except Exception:
            logger.exception("%s: the exchange could not be closed", self.adapter.name)
        except BaseException as exc:
            self.failure = self.failure or exc
