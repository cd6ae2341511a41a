"""`Trace.to_otel`: exports a captured trace to OpenTelemetry after its capture.

Spans are exported with their recorded times. No span of OpenTelemetry is current while a turn runs. Therefore
no context token is kept across a yield, and parents do not depend on the task. `lutum.trace.otel` exports
spans while they happen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lutum._values.errors import UsageError
from lutum.trace._otel_names import SCHEMA_URL, attributes, kind_of, name_of, own
from lutum.trace._tree import Span, SpanTree

if TYPE_CHECKING:
    from opentelemetry.trace import Span as OTelSpan, TracerProvider


def export(trace: SpanTree, provider: TracerProvider | None, *, content: bool) -> None:
    """Start and end an OpenTelemetry span for each span that ended.

    Parents are started before their children, and children are ended before their parents.

    Raises:
      UsageError: OpenTelemetry is not installed.
    """
    try:
        from opentelemetry import trace as otel
    except ImportError:
        raise UsageError(
            "to_otel: OpenTelemetry is not installed: pip install 'lutum[otel]' (in a clone: '.[otel]')"
        ) from None
    tracer = otel.get_tracer("lutum", tracer_provider=provider, schema_url=SCHEMA_URL)

    def at(moment: float) -> int:
        return round((trace.wall + moment - trace.started) * 1e9)

    begun: list[tuple[OTelSpan, float]] = []
    waiting: list[tuple[Span, Any]] = [(root, None) for root in reversed(trace.roots)]
    while waiting:
        span, context = waiting.pop()
        if span.ended is not None:
            opened = tracer.start_span(
                name_of(span),
                context=context,
                kind=kind_of(otel.SpanKind, span),
                attributes=attributes(span, content=content),
                start_time=at(span.started),
            )
            for note in span.notes:
                opened.add_event(note.name, own(note.fields), at(note.at))
            if span.status == "error":
                opened.set_status(
                    otel.Status(otel.StatusCode.ERROR, span.fields.get("message") or span.error)
                )
            context = otel.set_span_in_context(opened, context)
            begun.append((opened, span.ended))
        waiting += [(child, context) for child in reversed(span.children)]
    for opened, ended in reversed(begun):
        opened.end(at(ended))
