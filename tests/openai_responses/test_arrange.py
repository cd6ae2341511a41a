"""Input items as chat templates take them, at servers that people run themselves."""

import json
from typing import Any

import pytest
from openai_responses import responses_wire

import lutum
from lutum import ModelInput
from lutum_openai import Profile

VLLM = "http://localhost:8000/v1"
GEMMA = "gemma-3-27b-it"
HEAD = ModelInput().system("be brief").developer("be kind")
GIVEN = HEAD.user("a").user("b").system("now in French").user("c")


def sent(base_url: str, model: str = "qwen3.6", given: ModelInput = GIVEN, **more: Any) -> list[Any]:
    via = responses_wire.adapter(model, base_url=base_url, **more)
    items = json.loads(responses_wire.prepare(given, model, via=via).body)["input"]
    return [(item["role"], item["content"]) for item in items]


@pytest.mark.parametrize("base", [VLLM, "http://127.0.0.1:11434/v1", "http://gpu:1234/v1"])
def test_one_system_message_at_the_start(base: str) -> None:
    """The head's items are one message; a later one is user text, as with Chat."""
    assert sent(base) == [
        ("system", "be brief\n\nbe kind"),
        ("user", "a"),
        ("user", "b"),
        ("user", "<system>\nnow in French\n</system>"),
        ("user", "c"),
    ]


@pytest.mark.parametrize(
    "base", ["https://api.openai.com/v1", "https://x.openai.azure.com/openai/v1", "https://api.x.ai/v1"]
)
def test_services_get_items_as_they_are(base: str) -> None:
    """They arrange messages for each model themselves."""
    assert [role for role, _ in sent(base)] == ["system", "developer", "user", "user", "system", "user"]


def test_alternation() -> None:
    """Gemma's and Mistral's templates want it, at every such server; parts stay parts."""
    assert sent(VLLM, GEMMA) == [
        ("system", "be brief\n\nbe kind"),
        ("user", "a\n\nb\n\n<system>\nnow in French\n</system>\n\nc"),
    ]
    picture = lutum.Image.from_url("https://a.test/a.png")
    [(_, content)] = sent(VLLM, GEMMA, ModelInput().user("a").user([picture]))
    assert [part["type"] for part in content] == ["input_text", "input_image"]


def test_a_profile_decides() -> None:
    """A user's own profile, or the name of a row, is taken at its word."""
    [first, *_] = sent(VLLM, profile=Profile(system="any"))
    assert first == ("system", "be brief")


def test_responses_arrange_requests_only_grow() -> None:
    """A message before an answer is the same in every later request."""
    turn = responses_wire.turn(responses_wire.message("d"))
    longer = GIVEN.turn(turn).user("e").system("f")
    short, long = sent(VLLM, GEMMA), sent(VLLM, GEMMA, longer)
    assert long[: len(short)] == short
