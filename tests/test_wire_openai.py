"""OpenAI's dialects of the wire server, and the adapters against them: both faces, both backends."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import anyio
import corpus
import httpx
import msgspec
import pytest

import lutum
from lutum.testing import check_adapter
from lutum.testing.wire import (
    Answer,
    At,
    Block,
    Call,
    Chunking,
    Cut,
    Drip,
    End,
    ErrorEvent,
    NeverEnding,
    Part,
    RawEvent,
    RedactedThink,
    Reply,
    Say,
    Stall,
    Status,
    Think,
    WireRequest,
    WireServer,
    check_openai_chat_request,
    check_openai_completions_request,
    check_openai_responses_request,
)
from lutum.testing.wire._openai_seal import seal, unseal
from lutum_claude import ClaudeAdapter
from lutum_openai import OpenAIAdapter, OpenAIChatAdapter, OpenAIOptions
from lutum_openai.completions import OpenAICompletionsAdapter
from lutum_openrouter import OpenRouterAdapter

KEY = "sk-not-to-be-shown"
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS = lutum.Toolset(lutum.raw_tool("weather", WEATHER))

Adapter = OpenAIAdapter | OpenAIChatAdapter | OpenAICompletionsAdapter | OpenRouterAdapter
Make = Callable[..., Adapter]


def responses(url: str, **given: Any) -> Adapter:
    return OpenAIAdapter("gpt-5.5", api_key=KEY, base_url=url + "/v1", **given)


def chat(url: str, **given: Any) -> Adapter:
    return OpenAIChatAdapter("some-model", api_key=KEY, base_url=url + "/v1", **given)


def router(url: str, **given: Any) -> Adapter:
    return OpenRouterAdapter("anthropic/claude-sonnet-4.5", api_key=KEY, base_url=url + "/api/v1", **given)


def router_responses(url: str, **given: Any) -> Adapter:
    return OpenRouterAdapter(
        "openai/gpt-5.5", api="responses", api_key=KEY, base_url=url + "/api/v1", **given
    )


ADAPTERS: dict[str, Make] = {
    "responses": responses,
    "chat": chat,
    "router": router,
    "router-responses": router_responses,
}
EACH = pytest.mark.parametrize("make", ADAPTERS.values(), ids=ADAPTERS)
FACE = pytest.mark.parametrize("face", ["socket", "memory"])


@asynccontextmanager
async def connected(make: Make, face: str, server: WireServer) -> AsyncGenerator[lutum.Lutum]:
    """The adapter of a server, over that face."""
    async with AsyncExitStack() as stack:
        if face == "socket":
            await stack.enter_async_context(server)
            adapter = make(server.url)
        else:
            client = httpx.AsyncClient(transport=server.transport())
            adapter = make(server.url, http_client=await stack.enter_async_context(client))
        await stack.enter_async_context(adapter)
        yield lutum.Lutum(adapter, budget=lutum.Budget(tokens=200_000))


async def post(server: WireServer, path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(transport=server.transport()) as client:
        return await client.post(server.url + path, json=body, headers=headers)


async def get(server: WireServer, path: str) -> httpx.Response:
    async with httpx.AsyncClient(transport=server.transport()) as client:
        return await client.get(server.url + path)


def events(response: httpx.Response) -> list[Any]:
    """The data of every event but `[DONE]`, parsed."""
    lines = [line[6:] for line in response.text.split("\n") if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def asked(**more: Any) -> dict[str, Any]:
    """A request of Responses."""
    return {"model": "gpt-5.5", "input": [{"role": "user", "content": "hello"}], **more}


def talk(**more: Any) -> dict[str, Any]:
    """A request of Chat Completions."""
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}], **more}


# --- the adapters ---


@FACE
@EACH
async def test_a_session_in_wire_openai(make: Make, face: str) -> None:
    """Text, thinking, two tool rounds and what follows: accepted, exactly replayed, each request growing."""
    server = WireServer(
        [
            Reply(Think("I should look."), Say("Let me look."), Call("weather", {"city": "Oslo"})),
            Reply(
                Think("And there."), Call("weather", {"city": "Rome"}), Call("weather", '{"city": "Bari"}')
            ),
            Reply(Think("Enough."), "All three are sunny."),
            Reply("You are welcome."),
        ]
    )
    async with connected(make, face, server) as llm:
        session = lutum.Session(llm)
        session.push_system("You are concise.")
        session.push_user("Weather in Oslo?")
        for calls in (1, 2):
            outcome = await session.text_turn().tools(TOOLS).collect()
            assert isinstance(outcome, lutum.NeedsTools)
            round = outcome.round
            assert (len(round.calls), round.turn.exact, round.usage.known) == (calls, True, "exact")
            session.commit_round(round, [call.complete("sunny") for call in round.calls])
            assert session.text_turn().tools(TOOLS).preview().first_difference is None
        finished = await session.text_turn().tools(TOOLS).collect()
        assert isinstance(finished, lutum.Finished)
        assert (finished.result.text, finished.result.finish_reason) == ("All three are sunny.", "stop")
        assert finished.result.reasoning == "Enough."
        session.commit_text(finished.result)
        session.push_user("Thanks.")
        loaded = lutum.Session(llm, lutum.Transcript.load(session.transcript.dump()))
        preview = session.text_turn().preview()
        assert loaded.text_turn().preview().body == preview.body
        assert [form.exact for form in preview.forms] == [True, True, True]
        last = await session.text_turn().collect()
        assert last.text == "You are welcome."
        assert llm.budget.reserved.total_tokens == 0
    assert [request.error for request in server.requests] == [None] * 4
    assert server.requests[-1].body == preview.body
    assert server.outcomes() == ["completed"] * 4
    assert last.usage.total_tokens > 0


@EACH
@pytest.mark.parametrize(
    "script",
    [
        Reply(Think("I was"), stop_reason="max_output_tokens"),
        Reply("half", Think("hm")),
        Reply(RedactedThink()),
        Reply(),
    ],
)
async def test_a_turn_that_says_little(make: Make, script: Reply) -> None:
    """A turn without words, or that ends in a thought, is committed, and what goes back is accepted."""
    server = WireServer([script, Reply("ok")])
    async with connected(make, "memory", server) as llm:
        session = lutum.Session(llm)
        session.push_user("hello")
        session.commit_text(await session.text_turn().collect())
        session.push_user("go on")
        assert (await session.text_turn().collect()).text == "ok"
    assert [request.error for request in server.requests] == [None, None]


@EACH
@pytest.mark.parametrize("arguments", ['{"city": ', "[1]", "null", ""])
async def test_wire_openai_arguments_that_are_no_object(make: Make, arguments: str) -> None:
    """A call with such arguments goes back as the string that came, with its result, and is accepted."""
    server = WireServer([Reply(Think("hm"), Call("weather", arguments)), Reply("ok")])
    async with connected(make, "memory", server) as llm:
        session = lutum.Session(llm)
        session.push_user("hello")
        outcome = await session.text_turn().tools(TOOLS).collect()
        assert isinstance(outcome, lutum.NeedsTools)
        session.commit_round(outcome.round, [call.complete("?") for call in outcome.round.calls])
        await session.text_turn().tools(TOOLS).collect()
    assert server.requests[1].error is None
    assert json.dumps(arguments).encode() in server.requests[1].body


@EACH
@pytest.mark.parametrize("chunking", ["burst", 3, (1, 7, 2), Drip(11)])
async def test_however_it_is_cut_into_chunks(make: Make, chunking: Chunking) -> None:
    """Events are the same, whatever HTTP chunk they come in."""
    parts: list[Part] = [Think("Häm."), Say("Let me ☃.")]
    server = WireServer([Reply(*parts, chunking=chunking), Reply(*parts, chunking="event")])
    async with connected(make, "memory", server) as llm:
        seen = list[list[lutum.Event]]()
        for _ in range(2):
            async with llm.text_turn("hello").stream() as stream:
                seen.append(
                    [e async for e in stream if isinstance(e, lutum.TextDelta | lutum.ReasoningDelta)]
                )
    assert seen[0] == seen[1]
    assert len(seen[0]) == 4


@pytest.mark.parametrize("first", ADAPTERS)
@pytest.mark.parametrize("second", [*ADAPTERS, "claude"])
async def test_wire_openai_there_and_back(first: str, second: str) -> None:
    """A session goes on with another adapter and comes back: accepted everywhere, the first's turns exact."""
    foreign = None if "responses" in second else f"call_{'x' * 60}"  # longer than Responses take
    server = WireServer(
        [
            Reply(Think("hm"), "look", Call("weather", {"city": "Oslo"})),
            Reply(Think("hm"), "and", Call("weather", {"city": "Rome"}, id=foreign)),
            Reply(Think("hm"), "done"),
            Reply("bye"),
        ]
    )
    makes: dict[str, Callable[..., Any]] = {**ADAPTERS, "claude": claude}
    here, there = (connected(makes[name], "memory", server) for name in (first, second))
    async with here as one, there as other:
        session = lutum.Session(one)
        session.push_system("Be brief.")
        session.push_user("Weather?")
        for llm in (one, other):
            session = session.fork(llm=llm)
            outcome = await session.text_turn().tools(TOOLS).collect()
            assert isinstance(outcome, lutum.NeedsTools)
            session.commit_round(outcome.round, [call.complete("sunny") for call in outcome.round.calls])
        session = session.fork(llm=one)
        finished = await session.text_turn().tools(TOOLS).collect()
        assert isinstance(finished, lutum.Finished)
        session.commit_text(finished.result)
        session.push_user("Thanks.")
        forms = [form.exact for form in session.text_turn().preview().forms]
        same = (first, second) in SAME or first == second
        # What the plain adapter was sent as `reasoning_content`, OpenRouter does not take back.
        same = same and (first, second) != ("router", "chat")
        assert forms == [True, same, True]
        await session.text_turn().collect()
    assert [request.error for request in server.requests] == [None] * 4


