"""What the store refuses, and damaged, locked and full databases: typed errors, nothing half written."""

import os
import re
import sqlite3
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from store_parts import TOOLS, count, grow, held, llm

from lutum import (
    BranchExists,
    NoSuchBranch,
    RoundOpen,
    Session,
    StaleBranch,
    StoreBusy,
    StoreCorrupt,
    StoreError,
    StoreFormat,
    StoreValue,
    Transcript,
    UsageError,
)
from lutum.store import connect


@pytest.mark.parametrize(
    "url",
    ["", "chats.db", "sqlite:", "sqlite::memory:", "mysql://u:secret@h/d", "sqlite:a\0b"],
    ids=["nothing", "no kind", "no file", "two memories", "another database", "a null byte"],
)
def test_wrong_urls(url: str) -> None:
    """Refused by `connect`, without a password in the message."""
    with pytest.raises(StoreValue) as caught:
        connect(url)
    assert "secret" not in str(caught.value)


@pytest.mark.skipif(os.name == "nt", reason="a path of Windows has a drive")
def test_a_relative_path_behind_three_slashes_is_refused(tmp_path: Path) -> None:
    """Such a URL would create a file at the root. One slash, an existing file and a folder are clear."""
    name = f"{tmp_path.name}.db"
    expected = f"sqlite:///{name} is the absolute path /{name}; for the current folder, write sqlite:{name}"
    with pytest.raises(StoreValue, match=re.escape(expected)):
        connect(f"sqlite:///{name}")
    assert connect(f"sqlite:/{name}").url == f"sqlite:/{name}"
    assert connect(f"sqlite://{tmp_path}/a.db").url == f"sqlite://{tmp_path}/a.db"
    existing = next(entry for entry in os.listdir("/") if entry)
    assert connect(f"sqlite:///{existing}").url == f"sqlite:///{existing}"


async def test_wrong_values(any_url: str) -> None:
    """Each is of the store's errors, and names its field."""
    with pytest.raises(StoreValue, match="timeout"):
        connect(any_url, timeout=0)
    async with connect(any_url) as store:
        branch = await store.create("b")
        for name in ("", " ", "a\nb", "a\x00b", "\x1b[2J", "\ud800", "x" * 501, "\x85"):
            with pytest.raises(StoreValue, match="name"):
                await store.branch(name, create=True)
        assert (await store.create("ünï cödé %_ 🌍")).name == "ünï cödé %_ 🌍"
        with pytest.raises(StoreValue, match="metadata"):
            await store.create("m", metadata={"a": 1})  # type: ignore[dict-item]
        with pytest.raises(StoreValue, match="older_than"):
            await store.vacuum(older_than=-1)
        for digest in ("", "xyz", "00" * 16):
            with pytest.raises(StoreValue, match="digest"):
                await branch.at(digest)
        for index in (-1, 1, 99):
            with pytest.raises(StoreValue, match="index"):
                await branch.siblings(index)
        for place in (-1, 1):
            with pytest.raises(StoreValue, match="at"):
                branch.session(llm(), at=place)
            with pytest.raises(StoreValue, match="at"):
                await branch.fork("f", at=place)
        with pytest.raises(StoreValue, match="never held"):
            await branch.move("00" * 16)
        with pytest.raises(BranchExists):
            await branch.fork("b")
        with pytest.raises(UsageError, match="open already"):
            await store.__aenter__()
    with pytest.raises(UsageError, match="async with"):
        await store.branches()
    with pytest.raises(NoSuchBranch):
        async with connect("memory:") as empty:
            await empty.branch("b")


async def test_a_missing_database(tmp_path: Path) -> None:
    """`create=False` makes no file; a folder that is not there is an error of the store."""
    with pytest.raises(StoreError, match="there is no database"):
        async with connect(f"sqlite:{tmp_path}/none.db", create=False):
            pass
    assert os.listdir(tmp_path) == []
    with pytest.raises(StoreError, match="unable to open"):
        async with connect(f"sqlite:{tmp_path}/none/none.db"):
            pass
    sqlite3.connect(tmp_path / "empty.db").close()
    with pytest.raises(StoreFormat, match="holds no store"):
        async with connect(f"sqlite:{tmp_path}/empty.db", create=False):
            pass
    (tmp_path / "text.db").write_text("This is not a database. " * 100)
    with pytest.raises(StoreFormat, match="not a database"):
        async with connect(f"sqlite:{tmp_path}/text.db"):
            pass


