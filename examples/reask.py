"""Asking again: a value that does not decode goes back to the model with what is wrong with it, and where."""

from dataclasses import dataclass
from typing import TypeVar

import lutum
from lutum.abc import Adapter
from lutum.testing import ScriptedAdapter

T = TypeVar("T")


@dataclass
class River:
    name: str
    km: int


async def ask(session: lutum.Session, type: type[T], again: int = 2) -> lutum.StructuredResult[T]:
    """The session's structured turn, asked again that many times; the last failure is yours."""
    for _ in range(again):
        try:
            return await session.structured_turn(type).collect()
        except lutum.OutputInvalid as error:
            # For one turn only: once a value is committed, the transcript holds nothing of the others.
            session.push_ephemeral_user(f"You answered {error.raw}\nThat is wrong: {error}. Answer again.")
    return await session.structured_turn(type).collect()


def offline() -> Adapter:
    """A model that is wrong once."""
    said = ('{"name": "Nile", "km": "long"}', '{"name": "Nile", "km": 6650}')
    return ScriptedAdapter([[lutum.StructuredDelta(json)] for json in said])


async def main(adapter: Adapter | None = None) -> None:
    session = lutum.Session(lutum.Lutum(adapter or offline(), budget=lutum.Budget(tokens=10_000)))
    session.push_user("Which river is the longest?")
    result = await ask(session, River)
    session.commit_structured(result)
    print(result.value)
    for item in session.transcript:
        print(f"{getattr(item, 'role', 'turn'):>9}  {getattr(item, 'text', '')}")
    print(session.llm.budget.spent)  # both requests were charged


if __name__ == "__main__":
    lutum.run(main)
