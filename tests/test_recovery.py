"""What a turn that did not complete is charged: asked of somebody who knows, or from what was reported and
counted. Over the wire server, and over recorded streams cut at each event."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from typing import Any

import anyio
import corpus
import httpx
import pytest
from fakes import STARTED, VIRTUAL, FakeAdapter, Step, Text

import lutum
from lutum import Budget, Response, RetryPolicy, Usage
from lutum._turn.pump import RECOVERY
from lutum.testing.wire import (
    At,
    BeforeHead,
    Cut,
    NeverEnding,
    Refuse,
    Reply,
    Say,
    Script,
    Status,
    WireServer,
)
from lutum_claude import ClaudeAdapter

MODEL = "claude-sonnet-4-5"
TOLD = Usage(11, 6, known="exact")


class Asked:
    """A recovery adapter: keeps what it was asked, takes its time, and answers or fails."""

    def __init__(self, answer: Usage | BaseException | None = TOLD, *, seconds: float = 0.0) -> None:
        self.answer = answer
        self.seconds = seconds
        self.asked: list[Response] = []
        self.open: list[int] = []
        self.watch: Callable[[], int] = lambda: 0

    async def recover_usage(self, response: Response) -> Usage | None:
        self.asked.append(response)
        self.open.append(self.watch())
        await anyio.sleep(self.seconds)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


class House:
    """The real adapter with recovery, on a ledger."""

    def __init__(self, recovery: Asked, *scripts: Script, **options: object) -> None:
        self.server = WireServer(scripts)
        client = self.server.connect
        adapter = ClaudeAdapter(model=MODEL, api_key="k", base_url=self.server.url, http_client=client)
        self.budget = Budget(tokens=100_000)
        recovery.watch = lambda: sum(request.outcome == "open" for request in self.server.requests)
        self.llm = lutum.Lutum(adapter, budget=self.budget, recovery=recovery, **options)
        self.turn = self.llm.text_turn("hello").max_output_tokens(64)


CUT = Reply(Say("one", " two", Cut()), usage={"input_tokens": 11})
FOREVER = Reply(NeverEnding("and ", delay=1), usage={"input_tokens": 11})
Leave = Callable[[lutum.TextTurn], Awaitable[None]]


async def by_cut(turn: lutum.TextTurn) -> None:
    with pytest.raises(lutum.Interrupted):
        await turn.collect()


async def by_break(turn: lutum.TextTurn) -> None:
    async with turn.stream() as stream:
        async for _ in stream.text():
            break


async def by_outer_scope(turn: lutum.TextTurn) -> None:
    with anyio.move_on_after(3.5) as scope:
        await turn.collect()
    assert scope.cancelled_caught


async def by_timeout(turn: lutum.TextTurn) -> None:
    with pytest.raises(lutum.TurnTimeout):
        await turn.timeout(total=3.5).collect()


LEAVES: list[tuple[Reply, Leave]] = [
    (CUT, by_cut),
    (FOREVER, by_break),
    (FOREVER, by_outer_scope),
    (FOREVER, by_timeout),
]


@VIRTUAL
@pytest.mark.parametrize(("reply", "leave"), LEAVES, ids=[leave.__name__ for _, leave in LEAVES])
async def test_recovered(reply: Reply, leave: Leave) -> None:
    """However a turn was left, what it was billed is asked for once, behind its closed connection, and
    settled as recovered."""
    recovery = Asked()
    house = House(recovery, reply)
    await leave(house.turn)
    assert house.budget.spent == Usage(11, 6, known="recovered")
    assert house.budget.reserved.total_tokens == 0
    (response,) = recovery.asked
    assert response.id is not None
    assert response.id.startswith("msg_")
    assert response.id.endswith("0000")
    assert recovery.open == [0]


@VIRTUAL
async def test_nobody_is_asked_about_what_is_known() -> None:
    """A turn that completed, or was refused, is exact; about one without a head nobody could be asked."""
    recovery = Asked()
    house = House(recovery, Reply("whole"), Status(529), Refuse(), Reply(BeforeHead(Cut())))
    await house.turn.collect()
    for known in ("exact", "exact", "estimated"):
        with pytest.raises(lutum.TurnError):
            await house.turn.collect()
        assert house.budget.spent.known == known
    assert len(house.server.requests) == 3  # one got no connection
    assert recovery.asked == []


@VIRTUAL
@pytest.mark.parametrize(
    "answer",
    [None, RuntimeError("gone"), lutum.NetworkError("gone"), lutum.UsageError("gone"), TimeoutError()],
    ids=repr,
)
async def test_a_recovery_that_fails_in_recovery(
    answer: Usage | BaseException | None, caplog: pytest.LogCaptureFixture
) -> None:
    """It never replaces the turn's own error, and what is known anyway is settled."""
    house = House(Asked(answer), CUT)
    with caplog.at_level(logging.WARNING, "lutum"), pytest.raises(lutum.Interrupted) as info:
        await house.turn.collect()
    assert info.value.usage == house.budget.spent == Usage(11, 2, known="estimated")
    assert info.value.__context__ is not answer or answer is None
    assert len([r for r in caplog.records if r.levelno == logging.WARNING]) == (answer is not None)


