"""(l) The first event of ten turns that start at once, over kept connections."""

from __future__ import annotations

import statistics
from functools import partial

from measure import LUTUM, Check, Report, Run, Table, by_hand, interleaved, run

AT_ONCE = 10
AIOHTTP = Run("raw aiohttp")
OTHERS = (Run("raw httpx"), Run("anthropic"))


def measure(url: str, quick: bool) -> Report:
    report = Report(
        "(l) The first event",
        f"Milliseconds from the call to the first event, when {AT_ONCE} turns start at once. The median of"
        " all, in the last of 20 rounds.",
    )
    runs = (AIOHTTP, *LUTUM, *OTHERS)
    options = {"streams": AT_ONCE, "repeat": 20}
    jobs = {f"{each}": partial(run, each, "messages", f"{url}/text/20/50/0", 20, **options) for each in runs}
    ran = interleaved(2 if quick else 7, jobs)
    first = {each: statistics.median(ran[f"{each}"]["first_s"]) * 1000 for each in runs}
    report.tables.append(
        Table("First event", ("", "ms"), tuple((each.label, f"{first[each]:.2f}") for each in runs))
    )
    report.checks += [
        Check(f"{ours.label} / raw aiohttp", first[ours] / first[AIOHTTP], 2.5) for ours in LUTUM
    ]
    return report


if __name__ == "__main__":
    by_hand(measure)
