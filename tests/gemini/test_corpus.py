"""Recorded exchanges: what Google's SDK made of each is what the decoder makes of it, and each turn goes back
as it came."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

import pytest
from gemini.gemini_wire import (
    TWO,
    adapter,
    asked,
    body,
    bytes_of,
    decode,
    decoder,
    done,
    events_of,
    frames_of,
    prepare,
    recordings,
)

import lutum
from lutum.abc import ToolPlan
from lutum_gemini import GeminiOptions, from_messages, to_messages, to_system
from lutum_gemini.generate import _turn

pytestmark = pytest.mark.corpus

# Reasons of answers whose model wrote a call that nobody can read.
FAILED = {"MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL"}


def exchanges() -> list[dict[str, Any]]:
    return [record for record in recordings() if record["status"] == 200]


def completed() -> list[tuple[dict[str, Any], lutum.Completed]]:
    found = list[tuple[dict[str, Any], lutum.Completed]]()
    for record in exchanges():
        try:
            events = events_of(record)
        except lutum.ProviderError:
            continue
        if events and isinstance(events[-1], lutum.Completed):
            found.append((record, events[-1]))
    return found


def last_reason(record: dict[str, Any]) -> Any:
    """The finish reason of the last frame with a candidate, or why the prompt was blocked."""
    reason: Any = None
    for frame in frames_of(record):
        for candidate in (frame.get("candidates") or [])[:1]:
            reason = candidate.get("finishReason")
        if (frame.get("promptFeedback") or {}).get("blockReason"):
            return "blocked"
    return reason


def test_every_exchange_completes_or_says_why() -> None:
    """A recording that ends without a finish reason is not a turn, and two reasons are errors."""
    outcomes = Counter[str]()
    for record in exchanges():
        try:
            events = events_of(record)
        except lutum.ProviderError as error:
            outcomes["failed" if error.type in FAILED else f"{error} in {record['id']}"] += 1
            continue
        if events and isinstance(events[-1], lutum.Completed):
            outcomes["completed"] += 1
            continue
        assert not last_reason(record), record["id"]
        outcomes["cut"] += 1
    assert outcomes.keys() <= {"completed", "failed", "cut"}
    assert outcomes["completed"] > 300
    assert outcomes["cut"] <= outcomes["completed"] // 100
    assert outcomes["failed"] <= outcomes["completed"] // 100


def test_gemini_agrees_with_the_sdk() -> None:
    """Text, thoughts, calls and the total of tokens are the SDK's, but for the reasons here."""
    reasons = Counter[str]()
    for record, end in completed():
        if (final := record.get("final")) is None:
            reasons["no final: the SDK fails on it"] += 1
            continue
        turn = end.turn
        assert turn.text == final["text"], record["id"]
        assert turn.reasoning == final["thoughts"], record["id"]
        mine = [(one.name, json.loads(one.arguments)) for one in turn.tool_calls]
        theirs = [(one.get("name"), one.get("args") or {}) for one in final["calls"]]
        if mine != theirs:
            assert "partialArgs" in record["sse"], record["id"]
            reasons["the SDK does not assemble arguments that come in pieces"] += 1
            continue
        total = (final.get("usage") or {}).get("totalTokenCount")
        if total is not None and end.usage.total_tokens != total and "suspect_synthetic" not in record:
            usage = final["usage"]
            parts = (
                "promptTokenCount",
                "toolUsePromptTokenCount",
                "candidatesTokenCount",
                "thoughtsTokenCount",
            )
            assert sum(usage.get(name) or 0 for name in parts) != total, record["id"]
            reasons["the report's total is not the sum of its parts"] += 1
        assert end.usage.known == "exact" or not total or "suspect_synthetic" in record, record["id"]
        reasons["agrees"] += 1
    assert reasons["agrees"] > 0.95 * sum(reasons.values()), reasons


def joined(record: dict[str, Any]) -> list[Any]:
    """The parts of a recording as they should go back, made from its frames without lutum."""
    found = list[Any]()
    for frame in frames_of(record):
        for candidate in (frame.get("candidates") or [])[:1]:
            parts = (candidate.get("content") or {}).get("parts") or []
            for i, part in enumerate(parts):
                last = found[-1] if found else {}
                plain = part.keys() <= {"text", "thought"} and last.keys() <= {"text", "thought"}
                streamed = len(frames_of(record)) > 1 and i == 0
                if plain and last and streamed and part.get("thought") == last.get("thought"):
                    found[-1] = {**last, "text": last["text"] + part["text"]}
                elif part and (part.get("text") != "" or not part.keys() <= {"text", "thought"}):
                    found.append(dict(part))
    return found


