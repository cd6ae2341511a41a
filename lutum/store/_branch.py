"""A branch of a store: its head, its open round, and the journal of that round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeVar, final

import anyio

from lutum._lutum import Lutum
from lutum._session import Session
from lutum._tools.call import Started, ToolCall
from lutum._tools.round import RoundPlan, ToolRound
from lutum._tools.toolset import Toolset
from lutum._values.errors import StaleCommit, StoreValue, UsageError
from lutum._values.items import ToolResult
from lutum._values.results import Usage
from lutum._values.transcript import Transcript
from lutum.store import _branches, _rounds
from lutum.store._branches import BilledTurn, BranchInfo, Sibling
from lutum.store._database import Transaction
from lutum.store._names import check_metadata, check_name
from lutum.store._nodes import raw
from lutum.store._runtime import StoreRuntime

I = TypeVar("I")


@final
class StoredBranch:
    """A branch of a store. It is also the journal of its open round: `round.run(journal=branch)`.

    The head of a branch is its present transcript. When the branch moves to a transcript that does not
    continue the head, the old head becomes a former head. The tree of a branch consists of all items of its
    head and of its former heads.

    Attributes:
      name: the name of the branch.
      transcript: the head, as this object last read or saved it. `pull` reads the head again.
    """

    def __init__(self, runtime: StoreRuntime, name: str, transcript: Transcript) -> None:
        self.name = name
        self.transcript: Transcript = transcript
        self._runtime = runtime
        self._key = (runtime.url, name)

    def session(self, llm: Lutum, *, at: Transcript | int | None = None) -> Session:
        """Return a session on the head, or on an earlier transcript of this branch.

        Session defaults and ephemerals are not stored. A later `save` of the session requires that the stored
        head is still the `transcript` that this object has now.

        Args:
          at: a transcript, for example from `await branch.at(digest)`, or a number of items at the start of
            the head. Default: the head.
        """
        place = self.transcript if at is None else at
        if isinstance(place, int):
            place = self._prefix(place)
        session = Session(llm, place)
        session._stored = (self._key, self.transcript)
        return session

    async def pull(self) -> Transcript:
        """Read the head again and return its transcript. Only rows that this process lacks are read.

        This is a checkpoint only if it has to wait.

        Raises:
          NoSuchBranch: the branch was deleted.
        """
        nodes = self._runtime.nodes

        def load(at: Transaction, whole: bool) -> Transcript:
            return nodes.load(at, _branches.find(at, self.name).head)

        self.transcript = await self._runtime.do(load, write=False)
        return self.transcript

    async def save(self, session: Session | Transcript) -> None:
        """Store the session's transcript as the head, and the charges of its turns.

        The stored head must be the head from which the session was made or at which the session was last
        saved. Otherwise the session's transcript must begin with the stored head. A transcript without a
        session must also begin with the stored head.

        It is not an error if the transcript is the head already. If the transcript contains the open round,
        the round is dropped in the same transaction. After a cancellation, everything was stored or nothing;
        the next call shows which.

        This is a checkpoint only if it has to wait.

        Raises:
          StaleBranch: another writer moved the branch; the error names both heads. Nothing changed.
          RoundOpen: the branch holds a round that the transcript does not contain.
        """
        nodes, given = self._runtime.nodes, session if isinstance(session, Session) else None
        target = session.transcript if isinstance(session, Session) else session
        bills = () if given is None else given._bills.pending()
        expected = None if given is None else self._expected(given)
        await self._runtime.do(
            lambda at, whole: _branches.save(at, nodes, self.name, target, expected, bills, whole=whole)
        )
        if given is not None:
            given._bills.written(bills)
            given._stored = (self._key, target)
        self.transcript = target

    async def move(self, to: Transcript | str, *, expected: Transcript | str | None = None) -> Transcript:
        """Move the head to another transcript of this branch's tree, and return this transcript.

        The old head stays reachable with `siblings` and `at`.

        This is a checkpoint only if it has to wait.

        Args:
          to: a transcript or its digest.
          expected: the transcript that must be the head now, or its digest. Default: `transcript` of this
            object.

        Raises:
          StaleBranch: the head is neither `expected` nor `to`.
          StoreValue: the branch never held `to`.
          RoundOpen: the branch holds a round that `to` does not contain.
        """
        place, nodes = _digest("to", to), self._runtime.nodes
        known = raw(self.transcript) if expected is None else _digest("expected", expected)
        self.transcript = await self._runtime.do(
            lambda at, whole: _branches.move(at, nodes, self.name, place, known)
        )
        return self.transcript

    async def fork(
        self,
        name: str,
        *,
        at: Transcript | str | int | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> StoredBranch:
        """Create a branch whose head is a transcript of this branch's tree.

        The new branch shares the rows of the items, and adds one row.

        This is a checkpoint only if it has to wait.

        Args:
          at: a transcript of this branch's tree, its digest, or a number of items at the start of the head.
            Default: the head.

        Raises:
          BranchExists: a branch with that name exists.
          StoreValue: the branch never held that transcript.
        """
        check_name(name)
        given, nodes = check_metadata(metadata), self._runtime.nodes
        place = self._prefix(at) if isinstance(at, int) else at

        def make(tx: Transaction, whole: bool) -> StoredBranch:
            branch = _branches.find(tx, self.name)
            digest = branch.head if place is None else _digest("at", place)
            head = _branches.own(tx, nodes, branch, digest)
            _branches.create(tx, name, given, digest, self.name, len(head))
            return StoredBranch(self._runtime, name, head)

        return await self._runtime.do(make)

    async def siblings(self, index: int) -> list[Sibling]:
        """Return the alternatives at `index`, the oldest first.

        They are the head's item, and the items of those former heads whose items before `index` are the same
        as the head's. After an edit, or after another answer to the same question, the list contains the
        earlier items too.

        This is a checkpoint only if it has to wait.

        Raises:
          StoreValue: `index` is below 0, or above the number of the head's items.
        """
        nodes = self._runtime.nodes
        return await self._runtime.do(
            lambda at, whole: _branches.siblings(at, nodes, self.name, index), write=False
        )

    async def at(self, digest: str) -> Transcript:
        """Return the transcript with that digest from this branch's tree.

        This is a checkpoint only if it has to wait.

        Raises:
          StoreValue: this branch never held the digest. It does not matter whether another branch holds it.
        """
        place, nodes = _digest("digest", digest), self._runtime.nodes

        def load(at: Transaction, whole: bool) -> Transcript:
            return _branches.own(at, nodes, _branches.find(at, self.name), place)

        return await self._runtime.do(load, write=False)

    async def info(self) -> BranchInfo:
        """Return the metadata, times and sizes of the branch. Raises NoSuchBranch if it was deleted.

        This is a checkpoint only if it has to wait.
        """
        return await self._runtime.do(lambda at, whole: _branches.info(at, self.name), write=False)

    async def usage(self) -> Usage:
        """Return the sum of the saved charges for turns of this branch's sessions.

        Failed and cancelled turns are included. Turns that a process did not save before it died are missing
        here. Use a ledger for the complete bill.

        This is a checkpoint only if it has to wait.
        """
        nodes = self._runtime.nodes
        return await self._runtime.do(lambda at, whole: _branches.usage(at, nodes, self.name), write=False)

    async def turns(self) -> list[BilledTurn]:
        """Return the turns that `usage` sums, the oldest first.

        The list contains failed turns, and turns whose results were never committed. A turn has its token ids
        if the server sends them.

        This is a checkpoint only if it has to wait.
        """
        nodes = self._runtime.nodes
        return await self._runtime.do(lambda at, whole: _branches.turns(at, nodes, self.name), write=False)

    # The open round.

    async def hold(self, session: Session, round: ToolRound[Any] | RoundPlan[Any]) -> None:
        """Store an open round and the items before it, in one transaction. Call it before the tools run.

        This is a checkpoint only if it has to wait.

        Raises:
          RoundOpen: the branch holds a round already.
          StaleCommit: the session's transcript is not the one on which the round's turn was built.
          StaleBranch: as `save`.
        """
        whole_round = round.round if isinstance(round, RoundPlan) else round
        if not isinstance(whole_round, ToolRound):
            raise UsageError(f"hold: {type(round).__name__} is not a round; the round is in `outcome.round`")
        if session.transcript != whole_round.base:
            raise StaleCommit(
                "hold: the session's transcript is not the one on which the round's turn was built"
            )
        bills, nodes, expected = session._bills.pending(), self._runtime.nodes, self._expected(session)
        await self._runtime.do(
            lambda at, whole: _rounds.hold(at, nodes, self.name, expected, whole_round, bills, whole=whole)
        )
        session._bills.written(bills)
        session._stored = (self._key, whole_round.base)
        self.transcript = whole_round.base

    async def held(self, tools: Toolset[I]) -> ToolRound[I] | None:
        """Return the open round with approvals, claims and results; None if the branch holds no round.

        This method also reads the head again, as `pull` does. A call becomes an issue of the round if its
        tool is missing, or if its arguments no longer fit.

        This is a checkpoint only if it has to wait.
        """
        nodes, alive = self._runtime.nodes, self._runtime.is_alive
        round, self.transcript = await self._runtime.do(
            lambda at, whole: _rounds.held(at, nodes, self.name, tools, alive), write=False
        )
        return round

    async def answer(self, key: str, given: Literal["approved"] | ToolResult, *, by: str = "") -> None:
        """Record an approval or a result for a call of the open round.

        This is a checkpoint only if it has to wait.

        Args:
          key: the key of the call.
          given: `"approved"`, which `call.approved` then shows, or a result such as `call.reject(why)`.
          by: the person or program that approved the call.

        Raises:
          StoreValue: the branch holds no round with that call, or the result answers another call.
          CallTaken: the call runs, or has a result.
        """
        if given != "approved" and not isinstance(given, ToolResult):
            raise StoreValue("given", f"{given!r} is neither 'approved' nor a ToolResult")
        nodes, alive = self._runtime.nodes, self._runtime.is_alive
        await self._runtime.do(lambda at, whole: _rounds.answer(at, nodes, self.name, key, given, by, alive))

    async def discard(self) -> bool:
        """Drop the open round. Return whether there was one.

        This is a checkpoint only if it has to wait.
        """
        return await self._runtime.do(lambda at, whole: _rounds.discard(at, self.name))

    # The journal of the open round, see `lutum.RoundJournal`.

    async def start(self, call: ToolCall[Any]) -> Started:
        """Claim a call before it runs. If this method raises or is cancelled, the call is not claimed.

        This is a checkpoint only if it has to wait.

        Raises:
          CallTaken: another run has claimed the call, the call has a result, or the branch no longer holds
            the round.
        """
        runtime, made = self._runtime, list[Started]()

        def claim(at: Transaction, whole: bool) -> Started:
            runtime.keep_alive()
            return _rounds.claim(at, self.name, call, runtime.runner, runtime.is_alive)

        def record() -> None:
            made.append(runtime.attempt(claim, write=True))
            runtime.running.add(made[0].token)

        try:
            await runtime.threads.run(record)
        except BaseException:
            if made:
                with anyio.CancelScope(shield=True):
                    await self._release(call.key, made[0].token, began=False)
            raise
        return made[0]

    async def finish(self, call: ToolCall[Any], result: ToolResult) -> None:
        """Record the result of a claimed call. After a cancellation, the result may be recorded or not.

        This is a checkpoint only if it has to wait.

        Raises:
          CallTaken: another run has taken over the claim.
        """
        nodes, token = self._runtime.nodes, _token(call)
        self._runtime.running.discard(token)
        await self._runtime.do(lambda at, whole: _rounds.finish(at, nodes, self.name, call, token, result))

    async def release(self, call: ToolCall[Any], *, began: bool) -> None:
        """Record that the run of a claimed call ended without a result.

        This is a checkpoint only if it has to wait.
        """
        if call.started is not None:
            await self._release(call.key, call.started.token, began=began)

    async def _release(self, key: str, token: str, *, began: bool) -> None:
        self._runtime.running.discard(token)
        await self._runtime.do(
            lambda at, whole: _rounds.release(at, self.name, key, token, began=began), always=True
        )

    def _prefix(self, items: int) -> Transcript:
        if not 0 <= items <= len(self.transcript):
            raise StoreValue("at", f"{items} is not within the {len(self.transcript)} items of the head")
        return self.transcript.prefix(items)

    def _expected(self, session: Session) -> Transcript | None:
        stored = session._stored
        return stored[1] if stored is not None and stored[0] == self._key else None

    def __repr__(self) -> str:
        return f"<StoredBranch {self.name!r} at {self.transcript!r}>"


def _token(call: ToolCall[Any]) -> str:
    if call.started is None:
        raise UsageError(f"call {call.id!r} of {call.name!r} was not claimed")
    return call.started.token


def _digest(field: str, place: Transcript | str) -> bytes:
    if isinstance(place, Transcript):
        return raw(place)
    try:
        return bytes.fromhex(place)
    except (ValueError, TypeError):
        raise StoreValue(field, f"{place!r} is not a transcript, nor the digest of one") from None
