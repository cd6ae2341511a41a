"""The engine on real sockets: uploads, codings, URLs, and connections that nobody uses."""

from __future__ import annotations

import gzip
import socket
import traceback
import zlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import h11
import pytest
from anyio.abc import SocketAttribute
from http_peer import (
    COMPLETED,
    HEAD,
    LAST,
    WHOLE,
    Decoder,
    Peer,
    answer_all,
    chunk,
    exchange,
    idle,
    ignore,
    no_secrets,
    plain,
    serving,
    turn,
)

import lutum
from lutum._http import pool
from lutum._http.decompress import PIECE_BYTES, Decompressor
from lutum.abc import Phase, Prepared, TurnRequest
from lutum.transport import HttpExchange, HttpTransport, check_base_url

LARGE = bytes(8 * 2**20)


def upload(transport: HttpTransport, url: str, body: bytes = LARGE) -> HttpExchange:
    return transport.exchange(
        Prepared(request=TurnRequest(transcript=lutum.Transcript()), url=url, body=body, model="m"),
        sign=no_secrets,
        decoder=lambda response: Decoder(),
        fault=lambda response, body: lutum.ProviderError("status", status=response.status, body=body),
    )


async def head_only(peer: Peer) -> None:
    """Read a request's head, and nothing of its body beyond what came with it."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += await peer.stream.receive(4096)


@pytest.mark.parametrize("secure", [False, True])
async def test_an_answer_during_the_upload(transport: HttpTransport, certificate: Path, secure: bool) -> None:
    """A server that refuses by the head and reads no more is heard at once; its connection is not kept."""
    refused = anyio.Event()

    async def script(peer: Peer) -> None:
        await head_only(peer)
        await peer.stream.send(plain(413, b"too large"))
        await refused.wait()

    async with serving(script, certificate if secure else None) as server:
        marks: list[Phase] = []
        ex = upload(transport, server.url)
        with anyio.fail_after(5), pytest.raises(lutum.ProviderError) as info:
            await ex.open(marks.append)
        await ex.aclose()
        refused.set()
    assert (info.value.status, info.value.body) == (413, b"too large")
    assert marks == ["connecting", "connected"]
    assert idle(transport) == 0


async def test_an_answer_and_a_close_during_the_upload(transport: HttpTransport) -> None:
    """The answer is read although the write fails."""

    async def script(peer: Peer) -> None:
        await head_only(peer)
        await peer.stream.send(plain(401, b"no", b"Connection: close"))

    async with serving(script) as server:
        ex = upload(transport, server.url)
        with pytest.raises(lutum.ProviderError) as info:
            await ex.open(ignore)
        await ex.aclose()
    assert (info.value.status, info.value.body) == (401, b"no")


async def test_a_stream_that_begins_during_the_upload(transport: HttpTransport) -> None:
    """A 200 does not end the upload: the server gets all of it, and the client all of the answer."""
    got = 0

    async def script(peer: Peer) -> None:
        nonlocal got
        data = b""
        while b"\r\n\r\n" not in data:
            data += await peer.stream.receive()
        got = len(data.partition(b"\r\n\r\n")[2])
        await peer.stream.send(HEAD + chunk(b"a"))
        while got < len(LARGE):
            got += len(await peer.stream.receive())
        await peer.stream.send(chunk(b"END") + LAST)
        await peer.closed()

    async with serving(script) as server:
        marks: list[Phase] = []
        ex = upload(transport, server.url)
        await ex.open(marks.append)
        events: list[lutum.Event] = []
        while await ex.receive(events):
            pass
        await ex.aclose()
        assert got == len(LARGE)
        assert COMPLETED in events
        assert marks == ["connecting", "connected", "sent"]
        assert idle(transport) == 1


async def test_a_long_answer_during_the_upload(transport: HttpTransport) -> None:
    """It is read while the upload runs only up to a bound, and nothing of it is lost."""
    many = 4 * 2**20

    async def script(peer: Peer) -> None:
        await head_only(peer)
        async with anyio.create_task_group() as group:
            group.start_soon(peer.stream.send, HEAD + chunk(b"a" * many) + chunk(b"END") + LAST)
            await peer.closed()

    async with serving(script) as server:
        ex = upload(transport, server.url)
        await ex.open(ignore)
        events: list[lutum.Event] = []
        while await ex.receive(events):
            pass
        await ex.aclose()
    text = "".join(event.text for event in events if isinstance(event, lutum.TextDelta))
    assert text.count("a") == many


async def test_cancelled_during_the_upload(transport: HttpTransport) -> None:
    """The server sees the connection close."""
    gone, begun = anyio.Event(), anyio.Event()

    async def script(peer: Peer) -> None:
        await head_only(peer)
        begun.set()
        await peer.closed()
        gone.set()

    async def send(ex: HttpExchange) -> None:
        try:
            await ex.open(ignore)
        finally:
            await ex.aclose()

    async with serving(script) as server:
        async with anyio.create_task_group() as group:
            group.start_soon(send, upload(transport, server.url, bytes(64 * 2**20)))
            await begun.wait()
            group.cancel_scope.cancel()
        with anyio.fail_after(5):
            await gone.wait()


@pytest.mark.parametrize("secure", [False, True])
async def test_sockets_probe_silent_connections(
    transport: HttpTransport, certificate: Path, secure: bool
) -> None:
    """A NAT forgets a flow that is silent while a model reasons."""
    async with serving(answer_all, certificate if secure else None) as server:
        await turn(transport, server.url)
        assert transport._engine is not None
        [kept] = transport._engine.pool.here()._idle
        raw = kept.stream.extra(SocketAttribute.raw_socket)
        assert raw.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        if hasattr(socket, "TCP_KEEPIDLE"):
            assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60


async def test_idle_connections_that_the_server_closed(
    transport: HttpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are closed here too, while nothing is asked of the adapter."""
    monkeypatch.setattr(pool, "SWEEP_SECONDS", 0.01)
    close, seen = anyio.Event(), anyio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.stream.send(WHOLE)
        await close.wait()
        await peer.stream.send_eof()
        await peer.closed()
        seen.set()

    async with serving(script) as server:
        await turn(transport, server.url)
        assert idle(transport) == 1
        close.set()
        with anyio.fail_after(5):
            await seen.wait()
        assert idle(transport) == 0


