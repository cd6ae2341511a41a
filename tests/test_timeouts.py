"""`total`, `first_event`, `idle` and `connect`: each due at its instant, bounding the pump and not your code.
Time is virtual, on both backends."""

from collections.abc import Sequence
from typing import Any, Literal

import anyio
import pytest
from fakes import (
    PING,
    SENT,
    STALL,
    STALLED,
    STARTED,
    VIRTUAL,
    WHOLE,
    FakeAdapter,
    House,
    OpenStep,
    Step,
    Text,
    Wait,
    done,
)

import lutum
from lutum._turn.channel import FULL

pytestmark = VIRTUAL

Reason = Literal["total", "first_event", "idle", "connect"]
EACH = lutum.Timeouts(total=100, first_event=20, idle=30, connect=10)

# Under EACH: what the provider does, which timeout is due, and when.
CASES: list[tuple[str, list[OpenStep], list[Step], Reason, float]] = [
    ("no connection", ["connecting", STALL], [], "connect", 10),
    ("no phase at all", [STALL], [], "first_event", 20),
    ("connected late, and silent", ["connecting", Wait(9), "connected", STALL], [], "first_event", 29),
    ("written, no head", [*SENT, STALL], [], "first_event", 20),
    ("a slow head is on the same clock", [*SENT, Wait(15)], [STALL], "first_event", 20),
    ("head, no event", list(SENT), [STALL], "first_event", 20),
    ("pings are no first event", list(SENT), [Wait(9), PING, Wait(9), PING, STALL], "first_event", 20),
    ("silent after an event", list(SENT), [STARTED, STALL], "idle", 30),
    ("silent later on", list(SENT), [STARTED, Wait(29), Text("a"), Wait(29), Text("b"), STALL], "idle", 88),
    ("pings are no progress", list(SENT), [STARTED, Wait(29), PING, PING, STALL], "idle", 30),
    ("a drip", list(SENT), [STARTED, *[Wait(29), Text("x")] * 9], "total", 100),
    ("total before idle", list(SENT), [STARTED, *[Wait(28), Text("x")] * 9], "total", 100),
]  # fmt: skip


async def end(turn: lutum.Stream[Any]) -> lutum.TurnTimeout:
    """Read until the timeout."""
    with pytest.raises(lutum.TurnTimeout) as info:
        async for _ in turn:
            pass
    return info.value


