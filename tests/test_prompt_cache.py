"""The wire server's prompt cache, and what a fan-out costs at it with and without a gate."""

import json
from decimal import Decimal
from typing import Any

import anyio
import httpx
import pytest
from fakes import VIRTUAL

import lutum
import lutum.eval
from lutum.testing.wire import Pause, Reply, WireServer
from lutum.testing.wire._script import BeforeHead
from lutum_claude import ClaudeAdapter, ClaudeOptions
from lutum_openai import OpenAIAdapter, OpenAIChatAdapter

LONG = "word " * 80_000  # 100,000 tokens of the wire server
PRICES = lutum.Pricing({"claude": lutum.Price(input=3, output=15, cache_read="0.30", cache_write="3.75")})
SLOW = Reply(BeforeHead(Pause(1)), "x")


def claude(server: WireServer, client: Any, **given: Any) -> ClaudeAdapter:
    return ClaudeAdapter("claude-sonnet-4-5", base_url=server.url, api_key="k", http_client=client, **given)


def uses(server: WireServer) -> list[str]:
    return [
        "read" if request.cache.read else "write" if request.cache.written else "none"
        for request in server.requests
        if request.cache is not None
    ]


@VIRTUAL
async def test_eight_branches_write_the_prefix_once() -> None:
    """One write and seven reads; what that adds is the time of one first event."""
    server = WireServer(default=SLOW, prompt_cache=True)
    async with httpx.AsyncClient(transport=server.transport()) as client:
        session = lutum.Session(lutum.Lutum(claude(server, client), pricing=PRICES))
        session.push_user(LONG)

        async def attempt(branch: lutum.Session) -> str:
            return (await branch.text_turn().max_output_tokens(50).collect()).text

        started = anyio.current_time()
        branches = await lutum.eval.run_branches(
            session, attempt, 8, passed=lambda text: False, tokens=10**7, stop_early=False
        )
        assert anyio.current_time() - started == pytest.approx(2, abs=0.1)  # 1 s for the first event, twice
    assert uses(server) == ["write", *["read"] * 7]
    assert server.requests[0].cache is not None
    prefix = server.requests[0].cache.written
    assert prefix > 99_000
    assert all(request.cache.read == prefix for request in server.requests[1:] if request.cache)
    usage = branches.usage
    assert (usage.cache_write_tokens, usage.cache_read_tokens) == (prefix, 7 * prefix)
    assert usage.cost_usd is not None
    ideal = (prefix * Decimal("3.75") + 7 * prefix * Decimal("0.30")) / 1_000_000
    assert usage.cost_usd < ideal * Decimal("1.01")


@VIRTUAL
async def test_without_a_gate_each_writes_it() -> None:
    server = WireServer(default=SLOW, prompt_cache=True)
    async with httpx.AsyncClient(transport=server.transport()) as client:
        llm = lutum.Lutum(claude(server, client))
        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(llm.text_turn(LONG).max_output_tokens(50).collect)
    assert uses(server) == ["write"] * 4


@VIRTUAL
@pytest.mark.parametrize("kind", [OpenAIAdapter, OpenAIChatAdapter])
async def test_openai_reads_in_steps_of_128(kind: Any) -> None:
    server = WireServer(default=SLOW, prompt_cache=True)
    gate = lutum.PrefixGate()
    async with httpx.AsyncClient(transport=server.transport()) as client:
        adapter = kind(
            "gpt-5.5",
            base_url=f"{server.url}/v1",
            api_key="k",
            http_client=client,
            **({"profile": "openai"} if kind is OpenAIChatAdapter else {}),
        )
        llm = lutum.Lutum(adapter)
        results = list[lutum.TextResult]()

        async def ask() -> None:
            results.append(await llm.text_turn(LONG).max_output_tokens(50).after(gate).collect())

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(ask)
    reads = sorted(result.usage.cache_read_tokens for result in results)
    assert reads[0] == 0
    assert reads[1] == reads[2] > 99_000
    assert reads[1] % 128 == 0


@VIRTUAL
async def test_short_prefixes_and_old_entries() -> None:
    """Below the minimum nothing is cached and nobody waits; an entry dies five minutes after its last use."""
    server = WireServer(default=Reply("x"), prompt_cache=True)
    async with httpx.AsyncClient(transport=server.transport()) as client:
        llm = lutum.Lutum(claude(server, client))
        gate = lutum.PrefixGate()
        await llm.text_turn("short").max_output_tokens(50).after(gate).collect()
        assert not gate.is_open
        for pause in (0, 200, 200, 301):
            await anyio.sleep(pause)
            await llm.text_turn(LONG).max_output_tokens(50).collect()
        await llm.text_turn(LONG).max_output_tokens(50).ext(ClaudeOptions(cache="off")).collect()
    assert uses(server) == ["none", "write", "read", "read", "write", "none"]


@VIRTUAL
async def test_a_conversation_reads_what_it_wrote() -> None:
    """Request k+1 begins with request k, so each turn reads the whole of the one before."""
    server = WireServer(default=Reply("x"), prompt_cache=True)
    async with httpx.AsyncClient(transport=server.transport()) as client:
        session = lutum.Session(lutum.Lutum(claude(server, client)))
        for _ in range(3):
            session.push_user("word " * 4000)
            session.commit_text(await session.text_turn().max_output_tokens(50).collect())
    first, second, third = (request.cache for request in server.requests)
    assert first is not None
    assert second is not None
    assert third is not None
    assert (first.read, second.read) == (0, first.written)
    assert third.read == second.read + second.written


def test_lifetimes_are_billed_apart() -> None:
    server = WireServer(prompt_cache=True)
    block = {"type": "text", "text": "word " * 4000, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    last = {"type": "text", "text": "word " * 4000, "cache_control": {"type": "ephemeral"}}
    body = {"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": [block, last]}]}

    async def use() -> Any:
        request = server.receive("POST", "/v1/messages", httpx.Headers(), json.dumps(body).encode())
        assert server._cache is not None
        return server._cache.look_up(request)

    found = lutum.run(use)
    assert found.read == 0
    assert found.written_1h == pytest.approx(5000, abs=50)
    assert found.written_5m == pytest.approx(5000, abs=50)


@VIRTUAL
@pytest.mark.parametrize("place", ["system", "user", "turn"])
async def test_branches_that_ask_different_things_share_what_is_before(place: str) -> None:
    """A branch adds its own question to a long head, a long message or a long conversation: one write."""
    server = WireServer(default=SLOW, prompt_cache=True)
    gate = lutum.PrefixGate()
    async with httpx.AsyncClient(transport=server.transport()) as client:
        session = lutum.Session(lutum.Lutum(claude(server, client)))
        if place == "system":
            session.push_system(LONG)
        else:
            session.push_user(LONG)
        if place == "turn":
            session.commit_text(await session.text_turn().max_output_tokens(50).collect())

        async def ask(number: int) -> None:
            branch = session.fork()
            branch.push_user(f"Question {number}?")
            await branch.text_turn().max_output_tokens(50).after(gate).collect()

        async with anyio.create_task_group() as group:
            for number in range(4):
                group.start_soon(ask, number)
    used = [request.cache for request in server.requests if request.cache is not None]
    assert sum(use.written > 50_000 for use in used) == 1
    assert sum(use.read > 99_000 for use in used) == len(used) - 1
