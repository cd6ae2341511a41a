"""Probes: one line for changes and calls, one task that handles them, and every way to end."""

from collections.abc import Callable
from typing import Any

import anyio
import pytest
from fakes import STALLED, VIRTUAL, WHOLE, FakeAdapter

import lutum
from lutum import trace
from lutum.eval import (
    Complete,
    Eval,
    Probe,
    ProbeHandle,
    PureEval,
    Scored,
    maximize,
    record_probe,
    run_probe,
)
from lutum.testing import ScriptedAdapter


class Watcher(Probe[str, list[str]]):
    """Notes what it is told, and whether two things ever happened to it at once."""

    def __init__(self, on: Callable[[str], object] = lambda word: None) -> None:
        self.seen: list[str] = []
        self.on = on
        self.inside = False
        self.finalized = False

    async def on_trace_event(self, change: trace.Change) -> Complete[list[str]] | None:
        word = ""
        match change:
            case trace.SpanOpened(span=span):
                word = f"+{span.name}"
            case trace.SpanEnded(span=span):
                word = f"-{span.name}"
            case _:
                return None
        await self.note(word)
        said = self.on(word)
        return said if isinstance(said, Complete) else None

    async def note(self, word: str) -> int:
        assert not self.inside
        self.inside = True
        await anyio.lowlevel.checkpoint()
        self.inside = False
        self.seen.append(word)
        return len(self.seen)

    async def finalize(self, llm: lutum.Lutum, trace: trace.Trace, artifact: str) -> list[str]:
        self.finalized = True
        return [*self.seen, artifact]


def house(*plays: Any) -> lutum.Lutum:
    return lutum.Lutum(FakeAdapter(*(plays or (WHOLE,))))


async def hello(llm: lutum.Lutum) -> str:
    return (await llm.text_turn("hello").collect()).text


async def test_a_probe_sees_what_happens_and_then_reports() -> None:
    """Every change of the trace comes in order, then the artifact."""
    probe, llm = Watcher(), house()
    report = await run_probe(probe, lambda handle: hello(llm), llm=llm)
    assert report == ["+turn", "+attempt", "+request", "-request", "-attempt", "-turn", "hi"]
    assert probe.finalized


async def test_what_a_probe_does_is_not_in_its_trace() -> None:
    """A probe may run turns of its own when something happens, and does not hear of them."""

    class Asking(Watcher):
        async def on_trace_event(self, change: trace.Change) -> Complete[list[str]] | None:
            if isinstance(change, trace.SpanOpened):
                await hello(llm)
            return await super().on_trace_event(change)

    llm = house()
    report = await run_probe(Asking(), lambda handle: hello(llm), llm=llm)
    assert report.count("+turn") == 1


async def test_calls_and_changes_stand_in_one_line() -> None:
    """Calls from several tasks are handled one at a time, behind what was told before; values come back."""
    probe, llm = Watcher(), house()
    numbers, happened = list[int](), list[str]()

    async def task(handle: ProbeHandle) -> str:
        async def child() -> None:
            happened.extend(["+mine", "call"])
            with trace.span("mine"):
                numbers.append(await handle.dispatch(probe.note, "call"))
            happened.append("-mine")

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(child)
        await handle.dispatch(probe.note, "last")
        return await hello(llm)

    report = await run_probe(probe, task, llm=llm)
    assert len(set(numbers)) == 5
    assert report[:17] == [*happened, "last", "+turn"]


@lutum.tool
async def delete(name: str) -> str:
    """Delete a file."""
    return f"{name} is gone"


async def test_a_hook_asks_the_probe() -> None:
    """What a tool hook dispatches is decided with all that the probe has seen by then."""

    class Guard(Watcher):
        async def allows(self, call: lutum.ToolCall[Any]) -> bool:
            assert "-turn" in self.seen
            return "safe" in call.arguments

    probe = Guard()
    calls = [lutum.ToolCallReady(str(i), "delete", f'{{"name":"{n}"}}') for i, n in enumerate(["safe", "x"])]
    llm = lutum.Lutum(ScriptedAdapter([calls]))

    async def task(handle: ProbeHandle) -> str:
        async def ask(call: lutum.ToolCall[Any]) -> lutum.ToolResult | None:
            return None if await handle.dispatch(probe.allows, call) else call.reject("not that one")

        outcome = await llm.text_turn("clean up").tools(lutum.Toolset(delete)).collect()
        assert isinstance(outcome, lutum.NeedsTools)
        plan = await outcome.round.apply_hooks(lutum.ToolHooks().on(delete, ask))
        return " ".join(str(result.text) for result in [*await plan.run(), *plan.rejected])

    report = await run_probe(probe, task, llm=llm)
    assert report[-1] == "safe is gone rejected: not that one"
    assert "+tool" in report


async def test_an_error_of_a_call_is_the_callers() -> None:
    """It comes out of `dispatch` as it is; the probe goes on."""
    probe, llm = Watcher(), house()

    async def refuse() -> None:
        raise PermissionError("not that")

    async def task(handle: ProbeHandle) -> str:
        with pytest.raises(PermissionError, match="not that"):
            await handle.dispatch(refuse)
        return str(await handle.dispatch(probe.note, "still here"))

    assert await run_probe(probe, task, llm=llm) == ["still here", "1"]


async def test_complete_ends_the_watching_not_the_run() -> None:
    """After it nothing is told and `finalize` is not asked; calls are answered, the task runs on."""
    probe, llm = Watcher(lambda word: Complete(["enough"]) if word == "+turn" else None), house()
    finished = False

    async def task(handle: ProbeHandle) -> str:
        nonlocal finished
        await hello(llm)
        await handle.dispatch(probe.note, "call")
        finished = True
        return "x"

    assert await run_probe(probe, task, llm=llm) == ["enough"]
    assert (probe.seen, finished, probe.finalized) == (["+turn", "call"], True, False)


