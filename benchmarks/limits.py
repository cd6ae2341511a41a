"""The upper limits of the figures in `RESULTS.md`, by the letter of the measurement.

Some limits are promises. The others are figures that were measured on a quiet machine, plus 15 %. `run.py`
prints the limits that can be lowered.
"""

from __future__ import annotations

LIMITS: dict[str, dict[str, float]] = {
    "a": {
        "Claude, 50 to a chunk: lutum, asyncio / best peer": 1 / 12,
        "Claude, 50 to a chunk: lutum, asyncio / raw httpx": 6.0,
        "Claude, 50 to a chunk: lutum, trio / best peer": 1 / 12,
        "Claude, 50 to a chunk: lutum, trio / raw httpx": 6.0,
        "Claude, 50 to a chunk: lutum, trio / asyncio": 1.3,
        "Claude, 1 to a chunk: lutum, asyncio / best peer": 1 / 5,
        "Claude, 1 to a chunk: lutum, asyncio / raw httpx": 1.5,
        "Claude, 1 to a chunk: lutum, trio / best peer": 1 / 5,
        "Claude, 1 to a chunk: lutum, trio / raw httpx": 1.5,
        "Claude, 1 to a chunk: lutum, trio / asyncio": 1.3,
        "OpenAI chat, 50 to a chunk: lutum, asyncio / best peer": 1 / 25,
        "OpenAI chat, 50 to a chunk: lutum, trio / best peer": 1 / 25,
        "OpenAI chat, 50 to a chunk: lutum, trio / asyncio": 1.3,
        "OpenAI Responses, 50 to a chunk: lutum, asyncio / best peer": 1 / 25,
        "OpenAI Responses, 50 to a chunk: lutum, trio / best peer": 1 / 25,
        "OpenAI Responses, 50 to a chunk: lutum, trio / asyncio": 1.3,
        "Gemini, 50 to a chunk: lutum, asyncio / best peer": 1 / 20,
        "Gemini, 50 to a chunk: lutum, trio / best peer": 1 / 20,
        "Gemini, 50 to a chunk: lutum, trio / asyncio": 1.3,
    },
    "b": {
        "1 ms apart: lutum, asyncio / raw httpx": 1.35,
        "1 ms apart: lutum, asyncio / best SDK": 0.9,
        "1 ms apart: lutum, trio / raw httpx": 1.35,
        "1 ms apart: lutum, trio / best SDK": 0.9,
        "1 ms apart: lutum, trio / asyncio": 1.3,
    },
    "c": {
        "most streams: lutum, asyncio / best SDK, CPU": 0.65,
        "most streams: lutum, asyncio / raw aiohttp, CPU": 2.0,
        "most streams: lutum, asyncio / leanest SDK, peak memory": 0.75,
        "most streams: lutum, asyncio / leanest SDK, growth a stream": 1.0,
        "most streams: lutum, trio / best SDK, CPU": 0.65,
        "most streams: lutum, trio / raw aiohttp, CPU": 2.0,
        "most streams: lutum, trio / leanest SDK, peak memory": 0.75,
        "most streams: lutum, trio / leanest SDK, growth a stream": 1.0,
        "most streams: lutum, trio / asyncio, CPU": 1.3,
    },
    "d": {"1,000 turns: lutum / best peer": 0.25, "items encoded for one more request": 1},
    "e": {"time of a fork": 1.0, "size of a fork": 200},
    "f": {"import lutum": 0.10, "import lutum, an adapter ready": 0.13},
    "g": {"reserve, settle and release, asyncio": 20, "reserve, settle and release, trio": 20},
    "h": {"arguments: t(2N) / t(N)": 2.2, "structured / text": 1.5, "asked 100 times: t(2N) / t(N)": 2.2},
    "i": {
        f"{how}, {loop}": 50
        for loop in ("asyncio", "trio")
        for how in ("break", "raise", "cancel", "timeout")
    },
    "j": {"a span that nobody captures": 1.0, "a captured span": 10.0},
    "k": {
        "50 at once: lutum, asyncio / best SDK": 1 / 5,
        "50 at once: lutum, asyncio / raw aiohttp": 4.2,
        "50 at once: lutum, trio / best SDK": 1 / 4.5,
        "50 at once: lutum, trio / raw aiohttp": 4.2,
        "Gemini, 50 at once: lutum, asyncio / google-genai": 1 / 5,
        "Gemini, 50 at once: lutum, trio / google-genai": 1 / 5,
    },
    "l": {
        "new connections: lutum, asyncio / raw aiohttp": 2.5,
        "new connections: lutum, trio / raw aiohttp": 2.5,
        "kept connections: lutum, asyncio / raw aiohttp": 3.8,
        "kept connections: lutum, trio / raw aiohttp": 4.1,
    },
    "m": {
        "reserve with 1,000 in line, p50": 20,
        "time against the ideal": 1.5,
        "429s in 300 requests": 15,
    },
    "n": {
        "rows of a fork, beside its own turns": 1,
        "bytes against langgraph's": 0.2,
        "load of 10,000 turns, CPU": 850,
    },
}
