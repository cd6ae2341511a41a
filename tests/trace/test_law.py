"""The law of traces: for any program of turns, spans, nurseries, deadlines, retries and inner captures, the
tree is the one that a model of the program computes, on both backends and under any scheduling.

Every turn takes whole seconds, and deadline number n a whole number and 2**-n more, so nothing ever happens
in the moment of the deadline around it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, Literal

import anyio
import pytest
from anyio.lowlevel import checkpoint
from fakes import STARTED, VIRTUAL, FakeAdapter, FakeExchange, Text, Wait, done
from hypothesis import given, strategies as st
from msgspec import Struct

import lutum
from lutum import trace
from lutum.abc import Prepared

PAUSE = 3


class Turn(Struct, frozen=True):
    """Failed attempts by their seconds, then one that ends well or does not."""

    failing: tuple[int, ...]
    first: int
    rest: int
    end: Literal["ok", "cut", "stall"]


class Block(Struct, frozen=True):
    """Steps in a span: one after the other, in a nursery, under a deadline, or in a capture of their own."""

    how: Literal["sequence", "nursery", "deadline", "capture"]
    seconds: int
    steps: tuple[Any, ...]


TURNS = st.builds(
    Turn,
    failing=st.lists(st.integers(1, 4), max_size=2).map(tuple),
    first=st.integers(1, 4),
    rest=st.integers(0, 4),
    end=st.sampled_from(["ok", "ok", "cut", "stall"]),
)
PROGRAMS = st.recursive(
    TURNS,
    lambda inner: st.builds(
        Block,
        how=st.sampled_from(["sequence", "nursery", "deadline", "capture"]),
        seconds=st.integers(1, 8),
        steps=st.lists(inner, max_size=3).map(tuple),
    ),
    max_leaves=8,
)

Shape = tuple[str, str, tuple[Any, ...]]


def sorted_shapes(shapes: list[Shape]) -> tuple[Shape, ...]:
    """Siblings of a nursery begin in any order."""
    return tuple(sorted(shapes, key=repr))


class Model:
    """What a program does: `run` gives the spans of a step and when it ended, at the latest at `until`."""

    def __init__(self) -> None:
        self.deadlines = 0

    def run(self, step: Any, now: float, until: float) -> tuple[Shape, float]:
        return self.turn(step, now, until) if isinstance(step, Turn) else self.block(step, now, until)

    def turn(self, turn: Turn, now: float, until: float) -> tuple[Shape, float]:
        spans = list[Shape]()

        def attempt(seconds: float, end: str) -> bool:
            nonlocal now
            now += seconds
            whole = now < until
            status = end if whole else "cancelled"
            spans.append(("attempt", status, (("request", status, ()),)))
            return whole

        for seconds in turn.failing:
            if not attempt(seconds, "error"):
                return ("turn", "cancelled", sorted_shapes(spans)), until
            now += PAUSE
            spans.append(("wait", "ok" if now < until else "cancelled", ()))
            if now > until:
                return ("turn", "cancelled", sorted_shapes(spans)), until
        seconds = turn.first + turn.rest if turn.end != "stall" else float("inf")
        end = "ok" if turn.end == "ok" else "error"
        whole = attempt(seconds, end)
        return ("turn", end if whole else "cancelled", sorted_shapes(spans)), min(now, until)

    def block(self, block: Block, now: float, until: float) -> tuple[Shape, float]:
        inner = until
        if block.how == "deadline":
            self.deadlines += 1
            inner = min(until, now + block.seconds + 2.0**-self.deadlines)
        spans = list[Shape]()
        if block.how == "nursery":
            ends = [now]
            for step in block.steps:
                shape, end = self.run(step, now, inner)
                spans.append(shape)
                ends.append(end)
            now = max(ends)
        else:
            for step in block.steps:
                if now >= inner:
                    self.skip(step)
                    continue
                shape, now = self.run(step, now, inner)
                spans.append(shape)
        # A deadline of its own is where a cancellation ends; one from outside goes through.
        cancelled = now >= until
        return (block.how, "cancelled" if cancelled else "ok", sorted_shapes(spans)), now

    def skip(self, step: Any) -> None:
        """Deadlines are numbered in the order they stand, also where they are never reached."""
        if isinstance(step, Block):
            self.deadlines += step.how == "deadline"
            for inner in step.steps:
                self.skip(inner)


class Adapter(FakeAdapter):
    """Plays to each request what its turn says, whoever else is asking."""

    def __init__(self) -> None:
        super().__init__(())
        self.turns = dict[str, Iterator[list[Any]]]()

    def exchange(self, prepared: Prepared) -> FakeExchange:
        said = prepared.request.transcript[0].content[0].text
        exchange = FakeExchange(self, next(self.turns[said]))
        self.exchanges.append(exchange)
        return exchange


def plays(turn: Turn) -> Iterator[list[Any]]:
    for seconds in turn.failing:
        yield [Wait(seconds), lutum.ProviderError("busy", kind="overloaded", status=529)]
    if turn.end == "stall":
        yield [STARTED, Text("a"), Wait(float("inf"))]
    yield [Wait(turn.first), STARTED, Text("a"), Wait(turn.rest), done() if turn.end == "ok" else "end"]


class Program:
    """The program itself, on lutum."""

    def __init__(self, seed: int) -> None:
        self.adapter = Adapter()
        self.chance = random.Random(seed)
        self.inner = list[tuple[trace.Span, trace.Trace]]()
        policy = lutum.RetryPolicy(attempts=3, initial=PAUSE, multiplier=1, jitter=0)
        self.llm = lutum.Lutum(self.adapter, retry=policy, timeout=lutum.Timeouts(idle=None))
        self.fractions = dict[int, float]()

    def number(self, step: Any) -> None:
        if isinstance(step, Block):
            if step.how == "deadline":
                self.fractions[id(step)] = 2.0 ** -(len(self.fractions) + 1)
            for inner in step.steps:
                self.number(inner)

    async def run(self, step: Any) -> None:
        for _ in range(self.chance.randrange(4)):
            await checkpoint()
        if isinstance(step, Turn):
            await self.turn(step)
            return
        with trace.span(step.how) as span:
            assert span is not None
            if step.how == "nursery":
                async with anyio.create_task_group() as group:
                    for inner in step.steps:
                        group.start_soon(self.run, inner)
            elif step.how == "deadline":
                with anyio.move_on_after(step.seconds + self.fractions[id(step)]):
                    await self.each(step)
            elif step.how == "capture":
                async with trace.capture() as t:
                    self.inner.append((span, t))
                    await self.each(step)
            else:
                await self.each(step)

    async def each(self, block: Block) -> None:
        for step in block.steps:
            await self.run(step)

    async def turn(self, turn: Turn) -> None:
        name = f"turn {len(self.adapter.turns)}"
        self.adapter.turns[name] = plays(turn)
        try:
            await self.llm.text_turn(name).collect()
        except lutum.Interrupted:
            pass


def copied(step: Any) -> Any:
    """The same program of objects that each stand in one place."""
    if isinstance(step, Turn):
        return step
    return Block(step.how, step.seconds, tuple(map(copied, step.steps)))


def shape(span: trace.Span) -> Shape:
    return (span.name, span.status, sorted_shapes([shape(child) for child in span.children]))


@VIRTUAL
@given(PROGRAMS, st.integers(0, 2**32))
async def test_the_law(program: Any, seed: int) -> None:
    """Names, parents, statuses and durations are those of the model."""
    # A turn that stalls ends with the deadline round it, so there is one round everything.
    program = Block("deadline", 60, (copied(program),))
    begun = anyio.current_time()
    expected, end = Model().run(program, 0.0, float("inf"))
    running = Program(seed)
    running.number(program)
    async with trace.capture() as t:
        await running.run(program)
    [root] = t.roots
    assert shape(root) == expected
    assert anyio.current_time() - begun == pytest.approx(end)
    assert not t.open_reason
    for span in t.walk():
        for child in span.children:
            assert span.started <= child.started <= child.ended <= span.ended
    for span, inner in running.inner:
        assert span.children == inner.roots
    assert trace.load(t.dump()).dump() == t.dump()
