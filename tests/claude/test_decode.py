"""Streams to events and turns."""

import random
from typing import Any

import msgspec
import pytest
from claude.claude_wire import (
    PLAIN,
    begin,
    call,
    completed,
    decode,
    decoder,
    delta,
    finish,
    sse,
    start,
    stop,
    text,
)
from hypothesis import given, settings, strategies as st

import lutum
from lutum import (
    ProviderEvent,
    ReasoningDelta,
    RefusalDelta,
    StructuredDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallIssue,
    ToolCallReady,
    TurnStarted,
    UsageUpdate,
)
from lutum_claude import _turn

WORDS = (begin(0, text("")), delta(0, type="text_delta", text="Hi"), stop(0))


def call_stream(*pieces: str, block: dict[str, Any] | None = None, stop_reason: str = "tool_use") -> bytes:
    deltas = [delta(0, type="input_json_delta", partial_json=piece) for piece in pieces]
    return sse(start(), begin(0, block or call()), *deltas, stop(0), *finish(stop_reason))


def test_claude_text() -> None:
    """A turn of text: started, usage, one event a delta, final usage, completed."""
    events = decode(sse(start(), *WORDS, *finish()))
    assert events[:4] == [
        TurnStarted(PLAIN, lutum.Response(request_id="req_1", id="msg_1")),
        UsageUpdate(lutum.Usage(3, 1, known="lower_bound")),
        TextDelta("Hi"),
        UsageUpdate(lutum.Usage(3, 7), final=True),
    ]
    done = completed(events)
    assert (done.finish_reason, done.usage, done.turn.text) == ("stop", lutum.Usage(3, 7), "Hi")
    assert done.turn.exact


def test_thinking_keeps_its_signature() -> None:
    """A thinking block is assembled with its signature, also when its text is empty."""
    block = {"type": "thinking", "thinking": "", "signature": ""}
    signed = (begin(0, block), delta(0, type="signature_delta", signature="abc"), stop(0))
    turn = completed(decode(sse(start(), *signed, *finish()), prefix="digest")).turn
    assert msgspec.json.decode(turn.wire)["content"] == [
        {"type": "thinking", "thinking": "", "signature": "abc"}
    ]
    assert (turn.prefix, turn.items) == ("digest", (lutum.ReasoningItem(""),))


def test_reasoning_is_shown() -> None:
    """Thinking deltas are reasoning."""
    block = {"type": "thinking", "thinking": "", "signature": ""}
    events = decode(
        sse(start(), begin(0, block), delta(0, type="thinking_delta", thinking="hm"), stop(0), *finish())
    )
    assert ReasoningDelta("hm") in events
    assert completed(events).turn.reasoning == "hm"


def test_prefix_needs_a_signature() -> None:
    """A turn without signed thinking is bound to nothing."""
    assert completed(decode(sse(start(), *WORDS, *finish()), prefix="digest")).turn.prefix is None


def test_call_arguments_are_what_was_received() -> None:
    """The arguments' text is the deltas joined, lexemes and spaces included, and so is the wire's."""
    events = decode(call_stream('{"a": 1e', '2,  "b":10000000000000000000000001}'))
    arguments = '{"a": 1e2,  "b":10000000000000000000000001}'
    assert events[2:5] == [
        ToolCallDelta("toolu_1", "look", '{"a": 1e'),
        ToolCallDelta("toolu_1", "look", '2,  "b":10000000000000000000000001}'),
        ToolCallReady("toolu_1", "look", arguments),
    ]
    assert b'"input":' + arguments.encode() in completed(events).turn.wire
    assert completed(events).finish_reason == "tool_calls"


def test_call_without_deltas() -> None:
    """With no delta the input at the block's start counts; without that, no arguments."""
    assert ToolCallReady("toolu_1", "look", '{"a":1}') in decode(call_stream(block=call(input={"a": 1})))
    assert ToolCallReady("toolu_1", "look", "{}") in decode(call_stream("", ""))


@pytest.mark.parametrize("arguments", ['{"a":', "[1]", "1", '{"a":NaN}', "{}{}"])
def test_claude_malformed_arguments(arguments: str) -> None:
    """Arguments that are no JSON object are an issue, and an empty input on the wire."""
    events = decode(call_stream(arguments, stop_reason="max_tokens"))
    assert ToolCallIssue("toolu_1", "look", arguments, "malformed_arguments") in events
    turn = completed(events).turn
    assert msgspec.json.decode(turn.wire)["content"][0]["input"] == {}
    assert turn.tool_calls == (lutum.ToolCallItem("toolu_1", "look", arguments),)
    assert not turn.exact


