"""`lutum.testing.virtual_time` and `cancel_at`: time jumps, and every await may be the one cancelled."""

import asyncio
import time

import anyio
import pytest
from fakes import VIRTUAL

from lutum.testing import cancel_at, virtual_time

DAY = 24 * 3600.0


@VIRTUAL
async def test_time_jumps_to_the_instant() -> None:
    """A month is slept at once, and the clock says so to the second."""
    real, start = time.monotonic(), anyio.current_time()
    await anyio.sleep(30 * DAY)
    assert anyio.current_time() - start == pytest.approx(30 * DAY)
    assert time.monotonic() - real < 60


@VIRTUAL
async def test_tasks_wake_in_the_order_of_their_instants() -> None:
    """However they were started, sleepers wake by time, each at its own instant."""
    woken: list[tuple[int, float]] = []
    start = anyio.current_time()

    async def sleeper(seconds: int) -> None:
        await anyio.sleep(seconds)
        woken.append((seconds, anyio.current_time() - start))

    async with anyio.create_task_group() as group:
        for seconds in (30, 10, 20):
            group.start_soon(sleeper, seconds)
    assert [seconds for seconds, _ in woken] == [10, 20, 30]
    assert [at for _, at in woken] == pytest.approx([10, 20, 30])


@VIRTUAL
async def test_work_that_is_ready_goes_before_time() -> None:
    """The clock stands still while a task can run."""
    start = anyio.current_time()
    with anyio.fail_after(0.001):
        for _ in range(1000):
            await anyio.lowlevel.checkpoint()
    assert anyio.current_time() == start


@VIRTUAL
async def test_deadlines_are_due_at_their_instants() -> None:
    """A timeout ends what it bounds at its instant, not before and not after."""
    start = anyio.current_time()
    with anyio.move_on_after(7.25) as scope:
        await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert anyio.current_time() - start == pytest.approx(7.25)


def test_asyncio_run_takes_it_too() -> None:
    """The options are anyio's, and the loop in them is a loop like another."""
    options = virtual_time("asyncio")

    async def main() -> float:
        start = asyncio.get_running_loop().time()
        async with asyncio.timeout(2 * DAY):
            await asyncio.sleep(DAY)
        return asyncio.get_running_loop().time() - start

    with asyncio.Runner(loop_factory=options["loop_factory"]) as runner:
        assert runner.run(main()) == pytest.approx(DAY)
    assert anyio.run(main, backend="asyncio", backend_options=options) == pytest.approx(DAY)


def test_virtual_time_unknown_backend() -> None:
    """A backend that is neither is named."""
    with pytest.raises(ValueError, match="curio"):
        virtual_time("curio")


async def three_awaits(log: list[str]) -> str:
    for step in ("one", "two", "three"):
        log.append(step)
        await anyio.lowlevel.checkpoint()
    return "whole"


async def test_cancel_at_every_k() -> None:
    """k = 1, 2, ... cancels at the k-th suspension, until there is none and the value comes."""
    reached: list[int] = []
    for k in range(1, 100):
        log: list[str] = []
        requested, value = await cancel_at(three_awaits(log), k)
        reached.append(len(log))
        if not requested:
            assert value == "whole"
            break
        assert value is None
    suspensions = len(reached) - 1
    assert suspensions >= 3  # a checkpoint may suspend more than once
    assert reached[0] == 1
    assert reached == sorted(reached)
    assert reached[-1] == 3


async def test_cancel_at_leaves_other_exceptions() -> None:
    """What the coroutine raises instead comes out, also where the cancellation met it."""

    async def fails() -> None:
        try:
            await anyio.lowlevel.checkpoint()
        finally:
            raise LookupError

    with pytest.raises(LookupError):
        await cancel_at(fails(), 1)
    with pytest.raises(LookupError):
        await cancel_at(fails(), 100)


async def test_cancel_at_asks_once() -> None:
    """A coroutine that shields itself and goes on returns its value, and the request is reported."""

    async def stubborn() -> int:
        with anyio.CancelScope(shield=True):
            await anyio.lowlevel.checkpoint()
        return 7

    assert await cancel_at(stubborn(), 1) == (True, 7)
