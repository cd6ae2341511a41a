"""Who waits for a ledger, and in which order: against a model, with cancels, and ten thousand at once."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import anyio
import pytest
from fakes import STARTED, VIRTUAL, FakeAdapter, Text, Wait, done
from hypothesis import given, settings, strategies as st

import lutum
from lutum import Budget, Estimate, Usage
from lutum._budget import wait_queue
from lutum._budget.lease import BudgetLease

settled = anyio.wait_all_tasks_blocked


class Asker:
    """A task that reserves; `got` is its lease, `error` its refusal, `left` that it was cancelled."""

    def __init__(self, number: int, budget: Budget, amount: int) -> None:
        self.number = number
        self.budget = budget
        self.amount = amount
        self.scope = anyio.CancelScope()
        self.got: BudgetLease | None = None
        self.error: lutum.BudgetExceeded | None = None
        self.left = False

    async def run(self) -> None:
        with self.scope:
            try:
                self.got = await self.budget.reserve(Estimate(self.amount))
            except lutum.BudgetExceeded as error:
                self.error = error
        self.left = self.scope.cancelled_caught

    @property
    def fate(self) -> str:
        if self.left:
            return "left"
        if self.error is not None:
            return "refused"
        return "waits" if self.got is None else "has"


# Against a model that looks at everybody, in order of arrival, whenever anything happens.


class Cap:
    """The model of a ledger."""

    def __init__(self, limit: int | None, parent: Cap | None) -> None:
        self.limit = limit
        self.chain: list[Cap] = [self, *(parent.chain if parent is not None else [])]
        self.spent = 0
        self.held = 0

    def fits(self, amount: int) -> bool:
        return self.limit is None or self.spent + self.held + amount <= self.limit

    def hopeless(self, amount: int) -> bool:
        return self.limit is not None and self.spent + amount > self.limit


class Line:
    """The model of the line: (number, cap, amount) of who waits, and what becomes of everybody."""

    def __init__(self) -> None:
        self.waiting = list[tuple[int, Cap, int]]()
        self.fates = dict[int, str]()

    def arrive(self, number: int, cap: Cap, amount: int) -> None:
        if any(each.hopeless(amount) for each in cap.chain):
            self.fates[number] = "refused"
            return
        self.fates[number] = "waits"
        self.waiting.append((number, cap, amount))

    def leave(self, number: int) -> None:
        self.waiting.remove(next(each for each in self.waiting if each[0] == number))
        self.fates[number] = "left"

    def look(self) -> None:
        """Refuse each waiter that can never fit, whoever is ahead of it. Grant each that fits and is not
        behind somebody on the ledger that blocks that one."""
        for each in list(self.waiting):
            if any(payer.hopeless(each[2]) for payer in each[1].chain):
                self.waiting.remove(each)
                self.fates[each[0]] = "refused"
        blocked = list[Cap]()
        for each in list(self.waiting):
            number, cap, amount = each
            if any(payer in blocked for payer in cap.chain):
                continue
            tight = next((payer for payer in cap.chain if not payer.fits(amount)), None)
            if tight is None:
                self.waiting.remove(each)
                self.fates[number] = "has"
                for payer in cap.chain:
                    payer.held += amount
            else:
                blocked.append(tight)


programs = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(0, 9), st.integers(0, 12)),
        st.tuples(st.just("ask"), st.integers(0, 9), st.integers(0, 12)),
        st.tuples(st.just("settle"), st.integers(0, 30), st.integers(0, 12)),
        st.tuples(st.just("cancel"), st.integers(0, 30), st.none()),
    ),
    max_size=40,
)
# Each ledger but the root: where it hangs, and its limit.
trees = st.lists(
    st.tuples(st.integers(0, 9), st.one_of(st.none(), st.integers(1, 25))), min_size=0, max_size=4
)


# As long as asyncio has no better way to know that all tasks wait than to sleep, this is a test of trio.
@pytest.mark.slow
@pytest.mark.parametrize("anyio_backend", ["trio"])
@settings(max_examples=max(400, settings().max_examples))
@given(st.integers(1, 30), trees, programs)
async def test_the_line_against_a_model(
    limit: int, tree: list[tuple[int, int | None]], program: list[tuple[str, int, Any]]
) -> None:
    """In order of arrival; passed only by who does not draw on the ledger that blocks; nobody small overtakes
    somebody big; a full child holds up its own; whoever can never fit is refused; nobody is forgotten."""
    budgets, caps = [Budget(tokens=limit, on_exhausted="wait")], [Cap(limit, None)]
    for parent, cap in tree:
        place = parent % len(budgets)
        budgets.append(Budget._child(budgets[place], tokens=cap, on_exhausted="wait"))
        caps.append(Cap(cap, caps[place]))
    line = Line()
    askers = list[Asker]()

    async with anyio.create_task_group() as group:
        for name, one, two in program:
            if name == "ask":
                place = one % len(budgets)
                asker = Asker(len(askers), budgets[place], two)
                askers.append(asker)
                group.start_soon(asker.run)
                line.arrive(asker.number, caps[place], two)
            elif name == "settle" and (
                having := [each for each in askers if each.got is not None and not each.got.settled]
            ):
                asker = having[one % len(having)]
                assert asker.got is not None
                asker.got.settle(Usage(two))
                for payer in caps[budgets.index(asker.budget)].chain:
                    payer.held -= asker.amount
                    payer.spent += two
            elif name == "cancel" and (waiting := [each for each in askers if each.fate == "waits"]):
                asker = waiting[one % len(waiting)]
                asker.scope.cancel()
                line.leave(asker.number)
            await settled()
            line.look()
            assert {each.number: each.fate for each in askers} == line.fates
            assert all(
                cap.spent + cap.held == _used(budget) for cap, budget in zip(caps, budgets, strict=True)
            )
        # Whatever is left comes to an end once everybody with a lease is done.
        for _ in range(len(askers)):
            for asker in askers:
                if asker.got is not None:
                    asker.got.settle(Usage())
            await settled()
        assert [each for each in askers if each.fate == "waits"] == []
    assert all(budget.reserved.total_tokens == 0 for budget in budgets)


def _used(budget: Budget) -> int:
    return budget.spent.total_tokens + budget.reserved.total_tokens


# The rules one by one.


async def ask(group: anyio.abc.TaskGroup, budget: Budget, *amounts: int) -> list[Asker]:
    """Tasks that reserve, one after the other."""
    askers = [Asker(n, budget, amount) for n, amount in enumerate(amounts)]
    for asker in askers:
        group.start_soon(asker.run)
        await settled()
    return askers


def fates(askers: list[Asker]) -> list[str]:
    return [asker.fate for asker in askers]


async def test_nobody_small_overtakes_somebody_big() -> None:
    """On one ledger the first in line is the first to be served, however much would fit behind it."""
    budget = Budget(tokens=10, on_exhausted="wait")
    async with anyio.create_task_group() as group:
        askers = await ask(group, budget, 8, 5, 1, 1)
        assert fates(askers) == ["has", "waits", "waits", "waits"]
        askers[0].got.settle(Usage(4))
        await settled()
        assert fates(askers) == ["has", "has", "has", "waits"]
        askers[1].got.settle(Usage())


async def test_a_full_child_holds_up_its_own_turns_only() -> None:
    """Who waits for a block's cap is passed by everybody who does not draw on that block."""
    root = Budget(tokens=100, on_exhausted="wait")
    full = Budget._child(root, tokens=10, on_exhausted="wait")
    other = Budget._child(root, tokens=50, on_exhausted="wait")
    async with anyio.create_task_group() as group:
        first = await ask(group, full, 10, 10, 5)
        assert fates(first) == ["has", "waits", "waits"]
        assert fates(await ask(group, other, 20, 20)) == ["has", "has"]
        assert fates(await ask(group, root, 50)) == ["has"]
        assert fates(first) == ["has", "waits", "waits"]
        group.cancel_scope.cancel()


