"""Streams to events and turns."""

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, strategies as st
from openai_responses.responses_wire import (
    PLAIN,
    THINKS,
    added,
    call,
    completed,
    created,
    decode,
    decoder,
    delta,
    done,
    event,
    finished,
    message,
    reasoning,
    response,
    sse,
)

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
    Usage,
    UsageUpdate,
)

WORDS = (added(message()), delta("output_text", "Hel"), delta("output_text", "lo"), done(message("Hello")))


def test_responses_text() -> None:
    """A text turn: started, a delta for each delta, its usage, and the turn."""
    events = decode(sse(created(), *WORDS, completed(message("Hello"))))
    usage = Usage(10, 5, cache_read_tokens=4, reasoning_tokens=2)
    assert events[:-1] == [
        TurnStarted(PLAIN, lutum.Response(request_id="req_1", id="resp_1")),
        TextDelta("Hel"),
        TextDelta("lo"),
        UsageUpdate(usage, final=True),
    ]
    last = finished(events)
    assert (last.finish_reason, last.usage, last.turn.text) == ("stop", usage, "Hello")
    assert msgspec.json.decode(last.turn.wire)["output"] == [message("Hello")]


@pytest.mark.parametrize("cut", ["end", "terminal", "half"])
def test_cut_stream_never_completes(cut: str) -> None:
    """Without the terminal event there is no turn, however whole its items are."""
    data = sse(created(), *WORDS)
    if cut == "terminal":
        data += sse(completed())[:40]
    elif cut == "half":
        data += sse(completed())[:-60]
    assert not any(isinstance(found, lutum.Completed) for found in decode(data))


def test_terminal_event_without_its_blank_line() -> None:
    """A server that forgets the last blank line has completed all the same."""
    assert finished(decode(sse(created(), *WORDS, completed()).rstrip(b"\n"))).turn.text == "Hello"


def test_reasoning() -> None:
    """Summaries and readable reasoning are reasoning; each part is an item of the view."""
    item = reasoning("one", "two", content=[{"type": "reasoning_text", "text": "raw"}], encrypted_content="x")
    events = decode(
        sse(
            created(),
            added(reasoning()),
            delta("reasoning_summary_text", "one", "rs_1", summary_index=0),
            delta("reasoning_summary_text", "two", "rs_1", summary_index=1),
            delta("reasoning_text", "raw", "rs_1", content_index=0),
            done(item),
            completed(item),
        )
    )
    assert [e.text for e in events if isinstance(e, ReasoningDelta)] == ["one", "two", "raw"]
    turn = finished(events).turn
    assert turn.items == tuple(map(lutum.ReasoningItem, ("one", "two", "raw")))
    assert turn.exact


def test_reasoning_out_of_sight_is_an_empty_item() -> None:
    """Encrypted reasoning without a summary is in the view, with nothing to read."""
    turn = finished(decode(sse(completed(reasoning(encrypted_content="x"), message("a"))))).turn
    assert turn.items == (lutum.ReasoningItem(""), lutum.TextItem("a"))


def test_responses_refusal() -> None:
    """A refusal has deltas and items of its own, and ends the turn as a content filter would."""
    item = message({"type": "refusal", "refusal": "No."})
    events = decode(sse(created(), added(item), delta("refusal", "No."), done(item), completed(item)))
    assert RefusalDelta("No.") in events
    assert finished(events).finish_reason == "content_filter"
    assert finished(events).turn.refusal == "No."


def test_call() -> None:
    """A call's pieces carry its public id, and it is ready when its item is."""
    item = call(arguments='{"a":1}')
    events = decode(
        sse(
            created(),
            added(item),
            delta("function_call_arguments", '{"a"', "fc_1"),
            delta("function_call_arguments", ":1}", "fc_1"),
            event(
                "response.function_call_arguments.done", item_id="fc_1", output_index=0, arguments='{"a":1}'
            ),
            done(item),
            completed(item),
        )
    )
    assert events[1:4] == [
        ToolCallDelta("call_1", "look", '{"a"'),
        ToolCallDelta("call_1", "look", ":1}"),
        ToolCallReady("call_1", "look", '{"a":1}'),
    ]
    assert finished(events).finish_reason == "tool_calls"


