"""A ledger in Redis: reservations, scopes, growth, lines, stops, periods, rates. With a server of its own."""

import itertools
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import anyio
import pytest
from fakes import STALL, FakeAdapter, Text
from redis_server import PrivateRedis, needs_redis
from suspensions import suspends

import lutum
from lutum import BudgetExceeded, Estimate, Limit, Usage
from lutum.abc import RateLimit, TurnIdentity
from lutum.redis import RedisLease, RedisLedger, ledger_names, open_console
from lutum.testing import ScriptedAdapter, check_ledger

pytestmark = [needs_redis, pytest.mark.process]

_numbers = itertools.count()
Make = Callable[..., RedisLedger]
ME = TurnIdentity(model="m")


@pytest.fixture
def make(shared_redis: PrivateRedis, anyio_backend: str) -> Make:
    """Make handles on one ledger of this test's own: each is a process to the server."""
    name = f"test-{anyio_backend}-{next(_numbers)}"

    def made(*limits: Limit, **options: Any) -> RedisLedger:
        return RedisLedger(shared_redis.url, name, *limits, **options)

    return made


def take(ledger: Any, tokens: int, cost: str | None = None) -> Awaitable[RedisLease]:
    return ledger.reserve(Estimate(tokens, 0, None if cost is None else Decimal(cost)), ME)


async def settled(condition: Callable[[], Awaitable[bool]], seconds: float = 20.0) -> None:
    """Poll until the condition holds."""
    with anyio.fail_after(seconds):
        while not await condition():  # noqa: ASYNC110  # the server sets no event
            await anyio.sleep(0.01)


async def test_two_processes_draw_on_one_limit(make: Make) -> None:
    run = Limit("run", tokens=1_000)
    async with make(run, slack=Estimate()) as one, make(slack=Estimate()) as two:
        first = await take(one, 600)
        with pytest.raises(BudgetExceeded, match="500 tokens do not fit under 'run': 600 of 1,000") as raised:
            await take(two, 500)
        assert (raised.value.scope, raised.value.resets_at) == ("run", None)
        first.settle(Usage(100, 50))
        await settled(lambda: _spent(two, 150))
        second = await take(two, 850)
        assert (await one.refresh()).remaining.total_tokens == 0
        second.settle(Usage(400, 450))
        await settled(lambda: _spent(one, 1_000))
        assert one.state.exhausted
        with pytest.raises(BudgetExceeded, match="can never fit under 'run': 1,000 of 1,000 are spent"):
            await take(one, 1)
        assert one.state.as_of is not None
        assert abs(one.state.as_of - time.time()) < 60


async def _spent(ledger: RedisLedger, tokens: int) -> bool:
    return (await ledger.refresh()).spent.total_tokens == tokens


async def test_turns_run_on_it_and_the_budget_shows_its_figures(make: Make) -> None:
    async with make(Limit("run", tokens=10_000)) as ledger:
        llm = lutum.Lutum(ScriptedAdapter([["Water."]] * 3), budget=ledger)
        for _ in range(3):
            await llm.text_turn("q").max_output_tokens(50).collect()
        await settled(lambda: _spent(ledger, 33))
        # The slack of this process counts as reserved.
        assert llm.budget.remaining.total_tokens == 10_000 - 33 - 100
        assert llm.budget.available.tokens == llm.budget.remaining.total_tokens
        async with llm.within(tokens=500) as scoped:
            assert (scoped.budget.available.tokens, scoped.budget.remaining.total_tokens) == (500, 500)


async def test_scopes_are_taken_together_or_not_at_all(make: Make) -> None:
    async with make(Limit("run", tokens=10_000), slack=Estimate()) as ledger:
        teams = ledger.scope(Limit("team/a", tokens=1_000), Limit("team/b", tokens=300))
        with pytest.raises(BudgetExceeded, match="'team/b'") as raised:
            await take(teams, 400)
        assert raised.value.scope == "team/b"
        await teams.refresh()
        assert [limit.reserved.total_tokens for limit in teams.limits] == [0, 0]
        lease = await take(teams, 200)
        await teams.refresh()
        assert [limit.remaining_tokens for limit in teams.limits] == [800, 100]
        assert teams.state.remaining.total_tokens == 100
        lease.settle(Usage(10, 10))
        llm = lutum.Lutum(ScriptedAdapter([["a"]]), budget=ledger).charged_to(ledger.scope(Limit("team/b")))
        await llm.text_turn("q").max_output_tokens(50).collect()
        await settled(lambda: _spent(ledger, 31))
        await teams.refresh()
        assert [limit.spent.total_tokens for limit in teams.limits] == [20, 31]