def test_content_in_message_start() -> None:
    """A message that is whole at its start is shown, and ends with message_stop alone."""
    events = decode(sse(start(content=[call(), text("x")], stop_reason="tool_use"), {"type": "message_stop"}))
    assert ToolCallReady("toolu_1", "look", "{}") in events
    assert UsageUpdate(lutum.Usage(3, 1), final=True) in events
    assert completed(events).finish_reason == "tool_calls"


def test_initial_text_is_shown() -> None:
    """Text at a block's start is a delta like any other."""
    assert TextDelta("Oh") in decode(sse(start(), begin(0, text("Oh")), stop(0), *finish()))


def test_no_message_start() -> None:
    """A stream without its first event is taken to come from the model that was asked."""
    events = decode(sse(*WORDS, *finish()))
    assert events[0] == TurnStarted(PLAIN, lutum.Response(request_id="req_1"))
    assert completed(events).turn.model == PLAIN


def test_server_blocks_are_events() -> None:
    """A block without an event of its own is shown whole, and kept in the wire."""
    block = {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}
    events = decode(sse(start(), begin(0, block), stop(0), *finish()))
    assert ProviderEvent("web_search_tool_result", msgspec.json.encode(block)) in events
    assert msgspec.json.decode(completed(events).turn.wire)["content"] == [block]


def test_unknown_event() -> None:
    """An event of an unknown type is passed on as it came, and the turn stays exact."""
    events = decode(sse(start(), b'{"type":"weather","x":1e2}  ', *WORDS, *finish()))
    assert ProviderEvent("weather", b'{"type":"weather","x":1e2}') in events
    assert completed(events).turn.exact


@pytest.mark.parametrize("kind", ["glow_delta", "input_json_delta"])
def test_unknown_delta(kind: str) -> None:
    """A delta the block's kind does not have is passed on, and the turn is inexact."""
    events = decode(
        sse(start(), begin(0, text("")), delta(0, type=kind, partial_json="x"), stop(0), *finish())
    )
    assert any(isinstance(event, ProviderEvent) for event in events)
    reason = completed(events).turn.inexact_reason
    assert reason is not None
    assert kind in reason


def test_claude_citations() -> None:
    """Citations are appended as they came, to those at the block's start."""
    citation = delta(0, type="citations_delta", citation={"type": "x", "n": 1})
    events = decode(sse(start(), begin(0, {**text("a"), "citations": []}), citation, stop(0), *finish()))
    content = msgspec.json.decode(completed(events).turn.wire)["content"]
    assert content == [{"type": "text", "text": "a", "citations": [{"type": "x", "n": 1}]}]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            {"type": "char_location", "cited_text": "q", "document_index": 1, "document_title": "T"},
            {"type": "char_location", "quote": "q", "document": 1, "title": "T"},
        ),
        (
            {"type": "web_search_result_location", "url": "https://a.test", "title": "A", "cited_text": "q"},
            {"type": "web_search_result_location", "url": "https://a.test", "title": "A", "quote": "q"},
        ),
        ({"type": "new", "title": 3, "document_index": "x", "url": None}, {"type": "new"}),
    ],
)
def test_citations_are_values(given: dict[str, Any], expected: dict[str, Any]) -> None:
    """A citation is an event, and a value of the turn; a member of another type is left out."""
    cited = delta(0, type="citations_delta", citation=given)
    events = decode(sse(start(), begin(0, text("a")), cited, stop(0), *finish()))
    citation = lutum.Citation(**expected, data=msgspec.json.encode(given))
    assert [event.citation for event in events if isinstance(event, lutum.CitationAdded)] == [citation]
    turn = completed(events).turn
    assert turn.citations == (citation,)
    stored = lutum.Transcript.load(lutum.ModelInput().user("x").turn(turn).transcript.dump())
    assert stored[1] == turn


def test_compaction_replaces() -> None:
    """A compaction delta replaces what the block began with."""
    block = {"type": "compaction", "content": None}
    events = decode(
        sse(start(), begin(0, block), delta(0, type="compaction_delta", content="sum"), stop(0), *finish())
    )
    assert msgspec.json.decode(completed(events).turn.wire)["content"] == [
        {"type": "compaction", "content": "sum"}
    ]


