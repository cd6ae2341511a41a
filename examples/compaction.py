"""Compaction: a long conversation continues from a summary and its last turns, and no tool round is split.
Copy it when a session exceeds the context window, or the price that you want to pay for it."""

from _provider import run

import lutum
from lutum.testing.wire import Reply

REPLIES = [
    *[Reply("Paris."), Reply("Rome."), Reply("Vienna.")],
    Reply("Paris."),
    Reply("Capitals were asked for: of France, it is Paris, and of Italy, Rome."),
    Reply("Paris."),
]


async def compact(session: lutum.Session, keep: int) -> None:
    """Replace everything between the system items and about the last `keep` items by a summary."""
    old = session.transcript
    start = len(old.head.system)
    # A cut does not separate a call from its result. This is the last cut that keeps at least `keep` items.
    cut = max(at for at in old.cuts() if at <= max(start, len(old) - keep))
    asked = lutum.ModelInput(old[:cut]).user("Summarise this conversation.")
    summary = await session.llm.text_turn(asked).max_output_tokens(500).collect()
    told = lutum.ModelInput(old[:start]).user(f"Earlier: {summary.text}").assistant("Understood.")
    session.transcript = lutum.Transcript([*told, *old[cut:]])  # to go back, assign `old`


async def ask(session: lutum.Session, question: str) -> str:
    session.push_user(question)
    result = await session.text_turn().max_output_tokens(100).collect()
    session.commit_text(result)
    return f"{result.text} [{len(session.transcript)} items, {result.usage.input_tokens} tokens read]"


async def main(llm: lutum.Lutum) -> None:
    session = lutum.Session(llm)
    session.push_system("Answer in one word.")
    for country in ("France", "Italy", "Austria"):
        await ask(session, f"The capital of {country}?")
    print("before:", await ask(session.fork(), "Which one did I ask for first?"))
    await compact(session, keep=2)
    print("after: ", await ask(session, "Which one did I ask for first?"))


if __name__ == "__main__":
    run(main, REPLIES)
