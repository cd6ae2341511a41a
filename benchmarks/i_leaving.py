"""(i) The time from leaving the block until the server sees the close, for each way of leaving."""

from __future__ import annotations

import gc
import statistics
import time
import urllib.request
from collections.abc import Awaitable, Callable
from functools import partial

import anyio
from measure import Report, Table, by_hand

import lutum

Leave = Callable[[str], Awaitable[float]]
GIVEN = 1.0
"""Seconds to wait for a close. After them, the connection counts as not closed."""


class Oops(Exception):
    pass


async def lutum_left(url: str, *, how: str) -> float:
    """Leave in the middle of an answer; returns the time at which the block has ended."""
    async with lutum.ClaudeAdapter("claude-sonnet-5", api_key="none", base_url=f"{url}/50/1/0") as adapter:
        turn = lutum.Lutum(adapter).text_turn("go").max_output_tokens(100)
        if how == "timeout":
            turn = turn.timeout(idle=0.05)
        try:
            with anyio.CancelScope() as scope:
                async with turn.stream() as stream:
                    async for event in stream:
                        if not isinstance(event, lutum.TextDelta):
                            continue
                        if how == "break":
                            break
                        if how == "raise":
                            raise Oops
                        if how == "cancel":
                            scope.cancel()
        except (Oops, lutum.TurnTimeout):
            pass
        return time.monotonic()


async def anthropic_left(url: str) -> float:
    """Break out of the events of `create(stream=True)`. The local variable keeps the stream alive."""
    import anthropic

    client = anthropic.AsyncAnthropic(api_key="none", base_url=f"{url}/50/1/0", max_retries=0)
    stream = await client.messages.create(
        model="claude-sonnet-5", max_tokens=100, messages=[{"role": "user", "content": "go"}], stream=True
    )
    async for event in stream:
        if event.type == "content_block_delta":
            break
    left = time.monotonic()
    await anyio.sleep(GIVEN)
    del stream
    return left


def seen(server: str, name: str) -> float:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
        f"{server}/closed/{name}"
    ) as answer:
        return float(answer.read())


async def milliseconds(leave: Leave, server: str, name: str) -> float:
    left = await leave(f"{server}/hang-{name}")
    gc.collect()
    return (await anyio.to_thread.run_sync(seen, server, name) - left) * 1000


def measure(url: str, quick: bool) -> Report:
    rounds = 2 if quick else 9
    report = Report(
        "(i) Leaving",
        "Milliseconds from the end of the block until the server sees that the connection is closed. They are"
        " below zero if the server saw it before the block ended. The limit is for the worst of"
        f" {rounds} runs.",
    )
    rows: list[tuple[str, ...]] = []
    for backend in ("asyncio", "trio"):
        for how in ("break", "raise", "cancel", "timeout"):
            leave = partial(lutum_left, how=how)
            took = [
                anyio.run(milliseconds, leave, url, f"{backend}-{how}-{number}", backend=backend)
                for number in range(rounds)
            ]
            rows.append((f"lutum, {backend}, {how}", f"{statistics.median(took):.1f}", f"{max(took):.1f}"))
            report.check(f"{how}, {backend}", max(took), " ms")
    took = anyio.run(milliseconds, anthropic_left, url, "anthropic")
    assert took > 0
    held = f"open at {GIVEN * 1000:.0f}" if took > GIVEN * 1000 * 0.99 else f"{took:.1f}"
    rows.append(("anthropic, break, the stream still has a name", held, held))
    report.tables.append(Table("After the block", ("", "median ms", "worst ms"), tuple(rows)))
    return report


if __name__ == "__main__":
    by_hand(measure)
