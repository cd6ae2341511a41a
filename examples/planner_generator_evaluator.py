"""Three roles: a planner makes a list of steps, a generator does all steps at once, and an evaluator sends
bad results back. Copy it when one prompt has to do too much."""

import anyio
import msgspec
from _provider import run

import lutum
from lutum.testing.wire import Reply, WireRequest


def answer(request: WireRequest) -> Reply:
    if b"Plan: " in request.body:
        return Reply('{"value":["the source","the mouth"]}')
    if b"Evaluate: Many lakes." in request.body:
        return Reply('{"good":false,"advice":"name the lake"}')
    if b"Evaluate: " in request.body:
        return Reply('{"good":true,"advice":""}')
    if b"Write it again: " in request.body:
        return Reply("It begins at Lake Victoria.")
    return Reply("It ends in the sea." if b"the mouth" in request.body else "Many lakes.")


REPLIES = answer


class Verdict(msgspec.Struct):
    good: bool
    advice: str


async def plan(llm: lutum.Lutum, topic: str) -> list[str]:
    turn = llm.structured_turn(list[str], f"Plan: which sections does a page on {topic} have?")
    return (await turn.max_output_tokens(200).collect()).value


async def evaluate(llm: lutum.Lutum, text: str) -> Verdict:
    turn = llm.structured_turn(Verdict, f"Evaluate: {text}")
    return (await turn.max_output_tokens(100).collect()).value


async def generate(llm: lutum.Lutum, section: str, revisions: int = 2) -> str:
    session = lutum.Session(llm)
    session.push_user(f"Write: {section}, in one sentence.")
    for _ in range(revisions):
        draft = await session.text_turn().max_output_tokens(200).collect()
        session.commit_text(draft)
        verdict = await evaluate(llm, draft.text)
        if verdict.good:
            break
        session.push_user(f"Write it again: {verdict.advice}.")
    return f"{section}: {session.turns()[-1].text} [draft {len(session.turns())}]"


async def main(llm: lutum.Lutum) -> None:
    async with llm.within(tokens=50_000) as scoped:
        sections = await plan(scoped, "the Nile")
        print(*await anyio.amap(lambda section: generate(scoped, section), sections), sep="\n")


if __name__ == "__main__":
    run(main, REPLIES)
