"""Frames to events and turns: the end of an answer, signatures, calls, usage, and whatever is odd."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from gemini.gemini_wire import (
    FOUR,
    LOOK,
    SCOPE,
    THREE,
    TWO,
    USAGE,
    adapter,
    asked,
    blocked,
    call,
    decode,
    decoder,
    done,
    frame,
    prepare,
    text,
    turn,
)

import lutum
from lutum.abc import OutputFormat, ToolPlan
from lutum_gemini import GeminiOptions
from lutum_gemini.generate import _turn

CODE = {"executableCode": {"language": "PYTHON", "code": "1"}}
RESULT = {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}}


def parts(made: lutum.CommittedTurn) -> list[Any]:
    return [json.loads(part) for part in _turn.replay_parts(made)]


def is_complete(data: bytes) -> bool:
    events = decode(data)
    return bool(events) and isinstance(events[-1], lutum.Completed)


# --- the end -------------------------------------------------------------------------------------


def test_a_finish_reason_is_not_the_end() -> None:
    """With code execution the model names a reason in the middle, and goes on."""
    data = frame(CODE) + frame(RESULT, finish="STOP") + frame(text("The answer is 1."), finish="STOP")
    assert turn(data).text == "The answer is 1."
    assert [next(iter(part)) for part in parts(turn(data))] == [
        "executableCode",
        "codeExecutionResult",
        "text",
    ]


def test_a_reason_behind_code_is_not_an_end() -> None:
    """A body that ends behind the code is cut, although the reason stands there."""
    assert not is_complete(frame(CODE, finish="STOP"))
    assert not is_complete(frame(CODE) + frame(RESULT, finish="STOP"))


def test_a_later_frame_takes_the_reason_back() -> None:
    """A frame with a candidate and no reason means that the model goes on."""
    assert not is_complete(frame(text("a"), finish="STOP") + frame(text("b")))


@pytest.mark.parametrize(
    "behind", [b'data: {"usageMetadata":{"totalTokenCount":9}}\r\n\r\n', b"data: [DONE]\n\n"]
)
def test_frames_without_a_candidate_end_nothing(behind: bytes) -> None:
    """Usage alone, or the marker of a gateway, does not take the reason back."""
    assert turn(frame(text("a"), finish="STOP") + behind).text == "a"


def test_last_frame_has_a_reason_and_no_parts() -> None:
    """The reason counts where the content is empty."""
    end = done(decode(frame(text("a")) + frame(finish="MAX_TOKENS", usage=USAGE)))
    assert (end.finish_reason, end.turn.text) == ("length", "a")


def test_a_frame_without_its_blank_line() -> None:
    """The last frame counts if it is whole JSON."""
    data = frame(text("a")) + frame(finish="STOP")
    assert is_complete(data.rstrip())
    assert not is_complete(data.rstrip()[:-1])


def test_no_reason_is_no_turn() -> None:
    """A clean end without a reason is not a turn."""
    assert not is_complete(frame(text("a"), usage=USAGE))


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_cuts(cut: int) -> None:
    data = frame(text("a")) + frame(text("b"), finish="STOP")
    assert not is_complete(data[: len(data) - 4 - cut])


# --- signatures and parts ------------------------------------------------------------------------


def test_the_empty_last_part_with_a_signature_is_kept() -> None:
    """It is the last part of most answers of Gemini 3. An empty part without one is dropped."""
    made = turn(frame(text("a")), frame(text("")), frame(text("", thoughtSignature="c2ln"), finish="STOP"))
    assert parts(made) == [{"text": "a"}, {"text": "", "thoughtSignature": "c2ln"}]
    assert made.text == "a"


def test_a_signature_closes_its_part() -> None:
    """Nothing is merged into a signed part, nor behind it."""
    made = turn(
        frame(text("a")),
        frame(text("b")),
        frame(text("c", thoughtSignature="s1")),
        frame(text("d")),
        frame(text("e"), finish="STOP"),
    )
    assert parts(made) == [{"text": "ab"}, {"text": "c", "thoughtSignature": "s1"}, {"text": "de"}]


def test_thoughts_and_text_are_not_merged() -> None:
    """Also thoughts that come behind text."""
    made = turn(
        frame(text("hm ", thought=True)),
        frame(text("ok", thought=True)),
        frame(text("yes")),
        frame(text("more", thought=True), finish="STOP"),
    )
    assert parts(made) == [text("hm ok", thought=True), text("yes"), text("more", thought=True)]
    assert (made.text, made.reasoning) == ("yes", "hm okmore")


def test_parts_of_one_frame_stay_apart() -> None:
    """Neighbouring texts of one frame are two parts; the first of the next frame continues the second."""
    made = turn(frame(text("a"), text("b")), frame(text("c"), finish="STOP"))
    assert parts(made) == [text("a"), text("bc")]


def test_unknown_parts_and_members_are_kept() -> None:
    """Each as it came, number lexemes too, and as an event."""
    odd = b'{"newThing":{"weight":1e2},"thoughtSignature":"s"}'
    data = b'data: {"candidates":[{"content":{"role":"model","parts":[%b]},"finishReason":"STOP"}]}\n\n' % odd
    events = decode(data)
    assert _turn.replay_parts(done(events).turn) == [odd]
    assert [e.name for e in events if isinstance(e, lutum.ProviderEvent)] == ["newThing"]


def test_images_are_kept_raw() -> None:
    """An image in an answer goes back as it came."""
    image = {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}, "thoughtSignature": "s"}
    made = turn(frame(text("Here: ")), frame(image, finish="STOP"))
    assert parts(made) == [text("Here: "), image]


def test_grounding_and_log_probabilities() -> None:
    """Members of the candidate are events; log probabilities of frames are joined."""

    def probabilities(token: str) -> dict[str, Any]:
        return {"chosenCandidates": [{"token": token}], "topCandidates": []}

    events = decode(
        frame(text("a"), logprobsResult=probabilities("a"))
        + frame(
            text("b"),
            logprobsResult=probabilities("b"),
            groundingMetadata={"webSearchQueries": ["q"]},
            finish="STOP",
        )
    )
    wire = json.loads(done(events).turn.wire)
    tokens = wire["candidates"][0]["logprobsResult"]["chosenCandidates"]
    assert [one["token"] for one in tokens] == ["a", "b"]
    names = [event.name for event in events if isinstance(event, lutum.ProviderEvent)]
    assert names == ["logprobsResult", "groundingMetadata", "logprobsResult"] or "groundingMetadata" in names


GROUNDED: dict[str, Any] = {
    "groundingChunks": [
        {"web": {"uri": "https://a.example", "title": "A"}},
        {"retrievedContext": {"title": "B", "text": "words of the source"}},
    ],
    "groundingSupports": [
        {"segment": {"endIndex": 6, "text": "Größ"}, "groundingChunkIndices": [0]},
        {"segment": {"startIndex": 8, "endIndex": 12, "text": "Tiere"}, "groundingChunkIndices": [1, 7, "x"]},
        {"segment": {"startIndex": 1, "endIndex": 99, "text": "nowhere"}, "groundingChunkIndices": [0]},
    ],
}


def test_gemini_citations() -> None:
    """Byte offsets become characters; where they are wrong the words are searched for."""
    events = decode(frame(text("Größe ")) + frame(text("Tiere."), finish="STOP", groundingMetadata=GROUNDED))
    made = done(events).turn
    assert [(one.title, one.url, one.start, one.end, one.quote) for one in made.citations] == [
        ("A", "https://a.example", 0, 4, "Größ"),
        ("B", "", 6, 11, "words of the source"),
        ("A", "https://a.example", None, None, "nowhere"),
    ]
    added = [event.citation for event in events if isinstance(event, lutum.CitationAdded)]
    assert tuple(added) == made.citations
    sources = {"citationSources": [{"endIndex": 3, "uri": "https://b.example"}]}
    (cited,) = turn(frame(text("abcd"), finish="STOP", citationMetadata=sources)).citations
    assert (cited.url, cited.start, cited.end, cited.type) == ("https://b.example", 0, 3, "citation")


@pytest.mark.parametrize(
    "odd", [{"groundingSupports": [1]}, {"groundingSupports": {}}, {"groundingChunks": [1]}, []]
)
def test_odd_citations_cost_nothing(odd: Any) -> None:
    assert turn(frame(text("a"), finish="STOP", groundingMetadata=odd)).citations == ()


# --- calls ---------------------------------------------------------------------------------------


def test_calls_finish_with_stop() -> None:
    """The reason is `tool_calls`, because the answer holds some."""
    events = decode(frame(call(args={"at": "x"}), finish="STOP"))
    assert done(events).finish_reason == "tool_calls"
    ready = [event for event in events if isinstance(event, lutum.ToolCallReady)]
    assert [(one.name, one.arguments) for one in ready] == [("look", '{"at": "x"}')]


def test_ids_are_made_where_there_are_none() -> None:
    """Each call gets one; it begins with the answer's id, so that no two turns share one."""
    events = decode(frame(call(args={}), call(args={}), finish="STOP"))
    ids = [event.id for event in events if isinstance(event, lutum.ToolCallReady)]
    assert ids == ["call_r1_0", "call_r1_1"]
    assert [one.id for one in done(events).turn.tool_calls] == ids


