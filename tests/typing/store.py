"""Types of open rounds and stores: a round that was held gives calls of the types that its tools have."""

from dataclasses import dataclass
from typing import Annotated, Any, assert_type

import lutum
import lutum.store


@lutum.tool_input
@dataclass(frozen=True)
class Book:
    """Book a trip."""

    city: str


@lutum.tool
async def pay(euros: int, call: Annotated[lutum.ToolCall, lutum.Injected]) -> str:
    """Pay."""
    return call.key


class Journal:
    """A journal of a user's own."""

    async def start(self, call: lutum.ToolCall[Any]) -> None: ...
    async def finish(self, call: lutum.ToolCall[Any], result: lutum.ToolResult) -> None: ...


def restarted(call: lutum.ToolCall[Any]) -> lutum.RestartDecision:
    """Decide for one call."""
    return "report" if call.approved else "refuse"


async def use(branch: lutum.store.StoredBranch, session: lutum.Session, data: bytes) -> None:
    """Every door that gives a round."""
    tools = lutum.Toolset(Book)
    held = await branch.held(tools)
    assert_type(held, lutum.ToolRound[Book] | None)
    if held is not None:
        assert_type(held.calls[0].input, Book)
        assert_type(held.unanswered, tuple[lutum.ToolCall[Book], ...])
        await held.run(journal=branch, restarted=restarted, only=[held.calls[0]])
        await held.run(journal=Journal(), restarted="run", only=lambda call: call.approved)
    loaded = lutum.ToolRound.load(data, tools, base=session.transcript)
    assert_type(loaded, lutum.ToolRound[Book])
    assert_type(session.open_round(tools), lutum.ToolRound[Book])
    journal: lutum.RoundJournal = branch
    assert_type(await branch.usage(), lutum.Usage)
    await loaded.run(journal=journal)