@pytest.mark.parametrize(
    ("header", "kept"),
    [
        (b"Keep-Alive: timeout=5, max=100", 1),
        (b"Keep-Alive: timeout=1", 0),
        (b"Keep-Alive: max=3, timeout=0", 0),
        (b"Keep-Alive: what", 1),
    ],
)
async def test_what_the_server_keeps(transport: HttpTransport, header: bytes, kept: int) -> None:
    """A connection is idle no longer than its server says."""
    answer = WHOLE.replace(b"\r\n\r\n", b"\r\n" + header + b"\r\n\r\n", 1)
    async with serving(partial(answer_all, answer=answer)) as server:
        await turn(transport, server.url)
        assert idle(transport) == kept
        if header.endswith(b"100"):
            assert transport._engine is not None
            [connection] = transport._engine.pool.here()._idle
            assert connection.idle_until - pool.time.monotonic() < 5


def deflated(data: bytes, bits: int) -> bytes:
    packer = zlib.compressobj(wbits=bits)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        (b"gzip", gzip.compress(b"texts, END", mtime=0)),
        (b"X-GZIP", gzip.compress(b"texts, END", mtime=0)),
        (b"gzip", gzip.compress(b"texts, ", mtime=0) + gzip.compress(b"END", mtime=0)),
        (b"deflate", deflated(b"texts, END", 15)),
        (b"deflate", deflated(b"texts, END", -15)),
        (b"identity", b"texts, END"),
        (b"identity, gzip", gzip.compress(b"texts, END", mtime=0)),
    ],
)
async def test_a_coding(transport: HttpTransport, coding: bytes, body: bytes) -> None:
    """One coding is understood, though none was asked for."""
    answer = plain(200, body, b"Content-Encoding: " + coding)
    async with serving(partial(answer_all, answer=answer)) as server:
        response, content = await transport.request("GET", server.url)
        assert (response.status, content) == (200, b"texts, END")


@pytest.mark.parametrize("coding", [b"gzip, gzip", b"br", b"zstd", b"deflate,gzip"])
async def test_a_coding_that_nobody_asked_for(transport: HttpTransport, coding: bytes) -> None:
    """Two codings, or one that we do not know, are the provider's fault; an error keeps its status."""
    for status in (200, 500):
        answer = plain(status, b"xxx", b"Content-Encoding: " + coding)
        async with serving(partial(answer_all, answer=answer)) as server:
            with pytest.raises(lutum.ProviderError) as info:
                await turn(transport, server.url)
        assert (info.value.kind == "malformed") == (status == 200)
        assert status == 200 or info.value.status == 500


