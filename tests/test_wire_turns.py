"""Whole turns against the wire server: what is sent, what is not, and when the server sees us leave."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable

import anyio
import corpus
import httpx
import pytest
from anyio.from_thread import start_blocking_portal

import lutum
from lutum.testing import check_adapter
from lutum.testing.wire import Call, Cut, NeverEnding, Reply, Say, Stall, Status, Think, WireServer
from lutum_claude import ClaudeAdapter, ClaudeOptions

KEY = "sk-ant-secret-0123456789"
MODEL = "claude-sonnet-4-5"

Leave = Callable[[lutum.TextTurn], Awaitable[None]]


def claude(server: WireServer, **options: object) -> ClaudeAdapter:
    return ClaudeAdapter(model=MODEL, api_key=KEY, base_url=server.url, **options)


def in_memory(server: WireServer) -> ClaudeAdapter:
    client = server.connect
    return ClaudeAdapter(model=MODEL, api_key=KEY, base_url=server.url, http_client=client)


async def by_break(turn: lutum.TextTurn) -> None:
    async with turn.stream() as stream:
        async for event in stream:
            if isinstance(event, lutum.TextDelta):
                break


async def by_raise(turn: lutum.TextTurn) -> None:
    with pytest.raises(ZeroDivisionError):
        async with turn.stream() as stream:
            async for event in stream:
                if isinstance(event, lutum.TextDelta):
                    raise ZeroDivisionError


async def by_own_scope(turn: lutum.TextTurn) -> None:
    async with turn.stream() as stream:
        async for event in stream:
            if isinstance(event, lutum.TextDelta):
                stream.cancel_scope.cancel()


async def by_outer_scope(turn: lutum.TextTurn) -> None:
    with anyio.CancelScope() as scope:
        async with turn.stream() as stream:
            async for event in stream:
                if isinstance(event, lutum.TextDelta):
                    scope.cancel()


async def by_timeout(turn: lutum.TextTurn) -> None:
    with pytest.raises(lutum.TurnTimeout):
        await turn.timeout(total=0.5).collect()  # room for a busy machine


LEAVES: list[Leave] = [by_break, by_raise, by_own_scope, by_outer_scope, by_timeout]


@pytest.mark.parametrize("leave", LEAVES)
async def test_server_sees_the_disconnect(leave: Leave) -> None:
    """However the block is left, the server sees the connection close at once, and the lease is settled."""
    async with WireServer([Reply(NeverEnding("and ", delay=0.001))]) as server, claude(server) as adapter:
        llm = lutum.Lutum(adapter, budget=lutum.Budget(tokens=50_000))
        await leave(llm.text_turn("hello").max_output_tokens(1000))
        left = anyio.current_time()
        assert llm.budget.reserved.total_tokens == 0
        assert llm.budget.spent.output_tokens > 0
        with anyio.fail_after(1):
            await server.requests[0].wait_disconnect()
        ended = server.requests[0].ended_at
        assert ended is not None
        assert ended - left < 1


async def test_request_log_equals_the_turns() -> None:
    """One turn is one request, whatever becomes of it."""
    endless = Reply(NeverEnding("and ", delay=0.001))
    scripts = [*[endless] * len(LEAVES), Reply("whole"), Status(529), Reply("cut", Cut())]
    async with WireServer(scripts) as server, claude(server) as adapter:
        turn = lutum.Lutum(adapter).text_turn("hello").max_output_tokens(1000)
        for number, leave in enumerate(LEAVES, 1):
            await leave(turn)
            assert len(server.requests) == number
        assert (await turn.collect()).text == "whole"
        with pytest.raises(lutum.ProviderError) as caught:
            await turn.collect()
        assert (caught.value.status, caught.value.kind) == (529, "overloaded")
        with pytest.raises(lutum.Interrupted):
            await turn.collect()
        assert len(server.requests) == len(scripts)


async def test_every_event_of_a_burst_is_seen_before_the_stall_is_over() -> None:
    """Events that came before the provider went silent are the consumer's, at once."""
    words = [f"w{i} " for i in range(500)]
    server = WireServer([Reply(Say(*words, Stall()))])
    async with in_memory(server) as adapter:
        seen = list[str]()
        async with lutum.Lutum(adapter).text_turn("hello").stream() as stream:
            with anyio.fail_after(5):
                async for piece in stream.text():
                    seen.append(piece)
                    if len(seen) == len(words):
                        break
        assert seen == words


