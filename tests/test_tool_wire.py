"""Tool rounds of typed tools against servers that check requests as the providers do."""

from __future__ import annotations

import json
from typing import Any

import anyio
import msgspec
import pytest
from hypothesis import given, settings, strategies as st

import lutum
from lutum import Lutum, Session, ToolResult, Toolset
from lutum.abc import Adapter
from lutum.testing import strategies
from lutum.testing.wire import Call, Reply, Think, WireServer
from lutum_claude import ClaudeAdapter
from lutum_gemini import GeminiAdapter
from lutum_openai import OpenAIAdapter, OpenAIChatAdapter
from lutum_openrouter import OpenRouterAdapter


@lutum.tool
async def act(fate: str, n: int = 1) -> str:
    """Act."""
    await anyio.lowlevel.checkpoint()
    if fate == "raises":
        raise RuntimeError(fate)
    if fate == "says":
        raise lutum.ToolError("")
    if fate == "hangs":
        await anyio.sleep_forever()
    return fate


@lutum.tool_input
class Search(msgspec.Struct):
    """Search."""

    query: str


@lutum.tool
def extra(n: int) -> int:
    """More."""
    return n


TOOLS = Toolset(act, Search, lutum.off(Toolset(extra)))
MAKE: dict[str, Any] = {
    "claude": lambda client: ClaudeAdapter("claude-fable-5-1", api_key="k", http_client=client),
    "claude-old": lambda client: ClaudeAdapter("claude-sonnet-4-5", api_key="k", http_client=client),
    "gemini": lambda client: GeminiAdapter("gemini-3-flash-preview", api_key="k", http_client=client),
    "gemini-old": lambda client: GeminiAdapter("gemini-2.5-flash", api_key="k", http_client=client),
    "responses": lambda client: OpenAIAdapter("gpt-5.5", api_key="k", http_client=client),
    "chat": lambda client: OpenAIChatAdapter("gpt-4.1", api_key="k", http_client=client),
    "openrouter": lambda client: OpenRouterAdapter("openai/gpt-5.5", api_key="k", http_client=client),
}


def connect(kind: str) -> tuple[WireServer, Adapter]:
    server = WireServer()
    adapter: Adapter = MAKE[kind](server.connect)
    return server, adapter


def refusals(server: WireServer) -> list[str]:
    return [request.error.message for request in server.requests if request.error is not None]


def check_pairs(body: bytes) -> None:
    """Each call of a request has one result, in the message or run of items right behind it, in call order.

    Messages: all results first thing in the next user message (Claude, "Implement tool use"). Chat: one tool
    message a call before any other message. Responses: one output a call somewhere behind it; here, next.
    Gemini: all results in the next content, by name and order, because calls may have no ids.
    """
    request = json.loads(body)
    if "contents" in request:
        check_contents(request["contents"])
        return
    waiting = list[str]()
    for entry in request.get("input") or request["messages"]:
        calls, results, others = list[str](), list[str](), False
        content = entry.get("content")
        for block in content if isinstance(content, list) else []:
            if block["type"] == "tool_use":
                calls.append(block["id"])
            elif block["type"] == "tool_result":
                assert not others, "a result stands behind other blocks"
                results.append(block["tool_use_id"])
            else:
                others = True
        calls += [call["id"] for call in entry.get("tool_calls") or []]
        if entry.get("role") == "tool":
            results.append(entry["tool_call_id"])
        if entry.get("type") == "function_call":
            calls.append(entry["call_id"])
        elif entry.get("type") == "function_call_output":
            results.append(entry["call_id"])
        elif not results:
            assert not waiting, f"{waiting} have no result before the next message"
        assert results == waiting[: len(results)], f"{results} do not answer {waiting}"
        waiting = waiting[len(results) :] + calls
        assert len(set(waiting)) == len(waiting), "two calls have one id"
    assert not waiting, f"{waiting} have no result"


def check_contents(contents: list[Any]) -> None:
    """Each content with calls is followed by one with their results, by name and in order."""
    waiting = list[str]()
    for content in contents:
        results = [
            part["functionResponse"]["name"] for part in content["parts"] if "functionResponse" in part
        ]
        assert results == waiting
        waiting = [part["functionCall"]["name"] for part in content["parts"] if "functionCall" in part]
    assert not waiting