async def test_a_coding_that_is_cut(transport: HttpTransport) -> None:
    """A whole HTTP answer whose gzip data are not whole is a cut answer."""
    answer = plain(200, gzip.compress(b"a lot of text" * 100)[:-6], b"Content-Encoding: gzip")
    async with serving(partial(answer_all, answer=answer)) as server:
        ex = exchange(transport, server.url)
        await ex.open(ignore)
        with pytest.raises(lutum.Interrupted, match="compressed"):
            while await ex.receive([]):
                pass
        await ex.aclose()


def test_decompression_is_bounded() -> None:
    """A small piece becomes many bounded ones, and nothing is lost between them."""
    text = bytes(3 * PIECE_BYTES + 5)
    found = Decompressor.of("gzip", "host")
    assert found is not None
    found.feed(gzip.compress(text))
    pieces: list[bytes] = []
    while piece := found.take():
        pieces.append(piece)
    found.end()
    assert max(map(len, pieces)) <= PIECE_BYTES
    assert b"".join(pieces) == text


@pytest.mark.parametrize("name", ["Connection", "content-length", "Transfer-Encoding"])
async def test_headers_of_the_connection(transport: HttpTransport, name: str) -> None:
    """A caller's are refused by name, because two parsers could read such a request differently."""
    with pytest.raises(lutum.BadValue) as info:
        await transport.request("GET", "http://127.0.0.1:9", [(name, "close")])
    assert info.value.field == name


async def test_a_path_beyond_ascii(transport: HttpTransport) -> None:
    """It is quoted as UTF-8, and what is quoted already stays as it is."""
    seen: list[h11.Request] = []

    async def script(peer: Peer) -> None:
        while request := await peer.request():
            seen.append(request[0])
            await peer.stream.send(WHOLE)

    async with serving(script) as server:
        await transport.request("GET", server.url + "/m\xf6del a%20b/\r\nx?q=\xe9&r=[1]")
    assert seen[0].target == b"/m%C3%B6del%20a%20b/x?q=%C3%A9&r=%5B1%5D"


@pytest.mark.parametrize("url", ["http://user:secret@x.test", "https://user@x.test/v1"])
async def test_user_info(transport: HttpTransport, url: str) -> None:
    """It would be a password in plain sight; it is refused by the name of the argument, and not quoted."""
    with pytest.raises(lutum.BadValue) as info:
        check_base_url(url)
    assert (info.value.field, "secret" in str(info.value)) == ("base_url", False)
    with pytest.raises(lutum.BadValue) as info:
        await transport.request("GET", url)
    assert "secret" not in str(info.value)


@pytest.mark.parametrize("url", ["", "x.test", "ftp://x.test", "http://", "http://a b", "http://x:port"])
async def test_no_url(transport: HttpTransport, url: str) -> None:
    with pytest.raises(lutum.BadValue) as info:
        await transport.request("GET", url)
    assert info.value.field == "url"


async def test_the_host_header(transport: HttpTransport) -> None:
    """The port is there unless it is the scheme's own, IPv6 addresses have brackets, names are ASCII."""
    from lutum._http.heads import Target

    assert Target.of("https://x.test:443/a").authority == "x.test"
    assert Target.of("http://x.test:443/a").authority == "x.test:443"
    assert Target.of("http://[::1]:80").authority == "[::1]"
    assert Target.of("https://fa\xdf.test").host == "xn--fa-hia.test"


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("where", ["closed", "refused"])
async def test_the_key_is_in_no_local_variable(transport: HttpTransport, where: str, large: bool) -> None:
    """Error trackers keep the local variables of every frame."""

    async def secrets(request: Any = None) -> Mapping[str, str]:
        return {"authorization": "Bearer sk-a-secret"}

    async def script(peer: Peer) -> None:
        await head_only(peer)

    async with serving(script) as server:
        url = server.url if where == "closed" else "http://127.0.0.1:9"
        ex = exchange(transport, url, secrets)
        if large:
            ex._prepared = Prepared(request=ex._prepared.request, url=url, body=LARGE[:200_000], model="m")
        with pytest.raises(lutum.NetworkError) as info:
            await ex.open(ignore)
        await ex.aclose()
        with pytest.raises(lutum.NetworkError) as other:
            await transport.request("GET", url, RequestHeadersOf(await secrets()))
    for error in (info.value, other.value):
        found: Any = traceback.TracebackException.from_exception(error, capture_locals=True)
        while found is not None:
            for frame in found.stack:
                if "/lutum/" in frame.filename:
                    assert "sk-a-secret" not in str(frame.locals)
            found = found.__cause__ or found.__context__


def RequestHeadersOf(secrets: Mapping[str, str]) -> Any:
    from lutum._http.heads import RequestHeaders

    return RequestHeaders(secrets.items())
