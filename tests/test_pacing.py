"""Rates: a fan-out that paces itself, on figures of yours or on those in the provider's headers.

The wire server counts as providers do: a bucket of requests and one of tokens, refilled all the time, and a
429 with Retry-After where one is empty. Time is virtual, on both backends.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import anyio
import corpus
import pytest
from fakes import STARTED, VIRTUAL, FakeAdapter, done
from hypothesis import given, strategies as st

import lutum
from lutum import Budget, Estimate, Usage
from lutum._budget.amounts import Amount
from lutum._budget.rate_limits import RateLimits, _Window
from lutum.abc import RateLimit
from lutum.dialect.headers import x_rate_limits
from lutum.testing.wire import (
    Answer,
    BeforeHead,
    Pause,
    Refuse,
    Reply,
    Status,
    WireRequest,
    WireServer,
)
from lutum_claude import ClaudeAdapter
from lutum_claude._rate_limits import read_rate_limits as read_claude

MODEL = "claude-sonnet-4-5"
OUTPUT = 40  # billed for each turn


def adapter(server: WireServer) -> ClaudeAdapter:
    client = server.connect
    return ClaudeAdapter(model=MODEL, api_key="k", base_url=server.url, http_client=client)


async def fan_out(llm: lutum.Lutum, turns: int) -> float:
    """That many turns at once; the seconds until all are done."""
    start = anyio.current_time()
    turn = llm.text_turn("hello").max_output_tokens(2 * OUTPUT)

    async def one() -> None:
        await turn.collect()

    async with anyio.create_task_group() as group:
        for _ in range(turns):
            group.start_soon(one)
    return anyio.current_time() - start


@VIRTUAL
async def test_the_first_turn_goes_alone() -> None:
    """Until an answer says the limits one request is under way; one that got no answer says nothing, and with
    each one without limits in its head one more may be under way."""
    started = list[float]()

    def answer(request: WireRequest) -> Answer:
        started.append(anyio.current_time())
        return Refuse(3.0) if len(started) == 1 else Reply(BeforeHead(Pause(2.0)), "ok")

    server = WireServer(answer)
    async with adapter(server) as claude:
        llm = lutum.Lutum(claude, budget=Budget(on_exhausted="wait", follow_rate_limits=True))
        start = anyio.current_time()

        async def one() -> None:
            try:
                await llm.text_turn("hello").collect()
            except lutum.NetworkError:
                pass

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(one)
    assert [at - start for at in started] == pytest.approx([0, 3, 5, 5, 7])


@VIRTUAL
async def test_a_refusal_holds_up_everybody() -> None:
    """A 429 that says how long to wait counts for the whole ledger, and its own retry waits as long."""
    started = list[float]()

    def answer(request: WireRequest) -> Answer:
        started.append(anyio.current_time())
        return Status(429, headers={"retry-after": "7"}) if len(started) == 1 else Reply("ok")

    server = WireServer(answer)
    async with adapter(server) as claude:
        budget = Budget(on_exhausted="wait", follow_rate_limits=True)
        llm = lutum.Lutum(claude, budget=budget, retry=lutum.RetryPolicy(jitter=0))
        start = anyio.current_time()
        took = await fan_out(llm, 4)
    assert [at - start for at in started] == pytest.approx([0, 7, 7, 7, 7])
    assert took == pytest.approx(7)


@VIRTUAL
async def test_an_openrouter_window() -> None:
    """So many until an instant, all of them at once, then the next so many: never more in one window."""
    epoch = 1_700_000_000
    seen = Counter[int]()

    def answer(request: WireRequest) -> Answer:
        wall = epoch + anyio.current_time() - start
        window = int(wall // 60)
        if seen[window] == 20:
            return Status(429)
        seen[window] += 1
        return Reply(
            "ok",
            headers={
                "date": format_datetime(datetime.fromtimestamp(wall, UTC), usegmt=True),
                "x-ratelimit-limit": "20",
                "x-ratelimit-remaining": str(20 - seen[window]),
                "x-ratelimit-reset": str((window + 1) * 60 * 1000),
            },
        )

    server = WireServer(answer)
    start = anyio.current_time()
    async with adapter(server) as claude:
        budget = Budget(on_exhausted="wait", follow_rate_limits=True)
        took = await fan_out(lutum.Lutum(claude, budget=budget), 100)
    assert list(seen.values()) == [20] * 5
    assert 180 <= took <= 241


@VIRTUAL
async def test_a_rate_of_yours_beside_the_providers() -> None:
    """Groq says of requests how many a day, and nothing of a minute: yours holds beside it."""
    started = list[float]()

    def answer(request: WireRequest) -> Answer:
        started.append(anyio.current_time())
        left = 100 - len(started)
        return Reply(
            "ok",
            headers={
                "x-ratelimit-limit-requests": "100",
                "x-ratelimit-remaining-requests": str(left),
                "x-ratelimit-reset-requests": f"{(100 - left) * 864}s",
            },
        )

    server = WireServer(answer)
    async with adapter(server) as claude:
        budget = Budget(on_exhausted="wait", follow_rate_limits=True, requests_per_minute=30)
        took = await fan_out(lutum.Lutum(claude, budget=budget), 100)
        assert took == pytest.approx(140, abs=2)
        assert await fan_out(lutum.Lutum(claude, budget=budget), 1) == pytest.approx(864)


@VIRTUAL
async def test_retries_are_counted_before_those_who_wait() -> None:
    """Two of a window were refused: they go again when the next one begins, and only as many besides as it
    has room for."""
    seen, refused = Counter[int](), Counter[int]()

    def answer(request: WireRequest) -> Answer:
        window = int((anyio.current_time() - start) // 60)
        if seen[window] == 2:
            refused[window] += 1
            told = {
                "date": format_datetime(
                    datetime.fromtimestamp(1_700_000_040 + anyio.current_time() - start, UTC), usegmt=True
                ),
                "x-ratelimit-limit": "2",
                "x-ratelimit-remaining": "0",
                "x-ratelimit-reset": str((1_700_000_040 + (window + 1) * 60) * 1000),
            }
            return Status(429, headers=told)
        seen[window] += 1
        return Reply(BeforeHead(Pause(1)), "ok")

    server = WireServer(answer)
    start = anyio.current_time()
    async with adapter(server) as claude:
        budget = Budget(on_exhausted="wait", follow_rate_limits=True)
        await fan_out(lutum.Lutum(claude, budget=budget, retry=lutum.RetryPolicy(jitter=0)), 9)
    assert list(seen.values()) == [2, 2, 2, 2, 1]
    assert refused == {0: 1}


@VIRTUAL
async def test_rates_hold_in_every_block() -> None:
    """Blocks draw on the rates of the ledger around them; a guaranteed one too, though nothing else, and
    setting its amount aside is no request."""
    times = list[float]()
    llm = lutum.Lutum(
        FakeAdapter([STARTED, done(Usage(10, 0))]),
        budget=Budget(tokens=10_000, tokens_per_minute=60, on_exhausted="wait"),
    )
    start = anyio.current_time()
    async with llm.within(tokens=1000) as plain, llm.within(tokens=1000, guaranteed=True) as paid:
        assert anyio.current_time() == start
        for n in range(10):
            await (plain, paid)[n % 2].text_turn("hello").reserve(Estimate(10)).collect()
            times.append(anyio.current_time() - start)
    assert times == pytest.approx([0, 0, 0, 0, 0, 0, 10, 20, 30, 40])


@VIRTUAL
async def test_who_leaves_the_head_of_the_line() -> None:
    """The next one wakes when it would have, and a grant that was not used costs no request."""
    budget = Budget(requests_per_minute=1, on_exhausted="wait")
    start = anyio.current_time()
    granted = list[float]()

    async def one(seconds: float) -> None:
        with anyio.move_on_after(seconds):
            lease = await budget.reserve(Estimate(1))
            granted.append(anyio.current_time() - start)
            lease.settle(Usage(1))

    async with anyio.create_task_group() as group:
        for seconds in (1, 30, 60, 1000, 1000):
            group.start_soon(one, seconds)
            await anyio.wait_all_tasks_blocked()
    assert granted in (pytest.approx([0, 60, 120], abs=1), pytest.approx([0, 60, 120, 180], abs=1))


@VIRTUAL
async def test_debt_is_paid_by_those_who_come_later() -> None:
    """Growth and bills draw on the rates without asking; the next turn waits until that is made good."""
    budget = Budget(tokens_per_minute=60, on_exhausted="wait")
    start = anyio.current_time()
    lease = await budget.reserve(Estimate(10))
    assert lease.grow(Usage(70))
    lease.settle(Usage(90))
    (await budget.reserve(Estimate(30))).settle(Usage())
    assert anyio.current_time() - start == pytest.approx(60)


@VIRTUAL
async def test_rates_that_refuse() -> None:
    """With "refuse" nobody waits, and the refusal says when; larger than a minute's worth never fits."""
    budget = Budget(tokens_per_minute=60, requests_per_minute=10)
    (await budget.reserve(Estimate(60))).settle(Usage(60))
    with pytest.raises(lutum.BudgetExceeded, match=r"in 30\.0 s"):
        await budget.reserve(Estimate(30))
    waiting = Budget(tokens_per_minute=60, on_exhausted="wait")
    for each in (budget, waiting):
        with pytest.raises(lutum.BudgetExceeded, match="in a minute"):
            await each.reserve(Estimate(61))


