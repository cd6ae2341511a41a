"""`lutum budget`, as an operator runs it."""

import json
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from redis_server import PrivateRedis, free_port, needs_redis

from lutum import Estimate, LedgerLost, Limit, Usage
from lutum.abc import TurnIdentity
from lutum.cli import main
from lutum.redis import RedisLedger

pytestmark = [needs_redis, pytest.mark.process]

ME = TurnIdentity(model="m")


@pytest.fixture
def server() -> Iterator[PrivateRedis]:
    with PrivateRedis() as made:
        yield made


def run(*arguments: str) -> int:
    return main(["budget", *arguments])


async def command(*arguments: str) -> int:
    """Run the command beside an open ledger, in a thread with a loop of its own."""
    return await anyio.to_thread.run_sync(run, *arguments)


async def test_it_shows_limits_processes_and_those_that_wait(
    server: PrivateRedis, capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Any] = {"on_exhausted": "wait", "slack": Estimate()}
    async with RedisLedger(
        server.url, "team", Limit("run", tokens=1_000, cost_usd=2, per="day"), **options
    ) as ledger:
        lease = await ledger.reserve(Estimate(900), ME)
        lease.sent()
        async with anyio.create_task_group() as group:

            async def wait() -> None:
                (await ledger.reserve(Estimate(200), ME)).settle(Usage(1))

            group.start_soon(wait)
            with anyio.fail_after(20):
                while "waiting" not in capsys.readouterr().out:
                    assert await command(server.url) == 0
            assert await command(server.url) == 0
            shown = capsys.readouterr().out
            assert await command(server.url, "--name", "team", "--json") == 0
            [found] = json.loads(capsys.readouterr().out)
            lease.settle(Usage(100, 20))
    assert "team, 20" in shown
    assert "1,000 $2" in shown
    assert ledger.process in shown
    assert "1 waiting" in shown
    limits = {limit["name"]: limit for limit in found["limits"]}
    assert limits["run"]["reserved"]["input_tokens"] == 900
    assert limits["run"]["limit_cost_usd"] == "2"
    [process] = found["processes"]
    assert (process["leases"], process["sent"]) == (1, 1)
    assert found["waiting"][0]["blocked_by"] == "run"


async def test_it_stops_resumes_reaps_and_sets_what_was_spent(
    server: PrivateRedis, capsys: pytest.CaptureFixture[str]
) -> None:
    async with RedisLedger(server.url, "team", Limit("run", tokens=1_000), slack=Estimate()) as ledger:
        assert await command(server.url, "--stop", "run", "--reason", "too dear") == 0
        assert (await ledger.refresh()).stopped == "too dear"
        assert await command(server.url, "--resume", "run") == 0
        assert (await ledger.refresh()).stopped is None
        sent = await ledger.reserve(Estimate(300), ME)
        sent.sent()
        await ledger.refresh()
        assert await command(server.url, "--reap", "somebody") == 1
        assert "is not a process of this ledger" in capsys.readouterr().err
        assert await command(server.url, "--reap", ledger.process) == 0
        assert (await ledger.refresh()).spent.total_tokens == 300
        sent.settle(Usage(10))
        server.command("FLUSHALL")
        with anyio.fail_after(20), pytest.raises(LedgerLost):
            while True:
                (await ledger.reserve(Estimate(1), ME)).settle(Usage())
        assert await command(server.url) == 0
        assert "lost data" in capsys.readouterr().out
        assert await command(server.url, "--name", "team", "--set-spent", "run=700,$1.50") == 0
        with anyio.fail_after(20):
            while (await ledger.refresh()).spent.total_tokens != 700:  # noqa: ASYNC110  # set elsewhere
                await anyio.sleep(0.02)


def test_what_cannot_be_is_said(server: PrivateRedis, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(server.url) == 1
    assert "has no ledger" in capsys.readouterr().err
    assert run(server.url, "--name", "team") == 1
    assert "has no ledger 'team'" in capsys.readouterr().err
    assert run(server.url, "--stop", "run") == 1
    assert "--name" in capsys.readouterr().err
    assert run(server.url, "--name", "team", "--set-spent", "run") == 1
    assert "LIMIT=TOKENS" in capsys.readouterr().err
    assert run(f"redis://127.0.0.1:{free_port()}") == 1
    assert "cannot be reached" in capsys.readouterr().err
    assert run("http://x") == 1
    assert "scheme 'http'" in capsys.readouterr().err
