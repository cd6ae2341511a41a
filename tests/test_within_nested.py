"""Blocks in blocks under attack: every order of modes, blocks that end while others wait in them, and growth
in the step of a cancellation."""

from __future__ import annotations

from itertools import product
from typing import Literal

import anyio
import pytest
from fakes import STARTED, VIRTUAL, FakeAdapter, Gate, Step, Text, Wait, done

import lutum
from lutum import Budget, Estimate, Usage
from lutum.testing import cancel_at

Mode = Literal["raise", "stop", "drain"]
MODES: list[Mode] = ["raise", "stop", "drain"]
SLOW: list[Step] = [STARTED, *[step for _ in range(30) for step in (Text("x"), Wait(1))], done(Usage(5, 30))]


def nothing_is_left(budget: Budget) -> None:
    statistics = budget.statistics()
    assert budget.reserved.total_tokens == statistics.open_leases == 0
    assert statistics.children == ()
    assert all(waiter.gone for _, waiter in budget._queued)


@VIRTUAL
@pytest.mark.parametrize(("outer", "middle", "inner"), list(product(MODES, repeat=3)))
async def test_a_guarantee_in_a_block_in_a_block(outer: Mode, middle: Mode, inner: Mode) -> None:
    """Only the spent block ends, as its own mode says and without a group; what is around it goes on."""
    root = Budget(tokens=1000)
    llm = lutum.Lutum(FakeAdapter(SLOW), budget=root)
    trail = list[str]()
    refused = 0

    async def one(llm: lutum.Lutum) -> None:
        nonlocal refused
        try:
            await llm.text_turn("hello").reserve(Estimate(5, 5)).collect()
        except lutum.BudgetExceeded:
            refused += 1

    try:
        async with llm.within(tokens=500, on_spent=outer) as a:
            async with a.within(tokens=300, on_spent=middle) as b:
                async with b.within(tokens=40, guaranteed=True, on_spent=inner) as c:
                    assert b.budget.reserved.total_tokens == root.reserved.total_tokens == 40
                    async with anyio.create_task_group() as group:
                        for _ in range(3):
                            group.start_soon(one, c)
                trail.append("inner")
            trail.append("middle")
        trail.append("outer")
    except lutum.BudgetExceeded:
        trail.append("raised")
    assert trail == (["raised"] if inner == "raise" else ["inner", "middle", "outer"])
    assert refused == (3 if inner == "drain" else 0)
    assert (c.budget.exhausted, b.budget.exhausted, a.budget.exhausted) == (True, False, False)
    assert 40 < root.spent.total_tokens == c.budget.spent.total_tokens <= 43
    nothing_is_left(root)


@VIRTUAL
@pytest.mark.parametrize("mode", MODES)
async def test_waiting_in_nested_blocks_that_end(mode: Mode) -> None:
    """Who runs or waits in a block that ends is refused, one after the other ends; the root is free again."""
    root = Budget(tokens=100, on_exhausted="wait")
    llm = lutum.Lutum(FakeAdapter(SLOW), budget=root)
    ended = list[int]()

    async def one(llm: lutum.Lutum, number: int) -> None:
        with pytest.raises(lutum.BudgetExceeded):
            await llm.text_turn("hello").reserve(Estimate(5, 30)).collect()
        ended.append(number)

    async with anyio.create_task_group() as outside:
        async with llm.within(tokens=80, on_exhausted="wait", on_spent=mode) as a:
            async with a.within(tokens=70, on_exhausted="wait", on_spent=mode) as b:
                for number in range(4):
                    outside.start_soon(one, b, number)
                await anyio.sleep(5)
            assert a.budget.reserved.total_tokens == 0
            for number in range(4, 8):
                outside.start_soon(one, a, number)
            await anyio.sleep(3)
        assert root.reserved.total_tokens == 0
        await llm.text_turn("hello").reserve(Estimate(5, 30)).collect()
    assert sorted(ended) == list(range(8))
    nothing_is_left(root)


@VIRTUAL
@pytest.mark.parametrize("first", ["growth", "cancel"])
async def test_growth_in_the_step_of_a_cancellation(first: str) -> None:
    """Whichever comes first, the outer cancellation is not replaced and nothing stays held."""
    root, gate = Budget(tokens=15), anyio.Event()
    play: list[Step] = [STARTED, *[Text("x")] * 10, Gate(gate), *[Text("y")] * 10, done(Usage(5, 20))]
    llm = lutum.Lutum(FakeAdapter(play), budget=root)

    async def one() -> None:
        async with llm.within(tokens=15) as scoped:
            await scoped.text_turn("hello").reserve(Estimate(5, 10)).collect()

    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(one)
            await anyio.wait_all_tasks_blocked()
            for what in ("growth", "cancel") if first == "growth" else ("cancel", "growth"):
                if what == "growth":
                    gate.set()
                else:
                    scope.cancel()
    assert scope.cancelled_caught
    nothing_is_left(root)


@VIRTUAL
async def test_a_block_cancelled_at_every_await() -> None:
    """At any await of two turns that spend their block, a cancellation leaves nothing held."""
    for k in range(1, 60):
        root = Budget(tokens=30)
        play: list[Step] = [STARTED, *[Text("x")] * 40, done(Usage(5, 40))]
        llm = lutum.Lutum(FakeAdapter(play, checkpoints=True), budget=root)

        async def run(llm: lutum.Lutum = llm) -> None:
            async with llm.within(tokens=20) as scoped:
                turn = scoped.text_turn("hello").reserve(Estimate(5, 5))
                async with anyio.create_task_group() as group:
                    group.start_soon(turn.collect)
                    await turn.collect()

        try:
            await cancel_at(run(), k)
        except lutum.BudgetExceeded:
            pass
        nothing_is_left(root)


@VIRTUAL
async def test_two_ends_at_once() -> None:
    """When a deadline around a block falls due as it is spent, the outer one wins, as always."""
    root = Budget()
    llm = lutum.Lutum(FakeAdapter([STARTED, Wait(5), *[Text("x")] * 10, done()]), budget=root)
    with pytest.raises(TimeoutError), anyio.fail_after(5):
        async with llm.within(tokens=7) as scoped:
            await scoped.text_turn("hello").reserve(Estimate(5, 2)).collect()
    nothing_is_left(root)