def test_ids_of_the_server_are_kept() -> None:
    part = {"functionCall": {"id": "fc1", "name": "look", "args": {}}}
    assert [one.id for one in turn(frame(part, finish="STOP")).tool_calls] == ["fc1"]


def test_no_arguments_are_an_empty_object() -> None:
    assert turn(frame(call(), finish="STOP")).tool_calls[0].arguments == "{}"


@pytest.mark.parametrize("args", ['{"at": "x"}', "x", [1], 3, True])
def test_gemini_malformed_arguments(args: Any) -> None:
    """Arguments that are not an object are an issue, and the turn goes back as its view."""
    events = decode(frame(call(args=args), finish="STOP"))
    made = done(events).turn
    assert not made.exact
    (part,) = _turn.view_parts(made, bypass=False)
    if args == '{"at": "x"}':  # as a gateway in front of another model sends them: they can be read
        assert any(isinstance(event, lutum.ToolCallReady) for event in events)
        assert b'"args":{"at": "x"}' in part
        return
    issue = next(event for event in events if isinstance(event, lutum.ToolCallIssue))
    assert issue.reason == "malformed_arguments"
    assert b'"args":{}' in part


@pytest.mark.parametrize("reason", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MALFORMED_RESPONSE"])
@pytest.mark.parametrize("content", [{}, {"role": "model"}])
def test_a_call_that_nobody_can_read(reason: str, content: dict[str, Any]) -> None:
    """It comes as a 200 without content: an error that a retry may cure, and not a turn."""
    candidate = {"content": content, "finishReason": reason, "finishMessage": "cannot be read"}
    data = b"data: " + json.dumps({"candidates": [candidate]}).encode() + b"\n\n"
    with pytest.raises(lutum.ProviderError, match="cannot be read") as failed:
        decode(data)
    assert (failed.value.kind, failed.value.type) == ("server", reason)


def test_an_undeclared_call_is_a_call() -> None:
    """The call of a function that was not declared stands in the answer: an issue of the round."""
    events = decode(frame(call("nobody", {}), finish="UNEXPECTED_TOOL_CALL"))
    assert done(events).finish_reason == "tool_calls"
    assert done(events).turn.tool_calls[0].name == "nobody"


def test_a_missing_signature_is_our_fault() -> None:
    with pytest.raises(lutum.ProviderError) as failed:
        decode(frame(finish="MISSING_THOUGHT_SIGNATURE"))
    assert failed.value.kind == "invalid_request"


def piece(*args: dict[str, Any], name: str | None = None, last: bool = False, **more: Any) -> dict[str, Any]:
    """A part with pieces of a call's arguments."""
    given: dict[str, Any] = {} if name is None else {"name": name}
    if args:
        given["partialArgs"] = list(args)
    if not last:
        given["willContinue"] = True
    return {"functionCall": given, **more}


def test_arguments_in_pieces() -> None:
    """Strings continue, numbers keep their digits, and paths lead into objects and arrays."""
    events = decode(
        frame(piece(name="write", thoughtSignature="s"))
        + frame(piece({"jsonPath": "$.city", "stringValue": "New ", "willContinue": True}))
        + frame(piece({"jsonPath": "$.city", "stringValue": "York"}))
        + frame(
            piece(
                {"jsonPath": "$.rows[1].id", "numberValue": 2},
                {"jsonPath": "$.rows[0].id", "numberValue": 1.50},
            )
        )
        + frame(
            piece(
                {"jsonPath": "$['odd key']", "boolValue": True},
                {"jsonPath": '$["none"]', "nullValue": "NULL_VALUE"},
            )
        )
        + frame(piece(last=True))
        + frame(call("look", {}))
        + frame(finish="STOP")
    )
    made = done(events).turn
    assert made.exact
    assert json.loads(made.tool_calls[0].arguments) == {
        "city": "New York",
        "rows": [{"id": 1.5}, {"id": 2}],
        "odd key": True,
        "none": None,
    }
    assert [one.name for one in made.tool_calls] == ["write", "look"]
    first = parts(made)[0]
    assert first["thoughtSignature"] == "s"
    assert first["functionCall"].keys() == {"name", "args"}


@pytest.mark.parametrize("path", ["city", "$", "$..a", "$.a[x]", "$[*]"])
def test_arguments_at_an_unknown_place(path: str) -> None:
    """A piece that cannot be placed makes the turn inexact."""
    data = frame(piece({"jsonPath": path, "stringValue": "x"}, name="write", last=True), finish="STOP")
    assert not turn(data).exact


def test_arguments_that_do_not_end() -> None:
    """The answer ended within a call: the turn is inexact."""
    made = turn(frame(piece({"jsonPath": "$.a", "stringValue": "x"}, name="write"), finish="STOP"))
    assert made.inexact_reason is not None
    assert made.inexact_reason.startswith(_turn.UNFINISHED)


# --- blocks and reasons --------------------------------------------------------------------------


def test_a_blocked_prompt() -> None:
    """A 200 without candidates is a refusal with the reason, and nothing of it is sent back."""
    events = decode(blocked("PROHIBITED_CONTENT"))
    end = done(events)
    assert (end.finish_reason, end.usage.known, end.usage.input_tokens) == ("content_filter", "exact", 3)
    assert "PROHIBITED_CONTENT" in end.turn.refusal
    assert parts(end.turn) == []
    assert any(isinstance(event, lutum.RefusalDelta) for event in events)


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("MODEL_ARMOR", "content_filter"),
        ("NO_IMAGE", "NO_IMAGE"),
        ("BRAND_NEW", "BRAND_NEW"),
    ],
)
def test_gemini_finish_reasons(reason: str, finish: str) -> None:
    """Known ones in lutum's words, others in the provider's."""
    assert done(decode(frame(text("a"), finish=reason))).finish_reason == finish


