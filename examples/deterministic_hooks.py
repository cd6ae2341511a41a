"""Checks before and after a turn, as hooks: you add rules without changing the code that asks. Copy it when
prompts and answers have to be validated, and the person who deploys the program chooses the rules."""

from _provider import run

import lutum
from lutum.testing.wire import Reply

REPLIES = [Reply("Call us at 555-0199."), Reply("The shop opens at nine.")]


class Checks(lutum.HookSet):
    """Slots for objections. The first objection counts; None means that there is no objection."""

    @lutum.hook("fallback", chain=lutum.first_success)
    async def prompt(self, text: str) -> str | None:
        return None if text.strip() else "the question is empty"

    @lutum.hook("fallback", chain=lutum.first_success)
    async def answer(self, text: str) -> str | None:
        return None if text.strip() else "the answer is empty"


@Checks.prompt
async def short(text: str) -> str | None:
    return "the question is too long" if len(text) > 200 else None


@Checks.answer
async def no_digits(text: str) -> str | None:
    return "the answer has numbers in it" if any(map(str.isdigit, text)) else None


async def ask(llm: lutum.Lutum, checks: Checks, question: str) -> str:
    if objection := await checks.prompt(question):
        return f"not asked: {objection}"
    result = await llm.text_turn(question).max_output_tokens(100).collect()
    if objection := await checks.answer(result.text):
        return f"not shown: {objection}"
    return result.text


async def main(llm: lutum.Lutum) -> None:
    checks = Checks(short, no_digits)
    for question in ("", "Why? " * 50, "How do I reach you?", "When do you open?"):
        print(await ask(llm, checks, question))


if __name__ == "__main__":
    run(main, REPLIES)
