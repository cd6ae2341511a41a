"""Recorded exchanges: what the vendor's own SDK made of each stream is what the decoder makes of it."""

import json
import random
from typing import Any

import corpus
import msgspec
import pytest
from openai_responses.responses_wire import SCOPE, adapter, decode, decoder, finished

import lutum
from lutum.abc import TurnRequest
from lutum.dialect.errors import http_error
from lutum_openai import ERRORS
from lutum_openai.responses import _turn

pytestmark = pytest.mark.corpus

# Streams that fail, with what the failure is.
FAILS = {
    "ai/openai/responses/parallel-tool-call-wrapper.1.chunks.txt#0": ("malformed", None, "truncated"),
    "langwatch/services/aigateway/adapters/providers/testdata/openai_responses_error_event.sse#0": (
        "billing",
        "insufficient_quota",
        "You exceeded your current quota",
    ),
    "prism/Fixtures/openai/stream-unknown-error-responses-1.json#0": ("unknown", "unknown-error", "Foobar"),
}
# Streams whose `final` is not what the stream says, and why.
DISAGREE = {
    "prism/Fixtures/openai/stream-multiple-output-items-1.json#0": (
        "no final: the SDK drops the terminal event, which has no blank line behind it"
    ),
    "ai/openai/responses/openai-client-tool-search.1.chunks.txt#0": (
        "no final: the SDK fails on an item whose id changes between its beginning and its end"
    ),
    "pydantic-ai/models/test_openai_responses/test_background_mode_streaming_starting_after_vcr.yaml#1": (
        "no final: the SDK wants `response.created` first, which a stream that is taken up again has not"
    ),
}
# Recordings with most of their deltas left out: only the item's end holds the text.
ELIDED = {"ai/openai/responses/openai-shell-container.1.chunks.txt#0"}
INEXACT = {"rig/openai/streaming_grammar/incomplete_mid_tool_call.yaml#0"}


def streams() -> list[dict[str, Any]]:
    return [r for r in corpus.load("openai_responses") if r["sse"] and r["id"] not in FAILS]


def bodies() -> list[dict[str, Any]]:
    """Whole answers that did not stream."""
    found = [r for r in corpus.load("openai_responses") if r["status"] == 200 and isinstance(r["json"], dict)]
    return [
        r
        for r in found
        if isinstance(r["json"].get("output"), list) and r["json"].get("object") == "response"
    ]


def sample() -> list[dict[str, Any]]:
    """Small streams that differ in what they hold."""
    chosen = dict[str, dict[str, Any]]()
    for record in sorted(streams(), key=lambda record: len(record["sse"])):
        for name in ("reasoning", "tool_use", "refusal", "incomplete", "server_tool", "encrypted_content"):
            if name in record["features"]:
                chosen.setdefault(name, record)
    return list(chosen.values())


def completed_of(record: dict[str, Any]) -> lutum.Completed:
    return finished(decode(record["sse"].encode()))


def lexemes(text: bytes | str) -> Any:
    """A JSON value with its numbers as they are written."""
    return json.loads(text, parse_float=str, parse_int=str)


def payloads(record: dict[str, Any]) -> list[Any]:
    """Every event of a stream as JSON, read without the library."""
    found = list[Any]()
    for block in record["sse"].replace("\r\n", "\n").split("\n\n"):
        data = "\n".join(line[5:].strip() for line in block.split("\n") if line.startswith("data:"))
        if data.startswith("{"):
            found.append(lexemes(data))
    return found


def received_output(record: dict[str, Any]) -> list[Any]:
    """The items a stream ended, in the order they are counted in; else what its terminal event lists."""
    ended = [p for p in payloads(record) if p["type"] == "response.output_item.done"]
    ended.sort(key=lambda p: int(p.get("output_index", 99)))
    return [p["item"] for p in ended] or payloads(record)[-1]["response"].get("output") or []