async def test_preview_is_what_is_sent() -> None:
    """The preview sends and reserves nothing, shows no secret, and is byte-equal to what goes out."""
    server = WireServer([Reply("one"), Reply("two")])
    async with in_memory(server) as adapter:
        llm = lutum.Lutum(adapter, budget=lutum.Budget(tokens=50_000))
        session = lutum.Session(llm)
        session.push_system("Be brief.")
        session.push_user("hello")
        turn = session.text_turn().max_output_tokens(200).temperature(0.5)
        shown = turn.preview()
        assert await turn.estimate() == shown.estimate
        assert server.requests == []
        assert llm.budget.statistics().open_leases == 0
        assert KEY not in repr(shown) + str(shown) + repr(adapter) + repr(llm)
        session.commit_text(await turn.collect())
        session.push_user("and then?")
        after = session.text_turn().max_output_tokens(200).preview()
        assert after.first_difference is None
        assert [form.exact for form in after.forms] == [True]
        await session.text_turn().max_output_tokens(200).collect()
        assert [request.body for request in server.requests] == [shown.body, after.body]
        for name, value in shown.headers.items():
            assert value in ("***", server.requests[0].headers[name])
        assert server.requests[0].headers["x-api-key"] == KEY
        session.transcript = session.transcript.replace(
            0, lutum.ModelInput().system("Be long.").transcript[0]
        )
        assert session.text_turn().preview().first_difference == "$.system[0]"


async def test_exact_estimate_asks_the_provider() -> None:
    """With `exact_estimate` the count endpoint says the input, in one more request."""
    server = WireServer([Reply("one")])
    async with in_memory(server) as adapter:
        llm = lutum.Lutum(adapter, budget=lutum.Budget(tokens=50_000), estimate=lutum.exact_estimate)
        await llm.text_turn("hello").max_output_tokens(100).collect()
        paths = [request.path for request in server.requests]
        assert paths == ["/v1/messages/count_tokens", "/v1/messages"]


BAD_INPUT: list[tuple[str, Callable[[lutum.Lutum], lutum.TextTurn]]] = [
    ("input", lambda llm: llm.text_turn("")),
    ("input", lambda llm: llm.text_turn(lutum.ModelInput())),
    ("temperature", lambda llm: llm.text_turn("x").temperature(2.5)),
    ("temperature", lambda llm: llm.text_turn("x").temperature(1.5)),
    ("temperature", lambda llm: llm.text_turn("x").temperature(float("nan"))),
    ("top_p", lambda llm: llm.text_turn("x").top_p(-0.1)),
    ("max_output_tokens", lambda llm: llm.text_turn("x").max_output_tokens(0)),
    ("stop", lambda llm: llm.text_turn("x").stop("")),
    ("seed", lambda llm: llm.text_turn("x").seed(1)),
    ("model", lambda llm: llm.text_turn("x").model(" ")),
    ("timeout.idle", lambda llm: llm.text_turn("x").timeout(idle=0)),
    ("tool_result.call_id", lambda llm: llm.text_turn(twice_the_same_result())),
    ("image.media_type", lambda llm: llm.text_turn(with_image(lutum.Image.from_bytes(b"??")))),
    ("input[0].content[0]", lambda llm: llm.text_turn(with_image(big_image()))),
    ("image.url", lambda llm: llm.text_turn(with_image(lutum.Image.from_url("x.png")))),
    ("thinking", lambda llm: llm.text_turn("x").ext(ClaudeOptions(thinking=10))),
    ("raw", lambda llm: llm.text_turn(lutum.ModelInput().raw("other", "{}"))),
]


@pytest.mark.parametrize(("field", "build"), BAD_INPUT, ids=range(len(BAD_INPUT)))
async def test_wire_turns_bad_input(field: str, build: Callable[[lutum.Lutum], lutum.TextTurn]) -> None:
    """Bad input is refused by the name of its field, before money is reserved or a byte is sent."""
    server = WireServer([Reply("no")])
    async with in_memory(server) as adapter:
        llm = lutum.Lutum(adapter, budget=lutum.Budget(tokens=50_000))
        with pytest.raises(lutum.UsageError, match=re.escape(field)):
            await build(llm).collect()
        assert server.requests == []
        assert llm.budget.statistics().open_leases == 0
        assert llm.budget.spent == lutum.Usage()


def twice_the_same_result() -> lutum.ModelInput:
    result = {"name": "f", "arguments": "{}"}
    return lutum.ModelInput().tool_result("c1", "a", **result).tool_result("c1", "b", **result)


def with_image(image: lutum.Image) -> lutum.ModelInput:
    return lutum.ModelInput().user(image)


def big_image() -> lutum.Image:
    return lutum.Image.from_bytes(b"\x89PNG\r\n\x1a\n" + bytes(11 * 10**6))


async def test_missing_key_is_refused_before_a_reservation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider's own host demands a key; another host does not."""
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    adapter = ClaudeAdapter(model=MODEL)
    with pytest.raises(lutum.BadValue, match=r"api_key.*ANTHROPIC_API_KEY"):
        lutum.Lutum(adapter).text_turn("hello").preview()
    assert ClaudeAdapter(model=MODEL, base_url="http://localhost:1").name == "claude"
    with pytest.raises(lutum.BadValue, match="base_url"):
        ClaudeAdapter(model=MODEL, base_url="localhost:1")
    with pytest.raises(lutum.BadValue, match="model"):
        ClaudeAdapter(model="")