@VIRTUAL
@pytest.mark.parametrize("leave", [by_cut, by_outer_scope], ids=lambda leave: leave.__name__)
async def test_recovery_is_bounded_and_shielded(leave: Leave) -> None:
    """It holds a block open for two seconds at the most, also one that is being cancelled, and is then given
    up; what takes a second is waited for."""
    for seconds, known in ((1.0, "recovered"), (10.0**6, "estimated")):
        house = House(Asked(seconds=seconds), CUT if leave is by_cut else FOREVER)
        start = anyio.current_time()
        await leave(house.turn)
        took = anyio.current_time() - start - (0 if leave is by_cut else 3.5)
        assert took == pytest.approx(min(seconds, RECOVERY))
        assert house.budget.spent.known == known
        assert house.budget.reserved.total_tokens == 0


@VIRTUAL
async def test_the_lease_is_held_until_it_is_known() -> None:
    """While it is being asked for, the reservation stands: nobody else gets what may have been spent."""
    house = House(Asked(seconds=1.5), CUT)
    held = list[int]()

    async def watch() -> None:
        await anyio.sleep(1)
        held.append(house.budget.reserved.total_tokens)

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        await by_cut(house.turn)
    assert held == [(await house.turn.estimate()).total_tokens]


@VIRTUAL
async def test_only_the_last_attempt_is_asked_about() -> None:
    """Failed attempts before it keep their own charge; costs come from the prices where nobody says them."""
    pricing = lutum.Pricing({MODEL: lutum.Price(input=1, output=2)})
    house = House(
        Asked(),
        Reply(At(Cut(), 1), "x", usage={"input_tokens": 11}),
        CUT,
        retry=RetryPolicy(jitter=0),
        pricing=pricing,
    )
    with pytest.raises(lutum.Interrupted) as info:
        await house.turn.collect()
    cost = Decimal(11 + 2 * 1 + 11 + 2 * 6) / 10**6
    assert info.value.usage == Usage(22, 7, cost_usd=cost, known="lower_bound")
    assert house.budget.spent == info.value.usage


@VIRTUAL
async def test_without_recovery_nobody_is_asked() -> None:
    """One turn is one request: a cut one costs what was reported and counted."""
    house = House(Asked(), CUT)
    llm = lutum.Lutum(house.llm.adapter, budget=house.budget)
    await by_cut(llm.text_turn("hello").max_output_tokens(64))
    assert len(house.server.requests) == 1
    assert house.budget.spent == Usage(11, 2, known="estimated")


@VIRTUAL
async def test_reasoning_out_of_sight_makes_a_lower_bound() -> None:
    """Where the model thinks without showing it, a count is a lower bound and says so."""
    play: list[Step] = [
        STARTED,
        lutum.UsageUpdate(Usage(11, 1)),
        Text("a"),
        Text("b"),
        lutum.Interrupted("cut"),
    ]
    for hidden, known in ((True, "lower_bound"), (False, "estimated")):
        llm = lutum.Lutum(FakeAdapter(play, hidden=hidden))
        with pytest.raises(lutum.Interrupted):
            await llm.text_turn("hello").collect()
        assert llm.budget.spent == Usage(11, 2, known=known)


# Recorded streams: one is cut off behind each of its events.

