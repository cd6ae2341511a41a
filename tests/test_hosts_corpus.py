"""Recorded exchanges with hosts that the vendors' corpus lacks: accumulation, replay, cuts and splits."""

from __future__ import annotations

import json
import random
from typing import Any

import corpus
import pytest
from claude import claude_wire
from openai_chat import chat_wire
from openai_responses import responses_wire
from test_hosts_sessions import bare, sent
from test_mutations import blocks_of, join

import lutum

pytestmark = pytest.mark.corpus

WIRES: dict[corpus.Name, Any] = {
    "claude_messages": claude_wire,
    "openai_chat": chat_wire,
    "openai_responses": responses_wire,
}
KINDS = pytest.mark.parametrize("kind", WIRES)
COMPLETE = {"claude_messages": 79, "openai_chat": 339, "openai_responses": 86}
"""How many of the recorded streams complete, at least."""

# Streams that do not complete, by a part of their id, and why.
INCOMPLETE = {
    "req_llm/test/support/fixtures/groq/meta_llama_llama_4_scout_17b_16e_instruct/object_streaming": (
        "an error of the provider in the stream"
    ),
    "openai-php/client/tests/Fixtures/Streams": "the fixture has no blank lines between its events",
    "chat_completion_invalid_streaming_test_response": "made to be malformed",
    "multimodalRequest/responses/followup-response-streaming": "a dialect of its own (`response.delta`)",
}
# Bodies that are not answers of the dialect, and why.
NOT_ANSWERS = {
    "ChatStoreTests": "the deletion of a stored completion",
    "TestChatKinetica": "a dialect of its own",
}


def read(kind: corpus.Name, record: dict[str, Any], data: bytes) -> list[lutum.Event]:
    """The events of an answer.

    Raises:
      ProviderError: as the decoder.
    """
    decoder, out = WIRES[kind].decoder(scope=record["host"]), list[lutum.Event]()
    decoder.feed(data, out)
    decoder.eof(out)
    return out


def turns(kind: corpus.Name) -> list[tuple[dict[str, Any], list[lutum.Event], lutum.Completed]]:
    """The streams that complete, their events and how they end."""
    found = list[tuple[dict[str, Any], list[lutum.Event], lutum.Completed]]()
    for record in corpus.load(kind, "hosts"):
        if not record["sse"] or any(part in record["id"] for part in INCOMPLETE):
            continue
        events = read(kind, record, record["sse"].encode())
        last = events[-1]
        assert isinstance(last, lutum.Completed), record["id"]
        found.append((record, events, last))
    return found


@KINDS
def test_every_stream_completes_in_hosts_corpus(kind: corpus.Name) -> None:
    """All but the listed ones, each with events that agree with its turn."""
    found = turns(kind)
    assert len(found) >= COMPLETE[kind]
    for record, events, done in found:
        text = "".join(event.text for event in events if isinstance(event, lutum.TextDelta))
        said = "".join(event.text for event in events if isinstance(event, lutum.RefusalDelta))
        assert done.turn.text == text or not text, record["id"]
        assert said == done.turn.refusal, record["id"]
        calls = [e.id for e in events if isinstance(e, lutum.ToolCallReady | lutum.ToolCallIssue)]
        assert calls == [call.id for call in done.turn.tool_calls], record["id"]
        assert len(set(calls)) == len(calls), record["id"]


@KINDS
def test_those_that_do_not_complete(kind: corpus.Name) -> None:
    """Each listed stream fails or is a cut; none of them is a turn."""
    for record in corpus.load(kind, "hosts"):
        if record["sse"] and any(part in record["id"] for part in INCOMPLETE):
            try:
                events = read(kind, record, record["sse"].encode())
            except lutum.ProviderError:
                continue
            assert not any(isinstance(event, lutum.Completed) for event in events), record["id"]


def test_hosts_corpus_agrees_with_the_sdk() -> None:
    """Claude's content is what the vendor's SDK makes of the stream."""
    for record, _, done in turns("claude_messages"):
        if record.get("final") is None or not done.turn.exact:
            continue
        assert bare(json.loads(done.turn.wire)) == bare(record["final"]), record["id"]


