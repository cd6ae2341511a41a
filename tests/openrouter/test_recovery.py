"""What a turn left at OpenRouter was billed: asked for with `recovery=`, behind its closed connection."""

from __future__ import annotations

import anyio
import httpx
import pytest

import lutum
from lutum.testing import virtual_time
from lutum.testing.wire import NeverEnding, Reply, WireServer
from lutum_openrouter import OpenRouterAdapter

VIRTUAL = pytest.mark.parametrize(
    "anyio_backend",
    [(name, virtual_time(name)) for name in ("asyncio", "trio")],
    ids=["asyncio", "trio"],
)
BILLED = {"prompt_tokens": 70, "completion_tokens": 30}
ENDLESS = Reply(NeverEnding("and "), usage=BILLED)


class Watched(httpx.AsyncBaseTransport):
    """Notes, for each question about a generation, how the turn's own answer had ended by then."""

    def __init__(self, server: WireServer) -> None:
        self._server = server
        self._inner = server.transport()
        self.outcomes = list[str]()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/generation"):
            self.outcomes.append(self._server.requests[0].outcome)
        return await self._inner.handle_async_request(request)


async def leave(llm: lutum.Lutum) -> lutum.Usage:
    async with llm.text_turn("hello").stream() as stream:
        async for _ in stream.text():
            break
    return stream.usage


@VIRTUAL
async def test_only_when_it_was_given() -> None:
    """Without `recovery=` one turn is one request, and a cut one is a count."""
    server = WireServer([ENDLESS])
    async with httpx.AsyncClient(transport=server.transport()) as client:
        usage = await leave(lutum.Lutum(OpenRouterAdapter("a/b", api_key="k", http_client=client)))
    assert usage.known == "estimated"
    assert [request.path for request in server.requests] == ["/api/v1/chat/completions"]


@VIRTUAL
@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_behind_the_closed_connection(api: str) -> None:
    """The socket is closed first; the record is not there twice, and then it is."""
    server = WireServer([ENDLESS])
    watched = Watched(server)
    async with httpx.AsyncClient(transport=watched) as client:
        adapter = OpenRouterAdapter("a/b", api_key="k", api=api, http_client=client)
        usage = await leave(lutum.Lutum(adapter, recovery=adapter))
    assert watched.outcomes == ["disconnected"] * 3
    assert usage.known == "recovered"


@VIRTUAL
async def test_two_seconds_at_the_most() -> None:
    """A record that never comes is waited for no longer than that, and the turn is settled with a count."""
    server = WireServer([ENDLESS], generation_misses=1_000)
    async with httpx.AsyncClient(transport=server.transport()) as client:
        adapter = OpenRouterAdapter("a/b", api_key="k", http_client=client)
        began = anyio.current_time()
        usage = await leave(lutum.Lutum(adapter, recovery=adapter))
        assert anyio.current_time() - began <= 2.0
    assert usage.known == "estimated"
    assert len(server.requests) > 3
