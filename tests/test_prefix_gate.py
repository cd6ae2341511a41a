"""PrefixGate: one turn leads until its answer begins, the others wait before they reserve."""

from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest
from anyio.abc import TaskGroup
from fakes import STARTED, VIRTUAL, FakeAdapter, Gate, Step, Text, Wait, done

import lutum
from lutum import PrefixGate, trace


class Cached(FakeAdapter):
    """A provider with a prompt cache: every request is long enough for it."""

    long = True

    def prepare(self, request: Any) -> Any:
        return msgspec.structs.replace(super().prepare(request), cacheable=self.long)


class Program:
    """Turns that wait at one gate, each in a task of its own."""

    def __init__(self, adapter: FakeAdapter, **settings: Any) -> None:
        self.adapter = adapter
        self.llm = lutum.Lutum(adapter, **settings)
        self.gate = PrefixGate()
        self.fates: list[str] = []
        self.scopes: list[anyio.CancelScope] = []

    async def ask(self) -> None:
        with anyio.CancelScope() as scope:
            self.scopes.append(scope)
            try:
                await self.llm.text_turn("x").after(self.gate).collect()
            except lutum.LutumError as error:
                self.fates.append(type(error).__name__)
            else:
                self.fates.append("done")
        if scope.cancelled_caught:
            self.fates.append("cancelled")

    def start(self, group: TaskGroup, count: int) -> None:
        for _ in range(count):
            group.start_soon(self.ask)

    @property
    def sent(self) -> int:
        return len(self.adapter.exchanges)


async def test_the_others_wait_for_the_answer_to_begin() -> None:
    """Not for its end, and they hold nothing meanwhile."""
    begun, over = anyio.Event(), anyio.Event()
    adapter = Cached([Gate(begun), STARTED, Gate(over), Text("x"), done()])
    program = Program(adapter, budget=lutum.Budget(tokens=100_000))
    async with anyio.create_task_group() as group:
        program.start(group, 8)
        await anyio.wait_all_tasks_blocked()
        assert program.sent == 1
        assert program.llm.budget.statistics().open_leases == 1
        assert repr(program.gate) == "<PrefixGate led, 7 waiting>"
        begun.set()
        await anyio.wait_all_tasks_blocked()
        assert program.sent == 8
        assert program.gate.is_open
        over.set()
    assert program.fates == ["done"] * 8


async def test_who_comes_when_it_is_open_does_not_wait() -> None:
    program = Program(Cached([STARTED, done()]))
    await program.ask()
    with anyio.fail_after(1):
        await program.ask()
    assert program.fates == ["done", "done"]


async def test_a_leader_that_fails_hands_over() -> None:
    """Its error is its own; the next waiter leads, in order of arrival."""
    held = anyio.Event()
    refused: list[Step] = [lutum.ProviderError("no", kind="server", status=500)]
    program = Program(Cached(refused, [Gate(held), STARTED, done()]))
    async with anyio.create_task_group() as group:
        program.start(group, 3)
        await anyio.wait_all_tasks_blocked()
        assert (program.fates, program.sent) == (["ProviderError"], 2)
        held.set()
    assert sorted(program.fates) == ["ProviderError", "done", "done"]


async def test_a_cancelled_leader_hands_over() -> None:
    held = anyio.Event()
    program = Program(Cached([Gate(held), STARTED, done()]))
    async with anyio.create_task_group() as group:
        for count in (1, 2, 3):
            group.start_soon(program.ask)
            await anyio.wait_all_tasks_blocked()
            assert len(program.scopes) == count
        program.scopes[0].cancel()
        await anyio.wait_all_tasks_blocked()
        assert (program.fates, program.sent) == (["cancelled"], 2)
        held.set()
    assert program.fates == ["cancelled", "done", "done"]


async def test_a_cancelled_waiter_is_forgotten() -> None:
    """Also one that was woken to lead in the step that cancels it."""
    held = anyio.Event()
    program = Program(Cached([Gate(held), STARTED, done()]))
    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(program.ask)
            await anyio.wait_all_tasks_blocked()
        program.scopes[2].cancel()
        program.scopes[0].cancel()
        program.scopes[1].cancel()
        await anyio.wait_all_tasks_blocked()
        assert program.sent == 2
        held.set()
    assert sorted(program.fates) == ["cancelled"] * 3 + ["done"]


@VIRTUAL
async def test_a_leader_that_must_be_retried_hands_over() -> None:
    """Its pause may be a minute; who waits does not wait for it."""
    refused = lutum.ProviderError("busy", kind="overloaded", status=529, retry_after=30.0)
    program = Program(Cached([refused], [Wait(1), STARTED, done()]), retry=lutum.RetryPolicy())
    started = anyio.current_time()
    ends: list[float] = []

    async def ask() -> None:
        await program.ask()
        ends.append(anyio.current_time() - started)

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(ask)
    assert ends == pytest.approx([1, 2, 31])


async def test_a_refused_reservation_hands_over() -> None:
    program = Program(Cached([STARTED, done()]), budget=lutum.Budget(tokens=1))
    async with anyio.create_task_group() as group:
        program.start(group, 3)
    assert program.fates == ["BudgetExceeded"] * 3


async def test_short_prefixes_do_not_wait() -> None:
    held = anyio.Event()
    adapter = Cached([Gate(held), STARTED, done()])
    adapter.long = False
    program = Program(adapter)
    async with anyio.create_task_group() as group:
        program.start(group, 3)
        await anyio.wait_all_tasks_blocked()
        assert program.sent == 3
        held.set()


@VIRTUAL
async def test_waiting_is_outside_all_timeouts_and_shown() -> None:
    adapter = Cached([Wait(50), STARTED, done()])
    program = Program(adapter, timeout=lutum.Timeouts(total=60))
    async with trace.capture() as t, anyio.create_task_group() as group:
        program.start(group, 2)
    assert program.fates == ["done", "done"]
    assert [span.fields["reason"] for span in t.find("wait")] == ["prefix", "prefix"]


def test_another_event_loop() -> None:
    gate = PrefixGate()
    llm = lutum.Lutum(Cached([STARTED, done()]))

    async def ask() -> None:
        await llm.text_turn("x").after(gate).collect()

    lutum.run(ask)
    with pytest.raises(lutum.UsageError, match="another event loop"):
        lutum.run(ask, backend="asyncio")


def test_wrong_use() -> None:
    builder = lutum.Lutum(Cached([])).text_turn("x")
    with pytest.raises(lutum.BadValue, match=r"takes a lutum\.PrefixGate, not int"):
        builder.after(3)  # type: ignore[arg-type]
    with pytest.raises(lutum.UsageError, match="waits at a gate already"):
        builder.after(PrefixGate()).after(PrefixGate())