def test_arguments_before_the_name_are_held_back() -> None:
    """Pieces of a call nobody has named yet come as one when its name is known."""
    events = decode(
        sse(
            delta("function_call_arguments", '{"a"', "fc_1", None),
            delta("function_call_arguments", ":1}", "fc_1", None),
            event("response.function_call_arguments.done", item_id="fc_1", arguments='{"a":1}', name="look"),
            done(call(arguments='{"a":1}')),
            completed(),
        )
    )
    assert [e for e in events if isinstance(e, ToolCallDelta)] == [ToolCallDelta("fc_1", "look", '{"a":1}')]
    assert ToolCallReady("call_1", "look", '{"a":1}') in events


def test_call_told_twice_is_one() -> None:
    """The same call under two item ids is one call."""
    events = decode(sse(created(), added(call()), done(call()), done(call(id="fc_2"), 1), completed()))
    assert sum(isinstance(e, ToolCallReady) for e in events) == 1
    assert len(finished(events).turn.tool_calls) == 1


def test_responses_two_calls_with_one_id() -> None:
    """Each is a call of its own, and the second has an id of its own, in the wire too."""
    events = decode(
        sse(created(), done(call(arguments='{"a":1}')), done(call(arguments='{"a":2}'), 1), completed())
    )
    ready = [e for e in events if isinstance(e, ToolCallReady)]
    assert [(e.id, e.arguments) for e in ready] == [("call_1", '{"a":1}'), ("call_1_2", '{"a":2}')]
    turn = finished(events).turn
    assert [c.id for c in turn.tool_calls] == ["call_1", "call_1_2"]
    assert [item["call_id"] for item in msgspec.json.decode(turn.wire)["output"]] == ["call_1", "call_1_2"]
    assert turn.exact


def test_empty_arguments() -> None:
    """A call without arguments is a call with none; on the wire it stays as it came."""
    last = finished(decode(sse(completed(call(arguments="")))))
    assert last.turn.tool_calls == (lutum.ToolCallItem("call_1", "look", "{}"),)
    assert msgspec.json.decode(last.turn.wire)["output"][0]["arguments"] == ""
    assert last.turn.exact


@pytest.mark.parametrize("arguments", ['{"a":', "[1]", '"x"', "nonsense", '{"a":1}{'])
def test_responses_arguments_that_are_no_object(arguments: str) -> None:
    """Such a call is an issue, and the turn says why it is not exact."""
    events = decode(sse(created(), added(call()), done(call(arguments=arguments)), completed()))
    assert ToolCallIssue("call_1", "look", arguments, "malformed_arguments") in events
    turn = finished(events).turn
    assert turn.tool_calls[0].arguments == arguments
    assert "not a JSON object" in (turn.inexact_reason or "")


def test_item_ids_that_change() -> None:
    """A gateway that renames an item with every event is understood by the item's place."""
    item = call(arguments='{"a":1}')
    events = decode(
        sse(
            created(),
            added({**item, "id": "x1"}),
            delta("function_call_arguments", '{"a":1}', "x2"),
            done({**item, "id": "x3"}),
            completed({**item, "id": "x4"}),
        )
    )
    assert [e for e in events if isinstance(e, ToolCallDelta)] == [ToolCallDelta("call_1", "look", '{"a":1}')]
    assert len(msgspec.json.decode(finished(events).turn.wire)["output"]) == 1


def test_every_item_at_index_zero() -> None:
    """A server that does not count its items is understood by their ids."""
    first, second = message("A"), message("B", id="msg_2")
    events = decode(
        sse(
            created(),
            added(first),
            delta("output_text", "A"),
            done(first),
            added(second),
            delta("output_text", "B", "msg_2"),
            done(second),
            completed(first, second),
        )
    )
    assert finished(events).turn.text == "AB"
    assert len(msgspec.json.decode(finished(events).turn.wire)["output"]) == 2