def test_an_answer_that_was_stopped_for_safety() -> None:
    """It keeps its text, and the refusal has the reason, or the provider's words."""
    for frames in (frame(text("a"), finish="SAFETY"), frame(finish="SAFETY")):
        assert done(decode(frames)).turn.refusal == "The answer was blocked (SAFETY)."
    made = done(decode(frame(text("a"), finish="SAFETY", finishMessage="Not this."))).turn
    assert (made.text, made.refusal) == ("a", "Not this.")


def test_a_continued_answer() -> None:
    """Gemini 4 ends a hop of a long answer with a token: the turn is paused."""
    end = done(decode(frame(text("a"), finish="CONTINUATION", continuationToken="t"), FOUR))
    assert end.finish_reason == "paused"
    assert _turn.continuation_of(end.turn) == "t"
    assert done(decode(frame(text("a"), finish="CONTINUATION"), FOUR)).finish_reason == "length"


# --- usage ---------------------------------------------------------------------------------------


def test_output_is_candidates_and_thoughts() -> None:
    """Tool-use prompt tokens are input beside the prompt; cached tokens are within it."""
    report = {
        "promptTokenCount": 10,
        "cachedContentTokenCount": 6,
        "toolUsePromptTokenCount": 7,
        "candidatesTokenCount": 3,
        "thoughtsTokenCount": 5,
        "totalTokenCount": 25,
    }
    usage = done(decode(frame(text("a"), finish="STOP", usage=report))).usage
    assert usage == lutum.Usage(17, 8, cache_read_tokens=6, reasoning_tokens=5)


