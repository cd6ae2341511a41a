"""What the store does beyond its conformance suite: counts, cancellations, versions, and bad input."""

import asyncio
import os
import sqlite3
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

import lutum
from lutum import (
    BranchExists,
    CallTaken,
    CommittedTurn,
    Lutum,
    NeedsTools,
    NoSuchBranch,
    RoundOpen,
    Session,
    StaleBranch,
    StaleCommit,
    StoreBusy,
    StoreCorrupt,
    StoreError,
    StoreFormat,
    StoreValue,
    TextItem,
    ToolCallReady,
    Toolset,
    Transcript,
    Usage,
    UsageError,
)
from lutum.store import Store, StoredBranch, connect
from lutum.store._runtime import StoreRuntime
from lutum.testing import Script, ScriptedAdapter


def llm(*scripts: Any) -> Lutum:
    return Lutum(ScriptedAdapter(scripts))


def grow(session: Session, turns: int, word: str = "") -> None:
    """Push pairs of a question and a turn."""
    for _ in range(turns):
        place = f"{word}{len(session.transcript)}"
        session.push_user(f"question {place}")
        text = f"answer {place}"
        session.push_turn(CommittedTurn("scripted", "s", "m", b'["%s"]' % text.encode(), (TextItem(text),)))


@lutum.tool
async def pay(to: str) -> str:
    """Pay."""
    return f"paid {to}"


TOOLS = Toolset(pay)


async def held(store: Store, name: str = "b") -> tuple[StoredBranch, Session, lutum.ToolRound[Any]]:
    """A branch with an open round of one call."""
    branch = await store.create(name)
    call = Script([ToolCallReady("1", "pay", '{"to":"Ann"}')], finish_reason="tool_calls")
    session = branch.session(llm(call, ["done"]))
    session.push_user("Pay.")
    outcome = await session.text_turn().tools(TOOLS).collect()
    assert isinstance(outcome, NeedsTools)
    await branch.hold(session, outcome.round)
    return branch, session, outcome.round


# What it costs.


async def test_two_forks_of_a_long_conversation_cost_two_rows(any_url: str) -> None:
    """A fork is a name and a head."""
    async with connect(any_url) as store:
        branch = await store.create("long")
        session = branch.session(llm())
        grow(session, 500)
        await branch.save(session)
        before = await count(store)
        await branch.fork("one")
        await branch.fork("two", at=400)
        after = await count(store)
        assert sum(after.values()) - sum(before.values()) == 2
        assert after["lutum_branch"] - before["lutum_branch"] == 2


async def count(store: Store) -> dict[str, int]:
    """How many rows each table has."""
    names = ("node", "branch", "left", "round", "call", "bill")

    def rows(at: Any, whole: bool) -> dict[str, int]:
        return {f"lutum_{name}": at.rows(f"select count(*) from lutum_{name}")[0][0] for name in names}

    return await store._runtime.do(rows, write=False)


async def test_a_save_writes_what_is_new(any_url: str) -> None:
    """And a load reads what this process lacks."""
    async with connect(any_url) as store:
        branch = await store.create("long")
        session = branch.session(llm())
        grow(session, 200)
        await branch.save(session)
        assert store.rows_written == 400
        grow(session, 1)
        await branch.save(session)
        await branch.save(session)
        assert store.rows_written == 402
        fork = await branch.fork("fork", at=300)
        assert store.rows_read == 0  # all of it is in this process
        edited = fork.session(llm())
        grow(edited, 2, "other ")
        await fork.save(edited)
        assert store.rows_written == 406


async def test_a_load_reads_what_this_process_lacks(url: str) -> None:
    """Another process reads each row once, and of a branch that it holds only what is new."""
    async with connect(url) as one, connect(url) as two:
        branch = await one.create("long")
        session = branch.session(llm())
        grow(session, 200)
        await branch.save(session)
        await branch.fork("fork", at=100)
        there = await two.branch("long")
        assert two.rows_read == pytest.approx(400, abs=64)
        before = two.rows_read
        grow(session, 3)
        await branch.save(session)
        await there.pull()
        assert two.rows_read - before == 6
        before = two.rows_read
        assert len((await two.branch("fork")).transcript) == 100
        assert two.rows_read == before  # it is a part of what is here


# Sessions and heads.


async def test_a_fork_of_a_session_saves_to_a_fork_of_the_branch(any_url: str) -> None:
    """Its transcript begins with the head that is there, so nothing can be lost."""
    async with connect(any_url) as store:
        branch = await store.create("b")
        session = branch.session(llm(["one"], ["two"]))
        session.push_user("q")
        await branch.save(session)
        best = await branch.fork("best")
        tried = session.fork()
        tried.commit_text(await tried.text_turn().collect())
        await best.save(tried)
        assert best.transcript == tried.transcript
        plain = Session(llm(), session.transcript)
        plain.push_user("more")
        await branch.save(plain)
        other = Session(llm())
        other.push_user("never here")
        with pytest.raises(StaleBranch):
            await branch.save(other)