@KINDS
def test_hosts_corpus_whole_bodies(kind: corpus.Name) -> None:
    """A body that did not stream is read as well, and makes a turn that says what the body says."""
    seen = 0
    for record in corpus.load(kind, "hosts"):
        body = record["json"]
        if record["sse"] or record["status"] != 200 or not isinstance(body, dict):
            continue
        if any(part in record["id"] for part in NOT_ANSWERS):
            continue
        data = json.dumps(body).encode()
        done = read(kind, record, data)[-1]
        assert isinstance(done, lutum.Completed), record["id"]
        assert read(kind, record, data[:-1]) == [], record["id"]
        seen += 1
    assert seen >= 60


@KINDS
def test_hosts_corpus_errors_are_classed(kind: corpus.Name) -> None:
    """Every recorded error status has a kind and the provider's words."""
    from lutum.dialect.errors import http_error
    from lutum_claude import _errors
    from lutum_openai import ERRORS

    table = _errors.ERRORS if kind == "claude_messages" else ERRORS
    for record in corpus.load(kind, "hosts"):
        if record["status"] < 400:
            continue
        body = b"" if record["json"] is None else json.dumps(record["json"]).encode()
        error = http_error(lutum.Response(record["status"]), body, 0.0, table)
        assert error.kind not in ("unknown", "malformed"), record["id"]
        assert str(error).startswith(str(record["status"])), record["id"]
        assert error.message, record["id"]


@KINDS
def test_hosts_corpus_usage(kind: corpus.Name) -> None:
    """A stream with a usage report is `exact`, and no turn with content is free."""
    for record, _, done in turns(kind):
        usage = done.usage
        assert usage.input_tokens > 0 or usage.known != "exact", record["id"]
        assert usage.output_tokens > 0 or not done.turn.text, record["id"]
        assert usage.cache_read_tokens + usage.cache_write_tokens <= usage.input_tokens, record["id"]
        if usage.known not in ("exact", "estimated", "lower_bound"):
            raise AssertionError(record["id"])


@pytest.mark.slow
@KINDS
def test_hosts_corpus_cut_at_every_event(kind: corpus.Name) -> None:
    """A stream that is cut between two events gives no turn, or the whole one."""
    for record, _, done in turns(kind):
        blocks = blocks_of(record)
        # Only behind the last events can anything be complete; the others are sampled.
        places = {*range(max(1, len(blocks) - 6), len(blocks)), *range(1, len(blocks), 7)}
        for at in sorted(places):
            try:
                events = read(kind, record, join(blocks[:at]))
            except lutum.ProviderError:
                continue
            last = events[-1] if events else None
            if isinstance(last, lutum.Completed):
                assert last.turn.items == done.turn.items, (record["id"], at)


@KINDS
def test_hosts_corpus_splits(kind: corpus.Name) -> None:
    """Whole and split at random places, every stream gives the same events."""
    chance = random.Random(7)
    for record, events, _ in turns(kind):
        data = record["sse"].encode()
        decoder, out, at = WIRES[kind].decoder(scope=record["host"]), list[lutum.Event](), 0
        while at < len(data):
            size = chance.choice((1, 3, 50, 900))
            decoder.feed(data[at : at + size], out)
            at += size
        decoder.eof(out)
        assert out == events, record["id"]


@KINDS
def test_hosts_corpus_replay(kind: corpus.Name) -> None:
    """A turn that is exact is stored, loaded and sent again in its exact form."""
    for record, _, done in turns(kind):
        turn = done.turn
        stored = lutum.ModelInput().user("hi").turn(turn).transcript
        loaded = lutum.Transcript.load(stored.dump())[1]
        assert loaded == turn, record["id"]
        parts = sent(kind, record, turn)
        assert parts or not turn.text, record["id"]
        spoken = b'"audio":{' in turn.wire  # goes back as the id of the audio
        if turn.exact and turn.text.strip() and not spoken:
            assert turn.text in text_of(parts), record["id"]


def text_of(parts: list[Any]) -> str:
    found = list[str]()
    for part in parts:
        content = part.get("content") or ""
        texts = [content] if isinstance(content, str) else content
        found += [text if isinstance(text, str) else text.get("text") or "" for text in texts]
    return "".join(found)
