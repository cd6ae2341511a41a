"""The HTTP pump on real sockets: which connections it opens, keeps, and uses again."""

from __future__ import annotations

import asyncio
import ssl
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream, SocketAttribute
from anyio.lowlevel import checkpoint
from anyio.streams.tls import TLSAttribute
from http_peer import (
    COMPLETED,
    HEAD,
    LAST,
    WHOLE,
    Peer,
    Server,
    answer_all,
    chunk,
    exchange,
    idle,
    ignore,
    serving,
    turn,
)

import lutum
from lutum._http import pool as _connections
from lutum.abc import Phase
from lutum.transport import HttpTransport


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

    monkeypatch.setattr(_connections, "MAX_IDLE", 64)
    async with serving(script) as server:
        async with anyio.create_task_group() as group:
            for _ in range(200):
                group.start_soon(turn, transport, server.url)
        assert idle(transport) == 64
        # Looking for an idle one does not look at the others.
        looked = 0

        def is_quiet(self: object) -> bool:
            nonlocal looked
            looked += 1
            return True

        monkeypatch.setattr("lutum._http.pool.Connection.is_quiet", is_quiet)
        await turn(transport, server.url)
        assert (server.connections, looked) == (200, 1)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_closing_is_cancelled_by_asyncio_itself(transport: HttpTransport) -> None:
    """No scope holds `task.cancel()` back; every connection is closed all the same."""
    async with serving(answer_all) as server:
        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(turn, transport, server.url)
        assert transport._engine is not None
        kept = transport._engine.pool.here()
        assert len(kept) == 4
        closing = asyncio.ensure_future(transport.aclose())
        await checkpoint()
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert len(kept) == 0


async def test_old_connections_are_dropped(transport: HttpTransport) -> None:
    """What was idle for longer than the limit is closed by the next request."""
    async with serving(answer_all) as server:
        await turn(transport, server.url)
        assert transport._engine is not None
        [kept] = transport._engine.pool.here()._idle
        kept.idle_until = 0.0
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

    sent_all = anyio.Event()

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
        sent_all.set()
        await peer.closed()

    async with serving(script, certificate if secure else None) as server:
        for number in (1, 2):
            await turn(transport, server.url)
            assert server.connections == number
            # What comes after the next request was written looks like its answer.
            await sent_all.wait()


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


async def test_connecting_waits_without_a_timeout(
    transport: HttpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Turns beyond a number wait for those that connect, and are not marked as connecting before that."""
    monkeypatch.setattr(_connections, "OPENING", 2)
    go_on = anyio.Event()

    async def connect_tcp(*args: object) -> Any:
        await go_on.wait()
        raise OSError("nothing there")

    monkeypatch.setattr("lutum._http.pool.connect_tcp", connect_tcp)
    marks: list[Phase] = []

    async def one() -> None:
        with pytest.raises(lutum.NetworkError, match="nothing there"):
            await turn(transport, "http://127.0.0.1:9", marks.append)

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(one)
        await anyio.wait_all_tasks_blocked()
        assert marks == ["connecting"] * 2
        go_on.set()
    assert marks == ["connecting"] * 5
