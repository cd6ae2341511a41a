"""`otel()`: exports the spans and metrics of the whole process while they happen.

An OpenTelemetry span starts and ends together with lutum's span. Its parent belongs to the parent of lutum's
span. If the program has opened an OpenTelemetry span of its own between the two, this span is the parent.
OpenTelemetry's context is set only around code that lutum itself awaits: the function of a tool, and a
request in the turn's own task. The context is never set across a block of the user, so that it never has to
be restored in another task.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final
from urllib.parse import urlsplit

from anyio import get_current_task

from lutum._values.errors import BadValue, UsageError
from lutum.trace._everywhere import EVERYWHERE
from lutum.trace._otel_names import (
    CONTENT_LIMIT,
    OWN_NAMES,
    SCHEMA_URL,
    attributes,
    kind_of,
    name_of,
    own,
    server_of,
    value_of,
)
from lutum.trace._tree import Change, Noted, Span, SpanEnded, SpanOpened, SpanRecorded

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span as OTelSpan, Tracer, TracerProvider

logger = logging.getLogger("lutum.trace")

HEADER: Final = "traceparent"


@dataclass(slots=True)
class _Link:
    """The OpenTelemetry span of a lutum span. Before its name is known, the data to start it."""

    context: Context
    seen: Any
    began: int
    span: OTelSpan | None = None
    server: dict[str, Any] | None = None


@final
class OTelHandle:
    """A live export. `close()` ends the export. As a context manager, it is closed at the end of the block.

    `close()` ends the OpenTelemetry spans that are still open, and sets their attribute `lutum.open`.
    """

    def __init__(
        self,
        provider: TracerProvider | None,
        meter_provider: MeterProvider | None,
        *,
        content: bool,
        content_limit: int,
        traceparent: bool | frozenset[str],
    ) -> None:
        try:
            from opentelemetry import context, trace

            from lutum.trace._otel_metrics import TurnMetrics
        except ImportError:
            raise UsageError(
                "otel: OpenTelemetry is not installed: pip install 'lutum[otel]' (in a clone: '.[otel]')"
            ) from None
        self.content = content
        self._limit = content_limit
        self._traceparent = traceparent
        self._otel: Any = trace
        self._context: Any = context
        self._tracer: Tracer = trace.get_tracer("lutum", tracer_provider=provider, schema_url=SCHEMA_URL)
        self._metrics = TurnMetrics(meter_provider)
        self._open: dict[Span, None] = {}
        self._logged = set[str]()
        EVERYWHERE.add(self)

    def close(self) -> None:
        """End the export. Further calls do nothing. Not a checkpoint."""
        EVERYWHERE.remove(self)
        # Children end before their parents.
        for span in list(self._open)[::-1]:
            self._guarded(self._end, span, True)
        self._open.clear()

    def __enter__(self) -> OTelHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<OTelHandle, {len(self._open)} spans open>"

    # The methods of a listener. If an exporter or a processor raises, the turn continues.

    def tell(self, change: Change) -> None:
        """Export a change. Exceptions are logged and do not propagate."""
        match change:
            case SpanOpened(span=span):
                self._guarded(self._begin, span)
            case SpanRecorded(span=span, fields=fields):
                self._guarded(self._record, span, fields)
            case Noted():
                self._guarded(self._note, change)
            case SpanEnded(span=span):
                self._guarded(self._end, span, False)

    def enter(self, span: Span) -> Callable[[], None] | None:
        """Make the span current for other instrumentation in this task. Return a function that undoes
        this."""
        leave: Callable[[], None] | None = self._guarded(self._enter, span)
        return leave

    def headers(self, span: Span | None, url: str) -> Sequence[tuple[str, str]]:
        """Return `traceparent`, and `tracestate` if it exists; nothing if the URL's host does not get
        them."""
        return self._guarded(self._headers, span, url) or ()

    def header_names(self, url: str) -> tuple[str, ...]:
        """Return the name of the header that requests to this URL get."""
        return (HEADER,) if self._asked(url) else ()

    def _guarded(self, do: Callable[..., Any], *args: Any) -> Any:
        try:
            return do(*args)
        except Exception as exc:
            kind = type(exc).__name__
            if kind in self._logged:
                logger.error("OpenTelemetry raised %s again", kind)
            else:
                self._logged.add(kind)
                logger.exception(
                    "OpenTelemetry raised an exception; the program continues, but spans may be missing"
                )
            return None

    # The life of one span.

    def _begin(self, span: Span) -> None:
        current = self._context.get_current()
        here = self._otel.get_current_span(current)
        link = _Link(self._parent(span, current, here), here, time.time_ns())
        if span.exports is None:
            span.exports = {}
        span.exports[self] = link
        self._open[span] = None
        # The span of a turn is started later, because its name and the attributes for samplers are not known
        # before the turn is prepared.
        if span.name != "turn":
            self._started(span, link)

    def _parent(self, span: Span, current: Context, here: Any) -> Context:
        """Return the context of a new span. It contains the parent.

        The parent belongs to the enclosing lutum span, or is a span that the program opened inside that span.
        """
        found = self._ancestor(span)
        if found is None:
            return current
        around, link = found
        parent = self._started(around, link)
        place = here.get_span_context()
        if place.is_valid and place not in (link.seen.get_span_context(), parent.get_span_context()):
            return current
        context: Context = self._otel.set_span_in_context(parent, current)
        return context

    def _ancestor(self, span: Span) -> tuple[Span, _Link] | None:
        around = span.parent
        while around is not None:
            if around.exports is not None and (link := around.exports.get(self)) is not None:
                return around, link
            around = around.parent
        return None

    def _started(self, span: Span, link: _Link) -> OTelSpan:
        if link.span is None:
            link.span = self._tracer.start_span(
                name_of(span),
                context=link.context,
                kind=kind_of(self._otel.SpanKind, span),
                attributes=attributes(span, content=False),
                start_time=link.began,
            )
        return link.span

    def _link(self, span: Span) -> _Link | None:
        return None if span.exports is None else span.exports.get(self)

    def _record(self, span: Span, fields: dict[str, Any]) -> None:
        link = self._link(span)
        if link is None:
            return
        if link.span is None:
            if "model" in fields:
                self._started(span, link)
        elif span.name not in OWN_NAMES:
            link.span.set_attributes({name: value_of(value) for name, value in fields.items()})

    def _note(self, change: Noted) -> None:
        note = change.note
        if change.span is None:  # outside lutum's spans, the event is added to the program's current span
            self._otel.get_current_span().add_event(
                note.name, {name: value_of(value) for name, value in note.fields.items()}
            )
            return
        link = self._link(change.span)
        if link is not None:
            users = change.span.name not in OWN_NAMES
            given = {name: value_of(v) for name, v in note.fields.items()} if users else own(note.fields)
            self._started(change.span, link).add_event(note.name, given)

    def _end(self, span: Span, still_open: bool) -> None:
        link = self._link(span)
        if link is None or span not in self._open:
            return
        del self._open[span]
        opened = self._started(span, link)
        try:
            if span.name == "request":
                self._tell_turn(span)
            server = link.server or server_of(span)
            opened.update_name(name_of(span))
            found = attributes(span, content=self.content, limit=self._limit)
            opened.set_attributes(found | (link.server or {}))
            if still_open:
                opened.set_attribute("lutum.open", True)
            elif span.status == "error":
                words = span.fields.get("message") or span.error
                opened.set_status(self._otel.Status(self._otel.StatusCode.ERROR, words))
            if not still_open:
                self._metrics.ended(span, server)
        finally:
            opened.end()

    def _tell_turn(self, request: Span) -> None:
        """Store the server of a turn's first request with the turn.

        A turn outside a capture does not keep its requests, so the server would be unknown at the end.
        """
        around = request.parent
        while around is not None and around.name != "turn":
            around = around.parent
        link = None if around is None else self._link(around)
        if link is not None and link.server is None:
            link.server = server_of(request)

    # The context for other instrumentation, and the headers for the provider.

    def _enter(self, span: Span) -> Callable[[], None] | None:
        link = self._link(span)
        if link is None:
            return None
        before, task = self._context.get_current(), get_current_task().id
        self._context.attach(self._otel.set_span_in_context(self._started(span, link), before))

        def leave() -> None:
            # A context token is valid only in the context in which it was made. In that context, attaching
            # the earlier context has the same effect as the token.
            if get_current_task().id == task:
                self._guarded(self._context.attach, before)

        return leave

    def _asked(self, url: str) -> bool:
        if isinstance(self._traceparent, bool):
            return self._traceparent and url.startswith(("http://", "https://"))
        try:
            return (urlsplit(url).hostname or "") in self._traceparent
        except ValueError:
            return False

    def _headers(self, span: Span | None, url: str) -> Sequence[tuple[str, str]]:
        link = None if span is None else self._link(span)
        if span is None or link is None or not self._asked(url):
            return ()
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        # The program's propagator is not used, because it may send baggage, which a provider should not get.
        carrier: dict[str, str] = {}
        context = self._otel.set_span_in_context(self._started(span, link), link.context)
        TraceContextTextMapPropagator().inject(carrier, context)
        return list(carrier.items())


def otel(
    provider: TracerProvider | None = None,
    *,
    meter_provider: MeterProvider | None = None,
    content: bool = False,
    content_limit: int = CONTENT_LIMIT,
    traceparent: bool | Iterable[str] = False,
) -> OTelHandle:
    """Export spans and metrics of the whole process to OpenTelemetry while they happen, until `close()`.

    The export covers every task and thread, including tasks and threads that started earlier. A `capture`
    covers only the work that its block starts. Use a processor that exports in the background
    (`BatchSpanProcessor`), because a processor that exports in the foreground may block the event loop.
    Exceptions of OpenTelemetry are logged and never end a turn. Requires the extra `otel`.

    Args:
      provider: the tracer provider; None for the global one.
      meter_provider: the meter provider; None for the global one.
      content: export prompts, answers, tool definitions, arguments and results too.
      content_limit: the largest number of characters of one attribute with content. Longer attributes are
        shortened, and stay valid JSON.
      traceparent: send the header `traceparent` to the provider with each request: True for every host, or
        the names of the hosts. `preview()` lists it in `set_when_sent`.

    Raises:
      UsageError: OpenTelemetry is not installed.
      BadValue: an argument has the wrong type, or `content_limit` is below 1,000.
    """
    if not isinstance(content, bool):
        raise BadValue("content", f"needs True or False, not {content!r}")
    if isinstance(content_limit, bool) or not isinstance(content_limit, int) or content_limit < 1_000:
        raise BadValue(
            "content_limit", f"needs an integer of at least 1000 characters, not {content_limit!r}"
        )
    if isinstance(traceparent, str):
        raise BadValue("traceparent", "is a string; give True or a list of host names")
    hosts = traceparent if isinstance(traceparent, bool) else frozenset(map(str.lower, traceparent))
    return OTelHandle(
        provider, meter_provider, content=content, content_limit=content_limit, traceparent=hosts
    )
