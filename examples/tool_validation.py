"""Several checks before a tool runs: each check may edit the input or reject the call, and the first
rejection counts. Copy it when a tool needs more rules than its types can express."""

import re

import msgspec
from _provider import run

import lutum
from lutum.testing.wire import Call, Reply

REPLIES = [
    Reply(
        Call("sql", {"query": "SELECT name FROM users; "}),
        Call("sql", {"query": "DROP TABLE users"}),
        Call("sql", {"query": "SELECT password FROM users"}),
    ),
    Reply("There are two users: Ann and Bo."),
]


@lutum.tool_input(output=list[str])
class Sql(msgspec.Struct, frozen=True):
    """Run a query on the database."""

    query: str


SqlCall = lutum.ToolCall[Sql]


async def trimmed(call: SqlCall) -> SqlCall:
    return call.with_input(Sql(call.input.query.strip().rstrip(";")))


async def only_reads(call: SqlCall) -> lutum.ToolResult | None:
    return None if call.input.query.upper().startswith("SELECT ") else call.reject("only SELECT is allowed")


async def no_secrets(call: SqlCall) -> lutum.ToolResult | None:
    found = re.search(r"\b(password|token)\b", call.input.query, re.IGNORECASE)
    return call.reject(f"column {found[0]!r} is secret") if found else None


async def bounded(call: SqlCall) -> SqlCall:
    return call.with_input(Sql(f"{call.input.query} LIMIT 100"))


CHECKS = lutum.ToolHooks().on(Sql, trimmed).on(Sql, only_reads).on(Sql, no_secrets).on(Sql, bounded)


async def main(llm: lutum.Lutum) -> None:
    session = lutum.Session(llm)
    session.push_user("Which users are there?")
    for _ in range(8):
        match await session.text_turn().tools(lutum.Toolset(Sql)).collect():
            case lutum.NeedsTools(round):
                plan = await round.apply_hooks(CHECKS)
                print("run:", [call.input.query for call in plan.pending])
                print("no:", [result.text for result in plan.rejected])
                session.commit_round(plan, [call.complete(["Ann", "Bo"]) for call in plan.pending])
            case lutum.Finished(result):
                session.commit_text(result)
                return print(result.text)


if __name__ == "__main__":
    run(main, REPLIES)