# They speak one dialect, and in these tests stand at one host.
SAME = [
    ("chat", "router"),
    ("router", "chat"),
    ("responses", "router-responses"),
    ("router-responses", "responses"),
]


def claude(url: str, **given: Any) -> ClaudeAdapter:
    return ClaudeAdapter("claude-sonnet-4-5", api_key=KEY, base_url=url, **given)


@EACH
async def test_what_is_thought_comes_back(make: Make) -> None:
    """Sealed, redacted and empty reasoning goes back as it came; the server, which checks it, accepts it."""
    parts: list[Part] = [Think("One ", "thought."), RedactedThink(), Think(), Say("Yes.")]
    server = WireServer([Reply(*parts), Reply("No.")])
    async with connected(make, "memory", server) as llm:
        session = lutum.Session(llm)
        session.push_user("hello")
        session.commit_text(await session.text_turn().collect())
        session.push_user("really?")
        await session.text_turn().collect()
    said = server.requests[1].json
    assert server.requests[1].error is None
    if "input" in said:
        sealed = [item["encrypted_content"] for item in said["input"] if item.get("type") == "reasoning"]
        assert [unseal(text) is not None for text in sealed] == [True] * 3
    elif make is router:
        details = said["messages"][1]["reasoning_details"]
        sealed = [detail.get("data") or detail.get("signature") for detail in details]
        assert [unseal(text) is not None for text in sealed if text] == [True] * 3
    else:
        assert said["messages"][1]["reasoning_content"] == "One thought."


@pytest.mark.parametrize("make", [responses, router, router_responses])  # `reasoning_content` is not signed
async def test_an_altered_thought_is_refused(make: Make) -> None:
    """What a turn's sealed reasoning says cannot be edited on its way back."""
    server = WireServer([Reply(Think("One thought."), "Yes.")])
    async with connected(make, "memory", server) as llm:
        session = lutum.Session(llm)
        session.push_user("hello")
        session.commit_text(await session.text_turn().collect())
        session.push_user("really?")
        body = session.text_turn().preview().body
    assert b"One thought." in body
    request = server.requests[0]
    for altered in (body.replace(b"One thought.", b"Two thoughts."), body.replace(b'"gAAAA', b'"hAAAA')):
        answer = await post(server, request.path, json.loads(altered))
        assert answer.status_code == 400, answer.text


