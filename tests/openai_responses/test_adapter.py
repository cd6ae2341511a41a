"""The adapter: where it sends, with which key, and what it does with the answer."""

from collections.abc import Callable
from typing import Any

import httpx
import msgspec
import pytest
from openai_responses.responses_wire import (
    PLAIN,
    adapter,
    call,
    completed,
    created,
    delta,
    done,
    event,
    message,
    reasoning,
    response,
    sse,
)

import lutum
from lutum import BadValue, ModelInput, ProviderError, Usage
from lutum.abc import TurnRequest
from lutum.testing import check_adapter
from lutum_openai import OpenAIAdapter, OpenAIOptions

VARIABLES = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID")
REQUEST = TurnRequest(transcript=ModelInput().user("x").transcript)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


class Server:
    """Answers in memory and keeps what it was asked."""

    def __init__(self, answer: Callable[[httpx.Request], httpx.Response]) -> None:
        self.asked: list[httpx.Request] = []
        self._answer = answer
        self.client = httpx.AsyncClient(transport=httpx.MockTransport(self._take))

    def _take(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        return self._answer(request)


def stream(data: bytes) -> Server:
    return Server(lambda request: httpx.Response(200, headers={"x-request-id": "req_1"}, content=data))


def test_a_key_only_where_one_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    """api.openai.com demands a key, from the call or the environment; a local server wants none."""
    with pytest.raises(BadValue, match="OPENAI_API_KEY") as caught:
        adapter(api_key=None).prepare(REQUEST)
    assert caught.value.field == "api_key"
    assert adapter(api_key=None, base_url="http://localhost:1/v1").prepare(REQUEST).secret_headers == ()
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    assert adapter(api_key=None).prepare(REQUEST).secret_headers == ("authorization",)


def test_responses_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The base URL comes from the environment; organisation and project only for OpenAI's own host."""
    monkeypatch.setenv("OPENAI_ORG_ID", "org")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj")
    own = OpenAIAdapter(PLAIN, api_key="k").prepare(REQUEST)
    assert ("openai-organization", "org") in own.headers
    assert ("openai-project", "proj") in own.headers
    monkeypatch.setenv("OPENAI_BASE_URL", "https://llm.example/v1/")
    other = OpenAIAdapter(PLAIN, api_key="k").prepare(REQUEST)
    assert other.url == "https://llm.example/v1/responses"
    assert not any(name.startswith("openai-") for name, _ in other.headers)
    said = OpenAIAdapter(PLAIN, api_key="k", organization="mine").prepare(REQUEST)
    assert ("openai-organization", "mine") in said.headers


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("base_url", {"base_url": "ftp://x"}),
        ("model", {"model": " "}),
        ("default_max_output_tokens", {"default_max_output_tokens": 0}),
        ("http_client", {"http_client": object()}),
    ],
)
def test_bad_construction(field: str, given: dict[str, Any]) -> None:
    """What cannot be right is refused by the constructor, and the field named."""
    with pytest.raises(BadValue) as caught:
        adapter(**given)
    assert caught.value.field == field


def test_keys_are_never_shown() -> None:
    """Neither a repr nor what is prepared holds a key."""
    via = adapter(api_key="sk-secret")
    assert "sk-secret" not in repr(via) + repr(via.prepare(REQUEST))


async def test_a_turn_in_responses() -> None:
    """A whole turn over HTTP: the bytes that were prepared, the key, the events, the request's id."""
    server = stream(sse(created(), delta("output_text", "Hi"), completed(message("Hi"))))
    asked = list[int]()

    async def key() -> str:
        asked.append(1)
        return f"key-{len(asked)}"

    llm = lutum.Lutum(adapter(api_key=key, http_client=server.client))
    for number in (1, 2):
        result = await llm.text_turn("hello").collect()
        assert (result.text, result.finish_reason, result.request_id) == ("Hi", "stop", "req_1")
        assert result.usage == Usage(10, 5, 4, reasoning_tokens=2)
        request = server.asked[-1]
        assert request.headers["authorization"] == f"Bearer key-{number}"
        assert request.content == llm.text_turn("hello").preview().body
        assert msgspec.json.decode(request.content)["stream"] is True
    await server.client.aclose()


