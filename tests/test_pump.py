"""Between socket and consumer: what is within reach when, who waits for whom, and what a turn is charged."""

import itertools
import logging
from decimal import Decimal
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from fakes import (
    END,
    PING,
    SENT,
    STALL,
    STALLED,
    STARTED,
    VIRTUAL,
    WHOLE,
    FakeAdapter,
    Gate,
    House,
    OpenStep,
    Step,
    Text,
    Wait,
    done,
)
from hypothesis import given, strategies as st

import lutum
from lutum._turn.channel import FULL
from lutum._turn.usage_counter import UsageCounter
from lutum.testing import cancel_at

Stream = lutum.Stream[lutum.TextResult]
ESTIMATED = lutum.Usage(10, 0, known="estimated")


async def read(turn: Stream) -> list[lutum.Event]:
    """Every event there is."""
    return [event async for event in turn]


@VIRTUAL
async def test_a_burst_and_then_a_stall() -> None:
    """Every event of a burst of one-event pieces is seen before the stall behind it is over."""
    start = anyio.current_time()
    burst = [Text(str(n)) for n in range(1000)]
    with House(FakeAdapter([STARTED, *burst, Wait(500), Text("!"), done()])) as house:
        async with house.stream() as turn:
            seen = list[str]()
            async for text in turn.text():
                at = anyio.current_time() - start
                assert at == (pytest.approx(500) if text == "!" else 0)
                seen.append(text)
    assert seen == [*map(str, range(1000)), "!"]


@pytest.mark.parametrize("checkpoints", [False, True])
async def test_order_and_shape_are_kept(checkpoints: bool) -> None:
    """One provider delta is one event, in order, however pieces and bags fall."""
    events: list[lutum.Event] = [
        STARTED,
        lutum.ReasoningDelta("think"),
        lutum.TextDelta("a"),
        lutum.TextDelta(""),
        lutum.TextDelta("a"),
        lutum.RefusalDelta("no"),
        lutum.StructuredDelta("{"),
        lutum.ToolCallDelta("1", "f", "{}"),
        lutum.ProviderEvent("x.y", b'{"a": 1e2}'),
        lutum.UsageUpdate(lutum.Usage(1, 2, cost_usd=Decimal("0.1"))),
        done(),
    ]
    play: list[Step] = [events[0], PING, [*events[1:4]], PING, PING, *events[4:9], [*events[9:]]]
    with House(FakeAdapter(play, checkpoints=checkpoints)) as house:
        async with house.stream() as turn:
            assert await read(turn) == events


async def test_one_batch_holds_a_whole_burst() -> None:
    """What arrives without a suspension is handed over at once: the channel is crossed once, not a
    thousand times."""
    with House(FakeAdapter([STARTED, *(Text("x") for _ in range(1000)), done()])) as house:
        async with house.stream() as turn:
            assert turn._channel is not None
            taken, receive = 0, turn._channel.receive

            class Counting:
                def __getattr__(self, name: str) -> Any:
                    return getattr(channel, name)

                async def receive(self) -> list[bytes]:
                    nonlocal taken
                    taken += 1
                    return await receive()

            channel = turn._channel
            turn._channel = Counting()
            assert len(await read(turn)) == 1002
            turn._channel = channel
    assert taken == 1  # the end is known with `Completed`


async def test_backpressure() -> None:
    """With 256 KiB untaken the pump asks for nothing more, and goes on when the consumer takes them."""
    size = 1024
    play = [STARTED, *(Text("x" * size) for _ in range(2000)), done()]
    with House(FakeAdapter(play)) as house:
        async with house.stream() as turn:
            await anyio.wait_all_tasks_blocked()
            exchange = house.adapter.exchanges[0]
            asked = exchange.asked
            assert FULL // (size + 32) < asked <= FULL // size + 2
            for _ in range(10):
                await checkpoint()
            assert exchange.asked == asked
            await anext(turn)
            await anyio.wait_all_tasks_blocked()
            assert 2 * asked - 2 <= exchange.asked <= 2 * asked + 2
            assert len(await read(turn)) == 2001
    assert turn.result.text == "hi"


