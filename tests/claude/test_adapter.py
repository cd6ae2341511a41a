"""The adapter over HTTP, against a server that follows the provider's rules."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import msgspec
import pytest
from claude.claude_wire import BOUND, PLAIN, prepare

import lutum
from lutum import ModelInput
from lutum.abc import Prepared, TurnRequest
from lutum.testing import check_adapter
from lutum.testing.wire import Call, CutAt, ErrorEvent, Reply, Say, Status, Think, WireServer
from lutum_claude import ClaudeAdapter, ClaudeOptions

HI = ModelInput().user("Hi")


@asynccontextmanager
async def connected(
    *scripts: Any, model: str = PLAIN, **given: Any
) -> AsyncIterator[tuple[ClaudeAdapter, WireServer]]:
    server = WireServer(scripts, api_key="secret")
    async with (
        httpx.AsyncClient(transport=server.transport()) as client,
        ClaudeAdapter(model, api_key="secret", base_url=server.url, http_client=client, **given) as adapter,
    ):
        yield adapter, server


async def carried_out(adapter: ClaudeAdapter, prepared: Prepared) -> list[lutum.Event]:
    """Every event of one exchange."""
    exchange, out = adapter.exchange(prepared), list[lutum.Event]()
    try:
        await exchange.open(lambda phase: None)
        while await exchange.receive(out):
            pass
    finally:
        await exchange.aclose()
    return out


async def test_a_turn_in_claude() -> None:
    """What was prepared is what the server gets, with the key, and its answer is a whole turn."""
    async with connected(Reply(Think("hm"), Say("Hel", "lo"))) as (adapter, server):
        prepared = adapter.prepare(TurnRequest(transcript=HI.transcript))
        events = await carried_out(adapter, prepared)
    (request,) = server.requests
    assert request.body == prepared.body
    assert request.headers["x-api-key"] == "secret"
    done = events[-1]
    assert isinstance(done, lutum.Completed)
    assert (done.turn.text, done.turn.reasoning, done.turn.scope) == ("Hello", "hm", "wire.test")
    assert done.turn.prefix == HI.transcript.digest


async def test_a_conversation_in_claude() -> None:
    """Signed turns with calls, late system items and one-turn instructions go on being taken."""
    scripts = [Reply(Think("a"), Call("look", {"n": 1})), Reply(Think(""), "b"), Reply(Think("c"), "d")]
    async with connected(*scripts, model=BOUND) as (adapter, server):
        tools = lutum.ToolDef("look", '{"type":"object"}')
        plan = lutum.abc.ToolPlan(head=(tools,))
        transcript = ModelInput().system("S").user("Hi").transcript
        for step in range(3):
            shown = ((len(transcript), lutum.Message("system", (lutum.Text("Now."),))),) if step == 1 else ()
            events = await carried_out(
                adapter, adapter.prepare(TurnRequest(transcript=transcript, tools=plan, ephemerals=shown))
            )
            done = events[-1]
            assert isinstance(done, lutum.Completed)
            assert done.turn.exact
            turn = done.turn if step else msgspec.structs.replace(done.turn, tools=(tools,))
            transcript = transcript.append(turn)
            for call in turn.tool_calls:
                transcript = transcript.append(lutum.ToolResult(call.id, (lutum.Text("ok"),)))
            for item in ModelInput().system("Late.").user("Go on."):
                transcript = transcript.append(item)
        assert len(server.requests) == 3


async def test_dropped_thinking_is_an_event() -> None:
    """With `drop` the API drops what does not fit and says so, and so do the events."""
    options = ClaudeOptions(prefix_mismatch="drop")
    async with connected(Reply(Think("a"), "b"), Reply("c"), model=BOUND, options=options) as (adapter, _):
        first = await carried_out(adapter, adapter.prepare(TurnRequest(transcript=HI.transcript)))
        assert isinstance(first[-1], lutum.Completed)
        moved = ModelInput().user("Ho").turn(first[-1].turn).user("?").transcript
        events = await carried_out(adapter, adapter.prepare(TurnRequest(transcript=moved)))
    (dropped,) = [event for event in events if isinstance(event, lutum.ProviderEvent)]
    assert msgspec.json.decode(dropped.data)["reason"] == "prefix_binding_mismatch"


async def test_status_errors() -> None:
    """An error status is the provider's error, with what it said."""
    answer = Status(529, "overloaded_error", "Busy", headers={"retry-after": "3"})
    async with connected(answer) as (adapter, _):
        with pytest.raises(lutum.ProviderError, match="Busy") as caught:
            await carried_out(adapter, adapter.prepare(TurnRequest(transcript=HI.transcript)))
    found = caught.value
    assert (found.kind, found.status, found.retry_after) == ("overloaded", 529, 3.0)
    assert found.request_id is not None


