"""A taxonomy of failures: a judge puts each answer into a class, and the class decides how to continue.
Copy it when "try again" is not the only way to recover."""

from typing import Literal

import msgspec
from _provider import run

import lutum
from lutum.testing.wire import Reply

REPLIES = [
    Reply("It rains."),
    Reply('{"action":"retry","reason":"it does not say when"}'),
    Reply("As I said at length above, it rains."),
    Reply('{"action":"compact","reason":"it talks about the conversation"}'),
    Reply("The user asks about rain, and wants the hours."),
    Reply("It will rain from ten to noon."),
    Reply('{"action":"accept","reason":"it says when"}'),
]


class Verdict(msgspec.Struct):
    """Accept what is right, retry what is wrong, compact what lost its way, escalate what needs a person."""

    action: Literal["accept", "retry", "compact", "escalate"]
    reason: str


async def main(llm: lutum.Lutum, attempts: int = 5) -> None:
    question = "When will it rain today?"
    session = lutum.Session(llm)
    session.push_user(question)
    for _ in range(attempts):
        draft = await session.text_turn().max_output_tokens(200).collect()
        judged = f"Question: {question}\nJudge this answer: {draft.text}"
        verdict = (await llm.structured_turn(Verdict, judged).max_output_tokens(200).collect()).value
        session.commit_text(draft)
        print(f"{verdict.action}: {draft.text} ({verdict.reason})")
        match verdict.action:
            case "accept":
                return
            case "retry":
                session.push_user(f"Not yet: {verdict.reason}. Answer again.")
            case "compact":
                session.push_user("Sum up in one sentence what I want to know.")
                summary = await session.text_turn().max_output_tokens(100).collect()
                session = lutum.Session(llm)
                session.push_user(f"{summary.text} {question}")
            case "escalate":
                break
    print("a person has to answer this")


if __name__ == "__main__":
    run(main, REPLIES)
