"""Approval by a person: every call is shown before it runs, and may be accepted, rejected or edited.
Copy it when a tool spends money, deletes things or writes to people."""

import anyio.to_thread
from _provider import run

import lutum
from lutum.testing.wire import Call, Reply

DEBTS = {"Ann": 20, "Bo": 9, "Cy": 90}
REPLIES = [
    Reply(*[Call("pay", {"to": name, "euros": euros}) for name, euros in DEBTS.items()]),
    Reply("Ann has her 20 euros and Bo got 10. Cy has to wait."),
]


@lutum.tool
async def pay(to: str, euros: int) -> str:
    """Send somebody money."""
    return f"{euros} euros were sent to {to}"  # the model is told what really happened


async def ask(call: lutum.ToolCall[object]) -> lutum.ToolCall[object] | lutum.ToolResult | None:
    """A hook. None lets the call run, a result answers it, and a call with another input replaces it."""
    while True:
        print(f"{call.name} {call.arguments}")
        said = await anyio.to_thread.run_sync(input, "[y]es, [n]o why, or other arguments as JSON: ")
        match said.partition(" "):
            case ("y", _, _):
                return None
            case ("n", _, why):
                return call.reject(why or "the user does not want it")
            case _:
                try:
                    return call.with_arguments(said)
                except lutum.BadValue as error:
                    print(error)


async def main(llm: lutum.Lutum) -> None:
    session = lutum.Session(llm)
    session.push_user("Pay everybody what I owe: Ann 20, Bo 9 and Cy 90 euros.")
    for _ in range(8):
        match await session.text_turn().tools(lutum.Toolset(pay)).collect():
            case lutum.NeedsTools(round):
                plan = await round.apply_hooks(ask)
                results = await plan.run(timeout=30)
                print(*[result.text for result in (*results, *plan.rejected)], sep="\n")
                session.commit_round(plan, results)
            case lutum.Finished(result):
                session.commit_text(result)
                return print(result.text)


if __name__ == "__main__":
    run(main, REPLIES)
