"""Two turns with Reed, offline: a tool round, then its answer. Start it in the folder `examples`.

python -m own_adapter
"""

from __future__ import annotations

import lutum
from own_adapter import ReedAdapter
from own_adapter.server import ReedServer, call, text


@lutum.tool
async def depth(river: str) -> str:
    """Return how deep a river is."""
    return f"The {river} is 11 m deep."


async def main() -> None:
    server = ReedServer(call("depth", {"river": "Nile"}), text("It is ", "11 m deep."))
    async with ReedAdapter("reed-2", api_key="reed-key", http_client=server.client()) as reed:
        session = lutum.Session(lutum.Lutum(reed, budget=lutum.Budget(tokens=20_000)))
        session.push_user("How deep is the Nile?")
        match await session.text_turn().tools(lutum.Toolset(depth)).collect():
            case lutum.NeedsTools(round=round):
                session.commit_round(round, await round.run())
            case lutum.Finished(result=result):
                session.commit_text(result)
        async with session.text_turn().stream() as turn:
            async for event in turn:
                if isinstance(event, lutum.TextDelta):
                    print(event.text, end="", flush=True)
        session.commit_text(turn.result)
        usage = turn.result.usage
        print(f"\n[{usage.total_tokens} tokens, {usage.known}]")


if __name__ == "__main__":
    lutum.run(main)
