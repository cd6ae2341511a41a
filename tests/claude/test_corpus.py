"""Recorded exchanges: what the vendor's own SDK made of each stream is what the decoder makes of it."""

import json
import random
from typing import Any

import corpus
import pytest
from claude.claude_wire import SCOPE, decode, decoder

import lutum
from lutum.abc import TurnRequest
from lutum.dialect.errors import http_error
from lutum_claude import ClaudeAdapter, _errors, _estimate, _turn

pytestmark = pytest.mark.corpus

# Streams whose `final` is not what the stream says, and why.
DISAGREE = {
    "anthropic-sdk-python/streaming/incomplete_partial_json_response.txt#0": (
        "arguments cut at max_tokens: the SDK shows what its partial parser makes of them, lutum an issue"
    ),
    "rig/anthropic/streaming/gateway_message_delta_metadata.yaml#0": (
        "no final: the SDK fails on the `data: [DONE]` that follows the end"
    ),
}


def streams() -> list[dict[str, Any]]:
    return [record for record in corpus.load("claude_messages") if record["sse"]]


def sample() -> list[dict[str, Any]]:
    """Six small streams that differ in what they hold."""
    chosen = dict[str, dict[str, Any]]()
    for record in sorted(streams(), key=lambda record: len(record["sse"])):
        features = record["features"]
        for name in (
            "thinking",
            "tool_use",
            "server_tool",
            "content_in_message_start",
            "citations",
            "stop_max_tokens",
        ):
            if name in features and len(record["sse"]) > 600:
                chosen.setdefault(name, record)
    return list(chosen.values())


def events_of(record: dict[str, Any]) -> list[lutum.Event]:
    return decode(record["sse"].encode())


def turn_of(record: dict[str, Any]) -> lutum.CommittedTurn:
    last = events_of(record)[-1]
    assert isinstance(last, lutum.Completed), record["id"]
    return last.turn


def lexemes(text: bytes | str) -> Any:
    """A JSON value with its numbers as they are written."""
    return json.loads(text, parse_float=str, parse_int=str)


def bare(value: Any) -> Any:
    """Without members that are null: the SDK adds them, and drops others."""
    if isinstance(value, dict):
        return {name: bare(inner) for name, inner in value.items() if inner is not None}
    return [bare(inner) for inner in value] if isinstance(value, list) else value


def test_claude_agrees_with_the_sdk() -> None:
    """Content, stop reason, model, ids and usage of every stream are those of its `final`."""
    for record in streams():
        if record["id"] in DISAGREE:
            continue
        wire = json.loads(turn_of(record).wire)
        final = record["final"]
        assert bare(wire) == bare(final), record["id"]


def test_claude_events_agree_with_the_turn() -> None:
    """Text, reasoning and calls as they were streamed are those of the committed turn."""
    for record in streams():
        events = events_of(record)
        done = events[-1]
        assert isinstance(done, lutum.Completed)
        text = "".join(event.text for event in events if isinstance(event, lutum.TextDelta))
        reasoning = "".join(event.text for event in events if isinstance(event, lutum.ReasoningDelta))
        calls = [e.id for e in events if isinstance(e, lutum.ToolCallReady | lutum.ToolCallIssue)]
        turn = done.turn
        said = turn.refusal if done.finish_reason == "content_filter" else turn.text
        assert said in (text, "The request was refused.") or not text, record["id"]
        assert (reasoning, calls) == (turn.reasoning, [call.id for call in turn.tool_calls]), record["id"]
        arguments = "".join(event.arguments for event in events if isinstance(event, lutum.ToolCallDelta))
        assert arguments == "".join(call.arguments for call in turn.tool_calls), record["id"]


def billed(usage: dict[str, Any]) -> dict[str, Any]:
    """The counts that are billed: the sum over the steps of a request that had several."""
    steps = usage.get("iterations") or [usage]
    names = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    return {name: sum(step.get(name) or 0 for step in steps) for name in names}


