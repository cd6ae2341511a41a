"""Recorded exchanges: what the vendor's own SDK made of each stream is what the decoder makes of it."""

import json
import random
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

import corpus
import pytest
from openai_chat.chat_wire import DONE, adapter, completed, decode, decoder, of, prepare

import lutum
from lutum.dialect.errors import http_error
from lutum.dialect.json import is_object
from lutum_openai import ERRORS
from lutum_openai._hosts import for_model, profile_of
from lutum_openai.chat import _decode, _turn

pytestmark = pytest.mark.corpus

# Streams whose `final` is not what the stream says, by the member that differs, and why. Repeated strings
# (`final_artifacts`) and numbers that the SDK adds up are no disagreement about what was said.
SDK_IS_WRONG = {
    "channel": "Groq repeats it in every delta; the SDK strings the copies together",
    "executed_tools": "Groq's entries with one index are two calls; the SDK strings them together",
    "token_id": "Together numbers the last token; the SDK adds the numbers up",
    "content": "Mistral's parts, then a string: the SDK keeps the string alone",
    "type": "Mistral leaves a call's type out, which no request may",
}
# Streams that end in an error event.
FAIL = {
    "pydantic-ai/models/test_groq/test_tool_use_failed_error_streaming_with_text.yaml#0",
    "pydantic-ai/models/test_openrouter/test_openrouter_stream_error.yaml#0",
}


def streams() -> list[dict[str, Any]]:
    return [r for r in corpus.load("openai_chat") if r["sse"] and r["id"] not in FAIL]


def bodies() -> list[dict[str, Any]]:
    records = corpus.load("openai_chat")
    return [r for r in records if not r["sse"] and r["status"] == 200 and isinstance(r["json"], dict)]


def errors() -> list[dict[str, Any]]:
    return [r for r in corpus.load("openai_chat", real=True) if r["status"] >= 400]


def sample() -> list[dict[str, Any]]:
    """Small streams that differ in what they hold."""
    chosen = dict[str, dict[str, Any]]()
    for record in sorted(streams(), key=lambda record: len(record["sse"])):
        for name in (
            "tool_use",
            "reasoning",
            "refusal",
            "stream_without_DONE",
            "content_parts_list",
            "sse_crlf",
        ):
            if name in record["features"] and len(record["sse"]) > 600:
                chosen.setdefault(name, record)
    return list(chosen.values())


def events_of(record: dict[str, Any]) -> list[lutum.Event]:
    return decode(record["sse"].encode(), scope=record["host"])


def bare(value: Any) -> Any:
    """Without members that are null: the SDK adds them, and drops others."""
    if isinstance(value, dict):
        return {name: bare(inner) for name, inner in value.items() if inner is not None}
    return [bare(inner) for inner in value] if isinstance(value, list) else value


def words(details: list[dict[str, Any]]) -> dict[str, str]:
    """What a list of reasoning details holds for the model: every text, summary, signature and cipher."""
    found = dict[str, str]()
    for detail in details:
        for name in ("text", "summary", "signature", "data"):
            found[name] = found.get(name, "") + (detail.get(name) or "")
    return found


def test_chat_agrees_with_the_sdk() -> None:
    """The message of every stream is that of its `final`, but for what the SDK is known to get wrong."""
    wrong, compared = set[str](), 0
    for record in streams():
        if record["final"] is None:  # the SDK failed: lists without an index, for the most part
            continue
        mine = bare(json.loads(completed(events_of(record)).turn.wire))
        final = bare(record["final"]["choices"][0]["message"])
        final.pop("parsed", None)
        final["role"] = mine["role"]  # repeated in every delta by some
        for call in final.get("tool_calls", []):
            call.pop("index", None)
            call["function"].pop("parsed_arguments", None)
            call["function"].pop("strict", None)
            if "type" not in call:
                call["type"] = "function"
                wrong.add("type")
        for member in mine.keys() | final.keys():
            if member == "reasoning_details":
                assert words(mine[member]) == words(final[member]), record["id"]
            elif member in SDK_IS_WRONG and mine[member] != final.get(member):
                wrong.add(member)
            else:
                assert mine.get(member) == final.get(member), (record["id"], member)
        compared += 1
    assert compared > 200 * len(corpus.load("openai_chat")) / 591
    assert wrong <= SDK_IS_WRONG.keys()


