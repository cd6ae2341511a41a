"""Budgets as blocks: twenty turns in a nursery in each mode, nested caps against a model, and blocks that
are left while their turns still run."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Literal

import anyio
import pytest
from fakes import STALLED, STARTED, VIRTUAL, FakeAdapter, done
from hypothesis import given, strategies as st

import lutum
from lutum import Budget, Estimate, Usage
from lutum.testing import virtual_time
from lutum.testing.wire import Answer, Pause, Reply, Say, WireRequest, WireServer
from lutum_claude import ClaudeAdapter

MODEL = "claude-sonnet-4-5"
Mode = Literal["raise", "stop", "drain"]
MODES: list[Mode] = ["raise", "stop", "drain"]

INPUT = 5
# What each kind of turn says, one token a second, and what it reserves for that.
WORDS = {"short": (8, 10), "long": (30, 30), "growing": (30, 10)}
NURSERY = ["short"] * 8 + ["long"] * 6 + ["growing"] * 6


def answer(request: WireRequest) -> Answer:
    """As many tokens as the kind of turn says that it is."""
    words, _ = WORDS[request.json["messages"][0]["content"][0]["text"]]
    said = [piece for n in range(words) for piece in (f"{n} ", Pause(1.0))]
    return Reply(Say(*said), usage={"input_tokens": INPUT, "output_tokens": words})


class House:
    """A Claude over the wire, in memory."""

    def __init__(self, budget: Budget | None = None) -> None:
        self.server = WireServer(answer)
        client = self.server.connect
        adapter = ClaudeAdapter(model=MODEL, api_key="k", base_url=self.server.url, http_client=client)
        self.llm = lutum.Lutum(adapter, budget=budget)
        self.done: list[str] = []
        self.refused: list[lutum.BudgetExceeded] = []

    def turn(self, llm: lutum.Lutum, kind: str) -> lutum.TextTurn:
        return llm.text_turn(kind).reserve(Estimate(INPUT, WORDS[kind][1]))

    async def one(self, llm: lutum.Lutum, kind: str) -> None:
        await self.turn(llm, kind).collect()
        self.done.append(kind)

    async def caught(self, llm: lutum.Lutum, kind: str) -> None:
        """As under "drain", where nobody else catches it."""
        try:
            await self.one(llm, kind)
        except lutum.BudgetExceeded as error:
            self.refused.append(error)

    def over(self, budget: Budget) -> None:
        """Nothing runs, nothing is held, and every request is over."""
        for each in (budget, self.llm.budget):
            assert each.reserved.total_tokens == each.statistics().open_leases == 0
        assert "open" not in self.server.outcomes()
        assert self.llm.budget.statistics().children == ()


# All twenty start; when the short ones are done there is room for the growing ones to grow by five each.
ROOM = sum(INPUT + WORDS[kind][1] for kind in NURSERY) - 8 * (INPUT + 10) + 8 * (INPUT + 8) + 6 * 5


async def nursery(house: House, mode: Mode) -> lutum.Lutum:
    async with house.llm.within(tokens=ROOM, on_spent=mode) as scoped:
        async with anyio.create_task_group() as group:
            for kind in NURSERY:
                group.start_soon(house.caught if mode == "drain" else house.one, scoped, kind)
    return scoped


@VIRTUAL
async def test_a_nursery_that_raises() -> None:
    """As under `fail_after`: everything in the block is cancelled, what was done is kept, and one plain
    BudgetExceeded comes out of the block."""
    house = House()
    with pytest.raises(lutum.BudgetExceeded, match="the budget of this block is spent"):
        await nursery(house, "raise")
    assert house.done == ["short"] * 8
    assert len(house.server.requests) == 20
    assert house.server.outcomes().count("disconnected") == 12
    house.over(house.llm.budget)


@VIRTUAL
async def test_a_nursery_that_stops() -> None:
    """As under `move_on_after`: the block ends quietly, and says that it was spent."""
    house = House()
    scoped = await nursery(house, "stop")
    assert house.done == ["short"] * 8
    assert scoped.budget.exhausted
    assert house.server.outcomes().count("disconnected") == 12
    # Each was counted up to the token that did not fit any more.
    assert 0 <= scoped.budget.statistics().overdraft_tokens <= 6
    house.over(scoped.budget)


@VIRTUAL
async def test_a_nursery_that_drains() -> None:
    """Who cannot grow raises where it stands; who has its reservation runs on; the block ends quietly."""
    house = House()
    scoped = await nursery(house, "drain")
    assert sorted(house.done) == ["long"] * 6 + ["short"] * 8
    assert len(house.refused) == 6
    assert all(error.started and error.partial is not None for error in house.refused)
    assert {error.usage.output_tokens for error in house.refused if error.usage} <= {15, 16}
    assert scoped.budget.exhausted
    assert scoped.budget.spent.total_tokens == house.llm.budget.spent.total_tokens
    house.over(scoped.budget)


@VIRTUAL
@pytest.mark.parametrize("mode", MODES)
async def test_a_block_that_is_not_spent(mode: Mode) -> None:
    """Every turn fits: no mode changes anything, and the block has no effect on what follows it."""
    house = House()
    async with house.llm.within(tokens=2000, on_spent=mode) as scoped:
        async with anyio.create_task_group() as group:
            for kind in NURSERY:
                group.start_soon(house.one, scoped, kind)
    assert len(house.done) == 20
    assert not scoped.budget.exhausted
    assert scoped.budget.spent == Usage(20 * INPUT, 8 * 8 + 12 * 30) == house.llm.budget.spent
    await house.one(house.llm, "short")
    house.over(scoped.budget)


@VIRTUAL
@pytest.mark.parametrize("mode", MODES)
async def test_refused_is_not_spent(mode: Mode) -> None:
    """A reservation that does not fit raises at that turn only; the others run on."""
    house = House()
    async with house.llm.within(tokens=60, on_spent=mode) as scoped:
        async with anyio.create_task_group() as group:
            for kind in ("short", "short", "long"):
                group.start_soon(house.caught, scoped, kind)
                await anyio.wait_all_tasks_blocked()
    assert sorted(house.done) == ["short", "short"]
    assert [error.started for error in house.refused] == [False]
    assert not scoped.budget.exhausted
    assert len(house.server.requests) == 2


@VIRTUAL
@pytest.mark.parametrize("mode", MODES)
async def test_after_it_is_spent(mode: Mode) -> None:
    """Nothing starts through a spent block, small as it may be; under "drain" it raises where it stands."""
    house = House()
    later = list[str]()
    with anyio.CancelScope() as outer:
        try:
            async with house.llm.within(tokens=30, on_spent=mode) as scoped:
                try:
                    await house.one(scoped, "growing")
                except lutum.BudgetExceeded:
                    assert mode == "drain"
                with pytest.raises(lutum.BudgetExceeded, match="is spent"):
                    await scoped.text_turn("short").reserve(Estimate(0, 0)).collect()
                later.append("reached")
        except lutum.BudgetExceeded:
            assert mode == "raise"
    assert not outer.cancelled_caught
    assert later == (["reached"] if mode == "drain" else [])
    assert len(house.server.requests) == 1


@VIRTUAL
@pytest.mark.parametrize("mode", MODES)
async def test_scoped_escapes_its_block(mode: Mode) -> None:
    """Used after its block, or before a second entry, it is a UsageError; nothing is sent."""
    house = House()
    block = house.llm.within(tokens=100, on_spent=mode)
    async with block as scoped:
        pass
    for use in (scoped.text_turn("short"), lutum.Session(scoped).fork().llm.text_turn("short")):
        with pytest.raises(lutum.UsageError, match="block has ended"):
            await use.reserve(Estimate(1, 1)).collect()
    with pytest.raises(lutum.UsageError, match="block has ended"):
        async with scoped.within(tokens=10) as inner:
            await house.one(inner, "short")
    with pytest.raises(lutum.UsageError, match="entered before"):
        async with block:
            pass
    assert house.server.requests == []


@VIRTUAL
@pytest.mark.parametrize("mode", MODES)
async def test_a_turn_outside_the_block(mode: Mode) -> None:
    """Handed `scoped` and living in an outer nursery, it is ended when the block is left, on its own and
    with BudgetExceeded; the block has waited until it was settled."""
    house = House()
    left = anyio.Event()

    async def outside(scoped: lutum.Lutum) -> None:
        await house.caught(scoped, "long")
        assert left.is_set()

    async with anyio.create_task_group() as group:
        async with house.llm.within(tokens=1000, on_spent=mode) as scoped:
            group.start_soon(outside, scoped)
            await anyio.sleep(10.5)
        assert scoped.budget.statistics().open_leases == 0
        assert scoped.budget.spent == Usage(INPUT, 11, known="estimated")
        left.set()
    (error,) = house.refused
    assert error.started
    assert error.partial is not None
    assert error.partial.text.split() == [str(n) for n in range(11)]
    house.over(scoped.budget)


@VIRTUAL
@pytest.mark.parametrize("mode", MODES)
async def test_a_turn_outside_that_spends_the_block(mode: Mode) -> None:
    """It raises itself; the block that it spent ends as its mode says."""
    house = House()
    reached = list[str]()

    async with anyio.create_task_group() as group:
        try:
            async with house.llm.within(tokens=20, on_spent=mode) as scoped:
                group.start_soon(house.caught, scoped, "growing")
                await anyio.sleep(100)
                reached.append("end")
        except lutum.BudgetExceeded:
            reached.append("raised")
    assert reached == {"raise": ["raised"], "stop": [], "drain": ["end"]}[mode]
    assert len(house.refused) == 1
    assert scoped.budget.exhausted
    house.over(scoped.budget)


@VIRTUAL
async def test_a_turn_outside_that_waits() -> None:
    """One that stands in line when the block is left is refused, and does not start."""
    house = House()
    async with anyio.create_task_group() as group:
        async with house.llm.within(tokens=40, on_exhausted="wait", on_spent="drain") as scoped:
            for _ in range(5):
                group.start_soon(house.caught, scoped, "long")
            await anyio.sleep(3.5)
        assert scoped.budget.statistics().open_leases == 0
    assert len(house.server.requests) == 1
    assert [error.started for error in house.refused].count(True) == 1
    assert len(house.refused) == 5
    house.over(scoped.budget)


@VIRTUAL
async def test_who_waits_when_a_block_is_drained() -> None:
    """A spent block refuses its line at once, while those with a lease run on."""
    house = House()
    start = anyio.current_time()
    refused_at = list[float]()

    async def one(llm: lutum.Lutum, kind: str) -> None:
        await house.caught(llm, kind)
        if kind == "short":
            refused_at.append(anyio.current_time() - start)

    async with house.llm.within(tokens=60, on_exhausted="wait", on_spent="drain") as scoped:
        async with anyio.create_task_group() as group:
            for kind in ("long", "growing", "short", "short"):
                group.start_soon(one, scoped, kind)
                await anyio.wait_all_tasks_blocked()
    assert house.done == ["long"]
    assert refused_at == [pytest.approx(20, abs=0.5)] * 2
    house.over(scoped.budget)


@VIRTUAL
@pytest.mark.parametrize("spent", ["inner", "outer"])
async def test_the_block_that_is_spent_ends(spent: str) -> None:
    """Of nested blocks it is the spent one that ends: an inner one leaves the outer running, an outer one
    takes the inner with it; the error is that of the spent block."""
    house = House()
    limits = {"inner": (1000, 30), "outer": (30, 1000)}[spent]
    reached = list[str]()
    try:
        async with house.llm.within(tokens=limits[0], on_spent="stop") as outer:
            try:
                async with outer.within(tokens=limits[1], on_spent="raise") as inner:
                    await house.one(inner, "growing")
            except lutum.BudgetExceeded:
                reached.append("inner raised")
            reached.append("outer goes on")
            await house.one(outer, "short")
    finally:
        house.over(outer.budget)
    assert reached == (["inner raised", "outer goes on"] if spent == "inner" else [])
    assert (inner.budget.exhausted, outer.budget.exhausted) == (spent == "inner", spent == "outer")


@VIRTUAL
async def test_a_spent_root_ends_no_block() -> None:
    """A limit that is no block's ends the turn that ran into it, which raises by itself."""
    house = House(Budget(tokens=30))
    async with house.llm.within(tokens=1000) as scoped:
        with pytest.raises(lutum.BudgetExceeded):
            await house.one(scoped, "growing")
        assert not scoped.budget.exhausted
    house.over(scoped.budget)