async def test_the_bill_of_a_turn_is_written_once(any_url: str) -> None:
    """A result that another session collected and this one commits is one bill. Failed turns have theirs."""
    async with connect(any_url) as store:
        branch = await store.create("b")
        model = llm(["one"], ["two"])
        session = branch.session(model)
        session.push_user("q")
        fork = session.fork()
        session.commit_text(await fork.text_turn().collect())
        await branch.save(fork)
        await branch.save(session)
        assert (await count(store))["lutum_bill"] == 1
        assert await branch.usage() == Usage(10, 1)
        async with session.text_turn().stream() as turn:
            async for event in turn:
                if isinstance(event, lutum.TextDelta):
                    break
        await branch.save(session)
        bills = await store._runtime.do(
            lambda at, whole: at.rows("select error from lutum_bill"), write=False
        )
        assert sorted(error for (error,) in bills) == ["", "TurnNotFinished"]


async def test_a_round_needs_its_base(any_url: str) -> None:
    """`hold` takes the session where the round's turn was built."""
    async with connect(any_url) as store:
        branch, session, round = await held(store)
        assert await branch.discard()
        session.push_user("more")
        with pytest.raises(StaleCommit, match="hold: the session is not where"):
            await branch.hold(session, round)
        with pytest.raises(UsageError, match="str is not a round"):
            await branch.hold(session, "round")  # type: ignore[arg-type]


async def test_an_open_round_that_is_placed(any_url: str) -> None:
    """A transcript that ends in unanswered calls is held too."""
    async with connect(any_url) as store:
        branch, session, round = await held(store)
        await branch.discard()
        session.push_turn(round.turn)
        opened = session.open_round(TOOLS)
        await branch.hold(session, opened)
        loaded = await branch.held(TOOLS)
        assert loaded is not None
        assert loaded.placed
        session.commit_round(loaded, await loaded.run(journal=branch))
        await branch.save(session)
        assert await branch.held(TOOLS) is None
        assert len(branch.transcript) == 3


async def test_a_changed_toolset_makes_an_issue(any_url: str) -> None:
    """The round of a tool that is gone can still be committed."""
    async with connect(any_url) as store:
        branch, session, _ = await held(store)
        round = await branch.held(Toolset())
        assert round is not None
        assert [issue.reason for issue in round.issues] == ["unknown_tool"]
        session.commit_round(round, [])
        await branch.save(session)
        assert await branch.held(TOOLS) is None


async def test_a_late_process_finds_no_claim(any_url: str) -> None:
    """Once the round is committed, a process that still holds it can run nothing."""
    async with connect(any_url) as store:
        branch, session, _ = await held(store)
        late, round = await branch.held(TOOLS), await branch.held(TOOLS)
        assert late is not None
        assert round is not None
        session.commit_round(round, await round.run(journal=branch))
        await branch.save(session)
        with pytest.raises(CallTaken, match="does not hold its round any more"):
            await late.run(journal=branch)
        with pytest.raises(StoreValue, match="holds no open round"):
            await branch.answer(late.calls[0].key, "approved")


async def test_answers_of_people(any_url: str) -> None:
    """Each wrong one names what is wrong; the same one twice is one answer."""
    async with connect(any_url) as store:
        branch, _, round = await held(store)
        [call] = round.calls
        no = call.reject("no")
        with pytest.raises(StoreValue, match="answers the call '9'"):
            await branch.answer(call.key, lutum.ToolResult("9", no.content))
        with pytest.raises(StoreValue, match="neither 'approved' nor a ToolResult"):
            await branch.answer(call.key, "yes")  # type: ignore[arg-type]
        await branch.answer(call.key, no)
        await branch.answer(call.key, no)
        with pytest.raises(CallTaken, match="has a result already"):
            await branch.answer(call.key, call.complete("yes"))


# Cancellation.


class Slow:
    """Makes each transaction take a while, and tells when it runs."""

    def __init__(self, store: Store, seconds: float) -> None:
        self.entered = threading.Event()
        runtime: StoreRuntime = store._runtime
        attempt = runtime.attempt

        def slowly(operation: Any, *, write: bool) -> Any:
            self.entered.set()
            time.sleep(seconds)
            return attempt(operation, write=write)

        runtime.attempt = slowly  # type: ignore[method-assign]


CALLS = ["create", "save", "hold", "answer", "discard", "fork", "move", "delete", "start"]