async def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    """The error names what could not be reached, and no password."""
    pytest.importorskip("psycopg")
    with pytest.raises(StoreError, match="postgresql") as caught:
        async with connect(f"postgresql://u:secret@/d?host={tmp_path}"):
            pass
    assert "secret" not in str(caught.value)


@pytest.mark.process
async def test_a_locked_database(tmp_path: Path) -> None:
    """StoreBusy after `timeout`, and nothing is half written."""
    async with connect(f"sqlite:{tmp_path}/a.db", timeout=0.2) as store:
        branch = await store.create("b")
        session = branch.session(llm())
        session.push_user("q")
        other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
        other.execute("begin immediate")
        with pytest.raises(StoreBusy, match="another process writes"):
            await branch.save(session)
        other.close()
        assert len(await branch.pull()) == 0
        await branch.save(session)


@pytest.mark.process
async def test_a_locked_row(postgres_server: str) -> None:
    """StoreBusy on PostgreSQL, where a row is locked."""
    import postgres
    import psycopg

    url = postgres.url(postgres_server)
    async with connect(url, timeout=0.3) as store:
        branch = await store.create("b")
        session = branch.session(llm())
        session.push_user("q")
        with psycopg.connect(url) as other:
            other.execute("select 1 from lutum_branch for update")
            with pytest.raises(StoreBusy):
                await branch.save(session)
        await branch.save(session)


async def test_a_full_disk_in_store(tmp_path: Path) -> None:
    """The error names it, and nothing is half written."""
    async with connect(f"sqlite:{tmp_path}/a.db") as store:
        branch = await store.create("b")
        session = branch.session(llm())
        session.push_user("x" * 1_000_000)
        database: Any = store._runtime._database
        pages = database.connection.execute("pragma page_count").fetchone()[0]
        database.connection.execute(f"pragma max_page_count={pages + 5}")
        with pytest.raises(StoreError, match="full"):
            await branch.save(session)
        assert len(await branch.pull()) == 0
        assert (await count(store))["lutum_node"] == 1
        database.connection.execute("pragma max_page_count=100000")
        await branch.save(session)


async def test_a_value_over_the_limit(tmp_path: Path) -> None:
    """The database's own limit, as an error of the store."""
    async with connect(f"sqlite:{tmp_path}/a.db") as store:
        branch = await store.create("b")
        database: Any = store._runtime._database
        database.connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000)
        session = branch.session(llm())
        session.push_user("x" * 20_000)
        with pytest.raises(StoreError, match="too big"):
            await branch.save(session)
        assert len(await branch.pull()) == 0


async def test_a_damaged_row(any_url: str) -> None:
    """It is named, whatever is wrong with it; the items before it can still be read."""
    async with connect(any_url) as store:
        branch = await store.create("b")
        session = branch.session(llm())
        grow(session, 3)
        await branch.save(session)
        node = bytes.fromhex(session.transcript.prefix(4).digest)
        lines = {
            b"{}": "is damaged",
            session.transcript.dump().split(b"\n")[2]: "is damaged",
        }
        for line, problem in lines.items():
            await store._runtime.do(
                lambda at, whole, line=line: at.run(
                    "update lutum_node set line = ? where digest = ?", line, node
                )
            )
            fresh = store._runtime.nodes
            fresh._known.clear()
            with pytest.raises(StoreCorrupt, match=f"item 3, {node.hex()}, {problem}"):
                await branch.pull()
            assert len(await branch.at(session.transcript.prefix(3).digest)) == 3