async def test_waiters_are_served_in_order_and_pass_who_waits_for_a_limit_of_its_own(make: Make) -> None:
    served = list[str]()
    async with make(Limit("run", tokens=1_000), on_exhausted="wait", slack=Estimate()) as one:
        async with make(on_exhausted="wait", slack=Estimate()) as two:
            mine, yours = one.scope(Limit("user/1", tokens=100)), two.scope(Limit("user/2", tokens=1_000))
            blocking = await take(mine, 100)
            holding = await take(two, 500)

            async def wait(name: str, scope: Any, tokens: int) -> None:
                lease = await take(scope, tokens)
                served.append(name)
                lease.settle(Usage(1))

            async with anyio.create_task_group() as group:
                group.start_soon(wait, "own limit", mine, 50)
                await settled(lambda: _line(one, 1))
                group.start_soon(wait, "big", two, 450)
                await settled(lambda: _line(one, 2))
                group.start_soon(wait, "small", yours, 10)
                await settled(lambda: _line(one, 3))
                assert served == []  # the small one does not overtake the big one
                holding.settle(Usage(1))
                await settled(lambda: _reached(served, 2))
                # Both are granted in one step; which task runs first is the scheduler's choice.
                assert sorted(served) == ["big", "small"]
                blocking.settle(Usage(1))
            assert served[2:] == ["own limit"]


async def _reached(found: list[str], length: int) -> bool:
    return len(found) >= length


async def _line(ledger: RedisLedger, length: int) -> bool:
    async with open_console(ledger.courier.address.url, ledger.name) as console:
        return len((await console.view()).waiting) == length


async def test_a_waiter_that_can_never_fit_is_refused_wherever_it_stands(make: Make) -> None:
    async with make(Limit("run", tokens=1_000), on_exhausted="wait", slack=Estimate()) as ledger:
        holding = await take(ledger, 900)
        async with anyio.create_task_group() as group:
            refused = list[str]()

            async def wait() -> None:
                try:
                    await take(ledger, 500)
                except BudgetExceeded as error:
                    refused.append(str(error))

            group.start_soon(wait)
            await settled(lambda: _line(ledger, 1))
            holding.settle(Usage(900))
        assert refused
        assert "can never fit" in refused[0]


async def test_cancelled_nothing_was_taken(make: Make) -> None:
    async with make(Limit("run", tokens=1_000), on_exhausted="wait", slack=Estimate()) as ledger:
        for tokens in (400, 700):  # granted at once, and in line
            held = await take(ledger, 400) if tokens == 700 else None
            for delay in (0, 0.0005, 0.002, 0.02):
                with anyio.move_on_after(delay):
                    lease = await take(ledger, tokens)
                    lease.settle(Usage())
            if held is not None:
                held.settle(Usage())
            await settled(lambda: _free(ledger))


async def _free(ledger: RedisLedger) -> bool:
    state = await ledger.refresh()
    return state.remaining.total_tokens == 1_000 and await _line(ledger, 0)


async def test_growth_is_answered_from_slack_that_counts_as_reserved(make: Make) -> None:
    async with make(Limit("run", tokens=1_000), slack=Estimate(100)) as ledger:
        await settled(lambda: _reserved(ledger, 100))
        lease = await take(ledger, 50)
        assert lease.grow(Estimate(60, 50))
        assert not lease.grow(Estimate(200, 50))  # before more slack has come
        await settled(lambda: _reserved(ledger, 210))  # what it held, and slack again
        assert lease.grow(Estimate(110, 50))
        lease.settle(Usage(100, 50))
        await settled(lambda: _reserved(ledger, 50))  # half of it is enough
        assert (await ledger.refresh()).spent.total_tokens == 150


async def _reserved(ledger: RedisLedger, tokens: int) -> bool:
    return (await ledger.refresh()).reserved.total_tokens == tokens


async def test_a_turn_beyond_the_slack_ends_like_one_on_a_spent_ledger(make: Make) -> None:
    adapter = FakeAdapter([*(Text("word ") for _ in range(400)), STALL])
    async with make(Limit("run", tokens=150), slack=Estimate(20)) as ledger:
        llm = lutum.Lutum(adapter, budget=ledger)
        with pytest.raises(BudgetExceeded, match="the slack of this process is used up"):
            await llm.text_turn("Go on.").reserve(Estimate(20, 10)).collect()
        state = await ledger.refresh()
        assert 30 < state.spent.total_tokens <= 150


