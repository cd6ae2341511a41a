"""Requests only grow, and what was committed goes back exactly: for random conversations, against a provider
that signs its reasoning and refuses it behind anything else; in three hash seeds and in two processes.

Run as a program, this file has a conversation and prints a digest of each request that it sent.
"""

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from hypothesis import given, settings, strategies as st

import lutum
from lutum import CommittedTurn, Lutum, NeedsTools, Session, TextResult, Toolset, Transcript, raw_tool
from lutum.abc import Prepared, TurnRequest
from lutum.testing import ScriptedAdapter, strategies
from lutum.testing.wire import Block, Call, RedactedThink, Reply, Say, Think, WireRequest, WireServer
from lutum_claude import ClaudeAdapter, ClaudeOptions

OBJECT: dict[str, Any] = {"type": "object", "properties": {}}
ADD, SUB, MUL = (raw_tool(name, OBJECT, f"Does {name}.") for name in ("add", "sub", "mul"))
TOOLSETS: list[Toolset[Any] | None] = [
    None,
    Toolset(ADD, SUB),
    Toolset(ADD),
    Toolset(SUB, MUL),
    Toolset(raw_tool("add", OBJECT, "Does add, otherwise.")),
]
MOVES = [
    "push",
    "turn",
    "turn",
    "late system",
    "ephemeral",
    "ephemeral system",
    "fork",
    "switch",
    "tools",
    "reload",
]

# One that binds its thinking and takes system messages anywhere, and one that does neither.
MODELS = {
    "claude-opus-5-5": ClaudeOptions(thinking="adaptive"),
    "claude-sonnet-4-5": ClaudeOptions(thinking=1024),
}


def answer(request: WireRequest) -> Reply:
    """What the model says: a function of the request alone, so that it says the same in every process."""
    body = request.json
    number = len(body["messages"])
    thought = [Think(f"thought {number}"), Think(), RedactedThink(), Think("again")][number % 4]
    cited = {"type": "char_location", "cited_text": "x", "document_index": 0, "start_char_index": 0}
    said = Say(f"answer {number}\u2028", citations=[{**cited, "end_char_index": 1, "document_title": None}])
    offered = body.get("tools") and body.get("tool_choice", {}).get("type") != "none"
    if offered and number % 3:
        names = [tool["name"] for tool in body["tools"]]
        calls = [
            Call(name, f'{{"n": 1e{number}}}', f"toolu_{number}_{i}") for i, name in enumerate(names[:2])
        ]
        return Reply(thought, said, *calls)
    return Reply(thought, said, Block('{"type":"text","text":" "}'))


class Talk:
    """Some sessions on one adapter, each with the requests whose turns were committed to it."""

    def __init__(
        self, adapter: lutum.abc.Adapter, transcript: Transcript | None = None, tools: int = 0
    ) -> None:
        self.adapter = adapter
        self.sessions = [Session(Lutum(adapter), transcript)]
        self.requests: list[list[TurnRequest]] = [[]]
        self.tools = tools
        self.at = 0
        if transcript is None:
            self.session.push_system("You are concise.")
            self.session.push_user("Hello.")

    @property
    def session(self) -> Session:
        return self.sessions[self.at]

    async def play(self, moves: list[str]) -> None:
        for number, move in enumerate(moves):
            await self.move(move, number)

    async def move(self, move: str, number: int) -> None:
        session = self.session
        match move:
            case "push":
                session.push_user(f"push {number}")
            case "late system":
                session.push_system(f"from now on {number}")
            case "ephemeral":
                session.push_ephemeral_user(f"hint {number}")
            case "ephemeral system":
                session.push_ephemeral_system(f"reminder {number}")
            case "fork":
                self.sessions.append(session.fork())
                self.requests.append(list(self.requests[self.at]))
            case "switch":
                self.at = (self.at + 1) % len(self.sessions)
            case "tools":
                self.tools = (self.tools + 1) % len(TOOLSETS)
            case "reload":
                session.transcript = Transcript.load(session.transcript.dump())
            case _:
                await self.turn(number)

    async def turn(self, number: int) -> None:
        """Ask, answer the calls, and commit: one request, and its law."""
        session = self.session
        last = session.transcript[-1]
        if isinstance(last, CommittedTurn) or (isinstance(last, lutum.Message) and last.role != "user"):
            session.push_user(f"turn {number}")
        builder = session.text_turn().max_output_tokens(2048)
        tools = TOOLSETS[self.tools]
        shown = builder.preview() if tools is None else builder.tools(tools).preview()
        outcome = await (builder.collect() if tools is None else builder.tools(tools).collect())
        if isinstance(outcome, NeedsTools):
            result = outcome.round.result
            session.commit_round(outcome.round, [call.complete("done") for call in outcome.round.calls])
        else:
            result = outcome if isinstance(outcome, TextResult) else outcome.result
            session.commit_text(result)
        assert result.turn.inexact_reason == shown.inexact_reason
        strategies.check_rounds(session.transcript)
        self.requests[self.at].append(result._request)


