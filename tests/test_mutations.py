"""Recorded streams with something done to them: whatever it is, a decoder gives events, the one documented
error, or nothing; what is no whole turn is none, and what says nothing new changes nothing."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import corpus
import pytest
from claude import claude_wire
from openai_chat import chat_wire
from openai_responses import responses_wire

import lutum

pytestmark = pytest.mark.corpus

WIRES: dict[corpus.Name, Any] = {
    "claude_messages": claude_wire,
    "openai_chat": chat_wire,
    "openai_responses": responses_wire,
}
# Without one of these no stream of that protocol is whole. Chat has no such event.
TERMINAL = {
    "claude_messages": ("message_stop",),
    "openai_chat": (),
    "openai_responses": ("response.completed", "response.incomplete"),
}
STREAMS = 60
KINDS = pytest.mark.parametrize("kind", WIRES)


def blocks_of(record: dict[str, Any]) -> list[bytes]:
    data = record["sse"].replace("\r\n", "\n").encode()
    return [block for block in data.split(b"\n\n") if block.strip()]


def read(kind: corpus.Name, record: dict[str, Any], data: bytes) -> list[lutum.Event] | lutum.ProviderError:
    """The events of a stream; anything but them and the one documented error fails the test."""
    decoder, out = WIRES[kind].decoder(scope=record["host"]), list[lutum.Event]()
    try:
        decoder.feed(data, out)
        decoder.eof(out)
    except lutum.ProviderError as error:
        assert not any(isinstance(event, lutum.Completed) for event in out), record["id"]
        return error
    ends = [at for at, event in enumerate(out) if isinstance(event, lutum.Completed)]
    assert ends in ([], [len(out) - 1]), record["id"]
    return out


def turn_of(events: list[lutum.Event] | lutum.ProviderError) -> lutum.CommittedTurn | None:
    if isinstance(events, list) and events and isinstance(events[-1], lutum.Completed):
        return events[-1].turn
    return None


def whole(kind: corpus.Name, seed: int) -> Iterator[tuple[dict[str, Any], list[bytes], lutum.CommittedTurn]]:
    """Some of the recorded streams that complete, in pieces, and the turn that each is."""
    records = [record for record in corpus.load(kind) if record["sse"] and len(record["sse"]) < 40_000]
    for record in random.Random(seed).sample(records, min(STREAMS, len(records))):
        blocks = blocks_of(record)
        turn = turn_of(read(kind, record, join(blocks)))
        if turn is not None:
            yield record, blocks, turn


def join(blocks: list[bytes], end: bytes = b"\n\n") -> bytes:
    return end.join(blocks) + end


def drop(blocks: list[bytes], at: int, chance: random.Random) -> list[bytes]:
    return blocks[:at] + blocks[at + 1 :]


def repeat(blocks: list[bytes], at: int, chance: random.Random) -> list[bytes]:
    return blocks[: at + 1] + blocks[at:]


def swap(blocks: list[bytes], at: int, chance: random.Random) -> list[bytes]:
    return [*blocks[:at], *reversed(blocks[at : at + 2]), *blocks[at + 2 :]]


def shuffle(blocks: list[bytes], at: int, chance: random.Random) -> list[bytes]:
    return chance.sample(blocks, len(blocks))


def damage(blocks: list[bytes], at: int, chance: random.Random) -> list[bytes]:
    """One byte is another."""
    data = bytearray(blocks[at])
    data[chance.randrange(len(data))] = chance.randrange(256)
    return [*blocks[:at], bytes(data), *blocks[at + 1 :]]


def misuse(blocks: list[bytes], at: int, chance: random.Random) -> list[bytes]:
    """One member is missing, or of another type."""
    lines = blocks[at].split(b"\n")
    found = [n for n, line in enumerate(lines) if line.startswith(b"data: {")]
    if not found:
        return blocks
    event = json.loads(lines[found[0]][6:])
    places = list(members(event))
    inner, name = chance.choice(places)
    other = chance.choice([None, 1, -1, 1e300, "x", "\ud800", [], {}, True, [[[]]], "gone"])
    if other == "gone":
        del inner[name]
    else:
        inner[name] = other
    lines[found[0]] = b"data: " + json.dumps(event).encode()
    return [*blocks[:at], b"\n".join(lines), *blocks[at + 1 :]]


def members(value: Any) -> Iterator[tuple[Any, Any]]:
    for name in value if isinstance(value, dict) else range(len(value)):
        yield value, name
        if isinstance(value[name], dict | list):
            yield from members(value[name])


Mutation = Callable[[list[bytes], int, random.Random], list[bytes]]


@pytest.mark.slow
@KINDS
@pytest.mark.parametrize("mutate", [drop, repeat, swap, shuffle, damage, misuse])
def test_what_happens_to_a_stream(kind: corpus.Name, mutate: Mutation) -> None:
    """Events lost, told twice, in another order or damaged: no other exception, no turn without its end."""
    chance = random.Random(11)
    for record, blocks, _ in whole(kind, 1):
        last = len(blocks) - 1
        for at in {last, max(0, last - 1), *(chance.randrange(len(blocks)) for _ in range(6))}:
            data = join(mutate(blocks, at, chance))
            turn = turn_of(read(kind, record, data))
            ends = TERMINAL[kind]
            assert turn is None or not ends or any(end.encode() in data for end in ends), record["id"]


SILENT = [
    b'event: brand.new\ndata: {"type":"brand.new","x":[1,{"y":null}]}',
    b'data: {"type":"brand.new"}',
    b": a comment",
    b"retry: 10",
    b"id: 7",
    b"event: nothing",
    b"data:",
    b"data: ",
]


@KINDS
@pytest.mark.parametrize("silent", SILENT, ids=[block.decode().split("\n")[0] for block in SILENT])
def test_what_says_nothing_new_in_mutations(kind: corpus.Name, silent: bytes) -> None:
    """Unknown events, comments and empty data change no turn, wherever they stand."""
    chance = random.Random(12)
    for record, blocks, turn in whole(kind, 2):
        for at in (0, chance.randrange(len(blocks)), len(blocks) - 1):
            data = join([*blocks[:at], silent, *blocks[at:]])
            assert turn_of(read(kind, record, data)) == turn, (record["id"], at)


@KINDS
def test_how_lines_end(kind: corpus.Name) -> None:
    """CRLF, CR and a byte order mark are no part of an event; `[DONE]` matters to Chat alone."""
    for record, blocks, turn in whole(kind, 3):
        crlf = join([block.replace(b"\n", b"\r\n") for block in blocks], b"\r\n\r\n")
        for data in (crlf, join(blocks).replace(b"\n", b"\r"), b"\xef\xbb\xbf" + join(blocks)):
            assert turn_of(read(kind, record, data)) == turn, record["id"]
        if kind != "openai_chat":
            left = [block for block in blocks if b"[DONE]" not in block]
            assert turn_of(read(kind, record, join(left))) == turn, record["id"]


@KINDS
def test_members_that_nobody_knows(kind: corpus.Name) -> None:
    """A further member in each event is kept or passed over; the turn completes and says the same."""
    for record, blocks, turn in whole(kind, 4):
        more = [block.replace(b"data: {", b'data: {"new":{"a":[1e2,null]},', 1) for block in blocks]
        found = turn_of(read(kind, record, join(more)))
        assert found is not None, record["id"]
        assert (found.items, found.exact) == (turn.items, turn.exact), record["id"]


def test_mutations_usage_in_every_chunk() -> None:
    """Chat servers that count as they go: the last count is the bill, and each before it a lower bound."""
    for record, blocks, turn in whole("openai_chat", 5):
        told, n = list[bytes](), 0
        for block in blocks:
            if block.startswith(b"data: {") and b'"choices":[{' in block.replace(b" ", b""):
                event, n = json.loads(block[6:].split(b"\n")[0]), n + 1
                event["usage"] = {"prompt_tokens": 5, "completion_tokens": n, "total_tokens": 5 + n}
                block = b"data: " + json.dumps(event).encode()
            told.append(block)
        events = read("openai_chat", record, join(told))
        found = turn_of(events)
        assert isinstance(events, list)
        assert found is not None, record["id"]
        assert found.items == turn.items, record["id"]
        updates = [event for event in events if isinstance(event, lutum.UsageUpdate)]
        assert {update.usage.known for update in updates if not update.final} <= {"lower_bound"}