def test_fallback_names_the_model() -> None:
    """Where another model took over, the turn is that model's."""
    block = {"type": "fallback", "from": {"model": PLAIN}, "to": {"model": "claude-opus-4-8"}}
    assert (
        completed(decode(sse(start(), begin(0, block), stop(0), *finish()))).turn.model == "claude-opus-4-8"
    )


def test_claude_structured() -> None:
    """In a structured turn the text is the value's JSON."""
    events = decode(sse(start(), *WORDS, *finish()), structured=True)
    assert StructuredDelta("Hi") in events
    assert completed(events).turn.text == "Hi"


def test_claude_decode_structured_by_tool() -> None:
    """The forced tool's input is the value: no call to answer, and no exact replay."""
    events = decode(call_stream('{"a"', ":1}"), value_tool="look")
    assert [event for event in events if isinstance(event, StructuredDelta)] == [
        StructuredDelta('{"a"'),
        StructuredDelta(":1}"),
    ]
    done = completed(events)
    assert (done.finish_reason, done.turn.tool_calls, done.turn.text) == ("stop", (), '{"a":1}')
    assert not done.turn.exact


def test_claude_refusal() -> None:
    """Text of a refused turn is shown as it came, and is a refusal in the view."""
    events = decode(sse(start(), *WORDS, *finish("refusal")))
    assert TextDelta("Hi") in events
    done = completed(events)
    assert (done.finish_reason, done.turn.text, done.turn.refusal) == ("content_filter", "", "Hi")


PIECE = delta(0, type="input_json_delta", partial_json="{}")
SPOKEN = {
    "text": WORDS,
    "text at the start of its block": (begin(0, text("Hi")), stop(0)),
    "a call in pieces": (begin(0, call()), PIECE, stop(0)),
    "a call of which a piece came": (begin(0, call()), PIECE),
    "a call at the start of its block": (begin(0, call(input={"a": 1})), stop(0)),
}


@pytest.mark.parametrize("spoken", SPOKEN.values(), ids=SPOKEN)
def test_a_refusal_behind_an_answer_adds_no_words(spoken: tuple[Any, ...]) -> None:
    """The provider's own words take the place of an answer only where there is none."""
    events = decode(sse(start(), *spoken, *finish("refusal", stop_details={"explanation": "No."})))
    assert not any(isinstance(event, RefusalDelta) for event in events)
    assert completed(events).finish_reason == "content_filter"


def test_a_refusal_is_told_once() -> None:
    """Also where the end of the message is reported twice."""
    last, end = finish("refusal", stop_details={"explanation": "No."})
    events = decode(sse(start(), last, last, end))
    assert [event.text for event in events if isinstance(event, RefusalDelta)] == ["No."]


@pytest.mark.parametrize("member", ["delta", "usage", "brand_new"])
def test_bytes_that_are_not_utf_8_in_the_end_of_a_message(member: str) -> None:
    """msgspec keeps such a member raw and unread, so the decoder looks: it would go back in a request."""
    last, end = finish()
    last[member] = {**last.get(member, {}), "note": "BROKEN"}
    broken = sse(start(), *WORDS, last, end).replace(b"BROKEN", b"\xff\xfe")
    with pytest.raises(lutum.ProviderError, match="utf-8") as caught:
        decode(broken)
    assert caught.value.kind == "malformed"


def test_refusal_without_words() -> None:
    """A refusal that says nothing is told in the provider's words."""
    details = {"type": "refusal", "category": "bio", "explanation": "No."}
    events = decode(sse(start(), *finish("refusal", stop_details=details)))
    assert RefusalDelta("No.") in events
    assert completed(events).turn.refusal == "No."


@pytest.mark.parametrize(
    ("stop_reason", "expected"),
    [
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("pause_turn", "paused"),
        ("model_context_window_exceeded", "length"),
        ("maxTokens", "length"),
        ("brand_new", "brand_new"),
        (None, ""),
    ],
)
def test_claude_finish_reasons(stop_reason: str | None, expected: str) -> None:
    """Reasons are lutum's words where it has one, else the provider's."""
    assert completed(decode(sse(start(), *WORDS, *finish(stop_reason)))).finish_reason == expected