def provider(model: str) -> WireServer:
    """Models with a thinking budget check signatures, and not what stands before them."""
    return WireServer(answer, bind_prefix=MODELS[model].thinking == "adaptive")


@contextmanager
def claude(model: str, server: WireServer) -> Iterator[ClaudeAdapter]:
    client = server.connect
    yield ClaudeAdapter(model, api_key="k", base_url=server.url, http_client=client, options=MODELS[model])


def flat(prepared: Prepared) -> tuple[Any, list[Any]]:
    """The part of a request that later requests repeat: the head, then (role, block) in order."""
    body = without_marks(json.loads(prepared.body, parse_float=str, parse_int=str))
    blocks = [(message["role"], block) for message in body["messages"] for block in message["content"]]
    return (body.get("system"), body.get("tools")), blocks


def without_marks(value: Any) -> Any:
    if isinstance(value, list):
        return [without_marks(one) for one in value]
    if isinstance(value, dict):
        return {name: without_marks(one) for name, one in value.items() if name != "cache_control"}
    return value


def check_growth(adapter: ClaudeAdapter, requests: list[TurnRequest]) -> None:
    """`check_prefix`, and the same again read from the bodies, between requests without ephemerals."""
    strategies.check_prefix(adapter, requests)
    prepared = [adapter.prepare(request) for request in requests if not request.ephemerals]
    for earlier, later in pairwise(one for one in prepared if one.inexact_reason is None):
        (head, blocks), (later_head, later_blocks) = flat(earlier), flat(later)
        assert later_head == head
        assert later_blocks[: len(blocks)] == blocks


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=25)
@given(moves=st.lists(st.sampled_from(MOVES), min_size=6, max_size=24))
async def test_replay_laws_requests_only_grow_or_say_why(model: str, moves: list[str]) -> None:
    """Every committed request is a prefix of the next, or its turn says why not; none is refused."""
    server = provider(model)
    with claude(model, server) as adapter:
        talk = Talk(adapter)
        await talk.play([*moves, "turn", "push", "turn"])
        for requests in talk.requests:
            check_growth(adapter, requests)
        for session in talk.sessions:
            strategies.check_replay(session.transcript)
        await adapter.aclose()
    assert [request.error for request in server.requests if request.error is not None] == []
    assert all(request.transformations == [] for request in server.requests)


@given(moves=st.lists(st.sampled_from(MOVES), min_size=6, max_size=24))
async def test_requests_only_grow_without_a_wire(moves: list[str]) -> None:
    """The same conversations with `ScriptedAdapter`."""
    adapter = ScriptedAdapter([[f"answer {i}"] for i in range(30)])
    talk = Talk(adapter)
    await talk.play([*moves, "turn"])
    for requests in talk.requests:
        strategies.check_prefix(adapter, [r for r in requests if not r.ephemerals])


# The same bytes wherever and whenever.


async def converse(model: str, seed: int, moves: int, saved: bytes, half: bool) -> tuple[list[str], bytes]:
    """A conversation from a seed, or a half of it: a digest of each request, and what to save."""
    chance = random.Random(seed)
    script = [
        chance.choice([move for move in MOVES if move not in ("fork", "switch")]) for _ in range(2 * moves)
    ]
    server = provider(model)
    with claude(model, server) as adapter:
        if saved:
            tools, _, dump = saved.partition(b"\n")
            talk = Talk(adapter, Transcript.load(dump), int(tools))
        else:
            talk = Talk(adapter)
            await talk.play([*script[:moves], "turn"])
        if not half:
            await talk.play([*script[moves:], "turn"])
        await adapter.aclose()
    assert all(request.error is None for request in server.requests)
    digests = [sha256(request.body).hexdigest() for request in server.requests]
    return digests, b"%d\n" % talk.tools + talk.session.transcript.dump()