async def test_who_waits_for_the_root_is_not_passed_through_a_child() -> None:
    """Everybody draws on the root, so nobody passes who waits for it."""
    root = Budget(tokens=100, on_exhausted="wait")
    child = Budget._child(root, tokens=50, on_exhausted="wait")
    async with anyio.create_task_group() as group:
        first = await ask(group, root, 90, 20)
        second = await ask(group, child, 5)
        assert fates(first) + fates(second) == ["has", "waits", "waits"]
        first[0].got.settle(Usage(90))
        await settled()
        # Twenty can never fit beside the ninety that are spent; five can.
        assert fates(first) + fates(second) == ["has", "refused", "has"]


async def test_a_line_of_a_child_does_not_pass_the_line_of_the_root() -> None:
    """When a child's cap has room again, its own line goes on only as far as nobody older waits above."""
    root = Budget(tokens=10, on_exhausted="wait")
    child = Budget._child(root, tokens=6, on_exhausted="wait")
    async with anyio.create_task_group() as group:
        holder, first = await ask(group, child, 6, 5)
        (big,) = await ask(group, root, 6)
        (small,) = await ask(group, child, 1)
        assert fates([first, big, small]) == ["waits"] * 3
        holder.got.settle(Usage())
        await settled()
        # The small one would fit on both ledgers now.
        assert fates([first, big, small]) == ["has", "waits", "waits"]
        first.got.settle(Usage())
        await settled()
        assert fates([first, big, small]) == ["has", "has", "has"]


