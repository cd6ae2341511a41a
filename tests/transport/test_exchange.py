"""The HTTP pump on real sockets: phases, secrets, small requests."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import anyio
import h11
import pytest
from anyio.abc import SocketAttribute
from anyio.lowlevel import checkpoint
from http_peer import (
    WHOLE,
    Decoder,
    Peer,
    answer_all,
    exchange,
    ignore,
    no_secrets,
    plain,
    serving,
    turn,
)

import lutum
from lutum.abc import Phase, Prepared, TurnRequest
from lutum.transport import HttpExchange, HttpTransport, OutgoingRequest, check_base_url


async def test_marks(transport: HttpTransport) -> None:
    """Each phase is told once and in order; a connection that is used again is connected at once."""
    async with serving(answer_all) as server:
        first: list[Phase] = []
        await turn(transport, server.url, first.append)
        again: list[Phase] = []
        await turn(transport, server.url, again.append)
    assert first == ["connecting", "connected", "sent"]
    assert again == ["connected", "sent"]


async def test_sent_only_when_written(transport: HttpTransport) -> None:
    """While the server does not read a large request, it is not sent; cancelled, it leaves nothing."""
    marks: list[Phase] = []
    connected = anyio.Event()

    def mark(phase: Phase) -> None:
        marks.append(phase)
        if phase == "connected":
            connected.set()

    async def send(ex: HttpExchange) -> None:
        try:
            await ex.open(mark)
        finally:
            await ex.aclose()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.listeners[0].extra(SocketAttribute.local_port)
    large = Prepared(
        request=TurnRequest(transcript=lutum.Transcript()),
        url=f"http://127.0.0.1:{port}",
        body=bytes(64 * 2**20),
        model="m",
    )
    ex = transport.exchange(
        large,
        sign=no_secrets,
        decoder=lambda response: Decoder(),
        fault=lambda response, body: lutum.ProviderError(""),
    )
    async with listener, anyio.create_task_group() as group:
        group.start_soon(send, ex)
        await connected.wait()
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert marks == ["connecting", "connected"]


async def test_what_is_sent(transport: HttpTransport) -> None:
    """The bytes of `Prepared`, its headers, the secret ones, and no offer to compress."""
    seen: list[tuple[h11.Request, bytes]] = []

    async def script(peer: Peer) -> None:
        while request := await peer.request():
            seen.append(request)
            await peer.stream.send(plain(200, b"END", b"Set-Cookie: a=b"))

    async with serving(script) as server:
        for _ in range(2):
            await turn(transport, server.url)
    request, body = seen[1]
    headers = dict(request.headers)
    assert (request.method, request.target, body) == (b"POST", b"/v1/turn", b"x" * 100)
    assert (headers[b"accept-encoding"], headers[b"x-fixed"]) == (b"identity", b"1")
    assert b"cookie" not in headers


async def test_the_head(transport: HttpTransport) -> None:
    """Of the response's headers only ids, limits, times and what explains an error are kept."""
    kept = {
        "request-id": "r1",
        "x-ratelimit-remaining-tokens": "5",
        "anthropic-ratelimit-tokens-limit": "9",
        "openai-processing-ms": "12",
        "retry-after": "3",
        "content-type": "text/plain",
        "x-should-retry": "false",
        "location": "/elsewhere",
    }
    lines = [f"{name.title()}: {value}".encode() for name, value in kept.items()]
    dropped = [b"Set-Cookie: session-id=1", b"Server: x"]
    async with serving(partial(answer_all, answer=plain(200, b"END", *lines, *dropped))) as server:
        ex = exchange(transport, server.url)
        await ex.open(ignore)
        await ex.aclose()
    assert ex.response == lutum.Response(status=200, request_id="r1", headers=kept)