def test_usage_is_merged() -> None:
    """message_delta replaces usage member by member; what it leaves out or nulls stays."""
    first = {
        "input_tokens": 3,
        "cache_read_input_tokens": 40,
        "cache_creation_input_tokens": 2,
        "output_tokens": 1,
    }
    last = {
        "output_tokens": 7,
        "cache_read_input_tokens": None,
        "output_tokens_details": {"thinking_tokens": 4},
    }
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": last}
    usage = completed(decode(sse(start(usage=first), end, {"type": "message_stop"}))).usage
    assert usage == lutum.Usage(45, 7, 40, 2, 4)


def test_gateway_cost() -> None:
    """A cost that a gateway reports is read by its digits."""
    usage = b'{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"cost":0.0000100}}'
    cost = completed(decode(sse(start(), usage, {"type": "message_stop"}))).usage.cost_usd
    assert str(cost) == "0.0000100"


def test_dropped_thinking_is_reported() -> None:
    """Each block that the API dropped from the request is an event."""
    entry = {"type": "thinking_dropped", "path": "messages.1.content.0", "reason": "prefix_binding_mismatch"}
    events = decode(sse(start(input_transformations=[entry]), *WORDS, *finish()))
    assert ProviderEvent("input_transformations", msgspec.json.encode(entry)) in events


def test_nothing_after_the_end() -> None:
    """What follows message_stop is not looked at."""
    assert isinstance(decode(sse(start(), *finish()) + b"data: [DONE]\n\n\xff")[-1], lutum.Completed)


def test_padding_and_missing_blank_line() -> None:
    """Spaces behind the JSON and a missing last blank line do not matter."""
    stream = sse(start(), *WORDS, *finish()).replace(b"}\n\n", b"}    \n\n").rstrip()
    assert completed(decode(stream)).turn.text == "Hi"


def test_pings() -> None:
    """Pings give no event, not even an empty one; one with members of its own is shown."""
    ping = b'event: ping\ndata: {"type": "ping"}\n\nevent: ping\ndata: \n\nevent: ping\ndata: {}\n\n'
    assert decode(ping + sse(start(), *WORDS, *finish())) == decode(sse(start(), *WORDS, *finish()))
    (first, *_) = decode(
        b'event: ping\ndata: {"type":"ping","cost":"0"}\n\n' + sse(start(), *WORDS, *finish())
    )
    assert first == ProviderEvent("ping", b'{"type":"ping","cost":"0"}')


@pytest.mark.parametrize(
    ("kind", "expected", "status"),
    [
        ("overloaded_error", "overloaded", 529),
        ("rate_limit_error", "rate_limit", 429),
        ("api_error", "server", 500),
        ("invalid_request_error", "invalid_request", 400),
        ("brand_new_error", "unknown", None),
    ],
)
def test_claude_error_event(kind: str, expected: str, status: int | None) -> None:
    """An error event is classed as its HTTP status would be; what came before it was delivered."""
    error = {"type": "error", "error": {"type": kind, "message": "No"}, "request_id": "req_9"}
    out = list[lutum.Event]()
    with pytest.raises(lutum.ProviderError, match="No") as caught:
        decoder().feed(sse(start(), *WORDS, error), out)
    assert TextDelta("Hi") in out
    found = caught.value
    assert (found.kind, found.status, found.type, found.request_id) == (expected, status, kind, "req_9")


@pytest.mark.parametrize(
    "event",
    [
        b"{",
        b"[1]",
        b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta"}}',
        b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\xff"}}',
        b'{"type":"content_block_delta","index":9,"delta":{"type":"text_delta","text":"x"}}',
        b'{"type":"content_block_delta","index":9,"delta":{"type":"glow_delta"}}',
        b'{"type":"content_block_start","index":1,"content_block":{"text":""}}',
        b'{"type":"content_block_start","index":1,"content_block":{"type":"new","x":"\xff"}}',
        b'{"type":"content_block_stop","index":4}',
        b'{"type":"message_start","message":{"id":"msg_other"}}',
        b'{"type":"message_delta","delta":3}',
    ],
)
def test_malformed(event: bytes) -> None:
    """What is not the protocol is the provider's error, and nothing follows it."""
    reading, out = decoder(), list[lutum.Event]()
    with pytest.raises(lutum.ProviderError) as caught:
        reading.feed(sse(start(), WORDS[0], event, *finish()), out)
    assert caught.value.kind == "malformed"
    reading.feed(sse(*finish()), out)
    reading.eof(out)
    assert not any(isinstance(found, lutum.Completed) for found in out)