async def test_leaving_a_pump_that_waits_for_the_consumer() -> None:
    """The block ends although the pump stands at a full channel."""
    with House(FakeAdapter([STARTED, Text("x" * 2 * FULL), Text("y"), STALL])) as house:
        async with house.stream() as turn:
            await anyio.wait_all_tasks_blocked()
            assert house.adapter.exchanges[0].asked == 2
    assert turn.usage.output_tokens == 1


@VIRTUAL
async def test_a_consumer_that_pauses_an_hour() -> None:
    """It loses nothing and times out nowhere: not before, not within and not behind a full channel."""
    big = Text("x" * (FULL // 2))
    play = [STARTED, big, big, big, Wait(100), big, big, Wait(100), done()]
    with House(FakeAdapter(play)) as house:
        async with house.stream() as turn:
            count = 0
            async for _ in turn:
                count += 1
                await anyio.sleep(3600)
    assert count == 7
    assert turn.result.usage == lutum.Usage(12, 5)


async def test_a_cancelled_wait_loses_no_event() -> None:
    """Waiting for an event may be given up and taken up again, with events coming at any moment."""
    texts = [f"{n} " for n in range(200)]
    with House(FakeAdapter([STARTED, *map(Text, texts), done()], checkpoints=True)) as house:
        async with house.stream() as turn:
            seen = list[str]()
            cancelled = 0

            async def some() -> None:
                async for text in turn.text():
                    seen.append(text)
                    await checkpoint()

            for k in itertools.count():
                requested, _ = await cancel_at(some(), 1 + k % 7)
                if not requested:
                    break
                cancelled += 1
                assert k < 1000
    assert "".join(seen) == "".join(texts)
    assert cancelled > 10


async def test_not_polled_past_the_end() -> None:
    """Nothing is asked of the provider behind its terminal event."""
    with House(FakeAdapter([*WHOLE, Text("late"), STALL])) as house:
        async with house.stream() as turn:
            assert len(await read(turn)) == 4
            assert house.adapter.exchanges[0].asked == 4


async def test_a_fault_behind_the_end_is_no_fault() -> None:
    """A whole turn stays whole, whether rubbish came in the same piece or would have come in the next."""

    class Rubbish(FakeAdapter):
        def exchange(self, prepared: Any) -> Any:
            exchange = super().exchange(prepared)
            receive = exchange.receive

            async def faulty(out: list[lutum.Event]) -> bool:
                more = await receive(out)
                if isinstance(out[-1], lutum.Completed):
                    raise lutum.ProviderError("not the protocol", kind="malformed")
                return more

            exchange.receive = faulty
            return exchange

    with House(Rubbish(WHOLE)) as house:
        result = await house.llm.text_turn("hello").collect()
    assert result.usage == lutum.Usage(12, 5)


@pytest.mark.parametrize("cut", [1, 2, 3])
@pytest.mark.parametrize("end", [END, lutum.Interrupted("reset")], ids=["eof", "reset"])
async def test_a_cut_stream_is_never_a_completed_turn(cut: int, end: Step) -> None:
    """Cut anywhere before the provider's terminal event it raises, with what was seen and what it cost."""
    with House(FakeAdapter([*WHOLE[:cut], end])) as house:
        with pytest.raises(lutum.Interrupted) as info:
            async with house.stream() as turn:
                await read(turn)
        with pytest.raises(lutum.Interrupted):
            _ = turn.result
    error = info.value
    assert error.partial is not None
    assert error.partial.text == "ab"[: cut - 1]
    assert error.usage == house.budget.spent == lutum.Usage(10, cut - 1, known="estimated")
    assert error.started == (cut > 1)
    assert error.response == STARTED.response


async def test_an_empty_response() -> None:
    """A response of no event at all is a cut stream too, and its input is charged."""
    with House(FakeAdapter([END])) as house:
        with pytest.raises(lutum.Interrupted) as info:
            await house.llm.text_turn("hello").collect()
    assert info.value.usage == ESTIMATED
    assert not info.value.started


async def test_events_before_a_fault_are_seen() -> None:
    """What a piece brought before its fault is delivered, then the fault is raised."""
    error = lutum.ProviderError("overloaded", kind="overloaded")

    class Faulty(FakeAdapter):
        def exchange(self, prepared: Any) -> Any:
            exchange = super().exchange(prepared)

            async def faulty(out: list[lutum.Event]) -> bool:
                out += [STARTED, lutum.TextDelta("a")]
                raise error

            exchange.receive = faulty
            return exchange

    seen = list[lutum.Event]()
    with House(Faulty([])) as house:
        with pytest.raises(lutum.ProviderError) as info:
            async with house.stream() as turn:
                async for event in turn:
                    seen.append(event)
    assert info.value is error
    assert seen == [STARTED, lutum.TextDelta("a")]
    assert error.started


# How a stream may be read.


async def test_a_second_task_that_reads() -> None:
    """One consumer: `async for` in another task is a UsageError, also while events are held."""
    for play in (WHOLE, [STARTED, Text("a"), Text("b"), STALL]):
        with House(FakeAdapter(play)) as house:
            async with anyio.create_task_group() as group:

                async def intrude(turn: Stream) -> None:
                    for reader in (turn, turn.text()):
                        with pytest.raises(lutum.UsageError, match="one consumer") as info:
                            async for _ in reader:
                                pass
                        assert "nothing was" not in lutum.explain(info.value)

                async with house.stream() as turn:
                    first = await anext(turn)
                    group.start_soon(intrude, turn)
                    await anyio.wait_all_tasks_blocked()
                    assert (await anext(turn), first) == (lutum.TextDelta("a"), STARTED)


async def test_a_second_task_while_the_first_waits() -> None:
    """The intruder gets the UsageError, the consumer gets its events."""
    gate = anyio.Event()
    with House(FakeAdapter([STARTED, Gate(gate), Text("a"), done()])) as house:
        async with anyio.create_task_group() as group:

            async def intrude(turn: Stream) -> None:
                await anyio.wait_all_tasks_blocked()
                with pytest.raises(lutum.UsageError):
                    await anext(turn)
                gate.set()

            async with house.stream() as turn:
                group.start_soon(intrude, turn)
                assert len(await read(turn)) == 3


async def test_a_consumer_may_be_a_child_task() -> None:
    """The task that reads need not be the one that entered."""
    with House(FakeAdapter(WHOLE)) as house:
        async with house.stream() as turn, anyio.create_task_group() as group:
            group.start_soon(read, turn)
    assert turn.result.text == "hi"


async def test_leaving_the_loop_and_going_on() -> None:
    """Another `async for` goes on where the first stopped, and yields nothing after the end."""
    with House(FakeAdapter(WHOLE)) as house:
        async with house.stream() as turn:
            async for event in turn:
                if event == lutum.TextDelta("a"):
                    break
            assert await read(turn) == [lutum.TextDelta("b"), done()]
            assert await read(turn) == []
            assert [text async for text in turn.text()] == []


async def test_text_shares_the_position() -> None:
    """`.text()` and the handle walk the same stream."""
    with House(FakeAdapter(WHOLE)) as house:
        async with house.stream() as turn:
            assert await anext(turn.text()) == "a"
            assert await anext(turn) == lutum.TextDelta("b")
            assert [text async for text in turn.text()] == []
    assert turn.result.text == "hi"


async def test_after_the_block() -> None:
    """Result, partial and usage stay readable; iterating does not, whatever was held."""
    for leave_at in range(5):
        with House(FakeAdapter(WHOLE)) as house:
            async with house.stream() as turn:
                for _ in range(leave_at):
                    if isinstance(await anext(turn), lutum.Completed):
                        break
        assert turn.partial.text == "ab"[: max(0, min(leave_at - 1, 2))]
        assert turn.usage == house.budget.spent
        for reader in (turn, turn.text()):
            with pytest.raises(lutum.UsageError):
                async for _ in reader:
                    raise AssertionError
        if leave_at == 4:
            assert turn.result.text == "hi"
        else:
            with pytest.raises(lutum.TurnNotFinished):
                _ = turn.result


async def test_paid_for_and_not_finished() -> None:
    """A turn left one event before `Completed` has no result, though it is charged in full."""
    with House(FakeAdapter(WHOLE)) as house:
        async with house.stream() as turn:
            for _ in range(3):
                await anext(turn)
            with pytest.raises(lutum.TurnNotFinished):
                _ = turn.result
        with pytest.raises(lutum.TurnNotFinished):
            _ = turn.result
        assert turn.usage == house.budget.spent == lutum.Usage(12, 5)


async def test_before_the_block() -> None:
    """An object that was not entered yields nothing and knows nothing."""
    turn = House(FakeAdapter(WHOLE)).stream()
    with pytest.raises(lutum.UsageError):
        await anext(turn)
    with pytest.raises(lutum.TurnNotFinished):
        _ = turn.result
    assert turn.usage == lutum.Usage()
    assert turn.partial == lutum.PartialResult()


async def test_entering_twice() -> None:
    """One object is one turn: inside its block and after it, entering again is a UsageError."""
    with House(FakeAdapter(WHOLE)) as house:
        async with house.stream() as turn:
            with pytest.raises(lutum.UsageError):
                await turn.__aenter__()
            await read(turn)
        with pytest.raises(lutum.UsageError):
            async with turn:
                raise AssertionError
        assert turn.result.text == "hi"
    assert len(house.adapter.exchanges) == 1


async def test_one_builder_streams_many_times() -> None:
    """`.stream()` of one value is a new turn each time, one after the other and at once."""
    with House(FakeAdapter(WHOLE)) as house:
        builder = house.llm.text_turn("hello")
        for _ in range(2):
            async with builder.stream() as turn:
                await read(turn)
        async with builder.stream() as one, builder.stream() as two:
            assert await anext(one) == await anext(two) == STARTED
            await read(two)
            await read(one)
        assert one.result == two.result
        assert one.result.base is two.result.base
    assert len(house.adapter.exchanges) == 4
    assert house.budget.spent == lutum.Usage(48, 20)


async def test_usage_while_it_streams() -> None:
    """`.usage` is what is known so far, with a label that says how."""
    gates = [anyio.Event() for _ in range(3)]
    report = lutum.Usage(50, 20)
    play: list[Step] = [STARTED, Text("a"), Text("b"), Gate(gates[0]), lutum.UsageUpdate(report)]
    play += [Gate(gates[1]), lutum.UsageUpdate(report, final=True), Gate(gates[2]), done(report)]
    with House(FakeAdapter(play)) as house:
        async with house.stream() as turn:
            known = list[lutum.Usage]()
            for gate in gates:
                await anyio.wait_all_tasks_blocked()
                known.append(turn.usage)
                gate.set()
            await read(turn)
    assert known == [
        lutum.Usage(10, 2, known="estimated"),
        lutum.Usage(50, 20, known="lower_bound"),
        lutum.Usage(50, 20, known="exact"),
    ]
    assert turn.usage == report


# What a turn is charged (promises 3 and 4).

BAD_STATUS = lutum.ProviderError("overloaded", kind="overloaded", status=529)
NETWORK = lutum.NetworkError("reset")

OPENINGS: list[tuple[str, list[OpenStep], lutum.Usage]] = [
    ("refused with a status", [*SENT, BAD_STATUS], lutum.Usage()),
    ("no connection", ["connecting", NETWORK], lutum.Usage()),
    ("failed while it was written", ["connecting", "connected", NETWORK], lutum.Usage()),
    ("written, and no answer", [*SENT, NETWORK], ESTIMATED),
    ("a client that tells no phases", [NETWORK], ESTIMATED),
    ("a status, from a client that tells no phases", [BAD_STATUS], lutum.Usage()),
    ("your client is closed", [lutum.UsageError("closed")], lutum.Usage()),
]


@pytest.mark.parametrize(("opening", "charge"), [o[1:] for o in OPENINGS], ids=[o[0] for o in OPENINGS])
async def test_the_charge_of_a_request_that_got_no_answer(
    opening: list[OpenStep], charge: lutum.Usage
) -> None:
    """Nothing, exactly, where the provider refused or never had the request; else the estimated input."""
    error = opening[-1]
    assert isinstance(error, Exception)
    with House(FakeAdapter(WHOLE, opening=opening)) as house:
        with pytest.raises(type(error)) as info:
            async with house.stream() as turn:
                await read(turn)
        assert info.value is error
        assert turn.usage == house.budget.spent == charge


EARLY = lutum.UsageUpdate(lutum.Usage(40, 1))
FINAL = lutum.UsageUpdate(lutum.Usage(40, 7), final=True)

A = Text("a")


def estimated(tokens_in: int, tokens_out: int) -> lutum.Usage:
    return lutum.Usage(tokens_in, tokens_out, known="estimated")


def at_least(tokens_in: int, tokens_out: int) -> lutum.Usage:
    return lutum.Usage(tokens_in, tokens_out, known="lower_bound")


CHARGES: list[tuple[str, list[Step], bool, lutum.Usage]] = [
    ("completed", [*WHOLE], False, lutum.Usage(12, 5)),
    ("nothing but the head", [STARTED], False, ESTIMATED),
    ("counted", [STARTED, A, A], False, estimated(10, 2)),
    ("empty deltas are no token", [STARTED, Text(""), A], False, estimated(10, 1)),
    ("reported", [STARTED, EARLY, A], False, at_least(40, 1)),
    ("reported, and more counted", [STARTED, EARLY, A, A], False, estimated(40, 2)),
    ("final, and then cut", [STARTED, EARLY, A, FINAL], False, lutum.Usage(40, 7)),
    ("final is less than counted", [STARTED, *(A for _ in range(9)), FINAL], False, lutum.Usage(40, 7)),
    ("hidden reasoning, counted", [STARTED, A], True, at_least(10, 1)),
    ("hidden reasoning, reported", [STARTED, EARLY, A, A], True, at_least(40, 2)),
    ("hidden reasoning, final", [STARTED, FINAL], True, lutum.Usage(40, 7)),
    ("input unreported", [STARTED, lutum.UsageUpdate(lutum.Usage(0, 3))], False, estimated(10, 3)),
]  # fmt: skip


@pytest.mark.parametrize("ending", ["eof", "reset", "error event", "bug", "left"])
@pytest.mark.parametrize(("play", "hidden", "charge"), [c[1:] for c in CHARGES], ids=[c[0] for c in CHARGES])
async def test_the_charge_of_a_turn(play: list[Step], hidden: bool, charge: lutum.Usage, ending: str) -> None:
    """The provider's final word if it came, else the larger of report and count, labelled; the same for
    every way the turn may end there."""
    endings: dict[str, Step] = {
        "eof": END,
        "reset": lutum.Interrupted("reset"),
        "error event": lutum.ProviderError("overloaded", kind="overloaded"),
        "bug": ZeroDivisionError(),
        "left": STALL,
    }
    with House(FakeAdapter([*play, endings[ending]], hidden=hidden)) as house:
        turn = house.stream()
        try:
            async with turn:
                if ending == "left":
                    await anyio.wait_all_tasks_blocked()
                else:
                    await read(turn)
        except (lutum.TurnError, ZeroDivisionError):
            pass
        assert turn.usage == house.budget.spent == charge


CONTENT = st.sampled_from(
    [
        lutum.TextDelta("a"),
        lutum.ReasoningDelta("a"),
        lutum.RefusalDelta("a"),
        lutum.StructuredDelta("1"),
        lutum.ToolCallDelta("1", "f", "{"),
        lutum.TextDelta(""),
        lutum.ProviderEvent("ping", b"{}"),
        STARTED,
    ]
)
REPORTS = st.builds(
    lutum.UsageUpdate,
    st.builds(lutum.Usage, st.integers(0, 50), st.integers(0, 50)),
    st.booleans(),
)


@given(st.lists(st.one_of(CONTENT, REPORTS)), st.integers(0, 50), st.booleans())
def test_what_was_seen_is_never_charged_as_zero(
    events: list[lutum.Event], estimated: int, hidden: bool
) -> None:
    """Whatever the provider reported on the way: content is never free, and `exact` is its own last word."""
    counter = UsageCounter(lutum.Estimate(estimated, 100), hidden=hidden)
    counter.answered = True
    counter.see(events)
    reports = [event for event in events if isinstance(event, lutum.UsageUpdate)]
    deltas = (
        lutum.TextDelta
        | lutum.ReasoningDelta
        | lutum.RefusalDelta
        | lutum.StructuredDelta
        | lutum.ToolCallDelta
    )
    content = sum(isinstance(event, deltas) and event != lutum.TextDelta("") for event in events)
    charge = counter.settlement(lutum.Interrupted("cut"))
    if reports and reports[-1].final:
        assert charge == reports[-1].usage == counter.so_far()
        return
    assert charge.known != "exact"
    assert charge.output_tokens >= content
    if reports:
        assert charge.output_tokens >= reports[-1].usage.output_tokens
    else:
        assert charge.input_tokens == estimated
    assert (charge.known == "lower_bound") or not hidden
    held = counter.so_far()
    assert held.input_tokens >= charge.input_tokens
    assert held.output_tokens >= charge.output_tokens


async def test_a_turn_without_tools_that_calls_one() -> None:
    """A call nobody offered ends the turn as a ContractViolation, in its piece or before it, and leaves no
    result behind."""
    call = lutum.ToolCallReady("1", "rm", "{}")
    plays: list[list[Step]] = [[STARTED, call, STALL], [STARTED, [call, done()]], [STARTED, A, call, done()]]
    for play in plays:
        with House(FakeAdapter(play)) as house:
            with pytest.raises(lutum.ContractViolation, match="rm") as info:
                async with house.stream() as turn:
                    await read(turn)
            with pytest.raises(lutum.ContractViolation):
                _ = turn.result
            assert info.value.usage == house.budget.spent
            assert house.budget.spent.input_tokens


async def test_a_ledger_that_fails_to_settle() -> None:
    """The answer is not lost: the error is noted on the attempt, and the next reservation raises it once."""

    class Lease:
        def grow(self, usage: Any) -> bool:
            return True

        def settle(self, usage: Any) -> None:
            raise ZeroDivisionError

    class Ledger:
        asked = 0

        async def reserve(self, estimate: lutum.Estimate) -> Lease:
            self.asked += 1
            return Lease()

    ledger, adapter = Ledger(), FakeAdapter(WHOLE)
    turn = lutum.Lutum(adapter, budget=ledger).text_turn("hello")
    result = await turn.collect()
    assert result.text == "hi"
    assert result.attempts[-1].notes == ("the ledger could not settle it: ZeroDivisionError()",)
    assert adapter.exchanges[0].closed is not None
    # Another Lutum on the same ledger meets it too.
    other = lutum.Lutum(FakeAdapter(WHOLE), budget=ledger)
    with pytest.raises(ZeroDivisionError) as info:
        await other.text_turn("hello").collect()
    assert "nothing was sent" in info.value.__notes__[0]
    assert (ledger.asked, len(adapter.exchanges)) == (1, 1)
    assert other.budget.reserved.total_tokens == 0
    assert (await turn.collect()).text == "hi"


@pytest.mark.parametrize(
    ("play", "said"),
    [(WHOLE, "completed"), (STALLED, "left"), ([STARTED, END], "Interrupted")],
    ids=["completed", "left", "failed"],
)
async def test_one_line_is_logged(play: list[Step], said: str, caplog: pytest.LogCaptureFixture) -> None:
    """Each turn logs how it ended, what it cost and whom to ask, once and without its text."""
    caplog.set_level(logging.INFO, "lutum")
    with House(FakeAdapter(play)) as house:
        try:
            async with house.stream() as turn:
                async for event in turn:
                    if event == lutum.TextDelta("b") and said == "left":
                        break
        except lutum.Interrupted:
            pass
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"fake fake-1: {said}, status 200, request req-1, ")


async def test_an_estimate_that_was_reported_stays_one() -> None:
    """A decoder that has to count, for a server that says nothing, is not taken for the server's word."""
    counted = lutum.Usage(11, 6, known="estimated")
    with House(FakeAdapter((STARTED, Text("hi"), lutum.UsageUpdate(counted), STALL))) as house:
        async with house.stream() as turn:
            async for event in turn:
                if isinstance(event, lutum.UsageUpdate):
                    break
        assert house.budget.spent == counted