async def test_secrets_are_asked_for_each_request(transport: HttpTransport) -> None:
    """A key may change between two requests; no repr and no attribute of the exchange holds it."""
    seen: list[bytes] = []
    keys = iter(["sk-one", "sk-two"])

    async def secrets(request: OutgoingRequest) -> Mapping[str, str]:
        await checkpoint()
        return {"X-Api-Key": next(keys)}

    async def script(peer: Peer) -> None:
        while request := await peer.request():
            seen.append(dict(request[0].headers)[b"x-api-key"])
            await peer.stream.send(WHOLE)

    async with serving(script) as server:
        for _ in range(2):
            ex = exchange(transport, server.url, secrets)
            await ex.open(ignore)
            assert "sk-" not in repr(ex) + repr(vars(ex)) + repr(ex.response)
            await ex.aclose()
    assert seen == [b"sk-one", b"sk-two"]


@pytest.mark.parametrize("key", ["sk-secret\n", " sk-secret", "sk-s\xe9cret", "sk-\0secret"])
async def test_a_key_that_is_no_header_is_not_quoted(transport: HttpTransport, key: str) -> None:
    """A key with, say, a line end is refused by the header's name; no exception holds the key."""

    async def secrets(request: OutgoingRequest) -> Mapping[str, str]:
        return {"x-api-key": key}

    ex = exchange(transport, "http://127.0.0.1:9", secrets)
    with pytest.raises(lutum.BadValue) as info:
        await ex.open(ignore)
    await ex.aclose()
    assert info.value.field == "x-api-key"
    assert (info.value.__cause__, info.value.__context__) == (None, None)
    assert "sk-" not in str(info.value)


async def test_request(transport: HttpTransport) -> None:
    """A whole answer comes back whatever its status, and the connection is kept."""
    answer = plain(404, b"no", b"Request-Id: r")
    async with serving(partial(answer_all, answer=answer)) as server:
        for _ in range(2):
            response, body = await transport.request("GET", server.url, [("A", "b")], b"")
            assert (response.status, response.request_id, body) == (404, "r", b"no")
        assert server.connections == 1


async def test_request_that_is_cut(transport: HttpTransport) -> None:
    """Without a whole answer it is a NetworkError."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")

    async with serving(script) as server:
        with pytest.raises(lutum.NetworkError):
            await transport.request("GET", server.url)


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("https://api.example.com", "https://api.example.com"),
        ("https://api.example.com/", "https://api.example.com"),
        ("http://[::1]:8080/v1/", "http://[::1]:8080/v1"),
    ],
)
def test_base_url(url: str, clean: str) -> None:
    """A slash at the end makes no difference."""
    assert check_base_url(url) == clean


@pytest.mark.parametrize(
    "url", ["", "api.example.com", "localhost:8080", "ftp://x", "https://", "https://x:port", "https://x?a=b"]
)
def test_bad_base_url(url: str) -> None:
    """What is not an http URL is refused, by the name of the argument."""
    with pytest.raises(lutum.BadValue) as info:
        check_base_url(url)
    assert info.value.field == "base_url"


async def test_secrets_that_do_not_depend_on_the_request(transport: HttpTransport) -> None:
    """`secrets=` takes a function without arguments; without it and `sign=` the error names the fields."""
    seen = list[str]()

    async def key() -> Mapping[str, str]:
        return {"x-key": "k1"}

    async def answer(peer: Peer) -> None:
        while request := await peer.request():
            seen.append(dict(request[0].headers)[b"x-key"].decode())
            await peer.stream.send(WHOLE)

    made = partial(
        transport.exchange,
        decoder=lambda response: Decoder(),
        fault=lambda response, body: lutum.ProviderError(""),
    )
    async with serving(answer) as server:
        asked = Prepared(
            request=TurnRequest(transcript=lutum.Transcript()), url=server.url, body=b"{}", model="m"
        )
        with pytest.raises(lutum.BadValue, match=r"^secrets: is missing"):
            made(asked)
        ex = made(asked, secrets=key)
        try:
            await ex.open(ignore)
        finally:
            await ex.aclose()
    assert seen == ["k1"]
