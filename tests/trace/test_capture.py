"""What a capture sees and what not: nurseries, nested and concurrent captures, queries, subscribers."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from fakes import STALLED, STARTED, VIRTUAL, WHOLE, FakeAdapter, House, Wait

import lutum
from lutum import trace
from lutum.testing import virtual_time

POLICY = lutum.RetryPolicy(attempts=3, initial=2, jitter=0)
BUSY = lutum.ProviderError("busy", kind="overloaded", status=529)


def tree(spans: list[trace.Span]) -> list[Any]:
    """Names and statuses, nested."""
    return [(span.name, span.status, tree(span.children)) for span in spans]


def turn(status: str = "ok", request: str | None = None, attempt: str | None = None) -> Any:
    """What a turn of one attempt looks like."""
    return (
        "turn",
        status,
        [("attempt", attempt or status, [("request", request or attempt or status, [])])],
    )


async def collect(house: House) -> lutum.TextResult:
    async with house.stream() as stream:
        async for _ in stream:
            pass
    return stream.result


@VIRTUAL
async def test_turns_interleave_in_one_task() -> None:
    """Spans that a turn's block opens are beside the turn, so that two turns may interleave in one task."""
    house = House(FakeAdapter(WHOLE, WHOLE, WHOLE))
    async with trace.capture() as t:
        async with house.stream() as first:
            with trace.span("mine"):
                async with house.stream() as second:
                    for _ in range(4):
                        await anext(first)
                        await anext(second)
                with trace.span("after"):
                    await collect(house)
    shape = [(span.name, [child.name for child in span.children]) for span in t.walk()]
    assert [entry for entry in shape if entry[0] not in ("attempt", "request")] == [
        ("turn", ["attempt"]),
        ("mine", ["turn", "after"]),
        ("turn", ["attempt"]),
        ("after", ["turn"]),
        ("turn", ["attempt"]),
    ]


@VIRTUAL
async def test_nurseries() -> None:
    """What a task opens is under the span that was open where the task was started."""
    house = House(FakeAdapter(WHOLE))

    async def branch(number: int) -> None:
        with trace.span("branch", number=number):
            async with anyio.create_task_group() as inner:
                inner.start_soon(collect, house)
                inner.start_soon(collect, house)

    async with trace.capture() as t:
        with trace.span("fan-out"):
            async with anyio.create_task_group() as group:
                for number in range(3):
                    group.start_soon(branch, number)
        await collect(house)
    fan, alone = t.roots
    assert alone.name == "turn"
    assert [span.name for span in fan.children] == ["branch"] * 3
    assert all(tree(span.children) == [turn(), turn()] for span in fan.children)


@VIRTUAL
async def test_a_failing_sibling_cancels() -> None:
    """A nursery whose child fails shows the failed turn and the cancelled ones."""
    house = House(FakeAdapter([STARTED, Wait(1), BUSY], STALLED, STALLED))
    async with trace.capture() as t:
        with pytest.raises(ExceptionGroup):
            async with anyio.create_task_group() as group:
                for _ in range(3):
                    group.start_soon(collect, house)
    assert sorted(span.status for span in t.roots) == ["cancelled", "cancelled", "error"]
    assert not t.open_reason


@VIRTUAL
async def test_concurrent_captures_do_not_mix() -> None:
    """Two captures in two tasks see their own turns only."""
    house = House(FakeAdapter((Wait(1), *WHOLE)))
    seen = dict[int, trace.Trace]()

    async def case(count: int) -> None:
        async with trace.capture() as t:
            for _ in range(count):
                await collect(house)
        seen[count] = t

    async with anyio.create_task_group() as group:
        for count in range(1, 5):
            group.start_soon(case, count)
    assert {count: len(list(t.roots)) for count, t in seen.items()} == {1: 1, 2: 2, 3: 3, 4: 4}


async def test_captures_nest() -> None:
    """What an inner capture sees, the outer one sees too, under its own span; not the other way round."""
    async with trace.capture() as outer:
        with trace.span("before"):
            pass
        with trace.span("case"):
            async with trace.capture() as inner:
                with trace.span("work"):
                    trace.event("half")
                trace.event("loose")
        async with trace.capture() as second:
            with trace.span("more"):
                pass
    assert [span.name for span in outer.walk()] == ["before", "case", "work", "more"]
    assert [span.name for span in inner.walk()] == ["work"]
    assert [span.name for span in second.walk()] == ["more"]
    assert outer.span("case").children == inner.roots
    assert [note.name for note in inner.events()] == ["loose", "half"]
    assert [note.name for note in outer.span("case").notes] == ["loose"]


async def test_outside_of_a_capture() -> None:
    """Without a capture, spans and events are nothing; after one, the context is as before."""
    with trace.span("nothing") as opened:
        trace.event("nothing")
    assert opened is None
    async with trace.capture() as t:
        pass
    with trace.span("nothing"):
        pass
    assert list(t.walk()) == []