async def test_damaged_rows_of_other_tables(any_url: str) -> None:
    """A bill, a round and a result are named too."""
    async with connect(any_url) as store:
        branch, _, round = await held(store)

        async def damage(table: str, column: str) -> None:
            sql = f"update {table} set {column} = ?"
            await store._runtime.do(lambda at, whole: at.run(sql, b"{"))

        await damage("lutum_bill", "usage")
        with pytest.raises(StoreCorrupt, match="the bill of turn"):
            await branch.usage()
        await damage("lutum_call", "result")
        with pytest.raises(StoreCorrupt, match="the result of call '1' of branch 'b'"):
            await branch.held(TOOLS)
        await damage("lutum_round", "data")
        with pytest.raises(StoreCorrupt, match="the open round of branch 'b' is damaged"):
            await branch.held(TOOLS)
        assert round.unanswered


async def test_a_program_that_changes_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path is that of the start, and a link is the file behind it."""
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    async with connect("sqlite:link/a.db") as one, connect(f"sqlite:{tmp_path}/data/a.db") as two:
        monkeypatch.chdir("/")
        branch, _, round = await held(one)
        await branch.start(round.calls[0])
        loaded = await (await two.branch("b")).held(TOOLS)
        assert loaded is not None
        started = loaded.calls[0].started
        assert started is not None
        assert started.alive
    assert sorted(os.listdir(tmp_path / "data")) == ["a.db"]


async def test_a_clock_that_moves_back(any_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Times are for people; nothing is decided by them but the age of what nobody can reach."""
    async with connect(any_url) as store:
        branch, session, round = await held(store)
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() - 10_000_000)
        session.commit_round(round, await round.run(journal=branch))
        await branch.save(session)
        assert (await branch.info()).updated < (await branch.info()).created
        assert await store.vacuum() == 0
        monkeypatch.undo()
        assert (await store.branch("b")).transcript == session.transcript
        assert await store.vacuum(older_than=0) == 0


@pytest.mark.slow
@pytest.mark.process
async def test_a_vacuum_cannot_tear_a_branch(postgres_server: str) -> None:
    """On PostgreSQL, while branches are saved, dropped, and saved again with rows that nobody could reach."""
    import postgres

    url = postgres.url(postgres_server)
    ended = anyio.Event()
    saves = 0

    async def work(number: int) -> None:
        nonlocal saves
        async with connect(url) as store:
            for turn in range(25):
                # Each dropped branch leaves rows that the next one of equal content meets.
                session = Session(llm())
                grow(session, 3 + turn % 2)
                branch = await store.branch(f"b {number}", create=True)
                with suppress(StoreBusy):
                    await branch.save(session)
                    saves += 1
                    grow(session, 1, f"{number} ")
                    await branch.save(session)
                    store._runtime.nodes._known.clear()
                    assert await (await store.branch(branch.name)).pull() == session.transcript
                await store.delete(branch.name)

    async def sweep() -> None:
        async with connect(url) as store:
            while not ended.is_set():
                with suppress(StoreBusy):
                    await store.vacuum(older_than=0)
                await anyio.lowlevel.checkpoint()

    with anyio.fail_after(120):
        async with anyio.create_task_group() as outer:
            outer.start_soon(sweep)
            async with anyio.create_task_group() as workers:
                for number in range(4):
                    workers.start_soon(work, number)
            ended.set()
    assert saves > 50


async def test_one_branch_open_twice(url: str) -> None:
    """Two objects of one branch, in one process or two, are two views of one row."""
    async with connect(url) as one, connect(url) as two:
        first, second = await one.branch("b", create=True), await two.branch("b", create=True)
        session = first.session(llm())
        session.push_user("q")
        await first.save(session)
        assert len(second.transcript) == 0
        late = second.session(llm())
        late.push_user("late")
        with pytest.raises(StaleBranch, match=r"branch\.pull"):
            await second.save(late)
        assert await second.pull() == session.transcript


async def test_an_open_round_is_not_passed_over(any_url: str) -> None:
    """By a move as little as by a save; a fork has no round."""
    async with connect(any_url) as store:
        branch, _, _ = await held(store)
        with pytest.raises(RoundOpen):
            await branch.move(Transcript())
        fork = await branch.fork("f")
        assert await fork.held(TOOLS) is None
        assert (await branch.info()).open_round
        assert not (await fork.info()).open_round