def test_the_last_report_counts() -> None:
    """Figures may fall; one without a count replaces nothing."""
    first = {"promptTokenCount": 9, "candidatesTokenCount": 9, "totalTokenCount": 18}
    data = frame(text("a"), usage=first) + frame(text("b"), usage=USAGE)
    data += frame(text("c"), usage={"trafficType": "ON_DEMAND"}, finish="STOP")
    assert done(decode(data)).usage == lutum.Usage(4, 8, reasoning_tokens=5)


def test_counts_of_zero_are_left_out() -> None:
    """A total that is the prompt says that there was no output, and that is exact."""
    report = {"promptTokenCount": 4, "totalTokenCount": 4}
    assert done(decode(frame(finish="NO_IMAGE", usage=report))).usage == lutum.Usage(4, 0)


@pytest.mark.parametrize("odd", ["x", -1, 2**60, {}, [1], True, 1.5])
def test_odd_reports_never_cost_an_answer(odd: Any) -> None:
    """The figure is estimated, and the report is an event."""
    events = decode(frame(text("a"), finish="STOP", usage={**USAGE, "promptTokenCount": odd}))
    assert done(events).turn.text == "a"
    assert "usage" in [e.name for e in events if isinstance(e, lutum.ProviderEvent)]


def test_a_report_that_is_not_utf8() -> None:
    """It costs no answer, wherever it stands: the counts are read, and the report is not kept."""
    report = b'"usageMetadata":{"promptTokenCount":4,"candidatesTokenCount":2,"totalTokenCount":6,"x":"\xff"}'
    odd = b'data: {"candidates":[{"content":{"parts":[{"text":"b"}]}}],%b}\n\n' % report
    end = done(decode(frame(text("a")) + odd + frame(finish="STOP")))
    assert (end.turn.text, end.usage.total_tokens) == ("ab", 6)
    assert b"usageMetadata" not in end.turn.wire


