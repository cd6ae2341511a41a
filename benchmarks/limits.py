"""The upper limits of the figures in `RESULTS.md`, by the letter of the measurement.

Some limits are promises. The others are figures that were measured on a quiet machine, plus 15 %. `run.py`
prints the limits that can be lowered.
"""

from __future__ import annotations

LIMITS: dict[str, dict[str, float]] = {
    "a": {
        "Claude, 50 to a chunk: lutum, asyncio / best peer": 0.051,
        "Claude, 50 to a chunk: lutum, asyncio / raw httpx": 6.0,
        "Claude, 50 to a chunk: lutum, trio / best peer": 0.051,
        "Claude, 50 to a chunk: lutum, trio / raw httpx": 6.0,
        "Claude, 50 to a chunk: lutum, trio / asyncio": 1.2,
        "Claude, 1 to a chunk: lutum, asyncio / best peer": 0.039,
        "Claude, 1 to a chunk: lutum, asyncio / raw httpx": 0.32,
        "Claude, 1 to a chunk: lutum, trio / best peer": 0.039,
        "Claude, 1 to a chunk: lutum, trio / raw httpx": 0.32,
        "Claude, 1 to a chunk: lutum, trio / asyncio": 1.2,
        "OpenAI chat, 50 to a chunk: lutum, asyncio / best peer": 0.037,
        "OpenAI chat, 50 to a chunk: lutum, trio / best peer": 0.037,
        "OpenAI chat, 50 to a chunk: lutum, trio / asyncio": 1.2,
        "OpenAI Responses, 50 to a chunk: lutum, asyncio / best peer": 1 / 25,
        "OpenAI Responses, 50 to a chunk: lutum, trio / best peer": 1 / 25,
        "OpenAI Responses, 50 to a chunk: lutum, trio / asyncio": 1.2,
        "Gemini, 50 to a chunk: lutum, asyncio / best peer": 0.048,
        "Gemini, 50 to a chunk: lutum, trio / best peer": 0.048,
        "Gemini, 50 to a chunk: lutum, trio / asyncio": 1.2,
    },
    "b": {
        "1 ms apart: lutum, asyncio / raw httpx": 0.9,
        "1 ms apart: lutum, asyncio / best SDK": 0.38,
        "1 ms apart: lutum, trio / raw httpx": 0.9,
        "1 ms apart: lutum, trio / best SDK": 0.38,
        "1 ms apart: lutum, trio / asyncio": 1.2,
    },
    "c": {
        "most streams: lutum, asyncio / best SDK, CPU": 0.32,
        "most streams: lutum, asyncio / raw aiohttp, CPU": 1.85,
        "most streams: lutum, asyncio / leanest SDK, peak memory": 0.74,
        "most streams: lutum, asyncio / leanest SDK, growth a stream": 1.0,
        "most streams: lutum, trio / best SDK, CPU": 0.32,
        "most streams: lutum, trio / raw aiohttp, CPU": 1.85,
        "most streams: lutum, trio / leanest SDK, peak memory": 0.74,
        "most streams: lutum, trio / leanest SDK, growth a stream": 1.0,
        "most streams: lutum, trio / asyncio, CPU": 1.3,
    },
    "d": {"1,000 turns: lutum / best peer": 0.22, "items encoded for one more request": 1},
    "e": {"time of a fork": 0.44, "size of a fork": 102},
    "f": {"import lutum": 0.10, "import lutum, an adapter ready": 0.13},
    "g": {"reserve, settle and release, asyncio": 12.1, "reserve, settle and release, trio": 13.5},
    "h": {"arguments: t(2N) / t(N)": 2.2, "structured / text": 1.35, "asked 100 times: t(2N) / t(N)": 1.8},
    "i": {
        f"{how}, {loop}": 10
        for loop in ("asyncio", "trio")
        for how in ("break", "raise", "cancel", "timeout")
    },
    "j": {"a span that nobody captures": 0.54, "a captured span": 2.8},
    "k": {
        "50 at once: lutum, asyncio / best SDK": 1 / 5,
        "50 at once: lutum, asyncio / raw aiohttp": 4.2,
        "50 at once: lutum, trio / best SDK": 1 / 4.5,
        "50 at once: lutum, trio / raw aiohttp": 4.2,
        "Gemini, 50 at once: lutum, asyncio / google-genai": 0.14,
        "Gemini, 50 at once: lutum, trio / google-genai": 0.15,
    },
    "l": {
        "new connections: lutum, asyncio / raw aiohttp": 2.5,
        "new connections: lutum, trio / raw aiohttp": 2.5,
        "kept connections: lutum, asyncio / raw aiohttp": 3.8,
        "kept connections: lutum, trio / raw aiohttp": 4.1,
    },
    "m": {
        "reserve with 1,000 in line, p50": 20,
        "time against the ideal": 1.17,
        "429s in 300 requests": 15,
    },
    "n": {
        "rows of a fork, beside its own turns": 1,
        "bytes against langgraph's": 0.014,
        "load of 10,000 turns, CPU": 215,
    },
}