def test_a_request_that_was_not_sent_gives_back_itself_alone() -> None:
    """Its release returns one place; the places of sent requests stay taken."""
    rates, amount = RateLimits(None, 2, follow=False), Amount(1)
    rates.send(amount, 0.0)
    rates.release(rates.send(amount, 0.0), amount, 0.0)
    rates.send(amount, 0.0)
    assert not rates.ready(amount, 0.0)


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("tokens_per_minute", {"tokens_per_minute": 0}),
        ("requests_per_minute", {"requests_per_minute": -1}),
        ("follow_rate_limits", {"follow_rate_limits": True}),
    ],
)
def test_no_rate(field: str, options: dict[str, Any]) -> None:
    """A rate that is none is named; to follow means to wait."""
    with pytest.raises(lutum.BadValue) as info:
        Budget(**options)
    assert info.value.field == field


@given(
    st.integers(1, 1000),
    st.lists(st.tuples(st.floats(0, 200), st.integers(0, 1000), st.integers(0, 1500)), max_size=30),
)
def test_the_law_of_a_bucket(limit: int, program: list[tuple[float, int, int]]) -> None:
    """Whatever is drawn when it is due, and whatever is billed for it: never more than a minute's worth is
    drawn at once, and over any stretch of time no more than that and what time has refilled."""
    pace = RateLimits(limit, None, follow=False)
    now, level, at = 0.0, float(limit), 0.0
    for pause, amount, billed in program:
        amount = min(amount, limit)
        now += pause
        due = pace.due(Reserved(amount), now)
        level, at = min(limit, level + (now - at) * limit / 60), now
        needed = max(0.0, amount - level) * 60 / limit
        assert due == pytest.approx(now + needed, abs=1e-6)
        now = due
        level, at = min(limit, level + (now - at) * limit / 60), now
        number = pace.send(Reserved(amount), now)
        pace.settle(number, Reserved(billed - amount), now)
        level = min(limit, level - amount)
        level = min(limit, level - (billed - amount))


