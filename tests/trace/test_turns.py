"""What a turn tells: its spans, its fields, how it ended; whatever became of it."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from fakes import SENT, STALLED, STARTED, VIRTUAL, WHOLE, FakeAdapter, House, Text, Wait, done

import lutum
from lutum import trace
from lutum.abc import Prepared
from lutum.testing import cancel_at

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
async def test_a_turn_in_trace_turns() -> None:
    """A turn is a span with one attempt, which is one request; each says what is known of it."""
    house = House(FakeAdapter((Wait(2), STARTED, Wait(1), Text("a"), Text("b"), done())))
    async with trace.capture() as t:
        await collect(house)
    assert tree(t.roots) == [turn()]
    fields = t.span("turn").fields
    expected = {
        "kind": "text_turn",
        "adapter": "fake",
        "model": "fake-1",
        "response_model": "fake-1",
        "finish_reason": "stop",
        "outcome": "completed",
        "request_id": "req-1",
        "estimate_input_tokens": 10,
        "estimate_output_tokens": 100,
        "input_tokens": 12,
        "output_tokens": 5,
        "usage_known": "exact",
        "status": 200,
        "events": 4,
    }
    assert {name: fields[name] for name in expected} == expected
    assert fields["first_event"] == pytest.approx(2)
    assert t.span("attempt").fields["number"] == 1
    request = t.span("request")
    assert [note.name for note in request.notes] == [*SENT, "head"]
    assert (request.fields["method"], request.fields["url"], request.fields["events"]) == ("POST", "fake:", 4)
    assert request.fields["curve"] == [pytest.approx([2, 0]), pytest.approx([3, 1]), pytest.approx([3, 2])]
    assert t.span("turn").duration == pytest.approx(3)


@VIRTUAL
async def test_retries() -> None:
    """Each attempt is a span of its own, with what it was charged; the pause between them is a wait."""
    house = House(FakeAdapter([BUSY], [STARTED, lutum.Interrupted("cut")], WHOLE), retry=POLICY)
    async with trace.capture() as t:
        await collect(house)
    failed = ("attempt", "error", [("request", "error", [])])
    pause = ("wait", "ok", [])
    assert tree(t.span("turn").children) == [
        failed,
        pause,
        failed,
        pause,
        ("attempt", "ok", [("request", "ok", [])]),
    ]
    assert t.span("turn").fields["retries"] == 2
    assert [span.fields["number"] for span in t.find("attempt")] == [1, 2, 3]
    assert [span.error for span in t.find("attempt")] == ["ProviderError", "Interrupted", None]
    assert t.find("attempt")[0].fields["error_kind"] == "overloaded"
    assert [span.duration for span in t.find("wait", reason="retry")] == [pytest.approx(2), pytest.approx(4)]
    assert [note.fields["attempt"] for note in t.events("retry")] == [2, 3]
    spent = sum(span.fields["input_tokens"] for span in t.find("attempt"))
    assert spent == t.span("turn").fields["input_tokens"]


@VIRTUAL
@pytest.mark.parametrize(
    ("plays", "outcome", "status", "request_status"),
    [
        ([STARTED, Text("a"), "end"], "Interrupted", "error", "error"),
        ([BUSY], "ProviderError", "error", "error"),
        ([STARTED, Text("a"), KeyError("of the adapter")], "KeyError", "error", "error"),
        (STALLED, "TurnTimeout", "error", "cancelled"),
    ],
)
async def test_trace_failures(plays: Any, outcome: str, status: str, request_status: str) -> None:
    """A turn that fails says by which error, at each level that it ended."""
    house = House(FakeAdapter(plays), timeout=lutum.Timeouts(idle=5))
    async with trace.capture() as t:
        with pytest.raises((lutum.TurnError, KeyError)):
            await collect(house)
    assert tree(t.roots) == [turn(status, request_status)]
    assert t.span("turn").error == outcome
    assert t.span("turn").fields["outcome"] == "failed"


@VIRTUAL
async def test_what_others_raise_is_not_quoted() -> None:
    """Of an exception that is not lutum's the core tells the class only; of its own the words too."""
    house = House(FakeAdapter([STARTED, KeyError("sk-in-a-message")], [BUSY]))
    async with trace.capture() as t:
        for _ in range(2):
            with pytest.raises((KeyError, lutum.TurnError)):
                await collect(house)
    foreign, own = t.roots
    assert all("message" not in span.fields for span in foreign.walk())
    assert b"sk-in" not in t.dump()
    assert own.fields["message"] == "busy"


@VIRTUAL
@pytest.mark.parametrize("how", ["left", "stopped", "cancelled", "raised"])
async def test_abandoned(how: str) -> None:
    """A turn that is left before its end is cancelled, and says whether you left, stopped or were stopped."""
    house = House(FakeAdapter(STALLED))
    async with trace.capture() as t:
        with anyio.CancelScope() as scope:
            try:
                async with house.stream() as stream:
                    async for event in stream:
                        if not isinstance(event, lutum.TextDelta):
                            continue
                        if how == "left":
                            break
                        if how == "stopped":
                            stream.cancel_scope.cancel()
                        if how == "cancelled":
                            scope.cancel()
                        if how == "raised":
                            raise ValueError
            except ValueError:
                pass
    [found] = t.roots
    assert found.fields["outcome"] == how
    assert found.status == ("error" if how == "raised" else "cancelled")
    assert found.error == ("ValueError" if how == "raised" else None)
    assert tree(found.children) == [("attempt", "cancelled", [("request", "cancelled", [])])]


