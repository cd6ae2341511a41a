"""`collect` and `collect_with`: a handler beside the stream. The numbers COL-01 to COL-13 are the ancestor's
rows; what is decided differently says so."""

from typing import Any

import anyio
import pytest
from fakes import END, STALL, STARTED, VIRTUAL, WHOLE, FakeAdapter, House, Step, Text, done

import lutum
from lutum import STOP

Seen = list[tuple[lutum.Event, lutum.View]]


class Recording:
    """A handler that keeps what it was shown, and answers at one event."""

    def __init__(self, at: lutum.Event | None = None, answer: Any = None) -> None:
        self.seen: Seen = []
        self.at = at
        self.answer = answer

    async def __call__(self, event: lutum.Event, view: lutum.View) -> Any:
        self.seen.append((event, view))
        await anyio.lowlevel.checkpoint()
        if event == self.at:
            if isinstance(self.answer, BaseException):
                raise self.answer
            return self.answer
        return None


B = lutum.TextDelta("b")
COUNTED = lutum.Usage(10, 2, known="estimated")
STALLED: list[Step] = [STARTED, Text("a"), Text("b"), STALL]


async def test_collect() -> None:
    """The result of the turn, charged as the stream is; nothing is stored."""
    with House(FakeAdapter(WHOLE)) as house:
        session = lutum.Session(house.llm)
        session.push_user("hello")
        before = session.transcript
        result = await session.text_turn().collect()
        assert session.transcript is before
    assert result.text == "hi"
    assert result.usage == result.cumulative_usage == house.budget.spent == lutum.Usage(12, 5)
    assert [(a.number, a.usage, a.error) for a in result.attempts] == [(1, lutum.Usage(12, 5), None)]


async def test_the_handler_sees_each_event_after_it_was_applied() -> None:
    """COL-02, COL-03, COL-08: every event up to `Completed`, with the state that holds it already."""
    handler = Recording()
    with House(FakeAdapter([*WHOLE, Text("late")])) as house:
        result = await house.llm.text_turn("hello").collect_with(handler)
    assert [event for event, _ in handler.seen] == [STARTED, lutum.TextDelta("a"), B, done()]
    assert [view.partial.text for _, view in handler.seen] == ["", "a", "ab", "ab"]
    assert result.text == "hi"


async def test_the_view() -> None:
    """COL-04: the state, the usage, what the ledger has left at that moment, and the turn's options."""

    class Option(lutum.Settings, frozen=True):
        pass

    option = Option()
    handler = Recording()
    with House(FakeAdapter(WHOLE), budget=lutum.Budget(tokens=1000)) as house:
        await house.llm.text_turn("hello").ext(option).collect_with(handler)
    first, last = handler.seen[0][1], handler.seen[-1][1]
    assert first.ext == (option,)
    assert last.remaining.input_tokens == 1000 - 17
    assert last.usage == lutum.Usage(12, 5)


async def test_remaining_is_live() -> None:
    """COL-04: while the turn streams, its reservation is out of what is left."""
    handler = Recording(at=B, answer=STOP)
    with House(FakeAdapter(STALLED), budget=lutum.Budget(tokens=1000)) as house:
        with pytest.raises(lutum.Stopped):
            await house.llm.text_turn("hello").collect_with(handler)
    assert {view.remaining.input_tokens for _, view in handler.seen} == {1000 - 110}


async def test_stop() -> None:
    """COL-01, COL-02, COL-05: `Stopped` carries what had arrived, the event that made it included, and what
    was settled; the connection is closed."""
    handler = Recording(at=B, answer=STOP)
    with House(FakeAdapter(STALLED)) as house:
        with pytest.raises(lutum.Stopped) as info:
            await house.llm.text_turn("hello").collect_with(handler)
        house.over()
        error = info.value
        assert error.partial is not None
        assert error.partial.text == "ab"
        assert error.usage == house.budget.spent == COUNTED
        assert error.started
        assert error.response == STARTED.response


async def test_only_stop_stops() -> None:
    """Anything else a handler returns changes nothing."""
    for answer in (None, True, False, "stop", lutum.Stopped):
        with House(FakeAdapter(WHOLE)) as house:
            result = await house.llm.text_turn("hello").collect_with(Recording(B, answer))
        assert result.text == "hi"


