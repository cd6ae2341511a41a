"""What type checkers know of structured turns and completions; checked by pyright strict and mypy strict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never, assert_type

import lutum


@dataclass
class River:
    name: str
    km: int


async def structured(llm: lutum.Lutum) -> None:
    turn = llm.structured_turn(River, "The longest?").temperature(0).max_output_tokens(100)
    assert_type(turn, lutum.StructuredTurn[River, lutum.StructuredResult[River]])
    result = await turn.collect()
    assert_type(result, lutum.StructuredResult[River])
    assert_type(result.value, River)
    assert_type(result.refusal, str | None)
    assert_type((await llm.structured_turn(list[River], "all").collect()).value, list[River])
    assert_type((await llm.structured_turn(int, "how many").collect()).value, int)
    async with turn.stream() as stream:
        async for event in stream:
            match event:
                case lutum.StructuredDelta(json=json):
                    assert_type(json, str)
                case _:
                    pass
    assert_type(stream.result.value, River)
    session = lutum.Session(llm)
    in_session = await session.structured_turn(River).collect()
    assert_type(in_session.value, River)
    session.commit_structured(in_session)


async def with_tools(llm: lutum.Lutum) -> None:
    toolset = lutum.Toolset(lutum.raw_tool("weather", {"type": "object"}))
    outcome = await llm.structured_turn(River, "The longest?").tools(toolset).collect()
    match outcome:
        case lutum.Finished(result=result):
            assert_type(result, lutum.StructuredResult[River])
            assert_type(result.value, River)
        case lutum.NeedsTools(round=round):
            assert_type(round.calls[0].arguments, str)
        case _:
            assert_never(outcome)


async def completions(llm: lutum.Lutum) -> None:
    result = await llm.completion("Once upon").seed(1).collect()
    assert_type(result, lutum.CompletionResult)
    assert_type(result.text, str)
    structured = await llm.structured_completion(River, "The longest?").collect()
    assert_type(structured, lutum.StructuredCompletionResult[River])
    assert_type(structured.value, River)
    assert_type(structured.refusal, str | None)
    async with llm.structured_completion(list[int], "count").stream() as stream:
        async for piece in stream.text():
            assert_type(piece, str)
    assert_type(stream.result.value, list[int])
