"""The wait queue with rates, as a state machine: no waiter is forgotten, and none moves without progress.

The machine drives nested ledgers with limits and rates on asyncio, one operation at a time, under virtual
time. At its end the same operations run on trio, where each waiter must have the same fate at the same time.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
from anyio.lowlevel import checkpoint
from fakes import VIRTUAL
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

import lutum
from lutum import Budget, Estimate, Response, Usage
from lutum._budget.lease import BudgetLease, Claim
from lutum.testing import virtual_time

# Steps of the scheduler in which everything that one operation sets off has happened.
STEPS = 40

# How often a waiter may be woken by one operation, or by one instant that passes: it is told a new time, it
# is granted, and it notes that its own time has come.
WAKES = 4


class Seeker:
    """A task that reserves. `events` are its fates with their times."""

    def __init__(self, story: Story, number: int, budget: Budget, amount: int) -> None:
        self.story = story
        self.number = number
        self.budget = budget
        self.amount = amount
        self.scope = anyio.CancelScope()
        self.lease: BudgetLease | None = None
        self.fate = "waits"

    async def run(self) -> None:
        with self.scope:
            try:
                self.lease = await self.budget.reserve(Estimate(self.amount))
                self._met("has")
            except lutum.BudgetExceeded:
                self._met("refused")
        if self.scope.cancelled_caught:
            self._met("left")

    def _met(self, fate: str) -> None:
        self.fate = fate
        self.story.log.append((self.number, fate, round(anyio.current_time() - self.story.start, 4)))


class Story:
    """Ledgers and those who reserve on them; each operation is followed by the laws."""

    def __init__(self, plan: tuple[Any, ...]) -> None:
        limit, per_minute, requests, follow, tree = plan
        self.budgets = [
            Budget(
                tokens=limit,
                on_exhausted="wait",
                tokens_per_minute=per_minute,
                requests_per_minute=requests,
                follow_rate_limits=follow,
            )
        ]
        for parent, cap, prepaid in tree:
            make = Budget._prepaid if prepaid else Budget._child
            above = self.budgets[parent % len(self.budgets)]
            self.budgets.append(make(above, tokens=cap, on_exhausted="wait"))
        self.seekers = list[Seeker]()
        self.log = list[tuple[int, str, float]]()
        self.start = anyio.current_time()
        self.wakes = 0

    def leases(self) -> list[BudgetLease]:
        return [each.lease for each in self.seekers if each.lease is not None and not each.lease.settled]

    def waiting(self) -> list[Seeker]:
        return [each for each in self.seekers if each.fate == "waits"]

    async def do(self, group: Any, name: str, which: int, amount: int) -> None:
        """One operation, everything that it sets off, and the laws."""
        self.wakes = 0
        leases, waiting = self.leases(), self.waiting()
        if name == "ask":
            budget = self.budgets[which % len(self.budgets)]
            self.seekers.append(Seeker(self, len(self.seekers), budget, amount))
            group.start_soon(self.seekers[-1].run)
        elif name == "advance":
            await self.advance(amount)
        elif name == "cancel" and waiting:
            waiting[which % len(waiting)].scope.cancel()
        elif leases:
            lease = leases[which % len(leases)]
            match name:
                case "grow":
                    lease.grow(Usage(lease.reserved.input_tokens + amount, lease.reserved.output_tokens))
                case "settle":
                    lease.settle(Usage(amount))
                case "release":
                    lease._release()
                case "retry":
                    lease._reserve_retry()
                case "learn":
                    lease._update_rates(_head(amount), None if amount % 4 else float(amount))
        for _ in range(STEPS):
            await checkpoint()
        self.check()

    async def advance(self, seconds: int) -> None:
        """Let time pass, from instant to instant at which somebody is due."""
        end = anyio.current_time() + seconds
        while (now := anyio.current_time()) < end:
            self.wakes = 0
            dues = [claim.due for claim in self.claims() if now < claim.due < end]
            await anyio.sleep_until(min(dues, default=end))
            for _ in range(STEPS):
                await checkpoint()
            self.check()

    def claims(self) -> list[Claim]:
        found = dict[Claim, None]()
        for budget in self.budgets:
            for ledger in budget._chain():
                found |= ledger._claims
        return sorted(found, key=lambda claim: claim.arrival)

    def check(self) -> None:
        """Nobody is forgotten, nobody has a time that has passed, nobody hopes in vain."""
        now = anyio.current_time()
        blocked = list[Budget]()
        claims = self.claims()
        assert len(claims) == len(self.waiting())
        for claim in claims:
            assert claim.due > now, "its time has passed, so it would be woken for ever"
            assert not any(ledger._hopeless(claim.amount) for ledger in claim.ledgers), "it hopes in vain"
            if any(ledger in blocked for ledger in claim.ledgers):
                continue
            tight = next((ledger for ledger in claim.ledgers if ledger._refusal(claim.amount)), None)
            if tight is not None:
                blocked.append(tight)
                continue
            late = claim.ledgers[-1]._late(claim.amount)
            assert late is not None, "it fits and is not served"
            assert claim.due <= late + 1e-5, "it sleeps for too long"
            blocked.append(claim.ledgers[-1])
        for budget in self.budgets:
            held = [each for each in self.seekers if each.lease is not None and budget in each.lease._chain]
            assert budget.reserved.total_tokens == sum(
                each.lease.reserved.total_tokens
                for each in held
                if each.lease is not None and not each.lease.settled
            )
            # Of those on one ledger nobody overtakes. (trio shuffles the tasks of one instant.)
            served = [(t, n) for n, fate, t in self.log if fate == "has" and self.seekers[n].budget is budget]
            assert [n for _, n in sorted(served)] == sorted(n for _, n in served)

    async def finish(self) -> None:
        """Whoever is served settles at nothing: in the end nobody waits."""
        for _ in range(len(self.seekers) + 1):
            for lease in self.leases():
                lease._update_rates(Response())
                lease.settle(Usage())
            await self.advance(3600)
        assert self.waiting() == []


def _head(amount: int) -> Response:
    """An answer that tells limits, more or less of which is used."""
    requests, tokens = (60, 12, 2)[amount % 3], (120, 60, 30)[amount // 3 % 3]
    return Response(
        headers={
            "anthropic-ratelimit-requests-limit": str(requests),
            "anthropic-ratelimit-requests-remaining": str(amount % requests),
            "anthropic-ratelimit-tokens-limit": str(tokens),
            "anthropic-ratelimit-tokens-remaining": str(amount * 7 % tokens),
        }
    )


@contextmanager
def counted(story: Story) -> Iterator[None]:
    """Fail when a waiter is woken more often than what happened can explain."""
    wait = Claim.wait

    async def counting(claim: Claim) -> None:
        story.wakes += 1
        assert story.wakes <= WAKES * (len(story.waiting()) + 1), "a step without progress"
        await wait(claim)

    Claim.wait = counting  # type: ignore[method-assign]  # put back below
    try:
        yield
    finally:
        Claim.wait = wait  # type: ignore[method-assign]  # as it was


plans = st.tuples(
    st.one_of(st.none(), st.integers(20, 90)),
    st.sampled_from([None, 30, 60, 120]),
    st.sampled_from([1, 2, 6, 60]),
    st.booleans(),
    st.lists(
        st.tuples(st.integers(0, 3), st.one_of(st.none(), st.integers(10, 60)), st.booleans()), max_size=3
    ),
)


class WaitQueueWithRates(RuleBasedStateMachine):
    """Each rule is one operation; `Story` has the laws."""

    @initialize(plan=plans)
    def begin(self, plan: tuple[Any, ...]) -> None:
        self.plan = plan
        self.done = list[tuple[str, int, int]]()
        self.failed = False
        self.runner = asyncio.Runner(loop_factory=virtual_time("asyncio")["loop_factory"])
        self.runner.run(self._open())

    async def _open(self) -> None:
        self.story = Story(self.plan)
        self.watch = counted(self.story)
        self.watch.__enter__()
        self.tasks = _Tasks()

    def _do(self, *operation: Any) -> None:
        self.done.append(operation)
        self.failed = True
        self.runner.run(self.story.do(self.tasks, *operation))
        self.tasks.check()
        self.failed = False

    @rule(which=st.integers(0, 9), amount=st.integers(0, 30))
    def ask(self, which: int, amount: int) -> None:
        self._do("ask", which, amount)

    @rule(seconds=st.integers(1, 90))
    def advance(self, seconds: int) -> None:
        self._do("advance", 0, seconds)

    @precondition(lambda self: self.story.waiting())
    @rule(which=st.integers(0, 9))
    def cancel(self, which: int) -> None:
        self._do("cancel", which, 0)

    @precondition(lambda self: self.story.leases())
    @rule(
        name=st.sampled_from(["grow", "settle", "release", "retry", "learn"]),
        which=st.integers(0, 9),
        amount=st.integers(0, 30),
    )
    def use(self, name: str, which: int, amount: int) -> None:
        self._do(name, which, amount)

    def teardown(self) -> None:
        if not hasattr(self, "runner"):
            return
        try:
            if not self.failed:
                self.runner.run(self.story.finish())
                self.tasks.check()
        finally:
            self.watch.__exit__(None, None, None)
            self.runner.close()
        if self.failed:
            return
        assert anyio.run(
            _again, self.plan, self.done, backend="trio", backend_options=virtual_time("trio")
        ) == sorted(self.story.log)


class _Tasks:
    """Starts tasks that outlive one run of the loop."""

    def __init__(self) -> None:
        self.tasks = list[asyncio.Task[None]]()

    def start_soon(self, run: Any) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(run()))

    def check(self) -> None:
        """Raise what a task raised."""
        for task in self.tasks:
            if task.done():
                task.result()


async def _again(
    plan: tuple[Any, ...], operations: list[tuple[str, int, int]]
) -> list[tuple[int, str, float]]:
    story = Story(plan)
    with counted(story):
        async with anyio.create_task_group() as group:
            for operation in operations:
                await story.do(group, *operation)
            await story.finish()
    return sorted(story.log)


WaitQueueWithRates.TestCase.settings = settings(
    max_examples=max(100, settings().max_examples), stateful_step_count=30, deadline=None
)
test_the_wait_queue_with_rates = WaitQueueWithRates.TestCase


@VIRTUAL
async def test_a_waiter_whose_time_has_come_and_that_does_not_fit_sleeps() -> None:
    """A turn that grows takes the room of a waiter for the rates. It sleeps until the turn is settled."""
    budget = Budget(tokens=100, on_exhausted="wait", requests_per_minute=60)
    others = [await budget.reserve(Estimate()) for _ in range(59)]
    running = await budget.reserve(Estimate(50))
    start = anyio.current_time()
    served = list[float]()

    async def wait() -> None:
        await budget.reserve(Estimate(50))
        served.append(anyio.current_time() - start)

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        await anyio.sleep(0.5)
        assert running.grow(Usage(60))
        await anyio.sleep(10)
        assert served == []
        [claim] = budget._claims
        assert claim.due == math.inf
        running.settle(Usage(50))
    assert served == [10.5]
    assert len(others) == 59