def in_a_process(hash_seed: str, *args: object) -> list[str]:
    run = subprocess.run(
        [sys.executable, __file__, *map(str, args)],
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.split()


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_requests_are_the_same_in_every_process(model: str, tmp_path: Path) -> None:
    """Under three hash seeds, and when a second process goes on from the file of a first: byte for byte."""
    whole = in_a_process("0", model, 7, 12)
    assert len(whole) > 6
    assert in_a_process("1", model, 7, 12) == whole
    file = tmp_path / "saved"
    first = in_a_process("2", model, 7, 12, "-", file)
    second = in_a_process("1", model, 7, 12, file)
    assert first + second == whole


# Exactness, turn by turn.


@given(data=st.data())
def test_drawn_turns_are_what_the_adapter_makes(data: st.DataObject) -> None:
    """`strategies.turns` knows the dialect: the adapter reads the same view from the same wire."""
    from lutum_claude._turn import turn_from_message

    with claude("claude-sonnet-4-5", WireServer()) as adapter:
        turn = data.draw(strategies.turns(adapter))
        assert turn_from_message(turn.wire, scope=turn.scope).items == turn.items
        strategies.check_replay(turn, adapter=adapter)


@given(data=st.data())
def test_an_exact_turn_goes_out_as_it_came(data: st.DataObject) -> None:
    """Every block of its wire, lexeme by lexeme, at its place in the request; a foreign turn as its view."""
    with claude("claude-sonnet-4-5", WireServer()) as adapter:
        turn = msgspec.structs.replace(data.draw(strategies.turns(adapter)), model="claude-sonnet-4-5")
        transcript = lutum.ModelInput().user("u").turn(turn).transcript
        for call in turn.tool_calls:
            transcript = transcript.append(lutum.ToolResult(call.id, (lutum.Text("done"),)))
        transcript = transcript.append(lutum.Message("user", (lutum.Text("and?"),)))
        prepared = adapter.prepare(TurnRequest(transcript=transcript))
        assert [form.exact for form in prepared.forms] == [True]
        wire = json.loads(turn.wire, parse_float=str, parse_int=str)["content"]
        sent = [block for role, block in flat(prepared)[1] if role == "assistant"]
        assert sent == wire
        foreign = msgspec.structs.replace(turn, scope="elsewhere")
        again = adapter.prepare(TurnRequest(transcript=transcript.replace(1, foreign)))
        assert [form.exact for form in again.forms] == [False]
        assert again.forms[0].reason


@pytest.mark.slow
@given(data=st.data())
def test_any_transcript_can_be_sent_and_is_the_same_after_loading_in_replay_laws(data: st.DataObject) -> None:
    """Mixed turns of several adapters, media, late system items: saved and loaded, the same request."""
    with claude("claude-opus-5-5", WireServer()) as adapter:
        transcript = data.draw(strategies.transcripts(adapter))
        strategies.check_replay(transcript, adapter=adapter)


@pytest.mark.slow
@given(data=st.data())
async def test_event_streams_amount_to_their_turn(data: st.DataObject) -> None:
    """Drawn events, streamed, give the text, the calls and the usage that they say."""
    events = data.draw(strategies.event_streams(ScriptedAdapter()))
    last = events[-1]
    assert isinstance(last, lutum.Completed)
    tools = Toolset(*(raw_tool(name, OBJECT) for name in {call.name for call in last.turn.tool_calls}))
    builder = Lutum(ScriptedAdapter([events[1:]])).text_turn("u").tools(tools)
    async with builder.stream() as turn:
        seen = [event async for event in turn]
    assert len(seen) == len(events)
    outcome = turn.result
    result = outcome.round.result if isinstance(outcome, NeedsTools) else outcome.result
    assert (result.text, result.reasoning) == (turn.partial.text, turn.partial.reasoning)
    assert msgspec.structs.replace(result.turn, tools=()) == last.turn
    assert result.usage == last.usage


@given(data=st.binary(max_size=40), draw=st.data())
def test_chunkings_lose_nothing(data: bytes, draw: st.DataObject) -> None:
    """Whatever the cuts, the pieces are the data."""
    assert b"".join(draw.draw(strategies.chunkings(data))) == data


def test_request_1001_encodes_one_item() -> None:
    """A conversation of 1,000 items is encoded once; the next request encodes what was added."""
    import lutum_claude._items as items

    with claude("claude-sonnet-4-5", WireServer()) as adapter:
        turn = CommittedTurn(
            "claude",
            adapter.scope,
            "claude-sonnet-4-5",
            b'{"content":[{"type":"text","text":"x"}]}',
            (lutum.TextItem("x"),),
        )
        transcript = lutum.ModelInput().user("u").transcript
        for i in range(500):
            transcript = transcript.append(turn).append(lutum.Message("user", (lutum.Text(str(i)),)))
        adapter.prepare(TurnRequest(transcript=transcript))
        calls = list[object]()
        original = items.ClaudeItemEncoder.__call__

        def counting(self: Any, item: Any, before: Any) -> Any:
            calls.append(item)
            return original(self, item, before)

        longer = transcript.append(turn).append(lutum.Message("user", (lutum.Text("one more"),)))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(items.ClaudeItemEncoder, "__call__", counting)
            adapter.prepare(TurnRequest(transcript=longer))
            assert calls == list(longer)[-2:]
            adapter.prepare(TurnRequest(transcript=longer))
            assert len(calls) == 2


def main(model: str, seed: str, moves: str, saved: str = "-", to: str | None = None) -> None:
    before = b"" if saved == "-" else Path(saved).read_bytes()
    digests, after = anyio.run(converse, model, int(seed), int(moves), before, to is not None)
    if to is not None:
        Path(to).write_bytes(after)
    print(*digests)


if __name__ == "__main__":
    main(*sys.argv[1:])