@VIRTUAL
async def test_the_bodys_own_exception() -> None:
    """An exception that is raised in a spent block is not replaced."""
    house = House()
    with pytest.raises(ZeroDivisionError):
        async with house.llm.within(tokens=30, on_spent="drain") as scoped:
            await house.caught(scoped, "growing")
            raise ZeroDivisionError
    assert scoped.budget.exhausted
    house.over(scoped.budget)


@VIRTUAL
async def test_a_cancelled_block() -> None:
    """An outer cancellation comes out as a cancellation, with everything settled."""
    house = House()
    with anyio.move_on_after(3.5) as outer:
        async with house.llm.within(tokens=1000) as scoped:
            async with anyio.create_task_group() as group:
                for kind in NURSERY:
                    group.start_soon(house.one, scoped, kind)
    assert outer.cancelled_caught
    assert scoped.budget.spent == Usage(20 * INPUT, 20 * 4, known="estimated")
    house.over(scoped.budget)


# Guaranteed amounts.


@VIRTUAL
async def test_guaranteed() -> None:
    """The amount is set aside while the block runs, whatever others do; the rest is given back."""
    house = House(Budget(tokens=100))
    async with house.llm.within(tokens=60, guaranteed=True) as scoped:
        assert house.llm.budget.remaining.total_tokens == 40
        for llm, amount in ((house.llm, 41), (scoped, 61)):
            with pytest.raises(lutum.BudgetExceeded):
                await llm.text_turn("long").reserve(Estimate(amount)).collect()
        await house.one(scoped, "short")
        assert house.llm.budget.spent == Usage()
        assert scoped.budget.remaining.total_tokens == 60 - 13
    assert house.llm.budget.spent == Usage(INPUT, 8)
    assert house.llm.budget.remaining.total_tokens == 100 - 13
    house.over(scoped.budget)


