"""(g) The ledger: reserve, settle and release, alone and with 1,000 contenders."""

from __future__ import annotations

import statistics
import time
from functools import partial

import anyio
from measure import Report, Table, by_hand

import lutum

CONTENDERS = 1_000
ESTIMATE = lutum.Estimate(input_tokens=100, output_tokens=300)
USED = lutum.Usage(100, 200)


async def alone(budget: lutum.Budget, times: int) -> float:
    before = time.process_time()
    for _ in range(times):
        async with budget.reserve(ESTIMATE) as lease:
            lease.settle(USED)
    return (time.process_time() - before) / times * 1e6


async def contended(budget: lutum.Budget, times: int) -> float:
    """1,000 tasks share a budget that has room for ten leases at once, so that nearly all tasks wait."""

    async def one() -> None:
        for _ in range(times):
            async with budget.reserve(ESTIMATE) as lease:
                await anyio.lowlevel.checkpoint()
                lease.settle(USED)

    before = time.process_time()
    async with anyio.create_task_group() as group:
        for _ in range(CONTENDERS):
            group.start_soon(one)
    return (time.process_time() - before) / (times * CONTENDERS) * 1e6


async def main(rounds: int) -> dict[str, float]:
    spent = USED.total_tokens * CONTENDERS * 5
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        parent = lutum.Lutum(lutum.testing.ScriptedAdapter([]), budget=lutum.Budget(tokens=10**12))
        async with parent.within(tokens=10**9) as outer, outer.within(tokens=10**9) as inner:
            found.setdefault("nested in two blocks", []).append(await alone(inner.budget, 2_000))
        found.setdefault("alone", []).append(await alone(lutum.Budget(tokens=10**9), 5_000))
        line = lutum.Budget(tokens=spent + ESTIMATE.total_tokens * 10, on_exhausted="wait")
        found.setdefault("1,000 contenders, waiting in line", []).append(await contended(line, 5))
        assert line.spent.total_tokens == spent
        assert line.reserved.total_tokens == 0
    return {name: statistics.median(values) for name, values in found.items()}


def measure(url: str, quick: bool) -> Report:
    report = Report(
        "(g) The ledger",
        "CPU microseconds to reserve, settle and release once; a contender's include its task switches.",
    )
    for backend in ("asyncio", "trio"):
        found = anyio.run(partial(main, 1 if quick else 5), backend=backend)
        report.tables.append(
            Table(
                f"On {backend}",
                ("", "us", "a second"),
                tuple((name, f"{us:.1f}", f"{1e6 / us:,.0f}") for name, us in found.items()),
            )
        )
        report.check(f"reserve, settle and release, {backend}", found["alone"], " us")
    return report


if __name__ == "__main__":
    by_hand(measure)
