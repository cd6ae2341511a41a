"""`OpenAIChatAdapter` over HTTP: URLs, keys, errors and whole turns, on both backends."""

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import httpx
import msgspec
import pytest
from openai_chat.chat_wire import USAGE, call, chunk, prepare, stream

import lutum
from lutum import Lutum, NeedsTools, Session, Toolset, raw_tool
from lutum_openai.chat._adapter import OpenAIChatAdapter


class City(msgspec.Struct):
    city: str


class Server:
    """Answers each request with the next body, and keeps the requests."""

    def __init__(self, *answers: bytes | httpx.Response) -> None:
        self.requests: list[httpx.Request] = []
        self._answers = list(answers)

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.requests.append(request)
        answer = self._answers.pop(0)
        if isinstance(answer, httpx.Response):
            return answer
        return httpx.Response(200, headers={"x-request-id": "req_9"}, content=answer)

    def body(self, at: int = -1) -> Any:
        return json.loads(self.requests[at].content)


def client(
    server: Server, make: Callable[..., OpenAIChatAdapter] = OpenAIChatAdapter, **given: Any
) -> OpenAIChatAdapter:
    given.setdefault("api_key", "test-key")
    return make(
        given.pop("model", "gpt-4o"),
        http_client=httpx.AsyncClient(transport=httpx.MockTransport(server)),
        **given,
    )


async def test_a_conversation_in_chat() -> None:
    """A tool round and what follows: each request is the one before with more at its end."""
    server = Server(
        stream(
            {"content": None, "tool_calls": [{"index": 0, **call("a", "look", '{"n": 1e2}')}]},
            finish="tool_calls",
        ),
        stream({"content": "Rhine"}),
        stream({"content": "Elbe"}),
    )
    async with client(server) as adapter:
        session = Session(Lutum(adapter))
        session.push_system("Be brief.")
        session.push_user("hi")
        tools = Toolset(raw_tool("look", {"type": "object"}))
        outcome = await session.text_turn().tools(tools).collect()
        assert isinstance(outcome, NeedsTools)
        session.commit_round(outcome.round, [outcome.round.calls[0].complete("seen")])
        result = await session.text_turn().collect()
        session.commit_text(result)
        assert (result.text, result.request_id, result.usage) == ("Rhine", "req_9", lutum.Usage(7, 3))
        session.push_user("and?")
        assert (await session.text_turn().collect()).text == "Elbe"
    bodies = [server.body(i) for i in range(3)]
    for before, after in pairwise(bodies):
        assert after["messages"][: len(before["messages"])] == before["messages"]
        assert after["tools"] == before["tools"]
    assert bodies[1]["messages"][2]["tool_calls"] == [call("a", "look", '{"n": 1e2}')]
    assert bodies[1]["tool_choice"] == "none"
    assert server.requests[0].headers["authorization"] == "Bearer test-key"


async def test_chat_adapter_structured() -> None:
    """A structured turn decodes what the model said, and a refusal is one."""
    server = Server(stream({"content": '{"city":'}, {"content": '"Ulm"}'}), stream({"refusal": "no"}))
    async with client(server) as adapter:
        llm = Lutum(adapter)
        assert (await llm.structured_turn(City, "where?").collect()).value == City("Ulm")
        refused = await llm.structured_turn(City, "where?").collect()
        with pytest.raises(lutum.Refused, match="no"):
            _ = refused.value
    assert server.body(0)["response_format"]["type"] == "json_schema"


async def test_chat_adapter_errors() -> None:
    """Statuses and error events are ProviderErrors; a cut stream is Interrupted, and nothing is committed."""
    refused = httpx.Response(
        429, headers={"retry-after": "3"}, json={"error": {"message": "slow", "code": "x"}}
    )
    broken = chunk({"content": "a"}) + b'data: {"error":{"message":"upstream","code":502}}\n\n'
    server = Server(refused, broken, chunk({"content": "a"}))
    async with client(server) as adapter:
        turn = Lutum(adapter).text_turn("hi")
        with pytest.raises(lutum.ProviderError, match="slow") as limited:
            await turn.collect()
        assert (limited.value.kind, limited.value.retry_after, limited.value.code) == ("rate_limit", 3.0, "x")
        with pytest.raises(lutum.ProviderError, match="upstream") as failed:
            await turn.collect()
        assert (failed.value.kind, failed.value.started) == ("server", True)
        with pytest.raises(lutum.Interrupted) as cut:
            await turn.collect()
        assert cut.value.partial is not None
        assert cut.value.partial.text == "a"


