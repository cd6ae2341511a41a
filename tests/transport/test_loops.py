"""One transport on several event loops, one after the other and at once."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from http_peer import (
    BACKENDS,
    answer_all,
    idle,
    serving,
    turn,
)

from lutum._run import run
from lutum.transport import HttpTransport


@pytest.mark.parametrize("second", BACKENDS)
@pytest.mark.parametrize("first", BACKENDS)
def test_two_runs(first: Any, second: Any) -> None:
    """One adapter in two loops of any two backends opens new connections, and none is left open."""
    transport = HttpTransport()

    async def main() -> int:
        async with serving(answer_all) as server:
            await turn(transport, server.url)
            await turn(transport, server.url)
            assert idle(transport) == 1
            return server.connections

    assert run(main, backend=first) == 1
    assert idle(transport) == 0
    assert run(main, backend=second) == 1
    assert idle(transport) == 0


def test_two_loops_at_once() -> None:
    """Two threads with a loop each share an adapter; each has connections of its own."""
    transport = HttpTransport()
    barrier = threading.Barrier(2, timeout=10)
    results: list[int] = []

    async def main() -> None:
        async with serving(answer_all) as server:
            for _ in range(20):
                await turn(transport, server.url)
            await anyio.to_thread.run_sync(barrier.wait)
            await transport.aclose()
            results.append(server.connections)

    threads = [threading.Thread(target=partial(anyio.run, main, backend=backend)) for backend in BACKENDS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [1, 1]


async def test_collected_while_open_it_warns() -> None:
    """An adapter that goes with connections open says what was forgotten."""
    async with serving(answer_all) as server:
        transport = HttpTransport()
        await turn(transport, server.url)
        assert transport._engine is not None
        kept = transport._engine.pool.here()
        transports = [transport]
        del transport
        with pytest.warns(ResourceWarning, match=r"await adapter\.aclose\(\)"):
            transports.clear()
        await kept.aclose()


async def test_collected_when_closed_it_does_not_warn() -> None:
    """Neither one that was closed nor one that was never used warns."""
    async with serving(answer_all) as server:
        transport = HttpTransport()
        await turn(transport, server.url)
        await transport.aclose()
        del transport
    HttpTransport()
    gc.collect()


def test_nothing_is_imported_in_the_first_turn() -> None:
    """After the constructor, a first turn on a loop finds every module loaded, on both backends."""
    program = f"""
import sys
sys.path[:0] = {[str(Path(__file__).parents[1])]}
import anyio, http_peer as t
import lutum

async def main(backend):
    async with t.serving(t.answer_all) as server:
        transport = t.HttpTransport()
        before = set(sys.modules)
        await t.turn(transport, server.url.replace("127.0.0.1", "localhost"))
        print(backend, sorted(set(sys.modules) - before))
        await transport.aclose()

lutum.run(main, sys.argv[1], backend=sys.argv[1])
"""
    for backend in BACKENDS:
        run = subprocess.run(
            [sys.executable, "-W", "error", "-c", program, backend],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (run.stderr, run.stdout) == ("", f"{backend} []\n")