def test_every_stream_completes_in_chat() -> None:
    """Every recorded stream but the two with errors is a whole turn, with an answer's id and model."""
    for record in streams():
        events = events_of(record)
        done = completed(events)
        assert len(of(events, lutum.Completed)) == 1
        (started,) = of(events, lutum.TurnStarted)
        assert started.model == done.turn.model
        final = record["final"]
        if final is not None and final.get("id"):
            assert (started.response.id or "") in final["id"]


def test_chat_events_agree_with_the_turn() -> None:
    """Text, reasoning, refusals and calls as they were streamed are those of the committed turn."""
    for record in [*streams(), *bodies()]:
        data = record["sse"] or json.dumps(record["json"])
        events = decode(data.encode())
        turn = completed(events).turn
        for kind, said in (
            (lutum.TextDelta, turn.text),
            (lutum.ReasoningDelta, turn.reasoning),
            (lutum.RefusalDelta, turn.refusal),
        ):
            assert "".join(event.text for event in of(events, kind)) == said, record["id"]
        ready = [e for e in events if isinstance(e, lutum.ToolCallReady | lutum.ToolCallIssue)]
        assert [(e.id, e.name, e.arguments) for e in ready] == [
            (call.id, call.name, call.arguments) for call in turn.tool_calls
        ], record["id"]


def test_chat_usage_is_final() -> None:
    """The last usage agrees with the SDK's; where there is none it is an estimate, never zero."""
    for record in streams():
        events = events_of(record)
        done = completed(events)
        usage = (record["final"] or {}).get("usage")
        if '"prompt_tokens"' not in record["sse"]:
            assert done.usage.known == "estimated", record["id"]
            assert done.usage.total_tokens > 0
        elif usage is not None:
            assert done.usage.known == "exact", record["id"]
            assert done.usage.input_tokens == usage["prompt_tokens"], record["id"]
            reasoning = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
            beside = usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] + reasoning
            output = usage["completion_tokens"] + (reasoning if beside else 0)  # beside it: xAI
            assert done.usage.output_tokens == output, record["id"]
            assert of(events, lutum.UsageUpdate)[-1] == lutum.UsageUpdate(done.usage, True)


def test_chat_exactness() -> None:
    """Every recorded turn is exact but those with cut arguments, or calls without an id."""
    for record in streams():
        turn = completed(events_of(record)).turn
        if not turn.exact:
            cut = any(not is_object(call.arguments) for call in turn.tool_calls)
            assert cut or "without an id" in (turn.inexact_reason or ""), record["id"]


def test_chat_whole_bodies() -> None:
    """A JSON answer, also behind blank lines, gives the same turn as a stream would; cut, it gives none."""
    for record in bodies():
        data = json.dumps(record["json"]).encode()
        done = completed(decode(b"\n \r\n\n" + data))
        message = record["json"]["choices"][0].get("message") or {}
        mine = json.loads(done.turn.wire)
        for name, value in message.items():
            if name not in ("role", "tool_calls"):
                assert mine[name] == value, (record["id"], name)
        received = message.get("tool_calls") or []
        for call, kept in zip(received, mine.get("tool_calls") or [], strict=True):
            assert kept["function"] == call["function"]
            assert kept["id"] == call["id"] or not call["id"]
        assert decode(data[:-1]) == []


