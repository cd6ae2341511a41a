"""Tools in groups, each group with its own hooks; the application only combines the groups.
Copy it when the parts of a program bring their own tools."""

import msgspec
from _provider import run

import lutum
from lutum.testing.wire import Call, Reply

REPLIES = [
    Reply(
        Call("read_file", {"path": "notes.txt"}),
        Call("write_file", {"path": "/etc/passwd", "text": "me"}),
        Call("search", {"query": "  RIVERS "}),
    ),
    Reply("Your notes are about rivers; I may not write to /etc."),
]


@lutum.tool_input
class ReadFile(msgspec.Struct, frozen=True):
    """Read a file."""

    path: str


@lutum.tool_input
class WriteFile(msgspec.Struct, frozen=True):
    """Write a file."""

    path: str
    text: str


@lutum.tool_input
class Search(msgspec.Struct, frozen=True):
    """Search the web."""

    query: str


async def known(call: lutum.ToolCall[ReadFile]) -> lutum.ToolResult | None:
    return call.complete("Rivers are long.") if call.input.path == "notes.txt" else None


async def inside(call: lutum.ToolCall[WriteFile]) -> lutum.ToolResult | None:
    return call.reject("outside of the project") if call.input.path.startswith("/") else None


async def tidy(call: lutum.ToolCall[Search]) -> lutum.ToolCall[Search]:
    return call.with_input(Search(call.input.query.strip().lower()))


files, web = lutum.Toolset(ReadFile, WriteFile), lutum.Toolset(Search)
file_hooks = lutum.ToolHooks().on(ReadFile, known).on(WriteFile, inside)
web_hooks = lutum.ToolHooks().on(Search, tidy)

tools, hooks = lutum.Toolset(files, web), lutum.ToolHooks(file_hooks, web_hooks)


def perform(call: lutum.ToolCall[ReadFile | WriteFile | Search]) -> lutum.ToolResult:
    match call.input:
        case Search(query=query):
            return call.complete(f"12 pages about {query!r}")
        case ReadFile(path=path) | WriteFile(path=path):
            return call.complete(f"done: {path}")


async def main(llm: lutum.Lutum) -> None:
    session = lutum.Session(llm)
    session.push_user("What are my notes about? Find more, and put it into /etc/passwd.")
    for _ in range(8):
        match await session.text_turn().tools(tools).collect():
            case lutum.NeedsTools(round):
                plan = await round.apply_hooks(hooks)
                results = [perform(call) for call in plan.pending]
                for kind, some in {"hook": plan.handled, "rejected": plan.rejected, "ran": results}.items():
                    print(f"{kind}: {', '.join(result.text for result in some)}")
                session.commit_round(plan, results)
            case lutum.Finished(result):
                session.commit_text(result)
                return print(result.text)


if __name__ == "__main__":
    run(main, REPLIES)
