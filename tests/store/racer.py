"""One of several processes that move a branch: `python racer.py URL GO STEPS NUMBER BACKEND`."""

import sys

import anyio

import lutum
import lutum.store
from lutum.testing import ScriptedAdapter

URL, GO, STEPS, NUMBER, BACKEND = sys.argv[1:]


async def main() -> None:
    """In each step, add an item behind those that are there; one process succeeds. Prints what it won."""
    async with lutum.store.connect(URL, timeout=30) as store:
        branch = await store.branch("race")
        print("ready", flush=True)
        while not await anyio.Path(GO).exists():  # noqa: ASYNC110  # another process makes it
            await anyio.sleep(0.005)
        for step in range(int(STEPS)):
            while len(branch.transcript) < step:
                await branch.pull()
            session = branch.session(lutum.Lutum(ScriptedAdapter([])), at=step)
            session.push_user(f"{step} by {NUMBER}")
            if len(branch.transcript) > step:
                continue  # somebody has won this step already
            try:
                await branch.save(session)
            except lutum.StaleBranch as exc:
                if exc.common < step:
                    raise
                await branch.pull()
            else:
                print(f"{step} by {NUMBER}", flush=True)


anyio.run(main, backend=BACKEND)