@VIRTUAL
async def test_guaranteed_that_does_not_fit() -> None:
    """It is refused on entry, or waits for it, and what was never entered holds nothing."""
    house = House(Budget(tokens=100, on_exhausted="wait"))
    with pytest.raises(lutum.BudgetExceeded):
        async with house.llm.within(tokens=101, guaranteed=True):
            raise AssertionError
    order = list[str]()

    async def block() -> None:
        async with house.llm.within(tokens=90, guaranteed=True):
            order.append("entered")

    async with anyio.create_task_group() as group:
        group.start_soon(house.one, house.llm, "long")
        await anyio.wait_all_tasks_blocked()
        group.start_soon(block)
        await anyio.wait_all_tasks_blocked()
        assert order == []
        group.cancel_scope.cancel()
    assert house.llm.budget.reserved.total_tokens == 0
    await block()
    assert order == ["entered"]
    house.over(house.llm.budget)


@pytest.mark.parametrize("limits", [{"tokens": 10}, {"cost_usd": 1}, {"tokens": 10, "cost_usd": 1}])
def test_guaranteed_needs_what_is_limited(limits: dict[str, int]) -> None:
    """Every limit around it must be said, or nothing could be set aside."""
    llm = lutum.Lutum(FakeAdapter([STARTED, done()]), budget=Budget(**limits))
    with pytest.raises(lutum.BadValue, match="guaranteed"):
        llm.within(guaranteed=True)
    llm.within(guaranteed=True, **limits)


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("tokens", {"tokens": -1}),
        ("cost_usd", {"cost_usd": "x"}),
        ("on_exhausted", {"on_exhausted": "drain"}),
        ("on_spent", {"on_spent": "wait"}),
    ],
)
def test_no_block(field: str, options: dict[str, Any]) -> None:
    """A value that cannot be is named."""
    with pytest.raises(lutum.BadValue) as info:
        lutum.Lutum(FakeAdapter([STARTED, done()])).within(**options)
    assert info.value.field == field


