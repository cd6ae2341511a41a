"""Retries: what is sent again, what each attempt is charged, and when nothing is. The real adapter against
the wire server in memory; time is virtual, on both backends."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream
from fakes import STARTED, VIRTUAL, FakeAdapter, Step, done
from hypothesis import given, strategies as st

import lutum
from lutum import Budget, RetryPolicy, Usage
from lutum.testing.wire import (
    At,
    BeforeHead,
    Cut,
    End,
    ErrorEvent,
    Garbage,
    Part,
    Refuse,
    Reply,
    Reset,
    Say,
    Script,
    Stall,
    Status,
    WireServer,
)
from lutum_claude import ClaudeAdapter

MODEL = "claude-sonnet-4-5"
LIMIT = 100_000
MAX = 64
POLICY = RetryPolicy(attempts=3, initial=1, multiplier=2, jitter=0)
WHOLE = Reply("one two three", usage={"input_tokens": 11, "output_tokens": 7})
BILLED = Usage(11, 7)
TIMEOUT = lutum.Timeouts(connect=10, first_event=20, idle=30)


class House:
    """The adapter over a server's face in memory, on a ledger."""

    def __init__(self, *scripts: Script, **options: Any) -> None:
        self.server = WireServer(scripts)
        self.refused = 0
        adapter = ClaudeAdapter(model=MODEL, api_key="k", base_url=self.server.url, http_client=self.connect)
        self.budget = options.pop("budget", None) or Budget(tokens=LIMIT)
        self.llm = lutum.Lutum(adapter, budget=self.budget, timeout=TIMEOUT, **options)
        self.turn = self.llm.text_turn("hello").max_output_tokens(MAX)
        self.events: list[lutum.Event] = []
        self.stream: lutum.Stream[lutum.TextResult] | None = None

    @property
    def sent(self) -> int:
        return len(self.server.requests) + self.refused

    async def connect(self, host: str, port: int) -> ByteStream:
        try:
            return await self.server.connect(host, port)
        except BaseException:  # refused, or given up
            self.refused += 1
            raise

    async def run(self, turn: lutum.TextTurn | None = None) -> lutum.TextResult:
        """Read one turn to its end, keeping its events; then everything is settled."""
        self.stream = (turn or self.turn).stream()
        try:
            async with self.stream as stream:
                async for event in stream:
                    self.events.append(event)
            return stream.result
        finally:
            self.over()

    def over(self) -> None:
        assert self.stream is not None
        assert self.budget.reserved.total_tokens == self.budget.statistics().open_leases == 0
        assert self.budget.spent == self.stream.usage

    async def input(self) -> int:
        """What a turn is estimated to read."""
        return (await self.turn.estimate()).input_tokens

    def text(self) -> str:
        """What a consumer that prints as it goes has printed."""
        return "".join(event.text for event in self.events if isinstance(event, lutum.TextDelta))

    def pauses(self) -> list[float]:
        return [event.after for event in self.events if isinstance(event, lutum.WillRetry)]


class Fault:
    """A fault, what it is, and what the attempt is charged: nothing, the input estimate, or what the
    provider reported by then (the wire server says input and one token of output in its first event)."""

    def __init__(
        self,
        name: str,
        script: Script,
        *,
        error: type[lutum.TurnError],
        kind: str | None = None,
        charge: str = "nothing",
        again: bool = True,
        at: float = 0.0,
    ) -> None:
        self.name = name
        self.script = script
        self.error = error
        self.kind = kind
        self.charge = charge
        self.again = again
        self.at = at

    def charged(self, input: int) -> Usage:
        match self.charge:
            case "nothing":
                return Usage()
            case "input":
                return Usage(input, known="estimated")
            case _:
                return Usage(11, 1, known="lower_bound")


def cut(*steps: Part) -> Reply:
    """An answer with a fault in it; what it reports is known."""
    return Reply(*steps, "one two three", usage={"input_tokens": 11, "output_tokens": 7})


