"""A chat in a store: its branches, saved one exchange at a time.

The store's methods run in a thread with its own event loop, because the chat runs no event loop between
turns.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Self, final

from anyio.from_thread import start_blocking_portal

import lutum
import lutum.store
from lutum.cli._history import Tree


@final
class StoreHistory:
    """A branch of a store, and the branches that were forked from it. They are open for one chat.

    Raises:
      StoreError: the store cannot be opened, or the branch name is not valid.
    """

    def __init__(self, url: str, name: str) -> None:
        self._stack = ExitStack()
        try:
            self._portal = self._stack.enter_context(start_blocking_portal())
            store = lutum.store.connect(url)
            opened = self._portal.wrap_async_context_manager(store)
            self._store: lutum.store.Store = self._stack.enter_context(opened)
            self._here: lutum.store.StoredBranch = self._portal.call(self._open, name)
            self._branches = {name: self._here} | self._portal.call(self._forks, name)
        except BaseException:
            self._stack.close()
            raise
        self.tree = Tree({one.name: one.transcript for one in self._branches.values()}, name)

    def append(
        self, before: lutum.Transcript, after: lutum.Transcript, session: lutum.Session | None = None
    ) -> None:
        """Store the new items of a branch and the charge of its turn. They are stored when this returns.

        Raises:
          StaleBranch: another program moved the branch.
          RoundOpen: the branch holds a round that its program has to finish.
        """
        self._portal.call(self._here.save, after if session is None else session)

    def mark(self, branch: str, at: lutum.Transcript) -> None:
        """Continue in a branch at this transcript. A new branch is forked here.

        Raises:
          StoreError: as `append`.
        """
        there = self._branches.get(branch)
        if there is None:
            there = self._portal.call(self._fork, branch, at)
            self._branches[branch] = there
        elif there.transcript != at:
            self._portal.call(there.move, at)
        self._here = there

    def close(self) -> None:
        """Close the store."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _open(self, name: str) -> lutum.store.StoredBranch:
        return await self._store.branch(name, create=True)

    async def _fork(self, name: str, at: lutum.Transcript) -> lutum.store.StoredBranch:
        return await self._here.fork(name, at=at)

    async def _forks(self, name: str) -> dict[str, lutum.store.StoredBranch]:
        """Return all branches that come from this one, directly or through other forks, sorted by name."""
        infos, after = list[lutum.store.BranchInfo](), None
        while page := await self._store.branches(after=after):
            infos += page
            after = page[-1].name
        found, size = {name}, 0
        while size < len(found):
            size = len(found)
            found |= {info.name for info in infos if info.origin in found}
        return {one: await self._store.branch(one) for one in sorted(found - {name})}
