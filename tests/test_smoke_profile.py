"""`lutum smoke` finds the profile of a server that refuses much."""

import itertools
import json
from typing import Any

import httpx
import pytest

import lutum
from lutum.cli._smoke_profile import as_code, find_profile
from lutum_openai import OpenAIChatAdapter, Profile

ANSWER = (
    'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":"stop"}]}\n\n'
    'data: {"id":"c","model":"m","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2}}\n\n'
    "data: [DONE]\n\n"
)


def refusal(body: dict[str, Any]) -> str | None:
    """What this server refuses, as the templates of several models do together."""
    messages = body["messages"]
    roles = [message["role"] for message in messages]
    spoken = [role for role in roles if role != "system"]
    if "system" in roles[1:]:
        return "System message must be at the beginning."
    if any(a == b == "user" for a, b in itertools.pairwise(spoken)):
        return "Conversation roles must alternate user/assistant."
    if ("tool", "user") in itertools.pairwise(spoken):
        return "Unexpected role 'user' after role 'tool'"
    for message in messages:
        if isinstance(message.get("content", ""), list):
            return "invalid type: sequence, expected a string"
        if message["role"] == "assistant" and not message.get("content") and "tool_calls" not in message:
            return "Assistant message must have either content or tool_calls"
    if body.get("tool_choice", "auto") != "auto":
        return "tool_choice must be auto"
    if len(body.get("stop", [])) > 1:
        return "stop: one word only"
    if "max_tokens" in body:
        return "Use 'max_completion_tokens' instead."
    return None


def adapter(text: str = "OK", status: int = 400) -> OpenAIChatAdapter:
    def reply(request: httpx.Request) -> httpx.Response:
        if (words := refusal(json.loads(request.content))) is not None:
            return httpx.Response(status, json={"error": {"message": words}})
        head = {"content-type": "text/event-stream"}
        return httpx.Response(200, headers=head, text=ANSWER % text)

    client = httpx.AsyncClient(transport=httpx.MockTransport(reply))
    return OpenAIChatAdapter("m", base_url="https://gateway.example/v1", api_key="k", http_client=client)


async def test_a_server_that_refuses_much() -> None:
    """Each refusal becomes a value, and the code that is printed makes the same profile."""
    profile, asked = await find_profile(adapter("<think>hm"), lutum.Budget(tokens=100_000))
    expected = Profile(
        max_tokens="max_completion_tokens",
        system="one",
        alternate=True,
        string_content=True,
        after_tool=False,
        strict=True,
        tool_choice="auto",
        stops=1,
        think=("think",),
        developer=profile.developer,
    )
    assert profile == expected
    assert asked < 25
    assert eval(as_code(profile), {"Profile": Profile}) == profile


async def test_a_host_that_cannot_be_asked() -> None:
    """An error that says nothing about the request ends the search."""
    with pytest.raises(lutum.ProviderError) as caught:
        await find_profile(adapter(status=401), lutum.Budget(tokens=100_000))
    assert caught.value.kind == "authentication"