async def test_slack_makes_way_for_waiters_and_for_refusals(make: Make) -> None:
    run = Limit("run", tokens=1_000)
    async with make(run, slack=Estimate(300)) as one:
        await settled(lambda: _reserved(one, 300))
        (await take(one, 900)).settle(Usage())  # its own slack
        await settled(lambda: _reserved(one, 300))
        async with make(on_exhausted="wait", slack=Estimate()) as two:
            with anyio.fail_after(20):  # the other process' slack
                (await take(two, 900)).settle(Usage())


async def test_stop_ends_running_turns_in_every_process(make: Make) -> None:
    adapter = FakeAdapter([*(Text("word ") for _ in range(20)), STALL])
    async with make(Limit("run", tokens=100_000)) as one, make(on_exhausted="wait") as two:
        team = Limit("team/a", tokens=50_000)
        llm = lutum.Lutum(adapter, budget=one).charged_to(one.scope(team))
        other = lutum.Lutum(FakeAdapter([Text("a"), STALL]), budget=one)
        with pytest.raises(BudgetExceeded, match="'team/a' was stopped: too dear") as raised:
            async with llm.text_turn("q").reserve(Estimate(20, 100)).stream() as turn:
                async for _ in turn.text():
                    if turn.partial.text.count("word") == 20:
                        break
                async with other.text_turn("q").reserve(Estimate(20, 100)).stream() as apart:
                    await two.scope(team).stop("too dear")
                    with anyio.fail_after(20):
                        async for _ in turn:
                            pass
                    raise AssertionError("the turn ended without an error")
        assert raised.value.scope == "team/a"
        assert apart.usage.total_tokens  # that one was ended by its own block
        with pytest.raises(BudgetExceeded, match="too dear"):  # also where it would wait
            await take(two.scope(team), 10)
        assert (await two.scope(team).refresh()).stopped == "too dear"
        (await take(two, 10)).settle(Usage())
        await two.scope(team).resume()
        (await take(one.scope(team), 10)).settle(Usage())


async def test_a_stopped_ledger_refuses_those_in_line(make: Make) -> None:
    async with make(Limit("run", tokens=100), on_exhausted="wait", slack=Estimate()) as ledger:
        lease = await take(ledger, 100)
        async with anyio.create_task_group() as group:
            said = list[str]()

            async def wait() -> None:
                with pytest.raises(BudgetExceeded) as raised:
                    await take(ledger, 50)
                said.append(str(raised.value))

            group.start_soon(wait)
            await settled(lambda: _line(ledger, 1))
            await ledger.stop("maintenance")
        assert said == ["the whole ledger was stopped: maintenance"]
        lease.settle(Usage())


async def test_newer_limits_win_and_missing_ones_are_the_stored_ones(make: Make) -> None:
    async with make(Limit("run", tokens=100), slack=Estimate()) as old:
        await anyio.sleep(0.01)
        async with make(Limit("run", tokens=500, cost_usd=2), slack=Estimate()) as new:
            assert (await old.refresh()).remaining == Usage(500, cost_usd=Decimal(2))
            # A process that opened earlier says later what it knows of another limit: the newer one stays.
            team = new.scope(Limit("team", tokens=70))
            await team.refresh()
            assert (await old.scope(Limit("team", tokens=30)).refresh()).remaining.total_tokens == 70
            assert (await old.scope(Limit("team")).refresh()).remaining.total_tokens == 70
            # The same process may change its mind.
            assert (await new.scope(Limit("team", tokens=20)).refresh()).remaining.total_tokens == 20
            lease = await take(old, 400)
            lease.settle(Usage(400))
            await settled(lambda: _spent(new, 400))
    async with make(Limit("run", tokens=300), slack=Estimate()) as frozen:
        assert frozen.state.exhausted
        with pytest.raises(BudgetExceeded, match="400 of 300 are spent"):
            await take(frozen, 1)
        async with make(Limit("run", tokens=1_000), slack=Estimate()) as raised:
            (await take(frozen, 500)).settle(Usage())
            assert not (await raised.refresh()).exhausted


