"""What a ledger does when its server is away, restarts, loses data or refuses; and when its process is taken
for dead. Each test has a server of its own."""

import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from fakes import STALL, FakeAdapter, Gate, Text, done
from redis_server import CuttingProxy, PrivateRedis, free_port, needs_redis

import lutum
from lutum import BudgetExceeded, Estimate, LedgerError, LedgerLost, Limit, Usage
from lutum.abc import TurnIdentity
from lutum.redis import LedgerView, RedisLease, RedisLedger, open_console
from lutum.testing import ScriptedAdapter

pytestmark = [
    needs_redis,
    pytest.mark.process,
    # coredis 6.9 leaves the streams of a connection unclosed that the server refuses in the same instant.
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in.*MemoryObject:pytest.PytestUnraisableExceptionWarning"
    ),
]

RUN = Limit("run", tokens=1_000)
NONE = Estimate()


@pytest.fixture
def server() -> Iterator[PrivateRedis]:
    with PrivateRedis(appendfsync="always") as made:
        yield made


async def take(ledger: Any, tokens: int) -> RedisLease:
    lease: RedisLease = await ledger.reserve(Estimate(tokens), TurnIdentity(model="m"))
    return lease


async def view(url: str, name: str = "team") -> LedgerView:
    async with open_console(url, name) as console:
        return await console.view()


async def until_spent(ledger: RedisLedger, tokens: int, reserved: int = 0, seconds: float = 30) -> None:
    with anyio.fail_after(seconds):
        while True:
            try:
                state = await ledger.refresh()
            except LedgerError:
                await anyio.sleep(0.05)
                continue
            if (state.spent.total_tokens, state.reserved.total_tokens) == (tokens, reserved):
                return
            await anyio.sleep(0.02)


async def until_open(ledger: RedisLedger, seconds: float = 30) -> None:
    """Wait until the server answers again."""
    with anyio.fail_after(seconds):
        while True:
            try:
                await ledger.refresh()
                return
            except LedgerError:
                await anyio.sleep(0.05)


async def granted_again(ledger: RedisLedger, tokens: int) -> RedisLease:
    """Reserve as soon as the ledger is no longer lost."""
    with anyio.fail_after(30):
        while True:
            try:
                return await take(ledger, tokens)
            except LedgerLost:
                await anyio.sleep(0.05)


async def test_an_unreachable_server_is_named() -> None:
    url = f"redis://:secret@127.0.0.1:{free_port()}/0"
    with pytest.raises(LedgerError, match=r"127\.0\.0\.1:\d+ cannot be reached .* is it running") as raised:
        async with RedisLedger(url, "team", RUN):
            pass
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://localhost", "scheme 'http'"),
        ("localhost:6379", "scheme 'localhost'"),
        ("redis://", "has no host"),
        ("redis://h:port", "is not valid"),
        ("redis://h/db", "not the number of a database"),
        (7, "is not text"),
    ],
)
def test_urls_that_cannot_be(url: Any, words: str) -> None:
    with pytest.raises(lutum.BadValue, match=words) as raised:
        RedisLedger(url, "team")
    assert "redis://host:6379/0" in str(raised.value)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"name": "te{a}m"}, "name"),
        ({"name": ""}, "name"),
        ({"on_exhausted": "stop"}, "on_exhausted"),
        ({"follow_rate_limits": True}, "follow_rate_limits"),
        ({"tokens_per_minute": 0}, "tokens_per_minute"),
        ({"ttl": 0}, "ttl"),
    ],
    ids=str,
)
def test_values_that_cannot_be(given: dict[str, Any], field: str) -> None:
    options: dict[str, Any] = {"name": "team", **given}
    with pytest.raises(lutum.BadValue) as raised:
        RedisLedger("redis://h", options.pop("name"), **options)
    assert raised.value.field == field


def test_limits_that_cannot_stand_together() -> None:
    with pytest.raises(lutum.BadValue, match="two of them have the name 'run'"):
        RedisLedger("redis://h", "team", RUN, Limit("run"))
    ledger = RedisLedger("redis://h", "team", RUN)
    with pytest.raises(lutum.BadValue, match="use the ledger itself"):
        ledger.scope()
    with pytest.raises(lutum.BadValue, match="a limit of the whole ledger already"):
        ledger.scope(Limit("run"))
    with pytest.raises(lutum.BadValue, match="is not a Limit"):
        ledger.scope("run")  # type: ignore[arg-type]


