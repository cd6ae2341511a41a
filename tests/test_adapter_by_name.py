"""lutum.adapter: an adapter by name."""

from importlib.metadata import EntryPoint
from typing import Any

import pytest

import lutum
import lutum_claude
import lutum_gemini
import lutum_openai
import lutum_openrouter
from lutum import _adapter_by_name
from lutum.testing import ScriptedAdapter
from lutum.testing.wire import Reply, WireServer


@pytest.mark.parametrize(
    ("name", "kind", "model", "scope"),
    [
        ("claude:claude-sonnet-4-5", lutum_claude.ClaudeAdapter, "claude-sonnet-4-5", "api.anthropic.com"),
        ("openai:gpt-5.5", lutum_openai.OpenAIAdapter, "gpt-5.5", "api.openai.com"),
        ("gemini:gemini-3.8-flash", lutum_gemini.GeminiAdapter, "gemini-3.8-flash", "googleapis.com"),
        ("openrouter:a/b:free", lutum_openrouter.OpenRouterAdapter, "a/b:free", "openrouter.ai"),
        ("chat:llama3@http://localhost:11434/v1", lutum_openai.OpenAIChatAdapter, "llama3", "localhost"),
        ("chat:@cf/meta/x@https://h.test/v1", lutum_openai.OpenAIChatAdapter, "@cf/meta/x", "h.test"),
        ("completions:m@http://127.0.0.1:1/v1", lutum_openai.OpenAICompletionsAdapter, "m", "127.0.0.1"),
    ],
)
def test_names(name: str, kind: type[Any], model: str, scope: str) -> None:
    made = lutum.adapter(name, api_key="k")
    assert isinstance(made, kind)
    prepared = lutum.Lutum(made).text_turn("x").preview()
    assert prepared.model == model
    assert scope in made.scope


def test_options_are_defaults() -> None:
    made = lutum.adapter("claude:claude-sonnet-4-5", api_key="k", options=lutum.ClaudeOptions(cache="off"))
    assert b"cache_control" not in lutum.Lutum(made).text_turn("x").preview().body


async def test_it_is_a_context_manager() -> None:
    async with WireServer([Reply("hello")]) as server:
        async with lutum.adapter("claude:claude-sonnet-4-5", api_key="k", base_url=server.url) as claude:
            assert (await lutum.Lutum(claude).text_turn("x").max_output_tokens(10).collect()).text == "hello"


@pytest.mark.parametrize(
    ("name", "field", "why"),
    [
        ("claude-sonnet-4-5", "adapter", "is not of the form 'provider:model'"),
        (":m", "adapter", "is not of the form"),
        ("claude:", "adapter", "is not of the form"),
        ("chat:@http://h/v1", "adapter", "has no model"),
        ("cluade:m", "adapter", "did you mean 'claude'"),
        ("zzz:m", "adapter", "are installed; for an OpenAI-compatible server"),
        ("chat:m@https://", "base_url", "host"),
        (3, "adapter", "takes a str"),
    ],
)
def test_bad_names(name: Any, field: str, why: str) -> None:
    with pytest.raises(lutum.BadValue, match=why) as caught:
        lutum.adapter(name, api_key="k")
    assert caught.value.field == field


def test_two_urls() -> None:
    with pytest.raises(lutum.BadValue, match="keep one of them"):
        lutum.adapter("chat:m@http://h/v1", base_url="http://other/v1")


@pytest.fixture
def third_party(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("mine", f"{__name__}:mine", "lutum.adapters")
    monkeypatch.setattr(EntryPoint, "load", lambda self: mine)
    monkeypatch.setattr(_adapter_by_name, "entry_points", lambda group: [entry])


def mine(model: str, **given: Any) -> ScriptedAdapter:
    assert given == {"api_key": "k"}
    return ScriptedAdapter(model=model)


@pytest.mark.usefixtures("third_party")
def test_a_third_partys_adapter() -> None:
    assert lutum.Lutum(lutum.adapter("mine:m-1", api_key="k")).text_turn("x").preview().model == "m-1"
