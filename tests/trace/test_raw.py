"""What is kept as it was, and that no secret is in it, nor in anything else that is told."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from fakes import STALLED, VIRTUAL, WHOLE, FakeAdapter, House

import lutum
from lutum import trace
from lutum._telemetry.redact import masked, masked_body, masked_headers, masked_url
from lutum.testing.wire import Reply, Status, WireServer
from lutum_claude import ClaudeAdapter, ClaudeOptions
from lutum_openai import OpenAIAdapter, OpenAIOptions

KEY = "sk-0123456789-of-the-header"
OTHER = "tok/en+of=the-body"
THIRD = "hunter2-of-the-url"


class Point(msgspec.Struct):
    """A value."""

    x: int


def kinds(t: trace.Trace) -> list[str]:
    return [entry.kind for entry in t.raw]


def claude(server: WireServer, **options: Any) -> lutum.Lutum:
    client = httpx.AsyncClient(transport=server.transport())
    adapter = ClaudeAdapter(
        "claude-sonnet-4-5", api_key=KEY, base_url="https://api.test", http_client=client, **options
    )
    return lutum.Lutum(adapter)


@VIRTUAL
async def test_a_request_as_it_was() -> None:
    """Kept are method, URL, headers and the very body that was sent, then each piece's events, in order."""
    server = WireServer([Reply("The Nile.")])
    async with trace.capture(raw=True) as t:
        result = await claude(server).text_turn("A river?").collect()
    assert kinds(t) == ["request", *["frame"] * (len(t.raw) - 1)]
    request = t.raw[0]
    assert request.data["method"] == "POST"
    assert request.data["url"] == "https://api.test/v1/messages"
    assert request.data["body"] == server.requests[0].body
    assert request.data["headers"]["x-api-key"] == "***"
    assert request.data["headers"]["anthropic-version"] == "2023-06-01"
    assert request.span is t.span("request")
    events = [event for entry in t.raw[1:] for event in lutum.decode_frame(entry.data["frame"])]
    assert "".join(event.text for event in events if isinstance(event, lutum.TextDelta)) == result.text
    assert [entry.data["sequence"] for entry in t.raw[1:]] == list(range(1, len(t.raw)))
    assert t.span("request").fields["received"] == t.span("turn").fields["received"] > 500


@VIRTUAL
async def test_the_normal_trace_is_the_same() -> None:
    """Raw data changes nothing of the spans, and is in no span."""
    shapes = list[Any]()
    for raw in (False, True):
        async with trace.capture(raw=raw) as t:
            await claude(WireServer([Reply("The Nile.")])).text_turn("A river?").collect()
        notes = [[note.name for note in span.notes] for span in t.walk()]
        shapes.append([(span.name, sorted(span.fields), span.status) for span in t.walk()] + notes)
    assert shapes[0] == shapes[1]


@VIRTUAL
@pytest.mark.parametrize(
    ("script", "stage", "error"),
    [
        (Status(429, error_type="rate_limit_error"), "status", "ProviderError"),
        (STALLED, "timeout", "TurnTimeout"),
        ((lutum.NetworkError("no connection"),), "transport", "NetworkError"),
        ((WHOLE[0], lutum.Interrupted("cut")), "transport", "Interrupted"),
        ((WHOLE[0], lutum.ProviderError("?", kind="malformed")), "decode", "ProviderError"),
    ],
)
async def test_trace_errors(script: Any, stage: str, error: str) -> None:
    """What ended a request is kept behind what was received, with the stage, and the body of an answer."""
    if isinstance(script, Status):
        llm = claude(WireServer([script]))
    else:
        llm = House(FakeAdapter(script), timeout=lutum.Timeouts(idle=5)).llm
    async with trace.capture(raw=True) as t:
        with pytest.raises(lutum.TurnError):
            await llm.text_turn("A river?").collect()
    assert [kinds(t)[0], kinds(t)[-1]] == ["request", "error"]
    assert (t.raw[-1].data["stage"], t.raw[-1].data["error"]) == (stage, error)
    if isinstance(script, Status):
        assert b"rate_limit_error" in t.raw[-1].data["body"]