PROVIDER, NETWORK = lutum.ProviderError, lutum.NetworkError
BEFORE = [
    Fault("overloaded status", Status(529), error=PROVIDER, kind="overloaded"),
    Fault("rate limit", Status(429), error=PROVIDER, kind="rate_limit"),
    Fault("server", Status(500), error=PROVIDER, kind="server"),
    Fault("gateway, no JSON", Status(502, body=b"<html>"), error=PROVIDER, kind="server"),
    Fault("refused", Refuse(), error=NETWORK),
    Fault("reset before the head", cut(BeforeHead(Reset())), error=NETWORK, charge="input"),
    Fault("EOF before the head", cut(BeforeHead(Cut())), error=NETWORK, charge="input"),
    Fault("garbage for a head", cut(BeforeHead(Garbage())), error=NETWORK, charge="input"),
    Fault(
        "overloaded event",
        cut(At(ErrorEvent("overloaded_error"), 0)),
        error=PROVIDER,
        kind="overloaded",
        charge="input",
    ),
    Fault(
        "overloaded event, usage reported",
        cut(At(ErrorEvent("overloaded_error"), 3)),
        error=PROVIDER,
        kind="overloaded",
        charge="reported",
    ),
    Fault("reset behind the head", cut(At(Reset(), 0)), error=lutum.Interrupted, charge="input"),
    Fault("EOF behind the head", cut(At(Cut(), 1)), error=lutum.Interrupted, charge="reported"),
    Fault("a clean end", cut(At(End(), 2)), error=lutum.Interrupted, charge="reported"),
    Fault(
        "malformed",
        cut(At(Garbage(b"event: message_start\ndata: {\n\n"), 0)),
        error=PROVIDER,
        kind="malformed",
        charge="input",
        again=False,
    ),
    Fault("bad request", Status(400), error=PROVIDER, kind="invalid_request", again=False),
    Fault("bad key", Status(401), error=PROVIDER, kind="authentication", again=False),
    Fault("no connection", Refuse(None), error=lutum.TurnTimeout, again=False, at=10),
    Fault(
        "stall before the head",
        cut(BeforeHead(Stall())),
        error=lutum.TurnTimeout,
        charge="input",
        again=False,
        at=20,
    ),
    Fault(
        "stall behind the head",
        cut(At(Stall(), 0)),
        error=lutum.TurnTimeout,
        charge="input",
        again=False,
        at=20,
    ),
    Fault(
        "stall before a token",
        cut(At(Stall(), 3)),
        error=lutum.TurnTimeout,
        charge="reported",
        again=False,
        at=30,
    ),
]
"""Faults before the first token. The stream is message_start, block start, ping, then the deltas."""

AFTER = [
    ("overloaded event", ErrorEvent("overloaded_error"), PROVIDER, "overloaded", 0.0),
    ("rate limit event", ErrorEvent("rate_limit_error"), PROVIDER, "rate_limit", 0.0),
    ("reset", Reset(), lutum.Interrupted, None, 0.0),
    ("EOF", Cut(), lutum.Interrupted, None, 0.0),
    ("a clean end", End(), lutum.Interrupted, None, 0.0),
    ("malformed", Garbage(b"event: content_block_delta\ndata: {\n\n"), PROVIDER, "malformed", 0.0),
    ("stall", Stall(), lutum.TurnTimeout, None, 30.0),
]


def names(cases: Sequence[Any]) -> list[str]:
    return [case.name if isinstance(case, Fault) else case[0] for case in cases]


def check_error(error: lutum.TurnError, fault: Fault) -> None:
    assert type(error) is fault.error
    if isinstance(error, lutum.ProviderError):
        assert error.kind == fault.kind


@VIRTUAL
@pytest.mark.parametrize("fault", BEFORE, ids=names(BEFORE))
async def test_before_the_first_token(fault: Fault) -> None:
    """What may succeed later is sent again, WillRetry first; nothing is said twice, and each attempt is
    charged what it cost. What may not is raised as it is."""
    house = House(fault.script, WHOLE, retry=POLICY)
    charged = fault.charged(await house.input())
    start = anyio.current_time()
    if not fault.again:
        with pytest.raises(fault.error) as info:
            await house.run()
        check_error(info.value, fault)
        assert not info.value.started
        assert anyio.current_time() - start == pytest.approx(fault.at)
        assert info.value.usage == house.budget.spent == charged
        assert (house.sent, house.pauses()) == (1, [])
        return
    result = await house.run()
    assert house.text() == result.text == "one two three"
    assert house.pauses() == [1.0]
    assert anyio.current_time() - start == pytest.approx(1)
    retry = next(event for event in house.events if isinstance(event, lutum.WillRetry))
    assert not any(isinstance(event, lutum.TextDelta) for event in house.events[: house.events.index(retry)])
    assert (retry.attempt, retry.usage, retry.cumulative_usage) == (2, charged, charged)
    first, second = result.attempts
    assert first.error is not None
    check_error(first.error, fault)
    assert (first.number, first.usage, second.number, second.usage) == (1, charged, 2, BILLED)
    assert second.error is None
    assert result.usage == BILLED
    assert result.cumulative_usage == charged + BILLED == house.budget.spent
    assert house.sent == 2


