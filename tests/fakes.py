"""A provider without a wire that a test controls step by step, and what must hold once a turn is over."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Final, Literal, Self

import anyio
import pytest
from msgspec import Struct

import lutum
from lutum.abc import Phase, Prepared, ReplayForm, TurnRequest
from lutum.testing import virtual_time

PING: Final = "ping"
"""A piece that holds no event."""


class Text(Struct, frozen=True):
    """A piece with one text delta."""

    text: str


class Wait(Struct, frozen=True):
    """The socket gives nothing for that long."""

    seconds: float


class Gate(Struct, frozen=True):
    """The socket gives nothing until the test says so."""

    event: anyio.Event


STALL = Wait(float("inf"))
END: Final = "end"
"""The response ends."""

# An event, a list of events that come in one piece, or one of the above: events are Structs too.
Step = Struct | Sequence[Struct] | BaseException | Literal["ping", "end"]
OpenStep = Phase | Wait | Gate | BaseException

SENT: tuple[OpenStep, ...] = ("connecting", "connected", "sent")
STARTED = lutum.TurnStarted("fake-1", lutum.Response(request_id="req-1"))


BILLED = lutum.Usage(12, 5)


def done(usage: lutum.Usage = BILLED) -> lutum.Completed:
    """The provider's terminal event."""
    turn = lutum.CommittedTurn("fake", "fake", "fake-1", b"{}", (lutum.TextItem("hi"),))
    return lutum.Completed("stop", usage, turn)


WHOLE: tuple[Step, ...] = (STARTED, Text("a"), Text("b"), done())
STALLED: tuple[Step, ...] = (STARTED, Text("a"), Text("b"), STALL)


class FakeAdapter:
    """Plays one list of steps a request; `exchanges` keeps what became of each.

    `checkpoints` makes every read suspend, as a socket does that is not ahead of its reader. `close`
    is how long letting go of the connection takes, or what it raises.
    """

    name = "fake"
    scope = "fake"

    def __init__(
        self,
        *plays: Iterable[Step],
        opening: Iterable[OpenStep] = SENT,
        unbounded: tuple[str, ...] = (),
        hidden: bool = False,
        checkpoints: bool = False,
        close: float | BaseException = 0.0,
    ) -> None:
        self.plays = [list(play) for play in plays]
        self.opening = list(opening)
        self.unbounded = unbounded
        self.hidden = hidden
        self.checkpoints = checkpoints
        self.close = close
        self.exchanges: list[FakeExchange] = []

    def prepare(self, request: TurnRequest) -> Prepared:
        return Prepared(
            request=request,
            url="fake:",
            body=json.dumps({"items": len(request.transcript)}).encode(),
            model="fake-1",
            estimate=lutum.Estimate(10, 100),
            unbounded=self.unbounded,
            hidden_reasoning=self.hidden,
        )

    def exchange(self, prepared: Prepared) -> FakeExchange:
        exchange = FakeExchange(self, self.plays.pop(0) if len(self.plays) > 1 else list(self.plays[0]))
        self.exchanges.append(exchange)
        return exchange

    def replay_form(self, turn: lutum.CommittedTurn, scope: str, model: str) -> ReplayForm:
        return ReplayForm(True)

    def first_difference(self, earlier: Prepared, later: Prepared) -> str | None:
        return None

    async def aclose(self) -> None:
        """Nothing to close."""


class FakeExchange:
    """One request. `asked` counts the pieces it was asked for, `opened` and `closed` when."""

    def __init__(self, adapter: FakeAdapter, steps: list[Step]) -> None:
        self.response: lutum.Response | None = None
        self.adapter = adapter
        self.steps = steps
        self.asked = 0
        self.opened: float | None = None
        self.closed: float | None = None

    async def open(self, mark: Callable[[Phase], None]) -> None:
        self.opened = anyio.current_time()
        for step in self.adapter.opening:
            if isinstance(step, Wait | Gate | BaseException):
                await _wait(step)
            else:
                mark(step)
        self.response = STARTED.response

    async def receive(self, out: list[lutum.Event]) -> bool:
        self.asked += 1
        if self.adapter.checkpoints:
            await anyio.lowlevel.checkpoint()
        while self.steps:
            step = self.steps.pop(0)
            if isinstance(step, Wait | Gate | BaseException):
                await _wait(step)
            elif step == "end":
                return False
            elif step != "ping":
                out.extend(_events(step))
                return True
            else:
                return True
        return False

    async def aclose(self) -> None:
        assert self.closed is None, "closed twice"
        if isinstance(self.adapter.close, BaseException):
            self.closed = anyio.current_time()
            raise self.adapter.close
        await anyio.sleep(self.adapter.close)
        self.closed = anyio.current_time()


def _events(piece: Any) -> list[lutum.Event]:
    if isinstance(piece, Text):
        return [lutum.TextDelta(piece.text)]
    return piece if isinstance(piece, list) else [piece]


async def _wait(step: Wait | Gate | BaseException) -> None:
    match step:
        case Wait(seconds=seconds):
            # Not sleep(inf): a clock that jumps would jump for ever.
            await (anyio.sleep(seconds) if seconds < float("inf") else anyio.sleep_forever())
        case Gate(event=event):
            await event.wait()
        case _:
            raise step


class House:
    """An adapter on a ledger. `over()` checks that nothing of its turns is left.

    Used as a context manager it checks when the block ends, whatever ends it, and that no task is left
    that was not there before.
    """

    def __init__(self, adapter: FakeAdapter, **kwargs: Any) -> None:
        self.adapter = adapter
        self.budget = kwargs.pop("budget", None) or lutum.Budget(tokens=100_000)
        self.llm = lutum.Lutum(adapter, budget=self.budget, **kwargs)
        self.streams: list[lutum.Stream[Any]] = []
        self._tasks: set[int] = set()

    def stream(self) -> lutum.Stream[lutum.TextResult]:
        stream = self.llm.text_turn("hello").stream()
        self.streams.append(stream)
        return stream

    def over(self) -> None:
        """Every connection closed, every lease settled, both ends of every channel closed."""
        assert all(exchange.closed is not None for exchange in self.adapter.exchanges if exchange.opened)
        assert self.budget.reserved.total_tokens == 0
        assert self.budget.statistics().open_leases == 0
        for stream in self.streams:
            if stream._channel is not None:
                assert (stream._channel.closed, stream._channel.ended) == (True, True)

    def __enter__(self) -> Self:
        self._tasks = {task.id for task in anyio.get_running_tasks()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over()
        left = [task for task in anyio.get_running_tasks() if task.id not in self._tasks]
        assert not left, left


VIRTUAL = pytest.mark.parametrize(
    "anyio_backend",
    [pytest.param((name, virtual_time(name)), id=f"{name}-virtual") for name in ("asyncio", "trio")],
)
"""Time jumps instead of passing."""
