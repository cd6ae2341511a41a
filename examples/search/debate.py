"""Debate: two sides argue at once, each reads the other's words in the next round, and a judge decides. The
debate ends as soon as the sides agree. Copy it when you would believe a single answer too easily."""

import anyio

import lutum
from lutum import trace
from lutum.testing.wire import Reply, WireRequest, WireServer

CONTRACT = "".join(
    f"Clause {i}. The lessor repairs what breaks within {i % 9 + 1} days.\n" for i in range(2_500)
)
QUESTION = "Who pays for a lamp that the tenant broke?"
SIDES = {"tenant": "Argue that the lessor pays.", "lessor": "Argue that the tenant pays."}
AGREED = "I agree"


async def main(llm: lutum.Lutum, rounds: int = 3) -> None:
    shared = lutum.Session(llm)
    # The contract is in the head. The provider caches the head for both sides and for the judge.
    shared.push_system(f"Argue in two sentences, or say 'I agree'. The contract:\n{CONTRACT}")
    shared.push_user(QUESTION)
    gate = lutum.PrefixGate()

    async with trace.capture() as seen, llm.within(tokens=600_000, on_spent="drain") as scoped:
        branches = {side: shared.fork(llm=scoped) for side in SIDES}
        heard = dict(SIDES)  # the next message to each side: first its task, then the other's words
        for number in range(1, rounds + 1):

            async def speak(side: str, number: int = number, heard: dict[str, str] = heard) -> str:
                branch = branches[side]
                branch.push_user(heard[side])
                turn = branch.text_turn().max_output_tokens(200).label(side, number)
                branch.commit_text(await turn.after(gate).collect())
                return branch.turns()[-1].text

            said = dict(zip(SIDES, await anyio.amap(speak, SIDES), strict=True))
            for side, words in said.items():
                print(f"{number}. {side}: {words}")
            if any(AGREED in words for words in said.values()):
                break
            heard = {"tenant": said["lessor"], "lessor": said["tenant"]}
        judge = shared.fork(llm=scoped)
        for side, branch in branches.items():
            judge.push_user(f"{side}: " + " ".join(turn.text for turn in branch.turns()))
        verdict = await judge.text_turn().max_output_tokens(100).label("judge").collect()
        print("judge:", verdict.text)
    print(seen.bill(1))


SAID = {
    "lessor pays": ["Clause 3 makes the lessor repair it.", "Clause 3 has no word about fault.", "I agree."],
    "tenant pays": ["Who breaks a lamp pays for it.", "Clause 3 is about wear.", "Fault is in the law."],
}


def answer(request: WireRequest) -> Reply:
    messages = [str(message["content"]) for message in request.json["messages"]]
    side = next((side for side in SAID if side in messages[0] + messages[1 % len(messages)]), None)
    return Reply("The tenant pays." if side is None else SAID[side][(len(messages) - 1) // 2])


REPLIES = WireServer(answer, prompt_cache=True)