def test_malformed_json_names_the_byte() -> None:
    """The message says which event, and at which byte of it."""
    with pytest.raises(lutum.ProviderError, match=r"event 2 .*byte 2"):
        decode(sse(start(), b'{"a}'[:2] + b"\x01"))


def test_cut_is_never_complete() -> None:
    """At every byte a stream is cut, it gives no Completed, and no error either."""
    stream = sse(
        start(), *WORDS, begin(1, call()), delta(1, type="input_json_delta", partial_json="{}"), *finish()
    )
    for cut in range(len(stream.rstrip())):
        events = decode(stream[:cut])
        assert not any(isinstance(event, lutum.Completed) for event in events)


# --- laws ------------------------------------------------------------------------------------------

numbers = st.sampled_from(["1e2", "1.50", "-0", "9" * 25, "1E+400", "0.1"])
names = st.text("abc", min_size=1, max_size=4).map("x_".__add__)


@st.composite
def values(draw: st.DrawFn, depth: int = 2) -> str:
    """JSON text with lexemes that a parser would lose."""
    if depth and draw(st.booleans()):
        inner = draw(st.lists(values(depth - 1), max_size=2))
        if draw(st.booleans()):
            return "[" + ", ".join(inner) + "]"
        return "{" + ",".join(f'"k{i}" : {value}' for i, value in enumerate(inner)) + "}"
    return draw(numbers | st.sampled_from(['"\\u00e9"', '"\U0001f30a"', "null", "true", '""', "[]", "{}"]))


@st.composite
def block_events(draw: st.DrawFn, index: int) -> tuple[list[bytes], str | None]:
    """The events of one block, and its JSON when it stays exact."""
    extra = "".join(f',"{draw(names)}{i}":{draw(values())}' for i in range(draw(st.integers(0, 2))))
    kind = draw(st.sampled_from(["text", "thinking", "tool_use", "x_new"]))
    pieces = draw(st.lists(st.text(max_size=4), max_size=3))
    joined, deltas, exact = msgspec.json.encode("".join(pieces)).decode(), list[dict[str, Any]](), True
    match kind:
        case "text":
            first = whole = f'{{"type":"text","text":""{extra}}}'
            deltas = [{"type": "text_delta", "text": piece} for piece in pieces]
            whole = f'{{"type":"text","text":{joined}{extra}}}'
        case "thinking":
            first = f'{{"type":"thinking","thinking":"","signature":""{extra}}}'
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces]
            deltas.append({"type": "signature_delta", "signature": "s"})
            whole = f'{{"type":"thinking","thinking":{joined},"signature":"s"{extra}}}'
        case "tool_use":
            arguments = draw(values().filter(lambda value: value.startswith("{")))
            cut = draw(st.integers(0, len(arguments)))
            first = f'{{"type":"tool_use","id":"t{index}","name":"n","input":{{}}{extra}}}'
            deltas = [
                {"type": "input_json_delta", "partial_json": p} for p in (arguments[:cut], arguments[cut:])
            ]
            whole = f'{{"type":"tool_use","id":"t{index}","name":"n","input":{arguments}{extra}}}'
        case _:
            first = whole = f'{{"type":"x_new","thing":{draw(values())}{extra}}}'
    if draw(st.integers(0, 9)) == 0:
        deltas.append({"type": "x_delta", "y": 1})
        exact = False
    events = [b'{"type":"content_block_start","index":%d,"content_block":%b}' % (index, first.encode())]
    events += [msgspec.json.encode(delta(index, **members)) for members in deltas]
    events.append(msgspec.json.encode(stop(index)))
    return events, whole if exact else None


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[str] | None]:
    """A stream, and the JSON of its blocks when the turn stays exact."""
    events, whole, exact = [msgspec.json.encode(start())], list[str](), True
    for index in range(draw(st.integers(0, 3))):
        block, value = draw(block_events(index))
        events += block
        whole.append(value or "")
        exact = exact and value is not None
        if draw(st.booleans()):
            events.append(draw(st.sampled_from([b'{"type":"ping"}', b'{"type":"x_event","n":1e2}'])))
    events += map(msgspec.json.encode, finish())
    return sse(*events), whole if exact else None


