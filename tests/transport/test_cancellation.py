"""The HTTP pump on real sockets: what it leaves open, and what it leaves to the collector."""

from __future__ import annotations

import gc
import warnings
from functools import partial
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from http_peer import (
    COMPLETED,
    HEAD,
    Peer,
    answer_all,
    chunk,
    exchange,
    idle,
    ignore,
    serving,
    turn,
)

import lutum
from lutum.abc import Phase
from lutum.testing import WireServer
from lutum.testing.wire import Reply
from lutum.transport import HttpExchange, HttpTransport


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

    monkeypatch.setattr("lutum._http.pool.connect_tcp", connect_tcp)
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
        (HEAD + chunk(b"a") + b"1;odd\r\na\r\n" * 9, 1),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\naaaa", 1),
    ],
)
async def test_an_abandoned_body_is_collected_in_silence(
    transport: HttpTransport, answer: bytes, pieces: int
) -> None:
    """Nothing that read it warns or starts a task when it goes."""
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


async def test_a_bad_chunk_takes_nothing_back(transport: HttpTransport) -> None:
    """The pieces that came before it in the same read count, and the fault is raised after them."""
    answer = HEAD + chunk(b"a") + b"Z\r\naXX"
    async with serving(partial(answer_all, answer=answer)) as server:
        ex = exchange(transport, server.url)
        await ex.open(ignore)
        received: list[lutum.Event] = []
        with pytest.raises(lutum.Interrupted, match="chunk size"):
            while await ex.receive(received):
                pass
        assert received == [lutum.TextDelta("a")]
        await ex.aclose()


async def test_a_bad_chunk_after_the_end_of_the_turn(transport: HttpTransport) -> None:
    """The turn is complete; its connection is not used again."""
    answer = HEAD + chunk(b"a") + chunk(b"END") + b"Z\r\naXX"
    async with serving(partial(answer_all, answer=answer)) as server:
        assert await turn(transport, server.url) == "a"
        assert idle(transport) == 0


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
    ours = ("lutum._", "lutum.abc", "lutum.transport", "lutum_claude", "httptools")
    # The empty beginning of a transcript is its own parent.
    assert {name for name in left if name.startswith(ours)} <= {"lutum._values.transcript.Transcript"}