def bare(value: Any) -> Any:
    """Without members that are null or empty: the SDK adds some of them."""
    if isinstance(value, dict):
        kept = {name: bare(inner) for name, inner in value.items()}
        return {name: inner for name, inner in kept.items() if inner not in (None, [], {})}
    return [bare(inner) for inner in value] if isinstance(value, list) else value


def test_responses_agrees_with_the_sdk() -> None:
    """Text, refusals, reasoning, calls and usage of every stream are those of its `final`."""
    compared = 0
    for record in streams():
        final = record.get("final")
        if final is None:
            assert record["id"] in DISAGREE or "incomplete" in record["features"], record["id"]
            continue
        compared += 1
        done = completed_of(record)
        turn = done.turn
        # What the SDK rebuilds is the terminal event, which some servers send without its output.
        output = final.get("output") or received_output(record)
        said = [p for i in output if i["type"] == "message" for p in i["content"]]
        # The SDK's text is all of it; commentary is no part of ours.
        spoken = "".join(item.text for item in turn.items if isinstance(item, lutum.TextItem))
        assert spoken == "".join(p["text"] for p in said if p["type"] == "output_text"), record["id"]
        assert len(spoken) == len(turn.text) + len(turn.commentary)
        assert turn.refusal == "".join(p["refusal"] for p in said if p["type"] == "refusal"), record["id"]
        thought = [i for i in output if i["type"] == "reasoning"]
        texts = "".join(p["text"] for i in thought for p in (*i["summary"], *(i.get("content") or ())))
        assert turn.reasoning == texts, record["id"]
        calls = [
            (i["call_id"], i["name"], i["arguments"] or "{}") for i in output if i["type"] == "function_call"
        ]
        assert [(c.id, c.name, c.arguments) for c in turn.tool_calls] == calls, record["id"]
        usage = final["usage"]
        assert (done.usage.input_tokens, done.usage.output_tokens) == (
            usage["input_tokens"],
            usage["output_tokens"],
        ), record["id"]
        cached = (usage.get("input_tokens_details") or {}).get("cached_tokens") or 0
        reasoned = (usage.get("output_tokens_details") or {}).get("reasoning_tokens") or 0
        assert (done.usage.cache_read_tokens, done.usage.reasoning_tokens) == (cached, reasoned), record["id"]
        assert (turn.model, done.usage.known) == (final["model"], "exact"), record["id"]
    assert compared >= corpus.least(150)


def test_items_are_kept() -> None:
    """The wire holds every item as it ended, number by number, unknown members included."""
    for record in streams():
        wire = lexemes(completed_of(record).turn.wire)
        assert wire["output"] == received_output(record), record["id"]
        response = payloads(record)[-1]["response"]
        kept = {k: v for k, v in response.items() if k not in _turn.REQUEST_ECHO and k != "output"}
        assert {k: v for k, v in wire.items() if k in kept} == kept, record["id"]


def test_responses_events_agree_with_the_turn() -> None:
    """Text, refusals, reasoning and calls as they were streamed are those of the committed turn."""
    for record in streams():
        events = decode(record["sse"].encode())
        turn = finished(events).turn
        if record["id"] not in ELIDED:
            deltas = [e for e in events if isinstance(e, lutum.TextDelta)]
            answer = "".join(e.text for e in deltas if e.phase != "commentary")
            assert answer == turn.text, record["id"]
            assert "".join(e.text for e in deltas if e.phase == "commentary") == turn.commentary
        assert "".join(e.text for e in events if isinstance(e, lutum.RefusalDelta)) == turn.refusal, record[
            "id"
        ]
        assert "".join(e.text for e in events if isinstance(e, lutum.ReasoningDelta)) == turn.reasoning
        calls = [e for e in events if isinstance(e, lutum.ToolCallReady | lutum.ToolCallIssue)]
        assert [(c.id, c.name, c.arguments) for c in calls] == [
            (c.id, c.name, c.arguments) for c in turn.tool_calls
        ], record["id"]
        pieces = "".join(e.arguments for e in events if isinstance(e, lutum.ToolCallDelta))
        assert pieces == "".join(c.arguments for c in turn.tool_calls), record["id"]
        assert isinstance(events[0], lutum.TurnStarted)


