"""Answers of Chat servers that other clients lose: each kind that was reported or recorded, by hand."""

import json
from typing import Any

import msgspec
import pytest
from openai_chat.chat_wire import DONE, USAGE, call, chunk, completed, decode, decoder, of, stream

import lutum
from lutum_openai.chat._received_call import said_once


def calls_of(*deltas: Any) -> list[tuple[str, str]]:
    events = decode(stream(*({"tool_calls": list(d)} for d in deltas), finish="tool_calls"))
    return [(e.name, e.arguments) for e in of(events, lutum.ToolCallReady)]


def piece(index: int | None = 0, id: str | None = None, **function: Any) -> dict[str, Any]:
    found: dict[str, Any] = {} if index is None else {"index": index}
    if id is not None:
        found["id"] = id
    return found | {"function": function}


WHOLE = '{"city":"A"}'


@pytest.mark.parametrize(
    ("deltas", "found"),
    [
        (
            [
                [piece(id="c", name="wea", arguments="")],
                [piece(name="ther", arguments="")],
                [piece(arguments=WHOLE)],
            ],
            [("weather", WHOLE)],
        ),
        (
            [[piece(id="c", name="wea")], [piece(name="weather")], [piece(arguments=WHOLE)]],
            [("weather", WHOLE)],
        ),
        (
            [[piece(name="a", arguments=WHOLE)], [piece(name="b", arguments="{}")]],
            [("a", WHOLE), ("b", "{}")],
        ),
        (
            [[piece(name="a", arguments=WHOLE)], [piece(name="a", arguments='{"city":"B"}')]],
            [("a", WHOLE), ("a", '{"city":"B"}')],
        ),
        (
            [[piece(None, name="a", arguments=WHOLE)], [piece(None, name="b", arguments=WHOLE)]],
            [("a", WHOLE), ("b", WHOLE)],
        ),
        ([[piece(id="c", name="a", arguments="{}")], [piece(arguments=WHOLE)]], [("a", WHOLE)]),
        ([[piece(id="c", name="a", arguments=WHOLE)], [piece(arguments=WHOLE)]], [("a", WHOLE)]),
        (
            [[piece(id="c", name="a", arguments=WHOLE)], [piece(id="c", name="a", arguments=WHOLE)]],
            [("a", WHOLE)],
        ),
        ([[piece(id="c", name="a", arguments='{"ci')], [piece(arguments=WHOLE)]], [("a", WHOLE)]),
        (
            [[{"index": 0, "extra_content": {"s": 1}}], [piece(id="c", name="a", arguments=WHOLE)]],
            [("a", WHOLE)],
        ),
    ],
)
def test_calls(deltas: Any, found: list[tuple[str, str]]) -> None:
    """Names in pieces, whole calls with one index, and arguments that come more than once."""
    assert calls_of(*deltas) == found


def test_chat_two_calls_with_one_id() -> None:
    """Both can be answered, and the next request has both ids."""
    delta = {"tool_calls": [{"index": i, **call("x:1", name)} for i, name in enumerate("ab")]}
    turn = completed(decode(stream(delta, finish="tool_calls"))).turn
    assert [c.id for c in turn.tool_calls] == ["x:1", "x:1_2"]
    assert [c["id"] for c in json.loads(turn.wire)["tool_calls"]] == ["x:1", "x:1_2"]


@pytest.mark.parametrize("place", ["before", "after", "with"])
def test_a_signature_belongs_to_its_call(place: str) -> None:
    """It may come in a delta of its own, makes no call, and goes back with the call."""
    signature = {"index": 0, "extra_content": {"google": {"thought_signature": "S"}}}
    whole = {"index": 0, **call("c", "look", WHOLE)}
    deltas = {"before": [signature, whole], "after": [whole, signature], "with": [whole | signature]}[place]
    events = decode(stream(*({"tool_calls": [d]} for d in deltas), finish="tool_calls"))
    (sent,) = json.loads(completed(events).turn.wire)["tool_calls"]
    assert sent["extra_content"] == signature["extra_content"]
    assert sent["function"]["arguments"] == WHOLE
    assert completed(events).turn.exact


