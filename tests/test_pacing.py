"""Rates: a fan-out that paces itself, on figures of yours or on those in the provider's headers.

The wire server counts as providers do: a bucket of requests and one of tokens, refilled all the time, and a
429 with Retry-After where one is empty. Time is virtual, on both backends.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import anyio
import httpx
import pytest
from fakes import VIRTUAL
from hypothesis import given, strategies as st

import lutum
from lutum import Budget, Estimate, Usage
from lutum._pace import Reading, readings
from lutum.testing.wire import Answer, Pause, Reply, Say, Status, WireRequest, WireServer
from lutum_claude import ClaudeAdapter

MODEL = "claude-sonnet-4-5"
OUTPUT = 40  # billed for each turn


class Rates:
    """A provider's own count: requests and tokens a minute, both refilled continuously."""

    def __init__(self, requests: int, tokens: int, *, latency: float = 2.0) -> None:
        self.limits = {"requests": requests, "tokens": tokens}
        self.left: dict[str, float] = dict(self.limits)
        self.latency = latency
        self.at: float | None = None
        self.refused = list[int]()

    def __call__(self, request: WireRequest) -> Answer:
        now = anyio.current_time()
        if self.at is not None:
            for kind, limit in self.limits.items():
                self.left[kind] = min(limit, self.left[kind] + (now - self.at) * limit / 60)
        self.at = now
        tokens = math.ceil(len(request.body) / 4) + OUTPUT
        want = {"requests": 1, "tokens": tokens}
        missing = {kind: want[kind] - self.left[kind] for kind in want if want[kind] > self.left[kind] + 1e-6}
        if missing:
            self.refused.append(request.number)
            wait = max(lack * 60 / self.limits[kind] for kind, lack in missing.items())
            return Status(429, headers=self.headers() | {"retry-after": str(math.ceil(wait))})
        for kind in want:
            self.left[kind] -= want[kind]
        return Reply(
            Say("ok", Pause(self.latency), "."), usage={"output_tokens": OUTPUT}, headers=self.headers()
        )

    def headers(self) -> dict[str, str]:
        """As Claude's, with figures that are rounded down."""
        found = dict[str, str]()
        for kind, limit in self.limits.items():
            found[f"anthropic-ratelimit-{kind}-limit"] = str(limit)
            found[f"anthropic-ratelimit-{kind}-remaining"] = str(int(self.left[kind]))
        return found


def adapter(server: WireServer) -> ClaudeAdapter:
    client = httpx.AsyncClient(transport=server.transport())
    return ClaudeAdapter(model=MODEL, api_key="k", base_url=server.url, http_client=client)


async def fan_out(llm: lutum.Lutum, turns: int) -> float:
    """That many turns at once; the seconds until all are done."""
    start = anyio.current_time()
    turn = llm.text_turn("hello").max_output_tokens(2 * OUTPUT)

    async def one() -> None:
        await turn.collect()

    async with anyio.create_task_group() as group:
        for _ in range(turns):
            group.start_soon(one)
    return anyio.current_time() - start


@VIRTUAL
@pytest.mark.parametrize(("requests", "tokens"), [(1000, 10_000_000), (100_000, 40_000)])
async def test_two_thousand_turns_follow_the_headers(requests: int, tokens: int) -> None:
    """Nobody said the limits: the first answer does, none of the other requests is refused, and it takes no
    more than a tenth longer than the provider's limit makes it take."""
    rates = Rates(requests, tokens)
    server = WireServer(rates)
    async with adapter(server) as claude:
        budget = Budget(on_exhausted="wait", follow_rate_limits=True)
        took = await fan_out(lutum.Lutum(claude, budget=budget), 2000)
    each = math.ceil(len(server.requests[0].body) / 4) + OUTPUT
    ideal = max((2000 - requests) * 60 / requests, (2000 * each - tokens) * 60 / tokens) + rates.latency
    assert len(server.requests) == 2000
    assert [number for number in rates.refused if number >= 10] == []
    assert rates.refused == []
    assert ideal <= took <= ideal * 1.1
    assert budget.spent.output_tokens == 2000 * OUTPUT
    assert budget.statistics().open_leases == budget.reserved.total_tokens == 0


@VIRTUAL
async def test_two_thousand_turns_at_a_rate_of_yours() -> None:
    """Given in advance, the same without a first turn that goes alone."""
    rates = Rates(1000, 10_000_000)
    server = WireServer(rates)
    async with adapter(server) as claude:
        budget = Budget(on_exhausted="wait", requests_per_minute=1000)
        took = await fan_out(lutum.Lutum(claude, budget=budget), 2000)
    assert rates.refused == []
    assert 60 <= took <= 60 * 1.1