async def test_responses_azure() -> None:
    """On Azure the key is in `api-key` and the version in the query."""
    server = stream(sse(created(), completed(message("Hi"))))
    via = adapter(
        base_url="https://n.openai.azure.com/openai",
        api_version="2025-03-01-preview",
        http_client=server.client,
    )
    await lutum.Lutum(via).text_turn("hello").collect()
    assert server.asked[0].headers["api-key"] == "test-key"
    assert "authorization" not in server.asked[0].headers
    assert server.asked[0].url.params["api-version"] == "2025-03-01-preview"
    await server.client.aclose()


async def test_a_conversation_goes_on() -> None:
    """A committed turn is in the next request byte for byte, reasoning included."""
    item = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "x", "n": 1}
    server = stream(sse(created(), completed(item, message("Hi"), model="gpt-5.6")))
    session = lutum.Session(lutum.Lutum(adapter("gpt-5.6", http_client=server.client)))
    session.push_user("hello")
    session.commit_text(await session.text_turn().collect())
    session.push_user("and?")
    await session.text_turn().collect()
    first, second = (msgspec.json.decode(request.content) for request in server.asked)
    assert second["input"] == [
        *first["input"],
        item,
        message("Hi"),
        {"type": "message", "role": "user", "content": "and?"},
    ]
    await server.client.aclose()


async def test_errors_of_a_status() -> None:
    """An error status is a ProviderError of its class, with what the provider said."""
    error = {"error": {"message": "slow", "type": "tokens", "code": "rate_limit_exceeded"}}
    server = Server(
        lambda request: httpx.Response(429, headers={"retry-after": "3", "x-request-id": "r"}, json=error)
    )
    with pytest.raises(ProviderError, match="slow") as caught:
        await lutum.Lutum(adapter(http_client=server.client)).text_turn("x").collect()
    exc = caught.value
    assert (exc.kind, exc.status, exc.retry_after, exc.request_id) == ("rate_limit", 429, 3.0, "r")
    await server.client.aclose()


async def test_a_cut_stream_is_interrupted() -> None:
    """A stream without its terminal event is no turn."""
    server = stream(sse(created(), delta("output_text", "Hi")))
    with pytest.raises(lutum.Interrupted) as caught:
        await lutum.Lutum(adapter(http_client=server.client)).text_turn("x").collect()
    assert caught.value.partial is not None
    assert caught.value.partial.text == "Hi"
    await server.client.aclose()


async def test_a_tool_round_in_responses() -> None:
    """A call is answered and both go out again, in order."""
    answers = [sse(created(), completed(call())), sse(created(), completed(message("done")))]
    server = Server(lambda request: httpx.Response(200, content=answers[len(server.asked) - 1]))
    session = lutum.Session(lutum.Lutum(adapter(http_client=server.client)))

    tools = lutum.Toolset(lutum.raw_tool("look", {"type": "object", "properties": {}}))
    session.push_user("x")
    outcome = await session.text_turn().tools(tools).collect()
    assert isinstance(outcome, lutum.NeedsTools)
    session.commit_round(outcome.round, [outcome.round.expect_one().complete("seen")])
    finished = await session.text_turn().tools(tools).collect()
    assert isinstance(finished, lutum.Finished)
    kinds = [item["type"] for item in msgspec.json.decode(server.asked[1].content)["input"]]
    assert kinds == ["message", "function_call", "function_call_output"]
    await server.client.aclose()


@pytest.mark.parametrize(
    ("status", "answer", "usage"),
    [
        (200, response(message("x")), Usage(10, 5, 4, reasoning_tokens=2, known="recovered")),
        (200, response(status="in_progress", usage=None), None),
        (404, {"error": {"message": "not found"}}, None),
    ],
)
async def test_recover_usage(status: int, answer: Any, usage: Usage | None) -> None:
    """What a stored response used is read from it; one that nobody knows has none."""
    server = Server(lambda request: httpx.Response(status, json=answer))
    via = adapter(http_client=server.client, options=OpenAIOptions(store=True))
    assert await via.recover_usage(lutum.Response(id="resp_1/?x")) == usage
    (asked,) = server.asked
    assert (asked.method, asked.url.raw_path) == ("GET", b"/v1/responses/resp_1%2F%3Fx")
    assert asked.headers["authorization"] == "Bearer test-key"
    await server.client.aclose()


