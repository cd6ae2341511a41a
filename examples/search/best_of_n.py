"""Best of n with an early stop: n branches of one long prefix answer at once, a program checks the answers in
order, and the first answer that passes ends the other branches.
Copy it when a program can check an answer."""

import anyio

import lutum
from lutum import trace
from lutum.testing.wire import Reply, Say, Stall, WireRequest, WireServer

LOG = "10:42:07 worker 7: no heartbeat for 31 s, restarted\n" * 1_500  # long enough for the provider's cache
TASK = "Write a regular expression for the seconds of such a line. Answer with the expression alone."


def passes(answer: str) -> bool:
    return answer == r"for (\d+) s"


async def main(llm: lutum.Lutum, n: int = 6) -> None:
    session = lutum.Session(llm)
    session.push_user(LOG + TASK)
    gate = lutum.PrefixGate()  # one branch writes the prefix to the cache, the others read it
    drafts = dict[int, lutum.TextResult]()
    ended = [anyio.Event() for _ in range(n)]

    async def draft(number: int, scoped: lutum.Lutum) -> None:
        turn = session.fork(llm=scoped).text_turn().label("draft", number)
        turn = turn.temperature(0.5 + number / 10).max_output_tokens(200)
        try:
            drafts[number] = await turn.after(gate).collect()
        except lutum.TurnError:
            pass  # a failed branch is left out
        finally:
            ended[number].set()

    async with trace.capture() as seen:
        async with llm.within(tokens=400_000, on_spent="drain") as scoped, anyio.create_task_group() as group:
            for number in range(n):
                group.start_soon(draft, number, scoped)
            # In the order of their numbers, so that the winner does not depend on which answer is fastest.
            for number in range(n):
                await ended[number].wait()
                if number in drafts and passes(drafts[number].text):
                    session.commit_text(drafts[number])  # the session has not changed since the fork
                    break
            group.cancel_scope.cancel()  # closes the other sockets, and settles their usage
    print(session.turns()[-1].text if session.turns() else "no branch passed")
    print(seen.bill())


def answer(request: WireRequest) -> Reply:
    number: int = round((request.json["temperature"] - 0.5) * 10)
    if number > 2:
        return Reply(Say("Let me think ", Stall()))  # until another branch passes
    return Reply([r"(\d+) s", r"(\d+)", r"for (\d+) s"][number])


REPLIES = WireServer(answer, prompt_cache=True)
