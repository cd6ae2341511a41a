"""Four real processes on one ledger, with kills, pauses, restarts of the server and cut connections; against
what the provider would bill. Seeded: a failure names its seed. `nox -s soak` runs more rounds."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import anyio
import pytest
from redis_server import CuttingProxy, PrivateRedis, needs_redis

from lutum import Estimate, LedgerError
from lutum.redis import LedgerView, RedisLedger, open_console

pytestmark = [
    needs_redis,
    pytest.mark.process,
    # coredis 6.9 leaves the streams of a connection unclosed that the server refuses in the same instant.
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in.*MemoryObject:pytest.PytestUnraisableExceptionWarning"
    ),
]

ROUNDS = int(os.environ.get("LUTUM_SOAK_ROUNDS", "10"))
WORKER = Path(__file__).with_name("chaos_worker.py")
TURNS = 60
LIMITS = {"run": 8_000, "user/1": 3_000, "user/2": 6_000}


class Round:
    """One round: four workers, each behind a proxy of its own, and what was seen of the ledger."""

    def __init__(self, seed: int, server: PrivateRedis, folder: Path) -> None:
        self.rng = random.Random(seed)
        self.server = server
        self.name = f"round-{seed}"
        self.log = folder / "truth.jsonl"
        self.log.touch()
        self.proxies = [CuttingProxy(server.port) for _ in range(4)]
        self.workers = [
            subprocess.Popen(
                [
                    *(sys.executable, str(WORKER), ("trio", "asyncio")[number % 2], proxy.url, self.name),
                    *(str(self.log), str(seed * 10 + number), str(TURNS)),
                ]
            )
            for number, proxy in enumerate(self.proxies)
        ]
        self.killed = set[int]()
        self.line: dict[int, tuple[str, tuple[str, ...]]] = {}
        self.done = list[str]()

    def running(self) -> list[int]:
        return [number for number, worker in enumerate(self.workers) if worker.poll() is None]

    def lines(self) -> list[dict[str, Any]]:
        text = self.log.read_text()  # a worker may be in the middle of a line
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    async def disturb(self) -> None:
        """Do one thing that goes wrong in production."""
        running = self.running()
        kind = self.rng.choice(["kill", "pause", "long pause", "restart", "cut", "partition", "server pause"])
        self.done.append(kind)
        number = self.rng.choice(running) if running else 0
        if kind == "kill" and len(self.killed) < 2 and running:
            self.workers[number].kill()
            self.killed.add(number)
        elif kind in ("pause", "long pause") and running:
            self.workers[number].send_signal(signal.SIGSTOP)
            await self.watch(0.3 if kind == "pause" else 4.0)  # 3 s without a heartbeat is a dead process
            self.workers[number].send_signal(signal.SIGCONT)
        elif kind == "restart":
            await anyio.to_thread.run_sync(self.server.restart)
        elif kind == "cut":
            self.proxies[number].cut()
        elif kind == "partition":
            self.proxies[number].cut(refuse=True)
            await self.watch(1.0)
            self.proxies[number].heal()
        elif kind == "server pause":
            self.server.send(signal.SIGSTOP)
            await anyio.sleep(0.4)
            self.server.send(signal.SIGCONT)

    async def watch(self, seconds: float) -> None:
        """Look at the ledger again and again."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                async with open_console(self.server.url, self.name) as console:
                    while time.monotonic() < until:
                        self.check(await console.view())
                        await anyio.sleep(0.02)
            except LedgerError:  # no ledger yet, or the server is away
                await anyio.sleep(0.05)

    def check(self, view: LedgerView) -> None:
        assert not view.lost
        for limit in view.limits:
            used = limit.spent.total_tokens + limit.reserved.total_tokens
            if limit.name in LIMITS:
                assert used <= LIMITS[limit.name], f"{used} of {limit.name} were granted; {self.done}"
        line = {waiter.place: (waiter.process, waiter.limits) for waiter in view.waiting}
        steady = {line["process"] for line in self.lines() if line["ev"] == "begin" and not line["cancels"]}
        steady -= self.silent(view)
        oldest = dict[tuple[str, ...], int]()
        for place, (_, limits) in self.line.items():  # those that waited then and wait still
            if place in line:
                oldest[limits] = min(place, oldest.get(limits, place))
        for place, (process, limits) in self.line.items():
            if place not in line and process in steady and limits in oldest:
                assert place < oldest[limits], f"{place} overtook {oldest[limits]} on {limits}; {self.done}"
        self.line = line

    def silent(self, view: LedgerView) -> set[str]:
        """The processes whose waiters may end for another reason than a grant."""
        known = {process.name for process in view.processes if process.silent < 1.0}
        return {line["process"] for line in self.lines() if line["ev"] == "begin"} - known

    async def finish(self) -> None:
        """Every waiter ends, and nothing is outstanding."""
        deadline = time.monotonic() + 60
        while self.running():
            assert time.monotonic() < deadline, f"workers {self.running()} did not end; {self.done}"
            await self.watch(0.1)
        for number, worker in enumerate(self.workers):
            assert worker.returncode == (-signal.SIGKILL if number in self.killed else 0), self.done
        with anyio.fail_after(40):
            async with RedisLedger(self.server.url, self.name, slack=Estimate(), ttl=3.0) as ledger:
                while True:
                    async with open_console(self.server.url, self.name) as console:
                        view = await console.view()
                    if [process.name for process in view.processes] == [ledger.process]:
                        break
                    await anyio.sleep(0.1)
        assert view.waiting == ()
        assert {
            limit.name: limit.reserved.total_tokens for limit in view.limits if limit.limited
        } == dict.fromkeys((limit.name for limit in view.limits if limit.limited), 0)
        bills = self.bills()
        for limit in view.limits:
            spent = limit.spent.total_tokens
            assert spent >= bills[limit.name], f"{limit.name}: {spent} are less than the bill; {self.done}"
            if not self.killed:
                assert spent == bills[limit.name], f"{limit.name}: {spent} were charged; {self.done}"

    def bills(self) -> dict[str, int]:
        found = defaultdict[str, int](int)
        for line in self.lines():
            if line["ev"] == "bill":
                for name in (*line["names"], "run", "*"):
                    found[name] += line["n"]
        return found

    def close(self) -> None:
        for worker in self.workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGCONT)
                worker.kill()
            worker.wait(30)
        for proxy in self.proxies:
            proxy.close()


async def play(seed: int, server: PrivateRedis, folder: Path) -> None:
    found = Round(seed, server, folder)
    try:
        with anyio.fail_after(30):
            while sum(line["ev"] == "begin" for line in found.lines()) < 4:  # noqa: ASYNC110  # other processes
                await anyio.sleep(0.02)
        for _ in range(3):
            await found.watch(0.3)
            await found.disturb()
        await found.finish()
    finally:
        found.close()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_processes_keep_one_budget(seed: int, tmp_path: Path) -> None:
    with PrivateRedis(appendfsync="always") as server:
        anyio.run(play, seed, server, tmp_path)
