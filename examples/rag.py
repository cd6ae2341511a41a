"""Retrieval: the model chooses what to look for, your code searches, and the model answers only from the
documents that were found. Copy it to answer from your own documents; put your index into `search`."""

from _provider import run

import lutum
from lutum.testing.wire import Reply

REPLIES = [Reply('{"value":["refund","lamp"]}'), Reply("You have 30 days to send the lamp back [2].")]
DOCUMENTS = [
    "Deliveries take two to four days.",
    "A refund is possible for 30 days, if the goods are unused.",
    "Our lamps come with a bulb.",
]


def search(keywords: list[str], most: int = 2) -> dict[int, str]:
    """Return the documents that contain the most keywords, by number."""
    hits = {
        number: sum(word.lower() in text.lower() for word in keywords)
        for number, text in enumerate(DOCUMENTS, 1)
    }
    best = sorted((number for number in hits if hits[number]), key=lambda number: -hits[number])
    return {number: DOCUMENTS[number - 1] for number in best[:most]}


async def main(llm: lutum.Lutum) -> None:
    question = "Can I get my money back for a lamp?"
    wanted = llm.structured_turn(list[str], f"Which keywords would find the answer? {question}")
    keywords = (await wanted.max_output_tokens(100).collect()).value
    found = search(keywords)
    print(f"{', '.join(keywords)}: {len(found)} documents")
    asked = (
        lutum.ModelInput()
        .system("Answer from the documents alone, with their numbers in brackets, or say that you cannot.")
        .user([*(lutum.Text(f"[{number}] {text}") for number, text in found.items()), lutum.Text(question)])
    )
    async with llm.text_turn(asked).max_output_tokens(300).stream() as turn:
        async for text in turn.text():
            print(text, end="", flush=True)
    print()


if __name__ == "__main__":
    run(main, REPLIES)
