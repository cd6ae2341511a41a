"""(m) The shared ledger: reserve and settle while others wait, and processes that share a provider's limits.

Needs redis-server. litellm's Redis budgets are measured if litellm and redis-py are installed. They read a
counter before a request, add to it afterwards, and reserve nothing.
"""

from __future__ import annotations

import multiprocessing
import shutil
import socket
import socketserver
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import anyio
from measure import Report, Table, by_hand

import lutum
from lutum import Estimate, Limit, Usage
from lutum.abc import RateLimit, TurnIdentity
from lutum.redis import RedisLedger

ME = TurnIdentity(model="m")
ESTIMATE, USED = Estimate(100, 300), Usage(100, 200)
PROCESSES, REQUESTS, BURST, PERIOD = 4, 300, 100, 10.0


@contextmanager
def server() -> Iterator[str]:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        port = made.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        words = ["redis-server", "--port", str(port), "--save", "", "--dir", folder]
        process = subprocess.Popen([*words, "--appendonly", "yes", "--appendfsync", "always"], stdout=-3)
        try:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    time.sleep(0.05)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()
            process.wait()


async def with_waiters(url: str, waiters: int, times: int) -> tuple[list[float], list[float]]:
    """Reserve and settle while `waiters` reservations wait for another limit."""
    reserved, settled = list[float](), list[float]()
    run = Limit("run", tokens=10**12)
    async with RedisLedger(url, f"bench-{waiters}-{time.time_ns()}", run, on_exhausted="wait") as ledger:
        full = ledger.scope(Limit("full", tokens=100))
        held = await full.reserve(Estimate(100), ME)
        async with anyio.create_task_group() as group:
            for _ in range(waiters):
                group.start_soon(full.reserve, Estimate(50), ME)
            while len([w for w in ledger._waiting.values() if w.queued]) < waiters:  # noqa: ASYNC110
                await anyio.sleep(0.05)
            for _ in range(times):
                before = time.perf_counter()
                lease = await ledger.reserve(ESTIMATE, ME)
                reserved.append(time.perf_counter() - before)
                before = time.perf_counter()
                lease.settle(USED)
                await ledger.refresh()  # the settlement is on the server's disk
                settled.append(time.perf_counter() - before)
            group.cancel_scope.cancel()
        held.settle(Usage())
    return sorted(reserved), sorted(settled)


async def litellm_counters(url: str, times: int) -> list[float] | None:
    """Read a counter and add to it, as litellm's proxy does for a budget in Redis."""
    try:
        from litellm.caching.redis_cache import RedisCache
    except ImportError:
        return None
    cache = RedisCache(host="127.0.0.1", port=int(url.split(":")[2].split("/")[0]))
    found = list[float]()
    for _ in range(times):
        before = time.perf_counter()
        await cache.async_get_cache("spend")
        await cache.async_increment("spend", 0.5)
        found.append(time.perf_counter() - before)
    return sorted(found)


class Provider(socketserver.ThreadingTCPServer):
    """A provider with one limit of requests: a bucket of 100 that is full again after 10 s."""

    daemon_threads = True
    request_queue_size = REQUESTS  # all connect at once, and a dropped connection takes a minute

    def __init__(self) -> None:
        self.full_at, self.refused, self.lock = 0.0, 0, threading.Lock()
        super().__init__(("127.0.0.1", 0), Answer)

    def draw(self) -> int:
        """Return the number of requests left after this one, or -1 for a 429."""
        with self.lock:
            now = time.monotonic()
            used = max(0.0, self.full_at - now) * BURST / PERIOD
            if used + 1 > BURST:
                self.refused += 1
                return -1
            self.full_at = max(now, self.full_at) + PERIOD / BURST
            return int(BURST - used - 1)


class Answer(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.recv(10)
        assert isinstance(self.server, Provider)
        self.request.sendall(b"%d\n" % self.server.draw())


def worker(url: str, port: int, requests: int) -> None:
    anyio.run(_worker, url, port, requests)


async def _worker(url: str, port: int, requests: int) -> None:
    async with RedisLedger(url, "rates", on_exhausted="wait", follow_rate_limits=True) as ledger:

        async def turn() -> None:
            while True:
                lease = await ledger.reserve(ESTIMATE, ME)
                lease.sent()
                async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                    await stream.send(b"?")
                    left = int(await stream.receive())
                limits = [RateLimit("requests", BURST, max(0, left), PERIOD, refunds=False)]
                lease.update_rates(lutum.Response(), None, limits)
                await anyio.sleep(0.05)
                lease.settle(USED if left >= 0 else Usage())
                if left >= 0:
                    return

        async with anyio.create_task_group() as group:
            for _ in range(requests):
                group.start_soon(turn)


def on_one_account(url: str) -> tuple[float, int]:
    """Return the seconds for all requests, and the number of 429s."""
    with Provider() as provider:
        threading.Thread(target=provider.serve_forever, daemon=True).start()
        port = provider.server_address[1]
        context = multiprocessing.get_context("spawn")
        workers = [
            context.Process(target=worker, args=(url, port, REQUESTS // PROCESSES)) for _ in range(PROCESSES)
        ]
        for process in workers:
            process.start()
        while provider.full_at == 0.0:  # the first request has arrived
            time.sleep(0.01)
        began = time.monotonic()
        for process in workers:
            process.join()
        took = time.monotonic() - began
        provider.shutdown()
        return took, provider.refused


def percentile(ordered: list[float], share: float) -> str:
    return f"{ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1e3:.2f}"


def measure(url: str, quick: bool) -> Report:
    report = Report(
        "(m) The shared ledger",
        "Milliseconds on one machine, with redis-server and `appendfsync always`; a settlement is timed until"
        " it is on the server's disk.",
    )
    if shutil.which("redis-server") is None:
        report.words += " Not measured here: redis-server is not installed."
        return report
    times = 100 if quick else 500
    with server() as redis:
        rows = list[tuple[str, ...]]()
        for waiters in (1, 100, 1_000):
            reserved, settled = anyio.run(partial(with_waiters, redis, waiters, times), backend="asyncio")
            figures = [percentile(found, share) for found in (reserved, settled) for share in (0.5, 0.99)]
            rows.append((f"{waiters:,} in line", *figures))
            if waiters == 1_000:
                median = statistics.median(reserved) * 1e3
                report.check("reserve with 1,000 in line, p50", median, " ms")
        counters = anyio.run(partial(litellm_counters, redis, times), backend="asyncio")
        if counters is not None:
            both = percentile(counters, 0.5), percentile(counters, 0.99)
            rows.append(("litellm: read and add, nothing reserved", *both, "", ""))
        head = ("", "reserve p50", "reserve p99", "settle p50", "settle p99")
        report.tables.append(Table("Reserve and settle, ms", head, tuple(rows)))
        took, refused = on_one_account(redis)
        ideal = (REQUESTS - BURST) * PERIOD / BURST
        report.tables.append(
            Table(
                f"{REQUESTS} requests of {PROCESSES} processes on one account's limit",
                ("", "s", "ideal s", "429s"),
                (("shared rates", f"{took:.1f}", f"{ideal:.1f}", str(refused)),),
            )
        )
        report.check("time against the ideal", took / ideal, " times")
        report.check("429s in 300 requests", refused)
    return report


if __name__ == "__main__":
    by_hand(measure)