async def test_a_period_starts_afresh_by_the_servers_clock(make: Make, shared_redis: PrivateRedis) -> None:
    day = Limit("day", tokens=100, per="day", timezone="Europe/Oslo")
    async with make(day, slack=Estimate()) as ledger:
        (await take(ledger, 80)).settle(Usage(80))
        with pytest.raises(BudgetExceeded, match="next period begins at") as raised:
            await take(ledger, 50)
        resets = raised.value.resets_at
        assert resets is not None
        assert (resets.hour, resets.minute) == (0, 0)
        assert 0 < (resets - datetime.now(UTC)).total_seconds() <= 25 * 3600
        # Put the end of the stored period into the past, as midnight does.
        key = f"{ledger.courier.prefix}scope:day"
        now = int(time.time() * 1000)
        shared_redis.command("HSET", key, "ws", str(now - 1000), "we", str(now - 1))
        (await take(ledger, 50)).settle(Usage(50))
        await settled(lambda: _spent(ledger, 50))
        assert ledger.state.remaining.total_tokens == 50


async def test_dollars_are_exact_beyond_what_a_float_holds(make: Make) -> None:
    async with make(Limit("run", cost_usd="100000.000000000001"), slack=Estimate()) as ledger:
        lease = await take(ledger, 1, "99999.999999999999")
        with pytest.raises(BudgetExceeded, match=r"\$3E-12 do not fit"):
            await take(ledger, 1, "0.000000000003")
        (await take(ledger, 1, "0.000000000002")).settle(Usage(1))
        lease.settle(Usage(1, cost_usd=Decimal("99999.999999999999")))
        await settled(lambda: _spent(ledger, 2))
        assert ledger.state.remaining.cost_usd == Decimal("0.000000000002")


async def test_dollars_need_a_price(make: Make) -> None:
    async with make(Limit("run", cost_usd=5)) as ledger:
        llm = lutum.Lutum(ScriptedAdapter([["a"]]), budget=ledger)
        with pytest.raises(lutum.UnpricedModel, match="Pricing"):
            await llm.text_turn("q").max_output_tokens(5).collect()


async def test_rates_learned_from_headers_hold_for_all_processes(make: Make) -> None:
    options: dict[str, Any] = {"on_exhausted": "wait", "follow_rate_limits": True, "slack": Estimate()}
    async with make(Limit("run", tokens=100_000), **options) as one, make(**options) as two:
        first = await take(one, 10)
        with anyio.move_on_after(0.2) as waiting:  # the first turn goes alone, also for the other process
            await take(two, 10)
        assert waiting.cancelled_caught
        first.sent()
        first.update_rates(lutum.Response(request_id="r"), None, [RateLimit("requests", 2, 1)])
        second = await take(two, 10)  # the one that is left
        with anyio.move_on_after(0.2) as waiting:
            await take(two, 10)
        assert waiting.cancelled_caught
        async with open_console(one.courier.address.url, one.name) as console:
            [rate] = (await console.view()).rates
            assert (rate.kind, rate.limit, rate.left) == ("requests", 2, 0)
        first.settle(Usage(5))
        second.settle(Usage(5))


async def test_a_rate_wakes_its_waiters_by_itself(make: Make) -> None:
    async with make(requests_per_minute=600, on_exhausted="wait", slack=Estimate()) as ledger:
        for _ in range(600):
            (await take(ledger, 1)).settle(Usage(1))
        with anyio.fail_after(20):
            for _ in range(3):  # one in 100 ms
                (await take(ledger, 1)).settle(Usage(1))


async def test_a_rate_refuses_where_nothing_waits(make: Make) -> None:
    async with make(tokens_per_minute=100) as ledger:
        (await take(ledger, 100)).settle(Usage(100))
        with pytest.raises(BudgetExceeded, match="the rates allow the next request in"):
            await take(ledger, 50)
        with pytest.raises(BudgetExceeded, match="150 tokens are more than the limit of 100 tokens a minute"):
            await take(ledger, 150)


async def test_it_keeps_the_laws_of_ledgers(shared_redis: PrivateRedis) -> None:
    def fresh(tokens: int) -> RedisLedger:
        name = f"laws-{next(_numbers)}"
        return RedisLedger(shared_redis.url, name, Limit("run", tokens=tokens), slack=Estimate())

    await check_ledger(fresh)


async def test_each_request_to_the_server_is_a_checkpoint(make: Make) -> None:
    """As the docstrings state; `test_checkpoints.py` reads those."""
    ledger = make(Limit("run", tokens=1_000))
    assert await suspends(ledger.__aenter__)
    try:
        scope = ledger.scope(Limit("team", tokens=500))
        for one in (ledger, scope):
            assert await suspends(lambda one=one: take(one, 10))
            assert await suspends(one.refresh)
            assert await suspends(lambda one=one: one.stop("enough"))
            assert await suspends(one.resume)
    finally:
        assert await suspends(lambda: ledger.__aexit__(None, None, None))
    assert await suspends(lambda: ledger_names(ledger.courier.address.url))
