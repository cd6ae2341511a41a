"""`check_store`: the conformance suite of stores, for any database."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any

import anyio
import msgspec

from lutum._lutum import Lutum
from lutum._tools.function import tool
from lutum._tools.round import NeedsTools, ToolRound
from lutum._tools.toolset import Toolset
from lutum._values.errors import (
    BranchExists,
    CallTaken,
    Interrupted,
    NoSuchBranch,
    RoundOpen,
    StaleBranch,
    StoreError,
)
from lutum._values.events import ToolCallReady
from lutum._values.items import Text
from lutum._values.results import CommittedTurn, TextItem, Usage
from lutum.store import Store, StoredBranch
from lutum.testing._scripted import CUT, ScriptedAdapter

Connect = Callable[[], AbstractAsyncContextManager[Store]]


async def check_store(connect: Connect, *, shared: bool = True) -> None:
    """Check a store: heads move by compare-and-set, nothing is lost, and no call runs twice.

    It needs no network. It leaves branches with random names in the store. It runs under virtual time if the
    store uses no thread. If cancelled, it stops.

    A checkpoint.

    Args:
      connect: opens the store. It is called several times.
      shared: whether all stores that `connect` opens have the same branches. If not, each check uses one
        store in both roles.

    Raises:
      AssertionError: the store breaks a promise. The message names the promise.
    """
    for check in _CHECKS:
        async with connect() as one, _second(connect, one, shared) as two:
            with _naming(check.__name__.removeprefix("_").replace("_", " ")):
                await check(one, two, f"check {secrets.token_hex(8)}")


async def _what_is_saved_is_loaded(one: Store, two: Store, name: str) -> None:
    branch = await one.create(name, metadata={"user": "ann %_\x00"})
    session = branch.session(Lutum(ScriptedAdapter([["one"]])))
    session.push_system("Be brief.")
    session.push_user([Text("é\x00\u2028")])
    wire = b'[{"n": 1e2}]'
    session.push_turn(CommittedTurn("scripted", "s", "m", wire, (TextItem("number"),), tools=()))
    await branch.save(session)
    session.push_user("q")
    session.commit_text(await session.text_turn().collect())
    await branch.save(session)
    await branch.save(session)
    there = await two.branch(name)
    assert there.transcript == session.transcript, "the loaded transcript differs from the saved one"
    turn = there.transcript[2]
    assert isinstance(turn, CommittedTurn), "a loaded item has another type"
    assert turn.wire == wire, "the digits of a number changed"
    found = await there.info()
    assert found.metadata == {"user": "ann %_\x00"}, "metadata changed"
    assert found.items == len(session.transcript), "the number of items is wrong"
    assert await there.usage() == Usage(10, 1), "a turn's bill was lost, or written twice"


async def _one_of_two_sessions_wins(one: Store, two: Store, name: str) -> None:
    first = (await one.branch(name, create=True)).session(Lutum(ScriptedAdapter([])))
    branch, there = await one.branch(name), await two.branch(name)
    second = there.session(Lutum(ScriptedAdapter([])))
    tab = branch.session(Lutum(ScriptedAdapter([])))
    first.push_user("from one")
    second.push_user("from two")
    tab.push_user("from a second tab of one")
    await branch.save(tab)
    for place, session in ((branch, first), (there, second)):
        try:
            await place.save(session)
        except (StaleBranch, NoSuchBranch) as exc:
            assert isinstance(exc, StaleBranch), "NoSuchBranch was raised instead of StaleBranch"
            assert exc.found == tab.transcript.digest, "StaleBranch.found is not the current head"
            assert exc.common == 0, "StaleBranch.common is wrong"
        else:
            raise AssertionError("a second save overwrote the first")
    assert await there.pull() == tab.transcript, "pull() does not return the head"
    await there.save(there.session(Lutum(ScriptedAdapter([]))))


async def _forks_and_other_ends_stay_reachable(one: Store, two: Store, name: str) -> None:
    branch = await one.create(name)
    session = branch.session(Lutum(ScriptedAdapter([])))
    for text in ("a", "b", "c"):
        session.push_user(text)
    await branch.save(session)
    kept = session.transcript
    fork = await branch.fork(f"{name} fork", at=2)
    assert fork.transcript == kept[:2], "a fork has other items than it was made with"
    edited = branch.session(Lutum(ScriptedAdapter([])), at=1)
    edited.push_user("B")
    await branch.save(edited)
    there = await two.branch(name)
    siblings = await there.siblings(1)
    assert [one.item for one in siblings] == [kept[1], edited.transcript[1]], "an edit lost the old item"
    assert [one.current for one in siblings] == [False, True], "siblings() does not mark the item of the head"
    assert siblings[0].tip == kept.digest, "the tip of a sibling is lost"
    assert await there.at(kept.digest) == kept, "an old tip cannot be read"
    other = await two.create(f"{name} other")
    try:
        await other.at(kept.digest)
    except StoreError:
        pass
    else:
        raise AssertionError("a branch returned items of another branch")
    assert await there.move(kept) == kept, "a branch cannot be moved back"
    assert [one.current for one in await there.siblings(1)] == [True, False], "the previous tip is lost"
    try:
        await branch.move(kept[:1], expected=edited.transcript)
    except StaleBranch:
        pass
    else:
        raise AssertionError("a branch was moved, although `expected` was not its head")


async def _branches_are_listed_by_name(one: Store, two: Store, name: str) -> None:
    for end in ("b%", "a_", "ab", "b"):
        await one.create(f"{name}{end}")
    names = [found.name.removeprefix(name) for found in await two.branches(name)]
    assert names == ["a_", "ab", "b", "b%"], f"branches are not in order: {names}"
    assert [one.name for one in await two.branches(f"{name}a_")] == [f"{name}a_"], (
        "a prefix is not matched literally"
    )
    page = await two.branches(name, after=f"{name}a_", limit=2)
    assert [one.name.removeprefix(name) for one in page] == ["ab", "b"], "a page of branches is wrong"
    await two.delete(f"{name}b%")
    for wrong, act in (
        (BranchExists, lambda: one.create(f"{name}b")),
        (NoSuchBranch, lambda: one.branch(f"{name}b%")),
        (NoSuchBranch, lambda: one.delete(f"{name}b%")),
        (StoreError, lambda: one.create("a\nb")),
        (StoreError, lambda: one.create(" ")),
        (StoreError, lambda: one.branches(limit=0)),
    ):
        try:
            await act()
        except wrong:
            continue
        raise AssertionError(f"{wrong.__name__} was not raised")


async def _every_turn_has_its_bill(one: Store, two: Store, name: str) -> None:
    llm = Lutum(ScriptedAdapter([["42"]] * 8 + [["x", CUT]]))
    branch = await one.create(name)
    session = branch.session(llm)
    session.push_user("6*7?")
    await branch.save(session)
    total = Usage()
    for number in range(8):
        fork = await branch.fork(f"{name} {number}")
        tried = fork.session(llm)
        tried.commit_text(await tried.text_turn().collect())
        await fork.save(tried)
        total += await fork.usage()
    assert total.total_tokens == 8 * 11, "equal answers of forks share a bill"
    try:
        await session.text_turn().collect()
    except Interrupted:
        await branch.save(session)
    assert (await (await two.branch(name)).usage()).total_tokens > 0, "a failed turn has no bill"


async def _a_round_is_held_until_it_is_committed(one: Store, two: Store, name: str) -> None:
    runs = _Runs()
    branch, session, round = await _held(one, name, runs)
    held = await branch.held(runs.tools)
    assert held is not None, "a held round is not returned"
    assert held.turn == round.turn, "the turn of a held round changed"
    assert held.usage == round.usage, "the usage of a held round changed"
    await _raises(RoundOpen, branch.hold(session, round), "a second round was held")
    away = branch.session(session.llm)
    away.push_user("never mind")
    await _raises(RoundOpen, branch.save(away), "a save passed over an open round")
    there = await two.branch(name)
    loaded = await there.held(runs.tools)
    assert loaded is not None, "another process does not see the round"
    assert len(loaded.calls) == 2, "a held round lost calls"
    await there.answer(loaded.calls[0].key, "approved", by="ann")
    await there.answer(loaded.calls[1].key, loaded.calls[1].reject("no"))
    await _raises(StoreError, there.answer("nonsense", "approved"), "an unknown call was approved")
    again = await branch.held(runs.tools)
    assert again is not None
    approved = again.calls[0].approved
    assert approved is not None, "an approval is lost"
    assert approved.by == "ann", "an approval has lost its author"
    assert [call.id for call in again.unanswered] == ["1"], "an answer is lost"
    resumed = branch.session(session.llm)
    resumed.commit_round(again, await again.run(journal=branch))
    await branch.save(resumed)
    assert runs.made == ["Ann"], f"only the approved call may run, but these ran: {runs.made}"
    assert await there.held(runs.tools) is None, "a committed round is still held"
    assert there.transcript == resumed.transcript, "held() does not pull the head"
    assert (await there.usage()).total_tokens == (await branch.usage()).total_tokens, "the usage differs"
    assert not await branch.discard(), "discard() dropped a round that does not exist"


async def _a_call_is_claimed_once(one: Store, two: Store, name: str) -> None:
    runs = _Runs()
    branch, _, round = await _held(one, name, runs)
    there = await two.branch(name)
    first, second = await branch.held(runs.tools), await there.held(runs.tools)
    assert first is not None
    assert second is not None
    taken = list[CallTaken]()

    async def run(place: StoredBranch, round: ToolRound[Any]) -> None:
        try:
            await round.run(journal=place)
        except CallTaken as exc:
            taken.append(exc)

    async with anyio.create_task_group() as group:
        group.start_soon(run, branch, first)
        group.start_soon(run, there, second)
    assert sorted(runs.made) == ["Ann", "Bo"], f"two runs of one round ran {runs.made}"
    assert taken, "CallTaken was not raised for a call of another run"
    held = await there.held(runs.tools)
    assert held is not None
    assert [result.text for result in held.results] == ["paid Ann", "paid Bo"], "a result was not recorded"
    assert await held.run(journal=there) == held.results, "recorded results are not used"
    await _raises(CallTaken, branch.start(round.calls[0]), "a call with a result was claimed")


async def _a_lost_call_is_the_callers_decision(one: Store, two: Store, name: str) -> None:
    runs = _Runs(hang="Ann")
    branch, _, _ = await _held(one, name, runs)
    round = await branch.held(runs.tools)
    assert round is not None
    there = await two.branch(name)
    async with anyio.create_task_group() as group:
        group.start_soon(_run_to_cancellation, round, branch)
        with anyio.fail_after(30):
            await runs.hanging.wait()
        seen = await there.held(runs.tools)
        assert seen is not None
        started = seen.calls[0].started
        assert started is not None, "a claim is not visible"
        assert started.alive, "a running run is reported as dead"
        with anyio.fail_after(30):
            while len((await _again(there, runs)).unanswered) > 1:  # noqa: ASYNC110  # another process runs
                await anyio.sleep(0.01)
        await _raises(
            CallTaken,
            seen.run(journal=there, restarted="run", only=[seen.calls[0]]),
            "a running call was run again",
        )
        group.cancel_scope.cancel()
    seen = await _again(there, runs)
    started = seen.calls[0].started
    assert started is not None, "the claim of a cancelled run is lost"
    assert not started.alive, "a cancelled run is reported as alive"
    await _raises(CallTaken, seen.run(journal=there), "a call that may have happened was run again")
    runs.hang = ""
    results = await seen.run(journal=there, restarted="run")
    assert [result.text for result in results] == ["paid Ann", "paid Bo"], "a restarted call has no result"
    assert runs.made.count("Bo") == 1, "a call with a recorded result ran again"


async def _vacuum_keeps_what_is_reachable(one: Store, two: Store, name: str) -> None:
    branch = await one.create(name)
    session = branch.session(Lutum(ScriptedAdapter([])))
    for number in range(10):
        session.push_user(f"{name} {number}")
    await branch.save(session)
    fork = await branch.fork(f"{name} fork", at=5)
    dropped = fork.session(Lutum(ScriptedAdapter([])))
    dropped.push_user(f"{name} dropped")
    await fork.save(dropped)
    await two.delete(f"{name} fork")
    assert await two.vacuum(older_than=3600) == 0, "vacuum deleted items younger than `older_than`"
    assert await two.vacuum(older_than=0) >= 1, "vacuum did not delete unreachable items"
    del dropped, fork
    assert (await two.branch(name)).transcript == session.transcript, "vacuum deleted items of a branch"
    session.push_user("more")
    await branch.save(session)
    assert (await two.branch(name)).transcript == session.transcript, "a save after a vacuum lost items"


_CHECKS = (
    _what_is_saved_is_loaded,
    _one_of_two_sessions_wins,
    _forks_and_other_ends_stay_reachable,
    _branches_are_listed_by_name,
    _every_turn_has_its_bill,
    _a_round_is_held_until_it_is_committed,
    _a_call_is_claimed_once,
    _a_lost_call_is_the_callers_decision,
    _vacuum_keeps_what_is_reachable,
)


class _Runs:
    """A tool that records its runs. The run for `hang` does not return."""

    def __init__(self, hang: str = "") -> None:
        self.made = list[str]()
        self.hang = hang
        self.hanging = anyio.Event()

        @tool
        async def pay(to: str) -> str:
            """Make a payment."""
            self.made.append(to)
            if to == self.hang:
                self.hanging.set()
                await anyio.sleep_forever()
            return f"paid {to}"

        self.tools = Toolset(pay)


async def _held(store: Store, name: str, runs: _Runs) -> tuple[StoredBranch, Any, ToolRound[Any]]:
    script = [ToolCallReady(f"{n}", "pay", msgspec.json.encode({"to": to}).decode()) for n, to in _PAID]
    branch = await store.create(name)
    session = branch.session(Lutum(ScriptedAdapter([script, ["done"]])))
    session.push_user("Pay them.")
    outcome = await session.text_turn().tools(runs.tools).collect()
    assert isinstance(outcome, NeedsTools)
    await branch.hold(session, outcome.round)
    return branch, session, outcome.round


_PAID = ((1, "Ann"), (2, "Bo"))


async def _again(branch: StoredBranch, runs: _Runs) -> ToolRound[Any]:
    round = await branch.held(runs.tools)
    assert round is not None, "a held round is not returned"
    return round


async def _run_to_cancellation(round: ToolRound[Any], branch: StoredBranch) -> None:
    await round.run(journal=branch)


async def _raises(kind: type[Exception], act: Any, otherwise: str) -> None:
    try:
        await act
    except kind:
        return
    raise AssertionError(otherwise)


@asynccontextmanager
async def _second(connect: Connect, one: Store, shared: bool) -> AsyncGenerator[Store]:
    if not shared:
        yield one
        return
    async with connect() as two:
        yield two


@contextmanager
def _naming(what: str) -> Generator[None]:
    try:
        yield
    except AssertionError as exc:
        raise AssertionError(f"{what}: {exc}") from exc