# More deltas than output tokens: what was counted is more than what was billed in the end.
_SUMMED = "usage.output_tokens is that of the last iteration; billed is the sum over usage.iterations"
OVERCOUNTED: dict[str, str] = {
    "pydantic-ai/models/test_anthropic/test_anthropic_advisor_tool_stream.yaml#0": _SUMMED,
    "pydantic-ai/models/test_anthropic/test_anthropic_compaction_usage_with_cache_streaming.yaml#0": _SUMMED,
}


class Recorded(httpx.AsyncBaseTransport):
    """Answers with the beginning of a recorded stream, one event a chunk, and then nothing."""

    def __init__(self, frames: list[bytes]) -> None:
        self.frames = frames

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        async def body() -> AsyncIterator[bytes]:
            for frame in self.frames:
                await anyio.lowlevel.checkpoint()
                yield frame
            await anyio.sleep_forever()

        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=body())


class Told:
    """An independent reading of the beginning of a stream: what was reported, and what can be counted. The
    arguments of a provider's own tool are one event when they are whole, so their pieces are not."""

    def __init__(self, frames: list[bytes]) -> None:
        self.input, self.output, self.deltas, self.final, self.reported = 0, 0, 0, False, False
        for frame in frames:
            data = next((line[5:] for line in frame.splitlines() if line.startswith(b"data:")), b"{}")
            event = json.loads(data)
            usage = event.get("usage") or event.get("message", {}).get("usage")
            if usage is not None:
                self.reported = True
                steps = usage.get("iterations") or [usage]
                self.output = sum(step.get("output_tokens") or 0 for step in steps) or self.output
                self.final = (event.get("delta") or event["message"]).get("stop_reason") is not None
            if event.get("type") == "content_block_start":
                self.counts = event["content_block"]["type"] in ("text", "thinking", "tool_use")
            delta = event.get("delta", {})
            if event.get("type") == "content_block_delta":
                pieces = [delta.get(name) for name in ("text", "thinking", "partial_json")]
                self.deltas += self.counts and any(pieces)


def sampled() -> list[dict[str, Any]]:
    """One stream of each kind there is, not too long."""
    chosen = dict[str, dict[str, Any]]()
    for record in corpus.load("claude_messages"):
        if record["sse"] and record["final"] and record["sse"].count("data:") <= 100:
            kinds = "+".join(sorted(set(record["features"]) - {"faithful_bytes", "stream", "non_ascii"}))
            chosen.setdefault(kinds, record)
    return list(chosen.values())


@pytest.mark.slow
@VIRTUAL
@pytest.mark.corpus
async def test_recovery_recorded_streams_cut_at_each_event() -> None:
    """Settled is at least what was reported and counted, never more than the whole run was billed, and
    labelled by where it comes from."""
    cuts, overcounted = 0, set[str]()
    for record in sampled():
        frames = [part + b"\n\n" for part in record["sse"].encode().split(b"\n\n") if part.strip()]
        names = {block["name"] for block in record["final"]["content"] if block["type"] == "tool_use"}
        tools = lutum.Toolset(*[lutum.raw_tool(name, {"type": "object"}) for name in names])
        whole = record["final"]["usage"]["output_tokens"]
        for k in range(len(frames)):
            told = Told(frames[:k])
            client = httpx.AsyncClient(transport=Recorded(frames[:k]))
            adapter = ClaudeAdapter(model=MODEL, api_key="k", base_url="http://recorded", http_client=client)
            llm = lutum.Lutum(adapter, budget=Budget(tokens=10**6))
            turn = llm.text_turn("hello").reserve(lutum.Estimate(5, 1))
            with anyio.move_on_after(1):
                await (turn.tools(tools) if names else turn).collect()
            spent, where = llm.budget.spent, (record["id"], k)
            assert llm.budget.reserved.total_tokens == 0
            assert spent.output_tokens == max(told.output, 0 if told.final else told.deltas), where
            if told.deltas:
                assert spent.output_tokens > 0, where
            if spent.output_tokens > whole:
                overcounted.add(record["id"])
            if told.final:
                assert spent.known == "exact", where
            elif not told.reported or told.deltas > told.output:
                assert spent.known == "estimated", where
            else:
                assert spent.known == "lower_bound", where
            cuts += 1
    assert cuts > corpus.least(1500)
    assert overcounted == corpus.named(OVERCOUNTED)
