"""`OpenRouterAdapter`: routing in the body, reasoning back as it came, cost, and usage after a cut."""

import json
from decimal import Decimal
from typing import Any

import httpx
import pytest
from openai_chat.chat_wire import DONE, chunk, prepare

import lutum
from lutum import Lutum, Session
from lutum.testing import virtual_time
from lutum_openai import OpenAIOptions
from lutum_openrouter import OpenRouterAdapter, OpenRouterOptions, _generation

VIRTUAL = pytest.mark.parametrize(
    "anyio_backend",
    [(name, virtual_time(name)) for name in ("asyncio", "trio")],
    ids=["asyncio", "trio"],
)
DETAILS: list[dict[str, Any]] = [
    {"type": "reasoning.text", "text": "hm", "format": "anthropic-claude-v1", "index": 0},
    {"type": "reasoning.text", "signature": "S", "format": "anthropic-claude-v1", "index": 0},
]
ANSWER = (
    b": OPENROUTER PROCESSING\n\n"
    + b"".join(
        chunk({"role": "assistant", "content": "", "reasoning_details": [detail]}) for detail in DETAILS
    )
    + chunk({"content": "Rhine"}, "stop")
    + b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,"cost":0.00012340}}\n\n'
    + DONE
)


class Server:
    """Answers with the next response, and keeps the requests."""

    def __init__(self, *answers: httpx.Response) -> None:
        self.requests: list[httpx.Request] = []
        self._answers = list(answers)

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.requests.append(request)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


def adapter(server: Server | None = None, **given: Any) -> OpenRouterAdapter:
    client = None if server is None else httpx.AsyncClient(transport=httpx.MockTransport(server))
    return OpenRouterAdapter("anthropic/claude-sonnet-4.5", api_key="or-key", http_client=client, **given)


async def test_a_conversation_in_openrouter() -> None:
    """Reasoning goes back as one signed entry, and the cost is the provider's, by its digits."""
    server = Server(httpx.Response(200, content=ANSWER))
    async with adapter(server) as router:
        session = Session(Lutum(router))
        session.push_user("hi")
        result = await session.text_turn().collect()
        assert result.usage == lutum.Usage(7, 3, cost_usd=Decimal("0.00012340"))
        session.commit_text(result)
        session.push_user("and?")
        server._answers = [httpx.Response(200, content=ANSWER)]
        await session.text_turn().collect()
    request = json.loads(server.requests[1].content)
    assert request["messages"][1] == {
        "role": "assistant",
        "content": "Rhine",
        "reasoning_details": [
            {
                "type": "reasoning.text",
                "text": "hm",
                "format": "anthropic-claude-v1",
                "index": 0,
                "signature": "S",
            }
        ],
    }
    assert request["usage"] == {"include": True}
    assert str(server.requests[0].url) == "https://openrouter.ai/api/v1/chat/completions"
    assert server.requests[0].headers["authorization"] == "Bearer or-key"


def test_openrouter_options() -> None:
    """Routing and the rest are members of the body; a turn's lie over the adapter's, beside OpenAI's own."""
    router = adapter(options=OpenRouterOptions(models=("a/b",), transforms=(), usage_include=False))
    turn = OpenRouterOptions(
        models=("c/d",),
        provider={"order": ["x"]},
        reasoning={"effort": "low"},
        plugins=({"id": "web"},),
        extra_body={"preset": "p"},
        extra_headers={"X-Title": "t"},
    )
    request = lutum.abc.TurnRequest(
        transcript=lutum.ModelInput().user("hi").transcript,
        settings=lutum.Settings(ext=(turn, OpenAIOptions(verbosity="low"))),
    )
    prepared = router.prepare(request)
    body = json.loads(prepared.body)
    assert {
        name: body[name] for name in ("models", "provider", "transforms", "reasoning", "plugins", "usage")
    } == {
        "models": ["c/d"],
        "provider": {"order": ["x"]},
        "transforms": [],
        "reasoning": {"effort": "low"},
        "plugins": [{"id": "web"}],
        "usage": {"include": False},
    }
    assert (body["preset"], body["verbosity"]) == ("p", "low")
    assert dict(prepared.headers)["x-title"] == "t"
    assert prepared.unbounded == ("extra_body.plugins",)
    assert router.prepare(prepared.request).body == prepared.body
    assert prepared.request.transcript is request.transcript


