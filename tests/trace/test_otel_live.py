"""The live export, as OpenTelemetry's own SDK sees it."""

from __future__ import annotations

import contextvars
import json
import logging
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import anyio
import httpx
import pytest
from fakes import STALL, STALLED, STARTED, VIRTUAL, WHOLE, FakeAdapter, Text, Wait
from hypothesis import given, settings, strategies as st
from opentelemetry import baggage, context as otel_context, trace as otel
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import lutum
from lutum import trace
from lutum.testing import ScriptedAdapter
from lutum.testing.wire import Reply, WireServer
from lutum_claude import ClaudeAdapter


class Seen(SpanProcessor):
    """A provider whose spans are kept, those that only began too."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.provider.add_span_processor(self)
        self.tracer = otel.get_tracer("app", tracer_provider=self.provider)

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        self.begun.append(span.name)

    def spans(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())

    def named(self, name: str) -> ReadableSpan:
        [found] = [span for span in self.spans() if span.name == name]
        return found

    def parent(self, name: str) -> str | None:
        """The name of a span's parent."""
        names = {span.context.span_id: span.name for span in self.spans()}
        span = self.named(name)
        return names[span.parent.span_id] if span.parent else None

    def edges(self) -> list[tuple[str, str | None]]:
        names = {span.context.span_id: span.name for span in self.spans()}
        found = [(s.name, names.get(s.parent.span_id) if s.parent else None) for s in self.spans()]
        return sorted(found, key=lambda edge: (edge[0], edge[1] or ""))


@pytest.fixture
def seen() -> Seen:
    return Seen()


@contextmanager
def quiet(caplog: pytest.LogCaptureFixture) -> Generator[None]:
    """Nothing is logged: not by lutum, and not by OpenTelemetry of a context that it cannot detach."""
    with caplog.at_level(logging.WARNING):
        yield
    assert caplog.records == []


def agent(seen: Seen, *more: Any) -> lutum.Session:
    session = lutum.Session(
        lutum.Lutum(ScriptedAdapter([[lutum.ToolCallReady("1", "look", '{"q": "a"}')], ["done"], *more]))
    )
    session.push_user("hi")
    return session


def look_with(seen: Seen) -> lutum.Toolset[Any]:
    @lutum.tool
    async def look(q: str) -> dict[str, int]:
        """Look it up."""
        with seen.tracer.start_as_current_span("SELECT"):
            await anyio.lowlevel.checkpoint()
            return {"n": 1}

    return lutum.Toolset(look)


async def test_spans_go_out_as_they_end(seen: Seen) -> None:
    """Under the program's span, without a capture; children before parents, a turn with its model."""
    llm = lutum.Lutum(FakeAdapter(WHOLE))
    with trace.otel(seen.provider), seen.tracer.start_as_current_span("GET /chat"):
        with trace.span("conversation"):
            async with llm.text_turn("hello").stream() as stream:
                assert "chat fake-1" in seen.begun
                async for _ in stream:
                    pass
            assert [span.name for span in seen.spans()] == ["POST", "attempt", "chat fake-1"]
        assert seen.spans()[-1].name == "conversation"
    assert seen.edges() == [
        ("GET /chat", None),
        ("POST", "attempt"),
        ("attempt", "chat fake-1"),
        ("chat fake-1", "conversation"),
        ("conversation", "GET /chat"),
    ]
    assert seen.named("chat fake-1").kind is otel.SpanKind.CLIENT