async def test_usage_is_settled() -> None:
    """The budget is charged what the last chunk reports."""
    server = Server(stream({"content": "x"}))
    async with client(server) as adapter:
        llm = Lutum(adapter, budget=lutum.Budget(tokens=10_000))
        await llm.text_turn("hi").collect()
        assert llm.budget.spent.total_tokens == USAGE["total_tokens"]


async def test_chat_keys() -> None:
    """A key may be a function of either colour; local servers want none; OpenAI's own host demands one."""

    async def later() -> str:
        return "late"

    for key, header in (("k", "Bearer k"), (lambda: "f", "Bearer f"), (later, "Bearer late")):
        server = Server(stream({"content": "x"}))
        async with client(server, api_key=key) as adapter:
            await Lutum(adapter).text_turn("hi").collect()
        assert server.requests[0].headers["authorization"] == header


async def test_no_key_in_chat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key a local server gets none, and api.openai.com is not asked."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)
    server = Server(stream({"content": "x"}))
    async with client(server, api_key=None, base_url="http://localhost:8080/v1") as adapter:
        assert adapter.scope == "localhost:8080"
        await Lutum(adapter).text_turn("hi").collect()
    assert "authorization" not in server.requests[0].headers
    with pytest.raises(lutum.BadValue, match="api_key"):
        prepare(lutum.ModelInput().user("hi"), via=OpenAIChatAdapter("m"))


async def test_chat_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Key, URL, organization and project come from the environment; the last two for OpenAI's own host."""
    for name, value in (("API_KEY", "e"), ("ORG_ID", "org"), ("PROJECT_ID", "proj")):
        monkeypatch.setenv(f"OPENAI_{name}", value)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    prepared = prepare(lutum.ModelInput().user("hi"), via=OpenAIChatAdapter("m"))
    assert dict(prepared.headers)["openai-organization"] == "org"
    assert dict(prepared.headers)["openai-project"] == "proj"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:1234/v1/")
    prepared = prepare(lutum.ModelInput().user("hi"), via=OpenAIChatAdapter("m"))
    assert prepared.url == "http://localhost:1234/v1/chat/completions"
    assert "openai-project" not in dict(prepared.headers)


@pytest.mark.parametrize(
    ("base_url", "version", "url"),
    [
        (
            "https://a.openai.azure.com",
            "2024-10-21",
            "/openai/deployments/my%20gpt/chat/completions?api-version=2024-10-21",
        ),
        (
            "https://a.openai.azure.com/openai",
            "v",
            "/openai/deployments/my%20gpt/chat/completions?api-version=v",
        ),
        ("https://a.openai.azure.com/openai/v1", None, "/openai/v1/chat/completions"),
        ("https://a.services.ai.azure.com/models", "v", "/models/chat/completions?api-version=v"),
        ("https://a.services.ai.azure.com", "v", "/models/chat/completions?api-version=v"),
    ],
)
async def test_chat_azure(base_url: str, version: str | None, url: str) -> None:
    """Azure has the deployment in its URL, a version in the query, and the key in `api-key`."""
    server = Server(stream({"content": "x"}))
    async with client(server, model="my gpt", base_url=base_url, api_version=version) as adapter:
        await Lutum(adapter).text_turn("hi").collect()
    assert str(server.requests[0].url).endswith("azure.com" + url)
    assert server.requests[0].headers["api-key"] == "test-key"
    assert "authorization" not in server.requests[0].headers


def test_bad_values() -> None:
    """What cannot be right is refused by the constructor."""
    for given in (
        {"model": " "},
        {"default_max_output_tokens": 0},
        {"base_url": "ftp://x"},
        {"base_url": "https://a.openai.azure.com"},
    ):
        with pytest.raises(lutum.BadValue):
            OpenAIChatAdapter(**{"model": "m", "api_key": "k"} | given)


def test_no_secret_is_shown() -> None:
    """Neither the adapter nor a prepared request holds the key."""
    adapter = OpenAIChatAdapter("m", api_key="sk-hidden")
    prepared = prepare(lutum.ModelInput().user("hi"), via=adapter)
    assert "sk-hidden" not in repr(adapter) + repr(prepared)
