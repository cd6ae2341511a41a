"""`WireServer` on both faces: replies, faults, chunks, the log, signatures, and the provider's rules."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import given, strategies as st

from lutum.sse import SSEDecoder
from lutum.testing import virtual_time
from lutum.testing.wire import (
    At,
    BeforeHead,
    Block,
    Call,
    Chunking,
    Cut,
    CutAt,
    Drip,
    End,
    ErrorEvent,
    Garbage,
    NeverEnding,
    Pause,
    RawEvent,
    RedactedThink,
    Refuse,
    Reply,
    Reset,
    Say,
    SlowClose,
    Stall,
    Status,
    Think,
    WireServer,
    check_claude_request,
)

Json = dict[str, Any]

HEADERS = {"anthropic-version": "2023-06-01", "x-api-key": "key"}
BINDING = "thinking-binding-controls-2026-08-01"
FACES = ("socket", "memory")


def request(*messages: Json, stream: bool = True, **members: Any) -> Json:
    """A request body; without messages, a greeting."""
    body = {"model": "claude-opus-5-5", "max_tokens": 1000, "stream": stream}
    return body | {"messages": list(messages) or [user("Hello")]} | members


def user(content: Any) -> Json:
    """A user message."""
    return {"role": "user", "content": content}


def assistant(*blocks: Json) -> Json:
    """An assistant message."""
    return {"role": "assistant", "content": list(blocks)}


def system(content: Any, **members: Any) -> Json:
    """A system message inside the conversation."""
    return {"role": "system", "content": content, **members}


def text(words: str, **members: Any) -> Json:
    """A text block."""
    return {"type": "text", "text": words, **members}


@asynccontextmanager
async def client_of(server: WireServer, face: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the server over one of its faces, with no timeouts of its own."""
    async with AsyncExitStack() as stack:
        if face == "socket":
            await stack.enter_async_context(server)
        transport = server.transport() if face == "memory" else None
        client = httpx.AsyncClient(
            transport=transport, base_url=server.url, headers=HEADERS, timeout=None, trust_env=False
        )
        yield await stack.enter_async_context(client)


async def chunks_of(client: httpx.AsyncClient, body: Json, *, into: list[bytes] | None = None) -> list[bytes]:
    """The HTTP chunks of a streamed answer."""
    chunks = [] if into is None else into
    async with client.stream("POST", "/v1/messages", json=body) as response:
        assert response.status_code == 200, await response.aread()
        async for chunk in response.aiter_raw():
            chunks.append(chunk)
    return chunks


def events_of(data: bytes) -> list[tuple[str, Json]]:
    """The events in the bytes of a stream."""
    decoder = SSEDecoder()
    pairs = decoder.feed(data) + decoder.flush()
    return [(name.decode(), json.loads(value)) for name, value in pairs]


async def stream(client: httpx.AsyncClient, body: Json | None = None) -> list[tuple[str, Json]]:
    """The events of a streamed answer."""
    return events_of(b"".join(await chunks_of(client, body or request())))


async def post(client: httpx.AsyncClient, body: Json, **headers: str) -> httpx.Response:
    """An answer that is not streamed."""
    return await client.post("/v1/messages", json=body | {"stream": False}, headers=headers)


def folded(events: list[tuple[str, Json]]) -> Json:
    """The message that the events of a stream amount to."""
    message: Json = {}
    arguments = ""
    for name, event in events:
        match name:
            case "message_start":
                message = event["message"]
            case "content_block_start":
                message["content"].append(event["content_block"])
                arguments = ""
            case "content_block_delta":
                block, delta = message["content"][event["index"]], event["delta"]
                match delta["type"]:
                    case "text_delta":
                        block["text"] += delta["text"]
                    case "thinking_delta":
                        block["thinking"] += delta["thinking"]
                    case "signature_delta":
                        block["signature"] = delta["signature"]
                    case "citations_delta":
                        block["citations"].append(delta["citation"])
                    case "input_json_delta":
                        arguments += delta["partial_json"]
            case "content_block_stop":
                if arguments:
                    message["content"][event["index"]]["input"] = json.loads(arguments)
            case "message_delta":
                message["usage"] |= event["usage"]
                message |= event["delta"]
            case _:
                pass
    return message


