"""A cancellation at each suspension of each call of a store.

The call has happened or not, and the next call shows which. There are three kinds of cancellation:

- now: a native one of asyncio that arrives while the task waits,
- late: a native one that arrives between the end of the wait and the task's next step,
- scope: a scope that is cancelled at the end of a step, on both backends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextlib import suppress
from functools import partial
from types import coroutine
from typing import Any, NamedTuple

import pytest
from store_parts import TOOLS, grow, held, llm

import lutum
from lutum import BranchExists, CallTaken, LutumError, NoSuchBranch, RoundOpen, Session, Transcript
from lutum.store import Store, StoredBranch, connect
from lutum.testing import cancel_at


class Case(NamedTuple):
    """A branch with an open round of one call."""

    store: Store
    branch: StoredBranch
    session: Session
    round: lutum.ToolRound[Any]

    @property
    def call(self) -> lutum.ToolCall[Any]:
        [call] = self.round.calls
        return call


class Call(NamedTuple):
    """A call, what has to come before it, and what the next one meets if this one has happened."""

    act: Callable[[Case], Awaitable[Any]]
    before: Callable[[Case], Awaitable[Any]] | None = None
    again: type[LutumError] | None = None


async def discard(case: Case) -> None:
    await case.branch.discard()


async def go_on(case: Case) -> None:
    await case.branch.discard()
    grow(case.session, 2)


async def claim(case: Case) -> None:
    case.call._state.started = await case.branch.start(case.call)


async def lose(case: Case) -> None:
    """Leave rows that no branch reaches."""
    await case.store.create(f"lost {case.branch.name}")
    lost = await case.store.branch(f"lost {case.branch.name}")
    session = lost.session(llm())
    grow(session, 1, f"lost {case.branch.name} ")
    await lost.save(session)
    await case.store.delete(lost.name)


WRITES: dict[str, Call] = {
    "create": Call(lambda c: c.store.create(f"new {c.branch.name}"), again=BranchExists),
    "branch(create=True)": Call(lambda c: c.store.branch(f"new {c.branch.name}", create=True)),
    "delete": Call(lambda c: c.store.delete(c.branch.name), again=NoSuchBranch),
    "vacuum": Call(lambda c: c.store.vacuum(older_than=0), lose),
    "save": Call(lambda c: c.branch.save(c.session), go_on),
    "move": Call(lambda c: c.branch.move(c.round.base.prefix(0)), discard),
    "fork": Call(lambda c: c.branch.fork(f"fork {c.branch.name}"), again=BranchExists),
    "hold": Call(lambda c: c.branch.hold(c.session, c.round), discard, RoundOpen),
    "answer": Call(lambda c: c.branch.answer(c.call.key, "approved", by="ann")),
    "discard": Call(lambda c: c.branch.discard()),
    "start": Call(lambda c: c.branch.start(c.call), again=CallTaken),
    "finish": Call(lambda c: c.branch.finish(c.call, c.call.complete("paid")), claim),
    "release": Call(lambda c: c.branch.release(c.call, began=True), claim),
}
READS: dict[str, Call] = {
    "branch": Call(lambda c: c.store.branch(c.branch.name)),
    "branches": Call(lambda c: c.store.branches("b")),
    "pull": Call(lambda c: c.branch.pull()),
    "siblings": Call(lambda c: c.branch.siblings(0)),
    "at": Call(lambda c: c.branch.at(c.branch.transcript.digest)),
    "info": Call(lambda c: c.branch.info()),
    "usage": Call(lambda c: c.branch.usage()),
    "held": Call(lambda c: c.branch.held(TOOLS)),
}


class Stop:
    """Runs a call and cancels its task natively at the k-th suspension.

    Attributes:
      late: cancel when the wait has ended and the task is about to go on, and not when the wait begins.
    """

    def __init__(self, k: int, late: bool) -> None:
        self.left = k
        self.late = late

    async def run(self, coro: Any) -> bool:
        """Return whether the call had a k-th suspension. What the call raises comes out."""
        task = asyncio.ensure_future(self._counted(coro))
        with suppress(asyncio.CancelledError):
            await task
        return self.left <= 0

    @coroutine
    def _counted(self, coro: Any) -> Generator[Any, Any, Any]:
        steps = coro.__await__()
        value: Any = None
        raised: BaseException | None = None
        while True:
            try:
                waits_for = steps.send(value) if raised is None else steps.throw(raised)
            except StopIteration as end:
                return end.value
            self.left -= 1
            if self.left == 0:
                self._cancel(waits_for)
            try:
                value, raised = (yield waits_for), None
            except BaseException as exc:
                value, raised = None, exc

    def _cancel(self, waits_for: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        if not self.late:
            asyncio.get_running_loop().call_soon(task.cancel)
        elif waits_for is None:
            task.cancel()
        else:
            waits_for.add_done_callback(lambda _: task.cancel())


async def stopped(how: str, act: Callable[[], Awaitable[Any]], k: int) -> tuple[bool, bool]:
    """Cancel a call at its k-th suspension. Returns whether it had one, and whether it returned."""
    returned = False

    async def run() -> None:
        nonlocal returned
        await act()
        returned = True

    if how == "scope":
        reached, _ = await cancel_at(run(), k)
    else:
        reached = await Stop(k, how == "late").run(run())
    return reached, returned


async def state(store: Store) -> list[Any]:
    """All rows, without times and tokens that are drawn by lot."""

    def read(at: Any, whole: bool) -> list[Any]:
        claims = "select key, claim is not null, ended, result is not null, approved_by from lutum_call"
        return [
            sorted((name, bytes(head)) for name, head in at.rows("select name, head from lutum_branch")),
            sorted(bytes(digest) for (digest,) in at.rows("select digest from lutum_node")),
            sorted(bytes(turn) for (turn,) in at.rows("select turn from lutum_round")),
            sorted(repr(row) for row in at.rows(claims)),
            at.rows("select count(*) from lutum_bill"),
        ]

    return await store._runtime.do(read, write=False)


HOW = pytest.mark.parametrize("how", ["now", "late", "scope"])


@HOW
@pytest.mark.parametrize("kind", ["writes", "reads"])
async def test_every_suspension_of_every_call(
    how: str, kind: str, any_url: str, anyio_backend_name: str
) -> None:
    """After a cancelled call another store sees all of it or nothing; the same call again shows which."""
    if how != "scope" and anyio_backend_name != "asyncio":
        pytest.skip("a native cancellation is asyncio's")
    async with connect(any_url) as store, connect(any_url) as second:
        other = store if any_url == "memory:" else second
        for name, call in (WRITES if kind == "writes" else READS).items():
            happened, k = set[bool](), 0
            while k < 50:
                k += 1
                case = Case(store, *await held(store, f"b {name} {k}"))
                if call.before is not None:
                    await call.before(case)
                before = await state(other)
                reached, returned = await stopped(how, partial(call.act, case), k)
                first = await state(other)
                assert first != before or not returned or kind == "reads", f"{name}: nothing happened"
                assert name != "start" or returned or first == before, "a cancelled claim is left"
                happened.add(first != before)
                if first != before and call.again is not None:
                    with pytest.raises(call.again):
                        await call.act(case)
                else:
                    await call.act(case)
                last = await state(other)
                assert first in (before, last), f"{name}: torn at suspension {k}"
                assert (last != before) == (kind == "writes"), f"{name}: suspension {k}"
                if not reached:
                    break
            assert not reached, f"{name}: suspends without an end"
            # `release` runs even if its task is cancelled already.
            outcomes = {False} if kind == "reads" else {True} if name == "release" else {True, False}
            assert happened == outcomes, name


@HOW
async def test_every_suspension_of_open_and_close(how: str, any_url: str, anyio_backend_name: str) -> None:
    """A store whose opening or closing is cancelled is closed; its database opens the next time."""
    if how != "scope" and anyio_backend_name != "asyncio":
        pytest.skip("a native cancellation is asyncio's")
    for k in range(1, 50):
        store = connect(any_url)

        async def use(store: Store = store) -> None:
            async with store:
                pass

        reached, _ = await stopped(how, use, k)
        with pytest.raises(lutum.UsageError, match="inside"):
            _ = store._runtime.threads
        async with connect(any_url) as after:
            branch = await after.branch("b", create=True)
            assert branch.transcript == Transcript()
        if not reached:
            return
    pytest.fail("suspends without an end")