# Nested caps against a model.


class Cap:
    """The model of a block: a limit, what was spent and what is held; what is guaranteed stands alone."""

    def __init__(self, limit: int | None, parent: Cap | None, guaranteed: bool) -> None:
        self.limit = limit
        self.parent = parent
        self.guaranteed = guaranteed
        self.spent = 0
        self.held = 0
        self.open = 0

    def payers(self) -> list[Cap]:
        if self.guaranteed or self.parent is None:
            return [self]
        return [self, *self.parent.payers()]

    def fits(self, amount: int) -> bool:
        return all(cap.limit is None or cap.spent + cap.held + amount <= cap.limit for cap in self.payers())

    def take(self, amount: int) -> None:
        for cap in self.payers():
            cap.held += amount
            cap.open += 1

    def settle(self, held: int, spent: int) -> None:
        for cap in self.payers():
            cap.held -= held
            cap.spent += spent
            cap.open -= 1

    def tree(self, inner: list[Cap]) -> Any:
        return (self.spent, self.held, self.open, [inner[0].tree(inner[1:])] if inner else [])


def tree_of(statistics: lutum.BudgetStatistics) -> Any:
    children = [tree_of(child) for child in statistics.children]
    return (
        statistics.spent.total_tokens,
        statistics.reserved.total_tokens,
        statistics.open_leases,
        children,
    )


