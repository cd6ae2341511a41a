"""The ledger: arithmetic against a small model, refusal and overdraft, loops, foreign ledgers, and what a
turn does with its lease."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import anyio
import pytest
from fakes import STALL, STALLED, STARTED, WHOLE, FakeAdapter, Gate, House, Step, Text, done
from hypothesis import given, settings, strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

import lutum
from lutum import Budget, Estimate, Usage
from lutum._budget.amounts import Amount
from lutum.testing import cancel_at

# A fine step in US dollars, so that hypothesis has small integers to play with.
CENT = Decimal("0.01")
PICO_PER_CENT = 10**10


class Node:
    """The model of a ledger: four integers and a parent."""

    def __init__(self, budget: Budget, parent: "Node | None", tokens: int | None, cents: int | None) -> None:
        self.budget = budget
        self.parent = parent
        self.tokens = tokens
        self.cents = cents
        self.spent = [0, 0]
        self.held = [0, 0]
        self.open = 0
        self.refused = 0

    def chain(self) -> "list[Node]":
        return [self, *(self.parent.chain() if self.parent else [])]

    def fits(self, tokens: int, cents: int) -> bool:
        return all(
            limit is None or spent + held + more <= limit
            for limit, spent, held, more in zip(
                (self.tokens, self.cents), self.spent, self.held, (tokens, cents), strict=True
            )
        )

    def grows(self, tokens: int, cents: int) -> bool:
        """An overdraft in what it asks no more of is not in its way."""
        return all(
            not more or limit is None or spent + held + more <= limit
            for limit, spent, held, more in zip(
                (self.tokens, self.cents), self.spent, self.held, (tokens, cents), strict=True
            )
        )


class Held:
    """The model of a lease."""

    def __init__(self, lease: lutum.BudgetLease, node: Node, tokens: int, cents: int) -> None:
        self.lease = lease
        self.node = node
        self.held = [tokens, cents]
        self.settled = False


small = st.integers(0, 12)
limits = st.one_of(st.none(), st.integers(0, 40))


class Ledgers(RuleBasedStateMachine):
    """Chains of budgets against the model: a step is taken on every ledger of a chain or on none."""

    nodes: Bundle[Node] = Bundle("nodes")
    leases: Bundle[Held] = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.all: list[Node] = []

    def teardown(self) -> None:
        self.runner.close()

    @rule(target=nodes, tokens=limits, cents=limits)
    def root(self, tokens: int | None, cents: int | None) -> Node:
        return self.make(None, tokens, cents)

    @precondition(lambda self: len(self.all) < 8)
    @rule(target=nodes, parent=nodes, tokens=limits, cents=limits)
    def child(self, parent: Node, tokens: int | None, cents: int | None) -> Node:
        return self.make(parent, tokens, cents)

    def make(self, parent: Node | None, tokens: int | None, cents: int | None) -> Node:
        cost = None if cents is None else cents * CENT
        if parent is None:
            budget = Budget(tokens=tokens, cost_usd=cost)
        else:
            budget = Budget._child(parent.budget, tokens=tokens, cost_usd=cost)
        node = Node(budget, parent, tokens, cents)
        self.all.append(node)
        return node

    @rule(target=leases, node=nodes, tokens_in=small, tokens_out=small, cents=small)
    def reserve(self, node: Node, tokens_in: int, tokens_out: int, cents: int) -> Any:
        tokens = tokens_in + tokens_out
        refusing = next((each for each in node.chain() if not each.fits(tokens, cents)), None)

        async def take() -> lutum.BudgetLease:
            return await node.budget.reserve(Estimate(tokens_in, tokens_out, cents * CENT))

        if refusing is not None:
            refusing.refused += 1
            with pytest.raises(lutum.BudgetExceeded):
                self.runner.run(take())
            return Held(_nothing(), node, 0, 0)
        lease = self.runner.run(take())
        for each in node.chain():
            each.held[0] += tokens
            each.held[1] += cents
            each.open += 1
        return Held(lease, node, tokens, cents)

    @rule(held=leases, tokens_in=small, tokens_out=st.integers(0, 30), cents=small)
    def grow(self, held: Held, tokens_in: int, tokens_out: int, cents: int) -> None:
        if held.settled or held.lease.settled:
            assert not held.lease.grow(Usage(tokens_in, tokens_out))
            return
        tokens = max(0, tokens_in + tokens_out - held.held[0])
        more = max(0, cents - held.held[1])
        can = all(each.grows(tokens, more) for each in held.node.chain())
        assert held.lease.grow(Usage(tokens_in, tokens_out, cost_usd=cents * CENT)) == can
        if can:
            held.held[0] += tokens
            held.held[1] += more
            for each in held.node.chain():
                each.held[0] += tokens
                each.held[1] += more

    @rule(
        held=consumes(leases),
        tokens_in=small,
        tokens_out=st.integers(0, 40),
        cents=small,
        twice=st.booleans(),
    )
    def settle(self, held: Held, tokens_in: int, tokens_out: int, cents: int, twice: bool) -> None:
        if held.lease.settled:
            return
        held.lease.settle(Usage(tokens_in, tokens_out, cost_usd=cents * CENT))
        if twice:
            held.lease.settle(Usage(1000, 1000))
        for each in held.node.chain():
            each.held[0] -= held.held[0]
            each.held[1] -= held.held[1]
            each.open -= 1
            each.spent[0] += tokens_in + tokens_out
            each.spent[1] += cents

    @invariant()
    def agree(self) -> None:
        for node in self.all:
            budget, statistics = node.budget, node.budget.statistics()
            assert budget.spent.total_tokens == node.spent[0]
            assert budget.reserved.total_tokens == node.held[0]
            assert (budget.spent.cost_usd or 0) == node.spent[1] * CENT
            assert (budget.reserved.cost_usd or 0) == node.held[1] * CENT
            assert (statistics.open_leases, statistics.refused) == (node.open, node.refused)
            left = lutum.UNLIMITED
            if node.tokens is not None:
                left = max(0, node.tokens - node.spent[0] - node.held[0])
                assert statistics.overdraft_tokens == max(0, node.spent[0] - node.tokens)
            assert budget.remaining.total_tokens == left
            if node.cents is not None:
                assert budget.remaining.cost_usd == max(0, node.cents - node.spent[1] - node.held[1]) * CENT


def _nothing() -> lutum.BudgetLease:
    """A lease that was never given."""
    lease = lutum.BudgetLease([], Amount())
    lease.settle(Usage())
    return lease


TestLedgers = Ledgers.TestCase
TestLedgers.settings = settings(stateful_step_count=30)


async def test_refusal_names_the_figures() -> None:
    """What does not fit is refused, says by how much, and takes nothing."""
    budget = Budget(tokens=100)
    lease = await budget.reserve(Estimate(30, 30))
    with pytest.raises(lutum.BudgetExceeded, match="41 tokens do not fit: 60 of 100"):
        await budget.reserve(Estimate(1, 40))
    fits = await budget.reserve(Estimate(0, 40))
    for each in (lease, fits):
        each.settle(Usage())
    assert (budget.remaining.total_tokens, budget.statistics().refused) == (100, 1)


async def test_overdraft() -> None:
    """What was billed beyond the limit is recorded as it was billed, and nothing starts afterwards."""
    budget = Budget(tokens=100)
    (await budget.reserve(Estimate(10, 10))).settle(Usage(150, 10))
    assert budget.spent == Usage(150, 10)
    assert budget.remaining.total_tokens == 0
    assert budget.statistics().overdraft_tokens == 60
    for estimate in (Estimate(1, 0), Estimate()):
        with pytest.raises(lutum.BudgetExceeded):
            await budget.reserve(estimate)


async def test_a_child_is_a_cap_and_not_a_purse() -> None:
    """A lease is taken from every ledger of the chain; the smallest remainder decides."""
    parent = Budget(tokens=100)
    one, two = Budget._child(parent, tokens=80), Budget._child(parent, tokens=80)
    assert parent.reserved == Usage(known="estimated")
    first = await one.reserve(Estimate(60, 0))
    with pytest.raises(lutum.BudgetExceeded):
        await two.reserve(Estimate(60, 0))
    assert two.reserved.total_tokens == 0
    first.settle(Usage(50, 0))
    (await two.reserve(Estimate(50, 0))).settle(Usage(50, 0))
    assert (one.spent, two.spent, parent.spent) == (Usage(50), Usage(50), Usage(100))


async def test_without_a_limit_it_counts() -> None:
    """A Lutum without a budget still has a ledger."""
    llm = lutum.Lutum(FakeAdapter(WHOLE))
    await llm.text_turn("hello").collect()
    await llm.text_turn("hello").collect()
    assert llm.budget.spent == Usage(24, 10)
    assert llm.budget.remaining == Usage(lutum.UNLIMITED)


async def test_labels_add_up_to_the_worst() -> None:
    """A sum is known as badly as its worst part, and costs are kept to the last digit."""
    budget = Budget()
    for usage in (Usage(1), Usage(1, known="recovered"), Usage(1, known="lower_bound")):
        (await budget.reserve(Estimate())).settle(usage)
        assert budget.spent.known == usage.known
    for _ in range(10):
        (await budget.reserve(Estimate())).settle(Usage(cost_usd=Decimal("0.1"), known="estimated"))
    assert budget.spent == Usage(3, cost_usd=Decimal("1.0"), known="estimated")


async def test_the_async_with_form() -> None:
    """A lease that its block did not settle is settled whole, as an estimate; also when the block fails."""
    budget = Budget(tokens=100)
    async with budget.reserve(Estimate(10, 20)) as lease:
        assert budget.reserved == Usage(10, 20, known="estimated")
        lease.settle(Usage(1, 2))
    assert budget.spent == Usage(1, 2)
    with pytest.raises(LookupError):
        async with budget.reserve(Estimate(10, 20, Decimal("0.5"))):
            raise LookupError
    assert budget.spent == Usage(11, 22, cost_usd=Decimal("0.5"), known="estimated")
    with pytest.raises(lutum.BudgetExceeded):
        async with budget.reserve(Estimate(100, 0)):
            raise AssertionError
    assert budget.reserved.total_tokens == 0


async def test_a_cancelled_reservation_took_nothing() -> None:
    """Cancelled at any await, a reservation leaves the ledger as it was."""
    budget = Budget(tokens=100)

    async def take() -> None:
        async with budget.reserve(Estimate(10)) as lease:
            lease.settle(Usage())

    for k in range(1, 100):
        requested, _ = await cancel_at(take(), k)
        assert budget.statistics().open_leases == budget.reserved.total_tokens == 0
        if not requested:
            break
    assert k > 1


def test_a_second_loop_that_runs_at_once() -> None:
    """A ledger belongs to one loop: another live one is refused; read is fine; once the first has ended
    another may have it."""

    async def take(budget: Budget) -> None:
        (await budget.reserve(Estimate(1))).settle(Usage(1))

    def elsewhere(budget: Budget, spent: Usage) -> None:
        for backend in ("asyncio", "trio"):
            with pytest.raises(lutum.UsageError, match="another event loop"):
                anyio.run(take, budget, backend=backend)
        assert budget.spent == spent

    async def main(budget: Budget) -> None:
        await take(budget)
        await anyio.to_thread.run_sync(elsewhere, budget, budget.spent)
        child = Budget._child(budget)
        await anyio.to_thread.run_sync(elsewhere, child, Usage())
        await take(child)

    budget = Budget()
    for backend in ("asyncio", "trio", "asyncio"):
        anyio.run(main, budget, backend=backend)
    assert budget.spent == Usage(6)


class Foreign:
    """Somebody else's ledger, whose local slice may run out."""

    def __init__(self, slice: int = 10**6, refuse: BaseException | None = None, slow: int = 0) -> None:
        self.slice = slice
        self.refuse = refuse
        self.slow = slow
        self.watch: Callable[[], Any] = lambda: None
        self.seen: Any = None
        self.reserved: list[Estimate] = []
        self.grown: list[int] = []
        self.settled: list[Usage] = []

    async def reserve(self, estimate: Estimate) -> "Foreign":
        self.seen = self.watch()
        for _ in range(self.slow):
            await anyio.lowlevel.checkpoint()
        if self.refuse is not None:
            raise self.refuse
        self.reserved.append(estimate)
        return self

    def grow(self, usage: Usage | Estimate) -> bool:
        self.grown.append(usage.total_tokens)
        return usage.total_tokens <= self.slice

    def settle(self, usage: Usage) -> None:
        self.settled.append(usage)


