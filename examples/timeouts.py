"""Timeouts for the provider's silence, for the whole turn, and for your own block; each one prints its name.
Copy it where nothing may wait forever, and the received text should not be lost."""

import anyio
from _provider import run

import lutum
from lutum.testing.wire import BeforeHead, NeverEnding, Reply, Say, Stall

REPLIES = [
    Reply(BeforeHead(Stall())),
    Reply(Say("The longest river is ", Stall())),
    Reply(NeverEnding("and on ", delay=0.1)),
    Reply(NeverEnding("and on ", delay=0.1)),
]


async def main(llm: lutum.Lutum) -> None:
    turn = llm.text_turn("Which river is the longest?").max_output_tokens(1_000)
    for bounded in (
        turn.timeout(first_event=1.0),  # the provider does not answer
        turn.timeout(idle=1.0),  # the answer begins, and nothing follows
        turn.timeout(total=1.0),  # the answer does not end
    ):
        try:
            await bounded.collect()
        except lutum.TurnTimeout as error:  # a TimeoutError too
            print(f"{error.reason}: {error.partial.text[:28]!r}, {error.usage.known}")

    stream = turn.stream()
    with anyio.move_on_after(1.0):  # limits your block, whatever runs in it
        async with stream:
            async for _ in stream:
                pass
    print(f"moved on: {stream.partial.text[:28]!r}, {stream.usage.known}")


if __name__ == "__main__":
    run(main, REPLIES)