@pytest.mark.process
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("native", [True, False], ids=["native", "scope"])
async def test_a_cancelled_call_has_happened_or_not(
    call: str, native: bool, url: str, anyio_backend_name: str
) -> None:
    """Cancelled while its thread works, a call waits for the thread; afterwards nobody writes any more."""
    if native and anyio_backend_name != "asyncio":
        pytest.skip("a native cancellation is asyncio's")
    async with connect(url) as store, connect(url) as other:
        branch, session, round = await held(store)
        if call in ("save", "move", "hold"):
            await branch.discard()
        back = branch.session(llm())
        back.transcript = Transcript()
        back.push_user("back")
        acts: dict[str, Any] = {
            "create": lambda: store.create("new"),
            "save": lambda: branch.save(back),
            "hold": lambda: branch.hold(session, round),
            "answer": lambda: branch.answer(round.calls[0].key, "approved", by="ann"),
            "discard": branch.discard,
            "fork": lambda: branch.fork("new"),
            "move": lambda: branch.move(branch.transcript.prefix(0)),
            "delete": lambda: store.delete("b"),
            "start": lambda: branch.start(round.calls[0]),
        }
        slow = Slow(store, 0.05)
        await cancel_while(slow.entered, acts[call], native=native)
        first = await state(other)
        await anyio.sleep(0.1)
        assert await state(other) == first, "a thread wrote after its call had ended"
        if call == "start" and native:
            assert first[-1] == [("b", None)], "a cancelled claim stands"


async def cancel_while(entered: threading.Event, act: Any, *, native: bool) -> None:
    """Cancel a call once its thread works."""

    async def wait() -> None:
        await anyio.to_thread.run_sync(lambda: entered.wait(10))

    if native:
        task = asyncio.ensure_future(act())
        await wait()
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return
    async with anyio.create_task_group() as group:

        async def run() -> None:
            with suppress(lutum.LutumError):
                await act()

        group.start_soon(run)
        await wait()
        group.cancel_scope.cancel()


async def state(store: Store) -> list[Any]:
    """What another process sees."""

    def read(at: Any, whole: bool) -> list[Any]:
        heads = at.rows("select name, head from lutum_branch order by name")
        rounds = at.rows("select turn from lutum_round order by branch")
        approvals = at.rows("select approved_by from lutum_call order by key")
        sql = "select b.name, c.claim from lutum_call c join lutum_branch b on b.id = c.branch order by key"
        claims = at.rows(sql)
        return [[(n, bytes(h)) for n, h in heads], [bytes(t) for (t,) in rounds], approvals, claims]

    return await store._runtime.do(read, write=False)


@pytest.mark.parametrize("k", range(1, 12))
async def test_a_cancellation_before_a_call_does_nothing(k: int, any_url: str) -> None:
    """A call that is cancelled before its first step changes nothing; one that ended stays."""
    async with connect(any_url) as store:
        branch = await store.create("b")
        session = branch.session(llm())
        session.push_user("q")
        with anyio.CancelScope() as scope:
            scope.cancel()
            await branch.save(session)
        assert scope.cancelled_caught
        assert len(await branch.pull()) == 0
        with anyio.move_on_after(k / 1000):
            await branch.save(session)
        assert len(await branch.pull()) in (0, 1)
        await branch.save(session)
        assert len(await branch.pull()) == 1


# Versions.


GOLDEN = Path(__file__).parent.parent / "golden" / "store-1.sql"


async def test_a_store_of_version_1_is_migrated(tmp_path: Path) -> None:
    """The golden database was written by the first version; all of it is read."""
    path = tmp_path / "old.db"
    with sqlite3.connect(path) as database:
        database.executescript(GOLDEN.read_text())
    database.close()
    async with connect(f"sqlite:{path}") as store:
        assert [found.name for found in await store.branches()] == ["fork", "main", "open"]
        main = await store.branch("main")
        assert [item.text for item in main.transcript] == [
            "Name a river.",
            "The Nile.",
            "Another.",
            "The Po.",
        ]
        assert [one.current for one in await main.siblings(2)] == [False, True]
        assert (await main.usage()).total_tokens == 33
        fork = await store.branch("fork")
        assert (await fork.info()).metadata == {"user": "ann"}
        assert fork.transcript == main.transcript[:2]
        round = await (await store.branch("open")).held(TOOLS)
        assert round is not None
        approved = round.calls[0].approved
        assert approved is not None
        assert approved.by == "ann"
        assert round.calls[1].answer is not None
        started = round.calls[2].started
        assert started is not None
        assert not started.alive
    with sqlite3.connect(path) as database:
        assert database.execute("select value from lutum_store").fetchall() == [(2,)]
        assert database.execute("select tokens from lutum_bill").fetchall()[0] == (None,)
    database.close()


async def test_a_migration_of_each_database(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store of version 1 goes on at version 2, when several open it at once too."""
    from lutum.store import _schema

    with monkeypatch.context() as patch:
        patch.setattr(_schema, "VERSION", 1)
        async with connect(url) as store:
            await held(store)

    async def use() -> None:
        async with connect(url) as store:
            assert await (await store.branch("b")).held(TOOLS) is not None

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(use)


async def test_a_newer_store_is_refused(url: str) -> None:
    """By name, and nothing is written to it."""
    async with connect(url) as store:
        await store._runtime.do(lambda at, whole: at.run("update lutum_store set value = 99"))
    with pytest.raises(StoreFormat, match="version 99; this lutum reads up to 2"):
        async with connect(url):
            pass


# Bad input.


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


async def test_a_full_disk(tmp_path: Path) -> None:
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