async def test_a_foreign_ledger_is_the_root() -> None:
    """The local chain is taken first, the foreign one last; both are settled with the same usage."""
    foreign = Foreign()
    llm = lutum.Lutum(FakeAdapter(WHOLE), budget=foreign)
    foreign.watch = lambda: llm.budget.reserved.total_tokens
    await llm.text_turn("hello").collect()
    assert foreign.seen == 110
    assert foreign.reserved == [Estimate(10, 100)]
    assert foreign.settled == [Usage(12, 5)] == [llm.budget.spent]


async def test_a_foreign_ledger_that_refuses() -> None:
    """Its refusal comes out as it is, the local part is given back, and nothing is sent."""
    error = lutum.BudgetExceeded("no more today")
    foreign = Foreign(refuse=error)
    house = House(FakeAdapter(WHOLE))
    llm = lutum.Lutum(house.adapter, budget=foreign)
    with pytest.raises(lutum.BudgetExceeded) as info:
        await llm.text_turn("hello").collect()
    assert info.value is error
    assert llm.budget.reserved.total_tokens == llm.budget.statistics().open_leases == 0
    assert llm.budget.spent == Usage()
    assert house.adapter.exchanges == []


async def test_a_local_refusal_never_reaches_a_foreign_ledger() -> None:
    """A turn limited on its own is refused before anybody else is asked."""
    foreign = Foreign()
    turn = lutum.Lutum(FakeAdapter(WHOLE), budget=foreign).text_turn("hello")
    with pytest.raises(lutum.BudgetExceeded):
        await turn.limit(lutum.RequestBudget(tokens=50)).collect()
    assert foreign.seen is None
    assert foreign.reserved == []


