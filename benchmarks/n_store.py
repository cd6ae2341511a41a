"""(n) The store: appends, loads, forks, rows and bytes, beside the conversation stores of other libraries."""

from __future__ import annotations

import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import anyio
from measure import Report, Table, by_hand

import lutum
import lutum.store
from lutum.testing import ScriptedAdapter

TURNS = 10_000
FORKS = 100
SHARED_TURNS = 300
"""The turns of all stores in the comparison. A checkpointer writes the whole conversation for each turn."""


class Figures(NamedTuple):
    """The figures of one store for a conversation and its forks."""

    append: list[float]
    load: float
    cpu: float
    fork: float
    rows: int
    size: int


def question(number: int) -> str:
    return f"How deep is the river at mile {number}?"


def answer(number: int) -> str:
    return f"It is {number} feet deep there, give or take a few. " * 4


def grow(session: lutum.Session, number: int) -> None:
    session.push_user(question(number))
    text = answer(number)
    wire = b'[{"type":"text","text":"%s"}]' % text.encode()
    turn = lutum.CommittedTurn("claude", "api.anthropic.com", "claude-x", wire, (lutum.TextItem(text),))
    session.push_turn(turn)


async def ours(url: str, turns: int, forks: int, size: Callable[[], tuple[int, int]]) -> Figures:
    """Append each turn of one conversation alone, then fork it and append ten turns to each fork."""
    append, forked = list[float](), list[float]()
    llm = lutum.Lutum(ScriptedAdapter([]))
    async with lutum.store.connect(url) as store:
        branch = await store.create("main")
        session = branch.session(llm)
        for number in range(turns):
            grow(session, number)
            append.append(await timed(branch, session))
        for number in range(forks):
            at = len(session.transcript) - 2 * (number % 50)
            before = time.perf_counter()
            fork = await branch.fork(f"fork {number}", at=at)
            forked.append(time.perf_counter() - before)
            other = fork.session(llm)
            for turn in range(10):
                grow(other, turns * (number + 1) + turn)
                append.append(await timed(fork, other))
        kept = session.transcript
    del session, branch, fork, other
    async with lutum.store.connect(url) as store:
        before, worked = time.perf_counter(), time.process_time()
        loaded = (await store.branch("main")).transcript
        load, cpu = time.perf_counter() - before, time.process_time() - worked
        assert loaded == kept
    return Figures(append, load, cpu, statistics.median(forked), *size())


async def timed(branch: lutum.store.StoredBranch, session: lutum.Session) -> float:
    before = time.perf_counter()
    await branch.save(session)
    return time.perf_counter() - before


def langgraph(path: Path, turns: int, forks: int) -> Figures:
    """LangGraph's SQLite checkpointer: one checkpoint for each turn, as a graph of one step writes it."""
    from langchain_core.messages import AIMessage, HumanMessage
    from langgraph.checkpoint.base import empty_checkpoint
    from langgraph.checkpoint.sqlite import SqliteSaver

    append, forked = list[float](), list[float]()
    connection = sqlite3.connect(path, check_same_thread=False)
    saver = SqliteSaver(connection)
    saver.setup()
    connection.execute("pragma synchronous=full")

    def put(config: Any, messages: list[Any], step: int) -> Any:
        checkpoint = empty_checkpoint()
        checkpoint["channel_values"] = {"messages": list(messages)}
        checkpoint["channel_versions"] = {"messages": step}
        return saver.put(config, checkpoint, {"source": "loop", "step": step}, {"messages": step})

    def thread(name: str) -> dict[str, Any]:
        return {"configurable": {"thread_id": name, "checkpoint_ns": ""}}

    def said(number: int) -> list[Any]:
        return [HumanMessage(question(number), id=f"q{number}"), AIMessage(answer(number), id=f"a{number}")]

    config: Any = thread("main")
    messages = list[Any]()
    for number in range(turns):
        messages += said(number)
        before = time.perf_counter()
        config = put(config, messages, number)
        append.append(time.perf_counter() - before)
    for number in range(forks):
        mine = messages[: len(messages) - 2 * (number % 50)]
        before = time.perf_counter()
        there = put(thread(f"fork {number}"), mine, 0)
        forked.append(time.perf_counter() - before)
        for turn in range(10):
            mine = mine + said(turns * (number + 1) + turn)
            before = time.perf_counter()
            there = put(there, mine, turn + 1)
            append.append(time.perf_counter() - before)
    before, worked = time.perf_counter(), time.process_time()
    found = saver.get_tuple(thread("main"))
    load, cpu = time.perf_counter() - before, time.process_time() - worked
    assert found is not None
    assert len(found.checkpoint["channel_values"]["messages"]) == 2 * turns
    rows, size = sqlite_size(path, connection)
    connection.close()
    return Figures(append, load, cpu, statistics.median(forked), rows, size)