@FACE
@EACH
async def test_a_turn_that_is_left(make: Make, face: str) -> None:
    """However a turn is left, the server sees the connection close, and the lease is settled."""

    async def by_break(turn: lutum.TextTurn) -> None:
        async with turn.stream() as stream:
            async for _ in stream.text():
                break

    async def by_scope(turn: lutum.TextTurn) -> None:
        async with turn.stream() as stream:
            async for _ in stream.text():
                stream.cancel_scope.cancel()

    async def by_timeout(turn: lutum.TextTurn) -> None:
        with pytest.raises(lutum.TurnTimeout) as caught:
            await turn.timeout(total=0.5).collect()  # room for a busy machine
        assert caught.value.partial is not None
        assert caught.value.partial.text.startswith("and ")

    leaves: list[Callable[[lutum.TextTurn], Awaitable[None]]] = [by_break, by_scope, by_timeout]
    server = WireServer(default=Reply(NeverEnding("and ", delay=0.001)))
    async with connected(make, face, server) as llm:
        for number, leave in enumerate(leaves):
            await leave(llm.text_turn("hello").max_output_tokens(1000))
            with anyio.fail_after(1):
                await server.requests[number].wait_disconnect()
            assert llm.budget.reserved.total_tokens == 0
        assert llm.budget.spent.output_tokens > 0


@FACE
@EACH
@pytest.mark.parametrize("end", [Cut(), End()], ids=["cut", "end"])
async def test_a_stream_that_ends_early(make: Make, face: str, end: Cut | End) -> None:
    """Half an answer is an error with what was said, also where the body ends cleanly."""
    async with connected(make, face, WireServer([Reply("some words", end)])) as llm:
        with pytest.raises(lutum.Interrupted) as caught:
            await llm.text_turn("hello").collect()
        assert caught.value.partial is not None
        assert caught.value.partial.text == "some words"
        assert caught.value.started


@EACH
async def test_no_event_comes(make: Make) -> None:
    """A server that falls silent before its first word is timed out by `first_event`, later by `idle`."""
    async with connected(make, "memory", WireServer(default=Reply(At(Stall(), 0), "no"))) as llm:
        with pytest.raises(lutum.TurnTimeout) as caught:
            await llm.text_turn("hello").timeout(first_event=0.01).collect()
        assert caught.value.reason == "first_event"
    async with connected(make, "memory", WireServer(default=Reply(Say("some ", Stall(), "words")))) as llm:
        with pytest.raises(lutum.TurnTimeout) as caught:
            await llm.text_turn("hello").timeout(idle=0.01).collect()
        assert caught.value.reason == "idle"


FAILURES = [
    ("server_error", "server"),
    ("rate_limit_exceeded", "rate_limit"),
    ("insufficient_quota", "billing"),
    ("server_is_overloaded", "overloaded"),
]


@EACH
@pytest.mark.parametrize(("word", "kind"), FAILURES)
async def test_an_error_in_the_stream(make: Make, word: str, kind: str) -> None:
    """An error inside a 200 stream is classed as its status would be, and keeps what was said."""
    replies = [
        Reply("some ", "words", ErrorEvent(word, "boom")),
        Reply("some", At(ErrorEvent(word, "boom"), 3)),
    ]
    async with connected(make, "memory", WireServer(replies)) as llm:
        for _ in replies:
            with pytest.raises(lutum.ProviderError, match="boom") as caught:
                await llm.text_turn("hello").collect()
            if make is router and word == "insufficient_quota":
                kind = "rate_limit"  # all that OpenRouter says is 429
            assert caught.value.kind == kind


STATUSES = [
    (400, "invalid_request"),
    (401, "authentication"),
    (403, "permission"),
    (404, "not_found"),
    (429, "rate_limit"),
    (500, "server"),
    (503, "overloaded"),
]


@EACH
@pytest.mark.parametrize(("status", "kind"), STATUSES)
async def test_an_error_status_in_wire_openai(make: Make, status: int, kind: str) -> None:
    """An error status is a provider error with its message and request id, and costs nothing."""
    server = WireServer([Status(status, message="boom", headers={"retry-after": "7"})])
    async with connected(make, "memory", server) as llm:
        with pytest.raises(lutum.ProviderError, match="boom") as caught:
            await llm.text_turn("hello").collect()
        error = caught.value
        assert (error.status, error.kind, error.retry_after) == (status, kind, 7.0)
        assert error.request_id == (None if "/api/v1/" in server.requests[0].path else "req_0000")
        assert llm.budget.spent.total_tokens == 0


@EACH
async def test_a_wrong_key(make: Make) -> None:
    """A server with a key refuses any other, and its error does not show it."""
    async with connected(make, "memory", WireServer(api_key="another")) as llm:
        with pytest.raises(lutum.ProviderError) as caught:
            await llm.text_turn("hello").collect()
        assert (caught.value.status, caught.value.kind) == (401, "authentication")
        assert KEY not in str(caught.value)


@EACH
async def test_an_event_that_nobody_knows(make: Make) -> None:
    """An event of an unknown type comes to the consumer as it is, and the turn completes."""
    server = WireServer([Reply(RawEvent("response.news", '{"type":"response.news","n":1e2}'), "hi")])
    async with connected(make, "memory", server) as llm:
        async with llm.text_turn("hello").stream() as stream:
            strange = [event async for event in stream if isinstance(event, lutum.ProviderEvent)]
            assert b"1e2" in b"".join(event.data for event in strange)
            assert stream.result.text == "hi"


@EACH
async def test_usage_as_scripted(make: Make) -> None:
    """The figures of a reply arrive as exact usage, with cached and reasoning tokens."""
    inputs, outputs = {"cached_tokens": 40}, {"reasoning_tokens": 5}
    usage = {
        "input_tokens": 50,
        "input_tokens_details": inputs,
        "output_tokens": 9,
        "output_tokens_details": outputs,
        "prompt_tokens": 50,
        "prompt_tokens_details": inputs,
        "completion_tokens": 9,
        "completion_tokens_details": outputs,
    }
    async with connected(make, "memory", WireServer([Reply("hi", usage=usage)])) as llm:
        spent = (await llm.text_turn("hello").collect()).usage
    assert (spent.input_tokens, spent.output_tokens, spent.known) == (50, 9, "exact")
    assert (spent.cache_read_tokens, spent.reasoning_tokens) == (40, 5)