async def test_a_foreign_ledger_cancelled_at_every_await() -> None:
    """A turn cancelled while it waits for a remote reservation gives the local part back; one that has it
    settles it."""
    for k in range(1, 100):
        foreign = Foreign(slow=5)
        adapter = FakeAdapter(WHOLE, checkpoints=True)
        llm = lutum.Lutum(adapter, budget=foreign)
        requested, _ = await cancel_at(llm.text_turn("hello").collect(), k)
        assert llm.budget.reserved.total_tokens == llm.budget.statistics().open_leases == 0
        assert len(foreign.reserved) == len(foreign.settled)
        if foreign.settled:
            assert foreign.settled == [llm.budget.spent]
        if not requested:
            break
    assert k > 6


# A turn and its lease.


async def test_a_turn_that_is_refused() -> None:
    """Nothing is sent, nothing stays reserved, nothing was spent; the block is not entered."""
    with House(FakeAdapter(WHOLE), budget=Budget(tokens=109)) as house:
        with pytest.raises(lutum.BudgetExceeded) as info:
            async with house.stream() as turn:
                raise AssertionError
        assert not info.value.started
        assert house.adapter.exchanges == []
        assert house.budget.spent == Usage()
        turn = house.streams[0]
        assert turn.usage == Usage()


async def test_exactly_what_is_left() -> None:
    """A reservation of all that remains is granted."""
    with House(FakeAdapter(WHOLE), budget=Budget(tokens=110)) as house:
        await house.llm.text_turn("hello").collect()


