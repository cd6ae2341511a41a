"""A server that runs a script for each connection, and the other end: an exchange whose pieces are texts."""

from __future__ import annotations

import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from socket import SO_LINGER, SOL_SOCKET
from typing import Any

import anyio
import h11
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSListener

import lutum
from lutum.abc import Phase, Prepared, TurnRequest
from lutum.transport import HttpExchange, HttpTransport, OutgoingRequest

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


async def no_secrets(request: OutgoingRequest) -> Mapping[str, str]:
    return {}


def exchange(
    transport: HttpTransport,
    url: str,
    secrets: Callable[[OutgoingRequest], Awaitable[Mapping[str, str]]] = no_secrets,
) -> HttpExchange:
    return transport.exchange(
        Prepared(
            request=TurnRequest(transcript=lutum.Transcript()),
            url=url + "/v1/turn",
            body=b"x" * 100,
            model="m",
            headers=(("X-Fixed", "1"),),
        ),
        sign=secrets,
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


def idle(transport: HttpTransport) -> int:
    assert transport._engine is not None
    return len(transport._engine.pool)
