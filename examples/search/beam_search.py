"""Beam search: each level asks for several next steps of each branch, a judge scores them, and only the best
few continue. Copy it when an answer is built in steps, and a step can be judged before the next."""

import anyio

import lutum
from lutum import trace
from lutum.testing.wire import Reply, WireRequest

TASK = "Reach 24 from 4, 7, 8, 8 with + - * /. One step at a time. Write 'done' behind the last step."
STEP = 2_000  # the most tokens that a step and its score may use


async def main(llm: lutum.Lutum, width: int = 2, tries: int = 3, depth: int = 3) -> None:
    root = lutum.Session(llm)
    root.push_user(TASK)
    beam = [(0.0, "", root)]

    async with trace.capture() as seen, llm.within(tokens=60_000, on_spent="drain") as scoped:

        async def grow(place: tuple[str, int, lutum.Session]) -> tuple[float, str, lutum.Session] | None:
            """Add one step to a fork of a branch; returns its score, its path and the fork."""
            name, number, parent = place
            branch = parent.fork(llm=scoped)
            path = f"{name}{number}"
            if parent.turns():
                branch.push_user("The next step.")
            try:
                turn = branch.text_turn().temperature(0.3 * number).max_output_tokens(100).label("step", path)
                branch.commit_text(await turn.collect())
                steps = "\n".join(turn.text for turn in branch.turns())
                judge = scoped.structured_turn(float, f"{TASK}\nHow promising, from 0 to 1?\n{steps}")
                score = await judge.max_output_tokens(20).label("score", path).collect()
            except lutum.TurnError:
                return None  # a branch that fails is pruned
            return score.value, path, branch

        for level in range(depth):
            places = [(path, number, branch) for _, path, branch in beam for number in range(tries)]
            # The smallest remainder of the scope and of every budget around it.
            places = places[: scoped.budget.available.total_tokens // STEP]
            grown = [one for one in await anyio.amap(grow, places) if one is not None]
            if not grown:
                break
            # The path decides between equal scores, so that the order of arrival has no effect.
            beam = sorted(grown, key=lambda one: (-one[0], one[1]))[:width]
            print(f"level {level}: kept {[path for _, path, _ in beam]} of {len(grown)}")
            if beam[0][2].turns()[-1].text.endswith("done"):
                break
    best = beam[0][2]
    root.transcript = best.transcript  # the branch becomes the conversation
    print("; ".join(turn.text for turn in root.turns()))
    print(seen.bill(1))


STEPS = {"": ["8 / 8 = 1", "7 + 8 = 15", "8 - 4 = 4"], "8 / 8 = 1": ["7 - 1 = 6", "7 + 1 = 8", "4 - 1 = 3"]}
LAST = {"7 - 1 = 6": "4 * 6 = 24, done", "7 + 1 = 8": "8 * 4 = 32"}
SCORES = {"8 / 8 = 1": 0.8, "8 - 4 = 4": 0.6, "7 - 1 = 6": 0.9, "7 + 1 = 8": 0.4, "4 * 6 = 24, done": 1.0}


def answer(request: WireRequest) -> Reply:
    messages = request.json["messages"]
    if "promising" in str(messages[0]):
        last = str(messages[0]["content"]).rpartition("\\n")[2]
        found = next((score for step, score in SCORES.items() if last.startswith(step)), 0.1)
        return Reply(f'{{"value":{found}}}')
    said = [str(m["content"][0]["text"]) for m in messages if m["role"] == "assistant"]
    number: int = round(request.json["temperature"] / 0.3)
    if len(said) == 2:
        return Reply(LAST.get(said[1], "15 + 4 = 19"))
    return Reply(STEPS.get(said[-1] if said else "", ["7 + 4 = 11", "8 * 4 = 32", "8 - 7 = 1"])[number])


REPLIES = answer