async def test_cost_at_openrouter() -> None:
    """OpenRouter's last chunk says the cost; its record, which is not there at first, says it again."""
    server = WireServer([Reply("hi")], generation_misses=2)
    async with connected(router, "memory", server) as llm:
        result = await llm.text_turn("hello").collect()
        assert result.usage.cost_usd is not None
        assert result.response is not None
        assert result.response.id == f"gen-{server.requests[0].id}"
        adapter = llm.adapter
        assert isinstance(adapter, OpenRouterAdapter)
        record = await adapter.recover_usage(result.response)
        assert record == msgspec.structs.replace(result.usage, known="recovered")
        unknown = lutum.Response(id="gen-9999")
        assert await adapter.recover_usage(unknown, within=0.01) is None
    paths = [request.path for request in server.requests]
    assert paths[:4] == ["/api/v1/chat/completions", *["/api/v1/generation"] * 3]


async def test_a_cancelled_turn_is_recovered() -> None:
    """With `recovery=` a turn that was left is settled with OpenRouter's bill, which comes a little later."""
    billed = {"prompt_tokens": 70, "completion_tokens": 30}
    server = WireServer([Reply(NeverEnding("and "), usage=billed)], generation_misses=1)
    async with connected(router, "memory", server) as llm:
        adapter = llm.adapter
        assert isinstance(adapter, OpenRouterAdapter)
        llm = lutum.Lutum(adapter, budget=lutum.Budget(tokens=50_000), recovery=adapter)
        async with llm.text_turn("hello").stream() as stream:
            async for _ in stream.text():
                break
        usage = stream.usage
        assert (usage.input_tokens, usage.output_tokens, usage.known) == (70, 30, "recovered")
        assert llm.budget.spent == usage
    assert [request.path for request in server.requests[1:]] == ["/api/v1/generation"] * 2


async def test_a_stored_response_is_asked_for() -> None:
    """What was stored can be asked for by its id, and continued; what was not cannot."""
    server = WireServer([Reply("hi"), Reply("ho"), Reply("hu")])
    async with connected(responses, "memory", server) as llm:
        stored = await llm.text_turn("hello").ext(OpenAIOptions(store=True)).collect()
        other = await llm.text_turn("hello").collect()
        adapter = llm.adapter
        assert isinstance(adapter, OpenAIAdapter)
        assert stored.response is not None
        assert other.response is not None
        recovered = await adapter.recover_usage(stored.response)
        assert recovered == msgspec.structs.replace(stored.usage, known="recovered")
        assert await adapter.recover_usage(other.response) is None
    first, second = (f"resp_{one.id}" for one in server.requests[:2])
    found = await get(server, f"/v1/responses/{first}")
    assert found.json()["output"][0]["content"][0]["text"] == "hi"
    assert (await post(server, "/v1/responses", asked(previous_response_id=first))).status_code == 200
    gone = await post(server, "/v1/responses", asked(previous_response_id=second))
    assert gone.json()["error"]["code"] == "previous_response_not_found"


async def test_tokens_are_counted() -> None:
    """With `exact_estimate` the count endpoint says the input, in one more request."""
    server = WireServer([Reply("one")])
    client = httpx.AsyncClient(transport=server.transport())
    adapter = OpenAIAdapter("gpt-5.5", api_key=KEY, base_url=server.url + "/v1", http_client=client)
    async with client, adapter:
        llm = lutum.Lutum(adapter, budget=lutum.Budget(tokens=50_000), estimate=lutum.exact_estimate)
        await llm.text_turn("hello").max_output_tokens(100).collect()
    assert [request.path for request in server.requests] == ["/v1/responses/input_tokens", "/v1/responses"]


@pytest.mark.parametrize(
    ("make", "model"),
    [(OpenAIAdapter, "gpt-5.5"), (OpenAIChatAdapter, "gpt-5.5"), (OpenAIChatAdapter, "gpt-4o")],
)
async def test_as_the_providers_own_host(make: Callable[..., Adapter], model: str) -> None:
    """At api.openai.com the strict rules hold, also for tools added on the way and for structured output."""
    server = WireServer([Reply(Call("weather", {"city": "Oslo"})), Reply("Sunny."), Reply('{"n":1}')])
    async with httpx.AsyncClient(transport=server.transport()) as client:
        adapter = make(model, api_key=KEY, http_client=client)
        session = lutum.Session(lutum.Lutum(adapter))
        session.push_system("Be brief.")
        session.push_user("Weather?")
        outcome = await session.text_turn().tools(TOOLS).collect()
        assert isinstance(outcome, lutum.NeedsTools)
        session.commit_round(outcome.round, [outcome.round.calls[0].complete("sunny")])
        session.push_developer("Say one word.")
        more = lutum.Toolset(
            lutum.raw_tool("weather", WEATHER), lutum.raw_tool("news", {"type": "object", "properties": {}})
        )
        finished = await session.text_turn().tools(more).collect()
        assert isinstance(finished, lutum.Finished)
        session.commit_text(finished.result)
        session.push_user("How many?")
        value = await session.structured_turn(Count).collect()
        assert value.value == Count(1)
    assert [request.headers["host"] for request in server.requests] == ["api.openai.com"] * 3
    assert [request.error for request in server.requests] == [None] * 3


class Count(msgspec.Struct):
    n: int


async def bodies(path: str, ask: Callable[..., dict[str, Any]], **server: Any) -> list[bytes]:
    """Response bodies of a dialect, whole, of turns without tools."""
    replies = [
        Reply("Hello there."),
        Reply(Think("hm ", "hm"), "Yes."),
        Reply(Think(), RedactedThink(), "No.", "No!", stop_reason=None),
        Reply(Say("See.", citations=[{"type": "url_citation", "url": "https://wire.test/"}])),
    ]
    wire = WireServer(replies, **server)
    include = {"include": ["reasoning.encrypted_content"]} if path.endswith("responses") else {}
    usage = {"stream_options": {"include_usage": True}} if path.endswith("chat/completions") else {}
    return [(await post(wire, path, ask(stream=True, **include, **usage))).content for _ in replies]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "path", "ask", "reasoning"),
    [
        (OpenAIAdapter, "/v1/responses", asked, None),
        (OpenAIChatAdapter, "/v1/chat/completions", talk, "reasoning_content"),
        (OpenAIChatAdapter, "/v1/chat/completions", talk, "reasoning"),
        (OpenRouterAdapter, "/api/v1/chat/completions", talk, None),
        (partial(OpenRouterAdapter, api="responses"), "/api/v1/responses", asked, None),
    ],
    ids=["responses", "chat", "chat-reasoning", "router", "router-responses"],
)
async def test_the_conformance_kit(
    make: Callable[..., Adapter], path: str, ask: Callable[..., dict[str, Any]], reasoning: str | None
) -> None:
    """The adapters keep promises 1, 2, 3, 5 and 7 on the dialects' own bodies."""

    def connect(client: httpx.AsyncClient) -> Adapter:
        return make("gpt-5.5", api_key=KEY, http_client=client)

    await check_adapter(connect, await bodies(path, ask, chat_reasoning=reasoning), cuts=40)