@pytest.mark.parametrize(
    ("status", "content", "kind"), [(500, b"{}", "server"), (200, b"<html>", "malformed")]
)
async def test_recovery_that_fails(status: int, content: bytes, kind: str) -> None:
    """Any other answer is an error."""
    server = Server(lambda request: httpx.Response(status, content=content))
    with pytest.raises(ProviderError) as caught:
        await adapter(http_client=server.client).recover_usage(lutum.Response(id="resp_1"))
    assert caught.value.kind == kind
    await server.client.aclose()


async def test_nobody_is_asked_without_an_id() -> None:
    """A response that never said its id cannot be asked for."""
    server = Server(lambda request: httpx.Response(500))
    assert await adapter(http_client=server.client).recover_usage(lutum.Response()) is None
    assert server.asked == []
    await server.client.aclose()


async def test_recovery_of_a_cut_turn() -> None:
    """What a stream that was cut said of itself is enough to ask what it used."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json=response(status="incomplete"))
        return httpx.Response(200, content=sse(created(), delta("output_text", "Hi")))

    server = Server(answer)
    via = adapter(http_client=server.client, options=OpenAIOptions(store=True))
    with pytest.raises(lutum.Interrupted) as caught:
        await lutum.Lutum(via).text_turn("x").collect()
    partial = caught.value.partial
    assert partial is not None
    assert partial.response is not None
    assert await via.recover_usage(partial.response) == Usage(10, 5, 4, reasoning_tokens=2, known="recovered")
    assert server.asked[1].url.path == "/v1/responses/resp_1"
    await server.client.aclose()


async def test_responses_counting_tokens() -> None:
    """The provider counts a request by what it takes of it, and is not asked to answer."""
    server = Server(lambda request: httpx.Response(200, json={"object": "x", "input_tokens": 11}))
    via = adapter(http_client=server.client)
    assert await via.count_input_tokens(via.prepare(REQUEST)) == 11
    (asked,) = server.asked
    assert asked.url.path == "/v1/responses/input_tokens"
    assert set(msgspec.json.decode(asked.content)) == {"model", "input"}
    assert asked.headers["authorization"] == "Bearer test-key"
    await server.client.aclose()


@pytest.mark.parametrize(
    ("status", "content", "kind"), [(401, b"{}", "authentication"), (200, b"{}", "malformed")]
)
async def test_counting_that_fails(status: int, content: bytes, kind: str) -> None:
    """Any other answer is an error."""
    server = Server(lambda request: httpx.Response(status, content=content))
    via = adapter(http_client=server.client)
    with pytest.raises(ProviderError) as caught:
        await via.count_input_tokens(via.prepare(REQUEST))
    assert caught.value.kind == kind
    await server.client.aclose()


async def test_responses_conformance() -> None:
    """The kit for third parties finds nothing to say."""

    def connect(client: httpx.AsyncClient) -> OpenAIAdapter:
        return adapter("gpt-5.6", http_client=client)

    thought = reasoning("hm", encrypted_content="x")
    refusal = message({"type": "refusal", "refusal": "No."})
    bodies = [
        sse(created(), delta("output_text", "Hi"), completed(thought, message("Hi"), model="gpt-5.6")),
        sse(created(), done(thought), done(refusal, 1), completed(thought, refusal)),
        sse(created(), event("response.incomplete", response=response(thought, status="incomplete"))),
    ]
    await check_adapter(connect, bodies, cuts=40)


async def test_it_closes() -> None:
    """It works as a context manager and opens nothing until it is asked to."""
    async with adapter() as via:
        assert via.name == "openai-responses"
    await via.aclose()