async def test_who_followed_somebody_is_seen_when_that_one_is_served() -> None:
    """Behind somebody of its own block who waits for the root now, a turn is served in the same step as that
    one, whoever made the room."""
    root = Budget(tokens=10, on_exhausted="wait")
    child = Budget._child(root, tokens=5, on_exhausted="wait")
    async with anyio.create_task_group() as group:
        holder, first, second = await ask(group, child, 2, 4, 1)
        (other,) = await ask(group, root, 8)
        assert fates([holder, first, second, other]) == ["has", "waits", "waits", "has"]
        holder.got.settle(Usage())
        await settled()
        # The child has room for both, the root has not for the first, and the second is behind it.
        assert fates([first, second]) == ["waits", "waits"]
        other.got.settle(Usage())
        await settled()
        assert fates([first, second]) == ["has", "has"]


@pytest.mark.parametrize("others", [0, 1, 2])
@pytest.mark.parametrize("first", ["cancelled", "granted"])
async def test_a_grant_that_meets_a_cancellation(first: str, others: int) -> None:
    """In one step, in either order: it is given back in that step and offered to the next, or had before the
    cancellation was met. Nothing is lost between two tasks."""
    budget = Budget(tokens=10, on_exhausted="wait")
    async with anyio.create_task_group() as group:
        holder, *askers = await ask(group, budget, 10, 10, 10, 10, 10)
        assert holder.got is not None
        if first == "granted":
            holder.got.settle(Usage())
        for asker in askers[: others + 1]:
            asker.scope.cancel()
        if first == "cancelled":
            holder.got.settle(Usage())
        assert budget.reserved.total_tokens == 10  # granted to the first in line, which has not run yet
        await settled()
        expected = ["left"] * (others + 1) + ["has"] + ["waits"] * (2 - others)
        if first == "granted":
            assert fates(askers) in (expected, ["has"] + ["left"] * others + ["waits"] * (3 - others))
        else:
            assert fates(askers) == expected
        assert budget.reserved.total_tokens == 10
        group.cancel_scope.cancel()


