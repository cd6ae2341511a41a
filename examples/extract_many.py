"""Extract values from a thousand documents, fifty at once, under one limit in dollars. Each value is stored
when it arrives, so you can kill the program at any time and start it again. Copy it for extraction jobs."""

import sqlite3
from collections import Counter
from contextlib import closing

import anyio
import msgspec
from _provider import run

import lutum
from lutum.testing.wire import Reply, Status, WireRequest

# A limit in dollars needs prices: `pip install '.[prices]'` in the clone of lutum.

DOCUMENTS = [f"River {i} is {i * 7 % 901} km long." for i in range(1_000)]
LIMIT = "2.00"


class River(msgspec.Struct):
    name: str
    km: int


async def main(llm: lutum.Lutum) -> None:
    failures, slots = Counter[str](), anyio.CapacityLimiter(50)
    with closing(sqlite3.connect("rivers.db", isolation_level=None)) as db:
        db.execute("pragma journal_mode = wal")
        db.execute("create table if not exists rivers (id integer primary key, name text, km integer)")
        done = {id for (id,) in db.execute("select id from rivers")}

        async def extract(id: int, scoped: lutum.Lutum) -> None:
            async with slots:
                try:
                    turn = scoped.structured_turn(River, DOCUMENTS[id]).max_output_tokens(200)
                    river = (await turn.collect()).value
                    db.execute("insert into rivers values (?, ?, ?)", (id, river.name, river.km))
                except lutum.LutumError as error:  # not caught, it would cancel the others
                    failures[type(error).__name__] += 1

        limit = llm.within(cost_usd=LIMIT, on_exhausted="wait", on_spent="drain")
        async with limit as scoped, anyio.create_task_group() as group:
            for id in sorted(set(range(len(DOCUMENTS))) - done):
                group.start_soon(extract, id, scoped)
        [stored] = db.execute("select count(*) from rivers").fetchone()
    print(f"{len(done)} were done before, {stored} are done now, for {scoped.budget.spent.cost_usd} USD")
    for failure, count in sorted(failures.items()):
        print(f"{failure:<20} {count:>4}")


def answer(request: WireRequest) -> Reply | Status:
    if b"River 13 " in request.body:
        return Status(529, "overloaded_error")
    return Reply('{"name":"River","km":7}' if b"River 17 " not in request.body else '{"name":"River"}')


REPLIES = answer

if __name__ == "__main__":
    run(main, REPLIES)
