"""A thousand turns at once on one ledger, over the wire server in memory: what is promised of money holds at
every instant that the provider sees. Time is virtual, on both backends."""

from __future__ import annotations

import random
from collections.abc import Callable

import anyio
import pytest
from fakes import VIRTUAL
from hypothesis import HealthCheck, given, settings, strategies as st

import lutum
from lutum import Budget, Estimate, Usage
from lutum.testing import cancel_at
from lutum.testing.wire import Answer, Pause, Reply, Say, WireRequest, WireServer
from lutum_claude import ClaudeAdapter

TURNS = 1_000
HELD = Estimate(100, 20)
RESERVATION = HELD.total_tokens


class Provider:
    """A Claude that bills what it is told and looks at the ledger when a request arrives."""

    def __init__(self, budget: Budget, limit: int, bills: Callable[[int], Usage]) -> None:
        self.budget = budget
        self.limit = limit
        self.bills = bills
        self.open: list[WireRequest] = []
        self.most = 0
        self.server = WireServer(self.answer)
        client = self.server.connect
        adapter = ClaudeAdapter(
            "claude-sonnet-4-5", api_key="k", base_url=self.server.url, http_client=client
        )
        self.llm = lutum.Lutum(adapter, budget=budget)
        self.turn = self.llm.text_turn("hello").reserve(HELD)

    def answer(self, request: WireRequest) -> Answer:
        self.open = [each for each in self.open if each.outcome == "open"] + [request]
        self.most = max(self.most, len(self.open))
        self.check()
        bill = self.bills(request.number)
        words = ["a", "b", "c", "d", "e", "f"][: 1 + request.number % 6]
        said = [part for word in words for part in (word, Pause(request.number % 3))]
        usage = {"input_tokens": bill.input_tokens, "output_tokens": bill.output_tokens}
        return Reply(Say(*said), usage=usage)

    def check(self) -> None:
        """The promise, where no more is billed than was reserved."""
        assert self.budget.spent.total_tokens + self.budget.reserved.total_tokens <= self.limit
        assert len(self.open) <= self.limit // RESERVATION


def below(number: int) -> Usage:
    """A bill that is not above the reservation."""
    return Usage(20 + number % 80, 10 + number % 10)


@pytest.mark.slow
@VIRTUAL
@pytest.mark.parametrize("on_exhausted", ["refuse", "wait"])
@settings(max_examples=3, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), share=st.floats(0, 1), slots=st.integers(5, 200))
async def test_a_storm_with_cancels(on_exhausted: str, seed: int, share: float, slots: int) -> None:
    """With turns cancelled at any of their awaits, never more is spent and reserved than the limit and never
    more requests are under way than reservations fit; afterwards what was spent is what was settled."""
    chance = random.Random(seed)
    limit = slots * RESERVATION + chance.randrange(RESERVATION)
    budget = Budget(tokens=limit, on_exhausted=on_exhausted)
    provider = Provider(budget, limit, below)
    settled = list[Usage]()
    refused = 0

    async def run() -> None:
        nonlocal refused
        stream = provider.turn.stream()

        async def read() -> None:
            async with stream as turn:
                async for _ in turn:
                    provider.check()

        try:
            if chance.random() < share:
                await cancel_at(read(), chance.randint(1, 30))
            else:
                await read()
        except lutum.BudgetExceeded:
            assert stream.usage == Usage()
            refused += 1
        settled.append(stream.usage)

    async with anyio.create_task_group() as group:
        for _ in range(TURNS):
            group.start_soon(run)
    assert len(settled) == TURNS
    assert budget.reserved.total_tokens == budget.statistics().open_leases == 0
    assert budget.spent.total_tokens == sum(usage.total_tokens for usage in settled) <= limit
    assert budget.statistics().overdraft_tokens == 0
    assert "open" not in provider.server.outcomes()
    assert 0 < provider.most <= slots
    assert len(provider.server.requests) + refused <= TURNS
    assert all(request.error is None for request in provider.server.requests)
    # Nothing that was sent is recorded as zero.
    assert sum(usage.total_tokens > 0 for usage in settled) >= provider.server.outcomes().count("completed")


