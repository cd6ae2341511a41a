"""A thousand documents, fifty at once, under one cost limit; each result is on disk before its slot is free
again, so kill it at any time and run it again. Copy it for extraction jobs."""

from collections import Counter
from pathlib import Path

import anyio
import msgspec
from _provider import run

import lutum
from lutum.testing.wire import Reply, Status, WireRequest

DONE, DOCUMENTS = Path("rivers.jsonl"), [f"River {i} is {i * 7 % 901} km long." for i in range(1_000)]


class River(msgspec.Struct):
    name: str
    km: int


def save(i: int, river: River) -> None:
    with DONE.open("ab") as file:
        file.write(msgspec.json.encode([i, river]) + b"\n")


def saved() -> set[int]:
    whole, _, torn = DONE.read_bytes().rpartition(b"\n") if DONE.exists() else (b"", b"", b"")
    if torn:  # killed while it wrote
        DONE.write_bytes(whole + b"\n" if whole else b"")
    return {msgspec.json.decode(line)[0] for line in whole.split(b"\n") if line}


async def main(llm: lutum.Lutum) -> None:
    before, failures, slots = saved(), Counter[str](), anyio.CapacityLimiter(50)

    async def extract(scoped: lutum.Lutum, i: int) -> None:
        async with slots:
            try:
                turn = scoped.structured_turn(River, DOCUMENTS[i]).max_output_tokens(200)
                save(i, (await turn.collect()).value)
            except lutum.LutumError as error:  # caught here, or it would cancel the others
                failures[type(error).__name__] += 1

    async with llm.within(cost_usd="2.00", on_spent="drain") as scoped, anyio.create_task_group() as group:
        for i in sorted(set(range(len(DOCUMENTS))) - before):
            group.start_soon(extract, scoped, i)
    spent = scoped.budget.spent.cost_usd
    print(f"{len(before)} were done, {len(saved())} are; {spent} USD; failures: {dict(failures)}")


def answer(request: WireRequest) -> Reply | Status:
    if b"River 13 " in request.body:
        return Status(529, "overloaded_error")
    return Reply('{"name":"River","km":7}' if b"River 17 " not in request.body else '{"name":"River"}')


REPLIES = answer

if __name__ == "__main__":
    run(main, REPLIES)