amounts = st.integers(0, 20)
steps = st.one_of(
    st.tuples(st.just("enter"), st.one_of(st.none(), st.integers(0, 60)), st.booleans()),
    st.tuples(st.just("leave"), st.none(), st.none()),
    st.tuples(st.just("reserve"), st.integers(0, 5), amounts),
    st.tuples(st.just("settle"), st.integers(0, 20), st.integers(0, 30)),
)


@given(st.one_of(st.none(), st.integers(0, 60)), st.lists(steps, max_size=40))
async def test_nested_caps_against_a_model(limit: int | None, program: list[tuple[str, Any, Any]]) -> None:
    """A lease is taken from every ledger up to the next guarantee, in one step or not at all; a guarantee
    takes its whole amount and gives back the rest; the statistics are the tree of the open blocks."""
    llm = lutum.Lutum(FakeAdapter([STARTED, done()]), budget=Budget(tokens=limit))
    caps = [Cap(limit, None, False)]
    llms = [llm]
    scopes = list[Any]()
    leases = list[tuple[int, int, lutum.BudgetLease]]()

    async def leave() -> None:
        depth = len(scopes)
        for each in [each for each in leases if each[0] == depth]:
            each[2].settle(Usage())
            caps[depth].settle(each[1], 0)
            leases.remove(each)
        await scopes.pop().__aexit__(None, None, None)
        cap, _ = caps.pop(), llms.pop()
        if cap.guaranteed:
            assert cap.parent is not None
            assert cap.limit is not None
            cap.parent.settle(cap.limit, cap.spent)

    for name, one, two in program:
        match name:
            case "enter" if len(scopes) < 6:
                guaranteed = bool(two) and one is not None
                scope = llms[-1].within(tokens=one, guaranteed=guaranteed, on_spent="drain")
                if guaranteed and not caps[-1].fits(one):
                    with pytest.raises(lutum.BudgetExceeded):
                        await scope.__aenter__()
                    continue
                llms.append(await scope.__aenter__())
                scopes.append(scope)
                if guaranteed:
                    caps[-1].take(one)
                caps.append(Cap(one, caps[-1], guaranteed))
            case "leave" if scopes:
                await leave()
            case "reserve":
                depth = min(one, len(scopes))
                fits = caps[depth].fits(two)
                try:
                    lease = await llms[depth].budget.reserve(Estimate(two))
                except lutum.BudgetExceeded:
                    assert not fits
                else:
                    assert fits
                    caps[depth].take(two)
                    leases.append((depth, two, lease))
            case "settle" if leases:
                depth, held, lease = leases.pop(one % len(leases))
                lease.settle(Usage(0, two))
                caps[depth].settle(held, two)
            case _:
                pass
        assert tree_of(llm.budget.statistics()) == caps[0].tree(caps[1:])
    while scopes:
        await leave()
    assert tree_of(llm.budget.statistics()) == caps[0].tree([])