@pytest.mark.slow
async def test_the_conformance_kit_on_completions() -> None:
    """Completions pass, without replay: a completion is not a turn of a conversation."""
    wire = WireServer([Reply("and so on"), Reply("a", stop_reason="length")])
    asked_ = {"model": "m", "prompt": "begin", "stream": True, "stream_options": {"include_usage": True}}
    recorded = [(await post(wire, "/v1/completions", asked_)).content for _ in range(2)]

    def connect(client: httpx.AsyncClient) -> Adapter:
        return OpenAICompletionsAdapter("m", api_key=KEY, http_client=client)

    await check_adapter(connect, recorded, cuts=40, conversation=False)


# --- the dialects ---

EVERYTHING: list[Part] = [
    Think("One ", "thought."),
    RedactedThink(),
    Say("Let me look.", citations=[{"type": "url_citation", "url": "https://wire.test/"}]),
    Call("weather", {"city": "Oslo"}),
    Call("weather", '{"n": 1e2}', id="mine"),
]


async def test_a_responses_stream() -> None:
    """Events are numbered and come in the API's order; their deltas are what the items say in the end."""
    server = WireServer([Reply(*EVERYTHING), Reply(*EVERYTHING)])
    body = asked(include=["reasoning.encrypted_content"], store=False)
    streamed = events(await post(server, "/v1/responses", body | {"stream": True}))
    whole = (await post(server, "/v1/responses", body)).json()
    assert [event["sequence_number"] for event in streamed] == list(range(len(streamed)))
    kinds = [event["type"].removeprefix("response.") for event in streamed]
    assert kinds[:5] == [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
    ]
    message = kinds.index("content_part.added")
    assert kinds[message - 1 : message + 8] == [
        "output_item.added",
        "content_part.added",
        *["output_text.delta"] * 3,
        "output_text.annotation.added",
        "output_text.done",
        "content_part.done",
        "output_item.done",
    ]
    final = streamed[-1]["response"]
    assert (kinds[-1], final["status"]) == ("completed", "completed")
    done = [event["item"] for event in streamed if event["type"] == "response.output_item.done"]
    assert done == final["output"]
    texts: dict[str, str] = {}
    first = server.requests[0].id
    for event in streamed:
        if "delta" in event:
            texts[event["item_id"]] = texts.get(event["item_id"], "") + event["delta"]
    assert texts == {
        f"rs_{first}_00": "One thought.",
        f"msg_{first}_02": "Let me look.",
        f"fc_{first}_03": '{"city":"Oslo"}',
        f"fc_{first}_04": '{"n": 1e2}',
    }
    renumbered = json.loads(json.dumps(final).replace(first, server.requests[1].id))
    assert renumbered | {"usage": None} == whole | {"usage": None}
    assert [item["type"] for item in whole["output"]] == [
        "reasoning",
        "reasoning",
        "message",
        "function_call",
        "function_call",
    ]


