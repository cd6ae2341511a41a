"""A ReAct loop: the model thinks, acts and observes, and each step is shown while it happens.
Copy it when you want to watch an agent, step by step."""

from _provider import run

import lutum
from lutum.testing.wire import Call, Reply

REPLIES = [
    Reply("Oslo's people first.", Call("look_up", {"topic": "population of Oslo"})),
    Reply("Now Bergen's.", Call("look_up", {"topic": "population of Bergen"})),
    Reply("Oslo has 709,000 people, Bergen 291,000: Oslo is larger."),
]
FACTS = {"population of Oslo": "709,000", "population of Bergen": "291,000"}


@lutum.tool
async def look_up(topic: str) -> str:
    """Look something up in the encyclopedia."""
    if topic not in FACTS:
        raise lutum.ToolError(f"There is no article on {topic}. Try another title.")
    return FACTS[topic]


async def main(llm: lutum.Lutum, steps: int = 8) -> None:
    session = lutum.Session(llm)
    session.push_system("Look up one thing at a time, and say first in one sentence what you need to know.")
    session.push_user("Which is larger, Oslo or Bergen?")
    for step in range(1, steps + 1):
        print(f"{step}. ", end="")
        async with session.text_turn().tools(lutum.Toolset(look_up)).stream() as turn:
            async for event in turn:
                match event:
                    case lutum.TextDelta(text=text):
                        print(text, end="", flush=True)
                    case lutum.ToolCallReady(name=name, arguments=arguments):
                        print(f"\n   > {name} {arguments}")
                    case _:
                        pass
        match turn.result:
            case lutum.NeedsTools(round):
                results = await round.run(timeout=30)
                session.commit_round(round, results)
                print("\n".join(f"   < {result.text}" for result in results))
            case lutum.Finished(result):
                session.commit_text(result)
                return print()
    print("gave up")


if __name__ == "__main__":
    run(main, REPLIES)