async def test_a_span_and_its_exception() -> None:
    """A span of your own keeps the exception that left it, with its words; a group of one is that one."""
    async with trace.capture() as t:
        with pytest.raises(ValueError, match="no"), trace.span("a", number=1) as opened:
            assert opened is not None
            opened.set(late="yes", number=2)
            opened.event("half", of="it")
            raise ValueError("no")
        with pytest.raises(ExceptionGroup), trace.span("b"):
            raise ExceptionGroup("", [KeyError("x")])
        with anyio.CancelScope() as scope, trace.span("c"):
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    a, b, c = t.roots
    assert a.fields == {"number": 2, "late": "yes", "error": "ValueError", "message": "no"}
    assert (a.status, b.error, c.status) == ("error", "KeyError", "cancelled")
    assert [(note.name, note.fields) for note in t.events()] == [("half", {"of": "it"})]


async def test_what_runs_on_is_open() -> None:
    """A task started in a nursery outside of the capture outlives it: its span is open, with the reason."""
    gate = anyio.Event()

    async def late() -> None:
        with trace.span("late"):
            await gate.wait()
            with trace.span("too late"):
                trace.event("too late")

    async with anyio.create_task_group() as group:
        async with trace.capture() as t:
            group.start_soon(late)
            await anyio.wait_all_tasks_blocked()
            assert t.open_reason == "the trace is still being captured"
        assert t.span("late").status == "open"
        assert t.open_reason == "its task was still running when the capture ended"
        gate.set()
    assert t.open_reason == ""
    assert [span.name for span in t.walk()] == ["late"]
    assert t.events() == []


@VIRTUAL
async def test_queries() -> None:
    """`walk` is depth first; `find` gives all of a name, `span` the first, by their fields too."""
    async with trace.capture() as t:
        with trace.span("a"):
            with trace.span("x", number=1):
                pass
            with trace.span("a"):
                pass
        with trace.span("x", number=2):
            pass
    assert [span.name for span in t.walk()] == ["a", "x", "a", "x"]
    assert len(t.find("a")) == 2
    assert t.find("none") == []
    assert t.span("x", number=2) is t.roots[1]
    assert t.span("a").span("a") is t.find("a")[1]
    assert [span.name for span in t.span("a").walk()] == ["a", "x", "a"]
    assert len(t.span("a").find("a")) == 2
    with pytest.raises(LookupError, match="no span 'x', number=3"):
        t.span("x", number=3)
    assert t.ordered("a", "x")
    assert t.ordered()
    assert not t.ordered("x", "a")
    assert not t.ordered("a", "none")


@VIRTUAL
async def test_live() -> None:
    """A subscriber is told of every change as it happens, of inner ones too; one that raises is dropped."""
    changes = list[tuple[str, str]]()
    raised = list[object]()

    def note(change: trace.Change) -> None:
        where = change.note.name if isinstance(change, trace.Noted) else change.span.name
        changes.append((type(change).__name__, where))

    def bad(change: trace.Change) -> None:
        raised.append(change)
        raise ValueError

    async with trace.capture() as t:
        t.subscribe(bad)
        with t.subscribe(note):
            async with trace.capture():
                with trace.span("a") as a:
                    assert a is not None
                    a.set(x=1)
                    a.event("half")
            trace.event("loose")
        with trace.span("b"):
            pass
    assert changes == [
        ("SpanOpened", "a"),
        ("SpanRecorded", "a"),
        ("Noted", "half"),
        ("SpanEnded", "a"),
        ("Noted", "loose"),
    ]
    assert len(raised) == 1
    with pytest.raises(lutum.UsageError, match="the capture of this trace has ended"):
        t.subscribe(note)


async def test_entered_once() -> None:
    """A capture is used once."""
    once = trace.capture()
    async with once:
        pass
    with pytest.raises(lutum.UsageError, match="entered before"):
        await once.__aenter__()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_captures_survive_their_clock(backend: str) -> None:
    """Spans opened in a worker thread are seen, and timed by the same clock."""

    def work() -> None:
        with trace.span("thread"):
            pass

    async def main() -> trace.Trace:
        async with trace.capture() as t:
            await anyio.to_thread.run_sync(work)
        return t

    t = anyio.run(main, backend=backend)
    assert t.started <= t.span("thread").started <= t.span("thread").ended <= t.ended


def test_virtual_time_is_the_traces_time() -> None:
    """A trace is timed by the event loop's clock, so a test with virtual time has exact durations."""

    async def main() -> float | None:
        async with trace.capture() as t:
            with trace.span("nap"):
                await anyio.sleep(3600)
        return t.span("nap").duration

    for name in ("asyncio", "trio"):
        assert anyio.run(main, backend=name, backend_options=virtual_time(name)) == pytest.approx(3600)