def test_responses_finish_reasons() -> None:
    """Incomplete streams end at the length limit; the others for what they hold."""
    for record in streams():
        done = completed_of(record)
        if payloads(record)[-1]["type"] == "response.incomplete":
            assert done.finish_reason == "length", record["id"]
        elif done.turn.tool_calls:
            assert done.finish_reason == "tool_calls"
        else:
            assert done.finish_reason == ("content_filter" if done.turn.refusal else "stop"), record["id"]


def test_responses_exactness() -> None:
    """Every recorded turn is exact but the one whose arguments were cut."""
    assert {record["id"] for record in streams() if not completed_of(record).turn.exact} == corpus.named(
        INEXACT
    )


def test_responses_corpus_open_items() -> None:
    """What waits for an answer is open; what a hosted tool answered is not."""
    kinds = dict[str, int]()
    for record in streams():
        for item in completed_of(record).open_items:
            kind = msgspec.json.decode(item)["type"]
            kinds[kind] = kinds.get(kind, 0) + 1
    assert set(kinds) <= {
        "apply_patch_call",
        "custom_tool_call",
        "mcp_approval_request",
        "shell_call",
        "tool_search_call",
    }
    if corpus.least(2) == 2:  # the real recordings
        assert kinds["mcp_approval_request"] == 2
        assert kinds["custom_tool_call"] == 1


def test_responses_cut_at_every_event() -> None:
    """A stream that is cut between two events never completes."""
    for record in streams():
        reading, out = decoder(), list[lutum.Event]()
        for piece in record["sse"].encode().replace(b"\r\n", b"\n").split(b"\n\n"):
            if b'"response.completed"' in piece or b'"response.incomplete"' in piece:
                break
            reading.feed(piece + b"\n\n", out)
        reading.eof(out)
        assert not any(isinstance(event, lutum.Completed) for event in out), record["id"]


def test_responses_cut_at_every_byte() -> None:
    """A stream that is cut anywhere before its end never completes, and is no error."""
    chosen = sample()
    assert len(chosen) >= corpus.least(4)
    for record in chosen:
        data = record["sse"].encode().rstrip()
        data = data.removesuffix(b"data: [DONE]").rstrip()
        whole = decode(data)
        for cut in range(0, len(data), 1 if len(data) < 6_000 else 11):
            events = decode(data[:cut])
            assert events == whole[: len(events)], (record["id"], cut)
            assert not any(isinstance(event, lutum.Completed) for event in events), (record["id"], cut)


def test_responses_corpus_splits() -> None:
    """Whole and split at random places, every stream gives the same events; a sample also byte by byte."""
    chance = random.Random(7)
    for record in streams():
        data = record["sse"].encode()
        reading, out, at = decoder(), list[lutum.Event](), 0
        while at < len(data):
            size = chance.choice((1, 3, 50, 900))
            reading.feed(data[at : at + size], out)
            at += size
        reading.eof(out)
        assert out == decode(data), record["id"]
    for record in sample():
        data = record["sse"].encode()
        reading, out = decoder(), list[lutum.Event]()
        for i in range(len(data)):
            reading.feed(data[i : i + 1], out)
        reading.eof(out)
        assert out == decode(data), record["id"]


def test_responses_failures() -> None:
    """Every stream that fails says what, as the provider said it, and the events before it stand."""
    for record in corpus.load("openai_responses"):
        if record["id"] not in FAILS:
            continue
        kind, code, words = FAILS[record["id"]]
        reading, out = decoder(), list[lutum.Event]()
        with pytest.raises(lutum.ProviderError, match=words) as caught:
            reading.feed(record["sse"].encode(), out)
        assert (caught.value.kind, caught.value.code) == (kind, code)
        assert caught.value.request_id == "req_1"
        assert not any(isinstance(event, lutum.Completed) for event in out)


