"""Recorded conversations: request k+1 is what lutum sends with its own turn k.

What stood before the turn, and the results and messages behind it, are equal block for block. The recorders
were other clients, so some assistant messages differ in ways that the API does not read. Each such difference
has a cause in `CAUSES`; any other one fails.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import corpus
import pytest
from claude import claude_wire
from openai_chat import chat_wire
from openai_responses import responses_wire

import lutum
from lutum.abc import TurnRequest
from lutum_claude import from_messages as from_claude
from lutum_openai.chat import from_messages as from_chat
from lutum_openai.responses import from_messages as from_responses

pytestmark = pytest.mark.corpus

WIRES: dict[corpus.Name, Any] = {
    "claude_messages": claude_wire,
    "openai_chat": chat_wire,
    "openai_responses": responses_wire,
}
FROM: dict[corpus.Name, Any] = {
    "claude_messages": from_claude,
    "openai_chat": from_chat,
    "openai_responses": from_responses,
}
INPUT = {"claude_messages": "messages", "openai_chat": "messages", "openai_responses": "input"}
LEAST = {"claude_messages": 30, "openai_chat": 40, "openai_responses": 40}


def messages_of(kind: corpus.Name, record: dict[str, Any]) -> list[Any]:
    request = record["request"]
    given = request.get(INPUT[kind]) if isinstance(request, dict) else None
    return [{"role": "user", "content": given}] if isinstance(given, str) else given or []


def steps(kind: corpus.Name) -> Iterator[tuple[dict[str, Any], list[Any]]]:
    """An exchange, and what the next request of its recording adds to its own."""
    groups = defaultdict[tuple[str, str], list[dict[str, Any]]](list)
    for place in ("streams", "hosts"):
        for record in corpus.load(kind, place):
            groups[record["source_path"], record["host"]].append(record)
    for group in groups.values():
        for earlier, later in pairwise(group):
            said, more = messages_of(kind, earlier), messages_of(kind, later)
            if earlier["status"] == 200 and len(more) > len(said) > 0 and more[: len(said)] == said:
                yield earlier, more[len(said) :]


def turn_of(kind: corpus.Name, record: dict[str, Any]) -> lutum.CommittedTurn | None:
    decoder, out = WIRES[kind].decoder(scope=record["host"]), list[lutum.Event]()
    data = record["sse"] or (json.dumps(record["json"]) if record["json"] else "")
    try:
        decoder.feed(data.encode(), out)
        decoder.eof(out)
    except lutum.ProviderError:
        return None
    last = out[-1] if out else None
    return last.turn if isinstance(last, lutum.Completed) else None


def sent(kind: corpus.Name, record: dict[str, Any], turn: lutum.CommittedTurn) -> list[Any]:
    """What a request holds for the turn alone."""
    given = lutum.ModelInput().user("hi").turn(turn)
    for call in turn.tool_calls:
        given = given.tool_result(call.id, "done")
    model = turn.model or "m"
    if kind == "claude_messages":
        adapter: Any = lutum.ClaudeAdapter(model, api_key="k", base_url=f"https://{record['host']}")
    elif kind == "openai_chat":
        adapter = chat_wire.adapter(record["host"], model)
    else:
        adapter = responses_wire.adapter(model, base_url=f"https://{record['host']}/v1")
    body = json.loads(adapter.prepare(TurnRequest(transcript=given.user("go on").transcript)).body)
    items = body[INPUT[kind]]
    if kind == "openai_responses":
        return [i for i in items[1:-1] if i.get("type") != "function_call_output"]
    return [message for message in items if message["role"] == "assistant"]


def request(
    kind: corpus.Name, record: dict[str, Any], turn: lutum.CommittedTurn, added: list[Any]
) -> list[Any] | None:
    """The input of the next request, from what stood before, lutum's own turn and the results and messages of
    the recording; None when those answer calls that the turn does not have."""
    said, read, host = messages_of(kind, record), FROM[kind], record["host"]
    model = turn.model or "m"
    try:
        before = list(read(said, scope=host, model=model))
        # Read behind the recorder's message, because a result alone is no input.
        after = list(read([*said, *added], scope=host, model=model))[len(before) + 1 :]
        transcript = lutum.Transcript([*before, turn, *after])
    except lutum.TranscriptError:
        return None
    if kind == "claude_messages":
        adapter: Any = lutum.ClaudeAdapter(model, api_key="k", base_url=f"https://{host}")
    elif kind == "openai_chat":
        adapter = chat_wire.adapter(host, model)
    else:
        adapter = responses_wire.adapter(model, base_url=f"https://{host}/v1")
    return json.loads(adapter.prepare(TurnRequest(transcript=transcript)).body)[INPUT[kind]]


def sequence(kind: corpus.Name, messages: list[Any]) -> list[tuple[str, dict[str, Any]]]:
    """The request as a flat sequence of role and block, as promise 7 compares requests."""
    return [(m.get("role", ""), _sent(block)) for m in messages for block in blocks(kind, [m])]


def _sent(block: dict[str, Any]) -> dict[str, Any]:
    """A block without what a request may leave out: the index that a call had in its stream."""
    calls = [{n: v for n, v in call.items() if n != "index"} for call in block.get("tool_calls", ())]
    return {**block, "tool_calls": calls} if calls else block


def bare(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {name: bare(inner) for name, inner in value.items() if name != "cache_control"}
        return {name: inner for name, inner in kept.items() if inner not in (None, [], "", {})}
    return [bare(inner) for inner in value] if isinstance(value, list) else value


def blocks(kind: corpus.Name, messages: list[Any]) -> list[dict[str, Any]]:
    """The parts of the assistant's messages, one dict each."""
    found = list[dict[str, Any]]()
    for message in messages:
        if kind == "openai_responses":
            content = message.get("content")
            if message.get("type", "message") == "message" and isinstance(content, str):
                message = {**message, "content": [{"type": "output_text", "text": content}]}
            found.append({"type": "message", **message})
        elif kind == "claude_messages":
            content = message["content"]
            found += [{"type": "text", "text": content}] if isinstance(content, str) else content
        else:
            content = message.get("content")
            if isinstance(content, list) and all(part.get("type") == "text" for part in content):
                message = {**message, "content": "".join(part["text"] for part in content)}
            calls = [dict(sorted(call.items())) for call in message.get("tool_calls") or ()]
            found.append({"type": "message", **message, "tool_calls": calls})
    return [bare(block) for block in found]


