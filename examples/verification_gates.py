"""Gates after an extraction: a value that fits its type is accepted only if every gate passes it.
Copy it when you extract numbers from a document, and the numbers have to add up."""

import msgspec
from _provider import run

import lutum
from lutum.testing.wire import Reply

INVOICE = "Invoice 17. 2 lamps at 20, 1 table at 50. Total: 90 EUR."
LINES = '[{"item":"lamp","amount":2,"price":20},{"item":"table","amount":1,"price":50}]'
REPLIES = [
    Reply(f'{{"number":17,"lines":{LINES},"total":70,"currency":"euro"}}'),
    Reply(f'{{"number":17,"lines":{LINES},"total":90,"currency":"EUR"}}'),
]


class Line(msgspec.Struct):
    item: str
    amount: int
    price: int


class Invoice(msgspec.Struct):
    number: int
    lines: list[Line]
    total: int
    currency: str


def all_of(problems: list[str | None]) -> list[str]:
    return [problem for problem in problems if problem is not None]


class Gates(lutum.HookSet):
    @lutum.hook("always", aggregate=all_of)
    async def audit(self, invoice: Invoice) -> str | None:
        return None if invoice.lines else "there is no line"


@Gates.audit
async def adds_up(invoice: Invoice) -> str | None:
    total = sum(line.amount * line.price for line in invoice.lines)
    return None if total == invoice.total else f"the lines are {total}, the total {invoice.total}"


@Gates.audit
async def known_currency(invoice: Invoice) -> str | None:
    return None if invoice.currency in ("EUR", "USD") else f"{invoice.currency!r} is not a currency code"


async def main(llm: lutum.Lutum, attempts: int = 3) -> None:
    gates = Gates(adds_up, known_currency)
    session = lutum.Session(llm)
    session.push_user(f"Extract this invoice:\n{INVOICE}")
    for _ in range(attempts):
        result = await session.structured_turn(Invoice).max_output_tokens(500).collect()
        session.commit_structured(result)
        problems = await gates.audit(result.value)
        if not problems:
            return print("passed:", result.value.total, result.value.currency)
        print("rejected:", "; ".join(problems))
        session.push_user(f"That cannot be: {'; '.join(problems)}. Extract it again.")
    print("a person has to look at this one")


if __name__ == "__main__":
    run(main, REPLIES)