@VIRTUAL
async def test_statistics_are_a_tree() -> None:
    """Each ledger has its open blocks under it, with limits, refusals and overdrafts of their own."""
    house = House(Budget(tokens=10_000))
    async with house.llm.within(tokens=500) as one, house.llm.within(tokens=10, on_spent="drain") as two:
        async with one.within(cost_usd=3) as three:
            with pytest.raises(lutum.UnpricedModel):
                await house.one(three, "short")
        await house.one(one, "short")
        with pytest.raises(lutum.BudgetExceeded):
            await house.one(two, "short")
        async with one.within(tokens=400) as four:
            root = house.llm.budget.statistics()
            assert [child.limit_tokens for child in root.children] == [500, 10]
            assert root.children[0].children == (four.budget.statistics(),)
            assert [child.refused for child in root.children] == [0, 1]
            assert [child.spent.total_tokens for child in root.children] == [13, 0]
    assert house.llm.budget.statistics().children == ()


@VIRTUAL
async def test_a_lease_that_nobody_settles_holds_its_block_for_a_bounded_time() -> None:
    """Leaving waits for what it ends, but no longer than five seconds."""
    llm = lutum.Lutum(FakeAdapter([STARTED, done()]))
    start = anyio.current_time()
    async with llm.within(tokens=1000) as scoped:
        lease = await scoped.budget.reserve(Estimate(1))  # nobody settles it
    assert anyio.current_time() - start == pytest.approx(5)
    lease.settle(Usage(1))
    assert llm.budget.spent == Usage(1)


@VIRTUAL
async def test_the_first_turn_that_ends_a_block_is_not_a_group() -> None:
    """The turn that could not grow waits for the cancellation of its block, so a nursery of one is as
    quiet as a nursery of twenty, at any depth of nurseries."""
    house = House()
    with pytest.raises(lutum.BudgetExceeded):
        async with house.llm.within(tokens=30) as scoped:
            async with anyio.create_task_group() as outer, anyio.create_task_group() as inner:
                outer.start_soon(house.one, scoped, "growing")
                inner.start_soon(anyio.sleep_forever)
    house.over(scoped.budget)


@VIRTUAL
@pytest.mark.parametrize("recovers", [False, True])
async def test_a_block_waits_until_outside_connections_are_closed(recovers: bool) -> None:
    """Not only until their leases are settled."""

    class Bills:
        async def recover_usage(self, response: lutum.Response) -> Usage | None:
            await anyio.sleep(1)
            return Usage(3, 4)

    adapter = FakeAdapter(STALLED, close=1.5)
    llm = lutum.Lutum(adapter, recovery=Bills() if recovers else None)

    async def outside(scoped: lutum.Lutum) -> None:
        with pytest.raises(lutum.BudgetExceeded):
            await scoped.text_turn("hello").collect()

    async with anyio.create_task_group() as group:
        async with llm.within(tokens=1000) as scoped:
            group.start_soon(outside, scoped)
            await anyio.sleep(1)
        assert adapter.exchanges[0].closed is not None
    assert adapter.exchanges[0].closed is not None


@pytest.mark.parametrize("anyio_backend", [("asyncio", virtual_time("asyncio"))], ids=["asyncio-virtual"])
@pytest.mark.parametrize("way", ["task.cancel", "asyncio.timeout", "sibling"])
async def test_a_native_cancellation_of_the_exit(way: str) -> None:
    """It comes out as it is, after the connections of outside turns are closed."""
    adapter = FakeAdapter(STALLED, close=1.5)
    llm = lutum.Lutum(adapter)
    closed = list[object]()

    async def outside(scoped: lutum.Lutum) -> None:
        with suppress(lutum.LutumError):
            await scoped.text_turn("hello").collect()

    async def body() -> None:
        async with anyio.create_task_group() as group:
            try:
                async with llm.within(tokens=1000) as scoped:
                    group.start_soon(outside, scoped)
                    await anyio.sleep(1)
            finally:
                closed.append(adapter.exchanges[0].closed)

    async def fails() -> None:
        await asyncio.sleep(2)
        raise KeyError("sibling")

    if way == "task.cancel":
        task = asyncio.ensure_future(body())
        await asyncio.sleep(2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    elif way == "asyncio.timeout":
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await body()
    else:
        with pytest.raises(ExceptionGroup) as info:
            async with asyncio.TaskGroup() as group:
                group.create_task(body())
                group.create_task(fails())
        assert [type(exc) for exc in info.value.exceptions] == [KeyError]
    assert closed != [None]
    assert llm.budget.reserved.total_tokens == 0
    assert llm.budget.statistics().children == ()
