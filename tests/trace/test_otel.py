"""Traces in OpenTelemetry, as its own SDK sees them."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest
from fakes import STALLED, STARTED, VIRTUAL, WHOLE, FakeAdapter, House, Text, Wait, done
from opentelemetry import trace as otel
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import lutum
from lutum import trace
from lutum.testing.wire import Reply, WireServer
from lutum_claude import ClaudeAdapter

KEY = "sk-0123456789-of-the-header"


class Seen:
    """A provider whose spans are kept."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def spans(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())

    def named(self, name: str) -> ReadableSpan:
        [found] = [span for span in self.spans() if span.name == name]
        return found

    def edges(self) -> list[tuple[str, str | None]]:
        """Each span's name and its parent's, by name."""
        names = {span.context.span_id: span.name for span in self.spans()}
        return sorted(
            (span.name, names[span.parent.span_id] if span.parent else None) for span in self.spans()
        )


async def collect(house: House) -> None:
    await house.llm.text_turn("hello").collect()


@VIRTUAL
async def test_a_turn_in_trace_otel() -> None:
    """A turn is a client span with the conventional names; its request is an HTTP client span."""
    server, seen = WireServer([Reply("The Nile.")]), Seen()
    client = server.connect
    adapter = ClaudeAdapter("claude-sonnet-4-5", api_key=KEY, base_url="https://api.test", http_client=client)
    turn = lutum.Lutum(adapter).text_turn(lutum.ModelInput().system("Be brief.").user("A river?"))
    async with trace.capture(content=True) as t:
        await turn.temperature(0.5).max_output_tokens(200).collect()
    t.to_otel(seen.provider)
    chat = seen.named("chat claude-sonnet-4-5")
    assert chat.kind is otel.SpanKind.CLIENT
    attributes = dict(chat.attributes or {})
    expected: dict[str, Any] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "claude-sonnet-4-5",
        "gen_ai.request.stream": True,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 200,
        "gen_ai.output.type": "text",
        "gen_ai.response.model": "claude-sonnet-4-5",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.output_tokens": 3,
        "server.address": "api.test",
        "server.port": 443,
        "lutum.outcome": "completed",
        "lutum.usage_known": "exact",
    }
    assert {name: attributes[name] for name in expected} == expected
    assert attributes["gen_ai.response.id"] == t.span("turn").fields["response_id"]
    assert attributes["gen_ai.response.time_to_first_chunk"] == t.span("turn").fields["first_event"]
    assert chat.status.status_code is otel.StatusCode.UNSET
    request = dict(seen.named("POST").attributes or {})
    assert (request["http.response.status_code"], request["url.full"]) == (
        200,
        "https://api.test/v1/messages",
    )
    assert [event.name for event in seen.named("POST").events][-2:] == ["sent", "head"]
    assert not any("system" in name or "messages" in name for name in attributes)
    told = json.dumps([span.to_json() for span in seen.spans()])
    assert "river" not in told
    assert "Nile" not in told
    assert KEY not in told
    for dead in ("gen_ai.system", "gen_ai.prompt", "gen_ai.usage.prompt_tokens"):
        assert dead not in attributes


@VIRTUAL
async def test_content_is_asked_for_twice() -> None:
    """Prompts and answers go out only where the capture kept them and the export was asked to send them."""
    house, seen = House(FakeAdapter(WHOLE)), Seen()
    async with trace.capture(content=True) as t:
        await house.llm.text_turn(lutum.ModelInput().system("Be brief.").user("hello")).collect()
    t.to_otel(seen.provider, content=True)
    attributes = dict(seen.named("chat fake-1").attributes or {})
    said = json.loads(str(attributes["gen_ai.input.messages"]))
    assert said == [{"role": "user", "parts": [{"type": "text", "content": "hello"}]}]
    assert json.loads(str(attributes["gen_ai.system_instructions"])) == [
        {"type": "text", "content": "Be brief."}
    ]
    [answer] = json.loads(str(attributes["gen_ai.output.messages"]))
    assert answer["parts"] == [{"type": "text", "content": "hi"}]


@VIRTUAL
async def test_parents_across_nurseries() -> None:
    """Parents are those of the trace, whatever task a span ran in, under the span that is current outside."""
    slow = (STARTED, Wait(1), Text("a"), done())
    house, seen = House(FakeAdapter(slow)), Seen()

    async def branch(number: int) -> None:
        with trace.span(f"branch {number}"):
            async with anyio.create_task_group() as group:
                group.start_soon(collect, house)
                group.start_soon(collect, house)

    async with trace.capture() as t, anyio.create_task_group() as group:
        for number in range(3):
            group.start_soon(branch, number)
    with otel.get_tracer("app", tracer_provider=seen.provider).start_as_current_span("app"):
        t.to_otel(seen.provider)
    edges = seen.edges()
    assert edges.count(("chat fake-1", "branch 0")) == 2
    assert [edge for edge in edges if edge[1] == "app"] == [(f"branch {n}", "app") for n in range(3)]
    assert edges.count(("attempt", "chat fake-1")) == edges.count(("POST", "attempt")) == 6
    assert len({span.context.trace_id for span in seen.spans()}) == 1
    assert otel.get_current_span() is otel.INVALID_SPAN


@VIRTUAL
async def test_times_and_ends() -> None:
    """Times are those of the trace; an error is one, a cancellation is none; what is open is left out."""
    house, seen = House(FakeAdapter([STARTED, Wait(2), Text("a"), "end"], STALLED)), Seen()
    async with trace.capture() as t:
        with pytest.raises(lutum.Interrupted):
            await collect(house)
        with anyio.move_on_after(3):
            await collect(house)
        with trace.span("open"):
            with trace.span("inside", number=1, words=["a", "b"], more={"x": [1]}):
                pass
            t.to_otel(seen.provider)
    failed, stopped = [span for span in seen.spans() if span.name == "chat fake-1"]
    if failed.start_time > stopped.start_time:
        failed, stopped = stopped, failed
    assert failed.start_time == pytest.approx(t.wall * 1e9, abs=1e6)
    assert failed.end_time - failed.start_time == pytest.approx(2e9, abs=1e6)
    assert failed.status.status_code is otel.StatusCode.ERROR
    assert (failed.attributes or {})["error.type"] == "Interrupted"
    assert stopped.status.status_code is otel.StatusCode.UNSET
    assert (stopped.attributes or {})["lutum.outcome"] == "cancelled"
    inside = seen.named("inside")
    assert inside.parent is None
    own = {"number": 1, "words": ("a", "b"), "more": '{"x":[1]}'}
    assert dict(inside.attributes or {}) == own


async def test_trace_tools() -> None:
    """A tool is an `execute_tool` span."""
    seen = Seen()
    async with trace.capture() as t:
        with trace.span("tool", tool="weather", call="toolu_1"):
            pass
    t.to_otel(seen.provider)
    span = seen.named("execute_tool weather")
    assert span.kind is otel.SpanKind.INTERNAL
    assert dict(span.attributes or {}) == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.type": "function",
        "gen_ai.tool.name": "weather",
        "gen_ai.tool.call.id": "toolu_1",
    }


async def test_a_loaded_trace_goes_out_too() -> None:
    """A trace from a file is exported as the one that was captured."""
    async with trace.capture() as t:
        with trace.span("a"), trace.span("b"):
            pass
    live, loaded = Seen(), Seen()
    t.to_otel(live.provider)
    trace.load(t.dump()).to_otel(loaded.provider)
    assert live.edges() == loaded.edges() == [("a", None), ("b", "a")]
