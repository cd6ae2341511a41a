"""A contract before the turn: one value writes the prompt and checks the answer, and no model is involved in
the check. Copy it when an answer has to follow rules that a program can check."""

from dataclasses import dataclass

from _provider import run

import lutum
from lutum.testing.wire import Reply

REPLIES = [
    Reply("Our amazing lamp is back, and you will love it."),
    Reply("The lamp is back in stock. It costs 20 euros."),
]


@dataclass(frozen=True)
class Contract:
    """The rules for an answer. Every rule is in the prompt and in the audit."""

    most_words: int
    mentions: tuple[str, ...]
    avoids: tuple[str, ...]

    def prompt(self) -> str:
        return (
            f"Write at most {self.most_words} words. "
            f"Mention: {', '.join(self.mentions)}. Never write: {', '.join(self.avoids)}."
        )

    def broken(self, text: str) -> list[str]:
        words, lower = len(text.split()), text.lower()
        found = [f"it has {words} words"] if words > self.most_words else []
        found += [f"{word!r} is missing" for word in self.mentions if word.lower() not in lower]
        return found + [f"{word!r} is forbidden" for word in self.avoids if word.lower() in lower]


async def main(llm: lutum.Lutum, attempts: int = 3) -> None:
    contract = Contract(12, mentions=("lamp", "20 euros"), avoids=("amazing", "love"))
    session = lutum.Session(llm)
    session.push_system(contract.prompt())
    session.push_user("Announce that the lamp is back.")
    for _ in range(attempts):
        result = await session.text_turn().max_output_tokens(200).collect()
        broken = contract.broken(result.text)
        session.commit_text(result)
        if not broken:
            return print("kept:", result.text)
        print("broken:", "; ".join(broken))
        session.push_user(f"That breaks the contract: {'; '.join(broken)}. Write it again.")
    print(f"no draft of {attempts} kept the contract")


if __name__ == "__main__":
    run(main, REPLIES)