async def test_who_leaves_makes_room() -> None:
    """When somebody big gives up waiting, those behind are served in that step."""
    budget = Budget(tokens=10, on_exhausted="wait")
    async with anyio.create_task_group() as group:
        askers = await ask(group, budget, 5, 10, 2, 3, 1)
        askers[1].scope.cancel()
        await settled()
        assert fates(askers) == ["has", "left", "has", "has", "waits"]
        group.cancel_scope.cancel()


@pytest.mark.parametrize("where", ["root", "child"])
async def test_larger_than_a_limit_is_refused_at_once(where: str) -> None:
    """Also behind a line, and also where only a ledger far down the chain is too small."""
    root = Budget(tokens=100, on_exhausted="wait")
    child = Budget._child(root, tokens=50 if where == "child" else None, on_exhausted="wait")
    async with anyio.create_task_group() as group:
        askers = await ask(group, root, 100, 10)
        big = await ask(group, child, 51 if where == "child" else 101)
        assert fates(askers) + fates(big) == ["has", "waits", "refused"]
        assert "can never fit" in str(big[0].error)
        group.cancel_scope.cancel()


async def test_a_child_that_refuses_on_a_parent_that_waits() -> None:
    """Each ledger of a chain does what it was told: the child refuses what it has no room for now, and what
    it has room for waits for the parent."""
    root = Budget(tokens=100, on_exhausted="wait")
    child = Budget._child(root, tokens=50)
    async with anyio.create_task_group() as group:
        assert fates(await ask(group, child, 40, 20)) == ["has", "refused"]
        (holder,) = await ask(group, root, 60)
        (waiter,) = await ask(group, child, 10)
        assert waiter.fate == "waits"
        holder.got.settle(Usage())
        await settled()
        assert waiter.fate == "has"


async def test_growth_never_joins_the_line() -> None:
    """It is granted past everybody who waits, or refused at once."""
    budget = Budget(tokens=20, on_exhausted="wait")
    async with anyio.create_task_group() as group:
        first, second = await ask(group, budget, 10, 15)
        assert first.got is not None
        assert first.got.grow(Usage(20))
        assert not first.got.grow(Usage(21))
        assert second.fate == "waits"
        first.got.settle(Usage(0))
        await settled()
        assert second.fate == "has"


@VIRTUAL
async def test_a_turn_that_grows_past_the_line() -> None:
    """The same for a turn: it goes on while others wait, and they start when it is done."""
    play = [STARTED, *[Text("x")] * 15, Wait(5), done(Usage(10, 15))]
    adapter = FakeAdapter(play)
    llm = lutum.Lutum(adapter, budget=Budget(tokens=50, on_exhausted="wait"))
    turn = llm.text_turn("hello").reserve(Estimate(10, 5))
    start = anyio.current_time()
    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(turn.collect)
    assert llm.budget.spent == Usage(20, 30)
    # Two times fifteen fit at once, and both grow by ten.
    assert anyio.current_time() - start == pytest.approx(5)


async def test_who_can_never_fit_never_hangs() -> None:
    """When what others spent leaves too little for ever, everybody who waits for more is refused, and who
    still fits is served."""
    budget = Budget(tokens=100, on_exhausted="wait")
    async with anyio.create_task_group() as group:
        askers = await ask(group, budget, 100, 50, 60, 10, 41)
        askers[0].got.settle(Usage(60))
        await settled()
        assert fates(askers) == ["has", "refused", "refused", "has", "refused"]
    assert budget.exhausted


async def test_who_stands_behind_a_refused_waiter_is_served_on_another_ledger() -> None:
    """A waiter that moved on to the root is refused there; who stayed at the child behind it is seen."""
    root = Budget(tokens=100, on_exhausted="wait")
    child = Budget._child(root, tokens=100, on_exhausted="wait")
    async with anyio.create_task_group() as group:
        (on_root,) = await ask(group, root, 50)
        on_child, big, small = await ask(group, child, 50, 60, 20)
        on_child.got.settle(Usage())
        await settled()
        assert fates([big, small]) == ["waits", "waits"]
        on_root.got.settle(Usage(45))
        await settled()
        assert fates([big, small]) == ["refused", "has"]
    assert root.statistics().refused == 1


