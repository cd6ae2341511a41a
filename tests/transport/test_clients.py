"""The HTTP pump over a client of the user's."""

from __future__ import annotations

import gc
from typing import Any

import h11
import httpx
import pytest
from http_peer import (
    HEAD,
    Peer,
    answer_all,
    chunk,
    exchange,
    ignore,
    serving,
    turn,
)

import lutum
from lutum.abc import Phase
from lutum.transport import HttpTransport


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