@VIRTUAL
@pytest.mark.parametrize("fault", [each for each in BEFORE if each.again], ids=lambda fault: fault.name)
async def test_attempts_are_as_many_as_the_policy_says(fault: Fault) -> None:
    """When all fail the last error is raised, not started, with every attempt charged."""
    house = House(*[fault.script] * 5, retry=POLICY)
    charged = fault.charged(await house.input())
    start = anyio.current_time()
    with pytest.raises(fault.error) as info:
        await house.run()
    assert house.sent == 3
    assert house.pauses() == [1.0, 2.0]
    assert anyio.current_time() - start == pytest.approx(3)
    check_error(info.value, fault)
    assert not info.value.started
    assert house.budget.spent == charged + charged + charged == info.value.usage


@VIRTUAL
@pytest.mark.parametrize("fault", [each for each in BEFORE if each.again], ids=lambda fault: fault.name)
async def test_nobody_is_retried_who_did_not_ask(fault: Fault) -> None:
    """Without a policy one turn is one request."""
    house = House(fault.script, WHOLE)
    with pytest.raises(fault.error):
        await house.run()
    assert (house.sent, house.pauses()) == (1, [])


@VIRTUAL
@pytest.mark.parametrize(("name", "step", "kind_of", "kind", "at"), AFTER, ids=names(AFTER))
async def test_after_the_first_token(name: str, step: Any, kind_of: Any, kind: str | None, at: float) -> None:
    """A failure is raised as what it is, started, with the partial and what was counted; nobody retries."""
    house = House(
        Reply(Say("one", " two", step), usage={"input_tokens": 11, "output_tokens": 7}), WHOLE, retry=POLICY
    )
    start = anyio.current_time()
    with pytest.raises(kind_of) as info:
        await house.run()
    error = info.value
    assert type(error) is kind_of
    assert getattr(error, "kind", None) == kind
    assert error.started
    assert error.partial is not None
    assert error.partial.text == house.text() == "one two"
    assert (house.sent, house.pauses()) == (1, [])
    assert anyio.current_time() - start == pytest.approx(at)
    # The input estimate is above the eleven reported, which come from the provider, so they are right.
    assert error.usage == house.budget.spent == Usage(11, 2, known="estimated")


@VIRTUAL
async def test_an_empty_first_delta_is_an_answer() -> None:
    """A call whose name was shown is not asked for again, though none of its arguments had come."""
    busy = lutum.ProviderError("busy", kind="overloaded")
    first: list[Step]
    for event in (
        lutum.ToolCallDelta("c1", "f", ""),
        lutum.TextDelta(""),
        lutum.ToolCallReady("c1", "f", "{}"),
    ):
        first = [STARTED, event, busy]
        adapter = FakeAdapter(first, [STARTED, done()])
        turn = lutum.Lutum(adapter, retry=POLICY).text_turn("hello")
        tools = lutum.Toolset(lutum.raw_tool("f", {"type": "object"}))
        with pytest.raises(lutum.ProviderError) as info:
            await turn.tools(tools).collect()
        assert info.value.started
        assert len(adapter.exchanges) == 1


# How long it waits.


