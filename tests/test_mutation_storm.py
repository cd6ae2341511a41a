"""Many recorded streams, each with something done to it: no bare exception, and no false completion.

`LUTUM_MUTATIONS` is the number of mutated streams, 3,000 unless it is set; `nox -s nightly` runs 200,000.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import corpus
import pytest
from claude import claude_wire
from openai_chat import chat_wire
from openai_responses import responses_wire
from test_mutations import blocks_of, damage, drop, join, misuse, repeat, shuffle, swap

import lutum

pytestmark = pytest.mark.corpus

NUMBER = int(os.environ.get("LUTUM_MUTATIONS", "3000"))
BATCH = 500  # mutations of one seed, so that a failure can be repeated alone
WIRES: dict[corpus.Name, Any] = {
    "claude_messages": claude_wire,
    "openai_chat": chat_wire,
    "openai_responses": responses_wire,
}
# What the provider's own end of an answer looks like. Without one nothing is complete.
ENDS = {
    "claude_messages": re.compile(rb"message_stop"),
    "openai_chat": re.compile(rb'"finish_reason"\s*:\s*"|"finish_details"|\[DONE\]'),
    "openai_responses": re.compile(rb"response\.(?:completed|incomplete|done)"),
}
VALUE = re.compile(rb':\s*("[^"\\]*"|-?[0-9][0-9.]*|null|true|false)')
LONGEST = 12_000  # bytes of a stream: longer ones are mostly more of the same

Mutation = Callable[[list[bytes], int, random.Random], list[bytes]]


def cut(blocks: list[bytes], at: int, chance: random.Random) -> list[bytes]:
    """Nothing follows."""
    return blocks[:at]


def half(blocks: list[bytes], at: int, chance: random.Random) -> list[bytes]:
    """Half of a surrogate pair stands in a string."""
    where = [match.end() - 1 for match in re.finditer(rb'[a-z ]"', blocks[at])]
    if not where:
        return blocks
    place, pair = chance.choice(where), chance.choice((rb"\ud83d", rb"\ude00", rb"\uD83D"))
    return [*blocks[:at], blocks[at][:place] + pair + blocks[at][place:], *blocks[at + 1 :]]


def reword(blocks: list[bytes], at: int, chance: random.Random) -> list[bytes]:
    """A number, a word or nothing stands where a string or a number was."""
    other = chance.choice((b"null", b"7", b'"x"', b"[]", b"{}", b"-1", b"1e400", b'""'))
    where = [
        match.span(1) for match in re.finditer(rb':\s*("[^"\\]*"|-?[0-9][0-9.]*|null|true|false)', blocks[at])
    ]
    if not where:
        return blocks
    start, end = chance.choice(where)
    return [*blocks[:at], blocks[at][:start] + other + blocks[at][end:], *blocks[at + 1 :]]


def intrude(blocks: list[bytes], at: int, chance: random.Random) -> list[bytes]:
    """Something that a proxy may write stands between two events."""
    other = chance.choice(
        (
            b'data: {"error":{"message":"no","code":503}}',
            b"event: error\ndata: upstream timeout",
            b'{\n  "error": {"message": "quota"}\n}',
            b"<html><title>Bad gateway</title></html>",
            b'data: {"type":"ping"}',
            b"data: [DONE]",
            b"data: null",
            b'data: {"code":"1302","msg":"rate limit"}',
            b"event: heartbeat\ndata: ok",
        )
    )
    return [*blocks[:at], other, *blocks[at:]]


MUTATIONS: tuple[Mutation, ...] = (
    cut, damage, drop, half, intrude, misuse, repeat, reword, shuffle, swap,
)  # fmt: skip


@cache
def recorded(kind: corpus.Name) -> list[tuple[dict[str, Any], list[bytes], lutum.CommittedTurn]]:
    """The streams that complete, as events, and the turn of each."""
    found = list[tuple[dict[str, Any], list[bytes], lutum.CommittedTurn]]()
    for record in (*corpus.load(kind), *corpus.load(kind, "hosts")):
        if record["sse"] and len(record["sse"]) <= LONGEST:
            blocks = blocks_of(record)
            turn = turn_of(kind, record, join(blocks), random.Random(0))
            if turn is not None:
                found.append((record, blocks, turn))
    return found


def turn_of(
    kind: corpus.Name, record: dict[str, Any], data: bytes, chance: random.Random
) -> lutum.CommittedTurn | None:
    """The turn of a stream; any exception but the documented one comes out and fails the test."""
    decoder, out = WIRES[kind].decoder(scope=record["host"]), list[lutum.Event]()
    middle = chance.randrange(len(data) + 1)
    try:
        decoder.feed(data[:middle], out)
        decoder.feed(data[middle:], out)
        decoder.eof(out)
    except lutum.ProviderError:
        assert not any(isinstance(event, lutum.Completed) for event in out), record["id"]
        return None
    ends = [at for at, event in enumerate(out) if isinstance(event, lutum.Completed)]
    assert ends in ([], [len(out) - 1]), record["id"]
    last = out[-1] if ends else None
    return last.turn if isinstance(last, lutum.Completed) else None


def check(kind: corpus.Name, seed: int) -> Counter[str]:
    """Read `BATCH` mutated streams; count what became of them."""
    chance, counts = random.Random(f"{kind} {seed}"), Counter[str]()
    for _ in range(BATCH):
        record, blocks, turn = chance.choice(recorded(kind))
        mutate = chance.choice(MUTATIONS)
        mutated = mutate(blocks, chance.randrange(len(blocks)), chance)
        data = join(mutated)
        told = (record["id"], mutate.__name__, seed)
        try:
            found = turn_of(kind, record, data, chance)
        except AssertionError:
            raise
        except Exception as exc:
            raise AssertionError(f"{told}: {type(exc).__name__}: {exc}") from exc
        counts["completed" if found is not None else "not completed"] += 1
        if found is None:
            continue
        assert ENDS[kind].search(data), told
        json.loads(found.wire)
        if mutate is cut:
            assert found.items == turn.items, told
    return counts


@pytest.mark.slow
@pytest.mark.parametrize("kind", WIRES)
def test_many_mutations(kind: corpus.Name) -> None:
    """Every mutated stream gives events, the documented error, or nothing, and only a whole one completes."""
    batches = max(1, NUMBER // (BATCH * len(WIRES)))
    counts = sum((check(kind, seed) for seed in range(batches)), Counter[str]())
    print(f"{kind}: {sum(counts.values()):,} mutated streams, {dict(counts)}")
    assert counts["completed"]
    assert counts["not completed"]
