"""Tracing of a turn. An untraced turn does not call this module.

`TurnSpan` has the span of a turn and the fields that its attempts add. `TracedExchange` wraps the adapter's
exchange. It records each phase and each piece in the spans of one attempt.
"""

from __future__ import annotations

import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from decimal import Decimal
from functools import partial
from typing import Any, Final, TypeVar, final

import anyio
import msgspec

from lutum._telemetry.attributes import (
    error_fields,
    estimate_fields,
    raised_words,
    replay_runs,
    response_fields,
    settings_fields,
    stage,
    usage_fields,
)
from lutum._telemetry.redact import masked_body, masked_headers, masked_url, secrets_sent
from lutum._telemetry.spans import CURRENT, LiveSpan, RawCapture, inside
from lutum._values.errors import TurnError
from lutum._values.events import (
    Completed,
    Event,
    ProviderEvent,
    ReasoningDelta,
    RefusalDelta,
    StructuredDelta,
    TextDelta,
    ToolCallDelta,
    TurnStarted,
    encode_frame,
)
from lutum._values.results import Response, Usage
from lutum.abc import Decoder, Exchange, Phase, Prepared

T = TypeVar("T")

SAMPLES: Final = 64
"""The largest number of points in the curve of tokens over time. A picture cannot show more."""

PROVIDER_EVENTS: Final = 32
"""The largest number of provider events that are recorded by name in one request. It is limited because a
request may have thousands of annotations and log probabilities."""

_DELTAS: Final = frozenset({TextDelta, ReasoningDelta, RefusalDelta, StructuredDelta, ToolCallDelta})


@final
class TurnSpan:
    """The span of a turn. `started` is the time when it was opened, on the event loop's clock."""

    __slots__ = ("completed", "first", "raw", "retries", "span", "started")

    def __init__(self, span: LiveSpan) -> None:
        self.span = span
        self.raw = span.raw
        self.started = anyio.current_time()
        self.first: float | None = None
        self.completed = False
        self.retries = 0

    def prepared(self, adapter: str, prepared: Prepared) -> None:
        """Record the prepared request and the amount that it reserves."""
        span = self.span
        self.raw = _wanted(span, prepared)
        span.set(
            kind=prepared.request.operation,
            adapter=adapter,
            model=prepared.model,
            **({"label": prepared.request.label} if prepared.request.label else {}),
            **estimate_fields(prepared.estimate),
            **settings_fields(prepared.request.settings),
            **({"replay": replay_runs(prepared.forms)} if prepared.forms else {}),
            **({} if prepared.inexact_reason is None else {"inexact_reason": prepared.inexact_reason}),
        )
        span.hide(*secrets_sent(prepared.request.settings.ext, prepared.body))
        if span.content:
            from lutum._telemetry.content import input_messages

            request = prepared.request
            tools = [msgspec.to_builtins(tool) for tool in (*request.tools.head, *request.tools.new)]
            span.set(input=input_messages(request), **({"tools": tools} if tools else {}))

    async def wait(self, reservation: Awaitable[T]) -> T:
        """Await a reservation. If it has to wait, open a `wait` span."""
        opened: LiveSpan | None = None

        def tell() -> None:
            nonlocal opened
            opened = self.span.child("wait", {"reason": "reservation"})

        try:
            value = await _on_second_suspend(_awaited(reservation), tell)
        except BaseException as exc:
            if opened is not None:
                _end(opened, exc)
            raise
        if opened is not None:
            opened.end()
        return value

    def attempt(self, exchange: Exchange, prepared: Prepared, number: int) -> TracedExchange:
        """Open the span of the next attempt and return the exchange that records it."""
        span = self.span.child("attempt", {"number": number})
        return TracedExchange(self, exchange, prepared, span)

    def retry(self, attempt: int, pause: float, error: TurnError) -> None:
        """Record that the pause before attempt number `attempt` begins."""
        self.retries = attempt - 1
        self.span.event("retry", attempt=attempt, after=pause, **error_fields(error))

    def refused(self, exc: BaseException) -> None:
        """End the span with the exception that prevented the entry into the block."""
        if isinstance(exc, Exception):
            self._keep("start", exc)
        _end(self.span, exc)

    def _keep(self, stage: str, error: BaseException) -> None:
        if self.raw is not None and self.raw.errors:
            self.span.keep("error", stage=stage, **error_fields(error, raw=True))

    def ended(
        self,
        usage: Usage | None,
        failure: BaseException | None,
        exc: BaseException | None,
        *,
        stopped: bool,
        read: bool,
        saved: Decimal | None = None,
    ) -> None:
        """End the span.

        Args:
          usage: the settled usage.
          failure: the error that ended the turn.
          exc: the exception with which the block was left.
          stopped: the scope of the stream was cancelled.
          read: the consumer has read the stream to `Completed`.
          saved: US dollars that the provider's prompt cache saved.
        """
        span = self.span
        raised = None if exc is None else raised_words(exc)
        fields: dict[str, object] = {"retries": self.retries} if self.retries else {}
        if usage is not None:
            fields |= usage_fields(usage)
        if saved is not None:
            fields["cache_saved_usd"] = str(saved)
        if failure is not None:
            outcome = "failed"
            fields |= error_fields(failure)
            if self.completed:  # otherwise the span of the attempt has recorded it
                self._keep("value", failure)
        elif self.completed:
            outcome = "completed"
            if not read:
                fields["unread"] = True
        elif stopped:
            outcome = "stopped"
        elif exc is not None and raised is None:
            outcome = "cancelled"
        elif exc is not None:
            outcome = "raised"
        else:
            outcome = "left"
        if not self.completed and outcome in ("stopped", "cancelled", "left"):
            fields["cancelled"] = True
        if raised is not None and exc is not failure:
            fields["raised"] = raised
            fields.setdefault("error", raised)
            if self.raw is not None and self.raw.errors:
                span.keep("error", stage="consumer", error=raised)
        span.set(outcome=outcome, **fields)
        span.end()