async def pydantic_ai(turns: int, forks: int) -> Figures:
    """Pydantic AI's conversation store. It exists only in memory, so nothing is written to a disk."""
    from pydantic_ai.conversation import Conversation
    from pydantic_ai.conversation_store import InMemoryConversationStore
    from pydantic_ai.messages import ModelRequest, ModelResponse, TextPart, UserPromptPart

    def said(number: int) -> list[Any]:
        asked = ModelRequest([UserPromptPart(question(number))])
        return [asked, ModelResponse([TextPart(answer(number))])]

    append, forked = list[float](), list[float]()
    store = InMemoryConversationStore()
    rows = 0
    talk = Conversation(messages=[], conversation_id="main")
    for number in range(turns):
        talk.messages.extend(said(number))
        before = time.perf_counter()
        rows += len(await store.save(talk))
        append.append(time.perf_counter() - before)
    for number in range(forks):
        before = time.perf_counter()
        other = await store.fork(
            "main", at=2 * turns - 2 * (number % 50), new_conversation_id=f"fork {number}"
        )
        forked.append(time.perf_counter() - before)
        for turn in range(10):
            other.messages.extend(said(turns * (number + 1) + turn))
            before = time.perf_counter()
            rows += len(await store.save(other))
            append.append(time.perf_counter() - before)
    before, worked = time.perf_counter(), time.process_time()
    loaded = await store.load("main")
    load, cpu = time.perf_counter() - before, time.process_time() - worked
    assert loaded is not None
    assert len(loaded.messages) == 2 * turns
    return Figures(append, load, cpu, statistics.median(forked), rows, 0)


def sqlite_size(path: Path, connection: sqlite3.Connection | None = None) -> tuple[int, int]:
    """Return the rows of all tables, and the bytes of the file."""
    with connection or sqlite3.connect(path) as database:
        database.execute("pragma wal_checkpoint(truncate)")
        names = [row[0] for row in database.execute("select name from sqlite_master where type = 'table'")]
        rows = sum(database.execute(f"select count(*) from {name}").fetchone()[0] for name in names)
    if connection is None:
        database.close()
    return rows, path.stat().st_size


def row(name: str, found: Figures) -> tuple[str, ...]:
    cuts = statistics.quantiles(found.append, n=100)
    return (
        name,
        f"{cuts[49] * 1e3:.2f}",
        f"{cuts[98] * 1e3:.2f}",
        f"{found.load * 1e3:.1f}",
        f"{found.cpu * 1e3:.1f}",
        f"{found.fork * 1e3:.2f}",
        f"{found.rows:,}",
        f"{found.size / 1e6:.1f}" if found.size else "-",
    )


HEAD = ("", "append p50 ms", "append p99 ms", "load ms", "load CPU ms", "fork ms", "rows", "MB on disk")


def postgres(turns: int, forks: int) -> Figures | None:
    """PostgreSQL, if a server is installed; `LUTUM_POSTGRES` names another server."""
    sys.path.append(str(Path(__file__).parent.parent / "tests"))
    import postgres as server

    if server.tools() is None:
        return None
    import psycopg

    with server.server() as root:
        url = server.url(root)

        def size() -> tuple[int, int]:
            with psycopg.connect(url) as connection:
                tables = "('lutum_node', 'lutum_branch', 'lutum_bill', 'lutum_left')"
                found = connection.execute(
                    f"select sum(pg_total_relation_size(c.oid)) from pg_class c where c.relname in {tables}"
                    " and c.relnamespace = current_schema()::regnamespace"
                ).fetchone()
                nodes = connection.execute("select count(*) from lutum_node").fetchone()
                branches = connection.execute("select count(*) from lutum_branch").fetchone()
            assert found
            assert nodes
            assert branches
            return nodes[0] + branches[0], int(found[0])

        return anyio.run(ours, url, turns, forks, size)


def measure(url: str, quick: bool) -> Report:
    turns, forks = (1_000, 10) if quick else (TURNS, FORKS)
    shared, shared_forks = (100, 3) if quick else (SHARED_TURNS, 10)
    report = Report(
        "(n) The store",
        "Each turn is appended alone, with `synchronous=FULL`; each fork gets ten more turns. A load is"
        " measured in a process that has read nothing before. Pydantic AI has only a store in memory, so its"
        " figures include no disk; LangGraph's checkpointer writes the whole conversation for each turn.",
    )
    with tempfile.TemporaryDirectory(dir=os.environ.get("LUTUM_BENCH_DIR")) as folder:

        def sqlite(name: str, turns: int, forks: int) -> Figures:
            path = Path(folder, f"{name}.db")
            return anyio.run(ours, f"sqlite:{path}", turns, forks, lambda: sqlite_size(path))

        big = sqlite("big", turns, forks)
        rows = [row("lutum, SQLite", big)]
        if (found := postgres(turns, forks)) is not None:
            rows.append(row("lutum, PostgreSQL", found))
        report.tables.append(Table(f"{turns:,} turns, {forks} forks", HEAD, tuple(rows)))
        few = sqlite("few", shared, shared_forks)
        theirs = langgraph(Path(folder, "langgraph.db"), shared, shared_forks)
        memory = anyio.run(pydantic_ai, shared, shared_forks)
        beside = (
            row("lutum, SQLite", few),
            row("langgraph, SqliteSaver", theirs),
            row("pydantic-ai, memory", memory),
        )
        report.tables.append(Table(f"{shared:,} turns, {shared_forks} forks", HEAD, beside))
    # Not items: three rows for the root, the version and the first branch.
    forked = big.rows - 2 * turns - 20 * forks - 3
    report.check("rows of a fork, beside its own turns", forked / forks)
    report.check("bytes against langgraph's", few.size / theirs.size)
    if not quick:
        report.check("load of 10,000 turns, CPU", big.cpu * 1e3, " ms")
    return report


if __name__ == "__main__":
    by_hand(measure)
