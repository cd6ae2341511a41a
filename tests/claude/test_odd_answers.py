"""Answers of bridges and gateways in Claude's dialect that other clients lose, by hand."""

import json
from typing import Any

import msgspec
import pytest
from claude.claude_wire import PLAIN, decode, decoder

import lutum


def event(type: str, **members: Any) -> bytes:
    return f"event: {type}\ndata: {json.dumps({'type': type, **members})}\n\n".encode()


USAGE = {"input_tokens": 10, "output_tokens": 1}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": PLAIN,
    "content": [],
    "usage": USAGE,
}
START = event("message_start", message=MESSAGE)
END = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 5}) + event(
    "message_stop"
)


def begin(index: int, **block: Any) -> bytes:
    return event("content_block_start", index=index, content_block=block)


def delta(index: int, **members: Any) -> bytes:
    return event("content_block_delta", index=index, delta=members)


def stop(index: int) -> bytes:
    return event("content_block_stop", index=index)


def text(index: int, words: str) -> bytes:
    return begin(index, type="text", text="") + delta(index, type="text_delta", text=words) + stop(index)


def completed(data: bytes) -> lutum.Completed:
    last = decode(data)[-1]
    assert isinstance(last, lutum.Completed)
    return last


def test_two_message_starts() -> None:
    """The same one twice is one; another message behind content is not joined to the first."""
    turn = completed(START + START + text(0, "Hi") + END).turn
    assert (turn.text, turn.exact) == ("Hi", True)
    other = event("message_start", message=MESSAGE | {"id": "msg_2"})
    with pytest.raises(lutum.ProviderError, match="second message_start"):
        decode(START + text(0, "Hi") + other + END)


def test_a_block_that_starts_before_the_end_of_another() -> None:
    """Both are kept, and the turn says so."""
    open_ = begin(0, type="text", text="") + delta(0, type="text_delta", text="--")
    thought = (
        begin(0, type="thinking", thinking="") + delta(0, type="thinking_delta", thinking="hm") + stop(0)
    )
    turn = completed(START + open_ + thought + text(1, "Hi") + END).turn
    assert (turn.text, turn.reasoning, turn.exact) == ("--Hi", "hm", False)


@pytest.mark.parametrize(
    "data",
    [
        b'data: {"error": {"message": "Overloaded", "type": "overloaded_error", "code": "529"}}\n\n',
        b'event: error\ndata: {"error": {"message": "Overloaded", "type": "overloaded_error"}}\n\n',
        event("error", error={"message": "Overloaded", "type": "overloaded_error"}),
    ],
)
def test_errors_without_a_type(data: bytes) -> None:
    """The event's name and the content tell, and the kind is the one of the words."""
    with pytest.raises(lutum.ProviderError, match="Overloaded") as caught:
        decoder().feed(START + data, [])
    assert caught.value.kind == "overloaded"
    assert lutum.RetryPolicy().delay(1, caught.value) is not None


def test_words_of_a_proxy() -> None:
    with pytest.raises(lutum.ProviderError, match="upstream timeout") as caught:
        decoder().feed(b"event: error\ndata: upstream timeout\n\n", [])
    assert caught.value.kind == "timeout"


def test_data_without_a_type() -> None:
    """The event's name is the type, as in the SDKs."""
    bare = b"event: message_stop\ndata: {}\n\n"
    tail = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 5})
    assert completed(START + text(0, "Hi") + tail + bare).turn.text == "Hi"


def test_done_is_not_the_end() -> None:
    """Without a message_stop the answer may be cut, and the error says so."""
    tail = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 5})
    with pytest.raises(lutum.ProviderError, match="without message_stop"):
        decoder().feed(START + text(0, "Hi") + tail + b"data: [DONE]\n\n", [])
    assert completed(START + text(0, "Hi") + END + b"data: [DONE]\n\n").turn.text == "Hi"


def test_claude_two_calls_with_one_id() -> None:
    """Both can be answered; a call without an id gets one."""
    calls = b"".join(
        begin(i, type="tool_use", id=id, name="look", input={}) + stop(i)
        for i, id in enumerate(("a", "a", 5, None))
    )
    turn = completed(START + calls + END).turn
    ids = [call.id for call in turn.tool_calls]
    assert ids[:3] == ["a", "a_2", "5"]
    assert len(set(ids)) == 4
    assert [block["id"] for block in msgspec.json.decode(turn.wire)["content"]] == ids


def test_a_message_instead_of_a_stream() -> None:
    """It makes the turn that the stream would make."""
    whole = MESSAGE | {"content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn"}
    done = completed(json.dumps(whole, indent=1).encode())
    assert (done.turn.text, done.finish_reason, done.usage) == ("Hi", "stop", lutum.Usage(10, 1))


def test_members_that_a_delta_should_not_have() -> None:
    """They are shown, and the turn is not exact; a count of tokens is only shown."""
    odd = begin(0, type="text", text="") + delta(0, type="text_delta", text="Hi", mood="x") + stop(0)
    events = decode(START + odd + END)
    assert any(isinstance(e, lutum.ProviderEvent) and b'"mood"' in e.data for e in events)
    last = events[-1]
    assert isinstance(last, lutum.Completed)
    assert (last.turn.text, last.turn.exact) == ("Hi", False)
    known = begin(0, type="thinking", thinking="") + delta(
        0, type="thinking_delta", thinking="hm", estimated_tokens=50
    )
    assert completed(START + known + stop(0) + text(1, "Hi") + END).turn.exact


def test_iterations_are_billed() -> None:
    """A compaction and an advisor are in no top-level count; another model keeps its own price."""
    steps = [
        {"type": "compaction", "input_tokens": 180_000, "output_tokens": 3_500},
        {"type": "message", "input_tokens": 23_000, "output_tokens": 1_000},
        {"type": "advisor_message", "model": "big", "input_tokens": 10, "output_tokens": 20},
    ]
    report = {"input_tokens": 23_000, "output_tokens": 1_000, "iterations": steps}
    tail = event("message_delta", delta={"stop_reason": "end_turn"}, usage=report) + event("message_stop")
    usage = completed(START + text(0, "Hi") + tail).usage
    assert (usage.input_tokens, usage.output_tokens, usage.known) == (203_010, 4_520, "exact")
    assert usage.parts == (("big", lutum.Usage(10, 20)),)


def test_rates_and_searches() -> None:
    report = {
        "input_tokens": 10,
        "output_tokens": 5,
        "cache_creation_input_tokens": 8,
        "cache_creation": {"ephemeral_1h_input_tokens": 6, "ephemeral_5m_input_tokens": 2},
        "server_tool_use": {"web_search_requests": 3},
        "service_tier": "batch",
        "speed": "fast",
        "inference_geo": "us",
    }
    tail = event("message_delta", delta={"stop_reason": "end_turn"}, usage=report) + event("message_stop")
    usage = completed(START + text(0, "Hi") + tail).usage
    assert (usage.cache_write_tokens, usage.cache_write_1h_tokens, usage.web_searches) == (8, 6, 3)
    assert usage.rates == ("batch", "fast", "us")


def test_zeros_do_not_replace_counts() -> None:
    tail = event(
        "message_delta", delta={"stop_reason": "end_turn"}, usage={"input_tokens": 0, "output_tokens": 5}
    )
    usage = completed(START + text(0, "Hi") + tail + event("message_stop")).usage
    assert (usage.input_tokens, usage.output_tokens, usage.known) == (10, 5, "exact")