async def test_error_events_and_cuts() -> None:
    """An error event is the provider's error; a cut is nobody's completed turn."""
    async with connected(Reply("a", ErrorEvent("overloaded_error")), Reply("abc", CutAt(700))) as (
        adapter,
        _,
    ):
        prepared = adapter.prepare(TurnRequest(transcript=HI.transcript))
        with pytest.raises(lutum.ProviderError) as caught:
            await carried_out(adapter, prepared)
        assert caught.value.kind == "overloaded"
        try:
            events = await carried_out(adapter, prepared)
        except lutum.Interrupted:
            return
        assert not any(isinstance(event, lutum.Completed) for event in events)


async def test_counting() -> None:
    """The count endpoint gets what it takes of the request, and its figure is the answer."""
    async with connected() as (adapter, server):
        options = ClaudeOptions(user_id="u", service_tier="auto")
        prepared = prepare(HI, via=adapter, options=options, max_output_tokens=9, stop=("x",))
        assert await adapter.count_input_tokens(prepared) > 0
    (request,) = server.requests
    assert request.path.endswith("/v1/messages/count_tokens")
    assert set(request.json) == {"model", "messages"}


async def test_counting_fails() -> None:
    """A refused count is the provider's error."""
    server = WireServer(api_key="other")
    async with httpx.AsyncClient(transport=server.transport()) as client:
        adapter = ClaudeAdapter(PLAIN, api_key="secret", base_url=server.url, http_client=client)
        with pytest.raises(lutum.ProviderError) as caught:
            await adapter.count_input_tokens(prepare(HI, via=adapter))
    assert caught.value.kind == "authentication"


async def test_a_session_in_claude() -> None:
    """The whole library over the adapter: a thinking model, tools of the head, and a fork that grew."""
    async with connected(Reply(Think("a"), "One."), Reply(Think("b"), "Two."), model=BOUND) as (
        adapter,
        server,
    ):
        session = lutum.Session(lutum.Lutum(adapter))
        session.push_system("S")
        for words in ("first", "second"):
            session.push_user(words)
            async with session.text_turn().max_output_tokens(300).stream() as turn:
                async for _ in turn:
                    pass
            session.commit_text(turn.result)
        assert turn.result.text == "Two."
    first, second = server.requests
    assert [m["role"] for m in second.json["messages"]] == ["user", "assistant", "user"]
    assert second.json["messages"][1]["content"][0]["type"] == "thinking"
    assert first.json["max_tokens"] == 300


async def test_claude_conformance() -> None:
    """The conformance kit finds nothing."""
    stream = b"".join(
        b"event: %b\ndata: %b\n\n" % (event["type"].encode(), msgspec.json.encode(event))
        for event in _events()
    )

    def connect(client: httpx.AsyncClient) -> ClaudeAdapter:
        return ClaudeAdapter(PLAIN, api_key="k", base_url="http://wire.test", http_client=client)

    with anyio.fail_after(60):
        await check_adapter(connect, [stream], cuts=40)


def _events() -> list[dict[str, Any]]:
    from claude.claude_wire import begin, delta, finish, start, stop, text

    thinking = {"type": "thinking", "thinking": "", "signature": ""}
    return [
        start(),
        begin(0, thinking),
        delta(0, type="thinking_delta", thinking="hm"),
        delta(0, type="signature_delta", signature="c2ln"),
        stop(0),
        begin(1, text("")),
        delta(1, type="text_delta", text="Hi \U0001f30a"),
        stop(1),
        *finish(),
    ]


@pytest.mark.parametrize("key", ["", " ", "secret\n", "sec\0ret", " secret", "s\u00e9cret", 5])
@pytest.mark.parametrize("name", ["api_key", "auth_token"])
def test_a_key_that_no_header_can_hold(name: str, key: Any) -> None:
    """It is refused when the adapter is made, and not quoted."""
    with pytest.raises(lutum.BadValue) as caught:
        ClaudeAdapter(PLAIN, **{name: key})
    assert caught.value.field == name
    assert "ret" not in str(caught.value)


@pytest.mark.parametrize("given", [None, "", "secret\n", 5, LookupError("vault")])
async def test_a_key_function_that_gives_none(given: Any) -> None:
    """It is your mistake, chained to what the function raised, and nothing is sent."""

    async def key() -> str:
        if isinstance(given, Exception):
            raise given
        return given

    server = WireServer([])
    async with httpx.AsyncClient(transport=server.transport()) as client:
        adapter = ClaudeAdapter(PLAIN, api_key=key, base_url=server.url, http_client=client)
        with pytest.raises(lutum.BadValue) as caught:
            await carried_out(adapter, adapter.prepare(TurnRequest(transcript=HI.transcript)))
    assert caught.value.field == "api_key"
    assert caught.value.__cause__ is (given if isinstance(given, Exception) else None)
    assert "secret" not in str(caught.value)
    assert not server.requests
