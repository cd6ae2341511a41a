"""What OpenRouter's record says of a turn that was left, asked for through `Lutum(recovery=)`: whenever and
however the turn ended, it is the bill of the whole run."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import anyio
import corpus
import httpx
import pytest
from fakes import VIRTUAL

import lutum
from lutum import Budget, Usage
from lutum._turn.pump import RECOVERY
from lutum.testing import cancel_at
from lutum.testing.wire import At, Call, Cut, Pause, Reply, Say, Script, Stall, Think, WireServer
from lutum_openrouter import OpenRouterAdapter

TOOLS = lutum.Toolset(lutum.raw_tool("f", {"type": "object"}))


class House:
    """OpenRouter over the wire in memory, asked for its own records. `bound` is what a turn holds."""

    def __init__(self, *scripts: Script, misses: int = 2, api: Any = "chat") -> None:
        self.server = WireServer(scripts, generation_misses=misses)
        self.client = self.server.connect
        adapter = OpenRouterAdapter(
            "a/b", api_key="k", base_url=f"{self.server.url}/api/v1", http_client=self.client, api=api
        )
        self.budget = Budget(tokens=100_000)
        self.llm = lutum.Lutum(adapter, budget=self.budget, recovery=adapter)

    def stream(self) -> lutum.Stream[Any]:
        return self.llm.text_turn("hello").tools(TOOLS).max_output_tokens(64).stream()

    @property
    def asked(self) -> int:
        return sum("/generation" in request.path for request in self.server.requests)


REPLIES: dict[str, Reply] = {
    "text": Reply(Say("one", " two", " three", " four")),
    "reasoning": Reply(Think("hm", " so"), Say("one", " two")),
    "a call": Reply(Say("one"), Call("f", {"a": 1, "b": "two"})),
}
APIS = ["chat", "responses"]


async def whole(reply: Reply, api: str) -> Usage:
    """The bill of a turn that was read to its end."""
    house = House(reply, api=api)
    async with house.stream() as turn:
        async for _ in turn:
            pass
    assert house.asked == 0
    assert turn.usage.known == "exact"
    return turn.usage


def same(found: Usage, bill: Usage) -> bool:
    """As many tokens of each kind; the records know the cost also where the answer does not say it."""
    kinds = ("input_tokens", "output_tokens", "reasoning_tokens", "cache_read_tokens")
    costs = bill.cost_usd is None or found.cost_usd == bill.cost_usd
    return costs and all(getattr(found, kind) == getattr(bill, kind) for kind in kinds)


@VIRTUAL
@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES)
async def test_left_behind_each_event(reply: Reply, api: str) -> None:
    """Whichever event a turn is left behind, what is settled is what the whole run is billed, as recovered,
    though the record is not there at first."""
    bill, recovered = await whole(reply, api), 0
    for k in range(1, 40):
        house = House(Reply(*reply.parts, At(Stall(), k)), api=api)
        stream = house.stream()
        try:
            with anyio.move_on_after(1):
                async with stream as turn:
                    async for _ in turn:
                        pass
        except lutum.ProviderError as error:
            if f"only {k - 1} events" not in str(error):
                raise
            break
        assert stream.usage == house.budget.spent
        assert same(stream.usage, bill), (k, stream.usage, bill)
        assert house.budget.reserved.total_tokens == house.budget.statistics().open_leases == 0
        if stream.usage.known == "recovered":
            recovered += 1
            assert stream.usage.cost_usd is not None
            assert house.asked == 3
        else:
            assert stream.usage.known == "exact"
    assert recovered >= 4


@pytest.mark.slow
@VIRTUAL
@pytest.mark.parametrize("api", APIS)
async def test_cancelled_at_every_await(api: str) -> None:
    """Cancelled at any of its awaits a turn costs nothing before it was sent, and the whole bill as soon as
    the answer has said its id; before that, what was estimated."""
    bill = await whole(REPLIES["text"], api)
    slow = Reply(Say("one", Pause(1), " two", Pause(1), " three", Pause(1), " four"))
    seen = set[str]()
    for k in range(1, 60):
        house = House(slow, api=api)

        async def read(house: House = house) -> None:
            async with house.stream() as turn:
                async for _ in turn:
                    pass

        await cancel_at(read(), k)
        spent = house.budget.spent
        assert house.budget.reserved.total_tokens == 0
        seen.add(spent.known)
        if spent.known == "recovered":
            assert same(spent, bill), k
    assert "recovered" in seen


@VIRTUAL
@pytest.mark.parametrize(("misses", "known"), [(0, "recovered"), (4, "recovered"), (5, "estimated")])
async def test_the_record_is_late(misses: int, known: str) -> None:
    """It is asked for again for as long as the scope lasts that the recovery has, and no longer; the error
    is the turn's own."""
    house = House(Reply(Say("one", " two", Cut())), misses=misses)
    start = anyio.current_time()
    with pytest.raises(lutum.Interrupted) as info:
        async with house.stream() as turn:
            async for _ in turn:
                pass
    assert anyio.current_time() - start <= RECOVERY + 1e-6
    assert house.asked == min(misses, 4) + 1
    assert house.budget.spent.known == known
    assert info.value.usage == house.budget.spent
    assert info.value.partial is not None


