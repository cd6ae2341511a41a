"""Turns of `GeminiAdapter` against the wire server, which signs parts and refuses what the API refuses."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import httpx
import pytest
from fakes import VIRTUAL
from gemini.gemini_wire import (
    BYPASS,
    FOUR,
    LOOK,
    THREE,
    TWO,
    USAGE,
    at,
    blocked,
    frame,
    prepare,
    recordings,
    session,
    text,
)
from msgspec import Struct

import lutum
from lutum.abc import ToolPlan
from lutum.testing import cancel_at, check_adapter
from lutum.testing.wire import (
    Block,
    Call,
    Cut,
    CutAt,
    Drip,
    End,
    Reply,
    Say,
    Status,
    Think,
    WireServer,
)
from lutum_gemini import GeminiAdapter, GeminiHooks, GeminiOptions, result_from_body
from lutum_openai import OpenAIAdapter

TOOLS = lutum.Toolset(
    lutum.raw_tool("look", {"type": "object", "properties": {"at": {"type": "string"}}}),
    lutum.raw_tool("write", {"type": "object"}),
)
MODELS = pytest.mark.parametrize("model", ["gemini-2.0-flash", TWO, THREE, "gemini-3.8-flash", FOUR])


class City(Struct):
    name: str
    people: int


@MODELS
async def test_a_conversation_with_parallel_calls(model: str) -> None:
    """Three calls and their results are one content each; every turn goes back exactly."""
    calls = [Call("look", {"at": f"{i}"}) for i in range(3)]
    talk, server = session(
        [Reply(Think("hm"), "Let me look.", *calls), Reply(Think("so"), "Done."), Reply("Bye.")], model
    )
    talk.push_system("Be brief.")
    talk.push_user("Look.")
    first = await talk.text_turn().tools(TOOLS).collect()
    assert isinstance(first, lutum.NeedsTools)
    assert first.round.finish_reason == "tool_calls"
    talk.commit_round(first.round, [call.complete("ok") for call in first.round.calls])
    second = await talk.text_turn().tools(TOOLS).collect()
    assert isinstance(second, lutum.Finished)
    talk.commit_text(second.result)
    talk.push_user("And?")
    preview = talk.text_turn().tools(TOOLS).preview()
    assert [form.exact for form in preview.forms] == [True, True]
    assert preview.first_difference is None
    third = await talk.text_turn().tools(TOOLS).collect()
    assert isinstance(third, lutum.Finished)
    assert third.result.text == "Bye."
    assert [request.error for request in server.requests] == [None] * 3
    contents = server.requests[1].json["contents"]
    assert [len(content["parts"]) for content in contents] == [1, 5, 3]
    signed = ["thoughtSignature" in part for part in contents[1]["parts"][2:]]
    assert signed == [not model.startswith("gemini-2.0"), False, False]


@pytest.mark.parametrize("edit", ["drop", "swap", "change", "split", "sibling"])
async def test_the_server_finds_what_was_edited(edit: str) -> None:
    """Requests that break exact replay are refused, as the API does."""
    talk, server = session([Reply("Words.", Call("look", {"at": "x"}), Call("write", {"n": 1}))])
    talk.push_user("Look.")
    outcome = await talk.text_turn().tools(TOOLS).collect()
    assert isinstance(outcome, lutum.NeedsTools)
    talk.commit_round(outcome.round, [call.complete("ok") for call in outcome.round.calls])
    body = json.loads(talk.text_turn().tools(TOOLS).preview().body)
    parts = body["contents"][1]["parts"]
    match edit:
        case "drop":
            del parts[1]["thoughtSignature"]
        case "swap":
            parts[1], parts[2] = parts[2], parts[1]
        case "change":
            parts[1]["functionCall"]["args"]["at"] = "y"
        case "split":
            body["contents"].insert(2, {"role": "model", "parts": [parts.pop()]})
        case _:
            parts[2]["thoughtSignature"] = BYPASS
    async with httpx.AsyncClient(transport=server.transport()) as client:
        path = f"{server.url}/v1beta/models/{THREE}:streamGenerateContent?alt=sse"
        answer = await client.post(path, json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["status"] == "INVALID_ARGUMENT"


async def test_a_foreign_conversation_goes_on() -> None:
    """Turns of OpenAI go out as their view with one bypass a step, and home again exactly."""
    there = WireServer(
        [Reply(Think("hm"), Call("look", {"at": "x"}, id="call_a"), Call("look", {"at": "y"}, id="call_b"))]
    )
    client = httpx.AsyncClient(transport=there.transport())
    openai = OpenAIAdapter("gpt-5.5", api_key="k", base_url=f"{there.url}/v1", http_client=client)
    talk = lutum.Session(lutum.Lutum(openai))
    talk.push_user("Look.")
    outcome = await talk.text_turn().tools(TOOLS).collect()
    assert isinstance(outcome, lutum.NeedsTools)
    talk.commit_round(outcome.round, [call.complete("ok") for call in outcome.round.calls])
    server = WireServer([Reply("Seen.")])
    here = lutum.Session(lutum.Lutum(at(server)), talk.transcript)
    finished = await here.text_turn().tools(TOOLS).collect()
    assert isinstance(finished, lutum.Finished)
    here.commit_text(finished.result)
    calls = [part for part in server.requests[0].json["contents"][1]["parts"] if "functionCall" in part]
    assert [part.get("thoughtSignature") for part in calls] == [BYPASS, None]
    assert all("id" not in part["functionCall"] for part in calls)
    here.push_user("And?")
    forms = here.text_turn().tools(TOOLS).preview().forms
    assert [form.exact for form in forms] == [False, True]
    assert "bypass" in forms[0].reason


async def test_a_structured_value_in_gemini() -> None:
    """A value by the schema, and by a forced tool where functions stand beside it."""
    talk, server = session([Reply('{"name":"Oslo","people":7}')], TWO)
    result = await lutum.Lutum(at(server, TWO)).structured_turn(City, "Which?").collect()
    assert result.value == City("Oslo", 7)
    config = server.requests[0].json["generationConfig"]
    assert config["responseMimeType"] == "application/json"
    server.add(Reply(Call("City", {"name": "Bergen", "people": 3})))
    turn = lutum.Lutum(at(server, TWO)).structured_turn(City, "Which?").ext(GeminiOptions(structured="tool"))
    assert (await turn.collect()).value == City("Bergen", 3)
    assert talk.transcript.digest


async def test_a_blocked_prompt_is_a_refusal() -> None:
    """It comes as a 200; a structured turn raises `Refused` when its value is read."""
    data = blocked("SAFETY")
    llm = lutum.Lutum(played(data, data), budget=lutum.Budget(tokens=100_000))
    result = await llm.text_turn("Hi").collect()
    assert (result.refusal, result.finish_reason) == ("The prompt was blocked (SAFETY).", "content_filter")
    assert llm.budget.spent.total_tokens == 3
    with pytest.raises(lutum.Refused):
        _ = (await llm.structured_turn(City, "Hi").collect()).value


def played(*bodies: bytes, model: str = TWO) -> GeminiAdapter:
    """An adapter whose provider answers with these bodies."""
    left = list(bodies)

    async def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=left.pop(0))

    client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    return GeminiAdapter(model, api_key="k", http_client=client)


@VIRTUAL
async def test_a_malformed_call_is_tried_again() -> None:
    """The first answer is not a success: with a policy it is tried again, and both are charged."""
    bad = frame(finish="MALFORMED_FUNCTION_CALL", usage={"promptTokenCount": 3, "totalTokenCount": 3})
    good = frame(text("ok"), finish="STOP", usage={**USAGE, "totalTokenCount": 12})
    retry = lutum.RetryPolicy(attempts=2, jitter=0)
    result = await lutum.Lutum(played(bad, good), retry=retry).text_turn("Hi").collect()
    assert (result.text, result.cumulative_usage.total_tokens) == ("ok", 15)
    with pytest.raises(lutum.ProviderError):
        await lutum.Lutum(played(bad)).text_turn("Hi").collect()


QUOTA: dict[str, Any] = {
    "error": {
        "code": 429,
        "message": "You exceeded your current quota.",
        "status": "RESOURCE_EXHAUSTED",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                "violations": [{"quotaId": "RequestsPerMinute", "quotaValue": "10"}],
            },
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.4s"},
        ],
    }
}


@VIRTUAL
async def test_the_time_to_wait_is_in_the_body() -> None:
    """`RetryInfo` is honoured; there is no header."""
    body = json.dumps(QUOTA).encode()
    server = WireServer([Status(429, body=body), Reply("ok")])
    retry = lutum.RetryPolicy(attempts=2, jitter=0)
    async with lutum.Lutum(at(server), retry=retry).text_turn("Hi").stream() as turn:
        waits = [event.after async for event in turn if isinstance(event, lutum.WillRetry)]
    assert waits == [34.4]
    assert turn.result.text == "ok"


async def test_a_quota_of_a_day_is_not_worth_a_retry() -> None:
    """It is a matter of billing, as a quota of nothing is."""
    for violation in ({"quotaId": "GenerateRequestsPerDayPerProject"}, {"quotaId": "x", "quotaValue": "0"}):
        body = json.loads(json.dumps(QUOTA))
        body["error"]["details"][0]["violations"] = [violation]
        server = WireServer([Status(429, body=json.dumps([body]).encode())])
        with pytest.raises(lutum.ProviderError, match="exceeded") as failed:
            await lutum.Lutum(at(server), retry=lutum.RetryPolicy(attempts=3)).text_turn("Hi").collect()
        assert (failed.value.kind, failed.value.retry_after, len(server.requests)) == ("billing", None, 1)


async def test_a_wrong_key_is_a_400() -> None:
    """It is an error of authentication all the same, and the key is sent in a header only."""
    server = WireServer([], api_key="right")
    client = httpx.AsyncClient(transport=server.transport())
    for key, status in (("wrong", 400), (lutum.transport.no_key, 403)):
        adapter = GeminiAdapter(TWO, api_key=key, base_url=server.url, http_client=client)
        with pytest.raises(lutum.ProviderError) as failed:
            await lutum.Lutum(adapter).text_turn("Hi").collect()
        assert failed.value.kind == ("authentication" if status == 400 else "permission")
        assert failed.value.status == status
    assert server.requests[0].headers["x-goog-api-key"] == "wrong"
    assert server.requests[0].query == "alt=sse"


def test_keys_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """`GOOGLE_API_KEY` goes before `GEMINI_API_KEY`; without one nothing is sent to Google."""
    for name in ("GOOGLE_API_KEY", "GEMINI_API_KEY", "GOOGLE_GEMINI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(lutum.BadValue, match="GEMINI_API_KEY"):
        lutum.Lutum(GeminiAdapter(TWO)).text_turn("Hi").preview()
    monkeypatch.setenv("GEMINI_API_KEY", "two")
    preview = lutum.Lutum(GeminiAdapter(TWO)).text_turn("Hi").preview()
    assert "two" not in str(preview)
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", "https://gateway.example/")
    adapter = GeminiAdapter(TWO)
    assert adapter.scope == "gateway.example"
    with pytest.raises(lutum.BadValue):
        GeminiAdapter(TWO, api_key=" ")
    with pytest.raises(lutum.BadValue):
        GeminiAdapter(" ", api_key="k")


async def test_gemini_vertex() -> None:
    """An access token of a function, asked for each request; project and region are in the path and scope."""
    asked = list[int]()

    async def token() -> str:
        asked.append(1)
        return "access"

    server = WireServer([Reply(Call("look", {"at": "x"})), Reply("ok")], api_key="access")
    client = httpx.AsyncClient(transport=server.transport())
    adapter = GeminiAdapter.vertex(
        THREE,
        project="my-project",
        region="us-central1",
        token=token,
        base_url=server.url,
        http_client=client,
    )
    assert adapter.scope == "wire.test/my-project"
    talk = lutum.Session(lutum.Lutum(adapter))
    talk.push_user("Hi")
    outcome = await talk.text_turn().tools(TOOLS).collect()
    assert isinstance(outcome, lutum.NeedsTools)
    talk.commit_round(outcome.round, [call.complete("ok") for call in outcome.round.calls])
    await talk.text_turn().tools(TOOLS).collect()
    assert len(asked) == 2
    assert server.requests[0].path == (
        f"/v1beta1/projects/my-project/locations/us-central1/publishers/google/models/{THREE}"
        ":streamGenerateContent"
    )
    assert "x-goog-api-key" not in server.requests[0].headers
    forms = lutum.Session(lutum.Lutum(at(server)), talk.transcript).text_turn().tools(TOOLS).preview().forms
    assert not forms[0].exact
    for field in ("project", "region"):
        given = {"project": "p", "region": "global", "token": "t", field: "a/b"}
        with pytest.raises(lutum.BadValue, match=field):
            GeminiAdapter.vertex(THREE, **given)


async def test_gemini_counting_tokens() -> None:
    """System instruction and tools are counted; the estimate is then exact."""
    server = WireServer([Reply("ok")])
    adapter = at(server)
    request = prepare(
        lutum.ModelInput().system("x").user("y"), THREE, tools=ToolPlan(head=(LOOK,)), via=adapter
    )
    counted = await adapter.count_input_tokens(request)
    assert counted > 0
    sent = server.requests[0].json["generateContentRequest"]
    assert sent["model"] == f"models/{THREE}"
    assert {"contents", "systemInstruction", "tools"} <= sent.keys()
    llm = lutum.Lutum(adapter, budget=lutum.Budget(tokens=100_000), estimate=lutum.exact_estimate)
    film = lutum.Document("video/mp4", file_id="files/abc")
    assert (await llm.text_turn(lutum.ModelInput().user([film])).collect()).text == "ok"
    with pytest.raises(lutum.EstimateRequired):
        unsure = lutum.Lutum(adapter, budget=lutum.Budget(tokens=100_000))
        await unsure.text_turn(lutum.ModelInput().user([film])).collect()


async def test_hooks_choose_model_and_options() -> None:
    """They run once a turn, before anything is reserved."""

    @GeminiHooks.resolve_model
    async def smaller(request: lutum.abc.TurnRequest, model: str) -> str:
        return TWO

    @GeminiHooks.resolve_options
    async def budget(request: lutum.abc.TurnRequest, options: GeminiOptions) -> GeminiOptions:
        return GeminiOptions(thinking_budget=0).over(options)

    server = WireServer([Reply("ok")])
    hooks = GeminiHooks(smaller, budget)
    await lutum.Lutum(at(server, hooks=hooks, options=GeminiOptions(top_k=3))).text_turn("Hi").collect()
    (request,) = server.requests
    assert TWO in request.path
    config = request.json["generationConfig"]
    assert (config["thinkingConfig"], config["topK"]) == ({"thinkingBudget": 0}, 3)


async def test_results_from_a_batch() -> None:
    """A line of a batch holds what the turn would send; its answer makes the same result."""
    from lutum_gemini import batch_line

    talk, server = session([])
    talk.push_user("Look.")
    turn = talk.text_turn().tools(TOOLS)
    line = json.loads(batch_line(turn, "one"))
    assert line["key"] == "one"
    assert line["request"] == json.loads(turn.preview().body)
    server.add(Reply(Think("hm"), Call("look", {"at": "x"})))
    async with httpx.AsyncClient(transport=server.transport()) as client:
        path = f"{server.url}/v1beta/models/{THREE}:generateContent"
        answer = await client.post(path, json=line["request"])
    outcome = result_from_body(answer.content, turn)
    assert isinstance(outcome, lutum.NeedsTools)
    talk.commit_round(outcome.round, [call.complete("ok") for call in outcome.round.calls])
    server.add(Reply("ok"))
    assert isinstance(await talk.text_turn().tools(TOOLS).collect(), lutum.Finished)
    for id, at_ in (("", turn), ("x", lutum.Lutum(OpenAIAdapter("m", api_key="k")).text_turn("Hi"))):
        with pytest.raises(lutum.BadValue):
            batch_line(at_, id)


async def test_tools_added_in_the_middle_keep_their_signatures() -> None:
    """The turn is inexact, and goes back whole all the same: signatures are not bound to the prefix."""
    talk, server = session([Reply("ok"), Reply(Call("look", {"at": "x"})), Reply("done")])
    talk.push_user("Hi")
    talk.commit_text(await talk.text_turn().collect())
    talk.push_user("Look.")
    outcome = await talk.text_turn().tools(TOOLS).collect()
    assert isinstance(outcome, lutum.NeedsTools)
    assert not outcome.round.turn.exact
    talk.commit_round(outcome.round, [call.complete("ok") for call in outcome.round.calls])
    await talk.text_turn().tools(TOOLS).collect()
    assert [request.error for request in server.requests] == [None] * 3


async def test_a_paused_answer_goes_on() -> None:
    """Commit the paused turn and start the next one with nothing pushed: the API continues its answer."""
    talk, server = session(
        [
            Reply("The first half", stop_reason="CONTINUATION", stop_details={"continuationToken": "t1"}),
            Reply(" and the second."),
            Reply("ok"),
        ],
        FOUR,
    )
    talk.push_user("Write.")
    first = await talk.text_turn().collect()
    assert first.finish_reason == "paused"
    talk.commit_text(first)
    talk.commit_text(await talk.text_turn().collect())
    assert server.requests[1].json["continuationToken"] == "t1"
    assert server.requests[1].json["contents"] == server.requests[0].json["contents"]
    talk.push_user("And?")
    await talk.text_turn().collect()
    assert server.requests[2].error is None
    assert [content["role"] for content in server.requests[2].json["contents"]] == ["user", "model", "user"]


@pytest.mark.parametrize("chunking", ["event", "burst", (1,), (7, 300)])
async def test_chunking(chunking: Any) -> None:
    server = WireServer([Reply(Think("hm"), "Some words.", Call("look", {"at": "x"}), chunking=chunking)])
    outcome = await lutum.Lutum(at(server)).text_turn("Hi").tools(TOOLS).collect()
    assert isinstance(outcome, lutum.NeedsTools)
    assert outcome.round.turn.text == "Some words."


@VIRTUAL
@pytest.mark.parametrize("step", [Cut(), End()])
async def test_a_cut_answer(step: Any) -> None:
    """A body that ends without a reason, cleanly or not, is interrupted, and it was not free."""
    server = WireServer([Reply(Say("two ", "words", step))])
    llm = lutum.Lutum(at(server), budget=lutum.Budget(tokens=100_000))
    with pytest.raises(lutum.Interrupted) as failed:
        await llm.text_turn("Hi").collect()
    assert failed.value.partial.text == "two words"
    assert llm.budget.spent.output_tokens > 0
    assert llm.budget.reserved.total_tokens == 0


@VIRTUAL
@pytest.mark.parametrize("end", ["cut", "end", "reset"])
async def test_cuts_at_every_byte(end: Any) -> None:
    """Wherever the body stops before its last frame is whole, the turn does not complete."""
    for byte in range(1, 700, 23):
        server = WireServer(
            [Reply("Hello there, ", Think("hm"), "and more words", CutAt(byte, end), chunking=Drip(64))]
        )
        with pytest.raises((lutum.Interrupted, lutum.NetworkError)):
            await lutum.Lutum(at(server)).text_turn("Hi").collect()


@VIRTUAL
async def test_cancelled_at_every_step() -> None:
    """However far it got: nothing stays reserved, and the transcript is what it was."""
    for k in range(1, 60):
        talk, _ = session([Reply(Think("hm"), "words", Call("look", {"at": "x"}))])
        talk = lutum.Session(lutum.Lutum(talk._llm.adapter, budget=lutum.Budget(tokens=100_000)))
        talk.push_user("Hi")
        before = talk.transcript
        cancelled, _ = await cancel_at(talk.text_turn().tools(TOOLS).collect(), k)
        assert talk.transcript is before
        assert talk._llm.budget.reserved.total_tokens == 0
        if not cancelled:
            break
    else:
        pytest.fail("the turn never ended")


async def test_on_a_socket() -> None:
    """The same protocol over a real connection."""
    async with WireServer([Reply(Think("hm"), "Hello."), Status(503)]) as server:
        async with GeminiAdapter(THREE, api_key="k", base_url=server.url) as adapter:
            llm = lutum.Lutum(adapter)
            assert (await llm.text_turn("Hi").collect()).text == "Hello."
            with pytest.raises(lutum.ProviderError) as failed:
                await llm.text_turn("Hi").collect()
            assert failed.value.kind == "overloaded"


async def test_code_execution() -> None:
    """Its parts are events, and go back with the turn."""
    code = Block({"executableCode": {"language": "PYTHON", "code": "print(1)"}})
    output = Block({"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}})
    talk, server = session([Reply(code, output, "It is 1."), Reply("ok")])
    turn = talk.text_turn().ext(GeminiOptions(server_tools=({"codeExecution": {}},)))
    talk.push_user("Run it.")
    turn = talk.text_turn().ext(GeminiOptions(server_tools=({"codeExecution": {}},)))
    async with turn.stream() as stream:
        names = [event.name async for event in stream if isinstance(event, lutum.ProviderEvent)]
    assert names == ["executableCode", "codeExecutionResult"]
    talk.commit_text(stream.result)
    talk.push_user("And?")
    await talk.text_turn().ext(GeminiOptions(server_tools=({"codeExecution": {}},))).collect()
    parts = server.requests[1].json["contents"][1]["parts"]
    assert [next(iter(part)) for part in parts] == ["executableCode", "codeExecutionResult", "text", "text"]


@pytest.mark.corpus
async def test_conformance_on_recorded_bodies() -> None:
    """The conformance kit is green on what Google's servers sent."""
    bodies = [
        record["sse"].encode()
        for record in recordings()
        if record["sse"]
        and record["status"] == 200
        and record.get("final")
        and not record["final"]["calls"]
        and record["faithful"]
        and len(record["sse"]) < 6_000
        and "finishReason-in-several-chunks" not in record["features"]
    ]
    assert len(bodies) > 20
    await check_adapter(
        lambda client: GeminiAdapter(TWO, api_key="k", http_client=client), bodies[::9][:6], cuts=10
    )