@pytest.mark.parametrize(
    ("headers", "pause"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        (
            {"date": "Fri, 02 Jan 2026 10:00:00 GMT", "retry-after": "Fri, 02 Jan 2026 10:00:09 GMT"},
            9.0,
        ),
        (
            {"date": "Fri, 02 Jan 2026 10:00:09 GMT", "retry-after": "Fri, 02 Jan 2026 10:00:00 GMT"},
            0.0,
        ),
        ({"retry-after": "60"}, 60.0),
        ({"retry-after": "soon"}, 1.0),
        ({}, 1.0),
    ],
)
@VIRTUAL
@pytest.mark.parametrize("status", [429, 503, 529])
async def test_retry_retry_after(headers: dict[str, str], pause: float, status: int) -> None:
    """It counts in both its forms, a date from the server's own clock; what cannot be read does not."""
    house = House(Status(status, headers=headers), WHOLE, retry=POLICY)
    start = anyio.current_time()
    await house.run()
    assert house.pauses() == [pytest.approx(pause)]
    assert anyio.current_time() - start == pytest.approx(pause)


@VIRTUAL
async def test_retry_after_has_a_cap() -> None:
    """Asked to wait longer than the policy allows, it raises at once, and the error says how long."""
    for headers in ({"retry-after": "61"}, {"retry-after": "Fri, 01 Jan 2100 00:00:00 GMT"}):
        house = House(Status(429, headers=headers), WHOLE, retry=POLICY)
        start = anyio.current_time()
        with pytest.raises(lutum.ProviderError) as info:
            await house.run()
        assert info.value.retry_after is not None
        assert info.value.retry_after > 60
        assert anyio.current_time() == start
        assert house.sent == 1
    patient = RetryPolicy(max_retry_after=100)
    house = House(Status(429, headers={"retry-after": "61"}), WHOLE, retry=patient)
    await house.run()
    assert house.pauses() == [61.0]


@VIRTUAL
async def test_the_total_deadline_is_over_attempts_and_pauses() -> None:
    """`total` runs from the first attempt on, and ends a pause as it ends a read."""
    policy = RetryPolicy(attempts=10, initial=4, multiplier=1, jitter=0)
    slow = Reply(At(Stall(3), 0), At(ErrorEvent("overloaded_error"), 1))
    for total, sent in ((2, 1), (5, 1), (9, 2), (12, 2), (15, 3)):
        house = House(*[slow] * 10, retry=policy)
        start = anyio.current_time()
        with pytest.raises(lutum.TurnTimeout) as info:
            await house.run(house.turn.timeout(total=total))
        assert info.value.reason == "total"
        assert anyio.current_time() - start == pytest.approx(total)
        assert house.sent == sent


@VIRTUAL
async def test_each_attempt_has_its_own_first_event() -> None:
    """The other timeouts begin anew with every attempt."""
    late = Reply(At(Stall(19), 0), At(ErrorEvent("overloaded_error"), 0))
    house = House(late, late, Reply(At(Stall(19), 0), "whole"), retry=POLICY)
    start = anyio.current_time()
    assert (await house.run()).text == "whole"
    assert anyio.current_time() - start == pytest.approx(3 * 19 + 3)


@VIRTUAL
async def test_a_cancel_in_the_pause() -> None:
    """Cancelled while it waits to try again, a turn has cost what its attempts did."""
    house = House(cut(At(Cut(), 1)), WHOLE, retry=POLICY)
    with anyio.move_on_after(0.5):
        await house.run()
    assert house.sent == 1
    assert house.budget.spent == Usage(11, 1, known="lower_bound")
    assert house.budget.statistics().open_leases == 0


# What it reserves.


@VIRTUAL
async def test_the_lease_is_topped_up() -> None:
    """While an attempt runs its lease holds a whole reservation on top of what the earlier ones cost."""
    held = list[int]()

    def watch(script: Script) -> Script:
        def answer(request: Any) -> Any:
            held.append(house.budget.reserved.total_tokens)
            return script

        return answer

    house = House(watch(cut(At(Cut(), 1))), watch(cut(BeforeHead(Cut()))), watch(WHOLE), retry=POLICY)
    full = (await house.turn.estimate()).total_tokens
    await house.run()
    assert held == [full, full + 12, full + 12 + await house.input()]


