"""A batch on a DBOS queue, with one shared budget: any number of workers use one ledger in Redis. Copy it
when jobs arrive in a queue and the spending needs a limit. Without a server the ledger is in memory."""

# It needs `pip install dbos`.

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from _provider import offline
from dbos import DBOS, DBOSConfig

import lutum
from lutum import Limit
from lutum.abc import SharedLedger
from lutum.redis import RedisLedger
from lutum.testing import MemoryLedger
from lutum.testing.wire import Reply, WireRequest


def answer(_: WireRequest) -> Reply:
    """Return the scripted answer."""
    return Reply("A short summary.")


ADAPTER = offline(answer)
LIMIT = Limit("batch", tokens=1_500)
MEMORY = MemoryLedger(LIMIT)
PLACE = {"url": ""}


@asynccontextmanager
async def ledger() -> AsyncGenerator[SharedLedger]:
    """The ledger that all workers share."""
    if not PLACE["url"]:
        yield MEMORY
        return
    async with RedisLedger(PLACE["url"], "batch", LIMIT) as shared:
        yield shared


@DBOS.step()
def summarise(text: str) -> str:
    """Run one job. The step is recorded, so that a finished job is not paid for again."""

    async def turn() -> str:
        async with ledger() as shared:
            llm = lutum.Lutum(ADAPTER, budget=shared)
            try:
                result = await llm.text_turn(f"Summarise: {text}").max_output_tokens(200).collect()
            except lutum.BudgetExceeded as error:
                return f"not paid for: {error.scope}"
            return result.text

    return lutum.run(turn)


@DBOS.workflow()
def job(text: str) -> str:
    return summarise(text)


def main(database: str, url: str = "") -> None:
    PLACE["url"] = url
    DBOS(
        config=DBOSConfig(
            name="lutum-queue",
            system_database_url=f"sqlite:///{database}",
            application_version="1",
            executor_id="local",
            log_level="ERROR",
        )
    )
    DBOS.launch()
    queue = DBOS.register_queue("summaries", worker_concurrency=4 if url else 1, polling_interval_sec=0.1)
    handles = [queue.enqueue(job, f"document {number}") for number in range(8)]
    for handle in handles:
        print(handle.get_result())
    DBOS.destroy()


if __name__ == "__main__":
    main(*sys.argv[1:])