async def test_a_waiter_is_refused_once_by_the_ledger_that_it_can_never_fit() -> None:
    """One settlement makes one waiter hopeless at the child, and the next one in line at the root."""
    root = Budget(tokens=100, on_exhausted="wait")
    child = Budget._child(root, tokens=60, on_exhausted="wait")
    (await root.reserve(Estimate(50))).settle(Usage(50))
    async with anyio.create_task_group() as group:
        holder, at_child, at_root = await ask(group, child, 40, 50, 15)
        assert fates([holder, at_child, at_root]) == ["has", "waits", "waits"]
        holder.got.settle(Usage(40))
        await settled()
        assert fates([at_child, at_root]) == ["refused", "refused"]
    assert (child.statistics().refused, root.statistics().refused) == (1, 1)


async def test_a_block_that_ends_lets_those_behind_its_waiters_pass() -> None:
    """Whoever stood behind a turn of the block, on a ledger above it, is offered the place in that step."""
    root = Budget(tokens=100, on_exhausted="wait")
    child = Budget._child(root, tokens=None, on_exhausted="wait")
    async with anyio.create_task_group() as group:
        await ask(group, root, 50)
        (inside,) = await ask(group, child, 60)
        (outside,) = await ask(group, root, 20)
        assert fates([inside, outside]) == ["waits", "waits"]
        await child._close()
        await settled()
        assert fates([inside, outside]) == ["refused", "has"]


async def test_a_cost_that_can_never_fit_is_refused_at_once() -> None:
    """Spent money does not come back, so a reservation for more than the rest does not wait."""
    budget = Budget(cost_usd="1.00", on_exhausted="wait")
    (await budget.reserve(Estimate(cost_usd=Decimal("0.40")))).settle(Usage(cost_usd=Decimal("0.40")))
    held = await budget.reserve(Estimate(cost_usd=Decimal("0.10")))
    with anyio.fail_after(1), pytest.raises(lutum.BudgetExceeded, match=r"can never fit: \$0\.4"):
        await budget.reserve(Estimate(cost_usd=Decimal("0.61")))
    held.settle(Usage())


async def test_a_cost_that_fills_a_limit_exactly_waits_and_is_granted() -> None:
    """What fits to the last pico-dollar can fit: it is not refused for good."""
    budget = Budget(cost_usd="1.00", on_exhausted="wait")
    async with budget.reserve(Estimate(cost_usd=Decimal("0.40"))) as lease:
        lease.settle(Usage(cost_usd=Decimal("0.40")))
    granted = list[Decimal]()

    async def ask_for_the_rest() -> None:
        async with budget.reserve(Estimate(cost_usd=Decimal("0.60"))) as rest:
            granted.append(Decimal("0.60"))
            rest.settle(Usage())

    held = await budget.reserve(Estimate(cost_usd=Decimal("0.20")))
    async with anyio.create_task_group() as group:
        group.start_soon(ask_for_the_rest)
        await settled()
        assert not granted
        held.settle(Usage())
    assert granted == [Decimal("0.60")]


async def test_a_lease_grows_up_to_the_limit_of_cost() -> None:
    """The last pico-dollar is there to be used, one more is not."""
    budget = Budget(cost_usd="1.00")
    async with budget.reserve(Estimate(cost_usd=Decimal("0.40"))) as lease:
        assert lease.grow(Usage(cost_usd=Decimal("1.00")))
        assert not lease.grow(Usage(cost_usd=Decimal("1.000000000001")))


