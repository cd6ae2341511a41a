"""A memory on disk: the state of a task is a value that the model writes, and the next process starts from
it. Copy it when a task takes longer than a process, and its conversation is too long to keep."""

from pathlib import Path

import msgspec
from _provider import run

import lutum
from lutum.testing.wire import Reply

REPLIES = [
    Reply('{"goal":"A trip to Oslo","done":["train booked"],"next":["find a hotel"],"facts":["May 3 to 5"]}'),
    Reply('{"goal":"A trip to Oslo","done":["train booked","hotel booked"],"facts":["May 3 to 5"]}'),
]
MEMORY = Path("memory.json")


class Memory(msgspec.Struct):
    """All that is known of the task."""

    goal: str = ""
    done: list[str] = []
    next: list[str] = []
    facts: list[str] = []


def load() -> Memory:
    return msgspec.json.decode(MEMORY.read_bytes(), type=Memory) if MEMORY.exists() else Memory()


def save(memory: Memory) -> None:
    """Save the whole state or nothing, even if the process dies."""
    new = MEMORY.with_suffix(".new")
    new.write_bytes(msgspec.json.format(msgspec.json.encode(memory)))
    new.replace(MEMORY)


async def work(llm: lutum.Lutum, news: str) -> Memory:
    """Do the work of one process: it starts from the file, and writes the state for the next process."""
    session = lutum.Session(llm)
    session.push_system("Answer with the new state of the task. Drop nothing that may be needed.")
    session.push_user(f"State: {msgspec.json.encode(load()).decode()}\nNews: {news}")
    memory = (await session.structured_turn(Memory).max_output_tokens(500).collect()).value
    save(memory)
    return memory


async def main(llm: lutum.Lutum) -> None:
    for news in ("I go to Oslo from May 3 to 5, the train is booked.", "I have found a hotel and booked it."):
        memory = await work(llm, news)
        print(f"done: {', '.join(memory.done)}; next: {', '.join(memory.next) or 'nothing'}")


if __name__ == "__main__":
    run(main, REPLIES)