@VIRTUAL
@pytest.mark.parametrize("what", ["tokens", "cost"])
async def test_no_money_for_another_attempt(what: str) -> None:
    """The first error is raised, with a note that says why nothing was sent again; the pause is not slept
    and not announced."""
    pricing = lutum.Pricing({MODEL: lutum.Price(input=1, output=1)})
    probe = House(WHOLE)
    full = (await probe.turn.estimate()).total_tokens
    limit = full + 11
    budget = Budget(tokens=limit) if what == "tokens" else Budget(cost_usd=Decimal(limit) / 10**6)
    house = House(cut(At(Cut(), 1)), WHOLE, retry=POLICY, budget=budget, pricing=pricing)
    start = anyio.current_time()
    with pytest.raises(lutum.Interrupted) as info:
        await house.run()
    assert ["not sent again" in note for note in info.value.own_notes] == [True]
    assert anyio.current_time() == start
    assert (house.sent, house.pauses()) == (1, [])
    assert house.budget.spent.total_tokens == 12


@VIRTUAL
async def test_attempts_that_cost_nothing_need_no_top_up() -> None:
    """A refused attempt gives its reservation to the next: exactly one is enough."""
    full = (await House(WHOLE).turn.estimate()).total_tokens
    house = House(Status(529), Refuse(), WHOLE, retry=POLICY, budget=Budget(tokens=full))
    assert (await house.run()).cumulative_usage == BILLED


# The policy as a value.


@given(
    st.builds(
        RetryPolicy,
        attempts=st.integers(1, 8),
        initial=st.floats(0, 100),
        multiplier=st.floats(1, 10),
        max_delay=st.floats(0, 100),
        jitter=st.floats(0, 1),
        max_retry_after=st.floats(0, 100),
        chance=st.sampled_from([lambda: 0.0, lambda: 0.5, lambda: 1 - 2**-53]),
    ),
    st.integers(1, 9),
    st.one_of(st.none(), st.floats(0, 200)),
)
def test_the_law_of_delays(policy: RetryPolicy, attempt: int, asked: float | None) -> None:
    """Never beyond the attempts, never beyond the caps, and what the provider asks goes before."""
    error = lutum.ProviderError("busy", kind="overloaded", retry_after=asked)
    delay = policy.delay(attempt, error)
    if attempt >= policy.attempts:
        assert delay is None
    elif asked is not None:
        assert delay == (asked if asked <= policy.max_retry_after else None)
    else:
        assert delay is not None
        assert 0 <= delay <= policy.max_delay * (1 + policy.jitter)
        plain = min(policy.max_delay, policy.initial * policy.multiplier ** (attempt - 1))
        assert math.isclose(delay, plain, rel_tol=policy.jitter + 1e-9, abs_tol=1e-9) or policy.jitter


@pytest.mark.parametrize(
    ("field", "make"),
    [
        ("retry.attempts", lambda: RetryPolicy(attempts=0)),
        ("retry.initial", lambda: RetryPolicy(initial=-1)),
        ("retry.multiplier", lambda: RetryPolicy(multiplier=0.5)),
        ("retry.max_delay", lambda: RetryPolicy(max_delay=float("nan"))),
        ("retry.jitter", lambda: RetryPolicy(jitter=-0.1)),
        ("retry.max_retry_after", lambda: RetryPolicy(max_retry_after=-1)),
    ],
)
def test_no_policy(field: str, make: Callable[[], RetryPolicy]) -> None:
    """A value that cannot be is named."""
    with pytest.raises(lutum.BadValue) as info:
        make()
    assert info.value.field == field


@VIRTUAL
async def test_turn_over_session_over_lutum() -> None:
    """A turn's policy replaces the session's, which replaces Lutum's; None is one attempt."""
    house = House(*[Status(529)] * 20, retry=RetryPolicy(attempts=4, initial=0))
    session = lutum.Session(house.llm)
    session.push_user("hello")
    session.defaults = lutum.Settings(retry=RetryPolicy(attempts=3, initial=0))

    async def sent(turn: lutum.TextTurn) -> int:
        before = house.sent
        with pytest.raises(lutum.ProviderError):
            await turn.collect()
        return house.sent - before

    assert await sent(house.turn) == 4
    assert await sent(session.text_turn()) == 3
    assert await sent(session.text_turn().retry(RetryPolicy(attempts=2, initial=0))) == 2
    assert await sent(session.text_turn().retry(None)) == 1