def test_every_part_goes_back() -> None:
    """The parts of each exact turn are those that came: text joined, empty text dropped, signatures kept."""
    compared = signed = empty = 0
    for record, end in completed():
        if not end.turn.exact:
            assert end.turn.inexact_reason is not None
            continue
        parts = [json.loads(part, parse_float=str) for part in _turn.replay_parts(end.turn)]
        if any("partialArgs" in str(frame) for frame in frames_of(record)):
            continue  # `test_decode.py` has these
        expected = json.loads(json.dumps(joined(record)), parse_float=str)
        assert parts == expected, record["id"]
        compared += 1
        signed += any("thoughtSignature" in part for part in parts)
        empty += any(part.get("text") == "" and "thoughtSignature" in part for part in parts)
    assert compared > 300
    assert signed > 100
    assert empty > 5


def test_replay_is_stored_and_loaded() -> None:
    """A turn that was dumped and loaded makes the same request."""
    for record, end in completed()[::10]:
        began = lutum.ModelInput().user("Hi").turn(end.turn)
        results = [lutum.ToolResult(call.id, (lutum.Text("ok"),)) for call in end.turn.tool_calls]
        ids = [call.id for call in end.turn.tool_calls]
        if len(set(ids)) < len(ids):
            continue
        transcript = began.transcript
        for result in results:
            transcript = transcript.append(result)
        transcript = transcript.append(lutum.Message("user", (lutum.Text("And now?"),)))
        loaded = lutum.Transcript.load(transcript.dump())
        model = record["model"] or TWO
        assert prepare(loaded, model).body == prepare(transcript, model).body, record["id"]


def test_usage_adds_up() -> None:
    """Input and output are the provider's total for nearly every report."""
    right = wrong = 0
    for record, end in completed():
        reports = [frame["usageMetadata"] for frame in frames_of(record) if frame.get("usageMetadata")]
        totals = [report["totalTokenCount"] for report in reports if "totalTokenCount" in report]
        if not totals:
            continue
        if end.usage.total_tokens == totals[-1]:
            right += 1
        else:
            wrong += 1
    assert right > 0.99 * (right + wrong)


def streams() -> list[dict[str, Any]]:
    return [record for record in exchanges() if record["sse"]]


def test_gemini_cut_at_every_event() -> None:
    """A stream that is cut between two frames is not a turn, unless it stops in the middle as if it ended:
    those streams name a finish reason in the middle and go on with text."""
    mistaken = set[str]()
    for record in streams():
        blocks = record["sse"].replace("\r\n", "\n").encode().split(b"\n\n")
        blocks = [block for block in blocks if block.strip()]
        whole = len(events_of_or_error(record))
        for end in range(len(blocks)):
            reading, out = decoder(record["model"] or TWO), list[lutum.Event]()
            try:
                for block in blocks[:end]:
                    reading.feed(block + b"\n\n", out)
                reading.eof(out)
            except lutum.ProviderError:
                continue
            if out and isinstance(out[-1], lutum.Completed) and len(out) < whole:
                mistaken.add(record["id"])
    by_reason = [record for record in streams() if record["id"] in mistaken]
    for record in by_reason:
        assert "finishReason-in-several-chunks" in record["features"], record["id"]
    assert len(by_reason) <= 8


def events_of_or_error(record: dict[str, Any]) -> list[lutum.Event]:
    reading, out = decoder(record["model"] or TWO), list[lutum.Event]()
    try:
        reading.feed(bytes_of(record), out)
        reading.eof(out)
    except lutum.ProviderError:
        pass
    return out


def test_cut_at_bytes() -> None:
    """A stream that is cut at a byte within a frame never completes, and is not an error."""
    chance = random.Random(5)
    for record in streams()[::3]:
        data = bytes_of(record)
        if "finishReason-in-several-chunks" in record["features"]:
            continue
        whole = events_of_or_error(record)
        last = data.rstrip().rfind(b"data:")
        cuts = chance.sample(range(max(last, 1)), min(20, max(last, 1)))
        for cut in cuts:
            events = decode(data[:cut], record["model"] or TWO)
            assert events == whole[: len(events)]
            assert not any(isinstance(event, lutum.Completed) for event in events), (record["id"], cut)


def test_gemini_splits() -> None:
    """Whole and split at random places, every stream gives the same events."""
    chance = random.Random(7)
    for record in streams():
        data = bytes_of(record)
        reading, out, at = decoder(record["model"] or TWO), list[lutum.Event](), 0
        try:
            while at < len(data):
                size = chance.choice((1, 3, 50, 900, 5_000))
                reading.feed(data[at : at + size], out)
                at += size
            reading.eof(out)
        except lutum.ProviderError:
            pass
        assert out == events_of_or_error(record), record["id"]


def test_gemini_errors_are_classed() -> None:
    """Every recorded error is classed by its status and its words."""
    kinds = {400: "invalid_request", 403: "permission", 404: "not_found", 429: "rate_limit"}
    errors = [record for record in recordings() if record["status"] >= 400]
    assert errors
    for record in errors:
        error = adapter()._fault(lutum.Response(status=record["status"]), bytes_of(record))
        if error.code == "API_KEY_INVALID":
            assert error.kind == "authentication"
        else:
            assert error.kind in (kinds[record["status"]], "billing", "context_length"), record["id"]
        assert str(error), record["id"]


