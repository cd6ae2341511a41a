"""The ledger in Redis against the one in memory: the same operations of two processes, the same answers."""

import random
from typing import Any

import anyio
import pytest
from redis_server import PrivateRedis, needs_redis

from lutum import BudgetExceeded, Estimate, LedgerError, Limit, Usage
from lutum.abc import TurnIdentity
from lutum.redis import RedisLedger, open_console
from lutum.testing import MemoryLedger

pytestmark = [needs_redis, pytest.mark.process]

ME = TurnIdentity(model="m")
RUN = Limit("run", tokens=1_000)
SCOPES = (
    (),
    (Limit("user/1", tokens=300),),
    (Limit("user/2", tokens=600),),
    (Limit("user/1"), Limit("user/2")),
)


class Pair:
    """A lease of each."""

    def __init__(self, ours: Any, model: Any, process: int) -> None:
        self.ours, self.model, self.process = ours, model, process


async def outcome(ledger: Any, limits: tuple[Limit, ...], tokens: int) -> Any:
    try:
        return await (ledger.scope(*limits) if limits else ledger).reserve(Estimate(tokens), ME)
    except BudgetExceeded as error:
        return error.scope
    except LedgerError:
        return "dead"


def figures(state: Any) -> tuple[int, int, int, bool, str | None]:
    tokens = (state.spent.total_tokens, state.reserved.total_tokens, state.remaining.total_tokens)
    return (*tokens, state.exhausted, state.stopped)


async def play(seed: int, url: str) -> None:
    rng = random.Random(seed)
    model = MemoryLedger(RUN)
    models = [model, model.process()]
    options: dict[str, Any] = {"slack": Estimate(), "ttl": 60}
    async with RedisLedger(url, f"model-{seed}", RUN, **options) as one:
        async with RedisLedger(url, f"model-{seed}", **options) as two:
            ours, open_leases = [one, two], list[Pair]()
            for step in range(60):
                process, limits = rng.randrange(2), rng.choice(SCOPES)
                kind = rng.choice(["reserve"] * 5 + ["settle"] * 4 + ["stop", "resume", "reap"])
                if kind == "reserve":
                    tokens = rng.randrange(1, 250)
                    got = await outcome(ours[process], limits, tokens)
                    expected = await outcome(models[process], limits, tokens)
                    if isinstance(expected, str | None):
                        # Which of two full limits is named first is not part of the contract.
                        assert isinstance(got, str | None), (seed, step, tokens, expected)
                    else:
                        assert not isinstance(got, str | None), (seed, step, tokens, got)
                        open_leases.append(Pair(got, expected, process))
                        if rng.random() < 0.7:
                            got.sent()
                            expected.sent()
                elif kind == "settle" and open_leases:
                    pair = open_leases.pop(rng.randrange(len(open_leases)))
                    used = Usage(rng.randrange(0, 120), rng.randrange(0, 60))
                    pair.ours.settle(used)
                    pair.model.settle(used)
                elif kind in ("stop", "resume") and limits:
                    for ledger in (ours[process], models[process]):
                        scope: Any = ledger.scope(*limits)
                        await (scope.stop("enough") if kind == "stop" else scope.resume())
                elif kind == "reap":
                    # In memory a killed process is another one afterwards; on the server it comes back.
                    await one.refresh()
                    await two.refresh()
                    async with open_console(url, f"model-{seed}") as console:
                        await console.reap(ours[process].process)
                    models[process].kill_process()
                    models[process] = models[1 - process].process()
                    await ours[process].refresh()
                await one.refresh()
                await two.refresh()
                for mine, theirs in zip(ours, models, strict=True):
                    for limits in SCOPES:
                        found: Any = mine.scope(*limits) if limits else mine
                        right: Any = theirs.scope(*limits) if limits else theirs
                        await found.refresh()
                        assert figures(found.state) == figures(right.state), (seed, step, kind, limits)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_it_answers_as_the_ledger_in_memory(seed: int, shared_redis: PrivateRedis) -> None:
    anyio.run(play, seed, shared_redis.url, backend=("asyncio", "trio")[seed % 2])
