"""The oddities of the servers that speak Chat Completions, each by hand."""

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, strategies as st
from openai_chat.chat_wire import DONE, USAGE, call, chunk, completed, decode, decoder, of, stream

import lutum
from lutum_openai._profiles import UNKNOWN
from lutum_openai.chat import _turn


def wire(events: list[lutum.Event]) -> Any:
    return json.loads(completed(events).turn.wire)


def text(events: list[lutum.Event]) -> str:
    return "".join(event.text for event in of(events, lutum.TextDelta))


def test_a_plain_answer() -> None:
    """Head, deltas, usage and the end, each one event; nothing merged."""
    data = stream({"role": "assistant", "content": ""}, {"content": "Rhine"}, {"content": ", Elbe"})
    response = lutum.Response(request_id="req_1", id="chatcmpl-1")
    usage = lutum.Usage(7, 3)
    turn = lutum.CommittedTurn(
        "openai-chat",
        "api.openai.com",
        "gpt-4o-x",
        b'{"role":"assistant","content":"Rhine, Elbe"}',
        (lutum.TextItem("Rhine, Elbe"),),
    )
    assert decode(data) == [
        lutum.TurnStarted("gpt-4o-x", response),
        lutum.TextDelta("Rhine"),
        lutum.TextDelta(", Elbe"),
        lutum.UsageUpdate(usage, True),
        lutum.Completed("stop", usage, turn),
    ]


# --- where a turn ends -------------------------------------------------------------------------


def test_done_without_a_reason_is_a_cut() -> None:
    """`[DONE]` alone completes nothing: proxies send it behind an upstream that broke. The error says so."""
    reading, out = decoder(), list[lutum.Event]()
    with pytest.raises(lutum.ProviderError, match=r"\[DONE\] and without a finish_reason") as failed:
        reading.feed(chunk({"content": "Rhi"}) + DONE, out)
    assert failed.value.kind == "server"
    assert of(out, lutum.TextDelta)
    assert not of(out, lutum.Completed)


def test_blank_reasons_complete_behind_the_usage() -> None:
    """A server that leaves every reason empty ends with the usage of the whole answer, then `[DONE]`."""
    data = chunk({"content": "Rhine"}, "") + chunk({}, "")
    with pytest.raises(lutum.ProviderError, match="without a finish_reason"):
        decode(data + DONE)
    assert not of(decode(data + chunk(usage=USAGE)), lutum.Completed)
    assert completed(decode(data + chunk(usage=USAGE) + DONE)).finish_reason == ""


def test_no_done() -> None:
    """Without `[DONE]` the end of the response counts, behind a reason and with nothing left over."""
    data = chunk({"content": "Rhine"}) + chunk({}, "stop")
    assert completed(decode(data)).turn.text == "Rhine"
    assert not of(decode(chunk({"content": "Rhine"})), lutum.Completed)
    assert not of(decode(data + b"data: {"), lutum.Completed)
    assert not of(decode(data + b"dat"), lutum.Completed)
    assert completed(decode(data + b": keep-alive"))


def test_calls_without_done_want_usage() -> None:
    """Together ends each of several calls with a reason: at the end of the response that is not enough."""
    first = chunk({"tool_calls": [{"index": 0, **call("a")}]}, "tool_calls")
    second = chunk({"tool_calls": [{"index": 1, **call("b")}]}, "tool_calls")
    assert not of(decode(first), lutum.Completed)
    assert [c.id for c in completed(decode(first + second + DONE)).turn.tool_calls] == ["a", "b"]
    assert completed(decode(first + chunk(usage=USAGE)))


def test_an_unterminated_last_event() -> None:
    """A last event without its blank line counts when it is whole."""
    data = chunk({"content": "x"}, "stop")
    assert completed(decode(data + b"data: [DONE]"))
    assert completed(decode(data[:-2]))


def test_nothing_behind_done() -> None:
    """What follows `[DONE]` is not looked at."""
    data = stream({"content": "x"})
    assert decode(data + b"data: nonsense\n\n") == decode(data)


