"""A client of the user under `http_client=`: its hooks, what it decompresses, and what was never sent."""

from __future__ import annotations

import gzip
import io
import threading
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import anyio
import httpx
import httpx2
import pytest

import lutum
from lutum.transport import check_base_url
from lutum_openai import OpenAIChatAdapter

SSE = (
    b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'
    b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}\n\ndata: [DONE]\n\n'
)
ERROR = b'{"error":{"message":"bad model","type":"invalid_request_error"}}'
LIBRARIES = pytest.mark.parametrize("http", [httpx, httpx2])


def answers(
    http: Any, body: bytes, status: int = 200, coding: str | None = None, kind: str = "text/event-stream"
) -> Callable[[Any], Any]:
    """A handler that streams one body."""

    class Body(http.AsyncByteStream):  # type: ignore[name-defined,misc]  # of either library
        async def __aiter__(self) -> AsyncIterator[bytes]:
            await anyio.lowlevel.checkpoint()
            yield body

    async def handle(request: Any) -> Any:
        headers = {"content-type": kind} | ({} if coding is None else {"content-encoding": coding})
        return http.Response(status, headers=headers, stream=Body())

    return handle


def turn(client: Any, **options: Any) -> lutum.TextTurn:
    adapter = OpenAIChatAdapter("m", api_key="k", base_url="http://x", http_client=client)
    return lutum.Lutum(adapter, timeout=lutum.Timeouts(first_event=2, idle=2), **options).text_turn("hello")


@LIBRARIES
async def test_a_response_hook_that_reads_the_body(http: Any) -> None:
    """As the client's documentation shows it for logging: the turn completes, an error keeps its message."""
    seen = list[int]()

    async def log(response: Any) -> None:
        await response.aread()
        seen.append(len(response.content))

    def client(handle: Any) -> Any:
        return http.AsyncClient(transport=http.MockTransport(handle), event_hooks={"response": [log]})

    async with client(answers(http, SSE)) as whole:
        assert (await turn(whole).collect()).text == "hi"
    async with client(answers(http, gzip.compress(SSE), coding="gzip")) as packed:
        assert (await turn(packed).collect()).text == "hi"
    async with client(answers(http, ERROR, status=400)) as refused:
        with pytest.raises(lutum.ProviderError, match="bad model"):
            await turn(refused).collect()
    assert seen == [len(SSE), len(SSE), len(ERROR)]


@LIBRARIES
async def test_a_response_hook_that_throws_the_body_away(http: Any) -> None:
    """It is named, and at once."""

    async def lose(response: Any) -> None:
        async for _ in response.aiter_raw():
            pass

    transport = http.MockTransport(answers(http, SSE))
    async with http.AsyncClient(transport=transport, event_hooks={"response": [lose]}) as client:
        with pytest.raises(lutum.UsageError, match="aread"):
            await turn(client).collect()


@LIBRARIES
@pytest.mark.parametrize("coding", ["gzip, gzip", "br", "gzip, deflate, gzip", "x-unknown"])
async def test_codings_that_nobody_asked_for(http: Any, coding: str) -> None:
    """More than one, or an unknown one, is named and not decoded."""
    bomb = gzip.compress(gzip.compress(bytes(50_000_000)))
    async with http.AsyncClient(transport=http.MockTransport(answers(http, bomb, coding=coding))) as client:
        tracemalloc.start()
        try:
            with pytest.raises(lutum.ProviderError, match=coding.split(",", maxsplit=1)[0]):
                await turn(client).collect()
            assert tracemalloc.get_traced_memory()[1] < 10_000_000
        finally:
            tracemalloc.stop()


