"""The HTTP pump on real sockets: connections, phases, faults, proxies, and what it leaves open."""

import asyncio
import gc
import gzip
import ssl
import struct
import subprocess
import sys
import threading
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from socket import SO_LINGER, SOL_SOCKET
from typing import Any

import anyio
import h11
import httpx
import pytest
from anyio.abc import ByteStream, SocketAttribute
from anyio.lowlevel import checkpoint
from anyio.streams.tls import TLSAttribute, TLSListener

import lutum
from lutum import _connections, _proxies
from lutum._run import run
from lutum.abc import Phase, Prepared, TurnRequest
from lutum.testing import WireServer
from lutum.testing.wire import Reply
from lutum.transport import HttpExchange, HttpTransport, check_base_url

BACKENDS = ["asyncio", "trio"]

# Made for these tests (127.0.0.1, localhost and provider.test, until 2126); it secures nothing.
CERTIFICATE = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQguYBM/3uYUlIjlEQa
UbQU+HFokxWNf8Clm3pslhWLuIahRANCAASxPH9qH7BrBFmMlXW6k4fNADn/xIi3
tY5OYe9T9xS6njfXeEGpLux19s6QunBDqfD1/ExZBxeg6JsSAKTIafjL
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBrjCCAVSgAwIBAgIULQyG3u42pQJc1HJqkn8yGWTm4QcwCgYIKoZIzj0EAwIw
FjEUMBIGA1UEAwwLbHV0dW0gdGVzdHMwIBcNMjYxMTIyMTYyNDAxWhgPMjEyNjEw
MjkxNjI0MDFaMBYxFDASBgNVBAMMC2x1dHVtIHRlc3RzMFkwEwYHKoZIzj0CAQYI
KoZIzj0DAQcDQgAEsTx/ah+wawRZjJV1upOHzQA5/8SIt7WOTmHvU/cUup4313hB
qS7sdfbOkLpwQ6nw9fxMWQcXoOibEgCkyGn4y6N+MHwwHQYDVR0OBBYEFH/N9FuJ
+fPykYl7ZWt8/rMHxBY9MB8GA1UdIwQYMBaAFH/N9FuJ+fPykYl7ZWt8/rMHxBY9
MA8GA1UdEwEB/wQFMAMBAf8wKQYDVR0RBCIwIIcEfwAAAYIJbG9jYWxob3N0gg1w
cm92aWRlci50ZXN0MAoGCCqGSM49BAMCA0gAMEUCIHady9SM8n3KkB56nFU5UVDw
r9qJU5TVyjJ+7a85bFYpAiEAwu2SHRDZ8NN+uvAdqMpSEdQcIuZnjvcCc8x6Yr+s
NSk=
-----END CERTIFICATE-----
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxies and no certificates but those of the test."""
    for scheme in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{scheme}_proxy", raising=False)
        monkeypatch.delenv(f"{scheme}_PROXY".upper(), raising=False)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A file with our certificate and key, which `SSL_CERT_FILE` trusts."""
    path = tmp_path / "certificate.pem"
    path.write_text(CERTIFICATE)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    _connections.tls_context.cache_clear()
    yield path
    _connections.tls_context.cache_clear()


# The server: a script is run for each connection.


@dataclass
class Peer:
    """One connection, seen from the server."""

    stream: ByteStream
    http: h11.Connection = field(default_factory=partial(h11.Connection, h11.SERVER))

    async def request(self) -> tuple[h11.Request, bytes] | None:
        """The next request and its body; None when the client closed the connection."""
        if self.http.our_state is h11.MUST_CLOSE or self.http.their_state is h11.DONE:
            self.http = h11.Connection(h11.SERVER)
        head, body = None, b""
        while True:
            event = self.http.next_event()
            if event is h11.NEED_DATA:
                try:
                    self.http.receive_data(await self.stream.receive())
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    return None
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None
                return head, body
            else:
                return None

    async def closed(self) -> None:
        """Wait until the client has closed the connection."""
        try:
            while True:
                await self.stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            pass

    async def reset(self) -> None:
        """Close with RST."""
        socket = self.stream.extra(SocketAttribute.raw_socket)
        socket.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        await self.stream.aclose()


Script = Callable[[Peer], Awaitable[None]]


@dataclass
class Server:
    url: str
    connections: int = 0


@asynccontextmanager
async def serving(script: Script, tls: Path | None = None) -> AsyncIterator[Server]:
    """A server on a loopback port for as long as the block runs."""
    listener: Any = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.listeners[0].extra(SocketAttribute.local_port)
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls)
        listener = TLSListener(listener, context, standard_compatible=False)
    server = Server(f"http{'s' * (tls is not None)}://127.0.0.1:{port}")

    async def connected(stream: ByteStream) -> None:
        server.connections += 1
        async with stream:
            await script(Peer(stream))

    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, connected)
        yield server
        group.cancel_scope.cancel()


HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


WHOLE = HEAD + chunk(b"a") + chunk(b"END") + LAST


async def answer_all(peer: Peer, answer: bytes = WHOLE) -> None:
    """Give every request the same answer."""
    while await peer.request():
        await peer.stream.send(answer)