def test_items_in_their_order() -> None:
    """Items that finish out of order stand as the response counts them."""
    first, second = call(id="fc_1", call_id="c1"), call(id="fc_2", call_id="c2")
    events = decode(
        sse(created(), added(first, 0), added(second, 1), done(second, 1), done(first, 0), completed())
    )
    assert [item.id for item in finished(events).turn.tool_calls] == ["c1", "c2"]


def test_output_from_the_terminal_event() -> None:
    """A stream that never ends its items has them in its terminal event."""
    events = decode(
        sse(created(), delta("output_text", "Hel"), completed(reasoning("x"), message("Hello"), call()))
    )
    assert [e.text for e in events if isinstance(e, TextDelta)] == ["Hel", "lo"]
    assert ReasoningDelta("x") in events
    assert ToolCallReady("call_1", "look", "{}") in events
    assert [i["type"] for i in msgspec.json.decode(finished(events).turn.wire)["output"]] == [
        "reasoning",
        "message",
        "function_call",
    ]


def test_output_from_deltas() -> None:
    """A terminal event without output, and no item that ended: what was streamed is the turn."""
    noted = {"type": "url_citation", "url": "https://a.test", "title": "A", "start_index": 0, "end_index": 2}
    events = decode(
        sse(
            created(),
            added(reasoning()),
            delta("reasoning_summary_text", "why", "rs_1", summary_index=0),
            added(message(), 1),
            delta("output_text", "Hi", index=1, content_index=0),
            event("response.output_text.annotation.added", item_id="msg_1", output_index=1, annotation=noted),
            added(call(), 2),
            delta("function_call_arguments", '{"a":1}', "fc_1", 2),
            event("response.completed", response={"id": "resp_1", "status": "completed"}),
        )
    )
    turn = finished(events).turn
    assert turn.items == (
        lutum.ReasoningItem("why"),
        lutum.TextItem("Hi", turn.citations),
        lutum.ToolCallItem("call_1", "look", '{"a":1}'),
    )
    (citation,) = turn.citations
    assert (citation.url, citation.title, citation.start, citation.end) == ("https://a.test", "A", 0, 2)
    assert lutum.CitationAdded(citation) in events
    content = msgspec.json.decode(turn.wire)["output"][1]["content"]
    assert content == [{"type": "output_text", "annotations": [noted], "text": "Hi"}]
    assert turn.exact


def test_cut_encrypted_reasoning_is_inexact() -> None:
    """Encrypted reasoning counts when its item ends: what it began with may be a part."""
    begun = added(reasoning(encrypted_content="half"))
    turn = finished(decode(sse(created(), begun, *WORDS, completed()))).turn
    assert (turn.inexact_reason or "").startswith("an item was never said to be whole: reasoning")


def test_cut_item_of_another_kind_is_inexact() -> None:
    """Of what the decoder does not look into, it has only what the item began with."""
    begun = {"type": "web_search_call", "id": "ws_1", "status": "in_progress"}
    turn = finished(decode(sse(created(), added(begun), *WORDS, completed()))).turn
    assert "web_search_call 'ws_1'" in (turn.inexact_reason or "")
    # The terminal event may still bring it whole.
    ended = {**begun, "status": "completed"}
    turn = finished(
        decode(sse(created(), added(begun), added(message(), 1), completed(ended, message("a"))))
    ).turn
    assert turn.exact
    assert msgspec.json.decode(turn.wire)["output"] == [ended, message("a")]


