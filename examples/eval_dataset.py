"""A dataset run: two prompts are tried on the same cases, each prompt with its own folder, and compared case
by case.
Copy it before you change a prompt or a model. If you run it again, only the missing trials are run."""

from functools import partial

from _provider import run

import lutum
import lutum.eval
from lutum.eval import Case
from lutum.testing.wire import Reply, WireRequest

CAPITALS = {
    **{"France": "Paris", "Japan": "Tokyo", "Kenya": "Nairobi", "Peru": "Lima"},
    **{"Chad": "N'Djamena", "Oman": "Muscat", "Fiji": "Suva", "Laos": "Vientiane"},
}
CASES = [
    Case(country.lower(), country, capital, ("hard",) if len(country) == 4 else ("easy",))
    for country, capital in CAPITALS.items()
]
PROMPTS = {
    "chatty": "What is the capital of {}?",
    "terse": "The capital of {}, in one word:",
}


def answer(request: WireRequest) -> Reply:
    capital = next(city for country, city in CAPITALS.items() if country.encode() in request.body)
    return Reply(capital if b"one word" in request.body else f"It is {capital}, of course!")


REPLIES = answer


async def ask(prompt: str, case: Case[str, str], llm: lutum.Lutum) -> str:
    turn = llm.text_turn(prompt.format(case.input)).max_output_tokens(50)
    return (await turn.collect()).text.strip()


def exact(case: Case[str, str], said: str) -> bool:
    return said == case.expected


async def main(llm: lutum.Lutum) -> None:
    for name, prompt in PROMPTS.items():
        report = await lutum.eval.run(
            CASES, partial(ask, prompt), score=exact, llm=llm, trials=2, limit=4, into=f"runs/{name}"
        )
        print(f"{name}\n{report}\n")
    print(lutum.eval.compare("runs/chatty", "runs/terse"))
    lutum.eval.assert_score(lutum.eval.load_run("runs/terse"), at_least=0.9)


if __name__ == "__main__":
    run(main, REPLIES)