FATES = st.lists(st.sampled_from(["fine", "raises", "says", "hangs", "search", "lost", "bad"]), min_size=1)
ROUNDS = st.lists(st.tuples(FATES.map(lambda fates: fates[:4]), st.booleans()), min_size=1, max_size=3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", MAKE)
@given(rounds=ROUNDS)
@settings(max_examples=12)
async def test_any_rounds_go_out_as_the_provider_wants_them(
    kind: str, rounds: list[tuple[list[str], bool]]
) -> None:
    """Tools that raise, hang and are cancelled, are unknown or get bad arguments, some rounds cut from
    outside: what is committed is taken by the server, in pairs; a cut round leaves the identical transcript;
    the budget is settled."""
    server, adapter = connect(kind)
    session = Session(Lutum(adapter, budget=lutum.Budget(tokens=1_000_000)))
    for fates, is_cut in rounds:
        calls = {
            "search": Call("search", {"query": "q"}),
            "lost": Call("lost", {}),
            "bad": Call("act", {"fate": 1}),
        }
        server.add(Reply("Well.", *[calls.get(fate, Call("act", {"fate": fate})) for fate in fates]))
        session.push_user("Go on.")
        before = session.transcript
        outcome = await session.text_turn().max_output_tokens(500).tools(TOOLS).collect()
        assert isinstance(outcome, lutum.NeedsTools)
        for call in outcome.round.calls:
            if isinstance(call.input, Search):
                call.reject("not now")
        with anyio.CancelScope() as scope:
            if is_cut:
                scope.cancel()
            hanging = [call for call in outcome.round.calls if "hangs" in call.arguments]
            for call in hanging:
                call.cancel_scope.cancel()
            session.commit_round(outcome.round, await outcome.round.run(limit=2))
        if session.transcript is before:
            assert is_cut
            session.commit_round(outcome.round, await outcome.round.run())
        strategies.check_rounds(session.transcript)
        check_pairs(session.text_turn().tools(TOOLS).preview().body)
    server.add(Reply("Done."))
    outcome = await session.text_turn().max_output_tokens(500).tools(TOOLS).collect()
    assert isinstance(outcome, lutum.Finished)
    session.commit_text(outcome.result)
    assert refusals(server) == []
    for request in server.requests:
        check_pairs(request.body)
    assert session._llm.budget.reserved.total_tokens == 0
    assert [result.is_error for result in session.transcript if isinstance(result, ToolResult)] == [
        fate != "fine" for fates, _ in rounds for fate in fates
    ]


@pytest.mark.parametrize("kind", MAKE)
async def test_what_is_on_offer_changes_without_an_edit_of_the_head(kind: str) -> None:
    """A member that was off is turned on, all but one off, one described anew, then all as before: `tools`
    stays as the first turn sent it, or the turn says why it is not exact; the server, which binds thinking to
    what stands before it, takes every request."""
    server, adapter = connect(kind)
    session = Session(Lutum(adapter))
    bodies, reasons = list[Any](), list[str | None]()
    thought = (Think("Hm."),) if kind.startswith("claude") else ()

    async def turn(called: str, change: Any) -> None:
        server.add(Reply(*thought, Call(called, {"n": 1} if called == "extra" else {"fate": "fine"})))
        session.push_user("Go on.")
        outcome = await change(session.text_turn().tools(TOOLS)).collect()
        assert isinstance(outcome, lutum.NeedsTools)
        assert outcome.round.issues == ()
        bodies.append(json.loads(server.requests[-1].body))
        reasons.append(outcome.round.turn.inexact_reason)
        session.commit_round(outcome.round, await outcome.round.run())
        server.add(Reply(*thought, "Well."))
        done = await session.text_turn().tools(TOOLS).collect()
        assert isinstance(done, lutum.Finished)
        session.commit_text(done.result)

    await turn("act", lambda turn: turn)
    await turn("extra", lambda turn: turn.available(plus=[extra]))
    await turn("act", lambda turn: turn.available(only=[act]))
    await turn("act", lambda turn: turn.describe(act, "Act at once."))
    await turn("act", lambda turn: turn)
    assert refusals(server) == []
    heads = [body["tools"] for body in bodies]
    for head, reason in zip(heads, reasons, strict=True):
        assert head == heads[0] or reason is not None
    if kind == "claude":
        assert heads == [heads[0]] * 5
        assert reasons == [None] * 5
    if kind == "responses":
        assert heads[:3] == [heads[0]] * 3
        choices = [body.get("tool_choice", {"tools": []}) for body in bodies]
        allowed = [[tool["name"] for tool in choice["tools"]] for choice in choices[:3]]
        assert allowed == [[], [], ["act"]]
        assert choices[2]["type"] == "allowed_tools"
        assert [tool["name"] for tool in heads[0]] == ["act", "search"]
        added = [item for item in bodies[1]["input"] if item.get("type") == "additional_tools"]
        assert [tool["name"] for item in added for tool in item["tools"]] == ["extra"]


@pytest.mark.parametrize("kind", MAKE)
async def test_a_failure_without_words_goes_out_with_some(kind: str) -> None:
    """A result that is an error and says nothing is one that Claude refuses."""
    server, adapter = connect(kind)
    server.add(Reply("Well."))
    input = lutum.ModelInput().user("u").item(ToolResult("1", (lutum.Text(""),), True, "act", "{}"))
    async with adapter:
        outcome = await Lutum(adapter).text_turn(input).tools(TOOLS).collect()
    assert isinstance(outcome, lutum.Finished)
    assert refusals(server) == []