def test_claude_usage_is_final() -> None:
    """The last usage agrees with the SDK's, cache reads and writes counted as input."""
    for record in streams():
        if record["id"] in DISAGREE:
            continue
        done = events_of(record)[-1]
        assert isinstance(done, lutum.Completed)
        usage = billed(record["final"]["usage"])
        read, written = (usage.get(f"cache_{what}_input_tokens") or 0 for what in ("read", "creation"))
        assert done.usage.input_tokens == usage["input_tokens"] + read + written, record["id"]
        assert done.usage.output_tokens == usage["output_tokens"], record["id"]
        assert done.usage.known == "exact", record["id"]
        assert (done.usage.cache_read_tokens, done.usage.cache_write_tokens) == (read, written)


def test_claude_exactness() -> None:
    """Every recorded turn is exact but the one whose arguments were cut."""
    inexact = {record["id"] for record in streams() if not turn_of(record).exact}
    assert inexact == corpus.named(["anthropic-sdk-python/streaming/incomplete_partial_json_response.txt#0"])


def test_claude_cut_at_every_event() -> None:
    """A stream that is cut between two events never completes."""
    for record in streams():
        pieces = record["sse"].encode().split(b"\n\n")
        reading, out = decoder(), list[lutum.Event]()
        for piece in pieces:
            if b'"message_stop"' in piece:
                break
            reading.feed(piece + b"\n\n", out)
        reading.eof(out)
        assert not any(isinstance(event, lutum.Completed) for event in out), record["id"]


def test_claude_cut_at_every_byte() -> None:
    """A stream that is cut anywhere before its end never completes, and is no error."""
    for record in sample():
        data = record["sse"].encode()
        end = data.index(b"}", data.rindex(b'"message_stop"'))
        whole = decode(data)
        for cut in range(0, end, 1 if end < 4_000 else 7):
            events = decode(data[:cut])
            assert events == whole[: len(events)]
            assert not any(isinstance(event, lutum.Completed) for event in events), (record["id"], cut)


def test_claude_splits() -> None:
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


def test_claude_spliced_errors() -> None:
    """An error event in the middle of a recorded stream is classed, behind the events before it."""
    for record in corpus.load("extra_spliced_errors"):
        if record["protocol"] != "claude_messages":
            continue
        out = list[lutum.Event]()
        with pytest.raises(lutum.ProviderError) as caught:
            decoder().feed(record["sse"].encode(), out)
        assert caught.value.kind != "malformed", record["id"]
        assert out


def test_claude_errors_are_classed() -> None:
    """Every recorded error is what its status and its type say."""
    kinds = {400: "invalid_request", 401: "authentication", 404: "not_found"}
    errors = [record for record in corpus.load("claude_messages") if record["status"] >= 400]
    assert len(errors) >= corpus.least(17)
    for record in errors:
        body = json.dumps(record["json"]).encode()
        error = http_error(lutum.Response(status=record["status"]), body, 0.0, _errors.ERRORS)
        said = record["json"]
        assert error.kind == kinds[record["status"]], record["id"]
        assert (error.message, error.type) == (said["error"]["message"], said["error"]["type"])
        assert error.request_id == said.get("request_id")


def test_whole_messages_are_turns() -> None:
    """A whole answer makes a turn whose wire is that answer, byte for byte."""
    whole = [
        r for r in corpus.load("claude_messages") if r["status"] == 200 and (r["json"] or {}).get("content")
    ]
    assert whole
    for record in whole:
        body = json.dumps(record["json"]).encode()
        assert _turn.turn_from_message(body, scope=SCOPE).wire == body


def expected_content(wire: Any) -> list[Any]:
    """The content that goes back: what came, without what is response-only."""
    content = wire["content"]
    last = max((i for i, block in enumerate(content) if block["type"] == "fallback"), default=0)
    kept = []
    for i, block in enumerate(content):
        if block["type"] == "text" and not block["text"].strip():
            continue
        if i < last and block["type"] in ("thinking", "redacted_thinking", "tool_use"):
            continue
        if block.get("citations"):
            cited = [{k: v for k, v in entry.items() if k != "file_id"} for entry in block["citations"]]
            block = {**block, "citations": cited}
        kept.append(block)
    return kept