@LIBRARIES
async def test_one_coding_is_decoded_in_pieces(http: Any) -> None:
    """A body that grows a thousandfold never lies in memory whole."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb") as file:
        for _ in range(200):
            file.write(b": " + b"x" * 1_000_000 + b"\n")
        file.write(SSE)
    handle = answers(http, packed.getvalue(), coding="gzip")
    async with http.AsyncClient(transport=http.MockTransport(handle)) as client:
        tracemalloc.start()
        try:
            with suppress(lutum.ProviderError):  # an SSE line has a cap too
                await turn(client).collect()
            assert tracemalloc.get_traced_memory()[1] < 50_000_000
        finally:
            tracemalloc.stop()


@LIBRARIES
@pytest.mark.parametrize("begins", [False, True])
async def test_what_was_never_written_costs_nothing(http: Any, begins: bool) -> None:
    """A turn that is cancelled while its client waits for a free connection has sent nothing. One whose body
    the client has begun to write may have been sent, because this client emits no trace events."""

    async def handle(request: Any) -> Any:
        if begins:
            async for _ in request.stream:
                pass
        await anyio.sleep_forever()

    async with http.AsyncClient(transport=http.MockTransport(handle)) as client:
        # MockTransport reads the body itself, so a transport of our own stands for a full pool.
        class Transport(http.AsyncBaseTransport):  # type: ignore[name-defined,misc]  # of either library
            async def handle_async_request(self, request: Any) -> Any:
                return await handle(request)

        client._transport = Transport()
        budget = lutum.Budget(tokens=100_000)
        with anyio.move_on_after(0.05):
            await turn(client, budget=budget).collect()
        assert (budget.spent.total_tokens > 0) == begins


@LIBRARIES
@pytest.mark.parametrize("read", ["pool", "answer"])
async def test_a_real_client_that_waits_for_its_pool(http: Any, read: str) -> None:
    """The same with a client on a real socket, whose only connection is busy."""
    import socket

    server = socket.create_server(("127.0.0.1", 0))
    taken = list[socket.socket]()
    threading.Thread(target=lambda: taken.append(server.accept()[0]), daemon=True).start()
    url = f"http://127.0.0.1:{server.getsockname()[1]}"
    limits = http.Limits(max_connections=1)
    async with http.AsyncClient(limits=limits, trust_env=False) as client:
        adapter = OpenAIChatAdapter("m", api_key="k", base_url=url, http_client=client)
        first, second = lutum.Budget(tokens=100_000), lutum.Budget(tokens=100_000)
        with anyio.move_on_after(0.5):
            async with anyio.create_task_group() as group:
                group.start_soon(lutum.Lutum(adapter, budget=first).text_turn("hello").collect)
                await anyio.sleep(0.2)
                group.start_soon(lutum.Lutum(adapter, budget=second).text_turn("hello").collect)
        assert first.spent.total_tokens > 0
        assert second.spent.total_tokens == 0
    for connection in taken:
        connection.close()
    server.close()


@pytest.mark.parametrize(
    ("kind", "body", "error"),
    [
        ("text/html", b"<!doctype html><title>Sign in</title>", lutum.ProviderError),
        ("text/plain", b"", lutum.ProviderError),
        ("application/octet-stream", b"\x00\x01\xff", lutum.ProviderError),
        ("text/event-stream", b"", lutum.Interrupted),
        ("text/event-stream", b": waiting\n\n", lutum.Interrupted),
        ("text/plain", b"data: ", lutum.Interrupted),
        ("text/event-stream", SSE[:90], lutum.Interrupted),
    ],
)
async def test_a_200_that_is_no_answer(kind: str, body: bytes, error: type[lutum.TurnError]) -> None:
    """It is malformed, is not sent again, and the error has its content type and first bytes. What may be the
    beginning of an answer is interrupted, and retried."""
    asked = 0
    inner = answers(httpx, body, kind=kind)

    async def handle(request: Any) -> Any:
        nonlocal asked
        asked += 1
        return await inner(request)

    async with httpx.AsyncClient(transport=httpx.MockTransport(handle)) as client:
        with pytest.raises(error, match=kind) as info:
            await turn(client, retry=lutum.RetryPolicy(initial=0)).collect()
    if error is lutum.ProviderError:
        assert asked == 1
        assert isinstance(info.value, lutum.ProviderError)
        assert info.value.kind == "malformed"
        assert ("Sign in" in str(info.value)) == (kind == "text/html")
    else:
        assert asked == (3 if not info.value.started else 1)


@pytest.mark.parametrize(
    "url",
    [
        "http://x/?", "http://x/#", "http://x/?a=1", " http://x", "http://x ", "http://x\n", "http://x/a b",
        "http://x/\tv1", "http://x/\x7f", "http://x\\y", "http://user@x", "http://u:secret@x", "http://x:0",
        "http://x..y", "http://x:99999", "http://[::1", f"http://{'a' * 64}.test", "http://x\u3000",
    ],
)  # fmt: skip
def test_base_urls_that_a_client_would_change(url: str) -> None:
    """They are refused when the adapter is made, by name, without quoting a password."""
    with pytest.raises(lutum.BadValue, match=r"^base_url: ") as info:
        check_base_url(url)
    assert "secret" not in str(info.value)
    with pytest.raises(lutum.BadValue, match=r"^base_url: "):
        OpenAIChatAdapter("m", api_key="k", base_url=url)