def own(kind: corpus.Name, added: list[Any]) -> list[Any]:
    """Of what a request adds, the assistant's part at its beginning."""
    found = list[Any]()
    for message in added:
        of_model = message.get("role") == "assistant" or (
            kind == "openai_responses"
            and "role" not in message
            and (message.get("execution") == "server" or not message.get("type", "").endswith("_output"))
        )
        if not of_model:
            break
        found.append(message)
    return found


CAUSES = {
    "reworded": "the recorder sent other words than it had received",
    "part": "the recorder left a part of the answer out: reasoning, a server tool's steps, or an empty text",
    "member": "the recorder left out, or added, members that the API ignores in requests",
    "joined": "the recorder joined texts into one, or split one",
    "renamed": "the recorder gave calls ids of its own",
    "ids": "the next request answers calls by ids that the answer does not have, or not all of them",
    "other": "the file holds several answers to one prompt, and the next request continues another one",
}

# Members that the recorded message has otherwise, and why.
OTHERWISE = {
    "content": "the recording was shortened",
    "arguments": "the recorder wrote the arguments of a hosted tool search in words of its own",
    "action": "the recorder left out the sources of a search",
    "tool_calls": "the recorder wrote {} for arguments that came as an empty string",
    "reasoning": "at that host reasoning_details carry the same reasoning",
    "reasoning_details": "the recorder joined or shortened the details",
}


def explain(kind: corpus.Name, mine: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> str | None:
    """Return the cause of a difference; None when the parts are equal.

    Raises:
      AssertionError: lutum lost something that the recorder sent back.
    """
    if mine == theirs:
        return None
    words, other = ("".join(_texts(part)) for part in (mine, theirs))
    calls, told = (Counter(_calls(part)) for part in (mine, theirs))
    if calls != told and Counter(id_less(calls)) == Counter(id_less(told)):
        return "renamed"
    if told and not told & calls and words == other == "":
        return "other"
    assert not told - calls or words != other, (mine, theirs)
    if calls != told or words != other:
        return "reworded" if words and other and words != other else "part"
    if len(mine) != len(theirs):
        return "joined" if len(theirs) > len(mine) else "part"
    for ours, recorded in zip(mine, theirs, strict=True):
        gone = {name for name in recorded if recorded[name] != ours.get(name)}
        assert gone <= OTHERWISE.keys(), (gone, ours, recorded)
    return "member"


def id_less(calls: Counter[str]) -> list[str]:
    return [json.dumps(json.loads(call)[1:]) for call in calls.elements()]


def _texts(parts: Any) -> Iterator[str]:
    for part in parts if isinstance(parts, list) else [parts]:
        if isinstance(part, str):
            yield part
        elif part.get("type") in ("text", "output_text"):
            yield part.get("text", "")
        elif part.get("type") == "message":
            yield from _texts(part.get("content", []))


def _calls(parts: list[dict[str, Any]]) -> Iterator[str]:
    for part in parts:
        if part.get("type") == "tool_use":
            yield json.dumps([part["id"], part["name"], part.get("input", {})], sort_keys=True)
        elif part.get("type") == "function_call":
            yield json.dumps([part["call_id"], part["name"], _value(part.get("arguments", "{}"))])
        for call in part.get("tool_calls", []) if part.get("type") == "message" else []:
            function = call.get("function", {})
            yield json.dumps([call.get("id"), function.get("name"), _value(function.get("arguments", "{}"))])


def _value(arguments: Any) -> Any:
    try:
        return json.dumps(json.loads(arguments), sort_keys=True)
    except (TypeError, ValueError):
        return arguments


@pytest.mark.parametrize("kind", WIRES)
def test_the_next_request(kind: corpus.Name) -> None:
    """Each next request of a recorded conversation is the one that lutum sends, up to listed causes."""
    causes, compared = Counter[str](), 0
    for record, added in steps(kind):
        turn, theirs = turn_of(kind, record), own(kind, added)
        if turn is None or not theirs:
            continue
        compared += 1
        body = request(kind, record, turn, added)
        if body is None:
            causes["ids"] += 1
            continue
        mine, recorded = sequence(kind, body), sequence(kind, [*messages_of(kind, record), *added])
        before = len(sequence(kind, messages_of(kind, record)))
        behind = len(sequence(kind, added[len(theirs) :]))
        ours = [block for _, block in mine[before : len(mine) - behind]]
        cause = explain(kind, ours, [block for _, block in recorded[before : len(recorded) - behind]])
        if cause is not None:
            causes[cause] += 1
        assert mine[:before] == recorded[:before]
        assert mine[len(mine) - behind :] == recorded[len(recorded) - behind :]
    print(f"{kind}: {compared} next requests, {compared - causes.total()} equal, {dict(causes)} differ")
    assert compared >= LEAST[kind]
    assert causes.keys() <= CAUSES.keys()
    assert causes["ids"] <= 10
