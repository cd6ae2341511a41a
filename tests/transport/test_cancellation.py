"""The HTTP pump on real sockets: what it leaves open, and what it leaves to the collector."""

from __future__ import annotations

import gc
import sys
import warnings
from functools import partial
from typing import Any

import anyio
import h11
import pytest
from anyio.lowlevel import checkpoint
from http_peer import (
    BACKENDS,
    COMPLETED,
    HEAD,
    LAST,
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

    monkeypatch.setattr("lutum._http.network_stream.connect_tcp", connect_tcp)
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
    assert {name for name in left if name.startswith(ours)} <= {"lutum._values.transcript.Transcript"}
