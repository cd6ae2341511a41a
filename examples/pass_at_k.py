"""pass@k: k branches of one session try at once, from one amount that is set aside, and the first that passes
ends the others. Copy it when an answer can be checked, and to measure the value of more tries."""

from _provider import run

import lutum
import lutum.eval
from lutum.testing.wire import Reply, Say, Stall

STALLED = Reply(Say("Let me think ", Stall()))  # cancelled as soon as another branch passes
REPLIES = [
    *[Reply("x = 4"), Reply("x = 7"), STALLED, STALLED],
    *[Reply(f"x = {x}") for x in (7, 4, 7, 5, 7, 1, 3, 2)],
]


async def attempt(branch: lutum.Session) -> str:
    result = await branch.text_turn().temperature(1).max_output_tokens(500).collect()
    branch.commit_text(result)
    return result.text


def passed(answer: str) -> bool:
    return answer.endswith("7")


async def main(llm: lutum.Lutum) -> None:
    session = lutum.Session(llm)
    session.push_user("Solve 2x + 3 = 17.")

    quick = await lutum.eval.run_branches(session, attempt, 4, passed=passed, tokens=4_000)
    print(quick)
    if quick.first is not None:
        print(quick.first.output)

    # To measure, let all branches run to their end: a cancelled branch might have passed.
    every = await lutum.eval.run_branches(session, attempt, 8, passed=passed, tokens=8_000, stop_early=False)
    for k in (1, 2, 4):
        rate = every.pass_at_k(k)
        print(f"pass@{k} {rate:.3f}, 95 % {rate.interval.low:.2f} to {rate.interval.high:.2f}")


if __name__ == "__main__":
    run(main, REPLIES)