def test_chat_corpus_errors() -> None:
    """Every recorded error status has its class, the provider's words, code and request id."""
    kinds = {
        400: "invalid_request",
        401: "authentication",
        403: "permission",
        404: "not_found",
        429: "rate_limit",
        500: "server",
    }
    seen = set[str]()
    for record in errors():
        body = (
            json.dumps(record["json"]).encode()
            if record["json"] is not None
            else (record["text"] or "").encode()
        )
        headers = {name.lower(): value for name, value in (record["response_headers"] or {}).items()}
        response = lutum.Response(record["status"], headers.get("x-request-id"), headers=headers)
        error = http_error(response, body, 0.0, ERRORS)
        said = record["json"].get("error", record["json"]) if isinstance(record["json"], dict) else {}
        # Of a prompt that is too long some hosts say so, and others that the body or a rate is too large.
        if "context_length_exceeded" in record["id"]:
            assert error.kind in ("context_length", kinds[record["status"]]), record["id"]
            seen.add(error.kind)
        else:
            assert error.kind == kinds[record["status"]], record["id"]
        assert error.status == record["status"]
        assert error.message == (said.get("message") or said.get("detail")), record["id"]
        assert error.code == (None if said.get("code") is None else str(said["code"])), record["id"]
        assert error.request_id == headers.get("x-request-id")
    assert "context_length" in seen


def test_errors_in_streams() -> None:
    """An error event in a 200 stream is raised behind the events that came before it, classed as a status."""
    found = {r["id"]: r for r in corpus.load("openai_chat") if r["id"] in FAIL}
    for record in found.values():
        reading, out = decoder(), list[lutum.Event]()
        with pytest.raises(lutum.ProviderError) as failed:
            reading.feed(record["sse"].encode(), out)
        assert failed.value.kind == "invalid_request"
        assert (failed.value.status, failed.value.request_id) == (400, "req_1")
        assert out
        assert not of(out, lutum.Completed)


def test_errors_put_into_streams() -> None:
    """An error event spliced into a recorded stream ends it, behind everything that came before."""
    for record in corpus.load("extra_spliced_errors"):
        if record["protocol"] != "openai_chat":
            continue
        reading, out = decoder(), list[lutum.Event]()
        with pytest.raises(lutum.ProviderError) as failed:
            reading.feed(record["sse"].encode(), out)
        assert failed.value.kind == "server"
        assert out
        assert not of(out, lutum.Completed)


