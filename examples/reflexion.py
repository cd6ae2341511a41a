"""Reflexion: after each failure the model states a lesson, and the next attempt gets only the lessons.
Copy it when attempts are long, and one sentence can describe a failure."""

import re

from _provider import run

import lutum
from lutum.testing.wire import Reply

REPLIES = [
    Reply(r"\d+-\d+-\d+"),
    Reply("Count the digits: a year has four."),
    Reply(r"\d{4}-\d{2}-\d{2}"),
    Reply("Months end at 12."),
    Reply(r"\d{4}-(0[1-9]|1[0-2])-\d{2}"),
]
TASK = "Write a regular expression for dates such as 2024-05-31. Answer with nothing else."
CASES = {"2024-05-31": True, "24-5-31": False, "2024-13-01": False}


def failures(pattern: str) -> list[str]:
    try:
        found = {text: re.fullmatch(pattern, text) is not None for text in CASES}
    except re.error as error:
        return [str(error)]
    wrong = [text for text in CASES if found[text] != CASES[text]]
    return [f"{text!r} should {'match' if CASES[text] else 'not match'}" for text in wrong]


async def main(llm: lutum.Lutum, attempts: int = 4) -> None:
    lessons = list[str]()
    for attempt in range(1, attempts + 1):
        session = lutum.Session(llm)  # a fresh one: the lessons stay, the failed attempts do not
        if lessons:
            session.push_system(f"You have learned: {' '.join(lessons)}")
        session.push_user(TASK)
        tried = await session.text_turn().max_output_tokens(200).collect()
        session.commit_text(tried)
        failed = failures(tried.text.strip())
        print(f"{attempt}. {tried.text}  {failed or 'passes'}")
        if not failed:
            return
        session.push_user(f"{'; '.join(failed)}. What is the lesson, in one sentence?")
        lessons.append((await session.text_turn().max_output_tokens(100).collect()).text)
    print("gave up")


if __name__ == "__main__":
    run(main, REPLIES)