def test_text_that_ends_otherwise_than_streamed() -> None:
    """What an item ends as is the turn; what was said stays said."""
    events = decode(
        sse(created(), added(message()), delta("output_text", "Helo"), done(message("Hello")), completed())
    )
    assert [e.text for e in events if isinstance(e, TextDelta)] == ["Helo"]
    assert finished(events).turn.text == "Hello"


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"incomplete_details": {"reason": "max_output_tokens"}}, "length"),
        ({"incomplete_details": {"reason": "content_filter"}}, "content_filter"),
        ({"incomplete_details": {"reason": "steered"}}, "steered"),
        ({"incomplete_details": None}, "length"),
        (
            {"finish_reason": "tool_calls", "incomplete_details": {"reason": "max_output_tokens"}},
            "tool_calls",
        ),
        ({"stop_reason": "end_turn"}, "stop"),
    ],
)
def test_incomplete_is_a_result(more: dict[str, Any], reason: str) -> None:
    """An incomplete response is a turn; its reason is the first that is said."""
    last = event("response.incomplete", response=response(message("Hel"), status="incomplete", **more))
    found = finished(decode(sse(created(), *WORDS[:2], last)))
    assert found.finish_reason == reason
    assert found.turn.text == "Hel"


def test_reasoning_that_ate_the_budget() -> None:
    """Nothing but reasoning, and all the tokens it was allowed: the length limit, said or not."""
    thought = reasoning("hm")
    assert finished(decode(sse(completed(thought, max_output_tokens=5)))).finish_reason == "length"
    assert finished(decode(sse(completed(thought, max_output_tokens=6)))).finish_reason == "stop"


def test_responses_decode_open_items() -> None:
    """Calls that the provider leaves to you are open, as they came; those it answered are not."""
    waiting = [
        {"type": "custom_tool_call", "call_id": "c1", "name": "x", "input": "raw"},
        {"type": "mcp_approval_request", "id": "m1", "name": "x", "arguments": "{}", "server_label": "s"},
        {"type": "computer_call", "call_id": "c2", "action": {"type": "screenshot"}},
        {"type": "apply_patch_call", "call_id": "c3", "operation": {"type": "delete_file", "path": "a"}},
        {"type": "shell_call", "call_id": "c4", "action": {"commands": ["ls"]}},
        {"type": "tool_search_call", "call_id": "c5", "execution": "client", "arguments": {}},
    ]
    answered = [
        {"type": "shell_call", "call_id": "c6", "action": {"commands": ["ls"]}},
        {"type": "shell_call_output", "call_id": "c6", "output": []},
        {"type": "tool_search_call", "call_id": None, "execution": "server", "arguments": {}},
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
    ]
    events = decode(
        sse(created(), *(done(item, i) for i, item in enumerate(waiting + answered)), completed())
    )
    last = finished(events)
    assert [msgspec.json.decode(item) for item in last.open_items] == waiting
    told = [e.name for e in events if isinstance(e, ProviderEvent)]
    assert told == [item["type"] for item in waiting + answered]
    assert msgspec.json.decode(last.turn.wire)["output"] == waiting + answered


def test_unknown_is_kept() -> None:
    """Unknown events are told and unknown items kept, with their lexemes; neither is an error."""
    item = b'{"type":"holo","id":7,"content":1e2,"name":{"a":1.0}}'
    events = decode(
        sse(created(), event("response.holo.delta", delta="x"), added(message(), 1))
        + b'data: {"type":"response.output_item.done","output_index":0,"item":%b}\n\n' % item
        + b"data: {}\n\n"
        + sse(event("keepalive"), *WORDS[1:2], done(message("Hel"), 1), completed())
    )
    names = [e.name for e in events if isinstance(e, ProviderEvent)]
    assert names == ["response.holo.delta", "holo", "", "keepalive"]
    assert item in finished(events).turn.wire


def test_repeats_are_silent() -> None:
    """Events that only repeat deltas are no events."""
    repeats = [
        event("response.content_part.added", part={"type": "output_text", "text": ""}),
        event("response.output_text.done", text="Hello"),
        event("response.reasoning_summary_part.added", part={}),
    ]
    assert len(decode(sse(created(), *repeats, *WORDS, completed()))) == len(
        decode(sse(created(), *WORDS, completed()))
    )


