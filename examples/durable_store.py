"""A durable agent: the paid turn is stored before its tools run, each call is claimed, and a restarted
program continues. Copy it when a crash must repeat neither a paid request nor the effect of a tool."""

import tempfile

import anyio
from _provider import run

import lutum
import lutum.store
from lutum.testing.wire import Call, Reply

REPLIES = [
    Reply("I will pay both.", Call("pay", {"to": "Ann", "euros": 20}), Call("pay", {"to": "Bo", "euros": 9})),
    Reply("Both are paid."),
]
crashes = iter([True])


@lutum.tool
async def pay(to: str, euros: int) -> str:
    """Send somebody money."""
    print(f"paying {to}")
    if to == "Bo" and next(crashes, False):
        await anyio.sleep_forever()  # the process dies here, in the middle of a payment
    return f"{euros} euros were sent to {to}"


TOOLS = lutum.Toolset(pay)


def restarted(call: lutum.ToolCall[object]) -> lutum.RestartDecision:
    """Decide about a call that was started and has no result. A payment is never made twice."""
    return "report" if call.name == "pay" else "run"


async def agent(llm: lutum.Lutum, url: str, job: str, task: str) -> str:
    """Do a job from its stored state. Call it again after a crash, in any process."""
    async with lutum.store.connect(url) as store:
        branch = await store.branch(job, create=True)
        session = branch.session(llm)
        if not session.transcript:
            session.push_user(task)
        round = await branch.held(TOOLS)
        for _ in range(8):
            if round is None:
                match await session.text_turn().tools(TOOLS).collect():
                    case lutum.Finished(result):
                        session.commit_text(result)
                        await branch.save(session)
                        return result.text
                    case lutum.NeedsTools(round):
                        await branch.hold(session, round)
            session.commit_round(round, await round.run(journal=branch, restarted=restarted))
            await branch.save(session)
            print(*[item.text for item in session.transcript][-len(round.calls) :], sep="\n")
            round = None
        raise RuntimeError("the job did not end after eight rounds")


async def main(llm: lutum.Lutum) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            with anyio.move_on_after(1):  # simulates a process that is killed
                print(await agent(llm, f"sqlite:{folder}/jobs.db", "job 17", "Pay Ann 20 and Bo 9 euros."))


if __name__ == "__main__":
    run(main, REPLIES)