async def test_an_overdraft_refuses_the_whole_line() -> None:
    """Billed beyond the limit, nothing starts any more and nobody is left waiting."""
    budget = Budget(tokens=100, on_exhausted="wait")
    async with anyio.create_task_group() as group:
        askers = await ask(group, budget, 100, 1, 0, 100)
        askers[0].got.settle(Usage(101))
        await settled()
        assert fates(askers) == ["has", "refused", "refused", "refused"]


async def test_refused_is_the_default() -> None:
    """Nobody waits who did not ask for it."""
    async with anyio.create_task_group() as group:
        assert fates(await ask(group, Budget(tokens=10), 10, 1)) == ["has", "refused"]


# Ten thousand.


class Heap:
    """Counts the heap operations of the line."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        for name in ("heappush", "heappop"):
            monkeypatch.setattr(wait_queue, name, self.counted(getattr(wait_queue, name)))

    def counted(self, operation: Any) -> Any:
        def call(*args: Any) -> Any:
            self.count += 1
            return operation(*args)

        return call


@pytest.mark.slow
@pytest.mark.parametrize("children", [0, 3])
async def test_ten_thousand_wait(children: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A third of them is cancelled at random moments, some in the step that grants them: everybody else is
    served, in order of arrival on each ledger, and it takes a few heap operations each."""
    heap = Heap(monkeypatch)
    chance = random.Random(1)
    root = Budget(tokens=50_000, on_exhausted="wait")
    budgets = [Budget._child(root, tokens=25_000, on_exhausted="wait") for _ in range(children)] or [root]
    # In one line one at a time has room, and is known by its amount; in several, some of each line have.
    smallest = 2_000 if children else 40_000
    askers = [Asker(n, chance.choice(budgets), smallest + n) for n in range(10_000)]
    doomed = set(chance.sample(range(10_000), 3_333))

    served = dict[Budget, list[int]]({budget: [] for budget in budgets})

    async def run(asker: Asker) -> None:
        await asker.run()
        if asker.got is None:
            return
        served[asker.budget].append(asker.number)
        if chance.random() < 0.5:
            await anyio.lowlevel.checkpoint()
        for _ in range(2):  # some of them are granted in this very step
            victim = askers[min(asker.number + chance.randint(1, 60), 9_999)]
            if victim.number in doomed:
                victim.scope.cancel()
        asker.got.settle(Usage())

    async with anyio.create_task_group() as group:
        everything = await root.reserve(Estimate(50_000))
        for asker in askers:
            group.start_soon(run, asker)
        await settled()
        assert len(root._claims) == 10_000
        arrived = [claim.amount.input for claim in root._claims]
        everything.settle(Usage())
    assert root._claims == {}
    if not children:
        left = {asker.number for asker in askers if asker.fate == "left"}
        assert served[root] == [amount - smallest for amount in arrived if amount - smallest not in left]
    assert {asker.fate for asker in askers} == {"has", "left"}
    assert {asker.number for asker in askers if asker.fate == "left"} <= doomed
    assert sum(asker.fate == "left" for asker in askers) > 1_000
    assert all(budget.reserved.total_tokens == 0 for budget in (root, *budgets))
    assert sum(map(len, served.values())) == sum(asker.fate == "has" for asker in askers)
    # One to stand in line and one to leave it, and again for each ledger that it moves to.
    assert heap.count <= (8 if children else 2) * 10_000 + 100


async def test_refused_waiters_are_counted() -> None:
    """Also those that waited, and those that come when the budget is spent."""
    budget = Budget(tokens=100, on_exhausted="wait")
    held = await budget.reserve(Estimate(80))
    async with anyio.create_task_group() as group:
        askers = [Asker(number, budget, 30) for number in range(3)]
        for asker in askers:
            group.start_soon(asker.run)
        await settled()
        assert budget.statistics().refused == 0
        held.settle(Usage(80))
    assert [asker.error is not None for asker in askers] == [True] * 3
    with pytest.raises(lutum.BudgetExceeded):
        await budget.reserve(Estimate(30))
    assert budget.statistics().refused == 4