async def test_one_log_record_a_request(caplog: pytest.LogCaptureFixture) -> None:
    """INFO holds one record a request, with no key and no content; DEBUG adds the preview."""
    server = WireServer([Reply("the answer"), Status(500, headers={"request-id": "req_7"})])
    async with in_memory(server) as adapter:
        turn = lutum.Lutum(adapter).text_turn("the question")
        with caplog.at_level(logging.INFO, "lutum"):
            await turn.collect()
            with pytest.raises(lutum.ProviderError):
                await turn.collect()
        first, second = [record.getMessage() for record in caplog.records if record.name == "lutum"]
        assert first.startswith(f"claude {MODEL}: completed, status 200")
        assert "ProviderError, status 500, request req_7" in second
        assert "question" not in first + second
        assert "answer" not in first + second
        caplog.clear()
        server.add(Reply("again"))
        with caplog.at_level(logging.DEBUG, "lutum"):
            await turn.collect()
        text = "".join(record.getMessage() for record in caplog.records if record.name == "lutum")
        assert "the question" in text
        assert "x-api-key: ***" in text
        assert KEY not in text


async def test_tool_round_over_the_wire() -> None:
    """A round is answered and replayed; the server, which checks pairing, accepts it."""
    server = WireServer([Reply("Let me look.", Call("weather", {"city": "Paris"})), Reply("Sunny.")])
    tools = lutum.Toolset(lutum.raw_tool("weather", {"type": "object", "properties": {"city": {}}}))
    async with in_memory(server) as adapter:
        session = lutum.Session(lutum.Lutum(adapter))
        session.push_user("Weather in Paris?")
        outcome = await session.text_turn().tools(tools).collect()
        assert isinstance(outcome, lutum.NeedsTools)
        call = outcome.round.expect_one()
        assert call.input == {"city": "Paris"}
        with pytest.raises(lutum.UsageError, match="commit its round"):
            session.commit_text(outcome.round.result)
        session.commit_round(outcome.round, [call.complete({"sky": "clear"})])
        finished = await session.text_turn().tools(tools).collect()
        assert isinstance(finished, lutum.Finished)
        assert finished.result.text == "Sunny."
        session.commit_text(finished.result)


async def test_call_in_a_turn_without_tools_is_a_violation() -> None:
    """A call nobody offered ends the turn; the answer so far is kept as a partial."""
    server = WireServer([Reply("Hm.", Call("weather", {}))])
    async with in_memory(server) as adapter:
        with pytest.raises(lutum.ContractViolation, match="weather") as caught:
            await lutum.Lutum(adapter).text_turn("hello").collect()
        assert caught.value.partial is not None
        assert caught.value.partial.text == "Hm."


def test_one_adapter_in_two_runs_on_two_backends() -> None:
    """An adapter outlives its event loop: in the next one, of another backend, it opens new connections."""
    server = WireServer(default=Reply("whole"))
    with start_blocking_portal("asyncio") as portal, portal.wrap_async_context_manager(server):
        adapter = claude(server)

        async def two_turns() -> str:
            turn = lutum.Lutum(adapter).text_turn("hello")
            return (await turn.collect()).text + (await turn.collect()).text

        assert lutum.run(two_turns) == "wholewhole"
        assert lutum.run(two_turns, backend="asyncio") == "wholewhole"
        assert lutum.run(two_turns) == "wholewhole"


async def wire_bodies() -> list[bytes]:
    """Response bodies of the Claude dialect, whole."""
    server = WireServer([Reply("Hello there."), Reply(Think("hm ", "hm"), "Yes."), Reply(Think(), "No.")])
    body = {
        "model": MODEL,
        "max_tokens": 3000,
        "stream": True,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "messages": [{"role": "user", "content": "hello"}],
    }
    headers = {"anthropic-version": "2023-06-01"}
    async with httpx.AsyncClient(transport=server.transport()) as client:
        url = server.url + "/v1/messages"
        return [(await client.post(url, json=body, headers=headers)).content for _ in range(3)]


@pytest.mark.slow
async def test_claude_passes_the_conformance_kit() -> None:
    """The adapter keeps promises 1, 2, 3, 5 and 7 on the dialect's own bodies."""
    await check_adapter(
        lambda client: ClaudeAdapter(model=MODEL, api_key=KEY, http_client=client), await wire_bodies()
    )


@pytest.mark.slow
@pytest.mark.corpus
async def test_claude_passes_the_conformance_kit_on_recorded_bodies() -> None:
    """The same on recorded streams of several shapes: thinking, citations, server tools."""
    recorded = [
        record["sse"].encode()
        for record in corpus.load("claude_messages")
        if record["sse"] and record["faithful"] and record["final"] and len(record["sse"]) < 3000
        if not any(block["type"] == "tool_use" for block in record["final"]["content"])
    ]
    assert len(recorded) > 10
    await check_adapter(
        lambda client: ClaudeAdapter(model=MODEL, api_key=KEY, http_client=client), recorded[:12], cuts=40
    )
