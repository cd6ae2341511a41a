"""Best of n: n branches of one session answer at once, a judge picks one answer, and this answer is
committed. Copy it when a second opinion is cheaper than a wrong answer."""

import anyio
from _provider import run

import lutum
from lutum.testing.wire import Reply, WireRequest

CHEAPER = "claude-haiku-4-5"


def answer(request: WireRequest) -> Reply:
    if b"Which is best" in request.body:
        return Reply('{"value":2}')
    return Reply(f"A line of {len(request.body) % 7 + 5} syllables.")


REPLIES = answer


async def main(llm: lutum.Lutum, n: int = 4) -> None:
    session = lutum.Session(llm)
    session.push_user("Write one line about the sea.")
    gate = lutum.PrefixGate()  # if the prefix is long enough, one draft writes it to the provider's cache
    async with llm.within(tokens=50_000) as scoped:

        async def draft(temperature: float) -> lutum.TextResult:
            branch = session.fork(llm=scoped)  # O(1), whatever the session's length
            turn = branch.text_turn().temperature(temperature).max_output_tokens(300)
            return await turn.after(gate).collect()

        drafts = await anyio.amap(draft, [0.4 + 0.6 * i / n for i in range(n)])
        numbered = "\n".join(f"{i}: {one.text}" for i, one in enumerate(drafts))
        judge = scoped.structured_turn(int, f"Which is best? Answer with its number.\n{numbered}")
        best = (await judge.model(CHEAPER).max_output_tokens(20).collect()).value
        session.commit_text(drafts[best % n])  # the session has not changed since the fork
        print(session.turns()[-1].text, f"[{scoped.budget.spent.total_tokens} tokens]")


if __name__ == "__main__":
    run(main, REPLIES)
