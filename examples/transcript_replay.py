"""Replay: does a server accept its own turns, from memory and from a file, exactly as it sent them?
Copy it to qualify a local model server: `--provider openai-chat --base-url http://localhost:11434/v1`."""

from pathlib import Path

from _provider import run

import lutum
from lutum.testing.wire import Call, Reply, Think

REPLIES = [
    Reply(Think("Look it up."), Call("length", {"river": "Nile"})),
    Reply(Think("Easy."), "It is 6,650 km long."),
    Reply("Twice that is 13,300 km."),
]


@lutum.tool
async def length(river: str) -> str:
    """The length of a river."""
    return "6,650 km"


async def ask(session: lutum.Session, question: str) -> None:
    session.push_user(question)
    while True:
        turn = session.text_turn().tools(lutum.Toolset(length)).max_output_tokens(1_000)
        for form in turn.preview().forms:
            print("a turn is replayed", form.reason or "exactly")
        match await turn.collect():
            case lutum.NeedsTools(round):
                session.commit_round(round, await round.run())
            case lutum.Finished(result):
                session.commit_text(result)
                return print(result.text)


def through_a_file(transcript: lutum.Transcript) -> lutum.Transcript:
    path = Path("nile.jsonl")
    path.write_bytes(transcript.dump())
    return lutum.Transcript.load(path.read_bytes(), digest=transcript.digest)


async def main(llm: lutum.Lutum) -> None:
    session = lutum.Session(llm)
    await ask(session, "How long is the Nile?")
    session = lutum.Session(llm, through_a_file(session.transcript))
    await ask(session, "And twice that?")


if __name__ == "__main__":
    run(main, REPLIES)
