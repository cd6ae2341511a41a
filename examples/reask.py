"""Asking again: when a value does not decode, the model gets a list of the problems with their places, and
answers again. Copy it when a model sometimes misses a type."""

from dataclasses import dataclass
from typing import TypeVar

from _provider import run

import lutum
from lutum.testing.wire import Reply

REPLIES = [Reply('{"name": "Nile", "km": "long"}'), Reply('{"name": "Nile", "km": 6650}')]
T = TypeVar("T")


@dataclass
class River:
    name: str
    km: int


async def ask(session: lutum.Session, type: type[T], again: int = 2) -> lutum.StructuredResult[T]:
    """Run the session's structured turn, up to `again` more times. Raises the error of the last attempt."""
    for _ in range(again):
        try:
            return await session.structured_turn(type).collect()
        except lutum.OutputInvalid as error:
            wrong = "; ".join(f"{reason} - at {path}" for path, reason in error.problems)
            # For one turn only: after the commit, the transcript contains no failed attempt.
            session.push_ephemeral_user(f"You answered {error.raw}\nThat is wrong: {wrong}. Answer again.")
    return await session.structured_turn(type).collect()


async def main(llm: lutum.Lutum) -> None:
    session = lutum.Session(llm)
    session.push_user("Which river is the longest?")
    result = await ask(session, River)
    session.commit_structured(result)
    print(result.value)
    print(f"{len(session.transcript)} items, {llm.budget.spent.total_tokens} tokens for both requests")


if __name__ == "__main__":
    run(main, REPLIES)
