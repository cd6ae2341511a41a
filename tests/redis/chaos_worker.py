"""One process of the model-based test: it draws on a ledger, and logs what a provider would bill for it.

Run as: chaos_worker.py BACKEND URL NAME LOG SEED TURNS
"""

import json
import os
import random
import sys
import time

import anyio

from lutum import BudgetExceeded, Estimate, LedgerError, Limit, Usage
from lutum.abc import TurnIdentity
from lutum.redis import RedisLedger

BACKEND, URL, NAME, LOG, SEED, TURNS = sys.argv[1:7]
TTL = 3.0
LIMITS = (Limit("run", tokens=8_000),)
USERS = (Limit("user/1", tokens=3_000), Limit("user/2", tokens=6_000))
DEADLINE = time.monotonic() + 60

log = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
rng = random.Random(int(SEED))
counts = {"done": 0, "refused": 0, "cancelled": 0, "errors": 0}


def say(**fields: object) -> None:
    """Append one line in one write, so that a kill loses all of it or nothing."""
    os.write(log, (json.dumps(fields) + "\n").encode())


async def turn(ledger: RedisLedger, gate: anyio.Semaphore, cancels: bool) -> None:
    async with gate:
        picked = rng.choice([(), USERS[:1], USERS[1:], USERS])
        scope = ledger.scope(*picked) if picked else ledger
        held, bill = rng.randrange(100, 600), rng.randrange(5, 60)
        while True:
            try:
                lease = await scope.reserve(Estimate(held), TurnIdentity(model="m"))
                break
            except BudgetExceeded:
                counts["refused"] += 1
                return
            except LedgerError:
                if time.monotonic() > DEADLINE:
                    raise
                counts["errors"] += 1
                await anyio.sleep(0.1)
        names = [limit.name for limit in picked]
        try:
            await anyio.sleep(rng.random() * 0.03)
            try:
                lease.sent()
            except LedgerError:  # away for too long: nothing is sent
                lease.settle(Usage())
                counts["errors"] += 1
                return
            say(ev="bill", n=bill, held=held, names=names, process=ledger.process)
            if rng.random() < 0.3 and lease.grow(Estimate(held + 20)):
                say(ev="bill", n=20, held=20, names=names, process=ledger.process)
                bill += 20
            await anyio.sleep(rng.random() * 0.1)
        except BaseException:
            lease.settle(Usage(bill) if lease._was_sent else Usage())
            raise
        lease.settle(Usage(bill))
        counts["done"] += 1


async def maybe_cancelled(ledger: RedisLedger, gate: anyio.Semaphore, cancels: bool) -> None:
    with anyio.move_on_after(rng.random() * 0.5 if cancels and rng.random() < 0.2 else None) as scope:
        await turn(ledger, gate, cancels)
    counts["cancelled"] += scope.cancelled_caught


async def main() -> None:
    cancels = int(SEED) % 2 == 1
    while True:
        try:
            async with RedisLedger(
                URL, NAME, *LIMITS, on_exhausted="wait", slack=Estimate(40), ttl=TTL
            ) as ledger:
                say(ev="begin", process=ledger.process, cancels=cancels)
                gate = anyio.Semaphore(12)
                async with anyio.create_task_group() as group:
                    for _ in range(int(TURNS)):
                        group.start_soon(maybe_cancelled, ledger, gate, cancels)
                return
        except LedgerError:  # the server is away while this process begins
            if time.monotonic() > DEADLINE:
                raise
            await anyio.sleep(0.1)


anyio.run(main, backend=BACKEND)
say(ev="end", **counts)
