"""(j) Spans: the cost of a span without a capture, and with one."""

from __future__ import annotations

import gc
import statistics
import time

import anyio
from measure import Report, Table, by_hand

from lutum import trace

SPANS = 20_000


def spans(times: int) -> float:
    gc.collect()
    before = time.process_time()
    for number in range(times):
        with trace.span("work", number=number):
            pass
    return (time.process_time() - before) / times * 1e6


async def main(rounds: int) -> dict[str, float]:
    found: dict[str, list[float]] = {"nobody captures": [], "captured": []}
    for _ in range(rounds):
        found["nobody captures"].append(spans(SPANS))
        async with trace.capture() as captured:
            found["captured"].append(spans(SPANS))
        assert len(captured.find("work")) == SPANS
    return {name: statistics.median(values) for name, values in found.items()}


def measure(url: str, quick: bool) -> Report:
    report = Report("(j) Spans", "CPU microseconds of an empty `with lutum.trace.span(...)`.")
    found = anyio.run(main, 1 if quick else 7)
    report.tables.append(
        Table("A span", ("", "us"), tuple((name, f"{us:.2f}") for name, us in found.items()))
    )
    report.check("a span that nobody captures", found["nobody captures"], " us")
    report.check("a captured span", found["captured"], " us")
    return report


if __name__ == "__main__":
    by_hand(measure)