@pytest.mark.parametrize(
    ("pieces", "once"),
    [
        (['{"a":', "1}"], '{"a":1}'),
        (['{"a":1}{"b":2}'], '{"a":1}{"b":2}'),
        (['{"a":1}', '{"a":1}', '{"a":1}'], '{"a":1}'),
        (["{}", "{}"], "{}"),
        (['{"a":'], '{"a":'),
        ([""], ""),
        (["", " "], " "),
    ],
)
def test_arguments_said_once(pieces: list[str], once: str) -> None:
    assert said_once(pieces) == once


@pytest.mark.parametrize(
    "odd",
    [
        {"logprobs": -0.25},
        {"logprobs": [1]},
        {"index": "0"},
        {"finish_reason": 7},
        {"logprobs": "x", "extra": {"a": []}},
    ],
)
def test_odd_members_end_no_turn(odd: dict[str, Any]) -> None:
    """A member that is only informative is shown, and the answer is whole."""
    choice = {"index": 0, "delta": {"content": "45"}, **odd}
    data = b"data: " + msgspec.json.encode({"id": "c", "model": "m", "choices": [choice]}) + b"\n\n"
    events = decode(data + chunk({}, "stop") + DONE)
    assert completed(events).turn.text == "45"


@pytest.mark.parametrize("id", [5, None, ""])
def test_odd_ids(id: Any) -> None:
    delta = {
        "tool_calls": [
            {"index": 0, "id": id, "type": "function", "function": {"name": "a", "arguments": "{}"}}
        ]
    }
    (ready,) = of(decode(stream(delta, finish="tool_calls")), lutum.ToolCallReady)
    assert ready.id


def test_an_object_as_content() -> None:
    """Cloudflare's JSON mode: the text is the JSON, which goes back as a string, and the turn says so."""
    message = {"role": "assistant", "content": {"name": "Emily", "age": 1e2}}
    whole = {
        "id": "c",
        "model": "m",
        "choices": [{"message": message, "finish_reason": "stop"}],
        "usage": USAGE,
    }
    turn = completed(decode(msgspec.json.encode(whole))).turn
    assert json.loads(turn.text) == message["content"]
    assert json.loads(turn.wire)["content"] == turn.text
    assert not turn.exact


def test_a_member_that_changes_its_type() -> None:
    """No part of it is lost without a reason."""
    turn = completed(decode(stream({"reasoning": "a"}, {"reasoning": ["b"]}, {"content": "x"}))).turn
    assert turn.text == "x"
    assert "reasoning" in (turn.inexact_reason or "")


@pytest.mark.parametrize("reason", ["abort", "insufficient_system_resource", "network_error", "error"])
def test_chat_broken_off(reason: str) -> None:
    out = list[lutum.Event]()
    with pytest.raises(lutum.ProviderError, match=reason) as caught:
        decoder().feed(stream({"content": "The answer is"}, finish=reason), out)
    assert caught.value.kind == "server"
    assert not of(out, lutum.Completed)


def test_no_reason_is_invented() -> None:
    """A body and a stream without a reason end alike; without a usage nothing says that they are whole."""
    message = {"role": "assistant", "content": "x"}
    choice = {"message": message, "finish_reason": None}
    body = {"id": "c", "model": "m", "choices": [choice], "usage": USAGE}
    assert completed(decode(msgspec.json.encode(body))).finish_reason == ""
    with pytest.raises(lutum.ProviderError, match="neither a finish_reason nor a usage"):
        decode(msgspec.json.encode({"id": "c", "model": "m", "choices": [choice]}))
    old = {"message": message, "finish_details": {"type": "max_tokens"}}
    assert completed(decode(msgspec.json.encode(body | {"choices": [old]}))).finish_reason == "length"