@pytest.mark.parametrize(
    ("said", "finish"),
    [
        ("length", "length"),
        ("content_filter", "content_filter"),
        ("function_call", "tool_calls"),
        ("eos", "stop"),
        ("model_length", "length"),
        ("made_up", "made_up"),
    ],
)
def test_chat_finish_reasons(said: str, finish: str) -> None:
    """Reasons in lutum's words; others keep the server's."""
    assert completed(decode(stream({"content": "x"}, finish=said))).finish_reason == finish


# --- the shape of streams ----------------------------------------------------------------------


def test_comments_and_line_ends() -> None:
    """Comments, CRLF, blank lines and empty data are no events."""
    data = stream({"content": "x"})
    assert decode(b": OPENROUTER PROCESSING\n\n\n" + data.replace(b"\n", b"\r\n")) == decode(data)
    assert decode(b"data: \n\n" + data) == decode(data)


def test_a_body_instead_of_a_stream() -> None:
    """A JSON answer behind blank lines is a whole turn at its end, and no turn when it is cut."""
    message = {"role": "assistant", "content": "Rhine", "refusal": None}
    whole = {"id": "c", "model": "m", "choices": [{"message": message, "finish_reason": ""}], "usage": USAGE}
    data = b"\n\n \r\n" + msgspec.json.encode(whole)
    events = decode(data)
    assert completed(events).finish_reason == ""
    assert (text(events), completed(events).usage) == ("Rhine", lutum.Usage(7, 3))
    assert decode(data, [bytes([byte]) for byte in data]) == events
    assert decode(data[:-3]) == []


def test_chat_errors_in_a_stream() -> None:
    """Error frames, error members and error objects are raised as their status would be, events kept."""
    start = chunk({"content": "x"})
    frames = {
        b'event: error\ndata: {"error":{"message":"no","type":"invalid_request_error"}}': (
            "invalid_request",
            400,
        ),
        b'data: {"error":{"message":"no","code":429}}': ("rate_limit", 429),
        b'data: {"id":"g","choices":[],"error":{"message":"no","code":"server_error"}}': ("server", 500),
        b'data: {"object":"error","message":"no","code":400}': ("invalid_request", 400),
        b'data: {"error":"no"}': ("unknown", None),
    }
    for frame, (kind, status) in frames.items():
        reading, out = decoder(), list[lutum.Event]()
        with pytest.raises(lutum.ProviderError, match="no") as failed:
            reading.feed(start + frame + b"\n\n", out)
        assert (failed.value.kind, failed.value.status) == (kind, status)
        assert text(out) == "x"
        reading.eof(out)
        assert not of(out, lutum.Completed)


def test_an_error_as_a_reason() -> None:
    """A server that ends an answer with the reason `error` has failed: there is no turn."""
    reading, out = decoder(), list[lutum.Event]()
    with pytest.raises(lutum.ProviderError, match="'error'") as failed:
        reading.feed(chunk({"content": "x"}) + chunk({}, "error") + DONE, out)
    assert failed.value.kind == "server"
    assert text(out) == "x"


def test_chat_malformed_data() -> None:
    """What is no JSON, or of another type, is the provider's error and says which event."""
    for bad in (b"data: {oops\n\n", b'data: {"choices":7}\n\n', b"data: \xff\n\n", b"data: []\n\n"):
        with pytest.raises(lutum.ProviderError, match="event 2 of the stream") as failed:
            decoder().feed(chunk({"content": "x"}) + bad, [])
        assert failed.value.kind == "malformed"


def test_unknown_events() -> None:
    """An event without choices is kept as it came, and so is what servers add to a chunk, once a value."""
    data = (
        b'event: ping\ndata: {"t":1e2}\n\n'
        + chunk({"content": "x"}, citations=["a"])
        + stream({"content": "y"})
    )
    events = decode(data + b"")
    assert of(events, lutum.ProviderEvent) == [
        lutum.ProviderEvent("ping", b'{"t":1e2}'),
        lutum.ProviderEvent("citations", b'["a"]'),
    ]


