"""A cache before a tool: a repeated call is answered from memory, and only the other calls run.
Copy it when a tool is slow or costs money, and always gives the same answer to the same call."""

from typing import Any

from _provider import run

import lutum
from lutum.testing.wire import Call, Reply

REPLIES = [
    Reply(Call("geocode", {"place": "Oslo"})),
    Reply(Call("geocode", {"place": "Oslo"}), Call("geocode", {"place": "Rome"})),
    Reply("Rome is 18 degrees further south."),
]


@lutum.tool
async def geocode(place: str) -> str:
    """The latitude of a place."""
    print("running geocode for", place)
    return {"Oslo": "59.9", "Rome": "41.9"}.get(place, "unknown")


class Cache:
    """Answers repeated calls: the same tool with the same arguments."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], lutum.ToolResult] = {}

    async def look_up(self, call: lutum.ToolCall[Any]) -> lutum.ToolResult | None:
        known = self._known.get((call.name, call.arguments))
        return None if known is None else call.complete(known.content)

    def keep(self, plan: lutum.RoundPlan[Any], results: tuple[lutum.ToolResult, ...]) -> None:
        for call, result in zip(plan.pending, results, strict=True):
            if not result.is_error:
                self._known[call.name, call.arguments] = result


async def main(llm: lutum.Lutum) -> None:
    session, cache = lutum.Session(llm), Cache()
    session.push_user("How far is Rome south of Oslo?")
    for _ in range(8):
        match await session.text_turn().tools(lutum.Toolset(geocode)).collect():
            case lutum.NeedsTools(round):
                plan = await round.apply_hooks(cache.look_up)
                results = await plan.run()
                cache.keep(plan, results)
                session.commit_round(plan, results)
                print(f"{len(results)} ran, {len(plan.handled)} from the cache")
            case lutum.Finished(result):
                session.commit_text(result)
                return print(result.text)


if __name__ == "__main__":
    run(main, REPLIES)
