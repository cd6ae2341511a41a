"""The laws for Gemini: requests only grow, committed turns go back exactly, rounds are whole, and mutated
recordings raise nothing but the one documented error."""

from __future__ import annotations

import json
import os
import random
from itertools import pairwise
from typing import Any

import pytest
from gemini.gemini_wire import FOUR, THREE, TWO, at, bytes_of, decoder, recordings, sent
from hypothesis import given, settings, strategies as st
from test_replay_laws import MOVES, Talk

import lutum
import lutum.abc
from lutum.testing import strategies
from lutum.testing.wire import Block, Call, Reply, Say, Think, WireRequest, WireServer
from lutum_gemini import from_messages, to_messages, to_system


def answer(request: WireRequest) -> Reply:
    """What the model says: a function of the request alone."""
    body = request.json
    number = len(body["contents"])
    mode = body.get("toolConfig", {}).get("functionCallingConfig", {}).get("mode")
    names = [one["name"] for tool in body.get("tools", []) for one in tool.get("functionDeclarations", [])]
    thought = [Think(f"thought {number}")] if number % 2 else []
    if names and mode != "NONE" and number % 3:
        calls = [Call(name, f'{{"n": 1e{number}}}') for name in names[:2]]
        return Reply(*thought, Say(f"answer {number}\u2028"), *calls)
    code = [Block({"executableCode": {"language": "PYTHON", "code": "1"}})] if number % 4 == 0 else []
    return Reply(*thought, *code, Say(f"answer {number}"))


@pytest.mark.parametrize("model", [TWO, THREE, FOUR])
@settings(max_examples=20)
@given(moves=st.lists(st.sampled_from(MOVES), min_size=6, max_size=20))
async def test_gemini_requests_only_grow_or_say_why(model: str, moves: list[str]) -> None:
    """Every committed request is a prefix of the next, or its turn says why not; none is refused."""
    server = WireServer(answer)
    adapter = at(server, model)
    talk = Talk(adapter)
    await talk.play([*moves, "turn", "push", "turn"])
    for requests in talk.requests:
        strategies.check_prefix(adapter, requests)
        prepared = [adapter.prepare(request) for request in requests if not request.ephemerals]
        for earlier, later in pairwise(one for one in prepared if one.inexact_reason is None):
            assert sent(later)[: len(sent(earlier))] == sent(earlier)
    for session in talk.sessions:
        strategies.check_replay(session.transcript)
        asked = session.transcript.append(lutum.Message("user", (lutum.Text("And?"),)))
        strategies.check_replay(asked, adapter=adapter)
    assert [request.error for request in server.requests if request.error is not None] == []


@given(data=st.data())
def test_any_transcript_can_be_sent_and_is_the_same_after_loading_in_gemini(data: st.DataObject) -> None:
    """Mixed turns of several adapters, late system items and standalone results."""
    adapter = at(WireServer(), THREE)
    transcript = data.draw(strategies.transcripts(adapter))
    strategies.check_replay(transcript, adapter=adapter)


PARTS = st.one_of(
    st.builds(lambda words: {"text": words}, st.text(max_size=5)),
    st.builds(lambda words: {"text": words, "thought": True}, st.text(max_size=5)),
    st.builds(lambda words: {"text": words, "thoughtSignature": "c2ln"}, st.text(max_size=5)),
    st.sampled_from(
        [
            {"functionCall": {"name": "look", "args": {"n": 1e2}}, "thoughtSignature": "c2ln"},
            {"functionCall": {"name": "look"}},
            {"function_call": {"name": "look", "args": {}}, "thought_signature": "c2ln"},
            {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}},
            {"fileData": {"fileUri": "https://a.example/b"}},
            {"functionResponse": {"name": "look", "response": {"output": "x"}}},
            {"functionResponse": {"id": "i", "name": "look", "response": {"error": "x"}, "parts": []}},
            {"newThing": {"weight": 1.50}},
        ]
    ),
)
CONTENTS = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "model"]), "parts": st.lists(PARTS, min_size=1, max_size=3)}
    ),
    max_size=6,
)


@given(contents=CONTENTS, system=st.none() | st.text(max_size=5))
def test_contents_come_back(contents: list[Any], system: str | None) -> None:
    """Whatever contents are read, the same JSON is written."""
    body: dict[str, Any] = {"contents": contents}
    if system is not None:
        body["systemInstruction"] = {"parts": [{"text": system}]}
    transcript = from_messages(json.dumps(body))
    assert json.loads(to_messages(transcript)) == contents
    made = to_system(transcript)
    assert (None if made is None else json.loads(made)) == body.get("systemInstruction")
    assert lutum.Transcript.load(transcript.dump()) == transcript


MUTATIONS = int(os.environ.get("LUTUM_MUTATIONS", "3000"))


@pytest.mark.corpus
def test_mutated_recordings() -> None:
    """Frames lost, repeated, swapped or damaged: events, the one documented error, or nothing."""
    chance = random.Random(17)
    streams = [record for record in recordings() if record["sse"] and len(record["sse"]) < 30_000]
    for _ in range(MUTATIONS):
        record = chance.choice(streams)
        blocks = bytes_of(record).replace(b"\r\n", b"\n").split(b"\n\n")
        for _ in range(chance.choice((1, 1, 3))):
            blocks = mutated(blocks, chance)
        reading, out = decoder(record["model"] or TWO), list[lutum.Event]()
        try:
            reading.feed(b"\n\n".join(blocks), out)
            reading.eof(out)
        except lutum.ProviderError:
            assert not any(isinstance(event, lutum.Completed) for event in out), record["id"]
        ends = [i for i, event in enumerate(out) if isinstance(event, lutum.Completed)]
        assert ends in ([], [len(out) - 1]), record["id"]


def mutated(blocks: list[bytes], chance: random.Random) -> list[bytes]:
    place = chance.randrange(len(blocks))
    match chance.randrange(6):
        case 0:
            return blocks[:place] + blocks[place + 1 :] or [b""]
        case 1:
            return blocks[: place + 1] + blocks[place:]
        case 2:
            return [*blocks[:place], *reversed(blocks[place : place + 2]), *blocks[place + 2 :]]
        case 3:
            return [
                *blocks[:place],
                blocks[place][: chance.randrange(len(blocks[place]) + 1)],
                *blocks[place + 1 :],
            ]
        case 4 if blocks[place].startswith(b"data: {"):
            return [*blocks[:place], misused(blocks[place], chance), *blocks[place + 1 :]]
        case _:
            data = bytearray(blocks[place])
            if data:
                data[chance.randrange(len(data))] = chance.randrange(256)
            return [*blocks[:place], bytes(data), *blocks[place + 1 :]]


def misused(block: bytes, chance: random.Random) -> bytes:
    """One member is missing, or of another type."""
    try:
        whole = json.loads(block[6:])
    except ValueError:
        return block
    places = list[tuple[Any, Any]]()
    stack = [whole]
    while stack:
        value = stack.pop()
        for name in value if isinstance(value, dict) else range(len(value)):
            places.append((value, name))
            if isinstance(value[name], dict | list):
                stack.append(value[name])
    if not places:
        return block
    inner, name = chance.choice(places)
    inner[name] = chance.choice([None, 1, -1, 1e300, "x", "\ud800", [], {}, True, [[[]]]])
    return b"data: " + json.dumps(whole).encode()
