"""The HTTP pump through proxies."""

from __future__ import annotations

import gc
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from anyio.abc import ByteStream, SocketAttribute
from http_peer import (
    BACKENDS,
    COMPLETED,
    HEAD,
    LAST,
    WHOLE,
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
from lutum._http import proxies as _proxies
from lutum._run import run
from lutum.abc import Phase
from lutum.transport import HttpTransport


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
        with pytest.raises(lutum.NetworkError, match=r"provider\.test through the proxy 127\..*407"):
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
        ("127.0.0.0/8", ["127.0.0.1"]),
        ("::/64 10.0.0.0/8", ["[::1]"]),
        ("*.a.test", ["a.test", "www.a.test", "a.test:8443"]),
        ("x.test\na.test:80 127.0.0.1", ["127.0.0.1"]),
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


async def socks_proxy(peer: Peer, seen: list[bytes], port: int, reply: int = 0) -> None:
    """A SOCKS5 proxy that wants a password and leads every connection to one port here."""

    async def read(count: int) -> bytes:
        data = b""
        while len(data) < count:
            data += await peer.stream.receive(count - len(data))
        return data

    version, count = await read(2)
    assert (version, await read(count)) == (5, b"\x02")
    await peer.stream.send(b"\x05\x02")
    user = await read((await read(2))[1])
    password = await read((await read(1))[0])
    seen.append(user + b":" + password)
    await peer.stream.send(b"\x01\x00")
    assert (await read(4))[:3] == b"\x05\x01\x00"
    seen.append(await read((await read(1))[0]))
    seen.append(await read(2))
    await peer.stream.send(b"\x05%c\x00\x01\x00\x00\x00\x00\x00\x00" % reply)
    if reply:
        return
    async with await anyio.connect_tcp("127.0.0.1", port) as other, anyio.create_task_group() as group:

        async def pump(source: ByteStream, target: ByteStream) -> None:
            try:
                while True:
                    await target.send(await source.receive())
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                group.cancel_scope.cancel()

        group.start_soon(pump, peer.stream, other)
        group.start_soon(pump, other, peer.stream)


@pytest.mark.parametrize("secure", [False, True])
async def test_socks(monkeypatch: pytest.MonkeyPatch, certificate: Path, secure: bool) -> None:
    """SOCKS5 with a password, for http and https; the proxy looks the name up."""
    seen: list[bytes] = []
    async with serving(answer_all, certificate if secure else None) as server:
        port = int(server.url.rpartition(":")[2])
        async with serving(partial(socks_proxy, seen=seen, port=port)) as proxy:
            monkeypatch.setenv("all_proxy", proxy.url.replace("http://", "socks5h://me:p%40ss@"))
            transport = HttpTransport()
            scheme = "https" if secure else "http"
            for _ in range(2):
                assert await turn(transport, f"{scheme}://provider.test") == "a"
            await transport.aclose()
            assert proxy.connections == 1
    assert seen == [b"me:p@ss", b"provider.test", (443 if secure else 80).to_bytes(2, "big")]


async def test_socks_that_does_not_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is named, and the proxy, without its password."""
    async with serving(partial(socks_proxy, seen=[], port=0, reply=5)) as proxy:
        monkeypatch.setenv("all_proxy", proxy.url.replace("http://", "socks5://me:secret@"))
        transport = HttpTransport()
        with pytest.raises(lutum.NetworkError, match=r"proxy 127.*refuses the connection") as info:
            await turn(transport, "http://provider.test")
        assert "secret" not in str(info.value) + repr(info.value.__cause__)
        await transport.aclose()


@pytest.mark.parametrize("step", ["CONNECT", "TLS"])
async def test_cancelled_in_a_tunnel(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Whichever step it was in, the proxy sees the connection close."""
    waiting, gone = anyio.Event(), anyio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        if step == "TLS":
            await peer.stream.send(b"HTTP/1.1 200 OK\r\n\r\n")
            await peer.stream.receive()
        waiting.set()
        await peer.closed()
        gone.set()

    async with serving(script) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        transport = HttpTransport()
        async with anyio.create_task_group() as group:
            group.start_soon(turn, transport, "https://provider.test")
            await waiting.wait()
            group.cancel_scope.cancel()
        with anyio.fail_after(5):
            await gone.wait()
