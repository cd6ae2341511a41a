"""Compaction: a long conversation goes on from a summary and its last turns, with no round torn apart."""

import lutum
from lutum.abc import Adapter
from lutum.testing import ScriptedAdapter


async def compact(session: lutum.Session, keep: int) -> None:
    """Put a summary in the place of everything between the system items and about the last `keep` items."""
    old = session.transcript
    start = len(old.head.system)
    # A cut is where no call is parted from its result; the nearest one that keeps at least that many.
    cut = max(at for at in old.cuts() if at <= max(start, len(old) - keep))
    asked = lutum.ModelInput(old[:cut]).user("Summarise this conversation.")
    summary = await session.llm.text_turn(asked).collect()
    told = lutum.ModelInput(old[:start]).user(f"Earlier: {summary.text}").assistant("Understood.")
    session.transcript = lutum.Transcript([*told, *old[cut:]])  # `old` is still there, for going back


async def main(adapter: Adapter | None = None) -> None:
    adapter = adapter or ScriptedAdapter(
        [["Paris."], ["Rome."], ["Two capitals were asked for."], ["Madrid."]]
    )
    session = lutum.Session(lutum.Lutum(adapter))
    session.push_system("Answer in one word.")
    for country in ("France", "Italy"):
        session.push_user(f"The capital of {country}?")
        session.commit_text(await session.text_turn().collect())
    await compact(session, keep=2)
    # One item alone, such as a bulky document, is replaced in its place.
    note = lutum.Message("user", (lutum.Text("Earlier: the user asks for capitals."),))
    session.transcript = session.transcript.replace(1, note)
    session.push_user("The capital of Spain?")
    session.commit_text(await session.text_turn().collect())
    for item in session.transcript:
        print(f"{getattr(item, 'role', 'turn'):>9}  {getattr(item, 'text', '')}")


if __name__ == "__main__":
    lutum.run(main)