def tokens(count: int) -> list[Step]:
    return [Text("x") for _ in range(count)]


async def test_growing_in_mid_stream() -> None:
    """Output beyond the reservation grows the lease, without asking the provider less."""
    gate = anyio.Event()
    play = [STARTED, *tokens(150), Gate(gate), done(Usage(10, 150))]
    with House(FakeAdapter(play), budget=Budget(tokens=200)) as house:
        async with house.stream() as turn:
            await anyio.wait_all_tasks_blocked()
            assert house.budget.reserved.total_tokens == 160
            gate.set()
            async for _ in turn:
                pass
    assert house.budget.spent == Usage(10, 150)


async def test_a_lease_that_cannot_grow() -> None:
    """It ends the turn within one event, with its partial, and what was counted is charged, overdraft and
    all; the next turn is refused."""
    play = [STARTED, *tokens(1000), done()]
    with House(FakeAdapter(play), budget=Budget(tokens=130)) as house:
        seen = 0
        with pytest.raises(lutum.BudgetExceeded) as info:
            async with house.stream() as turn:
                async for event in turn:
                    seen += isinstance(event, lutum.TextDelta)
        error = info.value
        assert seen == 121
        assert house.adapter.exchanges[0].asked == 122
        assert error.started
        assert error.partial is not None
        assert error.partial.text == "x" * 121
        assert error.usage == house.budget.spent == Usage(10, 121, known="estimated")
        assert house.budget.statistics().overdraft_tokens == 1
        with pytest.raises(lutum.BudgetExceeded):
            await house.llm.text_turn("hello").collect()