def lexemes(json: bytes | str) -> Any:
    """A JSON value with its numbers as they are written."""
    import json as stdlib

    return stdlib.loads(json, parse_float=lambda x: ("n", x), parse_int=lambda x: ("n", x))


@settings(max_examples=max(500, settings().max_examples))
@given(streams(), st.randoms(use_true_random=False))
def test_blocks_are_assembled_exactly(made: tuple[bytes, list[str] | None], chance: random.Random) -> None:
    """Whatever is unknown, a turn's wire holds the value of each block, number by number; and however a
    stream is split, its events are the same."""
    stream, whole = made
    events = decode(stream)
    turn = completed(events).turn
    if whole is not None:
        assert turn.exact
        assert lexemes(turn.wire)["content"] == [lexemes(block) for block in whole]
        again = [lexemes(block) for block in _turn.replay_blocks(turn)]
        assert again == [
            block for block in map(lexemes, whole) if block["type"] != "text" or block["text"].strip()
        ]
    else:
        assert not turn.exact
    assert split(stream, chance) == events


def split(stream: bytes, chance: random.Random) -> list[lutum.Event]:
    """The events of a stream fed in random pieces."""
    reading, out, at = decoder(), list[lutum.Event](), 0
    while at < len(stream):
        size = chance.choice((1, 2, 7, 40, 400))
        reading.feed(stream[at : at + size], out)
        at += size
    reading.eof(out)
    return out


def known(stream: bytes) -> tuple[lutum.Usage, bool]:
    """What a completed turn says of its usage, and whether an update called itself final."""
    events = decode(stream)
    final = any(isinstance(event, UsageUpdate) and event.final for event in events)
    return completed(events).usage, final


