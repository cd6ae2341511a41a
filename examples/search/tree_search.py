"""Monte-Carlo tree search: branches are nodes, a judge's score is the reward, and the remaining budget
decides when to stop. Copy it when a step shows its value only some steps later."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import anyio

import lutum
from lutum import trace
from lutum.testing.wire import Reply, WireRequest

TASK = "Plan a day in Oslo, three stops, each a short walk from the one before. Name the next stop only."
DEPTH, TRIES, BATCH, EXPANSION = 3, 3, 2, 1_500  # EXPANSION: the most tokens of an expansion


@dataclass
class Node:
    path: str = ""
    parent: Node | None = None
    session: lutum.Session | None = None  # None until its turn is committed
    children: list[Node] = field(default_factory=list["Node"])
    visits: int = 0
    score: float = 0.0
    value: float = 0.0  # the sum of the scores of this node and of the nodes below it

    def select(self) -> Node:
        """Return the next node to expand. Its visit counts at once, so a batch expands different nodes."""
        self.visits += 1
        grown = [child for child in self.children if child.session is not None]
        if len(self.path) < DEPTH and len(self.children) < TRIES:
            self.children.append(Node(f"{self.path}{len(self.children)}", self, visits=1))
            return self.children[-1]
        if len(self.path) == DEPTH or not grown:
            return self
        explore = math.log(self.visits)
        return max(grown, key=lambda n: n.value / n.visits + math.sqrt(explore / n.visits)).select()

    def reward(self, score: float) -> None:
        self.value += score
        if self.parent is not None:
            self.parent.reward(score)


async def main(llm: lutum.Lutum, tokens: int = 6_000, steps: int = 20) -> None:
    session = lutum.Session(llm)
    session.push_user(TASK)
    root = Node(session=session)
    async with trace.capture() as seen, llm.within(tokens=tokens, on_spent="drain") as scoped:

        async def expand(node: Node) -> None:
            if node.session is not None or node.parent is None or node.parent.session is None:
                return  # a finished day, whose score is known
            branch = node.parent.session.fork(llm=scoped)
            if branch.turns():
                branch.push_user("The next stop.")
            turn = branch.text_turn().temperature(0.3 * int(node.path[-1])).max_output_tokens(50)
            try:
                branch.commit_text(await turn.label("step", node.path).collect())
                rating = f"Rate this day from 0 to 1: {', '.join(stop.text for stop in branch.turns())}"
                judge = scoped.structured_turn(float, rating).max_output_tokens(20)
                node.score = (await judge.label("score", node.path).collect()).value
                node.session = branch
            except lutum.TurnError:
                pass  # a failed node has no children

        for _ in range(steps):
            if scoped.budget.available.total_tokens < BATCH * EXPANSION:  # least remainder of the chain
                break
            batch = [root.select() for _ in range(BATCH)]
            await anyio.amap(expand, batch)
            for node in batch:  # in a fixed order, whichever answer arrived first
                node.reward(node.score)
    best = root
    while ready := [child for child in best.children if child.session is not None]:
        best = max(ready, key=lambda child: (child.visits, child.value, child.path))
    print(f"{root.visits} visits: " + "; ".join(stop.text for stop in (best.session or session).turns()))
    print(seen.bill(1))


STOPS = "the fortress,the opera,a harbour;the museum,the roof,a sauna;a cafe,the park,a boat"
GOOD = {"the opera": 0.4, "a sauna": 0.3, "the roof": 0.2, "a boat": 0.3, "the museum": 0.1}


def answer(request: WireRequest) -> Reply:
    messages = request.json["messages"]
    if "Rate this day" in str(messages[0]):
        return Reply(f'{{"value":{round(sum(v for k, v in GOOD.items() if k in str(messages[0])), 1)}}}')
    number: int = round(request.json["temperature"] / 0.3)
    return Reply(STOPS.split(";")[len(messages) // 2].split(",")[number])


REPLIES = answer
