"""A soak: many turns that complete, fail, time out, wait, are left or cancelled; memory and tasks stay flat.

`nox -s nightly` runs 50,000 turns on each loop. The usual run is 400 turns, to keep the program itself sound.
"""

from __future__ import annotations

import gc
import logging
import os
import random
import sys
from typing import Any

import anyio
import pytest
from fakes import STALL, STARTED, FakeAdapter, FakeExchange, Step, Text, Wait, done

import lutum
from lutum import Budget, Usage
from lutum.abc import Prepared
from lutum.testing import virtual_time

TURNS = int(os.environ.get("LUTUM_SOAK", "400"))
AT_ONCE = 100

# Objects that a batch of the last tenth may have more than one of the first: caches of the interpreter grow.
SLACK = 3_000

ENDS: list[list[Step]] = [
    [STARTED, Text("a"), done()],
    [STARTED, Text("a"), Wait(1), Text("b"), done()],
    [STARTED, Text("a")],
    [STARTED, STALL],
    [],
]


class Refusing(FakeAdapter):
    """Raises an error of its own for each attempt: one that is raised again keeps every traceback."""

    def exchange(self, prepared: Prepared) -> FakeExchange:
        exchange = super().exchange(prepared)
        self.exchanges.clear()
        exchange.steps = exchange.steps or [lutum.ProviderError("busy", kind="overloaded", status=529)]
        return exchange


def loops() -> list[Any]:
    """asyncio and trio in virtual time, and uvloop, where it is installed, in real time."""
    found = [pytest.param((name, virtual_time(name)), id=name) for name in ("asyncio", "trio")]
    try:
        import uvloop
    except ImportError:
        return found
    options = {"loop_factory": uvloop.new_event_loop}
    return [*found, pytest.param(("asyncio", options), id="uvloop")]


class Soak:
    """Turns on one ledger, a hundred at once."""

    def __init__(self, seconds: float) -> None:
        self.chance = random.Random(0)
        self.seconds = seconds  # of a wait
        self.ledger = Budget(tokens=10**9, on_exhausted="wait")
        self.done = 0

    async def turn(self, llm: lutum.Lutum) -> None:
        """One turn, and what its consumer does."""
        chance = self.chance
        with anyio.move_on_after(chance.choice([self.seconds / 2, 10 * self.seconds])):
            try:
                async with llm.text_turn("hello").stream() as turn:
                    async for _ in turn:
                        if chance.random() < 0.1:
                            break
            except lutum.TurnError:
                pass
        self.done += 1

    async def batch(self) -> None:
        """A block whose turns wait for its ledger and its rate."""
        play = [Wait(self.seconds) if isinstance(step, Wait) else step for step in self.chance.choice(ENDS)]
        llm = lutum.Lutum(
            Refusing(play, checkpoints=True),
            budget=self.ledger,
            retry=lutum.RetryPolicy(attempts=2, initial=self.seconds, jitter=0),
            timeout=lutum.Timeouts(idle=2 * self.seconds, reserve=5 * self.seconds),
        )
        async with llm.within(tokens=110 * 40, on_exhausted="wait", on_spent="drain") as scoped:
            async with anyio.create_task_group() as group:
                for _ in range(AT_ONCE):
                    group.start_soon(self.turn, scoped)
        assert self.ledger.reserved.total_tokens == 0


def objects() -> int:
    gc.collect()
    return len(gc.get_objects())


@pytest.mark.slow
@pytest.mark.parametrize("anyio_backend", loops())
async def test_turns_leave_nothing(
    anyio_backend: tuple[str, dict[str, Any]], capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a tenth of the turns and after all of them there are as many objects, tasks and descriptors."""
    monkeypatch.setattr(logging.getLogger("lutum"), "disabled", True)  # pytest keeps every record
    real = "uvloop" in str(anyio_backend[1].get("loop_factory"))
    soak = Soak(0.002 if real else 1.0)
    seen = list[tuple[int, int, int]]()
    for batch in range(TURNS // AT_ONCE):
        await soak.batch()
        if batch in (TURNS // AT_ONCE // 10, TURNS // AT_ONCE - 1):
            seen.append((objects(), len(anyio.get_running_tasks()), _descriptors()))
    assert soak.done == TURNS // AT_ONCE * AT_ONCE
    (early, tasks, files), (late, tasks_late, files_late) = seen[0], seen[-1]
    with capsys.disabled():
        if TURNS > 1_000:
            print(f"\n{soak.done} turns: {early} -> {late} objects, {tasks} -> {tasks_late} tasks")
    assert late - early <= SLACK
    assert (tasks, files) == (tasks_late, files_late)
    assert soak.ledger.spent != Usage()
    assert soak.ledger.statistics().children == ()


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