async def test_reported_usage_ends_it_too() -> None:
    """What counts is the larger of what the provider reports and what was seen, on both sides."""
    for report in (Usage(10, 121), Usage(40, 91), Usage(131, 0)):
        play = [STARTED, Text("a"), lutum.UsageUpdate(report), STALL]
        with House(FakeAdapter(play), budget=Budget(tokens=130)) as house:
            with pytest.raises(lutum.BudgetExceeded):
                async with house.stream() as turn:
                    async for _ in turn:
                        pass
            assert house.budget.spent.total_tokens >= 131


async def test_input_beyond_its_estimate_takes_from_what_was_held_for_output() -> None:
    """The limit is one on the sum: a turn that stays within it is not ended."""
    report = lutum.UsageUpdate(Usage(40, 0))
    play = [STARTED, report, *tokens(90), done(Usage(40, 90))]
    with House(FakeAdapter(play), budget=Budget(tokens=130)) as house:
        await house.llm.text_turn("hello").collect()
    assert house.budget.spent == Usage(40, 90)


@pytest.mark.parametrize("final", [lutum.UsageUpdate(Usage(10, 500), final=True), done(Usage(10, 500))])
async def test_final_usage_never_ends_a_turn(final: lutum.Event) -> None:
    """You get the answer you were billed for, and the overdraft."""
    play: list[Step] = [STARTED, Text("a"), final, done(Usage(10, 500))]
    with House(FakeAdapter(play), budget=Budget(tokens=110)) as house:
        assert (await house.llm.text_turn("hello").collect()).usage == Usage(10, 500)
        assert house.budget.spent == Usage(10, 500)
        assert house.budget.statistics().overdraft_tokens == 400
        with pytest.raises(lutum.BudgetExceeded):
            await house.llm.text_turn("hello").collect()


async def test_a_foreign_slice_that_runs_out() -> None:
    """A foreign lease that cannot grow ends the turn as a local one does."""
    foreign = Foreign(slice=120)
    llm = lutum.Lutum(FakeAdapter([STARTED, *tokens(1000), done()]), budget=foreign)
    with pytest.raises(lutum.BudgetExceeded) as info:
        await llm.text_turn("hello").collect()
    assert foreign.grown == list(range(111, 122))
    assert foreign.settled == [Usage(10, 111, known="estimated")] == [info.value.usage]
    assert llm.budget.reserved.total_tokens == 0