def test_responses_spliced_errors() -> None:
    """An error event behind a recorded prefix is raised at it."""
    found = 0
    for record in corpus.load("extra_spliced_errors"):
        if record["protocol"] == "openai_responses":
            found += 1
            with pytest.raises(lutum.ProviderError) as caught:
                decode(record["sse"].encode())
            assert caught.value.kind not in ("malformed", "unknown"), record["id"]
    assert found


def test_responses_errors_are_classed() -> None:
    """Every recorded error is what its status and its code say, with message, code and request id."""
    kinds = {400: "invalid_request", 401: "authentication", 404: "not_found"}
    errors = [record for record in corpus.load("openai_responses") if record["status"] >= 400]
    assert len(errors) >= corpus.least(15)
    for record in errors:
        whole = record["json"]
        headers = {name.lower(): value for name, value in (record["response_headers"] or {}).items()}
        head = lutum.Response(status=record["status"], request_id=headers.get("x-request-id"))
        error = http_error(head, json.dumps(whole).encode(), 0.0, ERRORS)
        said = whole.get("error", whole)
        if isinstance(said, str):
            said = {"message": said, "code": whole.get("code")}
        assert error.message == (said.get("message") or said.get("detail")), record["id"]
        assert (error.type, error.code) == (said.get("type"), said.get("code")), record["id"]
        assert error.request_id == headers.get("x-request-id")
        expected = kinds[record["status"]]
        if error.code == "model_not_found":
            expected = "not_found"
        assert error.kind == expected, record["id"]


def test_whole_answers_are_turns() -> None:
    """An answer that did not stream makes the turn its stream would: same wire, same view."""
    assert len(bodies()) >= corpus.least(150)
    for record in bodies():
        whole = record["json"]
        if whole["status"] not in ("completed", "incomplete"):
            continue
        data = json.dumps(whole, separators=(",", ":"), ensure_ascii=False).encode()
        done = finished(decode(data))
        assert lexemes(done.turn.wire)["output"] == lexemes(data)["output"], record["id"]
        turn = _turn.turn_from_response(data, scope=SCOPE, model="")
        assert (turn.items, turn.wire) == (done.turn.items, done.turn.wire), record["id"]


def expected_input(wire: Any) -> list[Any]:
    """The items that go back: what came, without what is response-only."""
    output = wire["output"]
    last = max((i for i, item in enumerate(output) if item["type"] != "reasoning"), default=-1)
    kept = []
    for i, item in enumerate(output):
        if item["type"] == "reasoning":
            content = any(part["text"] for part in item.get("content") or ())
            readable = item.get("encrypted_content") or content
            if not (readable or wire["store"]) or (i > last and not readable):
                continue
            if i > last:
                item = {name: value for name, value in item.items() if name != "id"}
        if item["type"] == "message" and isinstance(item["content"], list):
            parts = [part | {"logprobs": []} if part.get("logprobs") else part for part in item["content"]]
            item = item | {"content": parts}
        kept.append({name: value for name, value in item.items() if name != "created_by"})
    return kept


def test_responses_turns_are_replayed_exactly() -> None:
    """The next request holds each turn's items, number by number, without what is response-only."""
    via = adapter("gpt-5.6")
    turns = [completed_of(record).turn for record in streams()]
    turns += [
        finished(decode(json.dumps(r["json"]).encode())).turn
        for r in bodies()
        if r["json"]["status"] == "completed"
    ]
    replayed = 0
    for turn in turns:
        if not turn.exact:
            continue
        transcript = lutum.Transcript([lutum.Message("user", (lutum.Text("go"),)), turn])
        again = lutum.Transcript.load(transcript.dump())
        prepared = via.prepare(TurnRequest(transcript=again))
        if not prepared.forms[0].exact:
            assert prepared.forms[0].reason == "the API does not accept stored reasoning at the end of a turn"
            continue
        sent = lexemes(prepared.body)["input"]
        assert sent[1:] == expected_input(lexemes(turn.wire))
        replayed += 1
    assert replayed >= corpus.least(300)