async def test_conformance_on_the_wire_server() -> None:
    """And on what the wire server sends."""
    server = WireServer([Reply(Think("hm"), "Hello there."), Reply("Just words.")])
    bodies = list[bytes]()
    async with httpx.AsyncClient(transport=server.transport()) as client:
        for model in (THREE, "gemini-2.0-flash"):
            path = f"{server.url}/v1beta/models/{model}:streamGenerateContent?alt=sse"
            asked = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
            bodies.append((await client.post(path, json=asked)).content)
    await check_adapter(
        lambda client: GeminiAdapter("gemini-2.0-flash", api_key="k", http_client=client), bodies[1:]
    )
    await check_adapter(lambda client: GeminiAdapter(THREE, api_key="k", http_client=client), bodies[:1])


async def test_gemini_prices() -> None:
    """Cached input and thoughts have their price, yours or that of genai-prices."""
    usage = {"promptTokenCount": 1_000, "cachedContentTokenCount": 600, "thoughtsTokenCount": 50}
    usage |= {"candidatesTokenCount": 50, "totalTokenCount": 1_100}
    prices = {TWO: lutum.Price(input="0.30", output="2.50", cache_read="0.03")}
    server = WireServer(default=Reply("ok", usage=usage))
    llm = lutum.Lutum(at(server, TWO), budget=lutum.Budget(cost_usd="1"), pricing=lutum.Pricing(prices))
    cost = Decimal("0.30") * 400 + Decimal("0.03") * 600 + Decimal("2.50") * 100
    assert (await llm.text_turn("Hi").collect()).usage.cost_usd == cost / 10**6
    pytest.importorskip("genai_prices")
    known = lutum.Pricing.from_genai_prices()
    for model in (TWO, "gemini-2.5-pro", THREE):
        assert (known.cost(model, lutum.Usage(1_000, 100, cache_read_tokens=600)) or 0) > 0