async def test_a_thousand_turns_and_cancels() -> None:
    """With many turns at once, some stopped and some cut, never more is reserved than the limit and the sum
    of what was settled is what was spent."""
    limit = 5_000
    house = House(FakeAdapter(WHOLE, checkpoints=True), budget=Budget(tokens=limit))
    house.adapter.plays = [list(play) for play in (WHOLE, STALLED[:2], WHOLE[:3]) for _ in range(334)]
    settled, refused = list[Usage](), 0

    async def run(n: int) -> None:
        nonlocal refused
        turn = house.stream()
        try:
            async with turn:
                assert house.budget.reserved.total_tokens + house.budget.spent.total_tokens <= limit
                for step in range(5):
                    if step == n % 6:
                        turn.cancel_scope.cancel()
                    await anext(turn, None)
        except lutum.BudgetExceeded:
            refused += 1
            return
        except lutum.Interrupted:
            pass
        settled.append(turn.usage)

    with house:
        async with anyio.create_task_group() as group:
            for n in range(1000):
                group.start_soon(run, n)
    assert len(settled) + refused == 1000
    assert refused == house.budget.statistics().refused > 0
    assert sum((usage.total_tokens for usage in settled), 0) == house.budget.spent.total_tokens


async def test_request_budget() -> None:
    """A limit of one turn is beside the ledger's: it refuses alone, ends alone, and is paid by the ledger."""
    play = [STARTED, *tokens(200), done(Usage(10, 200))]
    with House(FakeAdapter(play)) as house:
        builder = house.llm.text_turn("hello")
        with pytest.raises(lutum.BudgetExceeded):
            await builder.limit(lutum.RequestBudget(tokens=109)).collect()
        assert house.budget.spent == Usage()
        with pytest.raises(lutum.BudgetExceeded) as info:
            await builder.limit(lutum.RequestBudget(tokens=150)).collect()
        assert info.value.usage == house.budget.spent == Usage(10, 141, known="estimated")
        limited = builder.limit(lutum.RequestBudget(tokens=300))
        for _ in range(2):  # each run of it has the whole limit
            await limited.collect()


async def test_what_to_reserve() -> None:
    """`.reserve()` replaces the estimate, in `estimate()` and on the ledger."""
    gate = anyio.Event()
    with House(FakeAdapter([STARTED, Gate(gate), done()])) as house:
        builder = house.llm.text_turn("hello").reserve(Estimate(7, 8))
        assert await builder.estimate() == Estimate(7, 8)
        async with builder.stream() as turn:
            assert house.budget.reserved == Usage(7, 8, known="estimated")
            gate.set()
            async for _ in turn:
                pass


@pytest.mark.parametrize("how", ["ledger", "request", "foreign"])
async def test_estimate_required(how: str) -> None:
    """Where a limit applies and nothing bounds the request, it is refused and names the items; without a
    limit, or with `.reserve()`, it runs."""
    adapter = FakeAdapter(WHOLE, unbounded=("server tool 'web_search'", "image by URL"))
    budget: Any = {"ledger": Budget(tokens=1000), "request": None, "foreign": Foreign()}[how]
    llm = lutum.Lutum(adapter, budget=budget)
    builder = llm.text_turn("hello")
    if how == "request":
        await builder.collect()
        builder = builder.limit(lutum.RequestBudget(tokens=1000))
    sent = len(adapter.exchanges)
    with pytest.raises(lutum.EstimateRequired, match=r"web_search.*image by URL"):
        await builder.collect()
    with pytest.raises(lutum.EstimateRequired):
        await builder.estimate()
    assert len(adapter.exchanges) == sent
    assert llm.budget.reserved.total_tokens == 0
    await builder.reserve(Estimate(10, 10)).collect()


@pytest.mark.parametrize("how", ["ledger", "request"])
async def test_unpriced_model(how: str) -> None:
    """A limit in US dollars and no price: refused before anything is reserved; a reservation that says the
    cost runs, and is held and refused by it."""
    adapter = FakeAdapter([*WHOLE[:3], done(Usage(12, 5, cost_usd=Decimal("0.25")))])
    llm = lutum.Lutum(adapter, budget=Budget(cost_usd=1) if how == "ledger" else None)
    builder = llm.text_turn("hello")
    if how == "request":
        builder = builder.limit(lutum.RequestBudget(cost_usd="0.60"))
    with pytest.raises(lutum.UnpricedModel, match="fake-1"):
        await builder.collect()
    assert adapter.exchanges == []
    priced = builder.reserve(Estimate(10, 10, Decimal("0.5")))
    await priced.collect()
    assert llm.budget.spent.cost_usd == Decimal("0.25")
    with pytest.raises(lutum.BudgetExceeded, match=r"\$"):
        await builder.reserve(Estimate(10, 10, Decimal("0.8"))).collect()
    await priced.collect()
    if how == "ledger":
        with pytest.raises(lutum.BudgetExceeded):
            await builder.reserve(Estimate(10, 10, Decimal("0.500000000001"))).collect()


