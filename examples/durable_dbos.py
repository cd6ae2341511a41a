"""A durable agent on DBOS: each turn and each call is a recorded step, and a killed program continues after a
restart.
Copy it when you already have a workflow engine. Run it, kill it, and run it again with the same job."""

# It needs `pip install dbos`.

import sys

from _provider import boundary, offline
from dbos import DBOS, DBOSConfig, SetWorkflowID

import lutum
from lutum.testing.wire import Call, Pause, Reply, Say, WireRequest


def answer(request: WireRequest) -> Reply:
    """Return the scripted answer: four rounds of two calls, then a text."""
    done = sum(message["role"] == "assistant" for message in request.json["messages"])
    if done == 4:
        return Reply("All done.")
    calls = [Call("work", {"n": 2 * done + i}, id=f"call_{done}_{i}") for i in range(2)]
    return Reply(Say("Next. ", Pause(0.05)), *calls)


@lutum.tool
async def work(n: int) -> str:
    """Work on something."""
    print(f"worked on {n}", flush=True)
    return f"did {n}"


TOOLS = lutum.Toolset(work)
ADAPTER = offline(answer)


# Steps are synchronous, so that lutum may run on either backend; async workflows of DBOS need asyncio.
@DBOS.step()
def ask(transcript: str) -> tuple[str, str]:
    """Run one turn; returns its answer or its open round. The step is recorded, so it is paid for once."""

    async def turn() -> tuple[str, str]:
        session = lutum.Session(boundary(ADAPTER), lutum.Transcript.load(transcript.encode()))
        match await session.text_turn().tools(TOOLS).collect():
            case lutum.NeedsTools(round):
                return "round", round.dump().decode()
            case lutum.Finished(result):
                session.commit_text(result)
                return "answer", session.transcript.dump().decode()

    return lutum.run(turn)


@DBOS.step()
def run_call(transcript: str, round: str, key: str) -> str:
    """Run one call, at least once: DBOS runs a step again if the program was killed during the step."""
    base = lutum.Transcript.load(transcript.encode())
    loaded = lutum.ToolRound.load(round.encode(), TOOLS, base=base)

    async def call() -> str:
        [result] = await loaded.run(only=[key])
        return result.text

    return lutum.run(call)


@DBOS.workflow()
def agent(task: str) -> str:
    """Run the loop. It has no effects outside its steps, so that DBOS can replay it."""
    transcript = lutum.ModelInput().user(task).transcript
    while True:
        known = transcript.dump().decode()
        kind, said = ask(known)
        if kind == "answer":
            return lutum.Transcript.load(said.encode())[-1].text
        round = lutum.ToolRound.load(said.encode(), TOOLS, base=transcript)
        results = [call.complete(run_call(known, said, call.key)) for call in round.calls]
        transcript = round.commit_into(lutum.ModelInput(transcript), results).transcript


def main(job: str, database: str) -> None:
    config = DBOSConfig(
        name="lutum",
        system_database_url=f"sqlite:///{database}",
        application_version="1",  # the steps of another version are not replayed
        executor_id="local",
        log_level="ERROR",
    )
    DBOS(config=config)
    DBOS.launch()
    with SetWorkflowID(job):  # recorded steps of this job do not run again
        handle = DBOS.start_workflow(agent, "Do the work.")
    print(handle.get_result())
    DBOS.destroy()


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["job 17", "jobs.sqlite"]))