@final
class TracedExchange:
    """An exchange that records its spans `attempt` and `request`."""

    def __init__(self, turn: TurnSpan, inner: Exchange, prepared: Prepared, attempt: LiveSpan | None) -> None:
        self._turn = turn
        self._inner = inner
        self._prepared = prepared
        self._attempt = attempt
        self._request: LiveSpan | None = None
        self._found: LiveSpan | None = None
        self._inside = inside(None)
        self._raw: RawCapture | None = None
        self._fault: BaseException | None = None
        self._over = False
        self._opened = 0.0
        self._events = self._deltas = self._named = self._frames = 0
        self._curve = list[list[float]]()
        self._apart = 0.0

    @property
    def response(self) -> Response | None:
        """The response head; None before it arrives."""
        return self._inner.response

    async def open(self, mark: Callable[[Phase], None]) -> None:
        """Call the exchange's `open` and record it."""
        if self._attempt is None:
            return await self._inner.open(mark)
        prepared = self._prepared
        host = masked_url(prepared.url)
        fields = {"method": prepared.method, "url": host, "sent": len(prepared.body)}
        self._request = request = self._attempt.child("request", dict[str, object](fields))
        if request is None:
            return await self._inner.open(mark)
        # The pump's task has its own context. Spans that the exchange opens are therefore children of the
        # request.
        self._found = CURRENT.get()
        CURRENT.set(request)
        self._inside = inside(request)
        self._inside.__enter__()
        self._opened = anyio.current_time()
        self._raw = self._turn.raw
        if self._raw is not None and self._raw.request:
            request.keep(
                "request",
                method=prepared.method,
                url=host,
                headers=masked_headers(prepared.headers, prepared.secret_headers),
                body=masked_body(prepared.body),
            )

        def told(phase: Phase) -> None:
            request.event(phase)
            mark(phase)

        try:
            await self._inner.open(told)
        except BaseException as exc:
            self._fault = exc
            raise
        finally:
            if (response := self._inner.response) is not None:
                request.event("head", status=response.status)
                request.set(**response_fields(response))

    async def receive(self, out: list[Event]) -> bool:
        """Call the exchange's `receive` and record its events."""
        before = len(out)
        try:
            return await self._inner.receive(out)
        except BaseException as exc:
            self._fault = exc
            raise
        finally:
            if self._request is not None and len(out) > before:
                self._see(self._request, out[before:])

    async def aclose(self) -> None:
        """Call the exchange's `aclose`, then end the spans."""
        try:
            await self._inner.aclose()
        finally:
            self.finish()

    def finish(self) -> None:
        """End the spans. Further calls do nothing."""
        request, self._request = self._request, None
        if request is not None:
            CURRENT.set(self._found)
            self._inside.__exit__()
            request.set(events=self._events, **({"curve": self._curve} if self._curve else {}))
            _end(request, self._fault)
            self._turn.span.add("events", self._events)
            received = request.fields.get("received")
            if isinstance(received, int):
                self._turn.span.add("received", received)
        if self._attempt is not None and not self._over:
            self._over = True
            self._attempt.end()

    def charged(self, usage: Usage, failure: BaseException | None) -> None:
        """Record the charge of the attempt, and the error that ended it, if there is one."""
        if self._attempt is None:
            return
        if failure is not None:
            self._attempt.set(**error_fields(failure))
        elif not self._turn.completed:
            self._attempt.set(cancelled=True)
        self._attempt.set(**usage_fields(usage))
        request = self._request
        if request is None:
            return
        if failure is not None and self._fault is None:
            self._fault = failure
        if failure is not None and self._raw is not None and self._raw.errors:
            request.keep("error", stage=stage(failure), **error_fields(failure, raw=True))

    def recovered(self, usage: Usage) -> None:
        """Record the usage that was recovered from the provider as the charge of the attempt."""
        if self._attempt is not None:
            self._attempt.set(**usage_fields(usage))

    def _see(self, request: LiveSpan, events: list[Event]) -> None:
        now = anyio.current_time()
        self._events += len(events)
        for event in events:
            kind = type(event)
            if kind in _DELTAS:
                self._deltas += 1
            elif kind is TurnStarted or kind is ProviderEvent or kind is Completed:
                self._tell(request, event)
        turn = self._turn
        if self._events == len(events):
            request.set(first_event=now - self._opened)
            if turn.first is None:
                turn.first = now - turn.started
                turn.span.set(first_event=turn.first)
        self._sample(now)
        if self._raw is not None and self._raw.frames:
            self._frames += 1
            request.keep("frame", sequence=self._frames, frame=encode_frame(events))

    def _tell(self, request: LiveSpan, event: Event) -> None:
        turn = self._turn
        match event:
            case TurnStarted(model=model, response=response):
                request.set(response_model=model, **response_fields(response))
                turn.span.set(response_model=model, **response_fields(response))
            case ProviderEvent(name=name, data=data):
                self._named += 1
                if self._named <= PROVIDER_EVENTS:
                    shown = {"data": data.decode(errors="replace")} if name == "input_transformations" else {}
                    request.event("provider_event", provider_event=name, bytes=len(data), **shown)
                else:
                    request.add("provider_events_not_shown", 1)
            case Completed(finish_reason=reason):
                turn.completed = True
                request.set(finish_reason=reason)
                turn.span.set(finish_reason=reason)
                if turn.span.content:
                    from lutum._telemetry.content import output_message

                    turn.span.set(output=[output_message(event.turn, reason)])
            case _:
                pass

    def _sample(self, now: float) -> None:
        curve, at = self._curve, now - self._opened
        if curve and (self._deltas == curve[-1][1] or at - curve[-1][0] < self._apart):
            return
        curve.append([round(at, 6), self._deltas])
        if len(curve) > SAMPLES:
            del curve[1::2]
            self._apart = max(2 * self._apart, (curve[-1][0] - curve[0][0]) / SAMPLES)


