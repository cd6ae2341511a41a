"""Hosts that number their calls anew in each turn: such a session moves to any other provider."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given, strategies as st

import lutum
from lutum import CommittedTurn, Message, Text, TextItem, ToolCallItem, ToolResult, Transcript
from lutum.abc import Adapter, TurnRequest
from lutum.testing import strategies
from lutum.testing.wire import Call, Reply, WireServer
from lutum_claude import ClaudeAdapter
from lutum_openai import OpenAIAdapter, OpenAIChatAdapter

TOOLS = lutum.Toolset(lutum.raw_tool("look", {"type": "object"}))
MADE: dict[str, Any] = {"claude": ClaudeAdapter, "responses": OpenAIAdapter, "chat": OpenAIChatAdapter}
MODEL = {"claude": "claude-fable-5-1", "responses": "gpt-5.5", "chat": "gpt-4.1"}
BASE = {
    "claude": "https://api.anthropic.com",
    "responses": "https://api.openai.com/v1",
    "chat": "https://api.groq.com/openai/v1",
}


def adapter_of(kind: str, server: WireServer | None = None) -> Adapter:
    client = httpx.AsyncClient(transport=None if server is None else server.transport())
    made: Adapter = MADE[kind](MODEL[kind], base_url=BASE[kind], api_key="k", http_client=client)
    return made


async def go_round(session: lutum.Session, server: WireServer, *ids: str | None) -> None:
    """One round with calls of these ids, answered in call order."""
    server.add(Reply(*[Call("look", {}, id=id) for id in ids]))
    session.push_user("Look.")
    outcome = await session.text_turn().tools(TOOLS).collect()
    assert isinstance(outcome, lutum.NeedsTools)
    session.commit_round(outcome.round, [call.complete(f"seen {call.id}") for call in outcome.round.calls])


@pytest.mark.parametrize("kind", ["claude", "responses"])
async def test_repeated_ids_are_told_apart_elsewhere(kind: str) -> None:
    """The server takes it, each result names its call, and every later request begins as the one before."""
    hosts = WireServer(), WireServer()
    chat, other = adapter_of("chat", hosts[0]), adapter_of(kind, hosts[1])
    session = lutum.Session(lutum.Lutum(chat))
    for _ in range(3):
        await go_round(session, hosts[0], "call_0", "call_1")
    session = lutum.Session(lutum.Lutum(other), session.transcript)
    previews = list[Any]()
    for _ in range(2):
        await go_round(session, hosts[1], None)
        previews.append(session.text_turn().tools(TOOLS).preview())
    back = lutum.Session(lutum.Lutum(chat), session.transcript)
    await go_round(back, hosts[0], "call_0", "call_1")
    again = lutum.Session(lutum.Lutum(other), back.transcript)
    await go_round(again, hosts[1], None)
    previews.append(again.text_turn().tools(TOOLS).preview())
    assert [preview.first_difference for preview in previews] == [None] * 3
    assert not [request.error for host in hosts for request in host.requests if request.error]
    strategies.check_rounds(again.transcript)
    for first, second in pairwise(previews):
        assert second.body.startswith(first.body[: first.body.rindex(b"seen")])


def rounds(*names: str) -> list[lutum.Item]:
    """A transcript of turns of another host, each with calls of these ids (one letter a call)."""
    items: list[lutum.Item] = [Message("user", (Text("u"),))]
    for ids in names:
        calls = tuple(ToolCallItem(id, "look", "{}") for id in ids)
        items.append(CommittedTurn("x", "x", "m", b"{}", (TextItem("t"), *calls)))
        items += [ToolResult(id, (Text(f"of {at}"),)) for at, id in enumerate(ids)]
        items.append(Message("user", (Text("and?"),)))
    return items


LETTERS = st.text("abcé ", max_size=3).filter(lambda ids: len(set(ids)) == len(ids))


@given(st.lists(LETTERS, max_size=6), st.sampled_from(["claude", "responses"]))
def test_any_ids_go_out_once_and_paired_and_requests_only_grow(names: list[str], kind: str) -> None:
    """Whatever ids turns of another host have: unique on the wire, in pairs, and never changed afterwards."""
    adapter = adapter_of(kind)
    sent = [TurnRequest(transcript=Transcript(rounds(*names[:upto]))) for upto in range(len(names) + 1)]
    for request in sent:
        calls, answers = wire_ids(kind, adapter.prepare(request).body)
        assert len(set(calls)) == len(calls)
        assert answers == calls
    strategies.check_prefix(adapter, sent)


def wire_ids(kind: str, body: bytes) -> tuple[list[str], list[str]]:
    """The ids of calls and of results, in the order they stand in a body."""
    decoded: dict[str, Any] = msgspec.json.decode(body)
    if kind == "responses":
        items = decoded["input"]
        found = [
            [item["call_id"] for item in items if item.get("type") == name]
            for name in ("function_call", "function_call_output")
        ]
        return found[0], found[1]
    blocks = [b for m in decoded["messages"] if isinstance(m["content"], list) for b in m["content"]]
    return (
        [block["id"] for block in blocks if block["type"] == "tool_use"],
        [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"],
    )


@pytest.mark.parametrize("kind", ["claude", "responses"])
def test_an_id_that_is_there_once_goes_out_as_it_is(kind: str) -> None:
    """Only what repeats is changed, also where a result stands for its call."""
    alone = [ToolResult("a", (Text("r"),), False, "look", "{}"), Message("user", (Text("u"),))]
    items = [*rounds("a", "ab", ""), *alone]
    calls, answers = wire_ids(kind, adapter_of(kind).prepare(TurnRequest(transcript=Transcript(items))).body)
    assert calls == answers == ["a", "a_4", "b", "a_10"]
