"""The store: a database of branches. Every method is one transaction in a worker thread."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from datetime import timedelta
from types import TracebackType
from typing import Self, final

from lutum._values.errors import NoSuchBranch, StoreValue
from lutum.store import _branches
from lutum.store._branch import StoredBranch
from lutum.store._branches import BranchInfo
from lutum.store._database import Database, Transaction
from lutum.store._names import check_metadata, check_name, check_root, masked
from lutum.store._nodes import Codec, Nodes, Plain
from lutum.store._postgres import Postgres
from lutum.store._runtime import StoreRuntime
from lutum.store._sqlite import Sqlite


def connect(url: str, *, create: bool = True, codec: Codec | None = None, timeout: float = 8) -> Store:
    """Return a store: `async with lutum.store.connect("sqlite:chats.db") as store`.

    Args:
      url: `"sqlite:PATH"`, `"postgresql://..."` (extra `postgres`), or `"memory:"`, which uses no thread.
        `sqlite:///NAME` is refused if it would create a file directly under the root, because most users mean
        a relative path.
      create: create the database file and the tables if they are missing.
      codec: encodes the stored data, for example with encryption. Names, digests and sizes stay readable.
      timeout: seconds to wait for a locked database and for a statement.

    Raises:
      StoreValue: the kind of the URL is unknown, or `timeout` is not above 0.
    """
    if not isinstance(url, str):
        raise StoreValue("url", f"must be a str such as 'sqlite:chats.db', not {type(url).__name__}")
    if not timeout > 0:
        raise StoreValue("timeout", f"{timeout!r} is not above 0 s")
    kind, colon, rest = url.partition(":")
    if not colon or kind not in ("sqlite", "memory", "postgresql", "postgres"):
        known = "sqlite:PATH, postgresql://... or memory:"
        raise StoreValue("url", f"{masked(url)!r} is not one of {known}")
    if kind == "memory":
        return Store(Sqlite(None, timeout), "memory:" + secrets.token_hex(8), create, codec)
    if kind == "sqlite":
        path = rest[2:] if rest.startswith("//") else rest
        if not path or "\0" in path or path == ":memory:":
            raise StoreValue("url", f"{url!r} does not name a file; use 'memory:' for a store without a file")
        check_root(url, path)
        return Store(Sqlite(path, timeout), url, create, codec)
    return Store(Postgres(url, timeout), url, create, codec)


@final
class Store:
    """Branches in a database. `connect` returns a store, and `async with` opens it.

    A store never commits to a session, never runs a tool and never starts a turn. Each method is one
    transaction. If a method is cancelled, its transaction happened completely or not at all; the next call
    shows which.
    """

    def __init__(self, database: Database, url: str, create: bool, codec: Codec | None) -> None:
        self._runtime = StoreRuntime(database, url, Nodes(codec or Plain()), create=create)

    @property
    def url(self) -> str:
        """The URL that the store was opened with."""
        return self._runtime.url

    async def __aenter__(self) -> Self:
        """This is a checkpoint only if it has to wait."""
        await self._runtime.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """This is a checkpoint only if it has to wait."""
        await self._runtime.close()

    async def create(self, name: str, *, metadata: Mapping[str, str] | None = None) -> StoredBranch:
        """Create an empty branch. After a cancellation, the branch may exist or not.

        This is a checkpoint only if it has to wait.

        Raises:
          BranchExists: a branch with that name exists.
          StoreValue: the name is blank, too long, or has control characters.
        """
        check_name(name)
        given = check_metadata(metadata)
        await self._runtime.do(lambda at, whole: _branches.create(at, name, given))
        return await self.branch(name)

    async def branch(self, name: str, *, create: bool = False) -> StoredBranch:
        """Return the branch with that name and its transcript. Only rows that this process lacks are read.

        This is a checkpoint only if it has to wait.

        Raises:
          NoSuchBranch: the branch does not exist, and `create` is not set.
        """
        check_name(name)

        def load(at: Transaction, whole: bool) -> StoredBranch:
            if create and not at.rows("select 1 from lutum_branch where name = ?", name):
                _branches.create(at, name, {})
            found = _branches.find(at, name)
            return StoredBranch(self._runtime, name, self._runtime.nodes.load(at, found.head))

        try:
            return await self._runtime.do(load, write=False)
        except NoSuchBranch:
            if not create:
                raise
        return await self._runtime.do(load)

    async def branches(
        self, prefix: str = "", *, after: str | None = None, limit: int = 100
    ) -> list[BranchInfo]:
        """Return the branches whose names begin with `prefix` and follow `after`, by name, at most `limit`.

        This is a checkpoint only if it has to wait.
        """
        if limit < 1:
            raise StoreValue("limit", f"{limit} is below 1")
        return await self._runtime.do(
            lambda at, whole: _branches.infos(at, prefix, after, limit), write=False
        )

    async def delete(self, name: str) -> None:
        """Delete a branch, its bills and its open round. Rows that other branches share stay.

        This is a checkpoint only if it has to wait.

        Raises:
          NoSuchBranch: the branch does not exist.
        """
        await self._runtime.do(lambda at, whole: _branches.delete(at, name))

    async def vacuum(self, *, older_than: float | timedelta = timedelta(days=1)) -> int:
        """Delete the rows that no branch can reach and that are older than `older_than`. Return their number.

        It cannot damage a branch that is saved at the same time. Foreign keys refuse the conflicting
        statement, and the transaction is tried again.

        This is a checkpoint only if it has to wait.
        """
        seconds = older_than.total_seconds() if isinstance(older_than, timedelta) else older_than
        if seconds < 0:
            raise StoreValue("older_than", f"{seconds} s is below 0")

        def sweep(at: Transaction, whole: bool) -> int:
            return _branches.vacuum(at, time.time() - seconds)

        removed = await self._runtime.do(sweep)
        await self._runtime.threads.run(self._runtime.sweep)
        return removed

    @property
    def rows_read(self) -> int:
        """The number of item rows that this store has read. For tests of the cost of a load."""
        return self._runtime.nodes.read

    @property
    def rows_written(self) -> int:
        """The number of item rows that this store has sent. For tests of the cost of a save."""
        return self._runtime.nodes.written

    def __repr__(self) -> str:
        return f"<Store {masked(self.url)}>"
