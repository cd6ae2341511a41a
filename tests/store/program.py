"""An agent loop that is killed: `python program.py URL LOG BACKEND POLICY BRANCH`.

It appends to LOG what a checker needs: what the provider was asked, which calls ran, what the store confirmed
and what a restarted process found. A line is written at once, so that it survives the process.
"""

import os
import sys
from typing import Annotated, Any

import anyio

import lutum
import lutum.store
from lutum.testing import Script, ScriptedAdapter

ROUNDS = 5

URL, LOG, BACKEND, POLICY, BRANCH = sys.argv[1:]
FILE = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def log(*words: object) -> None:
    """Append a line."""
    os.write(FILE, (" ".join(map(str, words)) + "\n").encode())


@lutum.tool
async def work(n: int, call: Annotated[lutum.ToolCall, lutum.Injected]) -> str:
    """Do something that must not happen twice."""
    log("ran", call.key)
    await anyio.sleep(0.002 * (n % 4))
    return f"did {n}"


TOOLS = lutum.Toolset(work)


def script(done: int) -> Script:
    """What the model answers after so many turns."""
    log("asked", done)
    if done == ROUNDS:
        return Script(["All done."])
    # The ids repeat in each round, as at some hosts.
    calls = [lutum.ToolCallReady(f"call_{i}", "work", f'{{"n":{2 * done + i}}}') for i in range(2)]
    return Script([f"round {done}", *calls], finish_reason="tool_calls")


async def main() -> None:
    """Run the loop to its end, from wherever the branch is."""
    async with lutum.store.connect(URL) as store:
        branch = await store.branch(BRANCH, create=True)
        log("loaded", len(branch.transcript), branch.transcript.digest)
        session = branch.session(lutum.Lutum(ScriptedAdapter([])))
        print("ready", flush=True)
        round: lutum.ToolRound[Any] | None = await branch.held(TOOLS)
        for call in round.calls if round is not None else ():
            log("found", call.key, "result" if call.answer else "started" if call.started else "nothing")
        if not session.transcript:
            session.push_user("Work.")
        elif round is None and session.turns() and session.turns()[-1].text == "All done.":
            return  # killed after the last save
        while True:
            if round is None:
                adapter = ScriptedAdapter([script(len(session.turns()))])
                turn = session.fork(lutum.Lutum(adapter)).text_turn().tools(TOOLS)
                match await turn.collect():
                    case lutum.NeedsTools(round):
                        await branch.hold(session, round)
                        log("held", len(round.base) + 1, round.base.append(round.turn).digest)
                    case lutum.Finished(result):
                        session.commit_text(result)
                        await branch.save(session)
                        log("saved", len(session.transcript), session.transcript.digest)
                        return
            results = await round.run(journal=branch, restarted=POLICY)  # type: ignore[arg-type]
            for call in round.calls:
                log("recorded", call.key)
            session = branch.session(session.llm)
            session.commit_round(round, results)
            await branch.save(session)
            log("saved", len(session.transcript), session.transcript.digest)
            round = None


if __name__ == "__main__":
    anyio.run(main, backend=BACKEND)
    log("done")