async def test_a_wrong_password_is_named() -> None:
    with PrivateRedis(password="s3cret") as server:
        for url, words in (
            (server.url.replace("s3cret", "guess"), "refuses the password"),
            (server.url.replace(":s3cret@", ""), "requires a password"),
        ):
            with pytest.raises(LedgerError, match=words) as raised:
                async with RedisLedger(url, "team", RUN):
                    pass
            assert "guess" not in str(raised.value)
        async with RedisLedger(server.url, "team", RUN, slack=NONE) as ledger:
            lease = await take(ledger, 100)
            lease.sent()
            lease.settle(Usage(10))
            await until_spent(ledger, 10)


@pytest.mark.slow
async def test_an_old_server_is_refused() -> None:
    """A server of another version, as far as the ledger gets with one."""
    hello = {
        "server": "redis",
        "version": "6.2.14",
        "proto": 3,
        "id": 1,
        "mode": "standalone",
        "role": "master",
    }
    answers = b"%" + f"{len(hello) + 1}\r\n".encode()
    for key, value in hello.items():
        answers += f"${len(key)}\r\n{key}\r\n".encode()
        answers += (
            f":{value}\r\n".encode() if isinstance(value, int) else f"${len(value)}\r\n{value}\r\n".encode()
        )
    answers += b"$7\r\nmodules\r\n*0\r\n"
    info = b"# Server\r\nredis_version:6.2.14\r\n"
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            with near:
                while data := near.recv(65536):
                    if b"HELLO" in data:
                        near.sendall(answers)
                    elif b"INFO" in data:
                        near.sendall(b"$%d\r\n%b\r\n" % (len(info), info))
                    else:
                        near.sendall(b"+OK\r\n")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with listener, pytest.raises(LedgerError, match=r"is Redis 6\.2\.14; a ledger needs Redis 7 or Valkey 8"):
        async with RedisLedger(f"redis://127.0.0.1:{listener.getsockname()[1]}/0", "team", RUN):
            pass
    thread.join(10)


async def test_an_unopened_ledger_says_so(server: PrivateRedis) -> None:
    ledger = RedisLedger(server.url, "team", RUN)
    with pytest.raises(lutum.UsageError, match="is not open"):
        await take(ledger, 1)
    async with ledger:
        pass
    with pytest.raises(lutum.UsageError, match="its block has ended"):
        await take(ledger, 1)
    with pytest.raises(lutum.UsageError, match="entered before"):
        async with ledger:
            pass


@pytest.mark.slow
async def test_while_the_server_is_away_turns_run_on_and_new_ones_fail_closed(server: PrivateRedis) -> None:
    async with RedisLedger(server.url, "team", RUN, slack=NONE, ttl=20) as ledger:
        gate = anyio.Event()
        refused = list[type]()
        llm = lutum.Lutum(FakeAdapter([Text("a"), Gate(gate), Text("b"), done(Usage(20, 30))]), budget=ledger)
        async with llm.text_turn("q").reserve(Estimate(50, 50)).stream() as turn:
            async for _ in turn.text():
                break
            server.stop(signal.SIGKILL)
            with anyio.fail_after(30):
                while True:
                    try:
                        await take(ledger, 10)
                    except LedgerError as error:
                        refused.append(type(error))
                        break
            gate.set()
            async for _ in turn:
                pass
        assert refused == [LedgerError]
        assert turn.result.usage.total_tokens == 50  # the answer that was paid for
        with pytest.raises(LedgerError, match="nothing was reserved"):
            await llm.text_turn("q").reserve(Estimate(50, 50)).collect()
        server.start()
        await until_spent(ledger, 50)
        (await take(ledger, 10)).settle(Usage(1))


async def test_a_paused_server_bounds_the_wait(server: PrivateRedis) -> None:
    async with RedisLedger(server.url, "team", RUN, slack=NONE, ttl=2) as ledger:
        server.send(signal.SIGSTOP)
        try:
            with anyio.fail_after(20), pytest.raises(LedgerError):
                await take(ledger, 10)
        finally:
            server.send(signal.SIGCONT)
        await until_open(ledger)
        await until_spent(ledger, 0)  # what was under way has been taken back
        (await take(ledger, 1_000)).settle(Usage(1))


