"""`affinity=`: the key that sends requests with one prefix to one server, and where each host takes it."""

import json
from collections.abc import Callable
from typing import Any

import pytest

import lutum
from lutum_openai import OpenAIAdapter, OpenAIChatAdapter, OpenAIOptions, Profile
from lutum_openrouter import OpenRouterAdapter

Adapter = OpenAIAdapter | OpenAIChatAdapter | OpenRouterAdapter


def sent(adapter: Adapter, *said: str, tools: bool = False, options: Any = None) -> lutum.Preview:
    """The preview of a conversation with a system item and these messages."""
    session = lutum.Session(lutum.Lutum(adapter))
    session.push_system("Be brief.")
    for text in said:
        session.push_user(text)
    turn = session.text_turn().max_output_tokens(20)
    if options is not None:
        turn = turn.ext(options)
    if tools:
        return turn.tools(lutum.Toolset(lutum.raw_tool("look", '{"type":"object"}'))).preview()
    return turn.preview()


def key(preview: lutum.Preview, place: str) -> str | None:
    """The key in a member of the body, or in a header."""
    if place.startswith("header:"):
        return preview.headers.get(place.removeprefix("header:"))
    found = json.loads(preview.body).get(place)
    assert found is None or isinstance(found, str)
    return found


def chat(base: str, **given: Any) -> OpenAIChatAdapter:
    return OpenAIChatAdapter("m", base_url=base, api_key="k", **given)


def responses(base: str, **given: Any) -> OpenAIAdapter:
    return OpenAIAdapter("gpt-5.5", base_url=base, api_key="k", **given)


def routed_chat(base: str, **given: Any) -> OpenRouterAdapter:
    return OpenRouterAdapter("m", base_url=base, api_key="k", **given)


def routed_responses(base: str, **given: Any) -> OpenRouterAdapter:
    return OpenRouterAdapter("m", base_url=base, api_key="k", api="responses", **given)


PLACES: list[tuple[Callable[..., Adapter], str, str]] = [
    (chat, "https://api.openai.com/v1", "prompt_cache_key"),
    (chat, "https://x.openai.azure.com/openai/v1", "prompt_cache_key"),
    (chat, "https://api.x.ai/v1", "header:x-grok-conv-id"),
    (chat, "https://api.fireworks.ai/inference/v1", "header:x-session-affinity"),
    (chat, "https://openrouter.ai/api/v1", "session_id"),
    (chat, "http://localhost:30000/v1", "header:x-smg-routing-key"),
    (chat, "http://localhost:8000/v1", "header:x-session-id"),
    (chat, "https://gateway.example/v1", "header:x-session-id"),
    (responses, "https://api.openai.com/v1", "prompt_cache_key"),
    (responses, "https://api.x.ai/v1", "prompt_cache_key"),
    (responses, "https://gateway.example/v1", "prompt_cache_key"),
    (routed_chat, "https://openrouter.ai/api/v1", "session_id"),
    (routed_responses, "https://openrouter.ai/api/v1", "session_id"),
]


@pytest.mark.parametrize(("make", "base", "place"), PLACES)
def test_each_host_gets_its_key(make: Callable[..., Adapter], base: str, place: str) -> None:
    """The preview shows it. Without `affinity=` nothing is added."""
    off = sent(make(base), "Hello.")
    assert key(off, place) is None
    for affinity in ("conversation", "head"):
        on = sent(make(base, affinity=affinity), "Hello.")
        found = key(on, place)
        assert found is not None
        assert len(found) == 32
        rest = json.loads(on.body)
        rest.pop(place, None)
        assert rest == json.loads(off.body), "nothing else changes"
    assert key(sent(make(base, affinity="user-17"), "Hello."), place) == "user-17"


@pytest.mark.parametrize(("make", "base", "place"), [PLACES[0], PLACES[2], PLACES[8]])
def test_what_shares_a_key(make: Callable[..., Adapter], base: str, place: str) -> None:
    """A conversation goes on and forks with its key; other conversations share that of the head."""
    conversation, head = make(base, affinity="conversation"), make(base, affinity="head")
    first = key(sent(conversation, "Hello."), place)
    assert key(sent(conversation, "Hello.", "More."), place) == first
    assert key(sent(conversation, "Hello.", "Other."), place) == first
    assert key(sent(conversation, "Goodbye."), place) != first
    one = key(sent(head, "Hello."), place)
    assert key(sent(head, "Goodbye.", "More."), place) == one
    assert key(sent(head, "Hello.", tools=True), place) != one, "tools are part of the head"
    assert one != first


def test_what_was_said_by_hand_goes_before() -> None:
    """Options, extra members and extra headers replace the key."""
    adapter = chat("https://api.openai.com/v1", affinity="conversation")
    assert key(sent(adapter, "q", options=OpenAIOptions(prompt_cache_key="own")), "prompt_cache_key") == "own"
    extra = OpenAIOptions(extra_body={"prompt_cache_key": "own"})
    assert key(sent(adapter, "q", options=extra), "prompt_cache_key") == "own"
    assert (
        key(
            sent(
                responses("https://api.openai.com/v1", affinity="head"),
                "q",
                options=OpenAIOptions(prompt_cache_key="own"),
            ),
            "prompt_cache_key",
        )
        == "own"
    )
    xai = chat("https://api.x.ai/v1", affinity="head")
    headers = OpenAIOptions(extra_headers={"X-Grok-Conv-Id": "own"})
    assert key(sent(xai, "q", options=headers), "header:x-grok-conv-id") == "own"


def test_a_profile_names_another_place() -> None:
    """For routers that were set up with a header or a member of their own."""
    for place in ("header:x-user-id", "rid"):
        adapter = chat("https://router.example/v1", affinity="me", profile=Profile(affinity=place))
        assert key(sent(adapter, "q"), place) == "me"
    for wrong in ("", "header:", "header:X-Id", "two words", "Header:x"):
        with pytest.raises(lutum.BadValue, match=r"profile\.affinity"):
            Profile(affinity=wrong)


@pytest.mark.parametrize("affinity", ["", " ", "a b", "é", "a\n", "x" * 65, 3, b"x", True], ids=repr)
@pytest.mark.parametrize("make", [chat, responses, routed_chat, routed_responses])
def test_affinity_bad_input(make: Callable[..., Adapter], affinity: Any) -> None:
    """A key that is no header value, or too long, is refused by name."""
    with pytest.raises(lutum.BadValue, match="affinity"):
        make("https://gateway.example/v1", affinity=affinity)


def test_the_key_is_no_part_of_the_prefix() -> None:
    """A conversation with a key is append-only, as one without."""
    adapter = responses("https://api.openai.com/v1", affinity="conversation")
    session = lutum.Session(lutum.Lutum(adapter))
    session.push_user("Hello.")
    assert session.text_turn().preview().first_difference is None
