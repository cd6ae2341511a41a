"""Tasks and factories that workers of other processes import by name."""

import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

import lutum
from lutum import Estimate, Limit
from lutum.eval import Case
from lutum.redis import RedisLedger
from lutum.testing import ScriptedAdapter


def _doubles(prompts: int) -> ScriptedAdapter:
    return ScriptedAdapter([["answer"]] * prompts)


@asynccontextmanager
async def local() -> AsyncGenerator[lutum.Lutum]:
    """A Lutum without a shared ledger."""
    yield lutum.Lutum(_doubles(1_000))


@asynccontextmanager
async def shared() -> AsyncGenerator[lutum.Lutum]:
    """A Lutum on the ledger of the test, whose place is in the environment."""
    url, name = os.environ["LUTUM_TEST_REDIS"].split(" ")
    limit = Limit("run", tokens=int(os.environ.get("LUTUM_TEST_TOKENS", "100000")))
    async with RedisLedger(url, name, limit, slack=Estimate()) as ledger:
        yield lutum.Lutum(_doubles(1_000), budget=ledger)


@asynccontextmanager
async def nothing() -> AsyncGenerator[Any]:
    """A factory that gives no Lutum."""
    yield 7


async def task(case: Case, llm: lutum.Lutum) -> int:
    """Ask once, and double the case's input. Each start is a line of a file."""
    folder = Path(case.metadata["starts"])
    with (folder / "starts").open("a") as file:
        file.write(f"{case.id}\n")
    await llm.text_turn(str(case.input)).max_output_tokens(20).collect()
    if case.metadata.get("dies"):
        mark = folder / f"died-{case.id}"
        if not mark.exists():
            mark.touch()
            await anyio.sleep(0.5)  # its neighbours end
            os.kill(os.getpid(), signal.SIGKILL)
    return int(case.input) * 2


def score(case: Case, output: int) -> bool:
    return output == case.expected


async def outage(case: Case, llm: lutum.Lutum) -> int:
    """As `task`, but while the file `down` is there it fails for a case that is even."""
    said = await task(case, llm)
    if (Path(case.metadata["starts"]) / "down").exists() and case.input % 2 == 0:
        raise ConnectionError("down")
    return said


def moody(case: Case, output: int) -> bool:
    """As `score`, but while the file `down` is there it fails for a case that is odd."""
    if (Path(case.metadata["starts"]) / "down").exists() and case.input % 2:
        raise ConnectionError("down")
    return score(case, output)