async def test_waiters_survive_a_restart(server: PrivateRedis) -> None:
    async with RedisLedger(server.url, "team", RUN, on_exhausted="wait", slack=NONE, ttl=40) as ledger:
        lease = await take(ledger, 900)
        granted = list[RedisLease]()

        async def wait() -> None:
            granted.append(await take(ledger, 500))

        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            with anyio.fail_after(30):
                while not (await view(server.url)).waiting:  # noqa: ASYNC110  # the server sets no event
                    await anyio.sleep(0.02)
            server.restart()
            await until_open(ledger)
            lease.settle(Usage(100))
        granted[0].settle(Usage(200))
        await until_spent(ledger, 300)


@pytest.mark.slow
async def test_cut_connections_lose_nothing_and_count_nothing_twice(server: PrivateRedis) -> None:
    proxy = CuttingProxy(server.port)
    async with RedisLedger(proxy.url, "team", Limit("run", tokens=10_000), slack=NONE, ttl=40) as ledger:
        spent = 0
        for number in range(60):
            try:
                lease = await take(ledger, 10)
            except LedgerError:
                await until_open(ledger)
                continue
            lease.sent()
            lease.settle(Usage(7))
            spent += 7
            if number % 10 == 5:
                proxy.cut()
        await until_spent(ledger, spent)
        proxy.cut(refuse=True)
        lease_error = await _until_refused(ledger)
        assert "127.0.0.1" in str(lease_error)
        proxy.heal()
        await until_spent(ledger, spent)
    proxy.close()


async def _until_refused(ledger: RedisLedger) -> LedgerError:
    with anyio.fail_after(30):
        while True:
            try:
                (await take(ledger, 1)).settle(Usage())
            except LedgerError as error:
                return error


async def test_a_lost_ledger_is_noticed_reported_and_set_by_an_operator(server: PrivateRedis) -> None:
    options: dict[str, Any] = {"slack": NONE, "ttl": 40}
    async with RedisLedger(server.url, "team", RUN, **options) as one:
        async with RedisLedger(server.url, "team", **options) as two:
            (await take(one, 100)).settle(Usage(60))
            (await take(two, 100)).settle(Usage(40))
            await until_spent(one, 100)
            running = await take(two, 50)
            running.sent()
            server.command("FLUSHALL")
            for ledger in (one, two):
                with anyio.fail_after(30), pytest.raises(LedgerLost, match="lutum budget URL"):
                    while True:
                        (await take(ledger, 1)).settle(Usage())
            # Nobody starts from zero, not even a process that knows nothing of it.
            async with RedisLedger(server.url, "team", RUN, **options) as three:
                with pytest.raises(LedgerLost):
                    await take(three, 1)
                await until_spent(three, 100, 50)  # what the living processes have reported
                running.settle(Usage(5))
                await until_spent(three, 105)
                assert (await view(server.url)).lost
                async with open_console(server.url, "team") as console:
                    await console.set_spent("run", tokens=700)
                await until_spent(three, 700)
                for ledger in (one, two, three):
                    (await granted_again(ledger, 100)).settle(Usage(10))
                await until_spent(three, 730)


async def test_a_ledger_that_must_exist_is_not_created(server: PrivateRedis) -> None:
    with pytest.raises(LedgerLost, match="create=False"):
        async with RedisLedger(server.url, "team", RUN, create=False):
            pass
    async with RedisLedger(server.url, "team", RUN):
        async with RedisLedger(server.url, "team", create=False) as ledger:
            (await take(ledger, 1)).settle(Usage())


async def test_a_server_that_went_back_in_time_is_brought_up_to_date(server: PrivateRedis) -> None:
    """As after a restart with `appendfsync everysec`: acknowledged writes of the last second are gone."""
    async with RedisLedger(server.url, "team", RUN, slack=NONE, ttl=40) as ledger:
        (await take(ledger, 100)).settle(Usage(60))
        await until_spent(ledger, 60)
        server.command("SAVE")
        held = await take(ledger, 50)
        held.sent()
        (await take(ledger, 100)).settle(Usage(30))
        await until_spent(ledger, 90, 50)
        # Go back to the saved state.
        server.command("CONFIG", "SET", "appendonly", "no")
        saved = (server.folder / "dump.rdb").read_bytes()
        server.stop(signal.SIGKILL)
        for file in server.folder.glob("appendonlydir/*"):
            file.unlink()
        server._options = [*server._options, "--appendonly", "no"]
        (server.folder / "dump.rdb").write_bytes(saved)
        server.start()
        await until_spent(ledger, 90, 50)
        held.settle(Usage(10))
        await until_spent(ledger, 100)