async def test_a_chat_stream() -> None:
    """The role comes first, then deltas, the finish reason, the usage if it was asked for, and `[DONE]`."""
    server = WireServer([Reply(*EVERYTHING), Reply(*EVERYTHING), Reply("hi")])
    body = talk(stream=True, stream_options={"include_usage": True})
    response = await post(server, "/v1/chat/completions", body)
    assert response.text.endswith("data: [DONE]\n\n")
    first, *chunks, finish, usage = events(response)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert finish["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "tool_calls"}
    assert usage["choices"] == []
    assert {chunk["usage"] for chunk in chunks} == {None}
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    whole = (await post(server, "/v1/chat/completions", talk())).json()["choices"][0]["message"]
    assert "".join(delta.get("content") or "" for delta in deltas) == whole["content"] == "Let me look."
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == whole["reasoning_content"]
    calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
    for number, call in enumerate(whole["tool_calls"]):
        pieces = [piece["function"]["arguments"] for piece in calls if piece["index"] == number]
        assert "".join(pieces) == call["function"]["arguments"]
    assert whole["tool_calls"][1]["id"] == "mine"
    bare = events(await post(server, "/v1/chat/completions", talk(stream=True)))
    assert not any("usage" in chunk for chunk in bare)


async def test_several_choices() -> None:
    """Chunks and bodies have as many choices as were asked for."""
    server = WireServer(default=Reply("hi"))
    streamed = events(await post(server, "/v1/chat/completions", talk(stream=True, n=2)))
    assert [chunk["choices"][0]["index"] for chunk in streamed] == [0, 1] * 3
    assert len((await post(server, "/v1/chat/completions", talk(n=2))).json()["choices"]) == 2


async def test_a_chat_at_openrouter_and_azure() -> None:
    """Each host's habits: comments, signed details and cost; a model in the path, and filter results."""
    server = WireServer(default=Reply(Think("hm ", "hm"), "hi"))
    response = await post(server, "/api/v1/chat/completions", talk(stream=True))
    assert response.text.startswith(": OPENROUTER PROCESSING\n\ndata: ")
    *_, signed, _, _, usage = events(response)
    assert unseal(signed["choices"][0]["delta"]["reasoning_details"][0]["signature"]) is not None
    assert usage["usage"]["cost"] > 0
    message = (await post(server, "/api/v1/chat/completions", talk())).json()["choices"][0]["message"]
    assert [detail["text"] for detail in message["reasoning_details"]] == ["hm hm"]
    path = "/openai/deployments/mine/chat/completions"
    body = {name: value for name, value in talk(stream=True).items() if name != "model"}
    streamed = events(await post(server, path + "?api-version=2024-10-21", body))
    assert (streamed[0]["choices"], streamed[1]["model"]) == ([], "mine")
    assert (await post(server, path, body)).status_code == 404


async def test_wire_openai_completions() -> None:
    """A prompt is continued with what a reply says; it says nothing but text."""
    server = WireServer(default=Reply("and so on"))
    body = {"model": "m", "prompt": "begin"}
    streamed = events(
        await post(
            server, "/v1/completions", body | {"stream": True, "stream_options": {"include_usage": True}}
        )
    )
    texts = [chunk["choices"][0]["text"] for chunk in streamed[:-1]]
    assert ("".join(texts), streamed[-1]["choices"]) == ("and so on", [])
    whole = (await post(server, "/v1/completions", body)).json()
    assert (whole["choices"][0]["text"], whole["choices"][0]["finish_reason"]) == ("and so on", "stop")
    server = WireServer([Reply(Think("hm")), Reply("x", ErrorEvent("server_error", "boom")), Reply("no")])
    assert (await post(server, "/v1/completions", body)).status_code == 500
    streamed = events(await post(server, "/v1/completions", body | {"stream": True}))
    assert streamed[-1]["error"]["message"] == "boom"
    assert (await post(server, "/v1/completions", {"model": "m"})).status_code == 400


@FACE
async def test_the_completions_adapter(face: str) -> None:
    """A prompt is continued; a cut, an error and a refusal are what they are with the other adapters."""

    def make(url: str, **given: Any) -> OpenAICompletionsAdapter:
        return OpenAICompletionsAdapter("m", api_key=KEY, base_url=url + "/v1", **given)

    bad: list[Answer] = [Reply("a", Cut()), Reply("a", ErrorEvent("server_error", "boom")), Status(429)]
    async with connected(make, face, WireServer([Reply("and so on"), *bad])) as llm:
        result = await llm.completion("begin").collect()
        assert (result.text, result.finish_reason, result.usage.known) == ("and so on", "stop", "exact")
        kinds = [lutum.Interrupted, lutum.ProviderError, lutum.ProviderError]
        for kind in kinds:
            with pytest.raises(kind):
                await llm.completion("begin").collect()


async def test_raw_items_and_deltas() -> None:
    """A raw item goes out byte for byte, with the events that are said to build it."""
    item = '{"id":"ws_1","type":"web_search_call","status":"completed","score":1e2}'
    searching = {"type": "response.web_search_call.searching"}
    verbatim = '{"type":"response.custom","n":1e2}'
    server = WireServer(
        default=Reply(Block(item, searching, verbatim), Block({"type": "refusal", "refusal": "No."}))
    )
    response = await post(server, "/v1/responses", asked(stream=True))
    assert response.text.count(item) == 3
    assert f"event: response.custom\ndata: {verbatim}\n\n" in response.text
    streamed = events(response)
    assert (streamed[3]["type"], streamed[3]["item_id"]) == ("response.web_search_call.searching", "ws_1")
    assert streamed[-1]["response"]["output"][1]["content"][0]["refusal"] == "No."
    server = WireServer(default=Reply(Block('{"refusal":"No","x":1e2}', {"refusal": "."})))
    assert '"x":1e2' in (await post(server, "/v1/chat/completions", talk(stream=True))).text
    message = (await post(server, "/v1/chat/completions", talk())).json()["choices"][0]["message"]
    assert message["refusal"] == "No."


async def test_an_answer_that_is_cut_short() -> None:
    """The provider's own words end an answer: `incomplete` with its reason, or a finish reason."""
    server = WireServer([Reply("hi", stop_reason="max_output_tokens"), Reply("hi", stop_reason="length")])
    last = events(await post(server, "/v1/responses", asked(stream=True)))[-1]
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    chunks = events(await post(server, "/v1/chat/completions", talk(stream=True)))
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"


async def test_the_error_events() -> None:
    """A Responses stream fails with `error` and `response.failed`, numbered on; the others with a frame."""
    server = WireServer(default=Reply("a", ErrorEvent("server_error", "boom"), "b"))
    *_, before, error, failed = events(await post(server, "/v1/responses", asked(stream=True)))
    numbers = [event["sequence_number"] for event in (before, error, failed)]
    assert numbers == list(range(numbers[0], numbers[0] + 3))
    assert error["error"]["message"] == failed["response"]["error"]["message"] == "boom"
    assert failed["response"]["status"] == "failed"
    response = await post(server, "/v1/chat/completions", talk(stream=True))
    assert "[DONE]" not in response.text
    assert events(response)[-1]["error"]["type"] == "server_error"
    last = events(await post(server, "/api/v1/chat/completions", talk(stream=True)))[-1]
    assert (last["error"]["code"], last["choices"][0]["finish_reason"]) == (500, "error")
    for path, body in (("/v1/responses", asked()), ("/v1/chat/completions", talk())):
        assert (await post(server, path, body)).status_code == 500


async def test_reasoning_of_another_model() -> None:
    """What another model thought is no error: it is left out, and the answer says so."""
    server = WireServer(default=Reply(Think("hm"), "hi"))
    include = ["reasoning.encrypted_content"]
    output = (await post(server, "/v1/responses", asked(include=include))).json()["output"]
    items = [*asked()["input"], *output, *asked()["input"]]
    same = (await post(server, "/v1/responses", asked(input=items))).json()
    assert "input_transformations" not in same
    other = (await post(server, "/v1/responses", asked(input=items, model="gpt-6"))).json()
    assert [entry["path"] for entry in other["input_transformations"]] == ["input[1]"]


async def test_what_was_not_stored_is_not_found() -> None:
    """References and bare reasoning items are found where their response was stored, else a 404."""
    server = WireServer(default=Reply(Think("hm"), "hi"))
    for store, status in ((True, 200), (False, 404)):
        output = (await post(server, "/v1/responses", asked(store=store))).json()["output"]
        for items in (output, [{"type": "item_reference", "id": output[1]["id"]}]):
            answer = await post(server, "/v1/responses", asked(input=[*items, *asked()["input"]]))
            assert answer.status_code == status, answer.text


@pytest.mark.parametrize("at", range(0, 50, 5))
def test_a_seal_that_was_touched(at: int) -> None:
    """A seal is opened where it is whole; with any character changed it is not."""
    sealed = seal("m", "a thought ☃")
    content = unseal(sealed)
    assert content is not None
    assert (content.model, content.text) == ("m", "a thought ☃")
    touched = sealed[:at] + ("A" if sealed[at] != "A" else "B") + sealed[at + 1 :]
    assert unseal(touched) is None
    assert unseal(sealed[:at]) is None


CALL = {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"}
RESULT = {"type": "function_call_output", "call_id": "c1", "output": "sunny"}
FUNCTION = {"type": "function", "name": "weather", "parameters": WEATHER}
LOOSE = {"type": "object", "properties": {"a": {"type": "string"}}}
USER = {"role": "user", "content": "hello"}
THOUGHT: dict[str, Any] = {"type": "reasoning", "id": "rs_1", "summary": []}
SAID = {"type": "message", "id": "msg_1", "role": "assistant", "content": "x"}
JSON_SCHEMA = {"type": "json_schema", "name": "x", "strict": True, "schema": LOOSE}

REFUSED_RESPONSES: list[tuple[dict[str, Any], str]] = [
    ({"model": None}, "Invalid type for 'model'"),
    ({"input": None}, "Invalid type for 'input'"),
    ({"messages": []}, "Unknown parameter: 'messages'"),
    ({"input": [CALL]}, "No tool output found for function call c1."),
    ({"input": [RESULT]}, "No tool call found for function call output with call_id c1."),
    ({"input": [RESULT, CALL]}, "No tool call found"),
    ({"input": [CALL, RESULT, RESULT]}, "Duplicate output"),
    ({"input": [CALL, CALL, RESULT]}, "Duplicate function call"),
    ({"input": [USER | {"id": "m"}, USER | {"id": "m"}]}, "Duplicate item found with id m."),
    (
        {"input": [CALL | {"arguments": {}}, RESULT]},
        "'input[0].arguments': expected a string, but got an object",
    ),
    ({"input": [CALL | {"call_id": "x" * 65}]}, "string too long"),
    ({"input": [{"type": "function_call", "call_id": "c1"}]}, "Missing required parameter: 'input[0].name'"),
    ({"input": [USER | {"role": "tool"}]}, "'input[0].role'"),
    ({"input": [USER | {"content": [{"type": "text", "text": "x"}]}]}, "'input[0].content[0].type'"),
    ({"input": [{"type": "tool_result"}]}, "'input[0].type'"),
    ({"input": [USER, THOUGHT]}, "without its required following item"),
    ({"input": [THOUGHT, USER]}, "without its required following item"),
    ({"input": [THOUGHT, {"role": "assistant", "content": "x"}]}, "without its required following item"),
    ({"tool_choice": "required"}, "must be specified with 'tools' parameter"),
    ({"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "x"}}, "Tool choice 'x' not found"),
    (
        {
            "tools": [FUNCTION],
            "tool_choice": {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "function", "name": "x"}],
            },
        },
        "Tool choice 'x' not found",
    ),
    ({"tools": [FUNCTION | {"name": "a b"}]}, "does not match pattern"),
    ({"tools": [FUNCTION | {"parameters": {}}]}, "schema must be a JSON Schema of 'type: \"object\"'"),
    ({"tools": [FUNCTION | {"parameters": LOOSE, "strict": True}]}, "'additionalProperties' is required"),
    ({"text": {"format": JSON_SCHEMA}}, "Invalid schema for response_format 'x'"),
    ({"text": {"format": {"type": "json_object"}}}, "must contain the word 'json'"),
    ({"max_output_tokens": 1}, "Expected a value >= 16, but got 1"),
    ({"temperature": -1}, "decimal below minimum value"),
    ({"include": ["thoughts"]}, "'include[0]'"),
    ({"stream_options": {}}, "only allowed when 'stream' is enabled"),
    ({"stream": "yes"}, "'stream': expected a boolean"),
]


@pytest.mark.parametrize(("more", "says"), REFUSED_RESPONSES, ids=range(len(REFUSED_RESPONSES)))
def test_what_responses_refuses(more: dict[str, Any], says: str) -> None:
    """What the Responses API would not take is refused, in its words."""
    found = check_openai_responses_request(asked(**more))
    assert found is not None
    assert says in found.message
    assert found.status == 400


def test_what_responses_takes() -> None:
    """What it would take, it takes."""
    strict = {"type": "json_schema", "name": "x", "strict": True, "schema": WEATHER}
    accepted: list[dict[str, Any]] = [
        {},
        {"input": "hello"},
        {"input": [USER, CALL, RESULT, THOUGHT, SAID]},
        {"tools": [FUNCTION], "tool_choice": "required"},
        {"tools": [{"type": "web_search"}], "tool_choice": {"type": "web_search"}},
        {"text": {"format": strict}},
        {"input": "as JSON", "text": {"format": {"type": "json_object"}}},
        {"stream": True, "stream_options": {"include_obfuscation": False}},
    ]
    for more in accepted:
        assert check_openai_responses_request(asked(**more)) is None
        assert check_openai_responses_request(json.dumps(asked(**more))) is None
    assert check_openai_responses_request(asked(provider={}), extras=True) is None
    assert check_openai_responses_request({"model": "m"}) is not None
    assert check_openai_responses_request(b"{") is not None
    assert check_openai_responses_request([]) is not None


CHAT_CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
CALLS = {"role": "assistant", "content": None, "tool_calls": [CHAT_CALL]}
TOOL = {"role": "tool", "tool_call_id": "c1", "content": "sunny"}
CHAT_FUNCTION = {"type": "function", "function": {"name": "weather", "parameters": WEATHER}}
STRICT = {"name": "weather", "parameters": LOOSE, "strict": True}


def forced(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


REFUSED_CHAT: list[tuple[dict[str, Any], str]] = [
    ({"model": ""}, "you must provide a model parameter"),
    ({"messages": None}, "Invalid type for 'messages'"),
    ({"messages": []}, "empty array"),
    ({"messages": [USER, CALLS]}, "did not have response messages: c1"),
    ({"messages": [USER, CALLS, USER, TOOL]}, "did not have response messages: c1"),
    ({"messages": [USER, TOOL]}, "must be a response to a preceeding message"),
    ({"messages": [USER, CALLS, TOOL, TOOL]}, "Duplicate value for 'tool_call_id'"),
    ({"messages": [USER, CALLS | {"tool_calls": [CHAT_CALL, CHAT_CALL]}, TOOL]}, "Duplicate value"),
    ({"messages": [USER, CALLS | {"tool_calls": []}]}, "'messages[1].tool_calls': empty array"),
    (
        {"messages": [CALLS | {"tool_calls": [CHAT_CALL | {"function": {"name": "x", "arguments": {}}}]}]},
        "'messages[0].tool_calls[0].function.arguments': expected a string, but got an object",
    ),
    ({"messages": [CALLS | {"tool_calls": [CHAT_CALL | {"id": "x" * 41}]}]}, "maximum length 40"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "Missing parameter 'tool_call_id'"),
    ({"messages": [{"role": "user", "content": None}]}, "expected a string, got null"),
    ({"messages": [{"role": "assistant", "content": None}]}, "expected a string, got null"),
    ({"messages": [{"role": "robot", "content": ""}]}, "'messages[0].role'"),
    (
        {"messages": [USER | {"content": [{"type": "input_text", "text": ""}]}]},
        "'messages[0].content[0].type'",
    ),
    ({"tools": []}, "'tools': empty array"),
    ({"tool_choice": "none"}, "only allowed when 'tools' are specified"),
    ({"parallel_tool_calls": True}, "only allowed when 'tools' are specified"),
    ({"tools": [CHAT_FUNCTION], "tool_choice": forced("x")}, "Tool choice 'x' not found"),
    ({"tools": [{"type": "function", "function": STRICT}]}, "'additionalProperties' is required"),
    ({"response_format": {"type": "json_object"}}, "must contain the word 'json'"),
    ({"response_format": {"type": "json_schema", "json_schema": JSON_SCHEMA}}, "Invalid schema"),
    ({"stream_options": {"include_usage": True}}, "only allowed when 'stream' is enabled"),
    ({"max_tokens": 1, "max_completion_tokens": 1}, "at the same time"),
    ({"model": "o3", "max_tokens": 1}, "Use 'max_completion_tokens' instead"),
    ({"max_completion_tokens": 0}, "integer below minimum value"),
    ({"temperature": 2.5}, "decimal above maximum value"),
    ({"stop": ["a"] * 5}, "maximum length 4"),
]


@pytest.mark.parametrize(("more", "says"), REFUSED_CHAT, ids=range(len(REFUSED_CHAT)))
def test_what_chat_refuses(more: dict[str, Any], says: str) -> None:
    """What Chat Completions would not take is refused, in its words."""
    found = check_openai_chat_request(talk(**more))
    assert found is not None
    assert says in found.message
    assert found.status == 400


@pytest.mark.corpus
def test_what_was_accepted_is_accepted() -> None:
    """No recorded request that its provider answered is refused here."""
    for record in corpus.load("openai_responses"):
        own = record["host"] == "api.openai.com" and "/vllm/" not in record["id"]  # vLLM under OpenAI's name
        if record["request"] and record["status"] == 200:
            answers = re.findall(r'"call_id": "(\w+)"', json.dumps(record["request"]))
            known = answers if record["request"].get("previous_response_id") else ()
            found = check_openai_responses_request(record["request"], known_calls=known, extras=not own)
            assert found is None, (record["id"], found)
    for record in corpus.load("openai_chat"):
        if record["request"] and record["status"] == 200:
            body, own = record["request"], record["host"] == "api.openai.com"
            found = check_openai_chat_request(body, deployment=None if body.get("model") else "x", own=own)
            assert found is None, (record["id"], found)


def test_what_chat_takes() -> None:
    """What it would take, it takes; compatible servers know more models and parts."""
    for more in (
        {},
        {"messages": [USER, CALLS, TOOL, USER]},
        {"tools": [CHAT_FUNCTION], "tool_choice": forced("weather"), "parallel_tool_calls": False},
        {"stream": True, "stream_options": {"include_usage": True}},
        {"messages": [USER | {"content": "as JSON"}], "response_format": {"type": "json_object"}},
    ):
        assert check_openai_chat_request(talk(**more)) is None
        assert check_openai_chat_request(json.dumps(talk(**more))) is None
    assert check_openai_chat_request(talk(model="o3", max_tokens=1), own=False) is None
    video = [{"type": "video_url", "video_url": {"url": "x"}}]
    assert check_openai_chat_request(talk(messages=[USER | {"content": video}]), own=False) is None
    assert check_openai_chat_request({"messages": [USER]}, deployment="mine") is None
    assert check_openai_chat_request(b"{") is not None
    assert check_openai_completions_request({"model": "m", "prompt": ["a", "b"]}) is None


async def test_what_is_refused_takes_no_script() -> None:
    """A refused request is answered with the provider's error and leaves the scripts as they are."""
    server = WireServer([Reply("hi")])
    bad = await post(server, "/v1/responses", asked(messages=[]))
    assert bad.json()["error"] == {
        "message": "Unknown parameter: 'messages'.",
        "type": "invalid_request_error",
        "param": "messages",
        "code": "unknown_parameter",
    }
    assert bad.headers["x-request-id"] == "req_0000"
    assert (await get(server, "/v1/responses")).status_code == 405
    assert (await get(server, "/v1/chat/completions")).status_code == 405
    assert (await post(server, "/v1/responses", asked())).status_code == 200


# --- both in one server ---


async def test_every_dialect_in_one_server() -> None:
    """One server answers every protocol, each in its own words."""

    def answer(request: WireRequest) -> Answer:
        return Reply(f"at {request.path}")

    server = WireServer(answer)
    for make, path in (
        (responses, "/v1/responses"),
        (chat, "/v1/chat/completions"),
        (router, "/api/v1/chat/completions"),
        (router_responses, "/api/v1/responses"),
    ):
        async with connected(make, "memory", server) as llm:
            assert (await llm.text_turn("hello").collect()).text == f"at {path}"


PROTOCOLS = ("OpenAI's Responses", "Chat Completions", "Gemini's generateContent")


@pytest.mark.slow
def test_the_demo_in_other_protocols() -> None:
    """`lutum demo` shows the same scenes in each protocol, and its replay is exact."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    running = [
        subprocess.Popen(
            [sys.executable, "-P", "-W", "error", "-m", "lutum.cli", "demo", *arguments],
            env=env | {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "http://127.0.0.1:9"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for arguments in (
            ["--provider", "wire-openai"],
            ["--provider", "wire-openai-chat", "--backend", "asyncio"],
            ["--provider", "wire-gemini"],
        )
    ]
    for program, protocol in zip(running, PROTOCOLS, strict=True):
        shown, wrong = program.communicate(timeout=60)
        assert (program.returncode, wrong) == (0, "")
        text = " ".join(shown.split())
        assert f"in {protocol}" in text
        assert "(thinking) Three well known ones" in text
        assert "Committed turn replayed: exact." in text
        assert re.search(r"at the server: (\d+) / \1 / \1 bytes, equal\.", text)
        assert "Still reserved: 0 tokens." in text
        assert KEY not in text
