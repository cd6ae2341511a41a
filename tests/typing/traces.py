"""What type checkers know of traces; checked by pyright strict and mypy strict."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, assert_type

import lutum
from lutum import trace


async def captured(llm: lutum.Lutum) -> None:
    async with trace.capture(raw=trace.RawCapture(frames=False), content=True, to="t.jsonl") as t:
        assert_type(t, trace.Trace)
        with trace.span("step", number=1) as span:
            if span is not None:
                span.set(late=True)
            trace.event("half", of="it")
        with t.subscribe(told):
            await llm.text_turn("hello").ext(trace.RawCapture(request=False)).collect()
    assert_type(t.walk(), Iterator[trace.Span])
    assert_type(t.find("turn", kind="text_turn"), list[trace.Span])
    turn = t.span("turn")
    assert_type(turn, trace.Span)
    assert_type(turn.span("request"), trace.Span)
    assert_type(turn.fields["model"], Any)
    assert_type(turn.status, trace.Status)
    assert_type(turn.duration, float | None)
    assert_type(t.events("retry"), list[trace.Note])
    assert_type(t.raw, list[trace.RawEntry])
    assert_type(t.render(100, color=True), str)
    t.to_html("t.html", title="A run")
    t.to_otel(content=True)
    assert_type(t.dump(), bytes)
    assert_type(trace.load(t.dump()), trace.Trace)
    assert_type(trace.Trace.load(t.dump()), trace.Trace)


def told(change: trace.Change) -> None:
    match change:
        case trace.SpanOpened(span=span) | trace.SpanEnded(span=span):
            assert_type(span, trace.Span)
        case trace.SpanRecorded(fields=fields):
            assert_type(fields, dict[str, Any])
        case trace.Noted(note=note):
            assert_type(note.at, float)