USED = dict[str, int]


@pytest.mark.parametrize(
    ("reports", "spent"),
    [
        ([USAGE, {"prompt_tokens": 0, "completion_tokens": 0}], (7, 3, "exact")),
        ([{"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}], (100, 1, "estimated")),
        ([{"prompt_tokens": -5, "completion_tokens": -5}], (100, 1, "estimated")),
        ([{"prompt_tokens": 7.0, "completion_tokens": "3"}], (7, 3, "exact")),
        ([{"prompt_tokens": 7}], (7, 1, "estimated")),
        (
            [
                {
                    "prompt_tokens": 279,
                    "completion_tokens": 6,
                    "total_tokens": 374,
                    "completion_tokens_details": {"reasoning_tokens": 89},
                }
            ],
            (279, 95, "exact"),
        ),
        (
            [
                {
                    "prompt_tokens": 4,
                    "completion_tokens": 6,
                    "total_tokens": 20,
                    "prompt_tokens_details": {"audio_tokens": 10},
                }
            ],
            (14, 6, "exact"),
        ),
        ([{"prompt_tokens": 20, "completion_tokens": 198, "total_tokens": 623}], (20, 603, "estimated")),
        ([[1]], (100, 1, "estimated")),
    ],
)
def test_chat_usage(reports: list[Any], spent: tuple[int, int, str]) -> None:
    """A report that is odd, zero or a half costs no answer, and is never taken for exact."""
    data = (
        chunk({"content": "Hello"}) + chunk({}, "stop") + b"".join(chunk(usage=one) for one in reports) + DONE
    )
    usage = completed(decode(data)).usage
    assert (usage.input_tokens, usage.output_tokens, usage.known) == spent


def test_usage_of_hosts() -> None:
    """Members of single hosts: timings, cached tokens, tiers, searches, upstream costs, increments."""
    data = chunk({"content": "x"}) + chunk(
        {}, "stop", timings={"prompt_n": 5, "cache_n": 2, "predicted_n": 3}
    )
    usage = completed(decode(data + DONE)).usage
    assert (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens) == (7, 3, 2)
    told = USAGE | {"cached_tokens": 4, "cost": 0, "is_byok": True, "num_search_queries": 2}
    told |= {"cost_details": {"upstream_inference_cost": 0.25}}
    usage = completed(
        decode(chunk({"content": "x"}, service_tier="flex") + chunk({}, "stop", usage=told) + DONE)
    ).usage
    assert (usage.cache_read_tokens, str(usage.cost_usd), usage.web_searches, usage.rates) == (
        4,
        "0.25",
        2,
        ("flex",),
    )
    free = completed(
        decode(chunk({"content": "x"}) + chunk({}, "stop", usage=USAGE | {"cost": 0}) + DONE)
    ).usage
    assert free.cost_usd == 0
    parts = [chunk({"content": "x"}, usage={"prompt_tokens": 7, "completion_tokens": 1}) for _ in range(2)]
    last = chunk({}, "stop", usage={"prompt_tokens": 0, "completion_tokens": 1})
    usage = completed(decode(b"".join(parts) + last + DONE, increments=True)).usage
    assert (usage.input_tokens, usage.output_tokens) == (14, 3)


def test_half_a_pair() -> None:
    """Halves of a character are joined across deltas; one alone is U+FFFD, and the turn says so."""
    first, second = (
        rb'data: {"id":"c","choices":[{"delta":{"content":"Hi \ud83d"}}]}',
        rb'data: {"choices":[{"delta":{"content":"\ude00"}}]}',
    )
    turn = completed(decode(first + b"\n\n" + second + b"\n\n" + chunk({}, "stop") + DONE)).turn
    assert (turn.text, turn.exact) == ("Hi 😀", True)
    turn = completed(decode(first + b"\n\n" + chunk({}, "stop") + DONE)).turn
    assert (turn.text, turn.exact) == ("Hi �", False)
