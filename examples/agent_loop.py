"""The agent loop, which the library does not have: `agent_loop` has ten lines, and you can change each of
them. Copy it when tools should run until there is an answer, and add your own limit, log and approval."""

from typing import Any

from _provider import run

import lutum
from lutum.testing.wire import Call, Reply

REPLIES = [
    Reply(Call("stock", {"item": "lamp"})),
    Reply(Call("order", {"item": "lamp", "amount": 8})),
    Reply("There were 2 lamps, so I ordered 8."),
]


@lutum.tool
async def stock(item: str) -> int:
    """How many of an item are in the shop."""
    return {"lamp": 2}.get(item, 0)


@lutum.tool
async def order(item: str, amount: int) -> str:
    """Order so many of an item from the supplier."""
    return f"{amount} of {item} are on their way"


async def agent_loop(session: lutum.Session, tools: lutum.Toolset[Any], rounds: int = 20) -> lutum.TextResult:
    for _ in range(rounds):
        match await session.text_turn().tools(tools).collect():
            case lutum.NeedsTools(round):
                session.commit_round(round, await round.run(timeout=30))
            case lutum.Finished(result):
                session.commit_text(result)
                return result
    raise RuntimeError(f"no answer after {rounds} rounds")  # the session has every round: call it again


async def main(llm: lutum.Lutum) -> None:
    session = lutum.Session(llm)
    session.push_user("See to it that there are 10 lamps in the shop.")
    result = await agent_loop(session, lutum.Toolset(stock, order))
    print(result.text, f"[{len(session.turns())} turns, {llm.budget.spent.total_tokens} tokens]")


if __name__ == "__main__":
    run(main, REPLIES)