def _end(span: LiveSpan, error: BaseException | None) -> None:
    """End one of lutum's own spans. Only messages of lutum's exceptions are recorded."""
    if isinstance(error, Exception):
        span.set(**error_fields(error))
        error = None
    span.end(error)


@final
class CountingDecoder:
    """A decoder that also counts the received bytes."""

    __slots__ = ("_inner", "_span")

    def __init__(self, inner: Decoder, span: LiveSpan) -> None:
        self._inner = inner
        self._span = span

    def feed(self, data: bytes, out: list[Event]) -> None:
        """Count the bytes and call the decoder's `feed`."""
        self._span.add("received", len(data))
        self._inner.feed(data, out)

    def eof(self, out: list[Event]) -> None:
        """Call the decoder's `eof`."""
        self._inner.eof(out)


def _wanted(request: LiveSpan, prepared: Prepared) -> RawCapture | None:
    """Return the raw parts that the capture keeps and that the turn's own option allows."""
    wanted, own = request.raw, prepared.request.settings.option(RawCapture)
    if wanted is None or own is None:
        return wanted
    return RawCapture(
        request=wanted.request and own.request,
        frames=wanted.frames and own.frames,
        errors=wanted.errors and own.errors,
    )


async def _awaited(what: Awaitable[T]) -> T:
    return await what


@types.coroutine
def _on_second_suspend(coro: Coroutine[Any, Any, T], tell: Callable[[], None]) -> Generator[Any, Any, T]:
    """Run a coroutine. Call `tell` when it suspends for the second time, because the first may be a
    checkpoint."""
    resume: Callable[[], Any] = partial(coro.send, None)
    suspensions = 0
    while True:
        try:
            trap = resume()
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]  # StopIteration is not generic
        suspensions += 1
        if suspensions == 2:
            tell()
        try:
            value = yield trap
        except BaseException as exc:
            resume = partial(coro.throw, exc)
        else:
            resume = partial(coro.send, value)