@pytest.mark.parametrize(
    ("opening", "play", "reason", "at"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
async def test_each_at_its_instant(
    opening: list[OpenStep], play: list[Step], reason: Reason, at: float
) -> None:
    """The error says which, is a TimeoutError, and comes when it is due; the connection is closed then."""
    start = anyio.current_time()
    with House(FakeAdapter(play, opening=opening), timeout=EACH) as house:
        with pytest.raises(lutum.TurnTimeout) as info:
            async with house.stream() as turn:
                async for _ in turn:
                    pass
        assert anyio.current_time() - start == pytest.approx(at)
        assert info.value.reason == reason
        assert isinstance(info.value, TimeoutError)
        assert info.value.seconds == getattr(EACH, reason)
        assert info.value.usage == turn.usage == house.budget.spent
        closed = house.adapter.exchanges[0].closed
        assert closed is not None
        assert closed - start == pytest.approx(at)
        with pytest.raises(lutum.TurnTimeout):
            _ = turn.result


async def test_a_slow_turn_is_whole() -> None:
    """A turn that takes every limit to just below its instant completes."""
    opening: list[OpenStep] = ["connecting", Wait(9.9), "connected", "sent", Wait(10)]
    play: list[Step] = [Wait(9.9), STARTED, Wait(29.9), Text("a"), Wait(29.9), done()]
    with House(FakeAdapter(play, opening=opening), timeout=EACH) as house:
        result = await house.llm.text_turn("hello").collect()
    assert result.usage == lutum.Usage(12, 5)


@pytest.mark.parametrize(
    ("opening", "play", "reason", "at"),
    [
        (["connecting", STALL], [], "connect", 10),
        ([*SENT, STALL], [], "first_event", 600),
        (SENT, [STARTED, STALL], "idle", 600),
    ],
)
async def test_the_defaults(opening: list[OpenStep], play: list[Step], reason: Reason, at: float) -> None:
    """Connect 10 s, first event 600 s, idle 600 s."""
    start = anyio.current_time()
    with House(FakeAdapter(play, opening=opening)) as house:
        async with house.stream() as turn:
            assert (await end(turn)).reason == reason
        assert anyio.current_time() - start == pytest.approx(at)


async def test_no_total_by_default() -> None:
    """A turn that keeps coming may take a day."""
    play: list[Step] = [STARTED, *[Wait(599), Text("x")] * 150, done()]
    start = anyio.current_time()
    with House(FakeAdapter(play)) as house:
        await house.llm.text_turn("hello").collect()
    assert anyio.current_time() - start == pytest.approx(150 * 599)


async def test_turn_over_session_over_lutum_field_by_field() -> None:
    """What the turn says counts, then what the session says, then Lutum; what nobody said is the default."""
    seen = list[lutum.Timeouts]()

    class Looking(FakeAdapter):
        def prepare(self, request: Any) -> Any:
            seen.append(request.settings.timeout)
            return super().prepare(request)

    llm = lutum.Lutum(Looking(WHOLE), timeout=lutum.Timeouts(total=1, first_event=1, idle=1))
    session = lutum.Session(llm)
    session.push_user("hello")
    session.defaults = lutum.Settings(timeout=lutum.Timeouts(first_event=2, idle=2))
    builder = session.text_turn().timeout(idle=3)
    await builder.collect()
    await builder.timeout(total=None).collect()
    await builder.timeout(idle=4).timeout(connect=5).collect()
    await llm.text_turn("hello").collect()
    assert seen == [
        lutum.Timeouts(total=1, first_event=2, idle=3, connect=10),
        lutum.Timeouts(total=None, first_event=2, idle=3, connect=10),
        lutum.Timeouts(total=1, first_event=2, idle=4, connect=5),
        lutum.Timeouts(total=1, first_event=1, idle=1, connect=10),
    ]


@pytest.mark.parametrize("name", ["total", "first_event", "idle", "connect"])
async def test_none_means_none(name: Reason) -> None:
    """A None takes away what would be inherited."""
    slow: dict[Reason, tuple[Sequence[OpenStep], Sequence[Step]]] = {
        "connect": (["connecting", Wait(5000), "connected", "sent"], WHOLE),
        "first_event": ([*SENT, Wait(5000)], [Wait(5000), *WHOLE]),
        "idle": (SENT, [STARTED, Wait(5000), Text("a"), Wait(5000), done()]),
        "total": (SENT, [STARTED, Wait(500), Text("a"), Wait(500), done()]),
    }
    opening, play = slow[name]
    timeout = lutum.Timeouts(total=700) if name == "total" else lutum.Timeouts()
    with House(FakeAdapter(play, opening=opening), timeout=timeout) as house:
        builder = house.llm.text_turn("hello")
        with pytest.raises(lutum.TurnTimeout) as info:
            await builder.collect()
        assert info.value.reason == name
        if name == "connect":  # without it the wait for a connection is still one for a first event
            builder = builder.timeout(first_event=None)
        await builder.timeout(**{name: None}).collect()


@pytest.mark.parametrize("value", [0, -1, float("nan")])
async def test_a_timeout_that_is_none_at_all(value: float) -> None:
    """Zero, less, or no number: a BadValue that names the field."""
    with pytest.raises(lutum.BadValue) as info:
        lutum.Timeouts(idle=value)
    assert info.value.field == "timeout.idle"


async def test_delivered_events_come_first() -> None:
    """What had arrived stays readable: the consumer sees it all, then the timeout, with the partial."""
    seen = list[lutum.Event]()
    with House(FakeAdapter(STALLED), timeout=lutum.Timeouts(total=5)) as house:
        async with house.stream() as turn:
            await anyio.sleep(3600)
            with pytest.raises(lutum.TurnTimeout) as info:
                async for event in turn:
                    seen.append(event)
    assert seen == [STARTED, lutum.TextDelta("a"), lutum.TextDelta("b")]
    assert info.value.partial is not None
    assert info.value.partial.text == "ab"
    assert info.value.started
    assert info.value.response == STARTED.response
    assert info.value.usage == lutum.Usage(10, 2, known="estimated")


async def test_it_is_due_while_the_body_is_busy() -> None:
    """The connection is closed and the lease settled at the deadline, whatever the body does."""
    start = anyio.current_time()
    with House(FakeAdapter(STALLED), timeout=lutum.Timeouts(total=5)) as house:
        async with house.stream() as turn:
            await anyio.sleep(3600)
            closed = house.adapter.exchanges[0].closed
            assert closed is not None
            assert closed - start == pytest.approx(5)
            assert turn.usage == house.budget.spent == lutum.Usage(10, 2, known="estimated")
            assert house.budget.reserved.total_tokens == 0


async def test_a_body_that_never_looks() -> None:
    """A turn that timed out behind the back of a body that reads no more is left quietly."""
    with House(FakeAdapter(STALLED), timeout=lutum.Timeouts(total=5)) as house:
        async with house.stream():
            await anyio.sleep(3600)


async def test_a_whole_turn_does_not_time_out() -> None:
    """Once the provider's end has come no deadline runs, however late the consumer reads it."""
    with House(FakeAdapter(WHOLE), timeout=EACH) as house:
        async with house.stream() as turn:
            await anyio.sleep(3600)
            async for _ in turn:
                await anyio.sleep(3600)
    assert turn.result.text == "hi"


@pytest.mark.parametrize("reason", ["total", "first_event", "idle"])
@pytest.mark.parametrize("soft", [False, True])
async def test_an_outer_scope_due_at_the_same_time_wins(reason: Reason, soft: bool) -> None:
    """Both due at one instant: it is the outer scope's cancellation that comes out."""
    play: list[Step] = [STALL] if reason == "first_event" else [STARTED, STALL]
    timeout = lutum.Timeouts(**{reason: 5})
    with House(FakeAdapter(play), timeout=timeout) as house:
        if soft:
            with anyio.move_on_after(5) as scope:
                await house.llm.text_turn("hello").collect()
                raise AssertionError
            assert scope.cancelled_caught
        else:
            with pytest.raises(TimeoutError) as info, anyio.fail_after(5):
                await house.llm.text_turn("hello").collect()
            assert not isinstance(info.value, lutum.TurnTimeout)


async def test_an_outer_scope_due_later_does_not() -> None:
    """The turn's own timeout, due before the scope round it, is what comes out."""
    with House(FakeAdapter(STALLED), timeout=lutum.Timeouts(total=4.5)) as house:
        with pytest.raises(lutum.TurnTimeout), anyio.fail_after(5):
            await house.llm.text_turn("hello").collect()


FLOOD: list[Step] = [STARTED, Text("x" * 2 * FULL), Text("y"), done()]


async def test_idle_does_not_run_while_the_pump_waits_for_you() -> None:
    """A consumer that is slow with a full channel is not the provider's fault."""
    play: list[Step] = [STARTED, Text("x" * 2 * FULL), Wait(29), Text("y"), done()]
    with House(FakeAdapter(play), timeout=lutum.Timeouts(idle=30, first_event=1)) as house:
        async with house.stream() as turn:
            await anext(turn)
            await anyio.sleep(3600)
            async for _ in turn:
                await anyio.sleep(3600)
    assert turn.result.text == "hi"


async def test_idle_runs_again_once_you_have_taken() -> None:
    """When the pump turns back to the socket, the provider has the whole of `idle` to say something."""
    start = anyio.current_time()
    play: list[Step] = [STARTED, Text("x" * 2 * FULL), STALL]
    with House(FakeAdapter(play), timeout=lutum.Timeouts(idle=30)) as house:
        async with house.stream() as turn:
            await anyio.sleep(1000)
            assert (await end(turn)).reason == "idle"
    assert anyio.current_time() - start == pytest.approx(1030)


async def test_total_runs_while_the_pump_waits_for_you() -> None:
    """It is the bound of the whole turn, the time you keep it waiting included."""
    start = anyio.current_time()
    with House(FakeAdapter(FLOOD), timeout=lutum.Timeouts(total=50, idle=5)) as house:
        async with house.stream() as turn:
            await anyio.sleep(60)
            closed = house.adapter.exchanges[0].closed
            assert closed is not None
            assert closed - start == pytest.approx(50)
            error = await end(turn)
    assert (error.reason, error.seconds) == ("total", 50)
    assert error.partial is not None
    assert error.partial.text == "x" * 2 * FULL


async def test_the_wait_for_a_reservation_is_not_in_total() -> None:
    """`total` starts with the first attempt, not with the wait for the ledger."""
    start = anyio.current_time()

    class Lease:
        def grow(self, usage: Any) -> bool:
            return True

        def settle(self, usage: Any) -> None:
            pass

    class Slow:
        async def reserve(self, estimate: lutum.Estimate) -> Lease:
            await anyio.sleep(1000)
            return Lease()

    llm = lutum.Lutum(FakeAdapter(STALLED), budget=Slow(), timeout=lutum.Timeouts(total=5))
    with pytest.raises(lutum.TurnTimeout):
        await llm.text_turn("hello").collect()
    assert anyio.current_time() - start == pytest.approx(1005)


async def test_the_same_error_again() -> None:
    """Reading on after the timeout raises it again, and the body may catch it and go on."""
    with House(FakeAdapter(STALLED), timeout=lutum.Timeouts(total=5)) as house:
        async with house.stream() as turn:
            assert await end(turn) is await end(turn)
        assert turn.partial.text == "ab"


BUSY = lutum.ProviderError("busy", kind="overloaded", status=529)


def again(*plays: Sequence[Step], close: float = 0, **timeouts: float) -> House:
    """A turn that is sent again at once."""
    retry = lutum.RetryPolicy(initial=0, jitter=0)
    return House(FakeAdapter(*plays, close=close), retry=retry, timeout=lutum.Timeouts(**timeouts))


class Both(FakeAdapter):
    """Its first piece holds an event and the error."""

    def exchange(self, prepared: Any) -> Any:
        exchange = super().exchange(prepared)
        receive = exchange.receive

        async def with_error(out: list[lutum.Event]) -> bool:
            more = await receive(out)
            if len(self.exchanges) == 1:
                raise BUSY
            return more

        exchange.receive = with_error  # type: ignore[method-assign]  # of this one
        return exchange


async def test_a_retry_starts_its_timeouts_anew() -> None:
    """The first attempt ended behind an event. The second one has the whole `first_event` again."""
    adapter = Both([STARTED], [Wait(20), STARTED, done()])
    retry = lutum.RetryPolicy(initial=0, jitter=0)
    with House(adapter, retry=retry, timeout=lutum.Timeouts(first_event=60, idle=5)) as house:
        assert (await house.llm.text_turn("hello").collect()).text == "hi"
    adapter = Both([STARTED], [STALL])
    with House(adapter, retry=retry, timeout=lutum.Timeouts(first_event=60, idle=5)) as house:
        with pytest.raises(lutum.TurnTimeout) as info:
            await house.llm.text_turn("hello").collect()
        assert (info.value.reason, info.value.seconds) == ("first_event", 60)
        assert len(info.value.args) == 1


@pytest.mark.parametrize("close", [0.5, 1.9, 5.0])
@pytest.mark.parametrize("late", [0.0, 0.2, 1.0])
async def test_a_deadline_that_passes_while_the_failed_attempt_closes(close: float, late: float) -> None:
    """It belongs to the attempt that has ended: the retry is not lost."""
    house = again([Wait(3 - late), BUSY], [STARTED, done()], close=close, first_event=3)
    assert (await house.llm.text_turn("hello").collect()).text == "hi"
    assert len(house.adapter.exchanges) == 2


async def test_total_passes_while_the_failed_attempt_closes() -> None:
    """`total` bounds all attempts, and the message has its figure."""
    house = again([Wait(3), BUSY], [STARTED, done()], close=1, total=3.5)
    with pytest.raises(lutum.TurnTimeout, match=r"(?m)^total timeout: 3.5 s passed$"):
        await house.llm.text_turn("hello").collect()


@pytest.mark.parametrize(
    ("opening", "play", "timeouts", "ends"),
    [
        (SENT, [Wait(5), STARTED, done()], {"first_event": 5}, "hi"),
        (SENT, [STARTED, Wait(5), done()], {"idle": 5}, "hi"),
        (SENT, [STARTED, Wait(5), done()], {"total": 5}, "hi"),
        (["connecting", Wait(5), "connected"], [STARTED, done()], {"connect": 5}, "hi"),
        (["connecting", STALL], [], {"connect": 5, "total": 5}, "total"),
        (SENT, [STALL], {"first_event": 5, "total": 5}, "total"),
        (SENT, [STARTED, STALL], {"idle": 5, "total": 5}, "total"),
    ],
)
async def test_two_timers_at_one_instant(
    opening: Sequence[OpenStep], play: list[Step], timeouts: dict[str, float], ends: str
) -> None:
    """What arrives at the instant of a timeout comes first, and `total` comes before the other timeouts."""
    with House(FakeAdapter(play, opening=opening), timeout=lutum.Timeouts(**timeouts)) as house:
        try:
            said = (await house.llm.text_turn("hello").collect()).text
        except lutum.TurnTimeout as error:
            said = error.reason
        assert said == ends


class Refused(FakeAdapter):
    """The head of its first answer has an error status; the body never ends."""

    def exchange(self, prepared: Any) -> Any:
        exchange: Any = super().exchange(prepared)
        if len(self.exchanges) == 1:

            async def open(mark: Any) -> None:
                mark("connected")
                mark("sent")
                exchange.refusal = BUSY
                await anyio.sleep_forever()

            exchange.open = open
        return exchange


async def test_an_error_status_whose_body_stalls() -> None:
    """The head has come, so it is that status and not a timeout; it is retried, and it costs nothing."""
    retry = lutum.RetryPolicy(initial=0, jitter=0)
    with House(Refused(WHOLE), retry=retry, timeout=lutum.Timeouts(first_event=2)) as house:
        result = await house.llm.text_turn("hello").collect()
        assert [attempt.usage.total_tokens for attempt in result.attempts] == [0, 17]
    for timeouts in ({"first_event": 2.0}, {"total": 2.0}):
        with House(Refused(WHOLE), timeout=lutum.Timeouts(**timeouts)) as house:
            with pytest.raises(lutum.ProviderError, match="busy"):
                await house.llm.text_turn("hello").collect()
            assert house.budget.spent == lutum.Usage()


class NoKeyYet(FakeAdapter):
    """Its key is still being fetched."""

    unsent = True

    def exchange(self, prepared: Any) -> Any:
        exchange: Any = super().exchange(prepared)
        exchange.unsent = self.unsent
        return exchange


@pytest.mark.parametrize("opening", [[STALL], ["connecting", STALL]])
async def test_a_turn_that_ends_before_its_first_byte_costs_nothing(opening: list[OpenStep]) -> None:
    """Such as one that is cancelled while the function for its key runs. Afterwards, a client that tells no
    phases may have sent everything."""
    with House(NoKeyYet(WHOLE, opening=opening)) as house:
        with anyio.move_on_after(1):
            await house.llm.text_turn("hello").collect()
        assert house.budget.spent == lutum.Usage()
    if opening == [STALL]:
        adapter = NoKeyYet(WHOLE, opening=opening)
        adapter.unsent = False
        with House(adapter) as house:
            with anyio.move_on_after(1):
                await house.llm.text_turn("hello").collect()
            assert house.budget.spent == lutum.Usage(10, known="estimated")