async def test_a_reaped_process_settles_late_and_cannot_grow(server: PrivateRedis) -> None:
    options: dict[str, Any] = {"slack": Estimate(20), "ttl": 40}
    async with RedisLedger(server.url, "team", RUN, **options) as one:
        async with RedisLedger(server.url, "team", **options) as two:
            sent, unsent = await take(one, 300), await take(one, 200)
            sent.sent()
            await until_spent(two, 0, 540)
            async with open_console(server.url, "team") as console:
                assert not await console.reap("nobody")
                assert await console.reap(one.process)
            # The sent one is charged in full, with the slack it may have grown by; the other is released.
            await until_spent(two, 320, 20)
            await one.refresh()
            assert not sent.grow(Estimate(310))
            sent.settle(Usage(50))  # the charge is replaced by the bill
            unsent.settle(Usage())
            await until_spent(two, 50, 40)
            (await take(one, 100)).settle(Usage(1))
            await until_spent(two, 51, 40)


async def test_a_process_that_was_away_too_long_sends_nothing(server: PrivateRedis) -> None:
    async with RedisLedger(server.url, "team", RUN, slack=NONE, ttl=1) as ledger:
        lease = await take(ledger, 100)
        server.send(signal.SIGSTOP)
        try:
            await anyio.sleep(1.2)
            with pytest.raises(LedgerError, match="nothing was sent"):
                lease.sent()
        finally:
            server.send(signal.SIGCONT)
        lease.settle(Usage())


async def test_a_turn_whose_lease_has_lapsed_is_not_sent(server: PrivateRedis) -> None:
    adapter = ScriptedAdapter([["a"]])
    async with RedisLedger(server.url, "team", RUN, slack=NONE, ttl=1) as ledger:
        real = ledger.reserve

        async def slow(estimate: Estimate, turn: TurnIdentity) -> RedisLease:
            lease = await real(estimate, turn)
            server.send(signal.SIGSTOP)
            await anyio.sleep(1.2)
            return lease

        ledger.reserve = slow  # type: ignore[method-assign]
        try:
            with pytest.raises(LedgerError, match="nothing was sent"):
                await lutum.Lutum(adapter, budget=ledger).text_turn("q").max_output_tokens(5).collect()
        finally:
            server.send(signal.SIGCONT)
        assert adapter.requests == []


async def test_leaving_the_block_sends_what_is_left(server: PrivateRedis) -> None:
    async with RedisLedger(server.url, "team", RUN, slack=NONE) as ledger:
        for _ in range(50):
            (await take(ledger, 10)).settle(Usage(3))
    async with RedisLedger(server.url, "team") as ledger:
        assert ledger.state.spent.total_tokens == 150
        assert len((await view(server.url)).processes) == 1


async def test_the_block_raises_what_its_body_raises(server: PrivateRedis) -> None:
    with pytest.raises(KeyError, match="mine"):
        async with RedisLedger(server.url, "team", RUN):
            raise KeyError("mine")
    with anyio.move_on_after(0.5) as scope:
        async with RedisLedger(server.url, "team", RUN) as ledger:
            llm = lutum.Lutum(FakeAdapter([Text("a"), STALL]), budget=ledger)
            await llm.text_turn("q").reserve(Estimate(50, 50)).collect()
    assert scope.cancelled_caught
    found = await view(server.url)
    assert found.processes == ()
    assert [limit.reserved.total_tokens for limit in found.limits] == [0, 0]


async def test_a_refusal_is_not_an_error_of_the_ledger(server: PrivateRedis) -> None:
    async with RedisLedger(server.url, "team", RUN) as ledger:
        with pytest.raises(BudgetExceeded):
            await take(ledger, 2_000)
        (await take(ledger, 10)).settle(Usage(1))
