"""What the tests of the store share: sessions that grow, and branches with an open round."""

from typing import Any

import lutum
from lutum import (
    CommittedTurn,
    Lutum,
    NeedsTools,
    Session,
    TextItem,
    ToolCallReady,
    Toolset,
)
from lutum.store import Store, StoredBranch
from lutum.testing import Script, ScriptedAdapter


def llm(*scripts: Any) -> Lutum:
    return Lutum(ScriptedAdapter(scripts))


def grow(session: Session, turns: int, word: str = "") -> None:
    """Push pairs of a question and a turn."""
    for _ in range(turns):
        place = f"{word}{len(session.transcript)}"
        session.push_user(f"question {place}")
        text = f"answer {place}"
        session.push_turn(CommittedTurn("scripted", "s", "m", b'["%s"]' % text.encode(), (TextItem(text),)))


@lutum.tool
async def pay(to: str) -> str:
    """Pay."""
    return f"paid {to}"


TOOLS = Toolset(pay)


async def held(store: Store, name: str = "b") -> tuple[StoredBranch, Session, lutum.ToolRound[Any]]:
    """A branch with an open round of one call."""
    branch = await store.create(name)
    call = Script([ToolCallReady("1", "pay", '{"to":"Ann"}')], finish_reason="tool_calls")
    session = branch.session(llm(call, ["done"]))
    session.push_user("Pay.")
    outcome = await session.text_turn().tools(TOOLS).collect()
    assert isinstance(outcome, NeedsTools)
    await branch.hold(session, outcome.round)
    return branch, session, outcome.round


async def count(store: Store) -> dict[str, int]:
    """How many rows each table has."""
    names = ("node", "branch", "left", "round", "call", "bill")

    def rows(at: Any, whole: bool) -> dict[str, int]:
        return {f"lutum_{name}": at.rows(f"select count(*) from lutum_{name}")[0][0] for name in names}

    return await store._runtime.do(rows, write=False)
