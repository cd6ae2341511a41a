"""(b) CPU per event if each event is a read of its own, 1 ms after the previous event."""

from __future__ import annotations

from functools import partial

from measure import LUTUM, Report, Run, Table, by_hand, interleaved, run

RAW = Run("raw httpx")

# The SDKs that end with a result. `create(stream=True)` only gives events; it is shown, but not compared.
SDKS = (Run("anthropic .stream()"), Run("pydantic-ai"))
SHOWN = (Run("anthropic"), Run("raw httpx", "trio"), Run("raw aiohttp"))


def measure(url: str, quick: bool) -> Report:
    events, rounds = (300, 1) if quick else (1_000, 9)
    report = Report(
        "(b) One event a read",
        f"{events:,} events 1 ms apart, Claude. CPU time of the client's process per event, in microseconds:"
        f" the median of {rounds} interleaved runs, each a process.",
    )
    runs = (
        (RAW, *LUTUM, *SDKS[:1])
        if quick
        else (RAW, Run("raw httpx", "trio"), Run("raw aiohttp"), *LUTUM, *SDKS, *SHOWN)
    )
    place = f"{url}/text/{events}/1/1"
    jobs = {each.label: partial(run, each, "messages", place, events, repeat=1) for each in runs}
    cpu = {label: found["cpu_us"] for label, found in interleaved(rounds, jobs).items()}
    best = min(us for label, us in cpu.items() if label in {each.label for each in SDKS})
    report.tables.append(
        Table(
            "Claude, 1 ms apart",
            ("", "us/event", "x raw httpx", "x best SDK"),
            tuple(
                (label, f"{us:.0f}", f"{us / cpu[RAW.label]:.2f}", f"{us / best:.2f}")
                for label, us in cpu.items()
            ),
        )
    )
    for ours in LUTUM:
        us = cpu[ours.label]
        report.check(f"1 ms apart: {ours.label} / raw httpx", us / cpu[RAW.label])
        report.check(f"1 ms apart: {ours.label} / best SDK", us / best)
    asyncio, trio = (cpu[each.label] for each in LUTUM)
    report.check("1 ms apart: lutum, trio / asyncio", trio / asyncio)
    return report


if __name__ == "__main__":
    by_hand(measure)