@pytest.mark.parametrize(("model", "known"), [("gemini-2.0-flash", "estimated"), (THREE, "lower_bound")])
def test_no_report(model: str, known: str) -> None:
    """The figures are counts; of a model that thinks out of sight they are lower bounds."""
    assert done(decode(frame(text("a"), finish="STOP"), model)).usage.known == known


def test_updates_are_final_at_the_end_only() -> None:
    """While code may follow, a report is not the last one."""
    more = {**USAGE, "candidatesTokenCount": 4, "totalTokenCount": 13}
    events = decode(frame(CODE, usage=USAGE) + frame(text("a"), finish="STOP", usage=more))
    assert [event.final for event in events if isinstance(event, lutum.UsageUpdate)] == [False, False]
    events = decode(frame(text("a"), usage=USAGE) + frame(text("b"), finish="STOP", usage=USAGE))
    assert [event.final for event in events if isinstance(event, lutum.UsageUpdate)] == [False, True]


# --- errors and odd data -------------------------------------------------------------------------

ERROR = {"error": {"code": 503, "message": "Overloaded.", "status": "UNAVAILABLE"}}


@pytest.mark.parametrize(
    "data",
    [
        b"data: " + json.dumps(ERROR).encode() + b"\n\n",
        json.dumps(ERROR).encode(),
        json.dumps([ERROR], indent=1).encode(),
        frame(text("a")) + b"data: " + json.dumps(ERROR).encode() + b"\r\n\r\n",
        frame(text("a")) + b"\n" + json.dumps(ERROR, indent=1).encode(),
        frame(text("a"), finish="STOP") + json.dumps([ERROR]).encode(),
    ],
    ids=["frame", "json", "array", "later frame", "later json", "array behind the reason"],
)
def test_errors_inside_a_200(data: bytes) -> None:
    """A frame, bare JSON or an array, first or later: classed as the status would be."""
    with pytest.raises(lutum.ProviderError, match="Overloaded") as failed:
        decode(data)
    assert (failed.value.kind, failed.value.status) == ("overloaded", 503)


@pytest.mark.parametrize(
    "data",
    [
        b"data: {not json\n\n",
        b"data: [1]\n\n",
        b"data: 7\n\n",
        b'data: {"candidates":[{"content":7}]}x\n\n',
        b'data: "\xff"\n\n',
    ],
)
def test_garbage(data: bytes) -> None:
    with pytest.raises(lutum.ProviderError) as failed:
        decode(frame(text("a")) + data)
    assert failed.value.kind == "malformed"