@VIRTUAL
async def test_paid_and_not_read() -> None:
    """A turn that completed and whose consumer left before is completed, and unread."""
    house = House(FakeAdapter(WHOLE))
    async with trace.capture() as t:
        async with house.stream():
            await anyio.sleep(1)
    assert t.span("turn").fields["outcome"] == "completed"
    assert t.span("turn").fields["unread"] is True


@VIRTUAL
async def test_refused_before_anything_was_sent() -> None:
    """A turn that the budget refuses is a span without an attempt."""
    house = House(FakeAdapter(WHOLE), budget=lutum.Budget(tokens=1))
    async with trace.capture() as t:
        with pytest.raises(lutum.BudgetExceeded):
            await collect(house)
    assert tree(t.roots) == [("turn", "error", [])]
    assert t.span("turn").error == "BudgetExceeded"


@VIRTUAL
async def test_waiting_for_a_reservation() -> None:
    """A reservation that has to wait is a span; one that is granted at once is none."""
    house = House(FakeAdapter((Wait(3), *WHOLE)), budget=lutum.Budget(tokens=150, on_exhausted="wait"))
    async with trace.capture() as t, anyio.create_task_group() as group:
        group.start_soon(collect, house)
        group.start_soon(collect, house)
    assert len(t.find("turn")) == 2
    [wait] = t.find("wait")
    assert wait.fields == {"reason": "reservation"}
    assert wait.duration == pytest.approx(3)


@VIRTUAL
async def test_content_is_asked_for() -> None:
    """Prompts and answers are in a trace only if the capture asked for them."""
    house = House(FakeAdapter(WHOLE))
    async with trace.capture() as plain:
        await collect(house)
    async with trace.capture(content=True) as t:
        await collect(house)
    assert b"hello" not in plain.dump()
    fields = t.span("turn").fields
    assert fields["input"] == [{"role": "user", "parts": [{"type": "text", "content": "hello"}]}]
    answer = {"role": "assistant", "parts": [{"type": "text", "content": "hi"}], "finish_reason": "stop"}
    assert fields["output"] == [answer]


@VIRTUAL
async def test_the_forms_of_committed_turns() -> None:
    """How committed turns went out is told run by run; so are events of the provider's own."""
    own = lutum.ProviderEvent("input_transformations", b'{"dropped":1}')
    house = House(FakeAdapter((STARTED, own, lutum.ProviderEvent("ping", b"{}"), Text("a"), done())))
    async with trace.capture() as t:
        await collect(house)
    told = [note.fields for note in t.events("provider_event")]
    assert told == [
        {"provider_event": "input_transformations", "bytes": 13, "data": '{"dropped":1}'},
        {"provider_event": "ping", "bytes": 2},
    ]
    from lutum._telemetry.attributes import replay_runs
    from lutum.abc import ReplayForm

    forms = [ReplayForm(True), ReplayForm(True), ReplayForm(False, "made elsewhere"), ReplayForm(True)]
    assert replay_runs(forms) == [[2, "exact"], [1, "made elsewhere"], [1, "exact"]]


class Counting(FakeAdapter):
    """A provider that counts the tokens of a request."""

    async def count_input_tokens(self, prepared: Prepared) -> int:
        await anyio.sleep(1)
        return 7


class Bills:
    """Knows what every request cost."""

    async def recover_usage(self, response: lutum.Response) -> lutum.Usage:
        await anyio.sleep(1)
        return lutum.Usage(7, 3)


@VIRTUAL
async def test_every_other_request() -> None:
    """A request that counts tokens, and one that asks for a bill, are spans of the turn too."""
    llm = lutum.Lutum(Counting([STARTED, "end"]), estimate=lutum.exact_estimate, recovery=Bills())
    async with trace.capture() as t:
        with pytest.raises(lutum.Interrupted):
            await llm.text_turn("hello").collect()
    counted, sent, asked = t.span("turn").children
    assert (counted.fields, counted.duration) == ({"purpose": "estimate"}, 1)
    assert (asked.fields, asked.duration) == ({"purpose": "recovery"}, 1)
    assert (sent.fields["input_tokens"], sent.fields["usage_known"]) == (7, "recovered")
    assert t.span("turn").fields["usage_known"] == "recovered"


@VIRTUAL
async def test_a_cancel_at_every_await_in_trace() -> None:
    """Wherever a turn is cancelled, its spans are closed and the context is as it was."""
    k, requested = 0, True
    while requested:
        k += 1
        house = House(FakeAdapter([BUSY], (Wait(1), *WHOLE), checkpoints=True), retry=POLICY)
        async with trace.capture(raw=True, content=True) as t:
            with trace.span("outside"):
                requested, _ = await cancel_at(collect(house), k)
            with trace.span("behind"):
                pass
        house.over()
        assert not t.open_reason, k
        assert [span.name for span in t.roots] == ["outside", "behind"], k
        [found] = t.find("turn")
        # Cancelled as it leaves its block, a turn has completed before.
        assert found.status == ("ok" if found.fields.get("finish_reason") else "cancelled"), k
        assert requested or found.status == "ok"
        assert {span.name for span in found.walk()} <= {"turn", "attempt", "request", "wait"}
    assert k > 4
