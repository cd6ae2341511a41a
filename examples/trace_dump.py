"""A trace: your own steps with the turns, requests and tools below them, drawn as text and kept in a file.
Copy it when you want to know where the time and the money went."""

from pathlib import Path

from _provider import run

import lutum
from lutum import trace
from lutum.testing.wire import Call, Reply

REPLIES = [
    Reply('{"value":"weather"}'),
    Reply(Call("weather", {"city": "Oslo"}), Call("weather", {"city": "Rome"})),
    Reply("It is colder in Oslo."),
]


@lutum.tool
async def weather(city: str) -> str:
    """The weather in a city."""
    trace.event("cache", hit=False)  # goes to the span of this call
    return {"Oslo": "3 degrees"}.get(city, "14 degrees")


async def assist(llm: lutum.Lutum, question: str) -> str:
    with trace.span("route", question=question) as span:
        asked = llm.structured_turn(str, f"Which topic is this? {question}").max_output_tokens(50)
        topic = (await asked.collect()).value
        if span is not None:  # None if no trace is captured
            span.set(topic=topic)
    session = lutum.Session(llm)
    session.push_user(question)
    with trace.span("answer"):
        while True:
            match await session.text_turn().tools(lutum.Toolset(weather)).collect():
                case lutum.NeedsTools(round):
                    session.commit_round(round, await round.run())
                case lutum.Finished(result):
                    return result.text


def show(data: bytes) -> None:
    path = Path("oslo.trace")
    path.write_bytes(data)
    read = trace.load(path.read_bytes())
    print(read.render())
    slow = max(read.find("turn"), key=lambda turn: turn.duration or 0)
    print(f"{len(read.find('turn'))} turns; the slowest wrote {slow.fields['output_tokens']} tokens")
    print(
        "topic:", read.span("route").fields["topic"], "events:", [note.name for note in read.events("cache")]
    )


async def main(llm: lutum.Lutum) -> None:
    async with trace.capture() as captured:
        await assist(llm, "Where is it colder, in Oslo or in Rome?")
    show(captured.dump())


if __name__ == "__main__":
    run(main, REPLIES)