@VIRTUAL
async def test_a_consumer_that_raises() -> None:
    """Of an exception of yours that ended a turn the class is kept, and nothing else."""
    async with trace.capture(raw=True) as t:
        with pytest.raises(KeyError):
            async with House(FakeAdapter(STALLED)).stream():
                raise KeyError("mine")
    assert t.raw[-1].data == {"stage": "consumer", "error": "KeyError"}


@VIRTUAL
async def test_a_turn_that_cannot_start() -> None:
    """A refusal before anything was sent is kept, and so is a value that does not decode."""
    async with trace.capture(raw=True) as t:
        with pytest.raises(lutum.BudgetExceeded):
            await House(FakeAdapter(WHOLE), budget=lutum.Budget(tokens=1)).llm.text_turn("hello").collect()
        with pytest.raises(lutum.OutputInvalid):
            await House(FakeAdapter(WHOLE)).llm.structured_turn(Point, "hello").collect()
    errors = [entry.data for entry in t.raw if entry.kind == "error"]
    assert [(data["stage"], data["error"]) for data in errors] == [
        ("start", "BudgetExceeded"),
        ("value", "OutputInvalid"),
    ]
    assert [span.fields["outcome"] for span in t.find("turn", kind="structured_turn")] == ["failed"]


@VIRTUAL
async def test_parts_and_switches() -> None:
    """A capture asks for parts; a turn's own option takes some away, and adds none."""
    everything = ["request", *["frame"] * 4]
    cases: list[tuple[bool | trace.RawCapture, trace.RawCapture | None, list[str]]] = [
        (True, None, everything),
        (trace.RawCapture(frames=False), None, ["request"]),
        (trace.RawCapture(request=False), trace.RawCapture(), ["frame"] * 4),
        (True, trace.RawCapture(request=False, frames=False, errors=False), []),
        (False, trace.RawCapture(), []),
    ]
    for raw, own, expected in cases:
        turn = House(FakeAdapter(WHOLE)).llm.text_turn("hello")
        async with trace.capture(raw=raw) as t:
            await (turn if own is None else turn.ext(own)).collect()
        assert kinds(t) == expected


@VIRTUAL
async def test_nested_captures_keep_what_each_asked_for() -> None:
    """An inner raw capture does not fill the outer trace, nor does an outer one the inner."""
    async with trace.capture() as outer:
        async with trace.capture(raw=True) as inner:
            async with trace.capture() as innermost:
                await House(FakeAdapter(WHOLE)).llm.text_turn("hello").collect()
    assert [len(t.raw) for t in (outer, inner, innermost)] == [0, 5, 0]


class Lenient(httpx.AsyncBaseTransport):
    """A provider that takes members it does not know."""

    def __init__(self, server: WireServer, extra: dict[str, Any]) -> None:
        self.bodies = list[bytes]()
        self._inner = server.transport()
        self._extra = extra

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        self.bodies.append(body)
        members = {name: raw for name, raw in msgspec.json.decode(body).items() if name not in self._extra}
        headers = {name: value for name, value in request.headers.items() if name != "content-length"}
        content = msgspec.json.encode(members)
        return await self._inner.handle_async_request(
            httpx.Request(request.method, request.url, headers=headers, content=content)
        )


