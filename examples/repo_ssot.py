"""One source of truth: the model begins at the README of a repository, and reads only files that are named in
a file it has read.
Copy it when a repository describes its own structure in a README, as here, or in an AGENTS.md."""

from pathlib import Path
from typing import Annotated

from _provider import run

import lutum
from lutum.testing.wire import Call, Reply

REPLIES = [
    Reply(Call("read", {"path": "timeouts.py"})),
    Reply(Call("read", {"path": "README.md"})),
    Reply(Call("read", {"path": "timeouts.py"}), Call("read", {"path": "../pyproject.toml"})),
    Reply("It raises TurnTimeout, and keeps what had come. (timeouts.py)"),
]
HERE, MAP = Path(__file__).resolve().parent, "README.md"


class Reader:
    """Reads files below a folder. After the first, each must be named in a file that was read before."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._seen = MAP

    def read(self, path: str) -> str:
        if path not in self._seen or not (self._root / path).resolve().is_relative_to(self._root):
            raise lutum.ToolError(f"No file that you have read names {path}. Begin at {MAP}.")
        text = (self._root / path).read_text("utf-8")
        self._seen += text
        return text


@lutum.tool
async def read(path: str, reader: Annotated[Reader, lutum.Injected]) -> str:
    """Read a file of the repository."""
    return reader.read(path)


async def main(llm: lutum.Lutum) -> None:
    tools = lutum.Toolset(read).bind(reader=Reader(HERE))
    session = lutum.Session(llm)
    session.push_system(f"Answer from the files of this repository, and name them. Begin at {MAP}.")
    session.push_user("What happens when a provider stalls?")
    for _ in range(8):
        match await session.text_turn().tools(tools).collect():
            case lutum.NeedsTools(round):
                results = await round.run()
                session.commit_round(round, results)
                for call, result in zip(round.calls, results, strict=True):
                    print("refused" if result.is_error else "read", call.input.path)
            case lutum.Finished(result):
                session.commit_text(result)
                return print(result.text)


if __name__ == "__main__":
    run(main, REPLIES)