@pytest.mark.parametrize("how", ["round", "call", "threads"])
async def test_a_tools_own_spans_lie_under_it(seen: Seen, how: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whether its round runs it or you do, and in a thread; afterwards the program's span is current."""
    session = agent(seen)
    tools = look_with(seen)
    if how == "threads":

        @lutum.tool
        def look(q: str) -> int:
            """Look it up."""
            with seen.tracer.start_as_current_span("SELECT"):
                return 1

        tools = lutum.Toolset(look)
    with quiet(caplog), trace.otel(seen.provider), seen.tracer.start_as_current_span("GET") as get:
        outcome = await session.text_turn().tools(tools).collect()
        assert isinstance(outcome, lutum.NeedsTools)
        if how == "call":
            results = [await outcome.round.expect_one().run()]
            assert otel.get_current_span() is get
        else:
            results = list(await outcome.round.run())
        assert otel.get_current_span() is get
        session.commit_round(outcome.round, results)
    assert seen.parent("SELECT") == "execute_tool look"
    assert seen.parent("execute_tool look") == "GET"


async def test_a_hooks_own_spans_lie_under_it(seen: Seen) -> None:
    """Of a tool's hook, and of a slot that runs when a turn starts."""

    async def policy(call: lutum.ToolCall[Any]) -> None:
        with seen.tracer.start_as_current_span("policy"):
            await anyio.lowlevel.checkpoint()

    @lutum.LutumHooks.resolve_usage_estimate
    async def count(adapter: Any, prepared: Any) -> lutum.Estimate:
        with seen.tracer.start_as_current_span("count"):
            return lutum.Estimate(1, 1)

    session = agent(seen)
    hooked = lutum.Lutum(FakeAdapter(WHOLE), hooks=lutum.LutumHooks(count))
    with trace.otel(seen.provider), seen.tracer.start_as_current_span("GET") as get:
        outcome = await session.text_turn().tools(look_with(seen)).collect()
        assert isinstance(outcome, lutum.NeedsTools)
        await outcome.round.apply_hooks(policy)
        assert otel.get_current_span() is get
        await hooked.text_turn("hello").collect()
        assert otel.get_current_span() is get
    assert seen.parent("policy") == "hook" == seen.parent("count")
    assert ("hook", "chat fake-1") in seen.edges()


async def test_a_turn_inside_of_a_tool_lies_under_it(seen: Seen) -> None:
    """And under the span that the tool opened around it."""
    inner = lutum.Lutum(FakeAdapter(WHOLE))

    @lutum.tool
    async def look(q: str) -> str:
        """Look it up."""
        with seen.tracer.start_as_current_span("step"):
            return (await inner.text_turn(q).collect()).text

    session = agent(seen)
    with trace.otel(seen.provider):
        outcome = await session.text_turn().tools(lutum.Toolset(look)).collect()
        assert isinstance(outcome, lutum.NeedsTools)
        await outcome.round.run()
    assert seen.parent("chat fake-1") == "step"
    assert seen.parent("step") == "execute_tool look"


async def test_the_programs_span_in_between_is_the_parent(seen: Seen) -> None:
    llm = lutum.Lutum(FakeAdapter(WHOLE))
    with trace.otel(seen.provider), trace.span("outer"):
        with seen.tracer.start_as_current_span("mine"):
            await llm.text_turn("hello").collect()
    # The block of a span of lutum's is the user's: OpenTelemetry's context is not set in it.
    assert seen.parent("mine") is None
    assert seen.parent("chat fake-1") == "mine"


async def test_the_request_is_current_for_the_http_client(seen: Seen) -> None:
    """What an instrumented client opens lies under the request of its turn."""

    def answer(request: Any) -> list[str]:
        with seen.tracer.start_as_current_span("http"):
            return ["hello"]

    llm = lutum.Lutum(ScriptedAdapter(answer))
    with trace.otel(seen.provider):
        await llm.text_turn("hello").collect()
    assert seen.parent("http") == "POST"


async def test_it_reaches_tasks_of_another_context(seen: Seen) -> None:
    """As an ASGI server's, whose handlers start from an empty context; a capture does not."""
    llm = lutum.Lutum(FakeAdapter(WHOLE))

    async def handler() -> None:
        await llm.text_turn("hello").collect()

    async with anyio.create_task_group() as group, trace.capture() as t:
        started = anyio.Event()

        async def server() -> None:
            await started.wait()
            await handler()

        contextvars.Context().run(group.start_soon, server)
        with trace.otel(seen.provider):
            started.set()
            await anyio.wait_all_tasks_blocked()
            while not seen.spans():
                await anyio.lowlevel.checkpoint()
            while "chat fake-1" not in [span.name for span in seen.spans()]:
                await anyio.lowlevel.checkpoint()
    assert t.find("turn") == []
    assert seen.parent("chat fake-1") is None


@VIRTUAL
@pytest.mark.parametrize("end", ["all", "break", "raise", "cancel", "timeout"])
async def test_the_context_is_not_touched_in_a_block(
    seen: Seen, end: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The same span is current before, within and behind a stream's block, however it ends."""
    play = WHOLE if end == "all" else STALLED
    llm = lutum.Lutum(FakeAdapter(play))
    with quiet(caplog), trace.otel(seen.provider), seen.tracer.start_as_current_span("mine") as mine:
        current = otel_context.get_current()
        with anyio.move_on_after(5 if end == "timeout" else 1_000):
            try:
                async with llm.text_turn("hello").stream() as stream:
                    async for event in stream:
                        assert otel_context.get_current() is current
                        if end == "break" and isinstance(event, lutum.TextDelta):
                            break
                        if end == "raise" and isinstance(event, lutum.TextDelta):
                            raise KeyError("mine")
                        if end == "cancel" and isinstance(event, lutum.TextDelta):
                            stream.cancel_scope.cancel()
            except KeyError:
                pass
        assert otel_context.get_current() is current
        assert otel.get_current_span() is mine
    outcome = {"all": "completed", "break": "left", "raise": "raised", "cancel": "stopped"}
    attributes = seen.named("chat fake-1").attributes or {}
    assert attributes["lutum.outcome"] == outcome.get(end, "cancelled")


async def test_turns_that_interleave_in_one_task(seen: Seen, caplog: pytest.LogCaptureFixture) -> None:
    """The trap of tokens that are kept across a yield: events of two turns are read in turn."""
    llm = lutum.Lutum(FakeAdapter(WHOLE))
    with quiet(caplog), trace.otel(seen.provider), seen.tracer.start_as_current_span("mine") as mine:
        async with llm.text_turn("a").stream() as first, llm.text_turn("b").stream() as second:
            async for _ in first:
                assert otel.get_current_span() is mine
                await anext(second, None)
                assert otel.get_current_span() is mine
        assert otel.get_current_span() is mine
    parents = {span.parent and span.parent.span_id for span in seen.spans() if span.name == "chat fake-1"}
    assert parents == {seen.named("mine").context.span_id}


class Broken(SpanProcessor):
    """Raises wherever it can."""

    def __init__(self, at: str) -> None:
        self.at = at

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        if self.at == "start":
            raise RuntimeError("exporter is broken")

    def on_end(self, span: Any) -> None:
        if self.at == "end":
            raise RuntimeError("exporter is broken")


class BrokenExporter(SpanExporter):
    def export(self, spans: Any) -> Any:
        raise RuntimeError("exporter is broken")


@pytest.mark.parametrize("at", ["start", "end", "export", "tracer"])
async def test_what_an_exporter_raises_is_logged_and_ends_nothing(
    seen: Seen, at: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(BrokenExporter()) if at == "export" else Broken(at))
    handle = trace.otel(provider)
    if at == "tracer":

        def broken(*args: Any, **kwargs: Any) -> Any:
            raise RuntimeError("exporter is broken")

        monkeypatch.setattr(handle._tracer, "start_span", broken)
    session = agent(seen)
    with handle:
        with trace.span("mine"):
            trace.event("half")
            outcome = await session.text_turn().tools(look_with(seen)).collect()
            assert isinstance(outcome, lutum.NeedsTools)
            session.commit_round(outcome.round, await outcome.round.run())
            assert (await session.text_turn().tools(look_with(seen)).collect()).result.text == "done"  # type: ignore[union-attr]
    assert any("exporter is broken" in str(record.exc_info) for record in caplog.records)
    if at != "export":  # the SDK logs that itself
        assert sum(record.exc_info is not None for record in caplog.records) == 1


@VIRTUAL
async def test_metrics(seen: Seen) -> None:
    """Tokens by type, duration, and time to the first chunk, without labels and ids."""
    reader = InMemoryMetricReader()
    server = WireServer([Reply("The Nile.")])
    adapter = ClaudeAdapter(
        "claude-sonnet-4-5", api_key="sk-0123456789", base_url="https://api.test", http_client=server.connect
    )
    failing = lutum.Lutum(FakeAdapter([STARTED, Wait(2), Text("a"), "end"]))
    with trace.otel(seen.provider, meter_provider=MeterProvider([reader])):
        result = await lutum.Lutum(adapter).text_turn("A river?").label("secret", "user-7").collect()
        with pytest.raises(lutum.Interrupted):
            await failing.text_turn("hello").collect()
    data = reader.get_metrics_data()
    assert data is not None
    found = {
        metric.name: (metric.unit, list(metric.data.data_points))
        for scope in data.resource_metrics[0].scope_metrics
        for metric in scope.metrics
    }
    assert {name: unit for name, (unit, _) in found.items()} == {
        "gen_ai.client.token.usage": "{token}",
        "gen_ai.client.operation.duration": "s",
        "gen_ai.client.operation.time_to_first_chunk": "s",
    }
    tokens: dict[Any, Any] = {
        (point.attributes["gen_ai.token.type"], point.attributes["gen_ai.request.model"]): point.sum
        for point in found["gen_ai.client.token.usage"][1]
    }
    assert tokens["input", "claude-sonnet-4-5"] == result.usage.input_tokens
    assert tokens["output", "claude-sonnet-4-5"] == result.usage.output_tokens
    labels = {name for _, points in found.values() for point in points for name in point.attributes}
    assert labels == {
        "gen_ai.operation.name",
        "gen_ai.provider.name",
        "gen_ai.request.model",
        "gen_ai.response.model",
        "gen_ai.token.type",
        "server.address",
        "server.port",
        "error.type",
    }
    durations = {
        point.attributes["gen_ai.request.model"]: point
        for point in found["gen_ai.client.operation.duration"][1]
    }
    assert durations["fake-1"].attributes["error.type"] == "Interrupted"
    assert durations["claude-sonnet-4-5"].attributes["server.address"] == "api.test"
    first = {
        point.attributes["gen_ai.request.model"]: point
        for point in found["gen_ai.client.operation.time_to_first_chunk"][1]
    }
    assert first["fake-1"].sum == 0  # of virtual time
    assert list(durations["fake-1"].explicit_bounds)[:3] == [0.01, 0.02, 0.04]


@VIRTUAL
@pytest.mark.parametrize(
    ("asked", "sent"),
    [(False, False), (True, True), (["api.test"], True), (["API.TEST"], True), (["other.test"], False)],
)
@pytest.mark.parametrize("client", ["engine", "httpx"])
async def test_traceparent_to_the_provider_where_asked(
    seen: Seen, asked: Any, sent: bool, client: str
) -> None:
    """It is that of the request's span; the preview lists it; baggage stays here."""
    server = WireServer([Reply("The Nile.")])
    http: Any = server.connect if client == "engine" else httpx.AsyncClient(transport=server.transport())
    adapter = ClaudeAdapter(
        "claude-sonnet-4-5", api_key="sk-0123456789", base_url="https://api.test", http_client=http
    )
    token = otel_context.attach(baggage.set_baggage("user", "7"))
    try:
        with trace.otel(seen.provider, traceparent=asked):
            turn = lutum.Lutum(adapter).text_turn("A river?")
            preview = turn.preview()
            assert preview.set_when_sent == (("traceparent",) if sent else ())
            assert preview.headers.get("traceparent") == ("set at send time" if sent else None)
            assert ("traceparent: set at send time" in str(preview)) is sent
            await turn.collect()
    finally:
        otel_context.detach(token)
    assert turn.preview().set_when_sent == ()
    [request] = server.requests
    assert request.body == preview.body
    assert "baggage" not in request.headers
    header = request.headers.get("traceparent")
    assert (header is not None) is sent
    if header is not None:
        span = seen.named("POST").context
        assert header == f"00-{span.trace_id:032x}-{span.span_id:016x}-{int(span.trace_flags):02x}"
    if isinstance(http, httpx.AsyncClient):
        await http.aclose()


async def test_shapes_of_the_convention(seen: Seen) -> None:
    """Definitions with `type` and `parameters`, arguments and results as JSON once, parts by their type."""
    session = agent(seen)
    session.push_user(
        [
            lutum.Text("see"),
            lutum.Image(url="https://images.test/a.png", media_type="image/png"),
        ]
    )
    with trace.otel(seen.provider, content=True):
        outcome = await session.text_turn().tools(look_with(seen)).collect()
        assert isinstance(outcome, lutum.NeedsTools)
        session.commit_round(outcome.round, await outcome.round.run())
        await session.text_turn().tools(look_with(seen)).collect()
    first, second = [dict(s.attributes or {}) for s in seen.spans() if s.name == "chat scripted-1"]
    [tool] = json.loads(str(first["gen_ai.tool.definitions"]))
    assert (tool["type"], tool["name"], tool["description"]) == ("function", "look", "Look it up.")
    assert tool["parameters"]["properties"]["q"]["type"] == "string"
    assert set(tool) == {"type", "name", "description", "parameters"}
    [answer] = json.loads(str(first["gen_ai.output.messages"]))
    assert answer == {
        "role": "assistant",
        "parts": [{"type": "tool_call", "id": "1", "name": "look", "arguments": {"q": "a"}}],
        "finish_reason": answer["finish_reason"],
    }
    said = json.loads(str(first["gen_ai.input.messages"]))
    assert said[1]["parts"] == [
        {"type": "text", "content": "see"},
        {"type": "uri", "modality": "image", "mime_type": "image/png", "uri": "https://images.test/a.png"},
    ]
    called = dict(seen.named("execute_tool look").attributes or {})
    assert json.loads(str(called["gen_ai.tool.call.arguments"])) == {"q": "a"}
    assert json.loads(str(called["gen_ai.tool.call.result"])) == {"n": 1}
    [response] = json.loads(str(second["gen_ai.input.messages"]))[-1]["parts"]
    assert response == {"type": "tool_call_response", "id": "1", "response": {"n": 1}}


RESULTS: list[tuple[str, Any]] = [
    ("plain words", "plain words"),
    ('{"a": [1, 2]}', {"a": [1, 2]}),
    ("[1]", [1]),
    ("7", "7"),
    ("{broken", "{broken"),
    ("", ""),
]


@pytest.mark.parametrize(("said", "value"), RESULTS, ids=range(len(RESULTS)))
async def test_a_result_is_json_once(seen: Seen, said: str, value: Any) -> None:
    """A text is a JSON text, a JSON document is itself."""

    @lutum.tool
    async def look(q: str) -> str:
        """Look it up."""
        return said or " "

    session = agent(seen)
    with trace.otel(seen.provider, content=True):
        outcome = await session.text_turn().tools(lutum.Toolset(look)).collect()
        assert isinstance(outcome, lutum.NeedsTools)
        await outcome.round.run()
    found = json.loads(str((seen.named("execute_tool look").attributes or {})["gen_ai.tool.call.result"]))
    assert found == (value or " ")


async def test_content_goes_out_only_where_asked(seen: Seen) -> None:
    """Not without `content=True`, even where a capture keeps it."""
    session = agent(seen)
    with trace.otel(seen.provider):
        async with trace.capture(content=True) as t:
            outcome = await session.text_turn().tools(look_with(seen)).collect()
            assert isinstance(outcome, lutum.NeedsTools)
            await outcome.round.run()
    assert "input" in t.span("turn").fields
    told = json.dumps([span.to_json() for span in seen.spans()])
    for word in ('\\"q\\"', "Look it up", "hi"):
        assert f'content": "{word}' not in told
        assert "messages" not in told
    assert "definitions" not in told
    assert "arguments" not in told


@pytest.mark.parametrize("length", [10, 5_000, 200_000])
@pytest.mark.parametrize("many", [1, 300])
async def test_content_is_bounded(seen: Seen, length: int, many: int) -> None:
    """Each attribute is JSON, and at most so long; what is cut is said."""
    llm = lutum.Lutum(ScriptedAdapter([["y" * length]]))
    given = lutum.ModelInput().system("s" * length)
    for _ in range(many):
        given = given.user("u" * length)
    with trace.otel(seen.provider, content=True, content_limit=8_000):
        await llm.text_turn(given).collect()
    attributes = dict(seen.named("chat scripted-1").attributes or {})
    for name in ("gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions"):
        text = str(attributes[name])
        assert len(text) <= 8_000
        assert json.loads(text)
    whole = str(attributes["gen_ai.output.messages"])
    assert ("more characters" in whole) is (length > 8_000)


@pytest.mark.parametrize("live", [True, False])
async def test_attributes_of_the_user_keep_their_names(seen: Seen, live: bool) -> None:
    """On their span, and those that backends group by on every span below it."""
    mine = {
        "session.id": "s-1",
        "user.id": "u-1",
        "gen_ai.conversation.id": "c-1",
        "langfuse.trace.tags": ["a"],
    }
    session = agent(seen)

    async def work() -> None:
        with trace.span("conversation", **mine, question="why") as span:
            assert span is not None
            span.set(**{"user.plan": "free"})
            outcome = await session.text_turn().tools(look_with(seen)).collect()
            assert isinstance(outcome, lutum.NeedsTools)
            await outcome.round.run()

    if live:
        with trace.otel(seen.provider):
            await work()
    else:
        async with trace.capture() as t:
            await work()
        t.to_otel(seen.provider)
    own = dict(seen.named("conversation").attributes or {})
    assert own == {**mine, "langfuse.trace.tags": ("a",), "question": "why", "user.plan": "free"}
    for name in ("chat scripted-1", "attempt", "POST", "execute_tool look"):
        found = dict(seen.named(name).attributes or {})
        assert {key: found.get(key) for key in ("session.id", "user.id", "gen_ai.conversation.id")} == {
            "session.id": "s-1",
            "user.id": "u-1",
            "gen_ai.conversation.id": "c-1",
        }
        assert "question" not in found
        assert not any(key.startswith("lutum.session") for key in found)


async def test_an_error_of_the_users_block(seen: Seen) -> None:
    with trace.otel(seen.provider):
        with pytest.raises(ValueError, match="no"), trace.span("mine"):
            raise ValueError("no")
    span = seen.named("mine")
    assert span.status.status_code is otel.StatusCode.ERROR
    assert span.status.description == "no"
    assert dict(span.attributes or {}) == {"error.type": "ValueError"}


async def test_events(seen: Seen) -> None:
    """In their span; outside of lutum's spans in the program's own."""
    with trace.otel(seen.provider), seen.tracer.start_as_current_span("mine"):
        trace.event("outside", number=1)
        with trace.span("inner"):
            trace.event("half", number=2)
    for name, event in ("mine", "outside"), ("inner", "half"):
        [found] = seen.named(name).events
        assert (found.name, list(found.attributes or {})) == (event, ["number"])


@VIRTUAL
async def test_closing_ends_what_is_open(seen: Seen) -> None:
    """A request that still streams is there; afterwards nothing goes out."""
    llm = lutum.Lutum(FakeAdapter([STARTED, Text("a"), STALL]))
    handle = trace.otel(seen.provider)
    async with llm.text_turn("hello").stream() as stream:
        async for event in stream:
            if isinstance(event, lutum.TextDelta):
                break
        handle.close()
        assert (seen.named("chat fake-1").attributes or {})["lutum.open"] is True
        count = len(seen.spans())
    handle.close()
    await lutum.Lutum(FakeAdapter(WHOLE)).text_turn("hello").collect()
    assert len(seen.spans()) == count
    with trace.span("nobody") as span:
        assert span is None


async def test_two_handles_and_a_capture(seen: Seen) -> None:
    """Each has all of it, and a capture inside is as it would be without."""
    other = Seen()
    llm = lutum.Lutum(FakeAdapter(WHOLE))
    with trace.otel(seen.provider), trace.otel(other.provider):
        with trace.span("outer"):
            async with trace.capture() as t:
                await llm.text_turn("hello").collect()
        await llm.text_turn("hello").collect()
    assert seen.edges() == other.edges()
    assert len([edge for edge in seen.edges() if edge[0] == "chat fake-1"]) == 2
    assert ("chat fake-1", "outer") in seen.edges()
    assert [span.name for span in t.walk()] == ["turn", "attempt", "request"]
    assert [span.name for span in t.roots] == ["turn"]


async def test_a_capture_that_began_before(seen: Seen) -> None:
    """What is opened from now on goes out, and what runs on behind the capture too."""
    llm = lutum.Lutum(FakeAdapter(WHOLE))
    async with anyio.create_task_group() as group:
        over = anyio.Event()

        async def later() -> None:
            await over.wait()
            await llm.text_turn("hello").collect()

        async with trace.capture() as t:
            with trace.span("old"):
                with trace.otel(seen.provider):
                    await llm.text_turn("hello").collect()
            group.start_soon(later)
        with trace.otel(seen.provider):
            over.set()
            while len([s for s in seen.spans() if s.name == "chat fake-1"]) < 2:
                await anyio.lowlevel.checkpoint()
    assert len(t.find("turn")) == 1
    assert seen.edges().count(("chat fake-1", None)) == 2


async def test_nothing_is_kept_of_what_is_over(seen: Seen) -> None:
    """A program that runs for ever holds its open spans only."""
    with trace.otel(seen.provider) as handle, trace.span("server") as server:
        assert server is not None
        for _ in range(50):
            with trace.span("request"):
                trace.event("half")
        assert isinstance(server, trace.Span)
        assert (server.children, server.notes) == ([], [])
        assert list(handle._open) == [server]
    assert handle._open == {}


def test_a_missing_package_names_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] == "opentelemetry"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(lutum.UsageError, match=r"otel: .*pip install 'lutum\[otel\]'"):
        trace.otel()


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("content", {"content": "yes"}),
        ("content_limit", {"content_limit": 10}),
        ("content_limit", {"content_limit": True}),
        ("traceparent", {"traceparent": "api.test"}),
    ],
)
def test_wrong_arguments_are_refused(seen: Seen, field: str, given: dict[str, Any]) -> None:
    with pytest.raises(lutum.BadValue) as raised:
        trace.otel(seen.provider, **given)
    assert raised.value.field == field