class Broken(httpx.AsyncBaseTransport):
    """The wire, but the record is refused, or garbage, or nothing ever comes."""

    def __init__(self, inner: httpx.AsyncBaseTransport, answer: httpx.Response | Exception | None) -> None:
        self.inner = inner
        self.answer = answer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if "/generation" not in request.url.path:
            return await self.inner.handle_async_request(request)
        if self.answer is None:
            await anyio.sleep_forever()
        if isinstance(self.answer, Exception):
            raise self.answer
        assert self.answer is not None
        return self.answer


@VIRTUAL
@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(401, json={"error": {"message": "no", "code": 401}}),
        httpx.Response(500, content=b"oops"),
        httpx.Response(200, content=b"[]"),
        httpx.ConnectError("gone"),
        None,
    ],
    ids=["refused", "failed", "garbage", "no connection", "nothing"],
)
async def test_a_recovery_that_fails_in_recovery_openrouter(
    answer: httpx.Response | Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    """It never replaces the turn's own error; what was reported and counted is settled, within the bound."""
    server = WireServer([Reply(Say("one", " two", Cut()))])
    client = httpx.AsyncClient(transport=Broken(server.transport(), answer))
    adapter = OpenRouterAdapter("a/b", api_key="k", base_url=f"{server.url}/api/v1", http_client=client)
    llm = lutum.Lutum(adapter, budget=Budget(tokens=100_000), recovery=adapter)
    start = anyio.current_time()
    with caplog.at_level(logging.WARNING, "lutum"), pytest.raises(lutum.Interrupted) as info:
        await llm.text_turn("hello").max_output_tokens(64).collect()
    assert anyio.current_time() - start <= RECOVERY + 1e-6
    assert info.value.usage == llm.budget.spent
    assert llm.budget.spent.output_tokens == 2
    assert llm.budget.spent.known == "estimated"
    assert llm.budget.reserved.total_tokens == 0


# Recorded streams of OpenRouter, with a record that says what the recording's own end says.


class Recorded(httpx.AsyncBaseTransport):
    """The beginning of a recorded stream, then nothing; and the record of it, not there at first."""

    def __init__(self, frames: list[bytes], usage: dict[str, Any]) -> None:
        self.frames = frames
        self.usage = usage
        self.asked: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/generation"):
            self.asked.append(request.url.params["id"])
            if len(self.asked) == 1:
                return httpx.Response(404, json={"error": {"message": "not found", "code": 404}})
            return httpx.Response(200, json={"data": self.data()})

        async def body() -> AsyncIterator[bytes]:
            for frame in self.frames:
                await anyio.lowlevel.checkpoint()
                yield frame
            await anyio.sleep_forever()

        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=body())

    def data(self) -> dict[str, Any]:
        details = self.usage.get("completion_tokens_details") or {}
        return {
            "native_tokens_prompt": self.usage["prompt_tokens"],
            "native_tokens_completion": self.usage["completion_tokens"],
            "native_tokens_reasoning": details.get("reasoning_tokens"),
            "total_cost": self.usage.get("cost"),
        }


def sampled() -> list[tuple[str, str, list[bytes], dict[str, Any]]]:
    """One stream of each kind there is, not too long: its name, its id, its frames and its bill."""
    chosen = dict[str, tuple[str, str, list[bytes], dict[str, Any]]]()
    for record in corpus.load("openai_chat", real=True):
        sse, final = record["sse"], record.get("final") or {}
        if record["host"] != "openrouter.ai" or not sse or not final.get("usage") or sse.count("data:") > 80:
            continue
        frames = [part + b"\n\n" for part in sse.encode().split(b"\n\n") if part.strip()]
        kinds = "+".join(sorted(set(record["features"]) - {"faithful_bytes", "stream", "non_ascii"}))
        chosen.setdefault(kinds, (record["id"], final["id"], frames, final["usage"]))
    return list(chosen.values())


def told(frames: list[bytes]) -> bool:
    """Whether an id has been said."""
    return any(b'"id"' in frame for frame in frames)


@pytest.mark.slow
@VIRTUAL
@pytest.mark.corpus
async def test_recovery_openrouter_recorded_streams_cut_at_each_event() -> None:
    """Behind each event of each stream: the number that is recovered is the full run's."""
    cuts, recovered = 0, 0
    for name, generation, frames, bill in sampled():
        for k in range(len(frames)):
            transport = Recorded(frames[:k], bill)
            client = httpx.AsyncClient(transport=transport)
            adapter = OpenRouterAdapter(
                "a/b", api_key="k", base_url="http://recorded/api/v1", http_client=client
            )
            llm = lutum.Lutum(adapter, budget=Budget(tokens=10**6), recovery=adapter)
            with anyio.move_on_after(1):
                try:
                    await (
                        llm.text_turn("hello").tools(lutum.Toolset()).reserve(lutum.Estimate(5, 1)).collect()
                    )
                except lutum.ContractViolation:
                    pass
            spent, where = llm.budget.spent, (name, k)
            assert llm.budget.reserved.total_tokens == 0
            cuts += 1
            if not told(frames[:k]):
                assert transport.asked == [], where
                assert spent.known == "estimated", where
            elif spent.known != "exact":
                recovered += 1
                assert set(transport.asked) == {generation}, where
                assert spent.known == "recovered", where
                assert spent.output_tokens == bill["completion_tokens"], where
                assert spent.input_tokens == bill["prompt_tokens"], where
                if bill.get("cost"):
                    assert spent.cost_usd == Decimal(json.dumps(bill["cost"])), where
            else:
                assert spent.output_tokens == bill["completion_tokens"], where
    assert (cuts, recovered) > (500, 400)
