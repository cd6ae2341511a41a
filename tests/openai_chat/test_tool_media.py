"""Images and files in tool results: in the tool message where the host takes them, else behind the round."""

import pytest
from openai_chat.chat_wire import SCOPE, adapter, body, call, prepare, turn

import lutum
from lutum import Document, Image, Raw, Text, ToolResult
from lutum.testing.wire import check_openai_chat_request

PNG = b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\rIHDR" + b"\x00\x00\x00\x01" * 2
IMAGE = Image.from_bytes(PNG)
PDF = Document.from_bytes(b"%PDF-1.4 /Type /Page ")


def answered(*results: ToolResult, scope: str = SCOPE) -> lutum.Transcript:
    calls = [call(result.call_id) for result in results]
    made = turn({"content": None, "tool_calls": calls}, scope=scope)
    transcript = lutum.ModelInput().user("look").turn(made).transcript
    for result in results:
        transcript = transcript.append(result)
    return transcript


def sent(*results: ToolResult, host: str = SCOPE) -> list[dict[str, object]]:
    """The messages behind the turn that made those calls."""
    prepared = prepare(answered(*results, scope=host), via=adapter(host))
    assert check_openai_chat_request(prepared.body, own=host == SCOPE) is None
    messages: list[dict[str, object]] = body(prepared)["messages"][2:]
    return messages


@pytest.mark.parametrize("host", [SCOPE, "api.groq.com", "localhost:8000", "x.openai.azure.com"])
def test_behind_the_round(host: str) -> None:
    """Where tool messages hold text, the media of a round go into one user message behind its results."""
    first = ToolResult("call_1", (Text("a screen"), IMAGE, Text("and more")))
    second = ToolResult("call_2", (IMAGE, PDF))
    third = ToolResult("call_3", (Text("plain"),))
    one, two, _, media = sent(first, second, third, host=host)
    assert (one["role"], one["tool_call_id"]) == ("tool", "call_1")
    assert one["content"] == [{"type": "text", "text": "a screen"}, {"type": "text", "text": "and more"}]
    assert (two["role"], two["content"]) == ("tool", "(in the next user message)")
    assert media["role"] == "user"
    parts = media["content"]
    assert isinstance(parts, list)
    assert [part["type"] for part in parts] == ["text", "image_url", "text", "image_url", "file"]
    assert [part["text"] for part in parts if part["type"] == "text"] == [
        "From the result of the tool call call_1:",
        "From the result of the tool call call_2:",
    ]


@pytest.mark.parametrize("host", ["openrouter.ai", "api.mistral.ai"])
def test_in_the_message(host: str) -> None:
    """Hosts whose tool messages hold media get them there."""
    (answer,) = sent(ToolResult("call_1aaa", (Text("a screen"), IMAGE)), host=host)
    content = answer["content"]
    assert isinstance(content, list)
    assert [part["type"] for part in content] == ["text", "image_url"]


def test_an_error_with_an_image() -> None:
    """The mark of an error stays with the words."""
    answer, media = sent(ToolResult("call_1", (IMAGE,), is_error=True))
    assert answer["content"] == "ERROR:"
    assert media["role"] == "user"


def test_a_result_without_its_turn() -> None:
    """It is a round of its own: its call, its message, its media."""
    result = ToolResult("call_1", (IMAGE,), name="look", arguments="{}")
    prepared = prepare(lutum.ModelInput().user("x").transcript.append(result))
    assert check_openai_chat_request(prepared.body) is None
    assert [m["role"] for m in body(prepared)["messages"]] == ["user", "assistant", "tool", "user"]


def test_it_is_append_only() -> None:
    """The user message is part of the round: later requests begin with it, and it is counted."""
    round = answered(ToolResult("call_1", (IMAGE,)))
    first = prepare(round)
    later = prepare(round.append(lutum.Message("user", (Text("more"),))))
    assert adapter().first_difference(first, later) is None
    assert body(later)["messages"][: len(body(first)["messages"])] == body(first)["messages"]
    without = prepare(answered(ToolResult("call_1", (Text("x"),))))
    assert first.estimate.input_tokens > without.estimate.input_tokens + 1_000


def test_raw_parts_are_yours() -> None:
    """A raw part goes where you put it."""
    (answer,) = sent(ToolResult("call_1", (Raw("openai-chat", '{"type":"text","text":"x","y":1e2}'),)))
    assert answer["content"] == [{"type": "text", "text": "x", "y": 100.0}]
