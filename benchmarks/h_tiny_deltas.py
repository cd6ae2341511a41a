"""(h) Tool arguments and structured values in tiny deltas: nothing is parsed twice, so the cost is linear."""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable
from functools import partial

import anyio
import msgspec
from measure import Report, Table, by_hand
from server import json_text

import lutum

ARGUMENTS = 64 * 1024
VALUE = 1_000_000
DELTAS = 20_000
ASKED = 100


class Row(msgspec.Struct):
    name: str
    age: int
    notes: str


class Rows(msgspec.Struct):
    rows: list[Row]
    end: str


save = lutum.raw_tool("save", {"type": "object", "properties": {}}, "Save it.")


def at(url: str, kind: str, events: int) -> lutum.Lutum:
    adapter = lutum.ClaudeAdapter("claude-sonnet-5", api_key="none", base_url=f"{url}/{kind}/{events}/50/0")
    return lutum.Lutum(adapter)


async def arguments(url: str, size: int) -> float:
    """Return the CPU seconds of a call whose arguments arrive one character at a time."""
    turn = at(url, f"tool-{size}", size).text_turn("go").tools(lutum.Toolset(save)).max_output_tokens(128_000)
    got: list[str] = []
    before = time.process_time()
    async with turn.stream() as stream:
        async for event in stream:
            match event:
                case lutum.ToolCallDelta(arguments=piece):
                    got.append(piece)
    took = time.process_time() - before
    assert len(got) == size
    assert isinstance(stream.result, lutum.NeedsTools)
    assert stream.result.round.expect_one().arguments == "".join(got) == json_text(size)
    return took


async def structured(url: str, deltas: int, *, views: int = 0, size: int = VALUE) -> float:
    """Return the CPU seconds of a structured value, with `views` calls of `partial_value` meanwhile."""
    turn = at(url, f"json-{size}", deltas).structured_turn(Rows, "go").max_output_tokens(128_000)
    each = deltas // views if views else deltas + 1
    got = seen = 0
    before = time.process_time()
    async with turn.stream() as stream:
        async for event in stream:
            match event:
                case lutum.StructuredDelta():
                    got += 1
                    if got % each == 0:
                        seen += len(stream.partial_value()["rows"]) > 0
    took = time.process_time() - before
    assert (got, seen) == (deltas, views)
    assert stream.result.value == msgspec.json.decode(json_text(size), type=Rows)
    return took


async def text(url: str, deltas: int) -> float:
    """Return the CPU seconds of the same bytes as text."""
    turn = at(url, f"json-{VALUE}", deltas).text_turn("go").max_output_tokens(128_000)
    got = 0
    before = time.process_time()
    async with turn.stream() as stream:
        async for event in stream:
            match event:
                case lutum.TextDelta():
                    got += 1
    took = time.process_time() - before
    assert got == deltas
    assert stream.result.text == json_text(VALUE)
    return took


def measure(url: str, quick: bool) -> Report:
    rounds = 1 if quick else 7
    jobs: dict[str, Callable[[], Awaitable[float]]] = {
        "arguments, 64 KiB": partial(arguments, url, ARGUMENTS),
        "arguments, 128 KiB": partial(arguments, url, 2 * ARGUMENTS),
        "text, 1 MB": partial(text, url, DELTAS),
        "structured, 1 MB": partial(structured, url, DELTAS),
        "structured, 0.5 MB, asked 100 times": partial(structured, url, DELTAS, views=ASKED, size=VALUE // 2),
        "structured, 1 MB, asked 100 times": partial(structured, url, DELTAS, views=ASKED),
    }
    found: dict[str, list[float]] = {name: [] for name in jobs}

    async def main() -> None:
        for job in jobs.values():
            await job()
        for _ in range(rounds):
            for name, job in jobs.items():
                found[name].append(await job())

    anyio.run(main)
    took = {name: statistics.median(values) for name, values in found.items()}
    report = Report(
        "(h) Tiny deltas",
        "CPU milliseconds: tool arguments with one character in each delta; a structured value of 1 MB in"
        f" {DELTAS:,} deltas; the same bytes as text; the value with {ASKED} reads of its partial value.",
    )
    rows = tuple((name, f"{seconds * 1000:.0f}") for name, seconds in took.items())
    report.tables.append(Table("A whole turn", ("", "ms"), rows))

    def ratio(over: str, under: str) -> float:
        return took[over] / took[under]

    asked = "structured, {} MB, asked 100 times"
    report.check("arguments: t(2N) / t(N)", ratio("arguments, 128 KiB", "arguments, 64 KiB"))
    report.check("structured / text", ratio("structured, 1 MB", "text, 1 MB"))
    report.check("asked 100 times: t(2N) / t(N)", ratio(asked.format(1), asked.format(0.5)))
    return report


if __name__ == "__main__":
    by_hand(measure)
