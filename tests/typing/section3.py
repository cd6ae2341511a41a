"""Programs as users write them; checked by pyright strict and mypy strict, and run by test_boundary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never, assert_type

import lutum
from lutum_claude import ClaudeAdapter


async def main() -> None:
    async with ClaudeAdapter(model="claude-sonnet-4-5") as claude:
        llm = lutum.Lutum(claude, budget=lutum.Budget(tokens=200_000))
        session = lutum.Session(llm)
        session.push_system("You are concise.")
        session.push_user("Name three rivers.")

        async with session.text_turn().max_output_tokens(300).stream() as turn:
            async for event in turn:
                match event:
                    case lutum.TextDelta(text=text):
                        print(text, end="", flush=True)
                    case _:
                        pass
        session.commit_text(turn.result)


@dataclass
class River:
    name: str
    km: int


async def typed(llm: lutum.Lutum) -> None:
    result = await llm.text_turn("hello").collect()
    assert_type(result, lutum.TextResult)
    value = (await llm.structured_turn(River, "a river").temperature(0.2).collect()).value
    assert_type(value, River)
    toolset = lutum.Toolset(lutum.raw_tool("weather", {"type": "object"}))
    outcome = await llm.text_turn("hello").tools(toolset).available(only=["weather"]).collect()
    match outcome:
        case lutum.Finished(result=result):
            assert_type(result, lutum.TextResult)
        case lutum.NeedsTools(round=round):
            assert_type(round.calls[0].arguments, str)
        case _:
            assert_never(outcome)
    async with llm.structured_turn(River, "a river").stream() as stream:
        async for piece in stream.text():
            assert_type(piece, str)
    assert_type(stream.result.value, River)
    assert_type(llm.budget.spent.total_tokens, int)


def run() -> None:
    lutum.run(main)
    lutum.run(main, backend="asyncio")