def last(usage: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The end of a stream that reports this usage."""
    ended, over = finish()
    return {**ended, "usage": usage}, over


@pytest.mark.parametrize(
    "stream",
    [
        sse(start(usage={"input_tokens": 3, "output_tokens": 1}), *WORDS, {"type": "message_stop"}),
        sse(start(), *WORDS, *last(None)),
        sse(start(), *WORDS, *last({})),
        sse(start(), *WORDS, *last("odd")),
    ],
)
def test_usage_without_a_final_report_is_a_lower_bound(stream: bytes) -> None:
    """Without a final report of the output, no update is final."""
    assert known(stream) == (lutum.Usage(3, 1, known="lower_bound"), False)


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (sse(start(usage=None), *WORDS, *last({"output_tokens": 7})), "estimated"),
        (sse(start(usage="odd"), *WORDS, *last({"output_tokens": 7})), "estimated"),
        (sse(*WORDS, *last({"output_tokens": 7})), "estimated"),
        (sse(start(), *WORDS, *last({"input_tokens": 3, "output_tokens": "7"})), "exact"),
        (
            sse(
                start(),
                *WORDS,
                *last({"input_tokens": 3, "output_tokens": 7, "cache_read_input_tokens": 5.0}),
            ),
            "exact",
        ),
        (
            sse(
                start(), *WORDS, *last({"input_tokens": 3, "output_tokens": 7, "cache_read_input_tokens": []})
            ),
            "estimated",
        ),
    ],
)
def test_a_final_report_is_as_exact_as_its_figures(stream: bytes, expected: str) -> None:
    """A figure that is not reported is estimated; whole floats and digits in a string are counts."""
    usage, final = known(stream)
    assert (usage.known, usage.output_tokens, final) == (expected, 7, True)


def test_a_call_by_a_program_was_paid_for_before() -> None:
    """The API continues the response of the program that the model wrote, and reports a true zero."""
    zeros = {"input_tokens": 0, "output_tokens": 0}
    for caller, found in (
        ("code_execution_20250825", lutum.Usage()),
        ("direct", lutum.Usage(0, 1, known="estimated")),
    ):
        block = {"type": "tool_use", "id": "t", "name": "n", "input": {"a": 1}, "caller": {"type": caller}}
        message = start(content=[block], stop_reason="tool_use", usage=zeros)
        assert known(sse(message, {"type": "message_stop"}))[0] == found


def test_usage_in_the_start_of_a_finished_message() -> None:
    """A start that already says why it stopped is a final report."""
    usage, final = known(sse(start(stop_reason="end_turn"), *WORDS, {"type": "message_stop"}))
    assert (usage, final) == (lutum.Usage(3, 1), True)


@pytest.mark.parametrize("odd", [-5000, 5.5, "many", [], {}, True, 1e300])
def test_what_is_no_count_is_not_reported(odd: Any) -> None:
    """A count that cannot be read leaves the earlier one standing, is estimated without one, and is shown."""
    stream = sse(start(), *WORDS, *last({"input_tokens": odd, "output_tokens": 7}))
    assert known(stream)[0] == lutum.Usage(3, 7)
    assert "usage" in [event.name for event in decode(stream) if isinstance(event, ProviderEvent)]
    usage, _ = known(sse(start(usage={"input_tokens": odd}), *WORDS, *last({"output_tokens": 7})))
    assert usage == lutum.Usage(0, 7, known="estimated")


def test_json_instead_of_a_stream() -> None:
    """A good status with an error as its JSON body is that error; JSON that is cut is no error yet."""
    body = b'{"type":"error","error":{"type":"overloaded_error","message":"Busy"},"request_id":"req_9"}'
    for pieces in ([body], [b"\n ", body[:1], body[1:30], body[30:]], [b"[" + body + b"]"]):
        reading, out = decoder(), list[lutum.Event]()
        for piece in pieces:
            reading.feed(piece, out)
        with pytest.raises(lutum.ProviderError, match="Busy") as caught:
            reading.eof(out)
        assert (caught.value.kind, caught.value.status, out) == ("overloaded", 529, [])
    assert decode(body[:40]) == []
    with pytest.raises(lutum.ProviderError, match="not an answer of this API"):
        decode(b'{"type":"message","content":[]}')


def test_an_odd_member_of_the_message() -> None:
    """A member that is not what the API says stays in the wire, and the answer is whole."""
    odd: dict[str, Any] = {"stop_details": "odd", "stop_sequence": 5}
    turn = completed(decode(sse(start(id=5, model=7), *WORDS, *finish(**odd)))).turn
    assert (turn.text, turn.model, turn.exact) == ("Hi", PLAIN, True)
    assert msgspec.json.decode(turn.wire)["stop_details"] == "odd"
    refused = completed(decode(sse(start(), *finish("refusal", stop_details="odd")))).turn
    assert refused.items == (lutum.RefusalItem("The request was refused."),)


@pytest.mark.parametrize(
    "events",
    [
        (begin(0, {"type": "thinking", "thinking": "", "signature": 5}), stop(0)),
        (begin(0, {"type": "thinking", "thinking": 5, "signature": "s"}), stop(0)),
        (
            begin(0, {"type": "thinking", "thinking": "", "signature": ""}),
            delta(0, type="signature_delta", signature=5),
            stop(0),
        ),
        (begin(0, {"type": "text", "text": 5}), stop(0)),
    ],
)
def test_an_odd_member_of_a_block(events: tuple[dict[str, Any], ...]) -> None:
    """A block that cannot go back makes the turn inexact, and loses nothing else."""
    said = (begin(1, text("")), delta(1, type="text_delta", text="Hi"), stop(1))
    turn = completed(decode(sse(start(), *events, *said, *finish()))).turn
    assert (turn.text, turn.exact) == ("Hi", False)
    assert (turn.inexact_reason or "").startswith(_turn.INCOMPLETE)
    assert _turn.view_blocks(turn) == [_turn.text_block("Hi")]


@pytest.mark.parametrize(
    "event",
    [
        b'{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"\xb3"}}',
        b'{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":{"\xb3":1}}}',
    ],
)
def test_what_is_kept_raw_is_utf8_too(event: bytes) -> None:
    """Bytes that are no UTF-8 in a member nobody looks into are malformed, as anywhere else."""
    started = begin(0, {"type": "thinking", "thinking": "", "signature": ""})
    with pytest.raises(lutum.ProviderError) as failed:
        decode(sse(start(), started, event))
    assert failed.value.kind == "malformed"


def test_empty_data_says_nothing() -> None:
    """An event without a name whose data is empty is passed over, wherever it stands."""
    whole = decode(sse(start(), *WORDS, *finish()))
    assert decode(sse(b"", start(), *WORDS, b" ", *finish())) == whole