# The law: a live export has the tree that a capture has.

PROGRAM = st.recursive(
    st.sampled_from(["turn", "event"]),
    lambda inner: st.tuples(st.sampled_from(["span", "tasks", "tool"]), st.lists(inner, max_size=3)),
    max_leaves=8,
)


@settings(max_examples=25)
@given(st.lists(PROGRAM, max_size=3))
async def test_the_live_tree_is_the_captured_one(program: list[Any]) -> None:
    """Whatever program runs, in whatever tasks."""
    seen = Seen()
    count = 0

    async def step(part: Any) -> None:
        nonlocal count
        count += 1
        number = count
        match part:
            case "turn":
                await lutum.Lutum(FakeAdapter(WHOLE)).text_turn("hello").collect()
            case "event":
                trace.event("e")
            case "span", inner:
                with trace.span(f"span {number}"):
                    for one in inner:
                        await step(one)
            case "tool", inner:

                @lutum.tool
                async def look(q: str) -> str:
                    """Look it up."""
                    for one in inner:
                        await step(one)
                    return "x"

                session = agent(seen)
                outcome = await session.text_turn().tools(lutum.Toolset(look)).collect()
                assert isinstance(outcome, lutum.NeedsTools)
                await outcome.round.run()
            case _, inner:
                async with anyio.create_task_group() as group:
                    for one in inner:
                        group.start_soon(step, one)

    with trace.otel(seen.provider):
        async with trace.capture() as t:
            for part in program:
                await step(part)
    after = Seen()
    t.to_otel(after.provider)
    assert seen.edges() == after.edges()
