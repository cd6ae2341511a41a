"""The engine below a client of the user."""

from __future__ import annotations

import gzip
from functools import partial

import anyio
import httpx
import pytest
from http_peer import HEAD, Peer, answer_all, chunk, plain, serving, turn

import lutum
from lutum.abc import Phase
from lutum.testing import WireServer
from lutum.testing.wire import Refuse, Reply
from lutum.transport import HttpTransport, httpx_transport
from lutum_claude import ClaudeAdapter


async def test_below_a_client() -> None:
    """Its headers, auth and hooks count, and connections are kept."""
    seen: list[dict[bytes, bytes]] = []
    hooked: list[int] = []

    async def script(peer: Peer) -> None:
        while request := await peer.request():
            seen.append(dict(request[0].headers))
            assert request[1] == b"x" * 9
            await peer.stream.send(plain(200, b"fine", b"Set-Cookie: a=b"))

    async def hook(response: httpx.Response) -> None:
        hooked.append(response.status_code)

    async with serving(script) as server:
        transport = httpx_transport()
        client = httpx.AsyncClient(
            transport=transport, auth=("me", "pw"), event_hooks={"response": [hook]}, headers={"X-Mine": "1"}
        )
        async with client:
            for _ in range(2):
                response = await client.post(server.url, content=b"x" * 9)
                assert (response.status_code, response.text) == (200, "fine")
        assert server.connections == 1
    assert hooked == [200, 200]
    assert seen[0][b"authorization"].startswith(b"Basic ")
    assert (seen[0][b"x-mine"], seen[1][b"cookie"]) == (b"1", b"a=b")


async def test_transport_bodies() -> None:
    """httpx decodes them; an answer to a HEAD has none; an upload may be a stream."""
    async with serving(
        partial(answer_all, answer=plain(200, gzip.compress(b"fine"), b"Content-Encoding: gzip"))
    ) as one:
        async with httpx.AsyncClient(transport=httpx_transport()) as client:
            assert (await client.get(one.url)).text == "fine"

            async def pieces() -> object:
                yield b"a"
                yield b"b"

            assert (await client.post(one.url, content=pieces())).text == "fine"  # type: ignore[arg-type]
            assert (await client.head(one.url)).status_code == 200


async def test_turns_over_it() -> None:
    """As `http_client=`: the phases of a request, and the errors of a turn."""

    async def cut(peer: Peer) -> None:
        await peer.request()
        await peer.stream.send(HEAD + chunk(b"a"))

    async with httpx.AsyncClient(transport=httpx_transport()) as client:
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
        with pytest.raises(lutum.NetworkError, match="no connection"):
            await turn(transport, "http://127.0.0.1:9")


async def test_errors_are_those_of_httpx() -> None:
    async def silent(peer: Peer) -> None:
        await peer.request()
        await peer.closed()

    async def half(peer: Peer) -> None:
        await peer.request()
        await peer.stream.send(HEAD + chunk(b"a"))
        await peer.closed()

    timeout = httpx.Timeout(5, read=0.05)
    async with httpx.AsyncClient(transport=httpx_transport(), timeout=timeout) as client:
        with pytest.raises(httpx.ConnectError, match="refused"):
            await client.get("http://127.0.0.1:9")
        for script in (silent, half):
            async with serving(script) as server:
                with pytest.raises(httpx.ReadTimeout):
                    await client.get(server.url)
        with pytest.raises(httpx.LocalProtocolError):
            await client.get("http://127.0.0.1:9", headers={"X": "a\nb"})
    server = WireServer([Refuse(None)])
    async with httpx.AsyncClient(transport=httpx_transport(server.connect), timeout=0.05) as client:
        with pytest.raises(httpx.ConnectTimeout):
            await client.get(server.url)


async def test_httpcores_trace() -> None:
    """The extension of other people's tools is called with httpcore's names."""
    names: list[str] = []

    async def trace(name: str, info: object) -> None:
        await anyio.lowlevel.checkpoint()
        names.append(name)

    server = WireServer(default=Reply("fine"))
    async with httpx.AsyncClient(transport=httpx_transport(server.connect)) as client:
        await client.get(server.url + "/nowhere", extensions={"trace": trace})
        assert names[0] == "connection.connect_tcp.started"
        assert names[-1] == "http11.send_request_body.complete"
        adapter = ClaudeAdapter("claude-sonnet-4-5", api_key="k", base_url=server.url, http_client=client)
        assert (await lutum.Lutum(adapter).text_turn("hi").collect()).text == "fine"