def test_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks that are read the quick way give what they give member by member."""
    quick = [events_of(record) for record in streams()]
    monkeypatch.setattr(_decode, "PATIENCE", 0)
    assert [events_of(record) for record in streams()] == quick


@pytest.mark.slow
def test_chat_cut_at_every_event() -> None:
    """A stream that is cut between two events gives no turn, or the whole one."""
    for record in streams():
        whole = completed(events_of(record)).turn
        reading, out = decoder(scope=record["host"]), list[lutum.Event]()
        pieces = record["sse"].replace("\r\n", "\n").encode().split(b"\n\n")
        for at, piece in enumerate(pieces):
            reading.feed(piece + b"\n\n", out)
            if of(out, lutum.Completed):
                break
            ended = decode_again(pieces[: at + 1], record)
            if ended is not None:
                assert ended.wire == whole.wire, (record["id"], at)


def decode_again(pieces: list[bytes], record: dict[str, Any]) -> lutum.CommittedTurn | None:
    """The turn of a stream cut after those events; only looked for where a reason to finish was seen."""
    if not any(b'"finish_reason"' in piece and b"[DONE]" not in piece for piece in pieces[-3:]):
        return None
    events = decode(b"\n\n".join(pieces) + b"\n\n", scope=record["host"])
    last = events[-1] if events else None
    return last.turn if isinstance(last, lutum.Completed) else None


def test_chat_cut_at_every_byte() -> None:
    """A stream that is cut anywhere gives what came before, and no turn or the whole one."""
    for record in sample():
        data = record["sse"].encode()
        whole = decode(data)
        step = 1 if len(data) < 4_000 else 11
        for cut in range(0, len(data), step):
            events = decode(data[:cut])
            if events and isinstance(events[-1], lutum.Completed):
                assert events[-1].turn == completed(whole).turn, (record["id"], cut)
                events = [e for e in events if not isinstance(e, lutum.Completed | lutum.UsageUpdate)]
            assert all(event in whole for event in events), (record["id"], cut)


def test_chat_splits() -> None:
    """Whole and split at random places, every stream gives the same events; a sample also byte by byte."""
    chance = random.Random(7)
    for record in streams():
        data = record["sse"].encode()
        whole = decode(data)
        for _ in range(2):
            cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randrange(1, 9)))
            chunks = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
            assert decode(data, chunks) == whole, (record["id"], cuts)
    for record in sample():
        data = record["sse"].encode()
        assert decode(data, [bytes([byte]) for byte in data]) == decode(data), record["id"]


def test_chat_replay() -> None:
    """Stream to turn to file and back: the next request carries the message, its strings as received."""
    inexact = Counter[str]()
    for record in streams():
        host = record["host"]
        turn = completed(events_of(record)).turn
        if not turn.exact:
            continue
        transcript = lutum.ModelInput().user("hi").turn(turn).transcript
        for call in turn.tool_calls:
            transcript = transcript.append(lutum.ToolResult(call.id, (lutum.Text("done"),)))
        transcript = lutum.Transcript.load(transcript.dump())
        via = adapter(host)
        first, second = prepare(transcript, via=via), prepare(transcript, via=adapter(host))
        assert first.body == second.body
        wire = json.loads(turn.wire)
        # A message without words, and reasoning that the host refuses, stay behind and say so.
        profile = for_model(profile_of(host), host, via._model)
        form = _turn.form_at(_turn.replay_form(turn, turn.scope, ""), turn, profile)
        assert first.forms == (form,)
        if not form.exact:
            inexact[form.reason.partition(",")[0]] += 1
            continue
        sent = json.loads(first.body)["messages"][1]
        said = wire.get("content")
        assert sent.get("content") == (said if said is not None or turn.tool_calls else ""), record["id"]
        assert [c["function"] for c in sent.get("tool_calls", [])] == [
            c["function"] for c in wire.get("tool_calls") or []
        ]
        for member in profile_of(host).reasoning or ():
            if wire.get(member):
                assert sent[member] == wire[member]
                break
        gone = wire.keys() - sent.keys()
        assert gone <= _turn.RESPONSE_ONLY | set(_REASONING) | {
            m for m in wire if wire[m] in (None, "", [], {})
        }
    assert set(inexact) <= {
        "the host refuses an assistant message without text",
        "its reasoning is left out",
    }


_REASONING = ("reasoning", "reasoning_content", "reasoning_details", "thinking")


def test_recorded_requests_stay() -> None:
    """Every recorded assistant message goes out again as it stood in its request, in its host's profile."""
    seen = 0
    for record in corpus.load("openai_chat"):
        request = record["request"]
        for message in request.get("messages", []) if isinstance(request, dict) else []:
            if message.get("role") != "assistant" or record["status"] != 200 or "prefix" in message:
                continue
            wire = json.dumps(message, ensure_ascii=False).encode()
            turn = _turn.turn_from_message(wire, scope=record["host"], model="m")
            profile = for_model(profile_of(record["host"]), record["host"], request.get("model") or "")
            replayed = _turn.replay_message(turn, profile)
            if replayed is None:
                assert not message.get("content")
                assert not profile.empty_assistant
                continue
            sent = json.loads(replayed)
            for name, value in message.items():
                if name not in _REASONING and name != "annotations" and value is not None:
                    assert sent[name] == without_index(name, value), record["id"]
            seen += 1
    assert seen


def without_index(name: str, value: Any) -> Any:
    """Calls without their number, which is response-only."""
    if name != "tool_calls":
        return value
    return [{key: inner for key, inner in call.items() if key != "index"} for call in value]


def test_hosts() -> None:
    """Every recorded host has a URL and a profile; none needs an option to be spoken to."""
    for record in corpus.load("openai_chat"):
        assert profile_of(record["host"])
        assert urlsplit(f"https://{record['host']}").hostname
    assert DONE