EVERYTHING = Reply(
    Think("First", " this,", " then that."),
    RedactedThink(),
    Say("Hello brave new world", citations=[{"type": "char_location", "cited_text": "x"}]),
    Block('{"type":"server_tool_use","id":"srvtoolu_1","name":"web_search","input":{"n":1e2}}'),
    Block({"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}),
    Think(),
    Call("get_weather", {"city": "Paris", "days": [1, 2, 3]}),
)


# What a reply becomes.


@pytest.mark.parametrize("face", FACES)
async def test_stream_and_body_agree(face: str) -> None:
    """A streamed reply amounts to the very message that is answered without streaming."""
    server = WireServer([EVERYTHING, EVERYTHING])
    async with client_of(server, face) as client:
        streamed = folded(await stream(client))
        whole = (await post(client, request())).json()
    kinds = [block["type"] for block in whole["content"]]
    assert kinds == [
        "thinking",
        "redacted_thinking",
        "text",
        "server_tool_use",
        "web_search_tool_result",
        "thinking",
        "tool_use",
    ]
    assert whole["stop_reason"] == streamed["stop_reason"] == "tool_use"
    for one, other in zip(streamed["content"], whole["content"], strict=True):
        assert {**one, "id": ""} == {**other, "id": ""}
    assert server.outcomes() == ["completed", "completed"]


@pytest.mark.parametrize("face", FACES)
async def test_pieces(face: str) -> None:
    """Given pieces are one delta each, a single one is split into words, arguments come in pieces."""
    reply = Reply(Say("Hel", "lo"), "one two  three", Call("f", ('{"a"', ": 1}")), Call("g", "{bad"))
    async with client_of(WireServer([reply]), face) as client:
        events = await stream(client)
    deltas = [event["delta"] for name, event in events if name == "content_block_delta"]
    pieces = [delta.get("text", delta.get("partial_json")) for delta in deltas]
    assert pieces == ["Hel", "lo", "one", " two", " ", " three", '{"a"', ": 1}", "", "{bad"]


async def test_ping_follows_first_start() -> None:
    """As the API does, a ping comes behind the start of the first block, and only there."""
    async with client_of(WireServer([Reply("a", "b")]), "memory") as client:
        names = [name for name, _ in await stream(client)]
    assert [at for at, name in enumerate(names) if name == "ping"] == [2]


async def test_number_lexemes() -> None:
    """Raw JSON reaches the client with its numbers as they were written, streamed or not."""
    raw = '{"type":"odd_block","n":1e2,"m":1.50}'
    server = WireServer([Reply(Block(raw), Call("f", '{"x": 1e2}'))] * 2)
    async with client_of(server, "memory") as client:
        assert raw.encode() in b"".join(await chunks_of(client, request()))
        whole = (await post(client, request())).content
    assert raw.encode() in whole
    assert b'"input":{"x": 1e2}' in whole


async def test_wire_server_usage() -> None:
    """Usage is the same on every run, counts no fewer tokens than deltas, and can be said."""
    server = WireServer([Reply("one two three")] * 2 + [Reply("a", usage={"output_tokens": 77})])
    async with client_of(server, "memory") as client:
        usages = [(await post(client, request())).json()["usage"] for _ in range(3)]
    assert usages[0] == usages[1]
    assert usages[0]["output_tokens"] >= 3
    assert usages[0]["input_tokens"] == len(server.requests[0].body) // 4
    assert usages[2]["output_tokens"] == 77


async def test_said_by_the_script() -> None:
    """Stop reason, details, model and headers are the script's where it has any."""
    reply = Reply(
        "No.",
        stop_reason="refusal",
        stop_details={"type": "refusal", "category": None},
        model="claude-other",
        headers={"anthropic-organization-id": "org"},
    )
    async with client_of(WireServer([reply]), "memory") as client:
        response = await post(client, request())
    body = response.json()
    assert (body["stop_reason"], body["stop_details"]["type"]) == ("refusal", "refusal")
    assert body["model"] == "claude-other"
    assert response.headers["anthropic-organization-id"] == "org"
    assert response.headers["request-id"] == "req_0000"


# Scripts and the log.


@pytest.mark.parametrize("face", FACES)
async def test_scripts_in_order(face: str) -> None:
    """Scripts are taken in order, functions see the request, and then the default answers."""
    server = WireServer(
        [Reply("one"), lambda given: Reply(given.json["messages"][0]["content"])], default=Reply("else")
    )
    async with client_of(server, face) as client:
        said = [(await post(client, request())).json()["content"][0]["text"] for _ in range(4)]
    assert said == ["one", "Hello", "else", "else"]


@pytest.mark.parametrize("face", FACES)
async def test_no_script_left(face: str) -> None:
    """Without scripts and default the answer is a 500 that says so."""
    async with client_of(WireServer(), face) as client:
        response = await post(client, request())
    assert response.status_code == 500
    assert "no script is left" in response.json()["error"]["message"]


async def test_script_that_fails() -> None:
    """A script that raises is a 500 that names the exception, and so is a fault without a place."""

    def broken(given: object) -> Reply:
        raise KeyError("oops")

    server = WireServer(
        [broken, Reply("a", At(Cut(), event=99)), Reply("a", CutAt(10**6)), Reply("a", chunking=(3, 0))]
    )
    async with client_of(server, "memory") as client:
        messages = [
            (await client.post("/v1/messages", json=request())).json()["error"]["message"] for _ in range(4)
        ]
    assert "KeyError: 'oops'" in messages[0]
    assert "the stream has only" in messages[1]
    assert "the body has only" in messages[2]
    assert "at least one byte" in messages[3]


@pytest.mark.parametrize("face", FACES)
async def test_log(face: str) -> None:
    """The log holds each request as it came, in order, and how its answer ended."""
    server = WireServer([Reply("a"), Status(529)])
    async with client_of(server, face) as client:
        await post(client, request(), **{"anthropic-beta": "one, two"})
        await post(client, request())
    first, second = server.requests
    assert (first.method, first.path, first.number) == ("POST", "/v1/messages", 0)
    assert first.json == request(stream=False)
    assert first.betas == {"one", "two"}
    assert first.headers["X-Api-Key"] == "key"
    assert "key" not in repr(first)
    assert first.ended_at is not None
    assert first.started_at <= first.ended_at
    assert [first.outcome, second.outcome] == server.outcomes() == ["completed", "completed"]
    with pytest.raises(RuntimeError, match="did not leave"):
        await first.wait_disconnect()


@pytest.mark.parametrize("face", FACES)
async def test_other_paths(face: str) -> None:
    """Another path is a 404, and counting tokens takes no script."""
    server = WireServer([Reply("a")])
    counted = {name: value for name, value in request().items() if name in ("model", "messages")}
    async with client_of(server, face) as client:
        missing = await client.post("/v2/other", json={})
        count = await client.post("/v1/messages/count_tokens", json=counted)
        refused = await client.post("/v1/messages/count_tokens", json=request())
        said = await post(client, request())
    assert missing.status_code == 404
    assert count.json()["input_tokens"] > 0
    assert "max_tokens: Extra inputs" in refused.json()["error"]["message"]
    assert said.status_code == 200


async def test_api_key() -> None:
    """With a key, other keys and none are refused, and a bearer token will do."""
    server = WireServer(api_key="secret", default=Reply("a"))
    async with client_of(server, "memory") as client:
        wrong = await post(client, request())
        right = await post(client, request(), **{"x-api-key": "secret"})
        bearer = await post(client, request(), **{"x-api-key": "", "authorization": "Bearer secret"})
    assert wrong.json()["error"]["type"] == "authentication_error"
    assert [wrong.status_code, right.status_code, bearer.status_code] == [401, 200, 200]


# Chunks.


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("chunking", ["event", "burst", 1, 3, (1, 2, 700), (5,), Drip(40)])
async def test_chunks_are_exact(face: str, chunking: Chunking) -> None:
    """HTTP chunks are cut just as told, by the reply or else by the server."""
    server = WireServer([Reply("one two three"), Reply("one two three", chunking=chunking)], chunking="burst")
    async with client_of(server, face) as client:
        (whole,) = await chunks_of(client, request())
        chunks = await chunks_of(client, request())
    whole = whole.replace(*(one.id.encode() for one in server.requests))
    assert b"".join(chunks) == whole
    events = [event + b"\n\n" for event in whole.split(b"\n\n")[:-1]]
    match chunking:
        case "event" | 1:
            assert chunks == events
        case "burst":
            assert chunks == [whole]
        case 3:
            assert chunks == [b"".join(events[at : at + 3]) for at in range(0, len(events), 3)]
        case Drip(size):
            assert {len(chunk) for chunk in chunks[:-1]} == {size}
        case (1, 2, 700):
            assert [len(chunk) for chunk in chunks[:5]] == [1, 2, 700, 1, 2]
        case _:
            assert {len(chunk) for chunk in chunks[:-1]} == {5}


@given(
    words=st.lists(st.text(max_size=5), min_size=2, max_size=6),
    sizes=st.lists(st.integers(1, 300), min_size=1),
)
async def test_chunking_changes_no_byte(words: list[str], sizes: list[int]) -> None:
    """However it is cut, the bytes of a reply are the same."""
    server = WireServer([Reply(Say(*words)), Reply(Say(*words), chunking=tuple(sizes))])
    async with client_of(server, "memory") as client:
        one = b"".join(await chunks_of(client, request()))
        other = b"".join(await chunks_of(client, request()))
    assert one.replace(*(asked.id.encode() for asked in server.requests)) == other


# Faults.


@pytest.mark.parametrize("face", FACES)
async def test_status(face: str) -> None:
    """A status has the provider's error body, its headers, or the script's own body."""
    server = WireServer(
        [
            Status(529, "overloaded_error", "Overloaded", headers={"retry-after": "1"}),
            Status(429),
            Status(502, body=b"<html>", headers={"content-type": "text/html"}),
        ]
    )
    async with client_of(server, face) as client:
        overloaded, limited, proxy = [await post(client, request()) for _ in range(3)]
    assert overloaded.status_code == 529
    assert overloaded.headers["retry-after"] == "1"
    assert overloaded.json() == {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "Overloaded"},
        "request_id": "req_0000",
    }
    assert limited.json()["error"]["type"] == "rate_limit_error"
    assert (proxy.status_code, proxy.content, proxy.headers["content-type"]) == (502, b"<html>", "text/html")


@pytest.mark.parametrize("face", FACES)
async def test_wire_server_error_event(face: str) -> None:
    """An error event ends the stream where it stands; not streamed, it is the status of its type."""
    reply = Reply(Say("a", ErrorEvent("overloaded_error"), "b"))
    server = WireServer([reply, reply])
    async with client_of(server, face) as client:
        events = await stream(client)
        whole = await post(client, request())
    assert [name for name, _ in events][-2:] == ["content_block_delta", "error"]
    assert events[-1][1]["error"]["type"] == "overloaded_error"
    assert whole.status_code == 529


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize(
    ("step", "error"),
    [(Cut(), httpx.RemoteProtocolError), (Reset(), httpx.ReadError), (End(), None)],
)
async def test_ended_early(face: str, step: Cut | Reset | End, error: type[Exception] | None) -> None:
    """Everything before a cut arrives, and then what httpx raises for it, or a clean end."""
    server = WireServer([Reply("one two", At(step, event=3))])
    chunks: list[bytes] = []
    async with client_of(server, face) as client:
        if error is None:
            await chunks_of(client, request(), into=chunks)
        else:
            with pytest.raises(error):
                await chunks_of(client, request(), into=chunks)
    assert [name for name, _ in events_of(b"".join(chunks))] == [
        "message_start",
        "content_block_start",
        "ping",
    ]
    assert server.outcomes() == ["completed" if error is None else "cut"]


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("end", ["cut", "reset", "end"])
async def test_cut_at_byte(face: str, end: Any) -> None:
    """The body stops after exactly that many bytes."""
    chunks: list[bytes] = []
    async with client_of(WireServer([Reply("one two", CutAt(321, end))]), face) as client:
        if end == "end":
            await chunks_of(client, request(), into=chunks)
        else:
            with pytest.raises(httpx.TransportError):
                await chunks_of(client, request(), into=chunks)
    assert len(b"".join(chunks)) == 321


@pytest.mark.parametrize("face", FACES)
async def test_cut_body_that_is_not_streamed(face: str) -> None:
    """A body with a length can be cut short of it."""
    async with client_of(WireServer([Reply("one", CutAt(20))]), face) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await post(client, request())


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize(
    ("step", "error"),
    [
        (Cut(), httpx.RemoteProtocolError),
        (Reset(), httpx.ReadError),
        (Garbage(b"\x00\xff nothing\r\n\r\n"), httpx.RemoteProtocolError),
    ],
)
async def test_no_head_in_wire_server(face: str, step: Any, error: type[Exception]) -> None:
    """The connection can end, or be garbage, before there is a response."""
    server = WireServer([Reply("a", BeforeHead(step))])
    async with client_of(server, face) as client:
        with pytest.raises(error):
            await post(client, request())
    assert server.outcomes() == ["cut"]


async def test_refused_connection() -> None:
    """In memory a connection can be refused; on a socket it is reset."""
    for face, error in (("memory", httpx.ConnectError), ("socket", httpx.ReadError)):
        server = WireServer([Refuse(), Reply("a")])
        async with client_of(server, face) as client:
            with pytest.raises(error):
                await post(client, request())
            assert (await post(client, request())).status_code == 200
        assert server.outcomes() == ["cut", "completed"]


@pytest.mark.parametrize("face", FACES)
async def test_garbage_and_unknown_events(face: str) -> None:
    """Bytes that are no event, and events that nobody knows, stand where they were put."""
    reply = Reply(RawEvent("novelty", '{"type":"novelty"}'), "a", Garbage(b"\xff\xfe"))
    async with client_of(WireServer([reply]), face) as client:
        chunks = await chunks_of(client, request())
    assert chunks[1] == b'event: novelty\ndata: {"type":"novelty"}\n\n'
    assert chunks[-3] == b"\xff\xfe"


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize(
    "part", [Stall(), NeverEnding("on and "), SlowClose(), At(Stall(), event=2), Say("a", Stall(), "b")]
)
async def test_disconnect_is_seen(face: str, part: Any) -> None:
    """A client that leaves, whatever the server is doing, is seen to have left."""
    server = WireServer([Reply("a", part)])
    async with client_of(server, face) as client:
        async with anyio.create_task_group() as group:
            async with client.stream("POST", "/v1/messages", json=request()) as response:
                async for _ in response.aiter_raw():
                    group.cancel_scope.cancel()
        with anyio.fail_after(1):
            await server.requests[0].wait_disconnect()
    assert server.outcomes() == ["disconnected"]
    assert server.requests[0].ended_at is not None


@pytest.mark.parametrize("face", FACES)
async def test_disconnect_before_the_head(face: str) -> None:
    """A client that gives up before the response is seen to have left."""
    server = WireServer([Reply("a", BeforeHead(Stall()))])
    async with client_of(server, face) as client:
        async with anyio.create_task_group() as group:
            group.start_soon(post, client, request())
            with anyio.fail_after(1):
                while not server.requests:
                    await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        with anyio.fail_after(1):
            await server.requests[0].wait_disconnect()


async def test_disconnect_from_a_full_pipe() -> None:
    """A client that never reads is seen to leave though the server is stuck in a write."""
    server = WireServer([Reply(NeverEnding("x" * 100_000))])
    async with client_of(server, "socket") as client:
        async with client.stream("POST", "/v1/messages", json=request()):
            pass
        with anyio.fail_after(1):
            await server.requests[0].wait_disconnect()


async def test_close_while_answering() -> None:
    """Leaving the server's block ends its answers as stopped, and the client sees a cut stream."""
    server = WireServer([Reply("a", Stall())])
    async with httpx.AsyncClient(headers=HEADERS, trust_env=False) as client:
        async with server:
            response = await client.send(
                client.build_request("POST", server.url + "/v1/messages", json=request()), stream=True
            )
        with pytest.raises(httpx.TransportError):
            await response.aread()
    assert server.outcomes() == ["stopped"]


async def test_body_exception_is_not_wrapped() -> None:
    """An exception in the block leaves it as it is."""
    with pytest.raises(KeyError):
        async with WireServer():
            raise KeyError
    server = WireServer()
    async with server:
        with pytest.raises(RuntimeError, match="already"):
            await server.__aenter__()


# The socket.


async def test_keep_alive() -> None:
    """One connection serves many requests, and a request sent too early waits its turn."""
    server = WireServer([Reply("a"), Reply("b")])
    body = json.dumps(request(stream=False)).encode()
    head = b"POST /v1/messages HTTP/1.1\r\nhost: x\r\nanthropic-version: 1\r\ncontent-length: %d\r\n"
    once = head % len(body)
    async with server:
        host, port = server.url.removeprefix("http://").split(":")
        async with await anyio.connect_tcp(host, int(port)) as connection:
            await connection.send(once + b"\r\n" + body + once + b"connection: close\r\n\r\n" + body)
            answer = b""
            async for data in connection:
                answer += data
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert answer.index(b'"text":"a"') < answer.index(b'"text":"b"')


async def test_not_http() -> None:
    """A client that does not speak HTTP is let go, and nothing is logged."""
    async with WireServer() as server:
        host, port = server.url.removeprefix("http://").split(":")
        async with await anyio.connect_tcp(host, int(port)) as connection:
            await connection.send(b"\x16\x03\x01 hello\r\n\r\n")
            with pytest.raises(anyio.EndOfStream):
                await connection.receive()
    assert server.requests == []


@pytest.mark.slow
async def test_many_streams() -> None:
    """Two hundred streams at once are all answered whole."""
    server = WireServer(default=Reply("one two three four", chunking=2))
    limits = httpx.Limits(max_connections=None)
    async with (
        server,
        httpx.AsyncClient(
            base_url=server.url, headers=HEADERS, timeout=None, limits=limits, trust_env=False
        ) as client,
    ):
        async with anyio.create_task_group() as group:
            for _ in range(200):
                group.start_soon(chunks_of, client, request())
    assert server.outcomes() == ["completed"] * 200


# In memory.


@pytest.mark.parametrize(
    "anyio_backend", [pytest.param((name, virtual_time(name)), id=name) for name in ("asyncio", "trio")]
)
async def test_virtual_time() -> None:
    """All waiting is virtual: pauses, drips and stalls pass at once, and the log shows their length."""
    server = WireServer(
        [
            Reply(BeforeHead(Pause(5)), "a", Pause(3600), "b", SlowClose(100)),
            Reply("a", chunking=Drip(1, 1.0)),
            Reply("a", Stall(50), "b"),
        ]
    )
    async with client_of(server, "memory") as client:
        await stream(client)
        size = len(b"".join(await chunks_of(client, request())))
        await stream(client)
    lengths = [(one.ended_at or 0) - one.started_at for one in server.requests]
    assert lengths == pytest.approx([3705, size, 50])


@pytest.mark.parametrize(
    "anyio_backend", [pytest.param((name, virtual_time(name)), id=name) for name in ("asyncio", "trio")]
)
async def test_client_timeouts_in_memory() -> None:
    """The client's connect and read timeouts end a wait as they would on a socket."""
    server = WireServer([Refuse(None), Reply(BeforeHead(Stall())), Reply("a", Stall())])
    errors: list[type[Exception]] = []
    async with httpx.AsyncClient(
        transport=server.transport(), base_url=server.url, headers=HEADERS, timeout=httpx.Timeout(3)
    ) as client:
        for _ in range(3):
            try:
                await stream(client)
            except httpx.TimeoutException as error:
                errors.append(type(error))
    assert errors == [httpx.ConnectTimeout, httpx.ReadTimeout, httpx.ReadTimeout]


async def test_wire_server_trace() -> None:
    """The phases of a request are told as httpcore tells them."""
    names: list[str] = []

    async def trace(name: str, info: Json) -> None:
        names.append(name)

    server = WireServer([Reply("a"), Refuse()])
    async with client_of(server, "memory") as client:
        await client.post("/v1/messages", json=request(), extensions={"trace": trace})
        whole, names = names, []
        with pytest.raises(httpx.ConnectError):
            await client.post("/v1/messages", json=request(), extensions={"trace": trace})
    assert whole == [
        "connection.connect_tcp.started",
        "connection.connect_tcp.complete",
        "http11.send_request_headers.started",
        "http11.send_request_headers.complete",
        "http11.send_request_body.started",
        "http11.send_request_body.complete",
        "http11.receive_response_headers.started",
        "http11.receive_response_headers.complete",
    ]
    assert names == ["connection.connect_tcp.started", "connection.connect_tcp.failed"]


# Signatures.

TOOLS = [{"name": "f", "description": "d", "input_schema": {"type": "object"}}]


async def conversation(client: httpx.AsyncClient) -> Json:
    """A request that brings two signed turns back, exactly as they were answered."""
    body = request(system="Be brief.", tools=TOOLS)
    for question in ("What?", "Why?"):
        answer = (await post(client, body)).json()
        # The API returns text without a non-space character, and refuses it: clients must leave it out.
        blocks = [block for block in answer["content"] if block.get("text") != " "]
        body["messages"] += [assistant(*blocks), user(question)]
    return body


SIGNED = Reply(Say(" "), Think("deep"), "answer", RedactedThink(), Think(), "more")


def nothing(body: Json) -> None:
    """Change nothing."""


def add_cache_control(body: Json) -> None:
    """Mark blocks for caching."""
    mark = {"type": "ephemeral"}
    body["tools"][0]["cache_control"] = mark
    body["messages"][1]["content"][1]["cache_control"] = mark
    body["cache_control"] = mark


def drop_empty_citations(body: Json) -> None:
    """Say null where there are no citations, as some clients do."""
    body["messages"][1]["content"][1]["citations"] = None


def set_options(body: Json) -> None:
    """Change what is no part of the prefix."""
    body |= {"max_tokens": 5, "output_config": {"effort": "low"}, "tool_choice": {"type": "none"}}


def drop_leading_thinking(body: Json) -> None:
    """Remove the oldest thinking blocks."""
    content = body["messages"][1]["content"]
    body["messages"][1]["content"] = [content[1], *content[3:]]


def drop_all_thinking(body: Json) -> None:
    """Remove every thinking block."""
    for message in body["messages"][1::2]:
        message["content"] = [block for block in message["content"] if block["type"] == "text"]


def split_turn(body: Json) -> None:
    """Bring one turn back as two consecutive messages."""
    content = body["messages"][1]["content"]
    body["messages"][1:2] = [assistant(*content[:2]), assistant(*content[2:])]


def edit_system(body: Json) -> None:
    """Change the system prompt."""
    body["system"] = "Be very brief."


def edit_tools(body: Json) -> None:
    """Change a tool's description."""
    body["tools"][0]["description"] = "other"


def add_tool(body: Json) -> None:
    """Add a tool."""
    body["tools"].append({"name": "g", "input_schema": {"type": "object"}})


def edit_user_text(body: Json) -> None:
    """Change the first question."""
    body["messages"][0]["content"] = "Hello?"


def edit_answer(body: Json) -> None:
    """Change the text of the first answer."""
    body["messages"][1]["content"][1]["text"] = "other"


def move_thinking(body: Json) -> None:
    """Move a thinking block behind the text that followed it."""
    content = body["messages"][1]["content"]
    content[0], content[1] = content[1], content[0]


def swap_thinking(body: Json) -> None:
    """Exchange two thinking blocks that stand side by side."""
    content = body["messages"][1]["content"]
    content[2], content[3] = content[3], content[2]


def drop_middle_thinking(body: Json) -> None:
    """Remove a thinking block between others."""
    del body["messages"][1]["content"][2]


@pytest.fixture
def replay() -> Callable[..., Any]:
    """Replay a conversation with a change, and give the response and the logged request."""

    async def run(change: Callable[[Json], None], server: WireServer | None = None, **headers: str) -> Any:
        server = server or WireServer(default=SIGNED)
        async with client_of(server, "memory") as client:
            body = await conversation(client)
            body["tools"] = [dict(tool) for tool in body["tools"]]
            change(body)
            return await post(client, body, **headers), server.requests[-1]

    return run


@pytest.mark.parametrize(
    "change",
    [
        nothing,
        add_cache_control,
        drop_empty_citations,
        set_options,
        drop_leading_thinking,
        drop_all_thinking,
        split_turn,
    ],
)
async def test_signature_stands(replay: Any, change: Callable[[Json], None]) -> None:
    """What is no change of the prefix is accepted."""
    response, logged = await replay(change)
    assert response.status_code == 200, response.text
    assert logged.transformations == []


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (edit_system, "messages.1.content.0"),
        (edit_tools, "messages.1.content.0"),
        (add_tool, "messages.1.content.0"),
        (edit_user_text, "messages.1.content.0"),
        (edit_answer, "messages.1.content.2"),
        (move_thinking, "messages.1.content.1"),
        (swap_thinking, "messages.1.content.2"),
        (drop_middle_thinking, "messages.1.content.2"),
    ],
)
async def test_signature_is_bound_to_its_prefix(
    replay: Any, change: Callable[[Json], None], path: str
) -> None:
    """A thinking block behind anything else than what it was made behind is refused."""
    response, logged = await replay(change)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"].startswith(f"{path}: Invalid `signature` in `")
    assert "bound to a different conversation" in error["message"]
    assert BINDING in error["message"]
    assert logged.error.message == error["message"]


async def test_edited_thinking(replay: Any) -> None:
    """Thinking whose own text changed is refused, whatever the setting, also without the prefix check."""

    def edit(body: Json) -> None:
        body["messages"][1]["content"][0]["thinking"] = "shallow"

    def drop(body: Json) -> None:
        edit(body)
        body["thinking"] = {"type": "adaptive", "block_binding": {"prefix_mismatch_behavior": "drop_block"}}

    for change, bound in ((edit, True), (edit, False), (drop, True)):
        server = WireServer(default=SIGNED, bind_prefix=bound)
        response, _ = await replay(change, server, **{"anthropic-beta": BINDING})
        assert response.status_code == 400
        assert response.json()["error"]["message"] == (
            "messages.1.content.0: Invalid `signature` in `thinking` block"
        )


async def test_foreign_signature() -> None:
    """A signature that the server never made is refused, unless it does not sign."""
    foreign = {"type": "thinking", "thinking": "x", "signature": "bm90IG91cnM="}
    body = request(user("a"), assistant(foreign, text("b")), user("c"))
    for signing, status in ((True, 400), (False, 200)):
        async with client_of(WireServer(default=Reply("d"), signing=signing), "memory") as client:
            assert (await post(client, body)).status_code == status


async def test_without_prefix_binding(replay: Any) -> None:
    """Older models check nothing but the block itself."""
    response, _ = await replay(edit_system, WireServer(default=SIGNED, bind_prefix=False))
    assert response.status_code == 200


async def test_drop_block(replay: Any) -> None:
    """With "drop_block" the failing block and all thinking behind it are left out and reported."""

    def change(body: Json) -> None:
        edit_answer(body)
        body["thinking"] = {"type": "adaptive", "block_binding": {"prefix_mismatch_behavior": "drop_block"}}

    response, logged = await replay(change, **{"anthropic-beta": BINDING})
    assert response.status_code == 200
    reported = response.json()["input_transformations"]
    assert reported == logged.transformations
    assert [(one["type"], one["path"], one["reason"]) for one in reported] == [
        ("thinking_dropped", path, "prefix_binding_mismatch")
        for path in (
            "messages.1.content.2",
            "messages.1.content.3",
            "messages.3.content.0",
            "messages.3.content.2",
            "messages.3.content.3",
        )
    ]


async def test_drop_block_is_reported_in_the_stream() -> None:
    """The report is part of the first event, empty if nothing was dropped, absent without the beta."""
    async with client_of(WireServer(default=Reply("a")), "memory") as client:
        _, without = (await stream(client))[0]
        client.headers["anthropic-beta"] = BINDING
        _, start = (await stream(client))[0]
    assert start["message"]["input_transformations"] == []
    assert "input_transformations" not in without["message"]


async def test_other_model(replay: Any) -> None:
    """A model that cannot read a block never sees it; that is logged, and no error."""

    def change(body: Json) -> None:
        body["model"] = "claude-opus-5"

    response, logged = await replay(change)
    assert response.status_code == 200
    assert {one["reason"] for one in logged.transformations} == {"model_binding_mismatch"}
    assert len(logged.transformations) == 6


async def test_citations_come_back_as_requests_have_them() -> None:
    """Members of a citation that only answers have, and those that are null, may be left out."""
    citation = {"type": "char_location", "cited_text": "x", "document_title": None, "file_id": "f1"}
    server = WireServer(default=Reply(Say("cited", citations=[citation]), Think("t")))
    statuses: list[int] = []
    async with client_of(server, "memory") as client:
        content = (await post(client, request())).json()["content"]
        for cited in ({"type": "char_location", "cited_text": "x"}, {"type": "char_location"}):
            content[0]["citations"] = [cited]
            body = request(user("Hello"), assistant(*content), user("b"))
            statuses.append((await post(client, body)).status_code)
    assert statuses == [200, 400]


async def test_number_lexemes_are_bound() -> None:
    """A number of another lexeme in what came before is a change."""
    server = WireServer([Reply(Call("f", '{"x":1e2}', id="call_1"), Think("t"))], default=Reply("b"))
    async with client_of(server, "memory") as client:
        answer = (await post(client, request(tools=TOOLS))).content.decode()
        content = answer[answer.index('"content":[') + 10 : answer.index(',"stop_reason"')]
        results = [{"type": "tool_result", "tool_use_id": "call_1"}]
        body = json.dumps(request(user("Hello"), assistant(), user(results), tools=TOOLS, stream=False))
        bodies = [body.replace("[]", content.replace("1e2", lexeme)) for lexeme in ("1e2", "100.0")]
        statuses = [(await client.post("/v1/messages", content=body)).status_code for body in bodies]
    assert statuses == [200, 400]


# The provider's rules.

CALLED = assistant({"type": "tool_use", "id": "c1", "name": "f", "input": {}})
RESULT = {"type": "tool_result", "tool_use_id": "c1"}
REFERENCE = {"type": "tool_reference", "name": "f"}
DEFINITION = {"type": "tool_definition", "definition": {"name": "g", "input_schema": {"type": "object"}}}
MARK = {"cache_control": {"type": "ephemeral"}}


def addition(tool: Json) -> Json:
    """A tool that is added later."""
    return {"type": "tool_addition", "tool": tool}


def older(**members: Any) -> Json:
    """A request to a model with manual thinking budgets."""
    return request(model="claude-sonnet-4-5") | members


@pytest.mark.parametrize(
    "body",
    [
        request(),
        request(user([text("a")]), assistant(text("b")), user("c"), system="s", tools=TOOLS),
        request(user("a"), CALLED, user([RESULT, text("then")]), tools=TOOLS),
        request(user("a"), CALLED, user([RESULT]), user("more"), tools=TOOLS),
        request(user("a"), CALLED, user([RESULT]), system("s"), tools=TOOLS),
        request(user("a"), system("s"), assistant(text("b")), user("c")),
        request(system([], output_config={"effort": "low"}), user("a")),
        request(user("a"), system("s", clear_at="next_user_message"), assistant(text("b")), user("c")),
        request(user("a"), system([addition(REFERENCE), text("now")]), tools=TOOLS),
        request(user("a"), system([addition(DEFINITION)]), tools=TOOLS, tool_choice={"type": "auto"}),
        request(user("a"), assistant({"type": "brand_new", "x": 1}), user("b")),
        request(user([text(str(n), **MARK) for n in range(4)])),
        older(thinking={"type": "enabled", "budget_tokens": 1024}, max_tokens=2048),
        older(messages=[user("a"), assistant(text("b"))], temperature=0.5),
        request(model="someone-elses", temperature=0.5, thinking={"type": "disabled"}),
    ],
)
def test_valid_requests(body: Json) -> None:
    """What the API takes is not refused, parsed or as bytes."""
    assert check_claude_request(body) is None
    assert check_claude_request(json.dumps(body).encode()) is None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"messages": [], "max_tokens": 1}, "model: Field required"),
        ({"model": "m", "messages": [user("a")]}, "max_tokens: Field required"),
        (request() | {"mesages": 1}, "mesages: Extra inputs are not permitted"),
        (request(user(1)), "messages.0.content: Input does not match"),
        (request() | {"messages": []}, "messages: at least one message"),
        (request(assistant(text("a"))), 'first message must use the "user" role'),
        (request(user("")), "messages.0: all messages must have non-empty content"),
        (request(user([text("")])), "messages.0.content.0.text: text content blocks must be non-empty"),
        (request(user([text(" \n")])), "must contain non-whitespace text"),
        (request(system=[text("")]), "system.0.text: text content blocks must be non-empty"),
        (request(user([{"type": "odd"}])), "Input tag 'odd'"),
        (request(user(CALLED["content"])), "`tool_use` blocks can only be in `assistant` messages"),
        (request(user("a"), assistant(RESULT)), "`tool_result` blocks cannot be in `assistant`"),
        (request(user("a"), assistant({"type": "thinking", "thinking": "x"}), user("b")), "signature: Field"),
        (request(user("a"), CALLED, tools=TOOLS), "`tool_use` ids were found without `tool_result`"),
        (request(user("a"), CALLED, user("b")), "messages.1: `tool_use` ids were found without"),
        (request(user("a"), CALLED, system("s"), user([RESULT])), "`tool_use` ids were found without"),
        (request(user([RESULT])), "messages.0.content.0: unexpected `tool_use_id`"),
        (request(user("a"), CALLED, user([RESULT, RESULT])), "each tool_use must have a single result"),
        (request(user("a"), CALLED, user([text("b"), RESULT])), "must come before any other content"),
        (request(user("a"), CALLED, user([RESULT]), CALLED, user([RESULT])), "ids must be unique"),
        (
            request(user("a"), assistant({"type": "tool_use", "id": "c", "name": "f", "input": "x"})),
            "input: Input should be an object",
        ),
        (request(system("s"), user("a")), "messages.0: a system message must immediately follow a user"),
        (request(user("a"), system("s"), user("b")), "must be the last message or be followed by"),
        (request(user("a"), assistant(text("b")), system("s")), "must immediately follow a user message"),
        (request(user("a") | {"clear_at": "never"}), "clear_at is only permitted on role 'system'"),
        (
            request(user("a"), system([addition(REFERENCE)], clear_at="next_user_message"), tools=TOOLS),
            "a turn-scoped system message supports text blocks only",
        ),
        (
            request(user("a"), system([text("b", **MARK)], clear_at="next_user_message")),
            "cache_control is not permitted on a turn-scoped",
        ),
        (
            request(user("a"), system("b", clear_at="next_user_message", output_config={"effort": "low"})),
            "output_config is not permitted on a turn-scoped",
        ),
        (request(user("a"), system([addition(REFERENCE)])), "no tool `f` is known"),
        (
            request(
                user("a"),
                system([{"type": "tool_removal", "tool": DEFINITION}]),
                tools=TOOLS,
            ),
            "tool_removal.tool: Input does not match",
        ),
        (
            request(
                user("a"),
                system(
                    [addition({"type": "tool_definition", "definition": {"type": "bash_1", "name": "f"}})]
                ),
                tools=TOOLS,
            ),
            "tool `f` is of another kind",
        ),
        (request(tool_choice={"type": "auto"}), "tool_choice may only be specified while providing tools"),
        (
            older(tools=TOOLS, tool_choice={"type": "tool", "name": "nope"}),
            "Tool 'nope' not found in provided tools",
        ),
        (request(tools=TOOLS, tool_choice={"type": "any"}), '"tool" and "any" are not supported'),
        (request(tools=TOOLS * 2), "Tool names must be unique"),
        (request(tools=[{"name": "a b", "input_schema": {"type": "object"}}]), "should match pattern"),
        (request(tools=[{"name": "f"}]), "input_schema: Field required"),
        (request(tools=[TOOLS[0] | {"defer_loading": True}]), "At least one tool must not have"),
        (request(user([text(str(n), **MARK) for n in range(5)])), "A maximum of 4 blocks with cache_control"),
        (
            request(user("a"), assistant({"type": "thinking", "thinking": "", "signature": "s", **MARK})),
            "cache_control: Extra inputs",
        ),
        (request(thinking={"type": "enabled"}), "budget_tokens: Field required"),
        (older(thinking={"type": "enabled", "budget_tokens": 1023}), "greater than or equal to 1024"),
        (older(thinking={"type": "enabled", "budget_tokens": 1024}), "`max_tokens` must be greater than"),
        (older(thinking={"type": "adaptive"}), '"thinking.type.adaptive" is not supported'),
        (request(thinking={"type": "disabled"}), '"thinking.type.disabled" is not supported'),
        (request(thinking={"type": "adaptive", "budget_tokens": 1024}), "budget_tokens: Extra inputs"),
        (
            older(thinking={"type": "enabled", "budget_tokens": 1024}, max_tokens=2000, temperature=0.5),
            "`temperature` may only be set to 1",
        ),
        (older(temperature=1.5), "temperature: range: 0..1"),
        (request(temperature=0.5), "temperature: only the default"),
        (request(user("a"), assistant(text("b"))), "does not support assistant message prefill"),
        (older(messages=[user("a"), assistant(text("b "))]), "cannot end with trailing whitespace"),
        (older(messages=[user("a"), system("b")]), "`system` messages are not supported for this model"),
        (b"{", "not valid JSON"),
    ],
)
def test_refused_requests(body: Any, message: str) -> None:
    """What the API refuses is refused, with a message that says where and why."""
    error = check_claude_request(body)
    assert error is not None
    assert message in error.message
    assert (error.status, error.type) == (400, "invalid_request_error")


WORDS = st.sampled_from(
    [
        "type",
        "text",
        "tool_use",
        "tool_result",
        "tool_addition",
        "thinking",
        "id",
        "name",
        "f",
        "user",
        "c1",
        "tool_use_id",
        "input",
        "content",
        "citations",
        "cache_control",
        "tool",
        "definition",
        "mcp_toolset",
        "ephemeral",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2000) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=12,
)
BLOCKS = st.lists(st.dictionaries(WORDS, VALUES, max_size=5), max_size=3)


@pytest.mark.slow
@given(
    blocks=st.lists(st.tuples(st.sampled_from(["user", "assistant", "system"]), BLOCKS), max_size=4),
    members=st.dictionaries(
        st.sampled_from(["system", "tools", "tool_choice", "thinking", "cache_control", "mcp_servers"]),
        VALUES | BLOCKS,
    ),
)
async def test_any_request_is_answered(blocks: Any, members: Json) -> None:
    """Whatever a client sends is answered or refused as the provider would, and breaks nothing."""
    messages = [{"role": role, "content": content} for role, content in blocks]
    server = WireServer(default=Reply(Think("a"), "b"))
    async with client_of(server, "memory") as client:
        response = await client.post(
            "/v1/messages", json=request(stream=False) | members | {"messages": messages}
        )
    assert response.status_code in (200, 400), response.text


@pytest.mark.parametrize(
    ("body", "beta", "message"),
    [
        (
            request(user("a"), system("s", clear_at="never")),
            "mid-conversation-system-clear-at-2026-08-21",
            "messages.1.clear_at: Extra inputs are not permitted",
        ),
        (
            request(user("a"), system([addition(REFERENCE)]), tools=TOOLS),
            "mid-conversation-tool-changes-2026-07-01",
            "requires the `inline-tools-2026-09-15`",
        ),
        (
            request(user("a"), system([addition(DEFINITION)]), tools=TOOLS),
            "inline-tools-2026-09-15",
            "requires the `inline-tools-2026-09-15`",
        ),
        (
            request(system([], output_config={"effort": "low"}), user("a")),
            "mid-conversation-output-config-2026-07-01",
            "output_config: Extra inputs",
        ),
        (request(thinking={"type": "adaptive", "block_binding": {}}), BINDING, "block_binding: Extra inputs"),
    ],
)
def test_beta_headers(body: Json, beta: str, message: str) -> None:
    """What is a beta needs its header value."""
    error = check_claude_request(body, betas=())
    assert error is not None
    assert message in error.message
    assert check_claude_request(body, betas={beta}) is None


def test_tool_change_errors_have_codes() -> None:
    """The errors of tool changes carry the code that the provider documents."""
    error = check_claude_request(request(user("a"), system([addition(REFERENCE)])))
    assert error is not None
    assert error.code == "tool_reference_unresolved"


@pytest.mark.parametrize("face", FACES)
async def test_refusals_take_no_script(face: str) -> None:
    """What the provider would refuse is answered as an error and leaves the scripts alone."""
    server = WireServer([Reply("a")])
    async with client_of(server, face) as client:
        refused = await post(client, request(user("")))
        malformed = await client.post("/v1/messages", content=b"{")
        accepted = await post(client, request())
    assert [refused.status_code, malformed.status_code, accepted.status_code] == [400, 400, 200]
    assert [one.error is None for one in server.requests] == [False, False, True]


async def test_newer_api_version() -> None:
    """From API version 2026-10-21 on there are no sampling parameters, and a version must be sent."""
    async with client_of(WireServer(default=Reply("a")), "memory") as client:
        old = await post(client, older(temperature=0.5))
        new = await post(client, older(temperature=0.5), **{"anthropic-version": "2026-10-21"})
        del client.headers["anthropic-version"]
        none = await post(client, request())
    assert [old.status_code, new.status_code, none.status_code] == [200, 400, 400]
    assert "temperature: Extra inputs" in new.json()["error"]["message"]
