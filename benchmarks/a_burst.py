"""(a) CPU per event of a long answer that arrives in a burst, with 50 events or one event per HTTP chunk."""

from __future__ import annotations

from functools import partial

from measure import LUTUM, Plot, Report, Run, Table, by_hand, interleaved, run

DIALECTS = {
    "messages": "Claude",
    "completions": "OpenAI chat",
    "responses": "OpenAI Responses",
    "gemini": "Gemini",
}
RAW, SLOW = Run("raw httpx"), Run("litellm")

# The peers are the clients that end with a result, as lutum does. `create(stream=True)` of the anthropic SDK
# gives events and does not join them; it is shown, but it is not a peer here.
PEERS = {
    "messages": (Run("anthropic .stream()"), Run("pydantic-ai"), SLOW),
    "completions": (Run("openai"), Run("pydantic-ai"), SLOW),
    "responses": (Run("openai"), Run("pydantic-ai")),
    "gemini": (Run("google-genai"),),
}
SHOWN = {"messages": (Run("anthropic"),)}

# (dialect, events to a chunk): whether lutum is also compared with raw httpx.
SHAPES = {
    ("messages", 50): True,
    ("messages", 1): True,
    ("completions", 50): False,
    ("responses", 50): False,
    ("gemini", 50): False,
}


def measure(url: str, quick: bool) -> Report:
    events, rounds, repeat = (5_000, 1, 3) if quick else (20_000, 3, 3)
    report = Report(
        "(a) A burst",
        f"One answer of {events:,} events, written at once. CPU time of the client's process per event, in"
        " microseconds; each run is a process, which first reads one answer that is not counted.",
    )
    for (dialect, per_chunk), beside_raw in list(SHAPES.items())[: 2 if quick else None]:
        peers = PEERS[dialect][:1] if quick else PEERS[dialect]
        shown = () if quick else (Run("raw httpx", "trio"), Run("raw aiohttp"), *SHOWN.get(dialect, ()))
        runs = [each for each in (RAW, *LUTUM, *peers, *shown) if each != SLOW]
        place = f"{url}/text/{events}/{per_chunk}/0"
        jobs = {each.label: partial(run, each, dialect, place, events, repeat=repeat) for each in runs}
        ran = interleaved(rounds, jobs)
        if SLOW in peers:  # one run, because a run takes most of a minute and is never near the best
            ran[SLOW.label] = run(SLOW, dialect, place, events, repeat=1)
        cpu = {label: found["cpu_us"] for label, found in ran.items()}
        best = min(cpu[peer.label] for peer in peers)
        caption = f"{DIALECTS[dialect]}, {per_chunk} to a chunk"
        rows = tuple(
            (label, f"{us:.2f}", f"{us / cpu[RAW.label]:.1f}", f"{best / us:.1f}")
            for label, us in cpu.items()
        )
        report.tables.append(
            Table(caption, ("", "us/event", "x raw httpx", "times less than best peer"), rows)
        )
        for ours in LUTUM:
            us = cpu[ours.label]
            report.check(f"{caption}: {ours.label} / best peer", us / best)
            if beside_raw:
                report.check(f"{caption}: {ours.label} / raw httpx", us / cpu[RAW.label])
        ours, trio = (cpu[each.label] for each in LUTUM)
        report.check(f"{caption}: lutum, trio / asyncio", trio / ours)
        report.plots.append(
            Plot(
                f"burst-{dialect}-{per_chunk}",
                f"{caption}: CPU per event",
                "us per event",
                "",
                {label: [(0, us)] for label, us in cpu.items()},
                bars=True,
            )
        )
    return report


if __name__ == "__main__":
    by_hand(measure)