def test_logprobs_are_told_and_kept() -> None:
    """Log probabilities come beside their delta, and stay in the turn."""
    probs = [{"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": []}]
    item = message({"type": "output_text", "annotations": [], "text": "Hi", "logprobs": probs})
    events = decode(
        sse(created(), added(item), delta("output_text", "Hi", logprobs=probs), done(item), completed())
    )
    (told,) = [e for e in events if isinstance(e, ProviderEvent)]
    assert (told.name, msgspec.json.decode(told.data)) == ("response.output_text.delta.logprobs", probs)
    assert msgspec.json.decode(finished(events).turn.wire)["output"] == [item]


def test_dropped_reasoning_is_told() -> None:
    """What the API withheld of the input is an event, never silence."""
    entry = {"id": "rs_9", "type": "reasoning", "action": "removed", "reason": "prefix_mismatch"}
    events = decode(sse(created(), *WORDS, completed(input_transformations=[entry])))
    (told,) = [e for e in events if isinstance(e, ProviderEvent)]
    assert (told.name, msgspec.json.decode(told.data)) == ("input_transformations", entry)


def test_queued() -> None:
    """A response that waits in a queue has started; that it waits is told."""
    events = decode(
        sse(event("response.queued", response=response(status="queued", usage=None)), *WORDS, completed())
    )
    assert isinstance(events[0], TurnStarted)
    assert isinstance(events[1], ProviderEvent)
    assert finished(events).turn.text == "Hello"


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        ({"code": "server_error", "message": "m"}, "server", 500),
        ({"code": "rate_limit_exceeded", "message": "m"}, "rate_limit", 429),
        ({"type": "insufficient_quota", "code": "insufficient_quota", "message": "m"}, "billing", 429),
        ({"code": "invalid_prompt", "message": "m"}, "invalid_request", 400),
        ({"code": 502, "message": "m"}, "server", 502),
        ({"code": "who knows", "message": "m"}, "unknown", None),
    ],
)
@pytest.mark.parametrize("shape", ["flat", "nested", "failed", "bare"])
def test_errors_in_the_stream(error: dict[str, Any], kind: str, status: int | None, shape: str) -> None:
    """An error in any of its shapes is classed as the HTTP status it stands for, with what it says."""
    last: dict[str, Any] | bytes
    if shape == "flat" and "type" not in error:
        last = event("error", **error)
    elif shape == "failed":
        last = event("response.failed", response=response(status="failed", error=error))
    elif shape == "bare":
        last = b"data: %b\n\n" % msgspec.json.encode({"error": error})
    else:
        last = event("error", error=error)
    reading, out = decoder(), list[lutum.Event]()
    with pytest.raises(lutum.ProviderError) as caught:
        reading.feed(sse(created(), *WORDS, last), out)
    exc = caught.value
    assert (exc.message, exc.kind, exc.status, exc.code) == ("m", kind, status, str(error["code"]))
    assert exc.request_id == "req_1"
    assert TextDelta("lo") in out
    reading.feed(sse(completed()), out)
    reading.eof(out)
    assert not any(isinstance(found, lutum.Completed) for found in out)


def test_usage_of_a_failure() -> None:
    """What a response that failed used is told before its error."""
    out = list[lutum.Event]()
    with pytest.raises(lutum.ProviderError):
        decoder().feed(sse(created(), event("response.failed", response=response(status="failed"))), out)
    assert out[-1] == UsageUpdate(Usage(10, 5, 4, reasoning_tokens=2), final=True)


def test_failed_without_a_reason() -> None:
    """A response that failed or was cancelled and does not say why is an error that says so."""
    with pytest.raises(lutum.ProviderError, match="cancelled"):
        decode(sse(created(), event("response.cancelled", response=response(status="cancelled"))))
    with pytest.raises(lutum.ProviderError, match="failed"):
        decode(sse(created(), completed(status="failed")))


