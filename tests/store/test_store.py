"""What the store does beyond its conformance suite: counts, sessions, cancellations and versions."""

import asyncio
import sqlite3
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from store_parts import TOOLS, count, grow, held, llm

import lutum
from lutum import (
    CallTaken,
    Session,
    StaleBranch,
    StaleCommit,
    StoreFormat,
    StoreValue,
    Tokens,
    Toolset,
    Transcript,
    Usage,
    UsageError,
)
from lutum.store import Store, connect
from lutum.store._runtime import StoreRuntime
from lutum.testing import CUT, Script

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
        with pytest.raises(StaleCommit, match="hold: the session's transcript is not the one"):
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
    with closing(sqlite3.connect(path)) as database, database:
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
    with closing(sqlite3.connect(path)) as database, database:
        assert database.execute("select value from lutum_store").fetchall() == [(2,)]
        assert database.execute("select tokens from lutum_bill").fetchall()[0] == (None,)
    database.close()


async def test_a_migration_of_each_database(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store of version 1 goes on at version 2, when several open it at once too."""
    from lutum.store import _branches, _rounds, _schema

    def no_bills(
        at: Any, nodes: Any, name: str, target: Any, expected: Any, bills: Any, *, whole: bool
    ) -> None:
        _branches.save(at, nodes, name, target, expected, (), whole=whole)

    with monkeypatch.context() as patch:
        patch.setattr(_schema, "VERSION", 1)
        patch.setattr(_rounds, "save", no_bills)  # version 1 had no column for tokens
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
    with pytest.raises(StoreFormat, match="version 99; this lutum reads versions up to 2"):
        async with connect(url):
            pass


async def test_token_ids_are_rows_of_their_turns(any_url: str) -> None:
    """Equal answers of two forks keep each their ids; a result that nobody committed has a row too."""
    ids = [Tokens((i,), (-0.5,), prompt=(1,)) for i in range(3)]
    async with connect(any_url) as store:
        branch = await store.create("b")
        session = branch.session(llm(*(Script(("42",), tokens=one) for one in ids), ["failed", CUT]))
        session.push_user("6*7?")
        await branch.save(session)
        forks = [await branch.fork(f"fork {number}") for number in range(2)]
        for fork in forks:
            tried = fork.session(session.llm)
            tried.commit_text(await tried.text_turn().collect())
            await fork.save(tried)
        lost = await session.text_turn().collect()
        with suppress(lutum.Interrupted):
            await session.text_turn().collect()
        await branch.save(session)
        for number, fork in enumerate(forks):
            head = await fork.pull()
            [turn] = await fork.turns()
            assert (turn.tokens, turn.digest, turn.error) == (ids[number], head.digest, "")
            assert isinstance(head[1], lutum.CommittedTurn)
            assert head[1].tokens == ids[number]
            assert turn.usage == await fork.usage()
        first, second = await branch.turns()
        assert (first.tokens, first.digest, first.usage) == (ids[2], None, lost.usage)
        assert (second.tokens, second.error) == (None, "Interrupted")