def test_responses() -> None:
    """Over the Responses API the same options go along, and the name is that dialect's."""
    router = adapter(api="responses", options=OpenRouterOptions(models=("a/b",)))
    prepared = router.prepare(lutum.abc.TurnRequest(transcript=lutum.ModelInput().user("hi").transcript))
    assert prepared.url == "https://openrouter.ai/api/v1/responses"
    assert json.loads(prepared.body)["models"] == ["a/b"]
    assert (router.name, router.scope) == ("openai-responses", "openrouter.ai")
    with pytest.raises(lutum.BadValue, match="cache_control"):
        adapter(api="responses", cache_control="5m")


def test_openrouter_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenRouter's key is its own: OpenAI's is never sent there, and without one nothing is."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    monkeypatch.delenv("OPENROUTER_API_KEY", raising=False)
    with pytest.raises(lutum.BadValue, match="OPENROUTER_API_KEY"):
        prepare(lutum.ModelInput().user("hi"), via=OpenRouterAdapter("m"))
    local = OpenRouterAdapter("m", base_url="http://localhost:1/v1")
    assert prepare(lutum.ModelInput().user("hi"), via=local)


async def test_a_local_server_gets_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key of OpenRouter's nothing is sent in its place."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    monkeypatch.delenv("OPENROUTER_API_KEY", raising=False)
    server = Server(httpx.Response(200, content=ANSWER))
    client = httpx.AsyncClient(transport=httpx.MockTransport(server))
    async with OpenRouterAdapter("m", base_url="http://localhost:1/v1", http_client=client) as router:
        await Lutum(router).text_turn("hi").collect()
    assert "authorization" not in server.requests[0].headers


def test_openrouter_bad_options() -> None:
    """What lutum writes itself, what is no JSON, and secrets are refused by name."""
    for given in (
        {"extra_body": {"model": "x"}},
        {"provider": {"a": object()}},
        {"models": (" ",)},
        {"extra_headers": {"Authorization": "x"}},
    ):
        with pytest.raises(lutum.BadValue):
            OpenRouterOptions(**given)


RECORD = {
    "data": {
        "tokens_prompt": 9,
        "tokens_completion": 4,
        "native_tokens_prompt": 7,
        "native_tokens_completion": 3,
        "native_tokens_reasoning": 2,
        "native_tokens_cached": 5,
        "total_cost": 0.0005,
    }
}


@VIRTUAL
async def test_recovery_waits_for_the_record() -> None:
    """The record is not there at first: it is asked for again until it is."""
    missing = httpx.Response(404, json={"error": {"message": "Generation not found", "code": 404}})
    server = Server(
        missing, missing, httpx.Response(200, json={"data": {}}), httpx.Response(200, json=RECORD)
    )
    async with adapter(server) as router:
        usage = await router.recover_usage(lutum.Response(id="gen-1/2"))
    assert usage == lutum.Usage(7, 3, 5, 0, 2, Decimal("0.0005"), "recovered")
    assert len(server.requests) == 4
    assert str(server.requests[0].url) == "https://openrouter.ai/api/v1/generation?id=gen-1%2F2"
    assert server.requests[0].headers["authorization"] == "Bearer or-key"


@VIRTUAL
async def test_recovery_is_bounded() -> None:
    """A record that does not come within the bound is None, after a few requests."""
    server = Server(httpx.Response(404, json={"error": {"message": "Generation not found"}}))
    async with adapter(server) as router:
        assert await router.recover_usage(lutum.Response(id="gen-1")) is None
    assert len(server.requests) == 5


async def test_recovery_is_refused() -> None:
    """Other statuses, and what is no record, are errors."""
    for response, kind in (
        (httpx.Response(401, json={"error": {"message": "no", "code": 401}}), "authentication"),
        (httpx.Response(200, content=b"[]"), "malformed"),
    ):
        async with adapter(Server(response)) as router:
            with pytest.raises(lutum.ProviderError) as refused:
                await router.recover_usage(lutum.Response(id="gen-1"))
        assert refused.value.kind == kind


def test_records() -> None:
    """Native counts are what is billed; older records have others. A cost of 0 is known."""
    old = b'{"data":{"tokens_prompt":9,"tokens_completion":4,"cached_tokens":1,"total_cost":0}}'
    assert _generation.usage_of(old) == lutum.Usage(9, 4, 1, cost_usd=Decimal(0), known="recovered")
    assert _generation.usage_of(b'{"data":null}') is None
    odd = _generation.usage_of(b'{"data":{"tokens_prompt":9,"total_cost":"1.10"}}')
    assert odd is not None
    assert odd.cost_usd == Decimal("1.10")