@pytest.mark.parametrize(
    "data",
    [b"data: {\n\n", b"data: 1\n\n", b"data: \xff\n\n", sse(event("response.output_text.delta", delta=1))],
    ids=["cut", "number", "bytes", "type"],
)
def test_responses_malformed_data(data: bytes) -> None:
    """Data that is not the protocol is an error that names the event."""
    with pytest.raises(lutum.ProviderError, match="event 2 of the stream") as caught:
        decode(sse(created()) + data)
    assert caught.value.kind == "malformed"


def test_blank_data_and_done() -> None:
    """Blank data, comments and a `[DONE]` are nothing."""
    noise = b": keep-alive\n\nevent: x\ndata: \n\n"
    assert decode(noise + sse(created(), *WORDS, completed()) + b"data: [DONE]\n\n") == decode(
        sse(created(), *WORDS, completed())
    )
    assert decode(b"data: [DONE]\n\n") == []


def test_missing_usage_is_counted() -> None:
    """A response that never says what it used is not recorded as nothing."""
    last = completed(usage=None)
    found = finished(decode(sse(created(), *WORDS, last), estimate=lutum.Estimate(30)))
    assert found.usage == Usage(30, 2, known="estimated")
    zeros = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    events = decode(sse(created(usage=zeros), *WORDS, completed(usage=zeros)))
    assert finished(events).usage == Usage(0, 2, known="estimated")
    assert not any(isinstance(e, UsageUpdate) for e in events)
    by_program = call(caller={"type": "program", "caller_id": "call_0"})
    assert finished(decode(sse(completed(by_program, usage=zeros)))).usage == Usage()  # paid for before
    assert finished(decode(sse(completed(call(), usage=zeros)))).usage == Usage(0, 1, known="estimated")
    found = finished(decode(sse(created(), *WORDS, last), estimate=lutum.Estimate(30), hidden=True))
    assert found.usage.known == "lower_bound"


def test_responses_decode_structured() -> None:
    """A value's text is its JSON; what the model says on its way is text."""
    aside, value = message("Well.", phase="commentary"), message('{"a":1}', id="msg_2", phase="final_answer")
    events = decode(
        sse(
            created(),
            added(aside),
            delta("output_text", "Well."),
            done(aside),
            added(value, 1),
            delta("output_text", '{"a":1}', "msg_2", 1),
            done(value, 1),
            completed(aside, value),
        ),
        structured=True,
    )
    assert TextDelta("Well.", "commentary") in events
    turn = finished(events).turn
    assert (turn.text, turn.commentary) == ('{"a":1}', "Well.")
    assert [e.json for e in events if isinstance(e, StructuredDelta)] == ['{"a":1}']


def test_value_by_a_forced_tool() -> None:
    """The forced tool's arguments are the value and no call; only the view of such a turn goes back."""
    item = call("V", '{"a":1}')
    events = decode(
        sse(
            created(),
            added(item),
            delta("function_call_arguments", '{"a":1}', "fc_1"),
            done(item),
            completed(),
        ),
        value_tool="V",
    )
    assert [e.json for e in events if isinstance(e, StructuredDelta)] == ['{"a":1}']
    assert not any(isinstance(e, ToolCallReady | ToolCallDelta) for e in events)
    last = finished(events)
    assert (last.finish_reason, last.turn.text, last.turn.tool_calls) == ("stop", '{"a":1}', ())
    assert not last.turn.exact


def test_whole_body() -> None:
    """A server that answers with one JSON object, after blank lines, has answered; cut, it has not."""
    data = b"\n  \n" + msgspec.json.encode(response(reasoning("x"), message("Hello"), call()))
    events = decode(data)
    assert finished(events).turn.text == "Hello"
    assert [type(e) for e in events[:4]] == [TurnStarted, ReasoningDelta, TextDelta, ToolCallDelta]
    for cut in range(len(data)):
        assert decode(data[:cut]) == []
    with pytest.raises(lutum.ProviderError, match="busy"):
        decode(b'{"error":{"message":"busy"}}')


