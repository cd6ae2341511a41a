"""`WireServer.connect`: the server below lutum's HTTP engine, as a byte stream in memory."""

from __future__ import annotations

import anyio
import httpx
import pytest
from anyio.abc import ByteStream
from fakes import VIRTUAL

import lutum
from lutum.testing import cancel_at
from lutum.testing.wire import (
    BeforeHead,
    Cut,
    CutAt,
    Garbage,
    Pause,
    Refuse,
    Reply,
    Reset,
    Say,
    Stall,
    Status,
    WireServer,
)
from lutum_claude import ClaudeAdapter


def claude(server: WireServer, **options: object) -> ClaudeAdapter:
    return ClaudeAdapter(
        "claude-sonnet-4-5", api_key="k", base_url=server.url, http_client=server.connect, **options
    )


@VIRTUAL
async def test_turns_over_one_connection() -> None:
    """The engine runs over it as over a socket, with pauses in virtual time, and keeps the connection."""
    server = WireServer(default=Reply(Say("one", Pause(100.0), " two")))
    opened = 0

    async def connect(host: str, port: int) -> ByteStream:
        nonlocal opened
        opened += 1
        assert (host, port) == ("wire.test", 80)
        return await server.connect(host, port)

    adapter = ClaudeAdapter("claude-sonnet-4-5", api_key="k", base_url=server.url, http_client=connect)
    llm = lutum.Lutum(adapter)
    begun = anyio.current_time()
    for _ in range(2):
        assert (await llm.text_turn("hi").collect()).text == "one two"
    assert anyio.current_time() - begun == pytest.approx(200)
    assert opened == 1
    assert [request.outcome for request in server.requests] == ["completed"] * 2
    await adapter.aclose()


@VIRTUAL
@pytest.mark.parametrize(
    ("script", "error", "words"),
    [
        (Reply(Say("one", Cut())), lutum.Interrupted, "closed the connection"),
        (Reply(Say("one", Reset())), lutum.Interrupted, "reset"),
        (Reply("one", CutAt(5)), lutum.Interrupted, "closed the connection"),
        (Reply(BeforeHead(Cut()), "x"), lutum.NetworkError, "before it answered"),
        (Reply(BeforeHead(Reset()), "x"), lutum.NetworkError, "before it answered"),
        (Reply(BeforeHead(Garbage()), "x"), lutum.NetworkError, "before it answered"),
        (Refuse(), lutum.NetworkError, "no connection .*Connection refused"),
        (Refuse(None), lutum.TurnTimeout, "connect"),
        (Reply(BeforeHead(Stall()), "x"), lutum.TurnTimeout, "first_event"),
        (Reply(Say("one", Stall())), lutum.TurnTimeout, "idle"),
        (Status(529), lutum.ProviderError, "told to fail"),
    ],
)
async def test_a_fault(script: Reply | Status | Refuse, error: type[Exception], words: str) -> None:
    """Each arrives as it does from a socket, and the next turn works."""
    server = WireServer([script, Reply("fine")])
    async with claude(server) as adapter:
        llm = lutum.Lutum(adapter, timeout=lutum.Timeouts(connect=5, first_event=10, idle=20))
        with pytest.raises(error, match=words):
            await llm.text_turn("hi").collect()
        assert (await llm.text_turn("hi").collect()).text == "fine"


@VIRTUAL
async def test_the_same_turn_over_httpx_and_over_the_engine() -> None:
    """Events are equal, whatever the reads were."""
    server = WireServer(default=Reply(Say("a", "b", "c"), "d"))

    async def events(adapter: ClaudeAdapter) -> list[lutum.Event]:
        async with adapter, lutum.Lutum(adapter).text_turn("hi").stream() as turn:
            return [
                event async for event in turn if not isinstance(event, lutum.TurnStarted | lutum.Completed)
            ]

    in_memory = await events(claude(server))
    http = httpx.AsyncClient(transport=server.transport())
    over_httpx = ClaudeAdapter("claude-sonnet-4-5", api_key="k", base_url=server.url, http_client=http)
    assert in_memory == await events(over_httpx)
    assert [event.text for event in in_memory if isinstance(event, lutum.TextDelta)] == ["a", "b", "c", "d"]


@VIRTUAL
async def test_a_cancel_at_every_step() -> None:
    """However far the turn got, its request is over, nothing is reserved, and the next one works."""
    step, requested = 0, True
    while requested:
        step += 1
        server = WireServer(default=Reply(Say("one", Pause(1.0), "two")))
        async with claude(server) as adapter:
            llm = lutum.Lutum(adapter, budget=lutum.Budget(tokens=100_000))
            requested, _ = await cancel_at(llm.text_turn("hi").collect(), step)
            assert all(request.outcome in ("completed", "disconnected") for request in server.requests)
            assert llm.budget.reserved.total_tokens == 0
            assert (await llm.text_turn("hi").collect()).text == "onetwo"
    assert step > 5


async def test_a_client_that_leaves() -> None:
    """The request ends as "disconnected", and the stream is closed for good."""
    server = WireServer(default=Reply(Say("one", Stall())))
    stream = await server.connect()
    await stream.send(b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}")
    assert (await stream.receive()).startswith(b"HTTP/1.1 ")
    await stream.aclose()
    with pytest.raises(anyio.ClosedResourceError):
        await stream.receive()
    with pytest.raises(anyio.ClosedResourceError):
        await stream.send(b"x")


async def test_what_is_not_http() -> None:
    """The server closes."""
    stream = await WireServer().connect()
    await stream.send(b"what?\r\n\r\n")
    with pytest.raises(anyio.EndOfStream):
        await stream.receive()
    with pytest.raises(anyio.BrokenResourceError):
        await stream.send(b"x")
    await stream.aclose()