class Reserved:
    """An amount of input."""

    def __init__(self, input: int) -> None:
        self.input = input
        self.output = 0


HEADERS: list[tuple[str, dict[str, str], list[RateLimit]]] = [
    (
        "claude",
        {
            "anthropic-ratelimit-requests-limit": "4000",
            "anthropic-ratelimit-requests-remaining": "3999",
            "anthropic-ratelimit-requests-reset": "2026-01-30T07:57:26Z",
            "anthropic-ratelimit-tokens-limit": "4800000",
            "anthropic-ratelimit-tokens-remaining": "4799000",
            "anthropic-ratelimit-input-tokens-limit": "4000000",
            "anthropic-ratelimit-input-tokens-remaining": "4000000",
            "anthropic-ratelimit-output-tokens-limit": "800000",
            "anthropic-ratelimit-output-tokens-remaining": "0",
        },
        [
            RateLimit("requests", 4000, 3999),
            RateLimit("tokens", 4800000, 4799000),
            RateLimit("input", 4000000, 4000000),
            RateLimit("output", 800000, 0),
        ],
    ),
    (
        "openai",
        {
            "x-ratelimit-limit-requests": "30000",
            "x-ratelimit-remaining-requests": "29999",
            "x-ratelimit-reset-requests": "2ms",
            "x-ratelimit-limit-tokens": "150000000",
            "x-ratelimit-remaining-tokens": "149999217",
            "x-ratelimit-reset-tokens": "0s",
            "x-ratelimit-limit-input-images": "50000",
            "x-ratelimit-remaining-input-images": "49999",
        },
        [RateLimit("requests", 30000, 29999), RateLimit("tokens", 150000000, 149999217)],
    ),
    (
        "groq, requests by the day",
        {
            "x-ratelimit-limit-requests": "1000",
            "x-ratelimit-remaining-requests": "996",
            "x-ratelimit-reset-requests": "5m45.6s",
            "x-ratelimit-limit-tokens": "8000",
            "x-ratelimit-remaining-tokens": "5705",
            "x-ratelimit-reset-tokens": "17.212s",
        },
        [RateLimit("requests", 1000, 996, 86_400.0), RateLimit("tokens", 8000, 5705)],
    ),
    (
        "openrouter",
        {
            "date": "Fri, 08 Aug 2025 15:40:30 GMT",
            "x-ratelimit-limit": "20",
            "x-ratelimit-remaining": "3",
            "x-ratelimit-reset": "1754667660000",
        },
        [RateLimit("requests", 20, 3, full_in=30.0)],
    ),
    (
        "azure, whose resets have no unit",
        {
            "x-ratelimit-limit-tokens": "250000",
            "x-ratelimit-remaining-tokens": "249988",
            "x-ratelimit-reset-tokens": "500",
        },
        [RateLimit("tokens", 250000, 249988)],
    ),
    ("others", {"x-ratelimit-limit": "10", "x-ratelimit-remaining": "19", "x-ratelimit-reset": "2"}, []),
    ("nothing", {"request-id": "req_1"}, []),
    (
        "no figures",
        {
            "anthropic-ratelimit-requests-limit": "many",
            "anthropic-ratelimit-requests-remaining": "1",
            "anthropic-ratelimit-tokens-limit": "0",
            "anthropic-ratelimit-tokens-remaining": "0",
            "anthropic-ratelimit-input-tokens-limit": "10",
            "x-ratelimit-limit": "\u0662",
            "x-ratelimit-remaining": "2",
        },
        [],
    ),
]


