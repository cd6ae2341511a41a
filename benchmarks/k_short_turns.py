"""(k) Short turns: 20 events over kept connections, whole turns, 1, 50 and 200 at once."""

from __future__ import annotations

from functools import partial

from measure import LUTUM, Report, Run, Table, by_hand, interleaved, run

EVENTS = 20
AT_ONCE = {1: 200, 50: 20, 200: 8}
"""The number of turns at once, and how often they are repeated."""

SDKS = (Run("anthropic .stream()"), Run("openai"), Run("pydantic-ai"))
EVENTS_ONLY = Run("anthropic")  # ends without a result, so it is shown but not compared
RAW = (Run("raw aiohttp"), Run("raw httpx"))
GEMINI = (RAW[0], *LUTUM, Run("google-genai"))
"""The clients for Gemini's answers, measured in the same run as the others."""
ALL = (*RAW, *LUTUM, *SDKS, EVENTS_ONLY)


def measure(url: str, quick: bool) -> Report:
    counts = (50,) if quick else tuple(AT_ONCE)
    report = Report(
        "(k) Short turns",
        f"CPU microseconds of a whole turn in the client: {EVENTS} events that come in one read, over kept"
        " connections. Classifying and judging are made of such turns. The raw clients only read bytes.",
    )
    found: dict[tuple[Run, int], float] = {}
    gemini: dict[tuple[Run, int], float] = {}
    for count in counts:
        repeat = max(3, AT_ONCE[count] // (4 if quick else 1))
        jobs = {
            f"{each}": partial(
                run,
                each,
                "completions" if each.client == "openai" else "messages",
                f"{url}/text/{EVENTS}/50/0",
                EVENTS,
                streams=count,
                repeat=repeat,
            )
            for each in ALL
        }
        jobs |= {
            f"gemini {each}": partial(
                run, each, "gemini", f"{url}/text/{EVENTS}/50/0", EVENTS, streams=count, repeat=repeat
            )
            for each in GEMINI
        }
        ran = interleaved(1 if quick else 3, jobs)
        gemini |= {(each, count): ran[f"gemini {each}"]["cpu_us"] * EVENTS for each in GEMINI}
        found |= {(each, count): ran[f"{each}"]["cpu_us"] * EVENTS for each in ALL}
    for caption, runs, figures in (("", ALL, found), (" of Gemini", GEMINI, gemini)):
        rows = tuple((each.label, *(f"{figures[each, count]:.0f}" for count in counts)) for each in runs)
        report.tables.append(
            Table(
                f"Microseconds of CPU for a turn{caption}",
                ("", *(f"{count} at once" for count in counts)),
                rows,
            )
        )
    aiohttp = found[RAW[0], 50]
    best = min(found[each, 50] for each in SDKS)
    sdk = gemini[GEMINI[-1], 50]
    for ours in LUTUM:
        cpu = found[ours, 50]
        report.check(f"50 at once: {ours.label} / best SDK", cpu / best)
        report.check(f"50 at once: {ours.label} / raw aiohttp", cpu / aiohttp)
        report.check(f"Gemini, 50 at once: {ours.label} / google-genai", gemini[ours, 50] / sdk)
    # `create(stream=True)` is cheaper, but it ends without a message: its caller must join the pieces.
    report.words += (
        f" lutum beside anthropic's events alone: {found[LUTUM[0], 50] / found[EVENTS_ONLY, 50]:.2f}."
    )
    return report


if __name__ == "__main__":
    by_hand(measure)