def test_model_that_answers() -> None:
    """The turn names the model that answered, else the one asked for."""
    assert finished(decode(sse(completed(message("a"), model=THINKS)))).turn.model == THINKS
    bare = response(message("a"))
    del bare["model"]
    last = event("response.completed", response=bare)
    assert finished(decode(sse(last))).turn.model == PLAIN


# --- laws ------------------------------------------------------------------------------------------

_keys = st.sampled_from(["holo", "x-y", "ü", "delta2"])
_lexemes = st.sampled_from(
    ["1e2", "1.0", "-0", "10000000000000000000001", "0.1e-7", '"\\u00e9"', "null", "[]"]
)
_unknown_fields = st.lists(st.tuples(_keys, _lexemes), max_size=3, unique_by=lambda pair: pair[0])


def _with_fields(json: bytes, fields: list[tuple[str, str]]) -> bytes:
    more = "".join(f",{msgspec.json.encode(name).decode()}:{lexeme}" for name, lexeme in fields)
    return json[:-1] + more.encode() + b"}"


@given(
    st.lists(
        st.tuples(st.sampled_from(["message", "reasoning", "function_call", "holo"]), _unknown_fields),
        max_size=5,
    )
)
def test_fuzz_items(drawn: list[tuple[str, list[tuple[str, str]]]]) -> None:
    """Whatever items of whatever kinds with whatever members come, the turn holds them byte for byte."""
    items = list[bytes]()
    for i, (kind, fields) in enumerate(drawn):
        whole: dict[str, Any] = {
            "message": message(f"t{i}", id=f"i{i}"),
            "reasoning": reasoning(f"r{i}", id=f"i{i}", encrypted_content="e"),
            "function_call": call(id=f"i{i}", call_id=f"c{i}"),
            "holo": {"type": "holo", "id": f"i{i}"},
        }[kind]
        items.append(_with_fields(msgspec.json.encode(whole), fields))
    stream = sse(created())
    for i, item in enumerate(items):
        stream += b'data: {"type":"response.output_item.done","output_index":%d,"item":%b,"z":1e9}\n\n' % (
            i,
            item,
        )
        stream += b'data: {"type":"response.x%d","q":[1e2]}\n\n' % i
    last = finished(decode(stream + sse(completed())))
    assert b'"output":[' + b",".join(items) + b"]" in last.turn.wire
    assert last.turn.exact
    body = _with_fields(msgspec.json.encode(response())[:-1] + b"}", [])
    whole_body = body.replace(b'"output":[]', b'"output":[' + b",".join(items) + b"]")
    assert finished(decode(whole_body)).turn.items == last.turn.items


@given(st.binary(max_size=200))
def test_fuzz_bytes(data: bytes) -> None:
    """Any bytes are either read or refused with the one error."""
    try:
        events = decode(data)
    except lutum.ProviderError:
        return
    assert not any(isinstance(found, lutum.Completed) for found in events)


@given(st.integers(0, 10_000))
def test_responses_decode_splits(seed: int) -> None:
    """However a stream is cut into pieces, it gives the same events."""
    data = b"\n" + sse(created(), *WORDS, added(call(), 1), done(call(), 1), completed())
    chance = random.Random(seed)
    reading, out, at = decoder(), list[lutum.Event](), 0
    while at < len(data):
        size = chance.choice((1, 2, 7, 300))
        reading.feed(data[at : at + size], out)
        at += size
    reading.eof(out)
    assert out == decode(data)


def test_every_prefix() -> None:
    """Cut at any byte before its end, a stream gives the events so far and no turn."""
    data = sse(created(), *WORDS, completed())
    whole = decode(data)
    end = len(data.rstrip())
    for cut in range(end):
        events = decode(data[:cut])
        assert events == whole[: len(events)]
        assert not any(isinstance(found, lutum.Completed) for found in events)