@pytest.mark.parametrize(
    "candidate",
    [
        {},
        {"content": None},
        {"content": {}},
        {"content": {"parts": None}},
        {"content": {"parts": {}}},
        {"content": {"parts": []}},
        {"content": {"parts": [{}]}},
        {"content": {"parts": [{"text": None}]}},
        {"content": {"parts": [{"functionCall": None}]}},
        {"content": []},
        {"index": None},
    ],
)
def test_members_that_are_missing(candidate: dict[str, Any]) -> None:
    """Nothing of a candidate is certain."""
    whole = {
        "candidates": [{**candidate, "finishReason": "STOP"}],
        "modelVersion": None,
        "promptFeedback": None,
    }
    events = decode(b"data: " + json.dumps(whole).encode() + b"\n\n")
    assert done(events).turn.text == ""
    assert done(events).turn.model == TWO


def test_halves_of_a_surrogate_pair() -> None:
    """A pair that is split between frames is joined; half of one is replaced, and the turn is inexact."""
    split = frame(text("@")).replace(b"@", b"\\ud83d") + frame(text("@"), finish="STOP").replace(
        b"@", b"\\ude00"
    )
    made = turn(split)
    assert (made.text, made.exact) == ("\U0001f600", True)
    half = turn(frame(text("a@"), finish="STOP").replace(b"@", b"\\ud83d"))
    assert (half.text, half.exact) == ("a\ufffd", False)


@pytest.mark.parametrize("array", [False, True])
def test_a_gateway_that_does_not_stream(array: bool) -> None:
    """It answers with the whole response, or with an array of frames, where a stream was asked for."""
    frames = [json.loads(one[6:]) for one in (frame(text("a")), frame(text("b"), finish="STOP", usage=USAGE))]
    body = json.dumps(frames if array else frames[1]).encode()
    end = done(decode(body))
    assert (end.turn.text, end.usage.known) == ("ab" if array else "b", "exact")
    assert not is_complete(body[:-1])


@pytest.mark.parametrize(
    "page", [b"<html><title>502 Bad Gateway</title></html>", b"upstream error", b'{"x":{}}']
)
def test_a_proxy_that_answers_instead(page: bytes) -> None:
    with pytest.raises(lutum.ProviderError, match="not an answer of this API") as failed:
        decode(page)
    assert failed.value.kind == "malformed"


SILENT = [
    b'data: {"type":"brand.new","x":[1,{"y":null}]}\n\n',
    b"event: nothing\n\n",
    b": a comment\n\n",
    b"retry: 10\n\n",
    b"id: 7\n\n",
    b"data:\n\n",
    b"data: \n\n",
]


@pytest.mark.parametrize("silent", SILENT, ids=range(len(SILENT)))
def test_what_says_nothing_new_in_gemini(silent: bytes) -> None:
    """Unknown frames, comments and empty data change no turn, wherever they stand."""
    frames = [frame(text("a"), usage=USAGE), frame(text("b")), frame(finish="STOP", usage=USAGE)]
    for at in range(4):
        assert turn(*frames[:at], silent, *frames[at:]) == turn(*frames)


def test_other_candidates_are_events() -> None:
    """lutum reads one answer of a turn."""
    whole = {
        "candidates": [
            {"content": {"parts": [text("a")]}, "finishReason": "STOP", "index": i} for i in (0, 1)
        ]
    }
    events = decode(b"data: " + json.dumps(whole).encode() + b"\n\n")
    assert done(events).turn.text == "a"
    assert [e.name for e in events if isinstance(e, lutum.ProviderEvent)] == ["candidate"]


def test_mutations() -> None:
    """One byte, member or frame changed at random: events, the one documented error, or nothing."""
    chance = random.Random(3)
    data = (
        frame(text("hm", thought=True), usage=USAGE, model=THREE)
        + frame(text("Some words"), usage=USAGE, model=THREE)
        + frame(CODE)
        + frame(RESULT)
        + frame(call(args={"at": [1, {"x": None}]}, thoughtSignature="c2ln"), usage=USAGE)
        + frame(piece({"jsonPath": "$.a", "stringValue": "x"}, name="write", last=True))
        + frame(finish="STOP", usage=USAGE, groundingMetadata={"webSearchQueries": []})
    )
    for _ in range(3_000):
        changed = bytearray(data)
        for _ in range(chance.choice((1, 1, 2, 5))):
            at = chance.randrange(len(changed))
            if chance.random() < 0.3:
                del changed[at : at + chance.randrange(1, 40)]
            else:
                changed[at] = chance.randrange(256)
        out = list[lutum.Event]()
        reading = decoder(THREE)
        try:
            reading.feed(bytes(changed), out)
            reading.eof(out)
        except lutum.ProviderError:
            assert not any(isinstance(event, lutum.Completed) for event in out)
        ends = [i for i, event in enumerate(out) if isinstance(event, lutum.Completed)]
        assert ends in ([], [len(out) - 1])


