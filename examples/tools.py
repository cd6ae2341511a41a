"""Tools in your own loop of eight lines. Copy it when a model should act."""

from _provider import run

import lutum
from lutum.testing.wire import Call, Reply

CALLS = [Call("weather", {"city": city, "days": 1}) for city in ("Oslo", "Rome")]
REPLIES = [Reply(*CALLS), Reply("It is colder in Oslo.")]


@lutum.tool
async def weather(city: str, days: int = 0) -> str:
    """The weather in a city, so many days ahead."""
    return {"Oslo": "3 degrees"}.get(city, "14 degrees")


async def main(llm: lutum.Lutum) -> None:
    session = lutum.Session(llm)
    session.push_user("Where will it be colder tomorrow, in Oslo or in Rome?")
    for _ in range(10):
        match await session.text_turn().tools(lutum.Toolset(weather)).collect():
            case lutum.NeedsTools(round):
                session.commit_round(round, await round.run(timeout=30))
            case lutum.Finished(result):
                session.commit_text(result)
                return print(result.text)


if __name__ == "__main__":
    run(main, REPLIES)