# --- requests, rebuilt ---------------------------------------------------------------------------


def requests() -> list[dict[str, Any]]:
    return [
        record
        for record in recordings()
        if isinstance(record["request"], dict) and isinstance(record["request"].get("contents"), list)
    ]


def with_roles(contents: list[Any]) -> list[Any]:
    """Contents with the role that one without it has."""
    return [{"role": "user", **content} for content in contents]


def test_contents_in_and_out() -> None:
    """The contents of each recorded request come back from its transcript as the same JSON."""
    for record in requests():
        given = json.dumps(record["request"])
        transcript = from_messages(given)
        written = json.loads(to_messages(transcript))
        assert with_roles(written) == with_roles(record["request"]["contents"]), record["id"]
        system = record["request"].get("systemInstruction", record["request"].get("system_instruction"))
        made = to_system(transcript)
        assert (None if made is None else json.loads(made)) == system, record["id"]


def test_conversations_are_rebuilt() -> None:
    """Recorded requests, made again from their transcripts: the same contents, or the cause by name."""
    outcomes = Counter[str]()
    for record in requests():
        model = record["model"] or TWO
        try:
            transcript = from_messages(json.dumps(record["request"]), model=model)
            made = body(prepare(transcript, model, tools=None, options=GeminiOptions()))
        except lutum.BadValue as error:
            outcomes[f"refused: {error.field.split('[')[0]}"] += 1
            continue
        same = with_roles(made["contents"]) == with_roles(record["request"]["contents"])
        outcomes["same" if same else "differs"] += 1
        assert same, record["id"]
    assert outcomes["same"] > 0.97 * sum(outcomes.values()), outcomes


def test_estimates_cover_requests() -> None:
    """The estimate is at least what was billed for 98 of 100 requests without media and server tools. Misses:
    Google counts some cached prefixes, images in results and thoughts of earlier turns higher."""
    billed = {record["id"]: end.usage for record, end in completed()}
    covered = missed = 0
    for record in requests():
        usage, request = billed.get(record["id"]), record["request"]
        if usage is None or usage.known != "exact" or request.get("cachedContent"):
            continue
        tools = request.get("tools") or []
        if isinstance(tools, dict) or any(set(tool) - FUNCTIONS for tool in tools):
            continue
        transcript = from_messages(json.dumps({"contents": request["contents"]}))
        began = from_messages(json.dumps({**request, "contents": HELLO}))
        head = ToolPlan(head=began.head.tools or ())
        prepared = prepare(
            lutum.Transcript([*began.head.system, *transcript]), record["model"] or TWO, tools=head
        )
        config = request.get("generationConfig") or {}
        schema = json.dumps(config.get("responseJsonSchema") or config.get("responseSchema") or "")
        if prepared.unbounded:
            continue
        if prepared.estimate.input_tokens + len(schema) // 3 >= usage.input_tokens:
            covered += 1
        else:
            missed += 1
    assert covered > 900
    assert missed <= 0.02 * (covered + missed), missed


FUNCTIONS = {"functionDeclarations", "function_declarations"}
HELLO = [{"role": "user", "parts": [{"text": "x"}]}, {"role": "model", "parts": [{"text": "y"}]}]


def test_signed_turns_are_exact_at_home_only() -> None:
    """A signed turn goes back to its own model and host. Elsewhere its first call has the bypass."""
    seen = 0
    for record, end in completed():
        turn = end.turn
        if not turn.exact or b'"thoughtSignature"' not in turn.wire or not turn.tool_calls:
            continue
        here = adapter()
        assert here.replay_form(turn, turn.scope, record["model"]).exact, record["id"]
        away = here.replay_form(turn, "elsewhere", "gemini-3-flash-preview")
        assert not away.exact
        assert "bypass" in away.reason
        seen += 1
    assert seen > 50


def test_model_that_answers_is_kept() -> None:
    """The model that answered is the turn's; the one that was asked for reads the turn all the same."""
    different = 0
    for record, end in completed():
        asked_for = (record["model"] or TWO).rpartition("/")[2]
        if not end.turn.exact or end.turn.model == asked_for:
            continue
        different += 1
        assert adapter().replay_form(end.turn, end.turn.scope, asked_for).exact, record["id"]
    assert different


def test_reports_are_read() -> None:
    """Odd reports never cost an answer."""
    for record in streams()[::25]:
        data = bytes_of(record).replace(b'"promptTokenCount":', b'"promptTokenCount":"x",  "p":')
        events = decode(data, prepared=asked(record["model"] or TWO))
        if any(isinstance(event, lutum.Completed) for event in events):
            assert done(events).usage.known in ("estimated", "exact", "lower_bound")
