"""One program on every adapter: what becomes of a turn is the same, whoever answers and however it ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import httpx
import msgspec
import pytest
from fakes import VIRTUAL

import lutum
from lutum.abc import Adapter
from lutum.testing.wire import (
    At,
    BeforeHead,
    Cut,
    End,
    ErrorEvent,
    Garbage,
    Refuse,
    Reply,
    Reset,
    Say,
    Script,
    Stall,
    Status,
    WireServer,
)
from lutum_claude import ClaudeAdapter
from lutum_gemini import GeminiAdapter
from lutum_openai import OpenAIAdapter, OpenAIChatAdapter
from lutum_openrouter import OpenRouterAdapter

Make = Callable[[WireServer], Adapter]


def claude(server: WireServer) -> Adapter:
    return ClaudeAdapter("claude-sonnet-4-5", api_key="k", base_url=server.url, http_client=client(server))


def responses(server: WireServer) -> Adapter:
    return OpenAIAdapter("gpt-4.1", api_key="k", base_url=f"{server.url}/v1", http_client=client(server))


def chat(server: WireServer) -> Adapter:
    return OpenAIChatAdapter("gpt-4.1", api_key="k", base_url=f"{server.url}/v1", http_client=client(server))


def router(server: WireServer) -> Adapter:
    url = f"{server.url}/api/v1"
    return OpenRouterAdapter("openai/gpt-4.1", api_key="k", base_url=url, http_client=client(server))


def router_responses(server: WireServer) -> Adapter:
    url, given = f"{server.url}/api/v1", client(server)
    return OpenRouterAdapter("openai/gpt-4.1", api_key="k", base_url=url, http_client=given, api="responses")


def gemini(server: WireServer) -> Adapter:
    return GeminiAdapter("gemini-3.8-flash", api_key="k", base_url=server.url, http_client=client(server))


def client(server: WireServer) -> Any:
    return server.connect


ADAPTERS: list[Make] = [claude, responses, chat, router, router_responses, gemini]
EVERY = pytest.mark.parametrize("make", ADAPTERS)
RETRY = lutum.RetryPolicy(attempts=3, jitter=0)
LIMITS = lutum.Timeouts(first_event=30, idle=30, connect=5)

# Before anything was said, and what it is without a retry.
EARLY: dict[str, tuple[Script, type[lutum.TurnError]]] = {
    "overloaded": (Status(529), lutum.ProviderError),
    "rate limit": (Status(429, headers={"retry-after": "7"}), lutum.ProviderError),
    "rate limit, a date": (
        Status(429, headers={"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}),
        lutum.ProviderError,
    ),
    "server": (Status(500, body=b"<html>"), lutum.ProviderError),
    "no connection": (Refuse(), lutum.NetworkError),
    "reset before the head": (Reply(BeforeHead(Reset()), "x"), lutum.NetworkError),
    "cut behind the head": (Reply(At(Cut(), 0), "x"), lutum.Interrupted),
    "end behind the head": (Reply(At(End(), 0), "x"), lutum.Interrupted),
    "error event": (Reply(At(ErrorEvent("overloaded_error"), 0), "x"), lutum.ProviderError),
}


@VIRTUAL
@EVERY
@pytest.mark.parametrize(("fault", "kind"), EARLY.values(), ids=EARLY)
async def test_a_fault_before_the_first_word(make: Make, fault: Script, kind: type[lutum.TurnError]) -> None:
    """With a policy it is told and sent again, and each attempt is charged; without one it is raised."""
    server = WireServer([fault, fault, Reply("fine")])
    llm = lutum.Lutum(make(server), budget=lutum.Budget(tokens=100_000), retry=RETRY, timeout=LIMITS)
    async with llm.text_turn("hi").stream() as stream:
        events = [event async for event in stream]
    assert stream.result.text == "fine"
    assert sum(isinstance(event, lutum.WillRetry) for event in events) == 2
    assert len(stream.result.attempts) == 3
    assert stream.result.cumulative_usage.total_tokens == llm.budget.spent.total_tokens
    assert llm.budget.reserved.total_tokens == 0

    server = WireServer([fault, Reply("never asked for")])
    llm = lutum.Lutum(make(server), budget=lutum.Budget(tokens=100_000), timeout=LIMITS)
    with pytest.raises(kind) as failed:
        await llm.text_turn("hi").collect()
    assert (type(failed.value), failed.value.started) == (kind, False)
    assert len(server.requests) <= 1
    assert llm.budget.reserved.total_tokens == 0


# After two words, and what it is, with a retry policy or without.
LATE: dict[str, tuple[Any, type[lutum.TurnError]]] = {
    "cut": (Cut(), lutum.Interrupted),
    "reset": (Reset(), lutum.Interrupted),
    "end": (End(), lutum.Interrupted),
    "stall": (Stall(), lutum.TurnTimeout),
    "garbage": (Garbage(b"data: {not json\n\n"), lutum.ProviderError),
    "error event": (ErrorEvent("overloaded_error"), lutum.ProviderError),
}


@VIRTUAL
@EVERY
@pytest.mark.parametrize(("fault", "kind"), LATE.values(), ids=LATE)
async def test_a_fault_after_the_first_word(make: Make, fault: Any, kind: type[lutum.TurnError]) -> None:
    """It is raised as what it is, with what was said; nothing is sent again, and it was not free."""
    server = WireServer([Reply(Say("two ", "words", fault, " and more"))])
    llm = lutum.Lutum(make(server), budget=lutum.Budget(tokens=100_000), retry=RETRY, timeout=LIMITS)
    said = list[str]()
    with pytest.raises(kind) as failed:
        async with llm.text_turn("hi").stream() as stream:
            async for piece in stream.text():
                said.append(piece)
    error = failed.value
    assert type(error) is kind
    assert (error.started, error.partial is not None and error.partial.text) == (True, "two words")
    assert said == ["two ", "words"]
    assert len(server.requests) == 1
    assert server.requests[0].outcome != "open"
    assert error.usage == stream.usage == llm.budget.spent
    assert llm.budget.spent.output_tokens > 0
    assert llm.budget.spent.known != "exact"
    assert llm.budget.reserved.total_tokens == 0
    with pytest.raises(kind):
        _ = stream.result


class Film(msgspec.Struct):
    title: str
    year: int
    tags: list[str] = []


GOOD = '{"title":"A","year":1,"tags":[]}'
NO_VALUE = {
    "prose before": "Here: " + GOOD,
    "prose behind": GOOD + " and that is it",
    "a fence": f"```json\n{GOOD}\n```",
    "two values": GOOD + GOOD.replace("A", "B"),
    "a key twice": '{"title":"A","title":"B","year":1,"tags":[]}',
    "NaN": '{"title":"A","year":NaN,"tags":[]}',
    "too large": '{"title":"A","year":1e400,"tags":[]}',
    "another type": '{"title":"A","year":"1","tags":[]}',
    "a list": "[]",
    "null": "null",
    "deep": "[" * 10_000 + "]" * 10_000,
    "deep in a member": '{"title":"A","year":1,"tags":' + "[" * 10_000 + "]" * 10_000 + "}",
    "deep objects": '{"a":' * 10_000 + "1" + "}" * 10_000,
    "nothing": " ",
}


@pytest.mark.slow
@EVERY
@pytest.mark.parametrize("text", NO_VALUE.values(), ids=NO_VALUE)
async def test_what_is_no_value_in_every_adapter(make: Make, text: str) -> None:
    """One typed error with the text as it came, whatever was looked at on the way; it is charged."""
    pieces = [text[at : at + 50] for at in range(0, len(text), 50)]
    llm = lutum.Lutum(make(WireServer([Reply(Say(*pieces))])))
    with pytest.raises(lutum.OutputInvalid) as failed:
        async with llm.structured_turn(Film, "Which?").stream() as stream:
            seen = 0
            async for _ in stream:
                if (seen := seen + 1) % 20 == 0:
                    stream.partial_value()
                    stream.partial_value(as_type=True)
    assert failed.value.raw.strip() == text.strip()
    assert llm.budget.spent.input_tokens > 0
    assert llm.budget.reserved.total_tokens == 0


@EVERY
async def test_previews_are_what_is_sent(make: Make) -> None:
    """Three turns of a session, one with an ephemeral: every byte as shown, and each request only grows."""
    server = WireServer(default=Reply("yes"))
    session = lutum.Session(lutum.Lutum(make(server)))
    session.push_system("Be brief.")
    session.push_user("Is it \u2028 raining?")
    session.push_ephemeral_user("today")
    for _ in range(3):
        turn = session.text_turn().temperature(0.5).max_output_tokens(64)
        shown = turn.preview()
        result = await turn.collect()
        assert server.requests[-1].body == shown.body
        assert server.requests[-1].path == httpx.URL(shown.url).path
        session.commit_text(result)
        session.push_user("And now?")
    assert session.text_turn().preview().first_difference is None


@EVERY
@pytest.mark.parametrize("mode", ["raise", "stop", "drain"])
async def test_twenty_in_a_nursery(make: Make, mode: Any) -> None:
    """A budget for eight of twenty: refusals are not the end of the block, nobody pays more than was
    reserved, and the block's bill is its parent's."""
    usage = {"input_tokens": 5, "output_tokens": 15}
    if make in (chat, router):
        usage = {"prompt_tokens": 5, "completion_tokens": 15}
    if make is gemini:
        usage = {"promptTokenCount": 5, "candidatesTokenCount": 15}
    llm = lutum.Lutum(make(WireServer(default=Reply("some words", usage=usage))))
    turn, done, refused = lutum.Estimate(5, 20), list[str](), list[lutum.BudgetExceeded]()

    async def one(scoped: lutum.Lutum) -> None:
        try:
            done.append((await scoped.text_turn("hi").reserve(turn).collect()).text)
        except lutum.BudgetExceeded as error:
            refused.append(error)

    async with llm.within(tokens=8 * turn.total_tokens, on_spent=mode) as scoped:
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(one, scoped)
    assert (len(done), len(refused)) == (8, 12)
    assert scoped.budget.spent == llm.budget.spent
    assert (scoped.budget.spent.total_tokens, scoped.budget.exhausted) == (160, False)
    assert llm.budget.reserved.total_tokens == 0
    with pytest.raises(lutum.UsageError):
        await scoped.text_turn("hi").collect()


@EVERY
async def test_citations_of_documents(make: Make) -> None:
    """Claude cites documents. The other adapters send the document without the option, and name it."""
    document = lutum.Document.from_text("A refund is possible.", title="Terms", citations=True)
    asked = lutum.ModelInput().user([document, lutum.Text("How long?")])
    plain = lutum.ModelInput().user([lutum.Document.from_text("A refund."), lutum.Text("How long?")])
    server = WireServer()
    async with make(server) as adapter:
        turn = lutum.Lutum(adapter).text_turn
        dropped = turn(asked).preview().dropped_options
        assert turn(plain).preview().dropped_options == ()
        if make is claude:
            assert dropped == ()
            return
        (sentence,) = dropped
        assert sentence.startswith("citations=True of a document is left out")