def test_other_choices() -> None:
    """Of several choices the first is the turn; the others are kept as they came."""
    whole = {"choices": [{"index": 1, "delta": {"content": "B"}}, {"index": 0, "delta": {"content": "A"}}]}
    events = decode(b"data: " + msgspec.json.encode(whole) + b"\n\n" + stream({"content": "!"}))
    assert completed(events).turn.text == "A!"
    (other,) = of(events, lutum.ProviderEvent)
    assert (other.name, json.loads(other.data)["delta"]) == ("choice.1", {"content": "B"})


def test_the_head_comes_late() -> None:
    """Azure's first chunk has filter results and no model: the turn starts with the first choice."""
    first = b'data: {"choices":[],"model":"","id":"","prompt_filter_results":[{}]}\n\n'
    events = decode(first + stream({"content": "x"}))
    assert [type(event) for event in events[:2]] == [lutum.ProviderEvent, lutum.TurnStarted]
    assert of(events, lutum.TurnStarted)[0].model == "gpt-4o-x"


def test_no_model_at_all() -> None:
    """Where the stream does not say which model answers, it is the one that was asked."""
    data = b'data: {"choices":[{"delta":{"content":"x"},"finish_reason":"stop"}]}\n\n' + DONE
    assert completed(decode(data)).turn.model == "gpt-4o"


# --- content -----------------------------------------------------------------------------------


def test_repeated_roles_and_ids() -> None:
    """Hosts that repeat the role in every delta do not make it grow."""
    delta = {"role": "assistant", "content": "x", "refusal": ""}
    assert wire(decode(stream(delta, delta))) == {"role": "assistant", "content": "xx", "refusal": ""}


