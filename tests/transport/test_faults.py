"""The HTTP pump on real sockets: what a server or the network does wrong."""

from __future__ import annotations

import gzip
from functools import partial

import anyio
import pytest
from anyio.abc import SocketAttribute
from http_peer import (
    COMPLETED,
    HEAD,
    Peer,
    answer_all,
    chunk,
    exchange,
    ignore,
    plain,
    serving,
    turn,
)

import lutum
from lutum.transport import HttpTransport


@pytest.mark.parametrize("status", [302, 401, 429, 500, 529])
async def test_an_error_status_in_transport(transport: HttpTransport, status: int) -> None:
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
async def test_no_head_in_transport(transport: HttpTransport, how: str) -> None:
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