def plain(status: int, body: bytes, *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 %d X" % status, b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join([*lines, b"", body])


# The adapter's part: each piece is a text, and "END" is the end.

COMPLETED = lutum.Completed("stop", lutum.Usage(), lutum.CommittedTurn("fake", "here", "m", b"{}"))


class Decoder:
    def feed(self, data: bytes, out: list[lutum.Event]) -> None:
        if b"BAD" in data:
            raise lutum.ProviderError("bad data", kind="malformed")
        if text := data.removesuffix(b"END"):
            out.append(lutum.TextDelta(text.decode()))
        if data.endswith(b"END"):
            out.append(COMPLETED)

    def eof(self, out: list[lutum.Event]) -> None:
        out.append(lutum.TextDelta("<eof>"))


async def no_secrets() -> Mapping[str, str]:
    return {}


def exchange(
    transport: HttpTransport, url: str, secrets: Callable[[], Awaitable[Mapping[str, str]]] = no_secrets
) -> HttpExchange:
    return transport.exchange(
        Prepared(
            request=TurnRequest(transcript=lutum.Transcript()),
            url=url + "/v1/turn",
            body=b"x" * 100,
            model="m",
            headers=(("X-Fixed", "1"),),
        ),
        secrets=secrets,
        decoder=lambda response: Decoder(),
        fault=lambda response, body: lutum.ProviderError("status", status=response.status, body=body),
    )


def ignore(phase: Phase) -> None:
    pass


async def turn(transport: HttpTransport, url: str, mark: Callable[[Phase], None] = ignore) -> str:
    """One whole turn as the pump runs it: it stops at `Completed`. Returns its text."""
    ex = exchange(transport, url)
    events: list[lutum.Event] = []
    try:
        await ex.open(mark)
        while await ex.receive(events):
            if events and events[-1] is COMPLETED:
                break
    finally:
        await ex.aclose()
    return "".join(event.text for event in events if isinstance(event, lutum.TextDelta))


@pytest.fixture
async def transport() -> AsyncIterator[HttpTransport]:
    """A transport with a client of its own."""
    transport = HttpTransport()
    yield transport
    await transport.aclose()


# Connections


async def test_a_completed_turn_leaves_its_connection(transport: HttpTransport) -> None:
    """The second turn goes over the connection of the first, though the pump stops at `Completed`."""
    async with serving(answer_all) as server:
        assert [await turn(transport, server.url) for _ in range(3)] == ["a", "a", "a"]
        assert server.connections == 1


async def test_the_last_chunk_may_come_late(transport: HttpTransport) -> None:
    """The end of the body is waited for a moment, for the connection's sake."""

    async def script(peer: Peer) -> None:
        while await peer.request():
            await peer.stream.send(WHOLE.removesuffix(LAST))
            await peer.stream.send(LAST)

    async with serving(script) as server:
        await turn(transport, server.url)
        await turn(transport, server.url)
        assert server.connections == 1


async def test_a_body_that_goes_on_after_completed_is_cut(transport: HttpTransport) -> None:
    """A server that does not end its body costs the connection, and no more than a moment."""
    gone = anyio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.stream.send(WHOLE.removesuffix(LAST))
        await peer.closed()
        gone.set()

    async with serving(script) as server:
        with anyio.fail_after(1):
            assert await turn(transport, server.url) == "a"
            await gone.wait()


async def test_reading_to_the_end(transport: HttpTransport) -> None:
    """At the end of the body the decoder is told once, and `receive` says False however often."""
    async with serving(partial(answer_all, answer=HEAD + chunk(b"a") + LAST)) as server:
        ex = exchange(transport, server.url)
        await ex.open(ignore)
        events: list[lutum.Event] = []
        assert [await ex.receive(events) for _ in range(3)] == [True, False, False]
        await ex.aclose()
        assert events == [lutum.TextDelta("a"), lutum.TextDelta("<eof>")]
        await turn(transport, server.url)
        assert server.connections == 1


async def test_a_cut_turn_leaves_no_connection(transport: HttpTransport) -> None:
    """A turn that was left in the middle closes its socket at once; the next one opens another."""
    gone = anyio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.stream.send(HEAD + chunk(b"a") + chunk(b"b"))
        await peer.closed()
        gone.set()

    async with serving(script) as server:
        ex = exchange(transport, server.url)
        await ex.open(ignore)
        assert await ex.receive([])
        await ex.aclose()
        with anyio.fail_after(1):
            await gone.wait()
    async with serving(answer_all) as server:
        await turn(transport, server.url)
        assert server.connections == 1


async def test_a_decoder_that_raises_is_no_interruption(transport: HttpTransport) -> None:
    """Its error comes out as it is."""
    async with serving(partial(answer_all, answer=HEAD + chunk(b"BAD") + LAST)) as server:
        with pytest.raises(lutum.ProviderError, match="bad data"):
            await turn(transport, server.url)


async def test_a_connection_that_the_server_closed_is_not_used(transport: HttpTransport) -> None:
    """An idle socket that is readable was closed by the server: another is opened, nothing fails."""
    closed = anyio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.stream.send(WHOLE)
        await peer.stream.aclose()
        closed.set()

    async with serving(script) as server:
        await turn(transport, server.url)
        await closed.wait()
        await turn(transport, server.url)
        assert server.connections == 2


async def test_a_written_request_is_not_written_again(transport: HttpTransport) -> None:
    """An idle connection that fails under a written request is an error: nobody knows if it was read."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.stream.send(WHOLE)
        await peer.request()

    async with serving(script) as server:
        await turn(transport, server.url)
        with pytest.raises(lutum.NetworkError, match="may be charged again"):
            await turn(transport, server.url)
        assert server.connections == 1


async def test_two_hundred_at_once(transport: HttpTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing limits how many run at once, and a bounded number of connections stays idle."""
    everybody = anyio.Event()
    server: Server

    async def script(peer: Peer) -> None:
        while await peer.request():
            if server.connections == 200:
                everybody.set()
            await everybody.wait()
            await peer.stream.send(WHOLE)

    async with serving(script) as server:
        async with anyio.create_task_group() as group:
            for _ in range(200):
                group.start_soon(turn, transport, server.url)
        assert idle(transport) == _connections.MAX_IDLE
        # Looking for an idle one does not look at the others.
        looked = 0

        def has_expired(self: object) -> bool:
            nonlocal looked
            looked += 1
            return False

        monkeypatch.setattr("httpcore.AsyncHTTP11Connection.has_expired", has_expired)
        await turn(transport, server.url)
        assert (server.connections, looked) == (200, 1)


def idle(transport: HttpTransport) -> int:
    return sum(len(local) for own in transport._own for local in own._locals.values())


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_closing_is_cancelled_by_asyncio_itself(transport: HttpTransport) -> None:
    """No scope holds `task.cancel()` back; every connection is closed all the same."""
    async with serving(answer_all) as server:
        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(turn, transport, server.url)
        [kept] = [local for own in transport._own for local in own._locals.values()]
        assert len(kept) == 4
        closing = asyncio.ensure_future(transport.aclose())
        await checkpoint()
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert len(kept) == 0


async def test_old_connections_are_dropped(transport: HttpTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was idle for longer than the limit is closed by the next request."""
    async with serving(answer_all) as server:
        await turn(transport, server.url)
        monkeypatch.setattr(_connections, "IDLE_SECONDS", -1.0)
        await turn(transport, server.url)
        assert (server.connections, idle(transport)) == (2, 1)


SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nEND"


@pytest.mark.parametrize("stray", [WHOLE, b"x", b"HTTP/1.1 408 Late\r\ncontent-length: 0\r\n\r\n"])
@pytest.mark.parametrize("whole", [WHOLE, SIZED])
@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("apart", [False, True])
async def test_an_answer_that_nobody_asked_for(
    transport: HttpTransport, certificate: Path, whole: bytes, stray: bytes, secure: bool, apart: bool
) -> None:
    """It is not taken for the answer to the next request: the connection is not used again."""

    async def script(peer: Peer) -> None:
        await peer.request()
        if apart and secure:  # two records in one read, of which the client asks for the first
            sent = peer.stream.extra(TLSAttribute.ssl_object)
            sent.write(whole)
            sent.write(stray)
            await peer.stream.send(b"\r\n")
        elif apart:
            await peer.stream.send(whole)
            await peer.stream.send(stray)
        else:
            await peer.stream.send(whole + stray)
        await peer.closed()

    async with serving(script, certificate if secure else None) as server:
        for number in (1, 2):
            await turn(transport, server.url)
            assert server.connections == number


async def test_connections_belong_to_an_origin(transport: HttpTransport) -> None:
    """An idle connection serves only the host and port it was opened to."""
    async with serving(answer_all) as one, serving(answer_all) as two:
        for server in (one, two, one, two):
            await turn(transport, server.url)
        assert (one.connections, two.connections, idle(transport)) == (1, 1, 2)


async def test_aclose_leaves_open_turns_alone(transport: HttpTransport) -> None:
    """A turn that is open runs on to its end; its connection is then closed, not kept."""
    go_on = anyio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.stream.send(HEAD + chunk(b"a"))
        await go_on.wait()
        await peer.stream.send(chunk(b"END") + LAST)

    async with serving(script) as server:
        ex = exchange(transport, server.url)
        await ex.open(ignore)
        await transport.aclose()
        go_on.set()
        events: list[lutum.Event] = []
        while await ex.receive(events):
            pass
        await ex.aclose()
        assert COMPLETED in events
        assert idle(transport) == 0


async def test_it_works_again_after_aclose(transport: HttpTransport) -> None:
    """Closing closes connections, not the adapter."""
    async with serving(answer_all) as server:
        await turn(transport, server.url)
        await transport.aclose()
        assert idle(transport) == 0
        await turn(transport, server.url)
        assert server.connections == 2


async def test_tls(transport: HttpTransport, certificate: Path) -> None:
    """https works, trusts what `SSL_CERT_FILE` names, and its connections are used again."""
    async with serving(answer_all, certificate) as server:
        await turn(transport, server.url)
        assert await turn(transport, server.url) == "a"
        assert server.connections == 1


async def test_tls_that_is_not_trusted(
    transport: HttpTransport, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certificate that nobody vouches for is a failed connection."""
    monkeypatch.delenv("SSL_CERT_FILE")

    listener: Any = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.listeners[0].extra(SocketAttribute.local_port)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    async def connected(stream: ByteStream) -> None:
        async with stream:
            with pytest.raises((ssl.SSLError, anyio.BrokenResourceError, anyio.EndOfStream)):
                await anyio.streams.tls.TLSStream.wrap(stream, server_side=True, ssl_context=context)

    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, connected)
        with pytest.raises(lutum.NetworkError, match="no connection to 127"):
            await turn(transport, f"https://127.0.0.1:{port}")
        group.cancel_scope.cancel()


async def test_certificates_that_cannot_be_read(
    transport: HttpTransport, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable that names no certificates is named."""
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    with pytest.raises(lutum.BadValue) as info:
        await turn(transport, "https://127.0.0.1:9")
    assert info.value.field == "SSL_CERT_FILE"


# Phases


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
        secrets=no_secrets,
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
    """Of the response's headers only ids, limits and times are kept."""
    kept = {
        "request-id": "r1",
        "x-ratelimit-remaining-tokens": "5",
        "anthropic-ratelimit-tokens-limit": "9",
        "openai-processing-ms": "12",
        "retry-after": "3",
    }
    lines = [f"{name.title()}: {value}".encode() for name, value in kept.items()]
    dropped = [b"Set-Cookie: session-id=1", b"Content-Type: text/plain", b"Server: x"]
    async with serving(partial(answer_all, answer=plain(200, b"END", *lines, *dropped))) as server:
        ex = exchange(transport, server.url)
        await ex.open(ignore)
        await ex.aclose()
    assert ex.response == lutum.Response(status=200, request_id="r1", headers=kept)


# Secrets


async def test_secrets_are_asked_for_each_request(transport: HttpTransport) -> None:
    """A key may change between two requests; no repr and no attribute of the exchange holds it."""
    seen: list[bytes] = []
    keys = iter(["sk-one", "sk-two"])

    async def secrets() -> Mapping[str, str]:
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

    async def secrets() -> Mapping[str, str]:
        return {"x-api-key": key}

    ex = exchange(transport, "http://127.0.0.1:9", secrets)
    with pytest.raises(lutum.BadValue) as info:
        await ex.open(ignore)
    await ex.aclose()
    assert info.value.field == "x-api-key"
    assert (info.value.__cause__, info.value.__context__) == (None, None)
    assert "sk-" not in str(info.value)


# Faults


@pytest.mark.parametrize("status", [302, 401, 429, 500, 529])
async def test_an_error_status(transport: HttpTransport, status: int) -> None:
    """Anything but 2xx is the adapter's to class, with its body; a redirect is not followed."""
    answer = plain(status, b'{"error": 1}', b"Location: /elsewhere")
    async with serving(partial(answer_all, answer=answer)) as server:
        for _ in range(2):
            with pytest.raises(lutum.ProviderError) as info:
                await turn(transport, server.url)
            assert (info.value.status, info.value.body) == (status, b'{"error": 1}')
        assert server.connections == 1


async def test_the_body_of_an_error_is_capped(transport: HttpTransport) -> None:
    """Of an endless error 64 KiB are read."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.stream.send(HEAD.replace(b"200", b"500"))
        try:
            while True:
                await peer.stream.send(chunk(b"x" * 1000))
        except anyio.BrokenResourceError:
            pass

    async with serving(script) as server:
        with anyio.fail_after(2), pytest.raises(lutum.ProviderError) as info:
            await turn(transport, server.url)
        assert info.value.body == b"x" * 64 * 1024


async def test_an_error_body_that_is_cut(transport: HttpTransport) -> None:
    """The status says what went wrong, also when its body does not arrive whole."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.stream.send(HEAD.replace(b"200", b"503") + chunk(b"overl"))

    async with serving(script) as server:
        with pytest.raises(lutum.ProviderError) as info:
            await turn(transport, server.url)
        assert (info.value.status, info.value.body) == (503, b"overl")


async def test_connection_refused(transport: HttpTransport) -> None:
    """No connection is a NetworkError that names the host and says what to look at."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.listeners[0].extra(SocketAttribute.local_port)
    await listener.aclose()
    with pytest.raises(lutum.NetworkError, match=rf"no connection to 127\.0\.0\.1:{port}.*base_url") as info:
        await turn(transport, f"http://127.0.0.1:{port}")
    assert info.value.__cause__ is not None


@pytest.mark.parametrize("how", ["reset", "close"])
async def test_no_head(transport: HttpTransport, how: str) -> None:
    """A connection that ends before the head is a NetworkError that says the request was written."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await (peer.reset() if how == "reset" else peer.stream.aclose())

    async with serving(script) as server:
        with pytest.raises(lutum.NetworkError, match="before it answered"):
            await turn(transport, server.url)


@pytest.mark.parametrize("how", ["reset", "close"])
async def test_cut_in_the_body(transport: HttpTransport, how: str) -> None:
    """A connection that ends in the body is Interrupted; what came before it is there."""
    read = anyio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.stream.send(HEAD + chunk(b"a"))
        await read.wait()
        await (peer.reset() if how == "reset" else peer.stream.aclose())

    async with serving(script) as server:
        ex = exchange(transport, server.url)
        events: list[lutum.Event] = []
        await ex.open(ignore)
        await ex.receive(events)
        read.set()
        with pytest.raises(lutum.Interrupted, match="middle of the answer") as info:
            await ex.receive(events)
        await ex.aclose()
    assert info.value.__cause__ is not None
    assert events == [lutum.TextDelta("a")]


async def test_what_is_no_http(transport: HttpTransport) -> None:
    """A server that speaks something else is a NetworkError."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.stream.send(b"220 mail.example ESMTP\r\n\r\n")

    async with serving(script) as server:
        with pytest.raises(lutum.NetworkError):
            await turn(transport, server.url)


async def test_a_compressed_response(transport: HttpTransport) -> None:
    """A server, or a proxy, that compresses though nobody asked is understood."""
    answer = plain(200, gzip.compress(b"a lot of text, END"), b"Content-Encoding: gzip")
    async with serving(partial(answer_all, answer=answer)) as server:
        ex = exchange(transport, server.url)
        await ex.open(ignore)
        events: list[lutum.Event] = []
        while await ex.receive(events):
            pass
        await ex.aclose()
    assert COMPLETED in events


async def test_a_response_that_does_not_decompress(transport: HttpTransport) -> None:
    """Data that is not what its header says is the provider's fault."""
    answer = plain(200, b"not gzip at all", b"Content-Encoding: gzip")
    async with serving(partial(answer_all, answer=answer)) as server:
        with pytest.raises(lutum.ProviderError) as info:
            await turn(transport, server.url)
    assert info.value.kind == "malformed"


# Cancellation


async def test_cancelled_while_waiting_for_the_head(transport: HttpTransport) -> None:
    """The server sees the connection close."""
    asked, gone = anyio.Event(), anyio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        asked.set()
        await peer.closed()
        gone.set()

    async with serving(script) as server:
        async with anyio.create_task_group() as group:
            group.start_soon(turn, transport, server.url)
            await asked.wait()
            group.cancel_scope.cancel()
        with anyio.fail_after(1):
            await gone.wait()


async def test_cancelled_in_the_body(transport: HttpTransport) -> None:
    """The server sees the connection close, and nothing is kept."""
    gone, reading = anyio.Event(), anyio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.stream.send(HEAD + chunk(b"a"))
        await peer.closed()
        gone.set()

    async def read(ex: HttpExchange) -> None:
        try:
            await ex.open(ignore)
            await ex.receive([])
            reading.set()
            await ex.receive([])
        finally:
            await ex.aclose()

    async with serving(script) as server:
        async with anyio.create_task_group() as group:
            group.start_soon(read, exchange(transport, server.url))
            await reading.wait()
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        with anyio.fail_after(1):
            await gone.wait()
        assert idle(transport) == 0


async def test_cancelled_in_the_tls_handshake(transport: HttpTransport) -> None:
    """A server that accepts and says nothing sees the connection close."""
    greeted, gone = anyio.Event(), anyio.Event()

    async def script(peer: Peer) -> None:
        await peer.stream.receive()
        greeted.set()
        await peer.closed()
        gone.set()

    async with serving(script) as server:
        async with anyio.create_task_group() as group:
            group.start_soon(turn, transport, server.url.replace("http:", "https:"))
            await greeted.wait()
            group.cancel_scope.cancel()
        with anyio.fail_after(1):
            await gone.wait()


async def test_cancelled_while_connecting(transport: HttpTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is not made yet is given up."""
    connecting = anyio.Event()

    async def connect_tcp(*args: object) -> Any:
        connecting.set()
        await anyio.sleep_forever()

    monkeypatch.setattr("lutum._sockets.connect_tcp", connect_tcp)
    marks: list[Phase] = []
    with anyio.fail_after(1):
        async with anyio.create_task_group() as group:
            group.start_soon(turn, transport, "http://127.0.0.1:9", marks.append)
            await connecting.wait()
            group.cancel_scope.cancel()
    assert marks == ["connecting"]
    assert idle(transport) == 0


async def test_the_clean_up_is_shielded(transport: HttpTransport) -> None:
    """In a cancelled scope too the end of the body is read, so that the connection stays."""
    async with serving(answer_all) as server:
        with anyio.CancelScope() as scope:
            ex = exchange(transport, server.url)
            await ex.open(ignore)
            events: list[lutum.Event] = []
            while COMPLETED not in events:
                await ex.receive(events)
            scope.cancel()
            await ex.aclose()
        assert idle(transport) == 1


@pytest.mark.parametrize(
    ("answer", "pieces"),
    [
        (HEAD + chunk(b"a") * 9, 1),
        (HEAD + chunk(b"a") + b"1;odd\r\na\r\n" * 9, 2),  # the second is for h11
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\naaaa", 1),
    ],
)
async def test_an_abandoned_body_is_collected_in_silence(
    transport: HttpTransport, answer: bytes, pieces: int
) -> None:
    """The generators of httpx and httpcore that read it neither warn nor start tasks when they go."""
    async with serving(partial(answer_all, answer=answer)) as server:
        ex = exchange(transport, server.url)
        await ex.open(ignore)
        for _ in range(pieces):
            await ex.receive([])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            await ex.aclose()
            del ex
            gc.collect()
            await checkpoint()
    assert [str(warning.message) for warning in caught if "unclosed" not in str(warning.message)] == []


@pytest.mark.parametrize("pieces", [b"", b"END"])
async def test_a_bad_chunk_takes_nothing_back(transport: HttpTransport, pieces: bytes) -> None:
    """What came before it in the same read counts; a turn that was whole by then is."""
    answer = HEAD + chunk(b"a") + (chunk(pieces) if pieces else b"") + b"1\r\naXX"
    async with serving(partial(answer_all, answer=answer)) as server:
        if pieces:
            assert await turn(transport, server.url) == "a"
            return
        ex = exchange(transport, server.url)
        await ex.open(ignore)
        received: list[lutum.Event] = []
        with pytest.raises(lutum.Interrupted, match="line end"):
            while await ex.receive(received):
                pass
        assert received == [lutum.TextDelta("a")]
        await ex.aclose()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_body_may_be_collected_after_its_loop(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that is kept holds frames, and they the body: it must have nothing left to do."""
    kept = list[object]()

    async def main() -> None:
        transport = HttpTransport()
        odd = HEAD + b"1;odd\r\na\r\n" * 2
        async with serving(partial(answer_all, answer=odd)) as server:
            ex = exchange(transport, server.url)
            await ex.open(ignore)
            await ex.receive([])
            kept.extend(ex._call._iterators)
            await ex.aclose()
        await transport.aclose()

    anyio.run(main, backend=backend)
    unraisable = list[object]()
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    kept.clear()
    gc.collect()
    assert unraisable == []


async def test_h11_reads_no_chunk(transport: HttpTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where each event is a chunk and a read of its own, h11 cost more than everything else."""
    asked = 0
    next_event = h11.Connection.next_event

    def counted(self: h11.Connection) -> Any:
        nonlocal asked
        asked += self.our_role is h11.CLIENT
        return next_event(self)

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.stream.send(HEAD)
        for _ in range(100):
            await peer.stream.send(chunk(b"a"))
        await peer.stream.send(chunk(b"END") + LAST)

    monkeypatch.setattr(h11.Connection, "next_event", counted)
    async with serving(script) as server:
        assert await turn(transport, server.url) == "a" * 100
    assert 0 < asked < 10


def test_uvloop() -> None:
    """Its transports look like asyncio's, and are none."""

    async def main() -> None:
        transport = HttpTransport()
        async with serving(answer_all) as server:
            assert [await turn(transport, server.url) for _ in range(2)] == ["a", "a"]
            assert server.connections == 1
            await transport.aclose()

    anyio.run(main, backend_options={"use_uvloop": True})


async def test_a_turn_leaves_nothing_to_the_collector() -> None:
    """What it held goes with its block; of thousands at once the collector would come much later."""
    async with WireServer(default=Reply("fine")) as server:
        async with lutum.ClaudeAdapter("claude-sonnet-4-5", base_url=server.url, api_key="k") as claude:
            llm = lutum.Lutum(claude)
            await llm.text_turn("hello").collect()
            gc.collect()
            gc.disable()
            gc.set_debug(gc.DEBUG_SAVEALL)
            try:
                async with llm.text_turn("hello").stream() as stream:
                    async for _ in stream:
                        pass
                del stream
                gc.collect()
                left = {f"{type(each).__module__}.{type(each).__name__}" for each in gc.garbage}
            finally:
                gc.set_debug(0)
                gc.garbage.clear()
                gc.enable()
    ours = ("lutum._", "lutum.abc", "lutum.transport", "lutum_claude", "httpx", "httpcore")
    # The empty beginning of a transcript is its own parent.
    assert {name for name in left if name.startswith(ours)} <= {"lutum._transcript.Transcript"}


# Loops


@pytest.mark.parametrize("second", BACKENDS)
@pytest.mark.parametrize("first", BACKENDS)
def test_two_runs(first: Any, second: Any) -> None:
    """One adapter in two loops of any two backends opens new connections, and none is left open."""
    transport = HttpTransport()

    async def main() -> int:
        async with serving(answer_all) as server:
            await turn(transport, server.url)
            await turn(transport, server.url)
            assert idle(transport) == 1
            return server.connections

    assert run(main, backend=first) == 1
    assert idle(transport) == 0
    assert run(main, backend=second) == 1
    assert idle(transport) == 0


def test_two_loops_at_once() -> None:
    """Two threads with a loop each share an adapter; each has connections of its own."""
    transport = HttpTransport()
    barrier = threading.Barrier(2, timeout=10)
    results: list[int] = []

    async def main() -> None:
        async with serving(answer_all) as server:
            for _ in range(20):
                await turn(transport, server.url)
            await anyio.to_thread.run_sync(barrier.wait)
            await transport.aclose()
            results.append(server.connections)

    threads = [threading.Thread(target=partial(anyio.run, main, backend=backend)) for backend in BACKENDS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [1, 1]


async def test_collected_while_open_it_warns() -> None:
    """An adapter that goes with connections open says what was forgotten."""
    async with serving(answer_all) as server:
        transport = HttpTransport()
        await turn(transport, server.url)
        locals_ = [local for own in transport._own for local in own._locals.values()]
        transports = [transport]
        del transport
        with pytest.warns(ResourceWarning, match=r"await adapter\.aclose\(\)"):
            transports.clear()
        for local in locals_:
            await local.aclose()


async def test_collected_when_closed_it_does_not_warn() -> None:
    """Neither one that was closed nor one that was never used warns."""
    async with serving(answer_all) as server:
        transport = HttpTransport()
        await turn(transport, server.url)
        await transport.aclose()
        del transport
    HttpTransport()
    gc.collect()


def test_nothing_is_imported_in_the_first_turn() -> None:
    """After the constructor, a first turn on a loop finds every module loaded, on both backends."""
    program = f"""
import sys
sys.path[:0] = {[str(Path(__file__).parent)]}
import anyio, test_transport as t
import lutum

async def main(backend):
    async with t.serving(t.answer_all) as server:
        transport = t.HttpTransport()
        before = set(sys.modules)
        await t.turn(transport, server.url.replace("127.0.0.1", "localhost"))
        print(backend, sorted(set(sys.modules) - before))
        await transport.aclose()

lutum.run(main, sys.argv[1], backend=sys.argv[1])
"""
    for backend in BACKENDS:
        run = subprocess.run(
            [sys.executable, "-W", "error", "-c", program, backend],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (run.stderr, run.stdout) == ("", f"{backend} []\n")


# Clients of the user's


async def test_a_client_of_yours() -> None:
    """It is used as it is, marks included, and closing the adapter leaves it open."""
    async with httpx.AsyncClient(headers={"X-Mine": "1"}) as client, serving(answer_all) as server:
        transport = HttpTransport(client)
        marks: list[Phase] = []
        assert await turn(transport, server.url, marks.append) == "a"
        assert await turn(transport, server.url) == "a"
        await transport.aclose()
        assert marks == ["connecting", "connected", "sent"]
        assert not client.is_closed
        assert server.connections == 1


async def test_a_client_without_trace_gives_no_marks() -> None:
    """An in-memory transport has no phases; the turn runs all the same."""
    async with httpx.AsyncClient(
        transport=httpx.MockTransport(lambda request: httpx.Response(200, content=b"END"))
    ) as client:
        marks: list[Phase] = []
        await turn(HttpTransport(client), "http://x", marks.append)
        assert marks == []


async def test_a_client_that_cannot_connect() -> None:
    """httpx's own exceptions are ours too."""
    async with httpx.AsyncClient() as client:
        with pytest.raises(lutum.NetworkError):
            await turn(HttpTransport(client), "http://127.0.0.1:1")


async def test_a_client_that_is_closed() -> None:
    """It is your mistake, and says so."""
    client = httpx.AsyncClient()
    await client.aclose()
    with pytest.raises(lutum.UsageError, match="closed"):
        await turn(HttpTransport(client), "http://127.0.0.1:1")


async def test_a_client_that_raises_otherwise() -> None:
    """What is not the network's fault is not called so."""

    def fail(request: httpx.Request) -> httpx.Response:
        raise LookupError

    async with httpx.AsyncClient(transport=httpx.MockTransport(fail)) as client:
        with pytest.raises(LookupError):
            await turn(HttpTransport(client), "http://x")


@pytest.mark.parametrize(
    ("raised", "found"),
    [(h11.LocalProtocolError, lutum.UsageError), (h11.RemoteProtocolError, lutum.NetworkError)],
)
async def test_what_h11_raises(raised: type[Exception], found: type[Exception]) -> None:
    """A request that h11 refuses to write is your mistake, said without quoting it; a bad answer is not."""

    def fail(request: httpx.Request) -> httpx.Response:
        raise raised("Illegal header value b'secret'")

    async with httpx.AsyncClient(transport=httpx.MockTransport(fail)) as client:
        with pytest.raises(found) as info:
            await turn(HttpTransport(client), "http://x")
    assert ("secret" in str(info.value)) == (found is lutum.NetworkError)


@pytest.mark.parametrize("client", [httpx.Client, object])
def test_not_an_asynchronous_client(client: Any) -> None:
    """Any other kind of client is refused when the adapter is made."""
    with pytest.raises(lutum.BadValue) as info:
        HttpTransport(client())
    assert info.value.field == "http_client"


async def test_httpx2() -> None:
    """A client of httpx2 works as one of httpx does, its exceptions and marks too."""
    httpx2 = pytest.importorskip("httpx2")

    async def cut(peer: Peer) -> None:
        await peer.request()
        await peer.stream.send(HEAD + chunk(b"a"))

    async with httpx2.AsyncClient() as client:
        transport = HttpTransport(client)
        async with serving(answer_all) as server:
            marks: list[Phase] = []
            assert await turn(transport, server.url, marks.append) == "a"
            assert marks == ["connecting", "connected", "sent"]
            assert await turn(transport, server.url) == "a"
            assert server.connections == 1
        async with serving(cut) as server:
            with pytest.raises(lutum.Interrupted):
                await turn(transport, server.url)
            ex = exchange(transport, server.url)
            await ex.open(ignore)
            await ex.receive([])
            await ex.aclose()
        with pytest.raises(lutum.NetworkError):
            await turn(transport, "http://127.0.0.1:1")
    gc.collect()


# Small requests


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


# Proxies


async def forward_proxy(peer: Peer, seen: list[bytes]) -> None:
    """Answer absolute-form requests itself."""
    while request := await peer.request():
        seen.append(request[0].target)
        await peer.stream.send(WHOLE)


async def tunnel_proxy(peer: Peer, seen: list[bytes], port: int) -> None:
    """A CONNECT proxy that leads every tunnel to one port here."""
    request = await peer.request()
    assert request is not None
    seen.append(request[0].method + b" " + request[0].target)
    await peer.stream.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
    async with await anyio.connect_tcp("127.0.0.1", port) as other, anyio.create_task_group() as group:

        async def pump(source: ByteStream, target: ByteStream) -> None:
            try:
                while True:
                    await target.send(await source.receive())
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                group.cancel_scope.cancel()

        group.start_soon(pump, peer.stream, other)
        group.start_soon(pump, other, peer.stream)


async def test_http_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain request goes to the proxy with its whole URL; the host is the proxy's to find."""
    seen: list[bytes] = []
    async with serving(partial(forward_proxy, seen=seen)) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        transport = HttpTransport()
        for _ in range(2):
            assert await turn(transport, "http://provider.test") == "a"
        await transport.aclose()
        assert proxy.connections == 1
    assert seen == [b"http://provider.test/v1/turn"] * 2


async def test_https_through_a_proxy(monkeypatch: pytest.MonkeyPatch, certificate: Path) -> None:
    """https goes through a CONNECT tunnel; the tunnel's own request makes no marks."""
    seen: list[bytes] = []
    async with serving(answer_all, certificate) as server:
        port = int(server.url.rpartition(":")[2])
        async with serving(partial(tunnel_proxy, seen=seen, port=port)) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            transport = HttpTransport()
            marks: list[Phase] = []
            assert await turn(transport, "https://provider.test", marks.append) == "a"
            assert await turn(transport, "https://provider.test") == "a"
            await transport.aclose()
            assert (server.connections, proxy.connections) == (1, 1)
    assert seen == [b"CONNECT provider.test:443"]
    assert marks == ["connecting", "connected", "sent"]


async def test_a_proxy_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that wants a password is no connection."""
    answer = plain(407, b"")
    async with serving(partial(answer_all, answer=answer)) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        transport = HttpTransport()
        with pytest.raises(lutum.NetworkError, match=r"no connection to provider\.test: 407"):
            await turn(transport, "https://provider.test")
        await transport.aclose()


async def test_aclose_leaves_open_turns_through_a_proxy_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy's pool is closed when the last response of it is."""
    go_on, gone = anyio.Event(), anyio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.stream.send(HEAD + chunk(b"a"))
        await go_on.wait()
        await peer.stream.send(chunk(b"END") + LAST)
        await peer.closed()
        gone.set()

    async with serving(script) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        transport = HttpTransport()
        ex = exchange(transport, "http://provider.test")
        await ex.open(ignore)
        await transport.aclose()
        go_on.set()
        events: list[lutum.Event] = []
        while await ex.receive(events):
            pass
        await ex.aclose()
        assert COMPLETED in events
        with anyio.fail_after(1):
            await gone.wait()


@pytest.mark.parametrize("second", BACKENDS)
@pytest.mark.parametrize("first", BACKENDS)
def test_two_runs_through_a_proxy(first: Any, second: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections to a proxy belong to their loop as well, and are closed at the end of a run."""
    transports: list[HttpTransport] = []

    async def main(port: int) -> None:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)

        async def connected(stream: ByteStream) -> None:
            async with stream:
                await forward_proxy(Peer(stream), [])

        async with listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, connected)
            port = listener.listeners[0].extra(SocketAttribute.local_port)
            if not transports:
                monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
                transports.append(HttpTransport())
            ports.append(port)
            await turn(transports[0], "http://provider.test")
            group.cancel_scope.cancel()

    ports: list[int] = [0]
    run(main, ports[-1], backend=first)
    run(main, ports[-1], backend=second)
    transports.clear()
    gc.collect()


@pytest.mark.parametrize(
    ("no_proxy", "direct"),
    [
        ("", []),
        ("*", ["a.test", "www.a.test", "a.test:8443", "ba.test", "127.0.0.1", "[::1]"]),
        ("x.test, *", ["a.test", "www.a.test", "a.test:8443", "ba.test", "127.0.0.1", "[::1]"]),
        ("a.test", ["a.test", "www.a.test", "a.test:8443"]),
        (".a.test", ["a.test", "www.a.test", "a.test:8443"]),
        ("A.Test", ["a.test", "www.a.test", "a.test:8443"]),
        ("www.a.test", ["www.a.test"]),
        ("a.test:8443", ["a.test:8443"]),
        ("a.test:443", ["a.test", "www.a.test"]),
        ("a.test:80", []),
        ("127.0.0.1,::1", ["127.0.0.1", "[::1]"]),
        ("[::1]:443", ["[::1]"]),
        ("10.0.0.0/8,http://a.test,a.test:x,:,[", []),
    ],
)
def test_no_proxy(no_proxy: str, direct: list[str]) -> None:
    """Hosts with their subdomains, one port or all, and `*`; what is not understood excludes nothing."""
    hosts = ["a.test", "www.a.test", "a.test:8443", "ba.test", "127.0.0.1", "[::1]"]
    urls = {host: httpx.URL(f"https://{host}") for host in hosts}
    assert [h for h, url in urls.items() if _proxies.is_direct(no_proxy, url.host, url.port or 443)] == direct


async def test_no_proxy_goes_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that is excepted is reached directly, over connections that are kept."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "example.com, 127.0.0.1")
    transport = HttpTransport()
    async with serving(answer_all) as server:
        await turn(transport, server.url)
        await turn(transport, server.url)
        assert server.connections == 1
    with pytest.raises(lutum.NetworkError):
        await turn(transport, "http://provider.test")
    await transport.aclose()


async def test_all_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """One variable for all schemes; a proxy without a scheme is an http one."""
    seen: list[bytes] = []
    async with serving(partial(forward_proxy, seen=seen)) as proxy:
        monkeypatch.setenv("all_proxy", proxy.url.removeprefix("http://"))
        transport = HttpTransport()
        await turn(transport, "http://provider.test")
        await transport.aclose()
    assert len(seen) == 1


@pytest.mark.parametrize("name", ["http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"])
@pytest.mark.parametrize(
    "url", ["ftp://user:secret@x", "http://user:secret@x:port", "http://", "http://user:secret@[x"]
)
def test_a_broken_proxy(name: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused when the adapter is made, by the name of the variable, without its password."""
    monkeypatch.setenv(name, url)
    with pytest.raises(lutum.BadValue) as info:
        HttpTransport()
    assert info.value.field == name
    assert "secret" not in str(info.value)


def test_a_socks_proxy_without_socks(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to install."""
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:9")
    monkeypatch.setattr(_proxies, "find_spec", lambda name: None)
    with pytest.raises(lutum.BadValue, match=r"httpx\[socks\]"):
        HttpTransport()