def test_parts() -> None:
    """Content as parts: thinking grows until it is closed, strings go on with the text."""

    def thought(words: str, **more: Any) -> dict[str, Any]:
        return {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": words}], **more}]}

    events = decode(
        stream(
            {"content": ""},
            thought("a"),
            thought("b", closed=True),
            thought("c"),
            {"content": "Rhine"},
            {"content": "!"},
        )
    )
    assert wire(events)["content"] == [
        {"type": "thinking", "thinking": [{"type": "text", "text": "ab"}], "closed": True},
        {"type": "thinking", "thinking": [{"type": "text", "text": "c"}]},
        {"type": "text", "text": "Rhine!"},
    ]
    turn = completed(events).turn
    assert (turn.text, turn.reasoning, text(events)) == ("Rhine!", "abc", "Rhine!")


def test_unknown_parts_are_kept() -> None:
    """A part of an unknown kind is an event and stays in the turn, lexemes and all."""
    data = b'data: {"choices":[{"delta":{"content":[{"type":"reference","ids":[1e2]}]}}]}\n\n'
    events = decode(data + stream({"content": "x"}))
    assert lutum.ProviderEvent("content.reference", b'{"type":"reference","ids":[1e2]}') in events
    assert b'{"type":"reference","ids":[1e2]}' in completed(events).turn.wire


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content", "thinking"])
def test_reasoning_by_every_name(name: str) -> None:
    """Reasoning under each of its names is shown, and stays under that name."""
    events = decode(stream({name: "hm"}, {name: ", yes"}, {"content": "x"}))
    assert [event.text for event in of(events, lutum.ReasoningDelta)] == ["hm", ", yes"]
    assert wire(events)[name] == "hm, yes"


def test_the_same_words_twice() -> None:
    """Reasoning that comes under two names, or as details too, is shown once and kept whole."""
    detail = {"type": "reasoning.text", "text": "hm", "index": 0}
    events = decode(stream({"reasoning_details": [detail], "reasoning": "hm", "reasoning_content": "hm"}))
    assert [event.text for event in of(events, lutum.ReasoningDelta)] == ["hm"]
    assert completed(events).turn.reasoning == "hm"
    assert wire(events)["reasoning_details"] == [detail]


def test_reasoning_details() -> None:
    """Details grow by type, index and id; a signature alone signs its entry; ciphers are never joined."""

    def details(*entries: dict[str, Any]) -> dict[str, Any]:
        return {"reasoning_details": list(entries)}

    events = decode(
        stream(
            details({"type": "reasoning.text", "text": "a", "index": 0, "signature": ""}),
            details({"type": "reasoning.text", "text": "b", "index": 0, "format": "claude"}),
            details({"type": "reasoning.text", "signature": "S1", "index": 0}),
            details({"type": "reasoning.text", "text": "c", "index": 0}),
            details({"type": "reasoning.summary", "summary": "d", "index": 0}),
            details({"type": "reasoning.encrypted", "data": "X", "index": 0, "id": "1"}),
            details({"type": "reasoning.encrypted", "data": "Y", "index": 0}),
        )
    )
    assert wire(events)["reasoning_details"] == [
        {"type": "reasoning.text", "text": "ab", "index": 0, "signature": "S1", "format": "claude"},
        {"type": "reasoning.text", "text": "c", "index": 0},
        {"type": "reasoning.summary", "summary": "d", "index": 0},
        {"type": "reasoning.encrypted", "data": "X", "index": 0, "id": "1"},
        {"type": "reasoning.encrypted", "data": "Y", "index": 0},
    ]
    assert completed(events).turn.reasoning == "abcd"
    assert completed(events).turn.exact


def test_inline_thinking_is_text() -> None:
    """Inline tags are what the model said: they stay text, or the replay would not be exact."""
    assert text(decode(stream({"content": "<think>hm</think>"}, {"content": "x"}))) == "<think>hm</think>x"


def test_refusals() -> None:
    """Refusals have events and a view of their own."""
    events = decode(stream({"content": None, "refusal": "I "}, {"refusal": "won't"}))
    assert [event.text for event in of(events, lutum.RefusalDelta)] == ["I ", "won't"]
    assert (completed(events).turn.refusal, completed(events).turn.text) == ("I won't", "")


def test_audio() -> None:
    """Spoken words are text; the sound is kept and is an event."""
    audio: list[dict[str, Any]] = [
        {"id": "audio_1"},
        {"transcript": "hel"},
        {"transcript": "lo"},
        {"data": "QUI="},
    ]
    events = decode(stream(*({"audio": piece} for piece in audio)))
    assert wire(events)["audio"] == {"id": "audio_1", "transcript": "hello", "data": "QUI="}
    assert (completed(events).turn.text, text(events)) == ("hello", "hello")


def test_unknown_members_keep_their_lexemes() -> None:
    """What no rule names is in the wire as it came; pieces nobody can join make the turn inexact."""
    data = b'data: {"choices":[{"delta":{"x":{"n":1e2},"y":1.50}}]}\n\n' + stream({"content": "a"})
    turn = completed(decode(data)).turn
    assert b'"x":{"n":1e2},"y":1.50' in turn.wire
    assert turn.exact
    joined = completed(decode(stream({"x": "a"}, {"x": "b"}))).turn
    assert joined.inexact_reason == "it is unknown how the pieces of 'x' are joined"
    assert completed(decode(stream({"x": "a"}, {"x": "a"}))).turn.exact
    assert completed(decode(stream({"channel": "a"}, {"channel": "b"}))).turn.exact


# --- calls -------------------------------------------------------------------------------------


def calls_of(*deltas: dict[str, Any]) -> list[tuple[str, str, str]]:
    events = decode(stream(*({"tool_calls": [delta]} for delta in deltas), finish="tool_calls"))
    ready = [e for e in events if isinstance(e, lutum.ToolCallReady | lutum.ToolCallIssue)]
    found = [(e.id, e.name, e.arguments) for e in ready]
    assert found == [(c.id, c.name, c.arguments) for c in completed(events).turn.tool_calls]
    return found


def piece(arguments: str, index: int | None = 0, **more: Any) -> dict[str, Any]:
    given = {} if index is None else {"index": index}
    return {**given, "function": {"arguments": arguments}, **more}


def test_streamed_calls() -> None:
    """A call's pieces come as they are sent, the call when it is whole."""
    events = decode(
        stream(
            {"tool_calls": [{"index": 0, **call("a", arguments="")}]},
            {"tool_calls": [piece('{"x"')]},
            {"tool_calls": [piece(":1}")]},
            finish="tool_calls",
        )
    )
    assert of(events, lutum.ToolCallDelta) == [
        lutum.ToolCallDelta("a", "look", '{"x"'),
        lutum.ToolCallDelta("a", "look", ":1}"),
    ]
    assert of(events, lutum.ToolCallReady) == [lutum.ToolCallReady("a", "look", '{"x":1}')]
    assert wire(events)["tool_calls"] == [call("a", arguments='{"x":1}')]


@pytest.mark.parametrize(
    ("deltas", "found"),
    [
        ([call("a"), call("b", "peek")], [("a", "look", "{}"), ("b", "peek", "{}")]),
        (
            [call("a", arguments=""), piece('{"x":', None), piece("1}", None, id=None)],
            [("a", "look", '{"x":1}')],
        ),
        ([{"index": 0, **call("a")}, {"index": 0, **call("b")}], [("a", "look", "{}"), ("b", "look", "{}")]),
        ([{"index": 0, **call("a", arguments="{")}, piece("}", id="other")], [("a", "look", "{}")]),
        (
            [{"index": 0, **call("a", arguments="{")}, {"index": 0, **call("a", arguments="}")}],
            [("a", "look", "{}")],
        ),
        (
            [{"index": 1, **call("b", arguments="{")}, {"index": 0, **call("a")}, piece("}", 1)],
            [("b", "look", "{}"), ("a", "look", "{}")],
        ),
        ([{"index": 0, **call("a", arguments="")}], [("a", "look", "{}")]),
        (
            [{"index": 0, "id": "a", "function": {"name": "look", "arguments": {"x": 1}}}],
            [("a", "look", '{"x":1}')],
        ),
    ],
    ids=[
        "no index",
        "no index, pieces",
        "index 0 for all",
        "an id a delta",
        "repeated",
        "interleaved",
        "no arguments",
        "object",
    ],
)
def test_how_calls_are_told_apart(deltas: list[dict[str, Any]], found: list[tuple[str, str, str]]) -> None:
    """By index, by a new id with a name, by order: as servers send them."""
    assert calls_of(*deltas) == found


def test_a_call_without_an_id() -> None:
    """It is given one, so that it can be answered; the next request has it, so the turn stays exact."""
    events = decode(stream({"tool_calls": [call("", "look")]}, finish="tool_calls"))
    (ready,) = of(events, lutum.ToolCallReady)
    assert ready.id
    assert completed(events).turn.exact
    assert wire(events)["tool_calls"][0]["id"] == ready.id


def test_chat_malformed_arguments() -> None:
    """Arguments that are no JSON object are an issue, kept as received."""
    events = decode(stream({"tool_calls": [call("a", arguments='{"x":')]}, finish="length"))
    assert of(events, lutum.ToolCallIssue) == [
        lutum.ToolCallIssue("a", "look", '{"x":', "malformed_arguments")
    ]
    assert wire(events)["tool_calls"][0]["function"]["arguments"] == '{"x":'
    assert not completed(events).turn.exact


def test_members_of_calls_are_kept() -> None:
    """Google's signatures stand in a call and go back with it."""
    extra = {"google": {"thought_signature": "S"}}
    events = decode(stream({"tool_calls": [{"index": 0, **call("a", extra_content=extra)}]}))
    assert wire(events)["tool_calls"] == [call("a", extra_content=extra)]


def test_legacy_function_call() -> None:
    """A `function_call` is a call, its id made of its name."""
    events = decode(
        stream(
            {"function_call": {"name": "look", "arguments": ""}},
            {"function_call": {"arguments": "{}"}},
            finish="function_call",
        )
    )
    assert of(events, lutum.ToolCallReady) == [lutum.ToolCallReady("function_call:look", "look", "{}")]
    assert wire(events)["function_call"] == {"name": "look", "arguments": "{}"}
    assert completed(events).finish_reason == "tool_calls"


def test_a_call_in_both_forms_is_one() -> None:
    """A `function_call` beside `tool_calls` is the same call: kept, not shown, and not sent back."""
    pieces = [
        {
            "function_call": {"name": "look", "arguments": piece},
            "tool_calls": [{"index": 0, **call("a", arguments=piece)}],
        }
        for piece in ("{", "}")
    ]
    empty: dict[str, Any] = {"role": "assistant", "content": None, "function_call": None, "tool_calls": None}
    events = decode(stream(empty, *pieces, finish="tool_calls"))
    assert of(events, lutum.ToolCallReady) == [lutum.ToolCallReady("a", "look", "{}")]
    assert [delta.id for delta in of(events, lutum.ToolCallDelta)] == ["a", "a"]
    assert [item.id for item in completed(events).turn.tool_calls] == ["a"]
    assert wire(events)["function_call"] == {"name": "look", "arguments": "{}"}
    replayed = _turn.replay_message(completed(events).turn, UNKNOWN)
    assert json.loads(replayed) == {"role": "assistant", "content": None, "tool_calls": [call("a")]}


def test_a_call_cut_before_its_arguments_is_an_issue() -> None:
    """At the length limit an empty call may have been about to say more; elsewhere it has no arguments."""
    empty = {"tool_calls": [{"index": 0, **call("a", arguments="")}]}
    cut, whole = decode(stream(empty, finish="length")), decode(stream(empty, finish="tool_calls"))
    assert of(cut, lutum.ToolCallIssue) == [lutum.ToolCallIssue("a", "look", "{}", "malformed_arguments")]
    assert of(cut, lutum.ToolCallReady) == []
    assert of(whole, lutum.ToolCallReady) == [lutum.ToolCallReady("a", "look", "{}")]


def test_custom_calls_are_open_items() -> None:
    """A custom call is the provider's: an open item, no tool of yours."""

    def custom(**given: Any) -> dict[str, Any]:
        return {"tool_calls": [{"index": 0, "type": "custom", **given}]}

    events = decode(
        stream(custom(id="a", custom={"name": "sql", "input": "SELECT"}), custom(custom={"input": " 1"}))
    )
    (item,) = completed(events).open_items
    assert json.loads(item) == {"id": "a", "type": "custom", "custom": {"name": "sql", "input": "SELECT 1"}}
    assert not completed(events).turn.tool_calls


# --- usage -------------------------------------------------------------------------------------


def test_chat_usage_in_every_chunk() -> None:
    """Usage in every chunk is an update when it changes, and final from the reason on."""
    data = b"".join(
        chunk(
            {"content": "x"}, "stop" if n == 3 else None, usage={"prompt_tokens": 7, "completion_tokens": n}
        )
        for n in (1, 2, 2, 3)
    )
    updates = of(decode(data), lutum.UsageUpdate)
    assert [(u.usage.output_tokens, u.final) for u in updates] == [(1, False), (2, False), (3, True)]


def test_no_usage_is_not_nothing() -> None:
    """Where the server never says, what was counted is settled, and labelled."""
    events = decode(chunk({"content": "a"}) + chunk({"content": "b"}, "stop") + DONE)
    assert completed(events).usage == lutum.Usage(100, 2, known="estimated")
    hidden = decode(chunk({"content": "a"}, "stop") + DONE, hidden_reasoning=True)
    assert completed(hidden).usage.known == "lower_bound"


def test_early_usage_is_a_lower_bound() -> None:
    """Usage that came before the reason, and none after it, is not the whole."""
    data = chunk({"content": "a"}, usage=USAGE) + chunk({}, "stop") + DONE
    assert completed(decode(data)).usage == lutum.Usage(7, 3, known="lower_bound")


def test_usage_in_other_places() -> None:
    """Moonshot reports in the choice, old Groq in `x_groq`, Perplexity's cost is an object."""
    choice = {"index": 0, "delta": {}, "finish_reason": "stop", "usage": USAGE}
    data = b"data: " + msgspec.json.encode({"choices": [choice]}) + b"\n\n"
    assert completed(decode(data)).usage == lutum.Usage(7, 3)
    data = chunk({"content": "x"}, "stop") + chunk({}, None, x_groq={"id": "r", "usage": USAGE}) + DONE
    assert completed(decode(data)).usage == lutum.Usage(7, 3)
    priced = {"prompt_tokens": 1, "completion_tokens": 1, "cost": {"total_cost": 0.0051}}
    data = chunk({"content": "x"}, "stop", usage=priced) + DONE
    assert completed(decode(data)).usage.cost_usd == Decimal("0.0051")


def test_unreadable_usage_is_kept() -> None:
    """A usage that is none is an event, and no reason to lose the answer."""
    events = decode(chunk({"content": "x"}, "stop", usage={"prompt_tokens": "many"}) + DONE)
    assert lutum.ProviderEvent("usage", b'{"prompt_tokens":"many"}') in events
    assert completed(events).usage.known == "estimated"


# --- structured values -------------------------------------------------------------------------


def test_chat_decode_structured() -> None:
    """A value's text comes as its JSON; one asked for by a tool too, and that turn is not exact."""
    events = decode(stream({"content": '{"a":'}, {"content": "1}"}), structured=True)
    assert [event.json for event in of(events, lutum.StructuredDelta)] == ['{"a":', "1}"]
    delta = {"tool_calls": [{"index": 0, **call("a", "City", '{"a":1}')}]}
    events = decode(stream(delta, finish="tool_calls"), value_tool="City")
    assert [event.json for event in of(events, lutum.StructuredDelta)] == ['{"a":1}']
    done = completed(events)
    assert (done.finish_reason, done.turn.text, done.turn.tool_calls, done.turn.exact) == (
        "stop",
        '{"a":1}',
        (),
        False,
    )


# --- anything at all ---------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["index", "type", "id", "x", "function", "name", "text"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)
MEMBERS = st.sampled_from(
    [
        "content",
        "role",
        "tool_calls",
        "reasoning",
        "reasoning_details",
        "refusal",
        "audio",
        "function_call",
        "x",
    ]
)
CHUNKS = st.builds(
    lambda delta, finish, more: chunk(delta, finish, **more),
    st.dictionaries(MEMBERS, VALUES, max_size=3),
    st.sampled_from([None, "stop", "tool_calls", ""]),
    st.dictionaries(st.sampled_from(["usage", "x_groq", "extra", "id"]), VALUES, max_size=1),
)
LINES = st.one_of(
    CHUNKS, st.just(DONE), st.just(chunk(usage=USAGE)), st.binary(max_size=12), st.just(b": c\n\n")
)


@given(st.lists(LINES, max_size=8), st.data())
def test_anything(lines: list[bytes], data: st.DataObject) -> None:
    """Whatever comes is events or a ProviderError, the same however it is cut; `Completed` is the last."""
    whole = b"".join(lines)

    def run(chunks: list[bytes]) -> tuple[list[lutum.Event], str]:
        reading, out = decoder(), list[lutum.Event]()
        try:
            for each in chunks:
                reading.feed(each, out)
            reading.eof(out)
        except lutum.ProviderError as exc:
            return out, str(exc)
        return out, ""

    events, error = run([whole])
    ends = [i for i, event in enumerate(events) if isinstance(event, lutum.Completed)]
    assert ends in ([], [len(events) - 1])
    at = data.draw(st.integers(0, len(whole)))
    assert run([whole[:at], whole[at:]]) == (events, error)
    assert run([bytes([byte]) for byte in whole]) == (events, error)
    for event in events:
        if isinstance(event, lutum.Completed):
            assert lutum.decode_frame(lutum.encode_frame([event])) == [event]
            json.loads(event.turn.wire)


def test_annotations_are_citations() -> None:
    """Each is shown when it comes, and is on the turn (OpenAI's search models, OpenRouter)."""
    place = {"url": "https://a.test", "title": "A", "start_index": 0, "end_index": 5}
    cited = {"type": "url_citation", "url_citation": place}
    events = decode(stream({"content": "Rhine"}, {"annotations": [cited, 5]}))
    [added] = of(events, lutum.CitationAdded)
    assert (added.citation.url, added.citation.title, added.citation.end) == ("https://a.test", "A", 5)
    assert completed(events).turn.citations[0] == added.citation
    assert [event.data for event in of(events, lutum.ProviderEvent)] == [b"5"]
