"""Approval days later: three programs share a database, and none of them has to run while the others work.
Copy it when a person decides in a chat window, by mail or on another machine whether a tool may run."""

import tempfile

from _provider import run

import lutum
import lutum.store
from lutum.testing.wire import Call, Reply

REPLIES = [
    Reply(Call("pay", {"to": "Ann", "euros": 20}), Call("pay", {"to": "Cy", "euros": 90})),
    Reply("Ann has her 20 euros. Cy has to wait."),
]


@lutum.tool
async def pay(to: str, euros: int) -> str:
    """Send somebody money."""
    return f"{euros} euros were sent to {to}"


TOOLS = lutum.Toolset(pay)


async def begin(llm: lutum.Lutum, url: str, name: str, task: str) -> None:
    """Monday: ask the model, store the calls that it requests in the database, and end."""
    async with lutum.store.connect(url) as store:
        branch = await store.create(name)
        session = branch.session(llm)
        session.push_user(task)
        match await session.text_turn().tools(TOOLS).collect():
            case lutum.NeedsTools(round):
                await branch.hold(session, round)
            case lutum.Finished(result):
                session.commit_text(result)
                await branch.save(session)


async def decide(url: str, name: str, person: str) -> None:
    """Thursday: a person looks at each call. This program has no model and runs no tool."""
    async with lutum.store.connect(url) as store:
        branch = await store.branch(name)
        round = await branch.held(TOOLS)
        for call in () if round is None else round.unanswered:
            if call.input.euros <= 50:
                await branch.answer(call.key, "approved", by=person)
            else:
                await branch.answer(call.key, call.reject("not before May"))


async def resume(llm: lutum.Lutum, url: str, name: str) -> None:
    """Friday: run the approved calls, commit the round when every call has its result, and continue."""
    async with lutum.store.connect(url) as store:
        branch = await store.branch(name)
        round = await branch.held(TOOLS)
        if round is None:
            return
        for call in round.calls:
            print(call.arguments, "approved by", call.approved.by if call.approved else "nobody")
        await round.run(only=lambda call: call.approved, journal=branch)
        if round.unanswered:
            return  # somebody still has to decide
        session = branch.session(llm)
        session.commit_round(round, round.results)
        await branch.save(session)
        match await session.text_turn().tools(TOOLS).collect():
            case lutum.NeedsTools(round):
                await branch.hold(session, round)
            case lutum.Finished(result):
                session.commit_text(result)
                await branch.save(session)
                print(result.text)


async def main(llm: lutum.Lutum) -> None:
    with tempfile.TemporaryDirectory() as folder:
        url, name = f"sqlite:{folder}/approvals.db", "debts"
        await begin(llm, url, name, "Pay Ann 20 and Cy 90 euros.")
        await decide(url, name, "Dora")
        await resume(llm, url, name)


if __name__ == "__main__":
    run(main, REPLIES)
