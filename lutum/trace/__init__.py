"""Traces: `async with trace.capture() as t`, then `t.render()`, `t.to_html(path)`, `t.dump()`.

A trace is a tree of spans. lutum's spans are named `turn`, `attempt`, `request`, `tool`, `hook` and `wait`.
You can add your own spans with `trace.span`. Nothing is recorded outside a capture, except that
`trace.otel()` exports the spans of a process to OpenTelemetry.
"""

from __future__ import annotations

from lutum._telemetry.spans import RawCapture as RawCapture, event as event, span as span
from lutum.trace._bill import BranchBill as BranchBill, TraceBill as TraceBill
from lutum.trace._capture import capture as capture
from lutum.trace._otel_live import OTelHandle as OTelHandle, otel as otel
from lutum.trace._trace import Subscription as Subscription, Trace as Trace, load as load
from lutum.trace._tree import (
    Change as Change,
    Note as Note,
    Noted as Noted,
    RawEntry as RawEntry,
    Span as Span,
    SpanEnded as SpanEnded,
    SpanOpened as SpanOpened,
    SpanRecorded as SpanRecorded,
    Status as Status,
)

__all__ = [
    "BranchBill",
    "Change",
    "Note",
    "Noted",
    "OTelHandle",
    "RawCapture",
    "RawEntry",
    "Span",
    "SpanEnded",
    "SpanOpened",
    "SpanRecorded",
    "Status",
    "Subscription",
    "Trace",
    "TraceBill",
    "capture",
    "event",
    "load",
    "otel",
    "span",
]
