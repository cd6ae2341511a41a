"""A budget of calls for each tool: the model is told how many calls are left, and a tool with no calls left
cannot be called. Copy it when a tool may run three times and not thirty."""

from collections import Counter
from typing import Any

from _provider import run

import lutum
from lutum.testing.wire import Call, Reply

REPLIES = [
    Reply(*[Call("search", {"query": query}) for query in ("rivers", "long rivers", "longest rivers")]),
    Reply(Call("fetch", {"url": "https://example.org/nile"})),
    Reply("The Nile."),
]


@lutum.tool
async def search(query: str) -> str:
    """Search the web."""
    return f"https://example.org/{query.replace(' ', '-')}"


@lutum.tool
async def fetch(url: str) -> str:
    """Fetch a page."""
    return "The Nile is the longest river."


async def main(llm: lutum.Lutum) -> None:
    tools, left = lutum.Toolset(search, fetch), Counter(search=2, fetch=1)

    async def count(call: lutum.ToolCall[Any]) -> lutum.ToolResult | None:
        if not left[call.name]:  # one round may hold more calls than are left
            return call.reject("no calls of this tool are left")
        left[call.name] -= 1
        return None

    session = lutum.Session(llm)
    session.push_user("Which river is the longest?")
    for _ in range(8):
        turn = session.text_turn().tools(tools).available(only=[name for name in left if left[name]])
        for tool in tools:
            turn = turn.describe(tool, f"{tool.definition.description} Calls left: {left[tool.name]}.")
        match await turn.collect():
            case lutum.NeedsTools(round):
                plan = await round.apply_hooks(count)
                session.commit_round(plan, await plan.run())
                print(f"{len(plan.pending)} ran, {len(plan.rejected)} rejected, left: {dict(left)}")
            case lutum.Finished(result):
                session.commit_text(result)
                return print(result.text)


if __name__ == "__main__":
    run(main, REPLIES)
