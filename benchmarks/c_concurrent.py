"""(c) 1 to 1,000 streams at once: CPU per event, peak memory, time to the first event."""

from __future__ import annotations

from functools import partial
from typing import Any

from measure import LUTUM, Plot, Report, Run, Table, by_hand, interleaved, run

AIOHTTP = Run("raw aiohttp")
ANTHROPIC, OPENAI = Run("anthropic .stream()"), Run("openai")
EVENTS = 100

GAP_MS = {1: 20, 10: 20, 30: 50, 100: 50, 1_000: 200}
"""The gap between two events of one stream, by the number of streams. It is long enough that the CPU is idle
at times. With a shorter gap, a slow client would find several events in a read and would seem fast."""


def measure(url: str, quick: bool) -> Report:
    counts = (1, 30) if quick else (1, 10, 100, 1_000)
    events = 20 if quick else EVENTS
    most = counts[-1]
    report = Report(
        "(c) Many streams at once",
        f"Each stream has {events} events, one to a chunk; its connection and request are included. CPU time"
        " per event in microseconds, peak memory of the process, and time from the call to the first event.",
    )
    runs = (AIOHTTP, *LUTUM, ANTHROPIC, OPENAI)
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for streams in counts:
        jobs = {
            each.label: partial(
                run,
                each,
                "completions" if each is OPENAI else "messages",
                f"{url}/text/{events}/1/{GAP_MS[streams]}",
                events,
                streams=streams,
                repeat=1,
            )
            for each in runs
        }
        ran = interleaved(2 if streams == 1_000 else 1, jobs)
        found |= {(label, streams): figures for label, figures in ran.items()}

    def cpu(which: Run, streams: int = most) -> float:
        return float(found[which.label, streams]["cpu_us"])

    def mib(which: Run, streams: int = most) -> float:
        return float(found[which.label, streams]["rss_kib"]) / 1024

    def growth(which: Run) -> float:
        return (mib(which) - mib(which, 1)) * 1024 / (most - 1)

    for streams in counts:
        rows: list[tuple[str, ...]] = []
        for each in runs:
            first = found[each.label, streams]["first_s"]
            p50, p99 = first[len(first) // 2], first[min(len(first) - 1, int(len(first) * 0.99))]
            rows.append(
                (
                    each.label,
                    f"{cpu(each, streams):.0f}",
                    f"{mib(each, streams):.0f}",
                    f"{p50 * 1000:.1f}",
                    f"{p99 * 1000:.1f}",
                )
            )
        head = ("", "us/event", "peak MiB", "first event p50, ms", "p99, ms")
        report.tables.append(
            Table(f"{streams:,} at once, {GAP_MS[streams]} ms between events", head, tuple(rows))
        )
    sdk = min(cpu(ANTHROPIC), cpu(OPENAI))
    lean = min(mib(ANTHROPIC), mib(OPENAI))
    grown = min(growth(ANTHROPIC), growth(OPENAI))
    report.tables.append(
        Table(
            f"A stream more, from 1 to {most:,}",
            ("", "KiB a stream"),
            tuple((each.label, f"{growth(each):.1f}") for each in runs),
        )
    )
    for ours in LUTUM:
        at = f"most streams: {ours.label}"
        report.check(f"{at} / best SDK, CPU", cpu(ours) / sdk)
        report.check(f"{at} / raw aiohttp, CPU", cpu(ours) / cpu(AIOHTTP))
        report.check(f"{at} / leanest SDK, peak memory", mib(ours) / lean)
        report.check(f"{at} / leanest SDK, growth a stream", growth(ours) / grown)
    report.check("most streams: lutum, trio / asyncio, CPU", cpu(LUTUM[1]) / cpu(LUTUM[0]))
    for name, unit, figure in (("cpu", "us per event", cpu), ("memory", "peak MiB", mib)):
        series = {
            each.label: [(float(streams), figure(each, streams)) for streams in counts] for each in runs
        }
        report.plots.append(Plot(f"concurrent-{name}", f"Streams at once: {unit}", "streams", unit, series))
    return report


if __name__ == "__main__":
    by_hand(measure)