@pytest.mark.slow
@VIRTUAL
@pytest.mark.parametrize("on_exhausted", ["refuse", "wait"])
async def test_a_storm_that_is_billed_three_times_its_reservation(on_exhausted: str) -> None:
    """The overdraft is recorded as it was billed, every answer that was paid for is delivered, and no turn
    starts after the first bill."""
    budget = Budget(tokens=40 * RESERVATION, on_exhausted=on_exhausted)
    provider = Provider(budget, 40 * RESERVATION, lambda number: Usage(100, 3 * RESERVATION - 100))
    results = list[lutum.TextResult]()
    refused = 0

    async def run() -> None:
        nonlocal refused
        try:
            results.append(await provider.turn.collect())
        except lutum.BudgetExceeded:
            refused += 1

    async with anyio.create_task_group() as group:
        for _ in range(TURNS):
            group.start_soon(run)
    assert (len(results), refused) == (40, TURNS - 40)
    assert len(provider.server.requests) == 40
    assert budget.spent == Usage(40 * 100, 40 * (3 * RESERVATION - 100))
    assert budget.statistics().overdraft_tokens == 80 * RESERVATION
    with pytest.raises(lutum.BudgetExceeded):
        await provider.turn.reserve(Estimate()).collect()
    assert len(provider.server.requests) == 40


@pytest.mark.slow
@VIRTUAL
@pytest.mark.parametrize(
    ("limit", "bill"),
    [
        (40 * RESERVATION, RESERVATION),
        (40 * RESERVATION, 70),
        (40 * RESERVATION + 69, 70),
        (100 * RESERVATION + 119, 119),
        (7 * RESERVATION, 110),
        (RESERVATION, RESERVATION - 1),
        (RESERVATION - 1, RESERVATION),
        (10**6, 100),
    ],
)
async def test_a_storm_that_waits(limit: int, bill: int) -> None:
    """Without cancels exactly as many turns run as the limit pays for, the rest is refused, nothing hangs."""
    budget = Budget(tokens=limit, on_exhausted="wait")
    provider = Provider(
        budget, limit, lambda number: Usage(100, bill - 100) if bill > 100 else Usage(bill - 7, 7)
    )
    finished, refused = 0, 0

    async def run() -> None:
        nonlocal finished, refused
        try:
            await provider.turn.collect()
        except lutum.BudgetExceeded:
            refused += 1
        else:
            finished += 1

    async with anyio.create_task_group() as group:
        for _ in range(TURNS):
            group.start_soon(run)
    # Turn number n can start when the n - 1 before it are paid and its whole reservation still fits.
    arithmetic = min(TURNS, (limit - RESERVATION) // bill + 1) if limit >= RESERVATION else 0
    assert (finished, refused) == (arithmetic, TURNS - arithmetic)
    assert budget.spent.total_tokens == finished * bill
    assert budget.reserved.total_tokens == 0


@pytest.mark.slow
@VIRTUAL
async def test_a_storm_in_blocks() -> None:
    """The same through nested blocks: each keeps to its own cap, all of them to the root's."""
    limit = 60 * RESERVATION
    budget = Budget(tokens=limit, on_exhausted="wait")
    provider = Provider(budget, limit, below)
    llm = provider.llm
    caps = dict.fromkeys((10, 20, 40), 0)

    async def block(cap: int) -> None:
        async with llm.within(tokens=cap * RESERVATION, on_exhausted="wait", on_spent="drain") as scoped:

            async def run() -> None:
                try:
                    await scoped.text_turn("hello").reserve(HELD).collect()
                except lutum.BudgetExceeded:
                    return
                finally:
                    statistics = scoped.budget.statistics()
                    used = statistics.spent.total_tokens + statistics.reserved.total_tokens
                    assert used <= cap * RESERVATION
                caps[cap] += 1

            async with anyio.create_task_group() as group:
                for _ in range(TURNS // 3):
                    group.start_soon(run)

    async with anyio.create_task_group() as group:
        for cap in caps:
            group.start_soon(block, cap)
    assert budget.reserved.total_tokens == 0
    assert budget.spent.total_tokens <= limit
    assert sum(caps.values()) == len(provider.server.requests)
    assert all(caps.values())