def test_members_of_other_types() -> None:
    """Any member may be anything: no exception but the documented one."""
    whole = json.loads(frame(text("a"), call(args={"at": 1}), finish="STOP", usage=USAGE)[6:])
    places = list(members(whole))
    for inner, name in places:
        for other in (None, 1, -1, 1e300, "x", "\ud800", [], {}, True, [[[]]]):
            kept = inner[name]
            inner[name] = other
            data = b"data: " + json.dumps(whole).encode() + b"\n\n"
            inner[name] = kept
            try:
                decode(data)
            except lutum.ProviderError:
                pass


def members(value: Any) -> list[tuple[Any, Any]]:
    found = list[tuple[Any, Any]]()
    for name in value if isinstance(value, dict) else range(len(value)):
        found.append((value, name))
        if isinstance(value[name], dict | list):
            found += members(value[name])
    return found


# --- bodies --------------------------------------------------------------------------------------


def test_a_body_is_kept_byte_for_byte() -> None:
    """The parts of an answer that came whole are not joined."""
    body = {
        "candidates": [
            {"content": {"parts": [text("a"), text("b")], "role": "model"}, "finishReason": "STOP"}
        ]
    }
    events = adapter().read_body(asked(), json.dumps(body).encode())
    assert parts(done(events).turn) == [text("a"), text("b")]


def test_a_body_of_frames() -> None:
    """A JSON array is the frames of a stream."""
    frames = [json.loads(one[6:]) for one in (frame(text("a")), frame(text("b"), finish="STOP"))]
    assert parts(done(adapter().read_body(asked(), json.dumps(frames).encode())).turn) == [text("ab")]


@pytest.mark.parametrize("body", [b"", b"{", b"[", b"not json"])
def test_a_cut_body_is_nothing(body: bytes) -> None:
    assert adapter().read_body(asked(), body) == []


def test_a_body_that_is_an_error() -> None:
    with pytest.raises(lutum.ProviderError) as failed:
        adapter().read_body(asked(), json.dumps(ERROR).encode())
    assert failed.value.kind == "overloaded"


# --- structured values ---------------------------------------------------------------------------

FILM = OutputFormat("Film", '{"type":"object","properties":{"title":{"type":"string"}},"required":["title"]}')


def test_a_value_is_json_text() -> None:
    """By default the text is the value; by a forced tool its arguments are."""
    prepared = prepare(lutum.ModelInput().user("x"), output=FILM)
    events = decode(frame(text('{"title":"A"}'), finish="STOP"), prepared=prepared)
    assert [event.json for event in events if isinstance(event, lutum.StructuredDelta)] == ['{"title":"A"}']


def test_a_value_by_a_forced_tool() -> None:
    """The turn ends in a call that nobody answers, so it goes back as its view."""
    prepared = prepare(lutum.ModelInput().user("x"), output=FILM, options=GeminiOptions(structured="tool"))
    reading = adapter().decoder(prepared, lutum.Response())
    out = list[lutum.Event]()
    reading.feed(frame(call("Film", {"title": "A"}), finish="STOP"), out)
    reading.eof(out)
    assert [event.json for event in out if isinstance(event, lutum.StructuredDelta)] == ['{"title": "A"}']
    end = done(out)
    assert (end.finish_reason, end.turn.exact, end.turn.tool_calls) == ("stop", False, ())
    assert json.loads(end.turn.text) == {"title": "A"}


def test_a_turn_answered_to_a_changed_request_is_inexact() -> None:
    began = (
        lutum.ModelInput()
        .user("x")
        .turn(lutum.CommittedTurn("gemini", SCOPE, TWO, b'{"candidates":[]}', tools=(LOOK,)))
    )
    more = lutum.ToolDef("more", '{"type":"object"}')
    prepared = prepare(began.user("y"), tools=ToolPlan(head=(LOOK,), new=(more,)))
    assert prepared.inexact_reason is not None
    made = done(decode(frame(text("a"), finish="STOP"), prepared=prepared)).turn
    assert made.inexact_reason == prepared.inexact_reason
