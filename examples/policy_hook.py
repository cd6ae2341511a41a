"""A policy: one object with settings is used in several hook slots, and the same program can be strict or
lenient. Copy it when behaviour is configured, by tenant or by environment."""

from dataclasses import dataclass

from _provider import run

import lutum
from lutum.testing.wire import Reply

REPLIES = [Reply("Buy now!"), Reply("Buy it if you like."), Reply("Buy now!")]


class Editing(lutum.HookSet):
    @lutum.hook("always")
    async def prompt(self, topic: str) -> str:
        return f"Write one sentence that advertises {topic}."

    @lutum.hook("singleton")
    async def again(self, text: str, attempt: int) -> bool:
        """Return whether to ask for the text again."""
        return False


@dataclass(frozen=True)
class Policy:
    """The settings of a tenant."""

    tone: str
    forbidden: tuple[str, ...] = ()
    retries: int = 0

    @Editing.prompt.method
    async def prompt(self, last: str, topic: str) -> str:
        return f"{last} Be {self.tone}."

    @Editing.again.method
    async def again(self, text: str, attempt: int) -> bool:
        return attempt <= self.retries and any(word in text.lower() for word in self.forbidden)


async def advertise(llm: lutum.Lutum, editing: Editing, topic: str) -> str:
    attempt, turn = 1, llm.text_turn(await editing.prompt(topic)).max_output_tokens(100)
    text = (await turn.collect()).text
    while await editing.again(text, attempt):
        attempt, text = attempt + 1, (await turn.collect()).text
    return f"{text} [attempt {attempt}]"


async def main(llm: lutum.Lutum) -> None:
    strict = Policy("modest", forbidden=("now", "!"), retries=2)
    for policy in (strict, Policy("loud")):
        print(await advertise(llm, Editing().with_policy(policy), "a lamp"))


if __name__ == "__main__":
    run(main, REPLIES)
