"""Recorded exchanges with Bedrock, Azure and Vertex: their addresses, their answers, and exact replay."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import cloud_places as places
import pytest

import lutum
from lutum.abc import TurnRequest

pytestmark = pytest.mark.corpus

# Recorders write placeholders for hosts, and two doors are not this adapter's: Foundry's older `/models`,
# and InvokeModel, whose bodies are those of Chat Completions.
OTHER_ADDRESSES = re.compile(r"^bedrock\.api\.|^fake-azure-endpoint|/models/chat/completions$|/invoke$")
GEMINI = re.compile(r"/publishers/google/|/v1beta/models/")
HAND_MADE = "FirebaseExtended/vertexai-sdk-test-data/"


def asked(record: dict[str, Any], transcript: lutum.Transcript) -> Any:
    return places.adapter_of(record).prepare(TurnRequest(transcript=transcript))


HI = lutum.ModelInput().user("hi")


def answered() -> Iterator[tuple[dict[str, Any], list[lutum.Event]]]:
    for record in places.records():
        if record["status"] != 200:
            continue
        adapter, prepared = places.adapter_of(record), asked(record, HI.transcript)
        out = list[lutum.Event]()
        if record.get("sse"):
            decoder = adapter.decoder(prepared, lutum.Response(status=200))
            decoder.feed(record["sse"].encode(), out)
            decoder.eof(out)
        elif record.get("json") is not None:
            out = adapter.read_body(prepared, json.dumps(record["json"]).encode())
        else:
            out = adapter.read_body(prepared, (record.get("text") or "").encode())
        yield record, out


def test_clouds_recorded_addresses() -> None:
    """The door, the region, the prefix of the model and the deployment give the recorded address."""
    checked = 0
    for record in places.records():
        theirs, ours = places.urls_of(record, asked(record, HI.transcript))
        if not OTHER_ADDRESSES.search(theirs) and not GEMINI.search(theirs):
            assert ours == theirs, record["id"]
            checked += 1
    assert checked > 150


def test_answers_replay_exactly() -> None:
    """Each answer is a whole, exact turn, and goes back exactly to the door it came from after a dump."""
    exact = 0
    for record, events in answered():
        if not events or not isinstance(done := events[-1], lutum.Completed):
            assert record["id"].startswith(HAND_MADE), record["id"]
            continue
        turn = done.turn
        assert turn.exact, (record["id"], turn.inexact_reason)
        sent = HI.turn(turn)
        for call in turn.tool_calls:
            sent = sent.tool_result(call.id, "ok")
        if not turn.tool_calls:
            sent = sent.user("go on")
        loaded = lutum.Transcript.load(sent.transcript.dump())
        assert loaded[1] == turn, record["id"]
        prepared = asked(record, loaded)
        assert prepared.forms[0].exact, (record["id"], prepared.forms[0].reason)
        assert prepared.body == asked(record, sent.transcript).body, record["id"]
        exact += 1
    assert exact > 400


def test_usage_is_exact() -> None:
    """Every door reports what a turn used; only where a recorder or a server left it out is it estimated."""
    for record, events in answered():
        if events and isinstance(done := events[-1], lutum.Completed) and done.usage.known != "exact":
            reported = re.search(r'"usage": ?\{', record.get("sse") or "")
            assert reported is None or record["id"].startswith(HAND_MADE), record["id"]


def test_errors_have_a_kind() -> None:
    """A recorded refusal is classed, whether it has the provider's shape or the cloud's."""
    for record in places.records():
        if record["status"] == 200:
            continue
        body = json.dumps(record["json"]).encode() if record.get("json") is not None else b""
        headers = {name.lower(): value for name, value in (record.get("response_headers") or {}).items()}
        response = lutum.Response(status=record["status"], headers=headers)
        error = places.adapter_of(record)._refused(response, body)
        assert error.kind != "unknown", record["id"]
        assert error.message, record["id"]
