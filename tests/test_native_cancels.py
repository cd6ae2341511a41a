"""A native cancellation of asyncio at each step of each public context manager comes out, and leaves nothing.

`task.cancel()`, two of them in a row, and `asyncio.timeout` at every number of steps of the loop. Time is
virtual, but for servers on sockets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import anyio
import httpx
import pytest
from fakes import STARTED, FakeAdapter, House, Text, Wait, done
from mcp import Client
from mcp.server.mcpserver import MCPServer

import lutum
import lutum.mcp
from lutum import trace
from lutum.testing import virtual_time
from lutum.testing.wire import Reply, WireServer
from lutum_claude import ClaudeAdapter

VIRTUAL = pytest.mark.parametrize(
    "anyio_backend", [pytest.param(("asyncio", virtual_time("asyncio")), id="asyncio-virtual")]
)
SLOW = [STARTED, Wait(1), Text("a"), Wait(1), done()]

Body = Callable[[House], Awaitable[None]]


async def stream(house: House) -> None:
    async with house.stream() as turn:
        async for _ in turn:
            pass


async def stream_left(house: House) -> None:
    async with house.stream() as turn:
        await anext(turn)


async def within(house: House) -> None:
    async with house.llm.within(tokens=5000) as scoped:
        await scoped.text_turn("hello").collect()


async def within_guaranteed(house: House) -> None:
    async with house.llm.within(tokens=5000, guaranteed=True) as scoped:
        async with scoped.within(tokens=500) as inner:
            await inner.text_turn("hello").collect()


async def within_outside(house: House) -> None:
    """A turn of the block lives in a nursery around it."""

    async def outside(scoped: lutum.Lutum) -> None:
        with suppress(lutum.BudgetExceeded):
            await scoped.text_turn("hello").collect()

    async with anyio.create_task_group() as group:
        async with house.llm.within(tokens=5000) as scoped:
            group.start_soon(outside, scoped)
            await anyio.sleep(0.5)


async def reservation(house: House) -> None:
    async with house.budget.reserve(lutum.Estimate(5)):
        await anyio.sleep(1)


async def reservation_waiting(house: House) -> None:
    budget = lutum.Budget(tokens=10, on_exhausted="wait")
    held = await budget.reserve(lutum.Estimate(10))

    async def give() -> None:
        try:
            await anyio.sleep(1)
        finally:
            held.settle(lutum.Usage())

    try:
        async with anyio.create_task_group() as group:
            group.start_soon(give)
            async with budget.reserve(lutum.Estimate(5)):
                await anyio.sleep(1)
    finally:
        assert budget.reserved.total_tokens == 0
        assert budget._claims == {}


async def captured(house: House) -> None:
    async with trace.capture():
        await stream(house)


async def adapter(house: House) -> None:
    server = WireServer([Reply("hi")])
    async with httpx.AsyncClient(transport=server.transport()) as client:
        made = ClaudeAdapter("claude-sonnet-4-5", api_key="k", base_url=server.url, http_client=client)
        try:
            async with made as claude:
                await lutum.Lutum(claude, budget=house.budget).text_turn("hello").collect()
        finally:
            assert "open" not in server.outcomes()


async def tools(house: House) -> None:
    """An MCP server in this process: its connection is a context manager too."""
    official = MCPServer("s")

    @official.tool()
    async def add(a: int, b: int) -> int:
        """Add."""
        await anyio.sleep(1)
        return a + b

    async with lutum.mcp.connect(Client(official)) as server:
        await server.toolset()
        await server.call("add", {"a": 1, "b": 2})


BODIES: list[Body] = [
    stream,
    stream_left,
    within,
    within_guaranteed,
    within_outside,
    reservation,
    reservation_waiting,
    captured,
    adapter,
    tools,
]


async def steps(count: int) -> None:
    """Let the loop take so many steps; when all wait, time jumps."""
    for _ in range(count):
        await asyncio.sleep(0)
        if not asyncio.get_running_loop()._ready:  # type: ignore[attr-defined]  # nothing is due now
            await asyncio.sleep(0.1)


@VIRTUAL
@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
@pytest.mark.parametrize("way", ["cancel", "twice", "timeout"])
async def test_a_native_cancel_at_every_step(body: Body, way: str) -> None:
    """The task ends as cancelled, and no lease, task, claim or connection is left."""
    at = 0
    while True:
        with House(FakeAdapter(SLOW, checkpoints=True, close=0.2)) as house:
            if way == "timeout":
                ended = await _timed_out(body, house, 0.05 * at + 0.01)
            else:
                task = asyncio.ensure_future(body(house))
                await steps(at)
                ended = task.done()
                task.cancel()
                if way == "twice":
                    await asyncio.sleep(0)
                    task.cancel()
                await asyncio.wait([task])
                if not ended:
                    assert task.cancelled(), (at, task.exception())
            if way == "twice":  # what was told to end may still close its connection
                await asyncio.sleep(10)
        if ended:
            break
        at += 1
    # What takes no time is over before any timeout.
    assert at > 2 or (way, body) == ("timeout", adapter)


async def _timed_out(body: Body, house: House, seconds: float) -> bool:
    """Whether the body ended before its `asyncio.timeout`."""
    try:
        async with asyncio.timeout(seconds):
            await body(house)
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("way", ["cancel", "twice"])
async def test_a_native_cancel_of_a_server_on_a_socket(way: str) -> None:
    """`WireServer` and an adapter over lutum's own engine, in real time."""
    at, ended, before = 0, False, len(asyncio.all_tasks())
    while not ended:

        async def body() -> None:
            async with WireServer([Reply("hi")]) as server:
                async with ClaudeAdapter("claude-sonnet-4-5", api_key="k", base_url=server.url) as claude:
                    await lutum.Lutum(claude).text_turn("hello").collect()

        task = asyncio.ensure_future(body())
        for _ in range(at):
            await asyncio.sleep(0)
        ended = task.done()
        task.cancel()
        if way == "twice":
            await asyncio.sleep(0)
            task.cancel()
        await asyncio.wait([task])
        assert ended or task.cancelled(), at
        assert len(asyncio.all_tasks()) == before or way == "twice"
        at += 1 if at < 30 else 40
    assert at > 5


def test_every_public_context_manager_is_here() -> None:
    """What has `__aenter__` among the public names; a new one must be added above."""
    here: dict[str, Any] = {
        "Stream": stream,
        "BudgetScope": within,
        "Reservation": reservation,
        "Server": tools,
        "WireServer": test_a_native_cancel_of_a_server_on_a_socket,
        "WireTransport": adapter,  # httpx's own, around the client
        "capture": captured,
    }
    modules = (lutum, lutum.mcp, trace, lutum.testing, lutum.testing.wire)
    found = {
        name
        for module in modules
        for name in dir(module)
        if isinstance(thing := getattr(module, name, None), type) and hasattr(thing, "__aenter__")
    }
    adapters = {name for name in found if name.endswith("Adapter")}
    assert {"Stream", "BudgetScope", "Server", "WireServer", "capture"} <= found
    assert found - adapters - {"Client"} <= set(here)
