"""Self-consistency: samples of one question vote. When no other answer can overtake the leader, the remaining
samples are cancelled. Copy it when answers are short and can be compared."""

from collections import Counter

import anyio

import lutum
from lutum import trace
from lutum.testing.wire import Reply, Say, Stall, WireRequest, WireServer

TABLE = "".join(f"Line {i}: {i % 7 + 1} lamps at {i % 5 + 10} euros.\n" for i in range(3_000))
QUESTION = "How many euros are lines 3 and 4 together? Think, then end with the number alone on a line."


def vote(text: str) -> str:
    return text.splitlines()[-1].strip(" .")


def decided(votes: Counter[str], left: int) -> bool:
    """Return whether the leader stays ahead, whatever the remaining samples answer."""
    ranked = [count for _, count in votes.most_common(2)] + [0, 0]
    return ranked[0] > ranked[1] + left


async def main(llm: lutum.Lutum, samples: int = 9) -> None:
    session = lutum.Session(llm)
    session.push_user(TABLE + QUESTION)
    gate = lutum.PrefixGate()
    texts = list[str | None]([None] * samples)
    votes = Counter[str]()
    ended = [anyio.Event() for _ in range(samples)]

    async def sample(number: int, scoped: lutum.Lutum) -> None:
        turn = session.fork(llm=scoped).text_turn().label("sample", number)
        try:
            result = await turn.temperature(0.1 * number).max_output_tokens(400).after(gate).collect()
            texts[number] = result.text
        except lutum.TurnError:
            pass  # a sample without a vote
        finally:
            ended[number].set()

    async with trace.capture() as seen:
        async with (
            llm.within(tokens=1_000_000, on_spent="drain") as scoped,
            anyio.create_task_group() as group,
        ):
            for number in range(samples):
                group.start_soon(sample, number, scoped)
            for number in range(samples):
                await ended[number].wait()
                if (text := texts[number]) is not None:
                    votes[vote(text)] += 1
                if decided(votes, samples - 1 - number):
                    break
            group.cancel_scope.cancel()
    [(best, count)] = votes.most_common(1)
    print(f"{best} [{count} of {sum(votes.values())} votes]")
    print(seen.bill())


def answer(request: WireRequest) -> Reply:
    number = round(request.json["temperature"] * 10)
    if number > 6:
        return Reply(Say("First I add ", Stall()))
    return Reply(
        f"Line 3 is 4 times 13, line 4 is 5 times 14.\n{'122' if number in (0, 2, 3, 4, 6) else '117'}"
    )


REPLIES = WireServer(answer, prompt_cache=True)