def read(headers: dict[str, str], now: float) -> list[RateLimit]:
    """What the adapters read; no header means something to two of them."""
    return [*read_claude(headers), *x_rate_limits(headers, now)]


@pytest.mark.parametrize(
    ("headers", "expected"), [case[1:] for case in HEADERS], ids=[case[0] for case in HEADERS]
)
def test_headers(headers: dict[str, str], expected: list[RateLimit]) -> None:
    """What each provider says, in its own words; what cannot be read is passed over."""
    found = read(headers, 0.0)
    assert [(each.kind, each.limit, each.left, each.full_in) for each in found] == [
        (each.kind, each.limit, each.left, each.full_in) for each in expected
    ]
    assert [each.period for each in found] == pytest.approx([each.period for each in expected])


@given(st.dictionaries(st.sampled_from([name for case in HEADERS for name in case[1]]), st.text(max_size=20)))
def test_any_headers(headers: dict[str, str]) -> None:
    """Nothing that a server may send makes it fail, or gives a limit that is none."""
    for found in read(headers, 0.0):
        assert found.limit > 0
        assert found.left >= 0
        assert found.period >= 60


def test_a_window_that_owes_more_than_it_holds() -> None:
    """At the start of a window that an overdraft has used up, the next request is due at a later one."""
    window = _Window(10, 60)
    window.draw(25, 0.0)
    assert window.due(5, 30.0) == 120.0
    assert window.due(5, 60.0) == 120.0
    assert window.due(6, 60.0) == 180.0


@pytest.mark.corpus
def test_recorded_headers() -> None:
    """In what four providers did send there is a limit of every kind, and a day's only where it is one."""
    kinds = Counter[tuple[str, str, bool]]()
    for name in ("claude_messages", "openai_chat", "openai_responses"):
        for record in corpus.load(name, real=True):
            headers = {key.lower(): str(value) for key, value in (record["response_headers"] or {}).items()}
            for found in read(headers, 1754667630.0):  # half a minute before the one of OpenRouter
                kinds[record["host"], found.kind, found.period > 120] += 1
    assert kinds["api.anthropic.com", "input", False] > 300
    assert kinds["api.openai.com", "tokens", False] > 100
    assert kinds["api.groq.com", "requests", True] > 0
    assert kinds["openrouter.ai", "requests", False] > 0
    assert {host for host, _, daily in kinds if daily} <= {"api.groq.com", "api.openai.com"}