@VIRTUAL
@pytest.mark.parametrize("dialect", ["claude", "openai"])
async def test_trace_secrets(dialect: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A key in a header, in extra headers, in an extra body or echoed by the provider is told nowhere."""
    path = tmp_path / "t.jsonl"
    server = WireServer([Reply("The Nile."), Status(401, message=f"bad key {KEY}")])
    extra: dict[str, dict[str, Any]] = {
        "extra_body": {"vendor": {"api_key": OTHER}, "user_token": OTHER, "quoted": f'say "{OTHER}"'},
        "extra_headers": {"x-tenant-token": OTHER},
    }
    transport = Lenient(server, extra["extra_body"])
    client = httpx.AsyncClient(transport=transport)
    common: dict[str, Any] = {"api_key": KEY, "base_url": "https://api.test", "http_client": client}
    if dialect == "claude":
        llm = lutum.Lutum(ClaudeAdapter("claude-sonnet-4-5", **common), ext=(ClaudeOptions(**extra),))
    else:
        common["base_url"] += "/v1"
        llm = lutum.Lutum(OpenAIAdapter("gpt-5.5", **common), ext=(OpenAIOptions(**extra),))
    with caplog.at_level(logging.DEBUG):
        async with trace.capture(raw=True, content=True, to=path) as t:
            with trace.span("mine"):
                await llm.text_turn("A river?").collect()
                with pytest.raises(lutum.TurnError), trace.span("quoted", words=f"Bearer {KEY}"):
                    await llm.text_turn("A river?").collect()
    assert OTHER.encode() in transport.bodies[0]
    t.to_html(tmp_path / "t.html")
    told = [t.dump(), path.read_bytes(), (tmp_path / "t.html").read_bytes(), t.render(200).encode()]
    told += [repr([t, list(t.walk()), t.events(), t.raw]).encode(), caplog.text.encode()]
    told.append(repr([span.fields for span in t.walk()]).encode())
    for secret in (KEY, OTHER):
        written = msgspec.json.encode(secret)[1:-1]
        assert not [where for where, text in enumerate(told) if secret.encode() in text or written in text]


@VIRTUAL
async def test_a_key_in_the_url() -> None:
    """What a URL's query calls a key is masked; so are user and password."""

    class InUrl(FakeAdapter):
        def prepare(self, request: Any) -> Any:
            url = f"https://me:{THIRD}@api.test/v1?api-version=3&key={THIRD}"
            return msgspec.structs.replace(super().prepare(request), url=url)

    async with trace.capture(raw=True) as t:
        await lutum.Lutum(InUrl(WHOLE)).text_turn("hello").collect()
    assert THIRD.encode() not in t.dump()
    assert t.raw[0].data["url"] == "https://***@api.test/v1?api-version=3&key=***"


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b'{"a":1e2,"key":"B"}', b'{"a":1e2,"key":"B"}'),
        (b'{"api_key" : "s\\"ecret","b":1}', b'{"api_key" : "***","b":1}'),
        (b'{"m":[{"authorization_token":"x"}]}', b'{"m":[{"authorization_token":"***"}]}'),
        (b'{"text":"write \\"api_key\\": \\"x\\" there"}', b'{"text":"write \\"api_key\\": \\"x\\" there"}'),
        (b'{"headers":{"Authorization":"Bearer x"}}', b'{"headers":{"Authorization":"***"}}'),
        (b'{"password":"cut', b'{"password":"***"'),
        (b"\xff no json", b"\xff no json"),
    ],
)
def test_trace_bodies(body: bytes, shown: bytes) -> None:
    """Members whose name says secret are masked; every other byte stays."""
    assert masked_body(body) == shown


def test_masks() -> None:
    """Headers by name, URLs by the query's names, texts by value in whatever spelling."""
    headers = masked_headers([("X-Api-Key", "a"), ("accept", "b"), ("cookie", "c")], ["authorization"])
    assert headers == {"X-Api-Key": "***", "accept": "b", "cookie": "***", "authorization": "***"}
    assert masked_url("https://a.b/c?sig=1&x=2#f") == "https://a.b/c?sig=***&x=2#f"
    assert masked_url("https://a.b/c") == "https://a.b/c"
    assert masked('a"b/cdef, a%22b%2Fcdef, a\\"b/cdef, a"b', ['a"b/cdef', 'a"b']) == '***, ***, ***, a"b'


async def test_short_secrets() -> None:
    """A secret that is a word of a few letters does not take that word out of everything."""
    async with trace.capture() as t:
        with trace.span("a") as span:
            assert span is not None
            span.hide("key", "Bearer 123456789")
            span.set(words="a key 123456789")
    assert t.span("a").fields == {"words": "a key ***"}
