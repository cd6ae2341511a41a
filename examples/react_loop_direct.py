"""A tool loop without a session: the input is a value, and each round makes a new, longer input from it. Copy
it where nothing should be mutable, as in a function that takes a conversation and returns a longer one."""

from _provider import run

import lutum
from lutum.testing.wire import Call, Reply

REPLIES = [
    Reply(Call("exchange_rate", {"currency": "NOK"}), Call("exchange_rate", {"currency": "SEK"})),
    Reply("One euro buys more Norwegian crowns: 11.60 against 11.10."),
]


@lutum.tool
async def exchange_rate(currency: str) -> float:
    """How much of a currency one euro buys."""
    return {"NOK": 11.60, "SEK": 11.10}[currency]


async def answered(llm: lutum.Lutum, asked: lutum.ModelInput, rounds: int = 8) -> lutum.ModelInput:
    """Return the conversation up to the answer; the caller's `asked` is unchanged."""
    for _ in range(rounds):
        match await llm.text_turn(asked).tools(lutum.Toolset(exchange_rate)).collect():
            case lutum.NeedsTools(round):
                asked = round.commit_into(asked, await round.run(timeout=30))
            case lutum.Finished(result):
                return asked.turn(result.turn)
    raise RuntimeError(f"no answer after {rounds} rounds")


async def main(llm: lutum.Lutum) -> None:
    asked = lutum.ModelInput().user("Does a euro buy more Norwegian or more Swedish crowns?")
    whole = await answered(llm, asked)
    for item in whole:
        print(f"{type(item).__name__:<14}{item.text}")
    print(f"The input still has {len(asked)} item.")


if __name__ == "__main__":
    run(main, REPLIES)