@VIRTUAL
async def test_complete_may_cancel_the_run() -> None:
    """With `cancel` the task ends at its next await: the turn is closed and settled, the report is there."""
    probe = Watcher(lambda word: Complete(["stop"], cancel=True) if word == "+request" else None)
    adapter = FakeAdapter(STALLED)
    llm = lutum.Lutum(adapter, budget=lutum.Budget(tokens=1_000))
    assert await run_probe(probe, lambda handle: hello(llm), llm=llm) == ["stop"]
    assert adapter.exchanges[0].closed is not None
    assert llm.budget.reserved.total_tokens == 0


async def test_an_error_while_watching_is_raised_at_the_end() -> None:
    """The task runs to its end, `finalize` is not asked, no further change is told."""

    def fail(word: str) -> None:
        raise LookupError(word)

    probe, llm, ends = Watcher(fail), house(), list[str]()

    async def task(handle: ProbeHandle) -> str:
        ends.append(await hello(llm))
        return ""

    with pytest.raises(LookupError, match=r"\+turn"):
        await run_probe(probe, task, llm=llm)
    assert (ends, probe.seen, probe.finalized) == (["hi"], ["+turn"], False)


async def test_errors_of_the_task_and_of_finalize_are_plain() -> None:
    """Neither comes out in a group."""
    llm = house((ValueError("broken adapter"),))
    with pytest.raises(ValueError, match="broken adapter"):
        await run_probe(Watcher(), lambda handle: hello(llm), llm=llm)

    @PureEval.of
    def wrong(trace: trace.Trace, artifact: str) -> int:
        raise KeyError(artifact)

    good = house()
    with pytest.raises(KeyError, match="hi"):
        await run_probe(Probe.of(wrong), lambda handle: hello(good), llm=good)


async def test_every_eval_is_a_probe() -> None:
    """It waits for the end; a pure one asks nobody."""
    llm = house()

    @Eval.of
    async def repeats(llm: lutum.Lutum, trace: trace.Trace, artifact: str) -> str:
        return artifact + await hello(llm)

    assert await run_probe(Probe.of(repeats), lambda handle: hello(llm), llm=llm) == "hihi"
    turns = PureEval[str, int].of(lambda trace, artifact: len(trace.find("turn")))
    assert await run_probe(Probe.of(turns), lambda handle: hello(llm), llm=llm) == 1


async def test_finalize_may_be_asked_of_an_old_trace() -> None:
    """No event is played again."""
    llm, probe = house(), Watcher()
    async with trace.capture() as old:
        await hello(llm)
    assert await probe.finalize(llm, old, "kept") == ["kept"]


async def test_probes_are_scored() -> None:
    """Reports of both kinds are; what the objective raises is kept in a record, with the trace."""
    llm = house()
    fewer = maximize(lambda report: len(report) / 7)
    scored = await run_probe(Watcher().scored_by(fewer), lambda handle: hello(llm), llm=llm)
    assert scored.score == 1
    early = Watcher(lambda word: Complete(["x"])).scored_by(fewer)
    assert await run_probe(early, lambda handle: hello(llm), llm=llm) == Scored(["x"], scored.score / 7)

    good = await record_probe(Watcher().scored_by(fewer), lambda handle: hello(llm), llm=llm, raw=True)
    assert good.passed()
    assert good.trace.raw
    bad = await record_probe(
        Watcher().scored_by(maximize(lambda report: 1 / 0)), lambda handle: hello(llm), llm=llm
    )
    assert isinstance(bad.error, ZeroDivisionError)
    assert bad.error.__notes__ == ["raised by the objective"]
    assert bad.trace.find("turn")
    assert bad.trace.raw == []


async def test_dispatch_says_when_it_cannot() -> None:
    """After the run there is nobody to ask; a probe that asks itself would wait for ever."""
    llm, probe, handles = house(), Watcher(), list[ProbeHandle]()

    async def task(handle: ProbeHandle) -> str:
        handles.append(handle)

        async def itself() -> None:
            await handle.dispatch(probe.note, "inner")

        with pytest.raises(lutum.UsageError, match="dispatches a call to itself"):
            await handle.dispatch(itself)
        return ""

    await run_probe(probe, task, llm=llm)
    with pytest.raises(lutum.UsageError, match="has ended"):
        await handles[0].dispatch(probe.note, "late")


@VIRTUAL
async def test_a_call_that_is_left_in_line_is_not_run() -> None:
    """Cancelled before its turn; one that was begun runs to its end, and the probe lives on."""
    probe, llm, entered = Watcher(), house(), anyio.Event()

    async def long() -> None:
        entered.set()
        await anyio.sleep(5)
        probe.seen.append("long")

    async def task(handle: ProbeHandle) -> str:
        async with anyio.create_task_group() as group:
            group.start_soon(handle.dispatch, long)
            await entered.wait()
            with anyio.move_on_after(1):
                await handle.dispatch(probe.note, "left")
            group.cancel_scope.cancel()
        return "end"

    assert await run_probe(probe, task, llm=llm) == ["long", "end"]


@VIRTUAL
async def test_a_cancel_from_outside_ends_everything() -> None:
    """The probe's task ends with the task that it watches; the turn is settled."""
    adapter = FakeAdapter(STALLED)
    llm = lutum.Lutum(adapter, budget=lutum.Budget(tokens=1_000))
    probe = Watcher()
    with anyio.move_on_after(3) as scope:
        await run_probe(probe, lambda handle: hello(llm), llm=llm)
    assert scope.cancelled_caught
    assert llm.budget.reserved.total_tokens == 0
    assert not probe.finalized