def test_claude_turns_are_replayed_exactly() -> None:
    """The next request holds each turn's content, number by number, without what is response-only."""
    adapter = ClaudeAdapter("claude-sonnet-4-5", api_key="k", base_url=f"https://{SCOPE}")
    for record in streams():
        turn = turn_of(record)
        if not turn.exact:
            continue
        conversation = lutum.ModelInput().user("Hi").turn(turn)
        for call in turn.tool_calls:
            conversation = conversation.tool_result(call.id, "done")
        conversation = conversation.user("And?")
        prepared = adapter.prepare(TurnRequest(transcript=conversation.transcript))
        assert [form.exact for form in prepared.forms] == [True], record["id"]
        messages = lexemes(prepared.body)["messages"]
        sent = [
            block for message in messages if message["role"] == "assistant" for block in message["content"]
        ]
        assert sent == expected_content(lexemes(turn.wire)), record["id"]
        if record["id"] not in DISAGREE:
            assert bare(json.loads(turn.wire)["content"]) == bare(record["final"]["content"])


def test_estimate() -> None:
    """Of requests of text and tools, 95 in 100 are estimated at no more than 3 times what they took, and no
    more than 4 in 100 at less."""
    rows = text_requests()
    assert len(rows) > 50
    ratios = sorted(estimated / actual for _, estimated, actual in rows)
    assert ratios[int(len(ratios) * 0.95)] <= 3
    assert sum(ratio < 1 for ratio in ratios) <= len(ratios) * 0.04


def text_requests() -> list[tuple[str, int, int]]:
    """(id, estimate, input tokens reported) of recorded requests that hold text, and calls, alone."""
    found = list[tuple[str, int, int]]()
    for record in corpus.load("claude_messages", real=True):
        request = record["request"]
        answer = record.get("final") or record["json"]
        if (
            not request
            or record.get("request_elided")
            or record["status"] != 200
            or not (answer or {}).get("usage")
        ):
            continue
        usage = answer["usage"]
        actual = sum(usage.get(f"{kind}input_tokens") or 0 for kind in ("", "cache_read_", "cache_creation_"))
        odd = {"image", "document", "server_tool_use", "container_upload", "thinking", "compaction"}
        given = json.dumps(request.get("messages", ""))
        tools = request.get("tools", [])
        if actual < 8 or any(f'"{kind}"' in given for kind in odd) or any(tool.get("type") for tool in tools):
            continue
        if request.keys() & {"mcp_servers", "container", "context_management", "output_format"}:
            continue
        found.append((record["id"], estimate(request), actual))
    return found


def estimate(request: dict[str, Any]) -> int:
    """The rule of `prepare`, on a recorded body."""
    tokens = _estimate.REQUEST_TOKENS
    tokens += (
        _estimate.THINKING_TOKENS if request.get("thinking", {}).get("type") in ("enabled", "adaptive") else 0
    )
    for tool in request.get("tools", []):
        tokens += (
            _estimate.json_tokens(json.dumps(tool, separators=(",", ":")).encode()) + _estimate.TOOL_TOKENS
        )
    tokens += _estimate.TOOLS_TOKENS if request.get("tools") else 0
    for message in [*request["messages"], {"content": request.get("system") or ""}]:
        content = message["content"]
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        for block in content:
            if block["type"] == "text":
                tokens += _estimate.text_tokens(block["text"])
            else:
                tokens += _estimate.json_tokens(json.dumps(block).encode())
        tokens += _estimate.MESSAGE_TOKENS
    if "format" in request.get("output_config", {}):
        tokens += _estimate.json_tokens(json.dumps(request["output_config"]["format"]["schema"]).encode())
        tokens += _estimate.FORMAT_TOKENS
    return tokens