@pytest.mark.parametrize("cost", [Decimal("0.1"), "0.1", 0.1], ids=["decimal", "text", "float"])
async def test_amounts_of_money(cost: Any) -> None:
    """Decimal, text and int are what they say, a float what its repr says: ten dimes are a dollar."""
    budget = Budget(cost_usd=1)
    leases = [await budget.reserve(Estimate(cost_usd=cost)) for _ in range(10)]
    assert budget.remaining.cost_usd == 0
    with pytest.raises(lutum.BudgetExceeded):
        await budget.reserve(Estimate(cost_usd=Decimal("1e-12")))
    for lease in leases:
        lease.settle(Usage())
    assert Budget(cost_usd=cost).statistics().limit_cost_usd == Decimal("0.1")


@pytest.mark.parametrize("cost", ["ten", "", float("nan"), float("inf"), "-1", -0.5, None.__class__])
def test_no_amount_of_money(cost: Any) -> None:
    """What is none is a BadValue that names the field."""
    with pytest.raises(lutum.BadValue) as info:
        Budget(cost_usd=cost)
    assert info.value.field == "cost_usd"


def test_no_amount_of_tokens() -> None:
    """A limit below zero is a BadValue."""
    with pytest.raises(lutum.BadValue) as info:
        Budget(tokens=-1)
    assert info.value.field == "tokens"


@given(st.decimals(0, 10**6, places=15))
def test_costs_are_rounded_up(cost: Decimal) -> None:
    """A cost finer than a pico-dollar counts as the next one up, never as less."""
    limit = Budget(cost_usd=cost).statistics().limit_cost_usd
    assert limit is not None
    assert 0 <= limit - cost < Decimal("1e-12")


@given(st.floats(0, 10**6, allow_subnormal=False))
def test_a_float_is_its_repr(cost: float) -> None:
    """The same limit as its repr as text."""
    assert Budget(cost_usd=cost).statistics() == Budget(cost_usd=repr(cost)).statistics()


# What was spent before, and figures that are not amounts.


async def test_what_was_spent_before_counts() -> None:
    """A budget that goes on from another one's figures is as full as that one was."""
    before = Usage(60, 20, cost_usd=Decimal("0.5"), known="estimated")
    budget = Budget(tokens=100, cost_usd=1, spent=before)
    assert budget.spent == before
    assert budget.remaining == Usage(20, cost_usd=Decimal("0.5"))
    with pytest.raises(lutum.BudgetExceeded):
        await budget.reserve(Estimate(21))
    (await budget.reserve(Estimate(20))).settle(Usage(20))
    assert budget.spent == Usage(80, 20, cost_usd=Decimal("0.5"), known="estimated")
    over = Budget(tokens=10, spent=Usage(11))
    assert over.statistics().overdraft_tokens == 1
    with pytest.raises(lutum.BudgetExceeded):
        await over.reserve(Estimate())


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("tokens", {"tokens": 1.5}),
        ("tokens", {"tokens": True}),
        ("tokens", {"tokens": "5"}),
        ("cost_usd", {"cost_usd": True}),
        ("spent", {"spent": 5}),
        ("spent", {"spent": Estimate(5)}),
        ("tokens_per_minute", {"tokens_per_minute": 1.5}),
        ("requests_per_minute", {"requests_per_minute": True}),
    ],
)
def test_figures_are_checked(field: str, options: dict[str, Any]) -> None:
    """Here, and not by the first turn; the error names the field."""
    with pytest.raises(lutum.BadValue, match=rf"^{field}: "):
        Budget(**options)
