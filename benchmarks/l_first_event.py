"""(l) The first event of ten turns that start at once, over new and over kept connections."""

from __future__ import annotations

import statistics
from functools import partial

from measure import LUTUM, Report, Run, Table, by_hand, interleaved, run

AT_ONCE = 10
AIOHTTP = Run("raw aiohttp")
OTHERS = (Run("raw httpx"), Run("anthropic"))
WAYS = {"new connections": {"repeat": 1, "fresh": 20}, "kept connections": {"repeat": 20}}


def measure(url: str, quick: bool) -> Report:
    report = Report(
        "(l) The first event",
        f"{AT_ONCE} turns start at once. Milliseconds of the process's CPU from the start of all to the first"
        " event of the middle turn, and from the call to the first event by the clock: medians of"
        " 20 such starts in each of several interleaved runs. The CPU time shows how much a library does"
        " before it writes the request; the wall time also depends on the server and the machine.",
    )
    runs = (AIOHTTP, *LUTUM, *OTHERS)
    for way, options in WAYS.items():
        jobs = {
            f"{each}": partial(run, each, "messages", f"{url}/text/20/50/0", 20, streams=AT_ONCE, **options)
            for each in runs
        }
        ran = interleaved(2 if quick else 5, jobs)
        cpu = {each: ran[f"{each}"]["first_cpu_s"] * 1000 for each in runs}
        rows = (
            (each.label, f"{cpu[each]:.2f}", f"{statistics.median(ran[f'{each}']['first_s']) * 1000:.2f}")
            for each in runs
        )
        report.tables.append(Table(f"First event, {way}", ("", "CPU ms", "wall ms"), tuple(rows)))
        for ours in LUTUM:
            report.check(f"{way}: {ours.label} / raw aiohttp", cpu[ours] / cpu[AIOHTTP])
    return report


if __name__ == "__main__":
    by_hand(measure)
