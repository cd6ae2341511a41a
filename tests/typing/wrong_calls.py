"""The commonest wrong calls are errors for type checkers; tests/test_wrong_calls.py has what they raise."""

from typing import assert_type

import lutum


@lutum.tool
async def weather(city: str) -> str:
    """Tell the weather."""
    return city


async def wrong(llm: lutum.Lutum, session: lutum.Session, claude: lutum.ClaudeAdapter) -> None:
    turn = llm.text_turn("x")
    llm.text_turn([{"role": "user", "content": "x"}])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    turn.tools(weather)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    turn.tools([weather])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    lutum.Session(claude)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    session.push_user({"role": "user", "content": "x"})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    lutum.Transcript.load("chat.jsonl")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    lutum.Lutum("claude-sonnet-4-5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    lutum.Lutum(lutum.ClaudeAdapter)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    turn.timeout(30)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    turn.max_tokens(5)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    print(turn.collect().text)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType]
    turn.collect()  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
    session.commit_text(turn.collect())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    outcome = await turn.tools(lutum.Toolset(weather)).collect()
    print(outcome.text)  # type: ignore[union-attr]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType]
    turn.temperature("hot")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def right(llm: lutum.Lutum) -> None:
    turn = llm.text_turn("x")
    assert_type(await turn.collect(), lutum.TextResult)
    assert_type(turn.timeout(total=30), lutum.TextTurn)