async def test_stop_on_completed_is_ignored() -> None:
    """COL-07: the turn is whole and paid for, so it is returned."""
    with House(FakeAdapter(WHOLE)) as house:
        result = await house.llm.text_turn("hello").collect_with(Recording(done(), STOP))
    assert result.text == "hi"


@pytest.mark.parametrize("at", [STARTED, B, done()], ids=["head", "text", "completed"])
async def test_an_exception_of_the_handler(at: lutum.Event) -> None:
    """COL-01, COL-07, decided: it comes out as itself, not wrapped; the turn is charged what it had cost."""
    error = LookupError("mine")
    with House(FakeAdapter(WHOLE)) as house:
        with pytest.raises(LookupError) as info:
            await house.llm.text_turn("hello").collect_with(Recording(at, error))
        house.over()
    assert info.value is error
    assert house.budget.spent.total_tokens > 0


async def test_the_ledger_is_settled_before_the_handler_sees_completed() -> None:
    """COL-06: at `Completed` the provider's own usage is in the ledger, and nothing is reserved."""
    at_end = list[tuple[lutum.Usage, lutum.Usage, int]]()
    with House(FakeAdapter(WHOLE)) as house:

        async def handler(event: lutum.Event, view: lutum.View) -> None:
            if isinstance(event, lutum.Completed):
                at_end.append((view.usage, house.budget.spent, house.budget.reserved.total_tokens))

        await house.llm.text_turn("hello").collect_with(handler)
    assert at_end == [(lutum.Usage(12, 5), lutum.Usage(12, 5), 0)]


async def test_a_cut_stream() -> None:
    """COL-09: no terminal event is `Interrupted`, charged at what was counted."""
    handler = Recording()
    with House(FakeAdapter([STARTED, Text("a"), Text("b"), END])) as house:
        with pytest.raises(lutum.Interrupted) as info:
            await house.llm.text_turn("hello").collect_with(handler)
    assert len(handler.seen) == 3
    assert info.value.usage == house.budget.spent == COUNTED


async def test_usage_beyond_a_request_budget() -> None:
    """COL-12, decided: a final usage over the limit never takes the answer away; the overdraft is kept in
    the ledger that pays."""
    with House(FakeAdapter([STARTED, Text("a"), done(lutum.Usage(500, 5))])) as house:
        turn = house.llm.text_turn("hello").limit(lutum.RequestBudget(tokens=200))
        assert (await turn.collect_with(Recording())).usage == lutum.Usage(500, 5)
    assert house.budget.spent == lutum.Usage(500, 5)


async def test_a_call_in_a_turn_without_tools() -> None:
    """It ends as a ContractViolation; the handler saw the call, and saw no result of it."""
    call = lutum.ToolCallReady("1", "rm", "{}")
    handler = Recording()
    with House(FakeAdapter([STARTED, call, done()])) as house:
        with pytest.raises(lutum.ContractViolation, match="rm") as info:
            await house.llm.text_turn("hello").collect_with(handler)
    assert handler.seen[-1][0] == call
    assert info.value.partial is not None
    assert [item.name for item in info.value.partial.tool_calls] == ["rm"]


async def test_a_cancel_in_the_handler() -> None:
    """A scope round it, cancelled while the handler runs, ends the turn as one cancelled in a body does."""
    with House(FakeAdapter(STALLED)) as house:
        with anyio.CancelScope() as scope:

            async def handler(event: lutum.Event, view: lutum.View) -> None:
                if event == B:
                    scope.cancel()
                await anyio.lowlevel.checkpoint()

            await house.llm.text_turn("hello").collect_with(handler)
        assert scope.cancelled_caught
        house.over()
    assert house.budget.spent == COUNTED


@VIRTUAL
async def test_a_handler_that_takes_its_time() -> None:
    """A handler's own time is no timeout of the turn, and it loses no event by it."""
    seen = list[str]()

    async def handler(event: lutum.Event, view: lutum.View) -> None:
        await anyio.sleep(3600)
        seen.append(type(event).__name__)

    with House(FakeAdapter(WHOLE)) as house:
        await house.llm.text_turn("hello").collect_with(handler)
    assert seen == ["TurnStarted", "TextDelta", "TextDelta", "Completed"]
