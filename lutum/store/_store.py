"""The store: a database of branches. Every method is one transaction in a worker thread."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Mapping
from datetime import timedelta
from types import TracebackType
from typing import Protocol, Self, TypeVar, final

import anyio

from lutum._values.errors import NoSuchBranch, StoreBusy, StoreValue, UsageError
from lutum.store import _branches
from lutum.store._branch import StoredBranch
from lutum.store._branches import BranchInfo
from lutum.store._database import Database, Missing, Retry, Transaction
from lutum.store._nodes import Codec, Nodes, Plain
from lutum.store._postgres import Postgres
from lutum.store._schema import migrate
from lutum.store._sqlite import Sqlite
from lutum.store._threads import Threads

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

# A branch's name: shown in lists, and given on command lines.
LONGEST_NAME = 500

_TRIES = 10


class Operation(Protocol[T_co]):
    """What one transaction does; `whole` is set when rows were missing that the process took for stored."""

    def __call__(self, at: Transaction, /, whole: bool) -> T_co: ...


def connect(url: str, *, create: bool = True, codec: Codec | None = None, timeout: float = 8) -> Store:
    """A store: `async with lutum.store.connect("sqlite:chats.db") as store`.

    Args:
      url: `"sqlite:PATH"`, `"postgresql://..."` (extra `postgres`), or `"memory:"`, which uses no thread.
      create: make the database file and the tables where they are missing.
      codec: encodes what is stored, such as an encryption at rest; names, digests and sizes stay readable.
      timeout: seconds to wait for a locked database and for a statement.

    Raises:
      StoreValue: the URL is of no known kind, or `timeout` is not above 0.
    """
    if not isinstance(url, str):
        raise StoreValue("url", f"is a text such as 'sqlite:chats.db', not {type(url).__name__}")
    if not timeout > 0:
        raise StoreValue("timeout", f"{timeout!r} is not above 0 s")
    kind, colon, rest = url.partition(":")
    if not colon or kind not in ("sqlite", "memory", "postgresql", "postgres"):
        known = "sqlite:PATH, postgresql://... or memory:"
        raise StoreValue("url", f"{_masked(url)!r} is not one of {known}")
    if kind == "memory":
        return Store(Sqlite(None, timeout), "memory:" + secrets.token_hex(8), create, codec)
    if kind == "sqlite":
        path = rest[2:] if rest.startswith("//") else rest
        if not path or "\0" in path or path == ":memory:":
            raise StoreValue("url", f"{url!r} names no file; 'memory:' is a store without one")
        return Store(Sqlite(path, timeout), url, create, codec)
    return Store(Postgres(url, timeout), url, create, codec)


@final
class Store:
    """Branches in a database. Made by `connect`, used as `async with`.

    It never commits to a session, never runs a tool and never starts a turn. Each method is one transaction.
    If it is cancelled, it has happened whole or not at all, and the next call shows which.
    """

    def __init__(self, database: Database, url: str, create: bool, codec: Codec | None) -> None:
        self.url = url
        self._database = database
        self._create = create
        self._nodes = Nodes(codec or Plain())
        self._threads: Threads | None = None
        self._runner = secrets.randbits(62)
        self._running = set[str]()

    async def __aenter__(self) -> Self:
        if self._threads is not None:
            raise UsageError("store: it is open already")
        self._threads = threads = Threads(self._database.threads)
        try:
            await threads.run(self._open)
        except BaseException:
            await self._close(threads)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        threads, self._threads = self._threads, None
        if threads is not None:
            await self._close(threads)

    async def create(self, name: str, *, metadata: Mapping[str, str] | None = None) -> StoredBranch:
        """Create an empty branch. Cancelled, there is one or there is none.

        Raises:
          BranchExists: there is one of that name.
          StoreValue: the name is blank, too long, or has control characters.
        """
        check_name(name)
        given = check_metadata(metadata)
        await self.do(lambda at, whole: _branches.create(at, name, given))
        return await self.branch(name)

    async def branch(self, name: str, *, create: bool = False) -> StoredBranch:
        """The branch of that name, with its transcript; reads the rows that this process lacks.

        Raises:
          NoSuchBranch: there is none, and `create` is not set.
        """
        check_name(name)

        def load(at: Transaction, whole: bool) -> StoredBranch:
            if create and not at.rows("select 1 from lutum_branch where name = ?", name):
                _branches.create(at, name, {})
            found = _branches.find(at, name)
            return StoredBranch(self, name, self._nodes.load(at, found.head))

        try:
            return await self.do(load, write=False)
        except NoSuchBranch:
            if not create:
                raise
        return await self.do(load)

    async def branches(
        self, prefix: str = "", *, after: str | None = None, limit: int = 100
    ) -> list[BranchInfo]:
        """The branches whose names begin with `prefix`, by name, at most `limit` of them behind `after`."""
        if limit < 1:
            raise StoreValue("limit", f"{limit} is below 1")
        return await self.do(lambda at, whole: _branches.infos(at, prefix, after, limit), write=False)

    async def delete(self, name: str) -> None:
        """Delete a branch, its bills and its open round. Rows that other branches share stay.

        Raises:
          NoSuchBranch: there is none.
        """
        await self.do(lambda at, whole: _branches.delete(at, name))

    async def vacuum(self, *, older_than: float | timedelta = timedelta(days=1)) -> int:
        """Delete the rows that no branch can reach, if they are older than that. Returns how many.

        It cannot tear a branch that is saved at the same time: foreign keys refuse, and it tries again.
        """
        seconds = older_than.total_seconds() if isinstance(older_than, timedelta) else older_than
        if seconds < 0:
            raise StoreValue("older_than", f"{seconds} s is below 0")

        def sweep(at: Transaction, whole: bool) -> int:
            return _branches.vacuum(at, time.time() - seconds)

        removed = await self.do(sweep)
        await self.threads.run(self._database.sweep)
        return removed

    @property
    def rows_read(self) -> int:
        """How many rows of items this store has read. For tests of what a load costs."""
        return self._nodes.read

    @property
    def rows_written(self) -> int:
        """How many rows of items this store has sent. For tests of what a save costs."""
        return self._nodes.written

    def __repr__(self) -> str:
        return f"<Store {_masked(self.url)}>"

    # For the branches of this store.

    @property
    def threads(self) -> Threads:
        """The store's threads. Raises UsageError outside of its block."""
        if self._threads is None:
            raise UsageError("store: use it inside `async with lutum.store.connect(...) as store`")
        return self._threads

    @property
    def nodes(self) -> Nodes:
        """The reader and writer of items."""
        return self._nodes

    @property
    def runner(self) -> int:
        """The random id of this store, under which its claims stand."""
        return self._runner

    @property
    def running(self) -> set[str]:
        """The claims of this store whose runs go on."""
        return self._running

    def is_alive(self, runner: int, claim: str) -> bool:
        """Return whether the run of a claim goes on."""
        return claim in self._running if runner == self._runner else self._database.is_alive(runner)

    def keep_alive(self) -> None:
        """Show to other processes that this one lives."""
        self._database.keep_alive(self._runner)

    async def do(self, operation: Operation[T], *, write: bool = True) -> T:
        """Run an operation in one transaction, and again when it met another one."""
        return await self.threads.run(lambda: self.attempt(operation, write=write))

    def attempt(self, operation: Operation[T], *, write: bool) -> T:
        """Run an operation in this thread, and again when it met another one."""
        whole, met = False, ""
        for number in range(_TRIES):
            try:
                with self._database.transaction(write=write) as at:
                    return operation(at, whole)
            except Retry as exc:
                met = str(exc)
            except Missing as exc:
                whole, met = True, str(exc)
            if self._database.threads:
                time.sleep(random.uniform(0, 0.005 * 2**number))
        raise StoreBusy(f"store: {_TRIES} tries met other transactions: {met}")

    def _open(self) -> None:
        self._database.open(self._create)
        migrate(self._database, create=self._create)

    async def _close(self, threads: Threads) -> None:
        with anyio.CancelScope(shield=True):
            try:
                await threads.run(self._database.close)
            finally:
                threads.close()


def check_name(name: str) -> None:
    """Raises StoreValue for a name that no branch can have."""
    if not isinstance(name, str) or not name.strip():
        raise StoreValue("name", f"{name!r} is blank")
    if len(name) > LONGEST_NAME:
        raise StoreValue("name", f"has {len(name)} characters; {LONGEST_NAME} are allowed")
    if any(ord(one) < 32 or 127 <= ord(one) < 160 or 0xD800 <= ord(one) < 0xE000 for one in name):
        raise StoreValue("name", f"{name!r} has control characters")


def check_metadata(metadata: Mapping[str, str] | None) -> dict[str, str]:
    """Return a copy. Raises StoreValue when a key or a value is not a text."""
    found = dict(metadata or {})
    for key, value in found.items():
        for text in (key, value):
            if not isinstance(text, str) or any(0xD800 <= ord(one) < 0xE000 for one in text):
                raise StoreValue("metadata", f"{key!r}: keys and values are texts")
    return found


def _masked(url: str) -> str:
    """The URL without its password."""
    head, at, host = url.rpartition("@")
    if not at:
        return url
    scheme, slashes, user = head.partition("://")
    return f"{scheme}{slashes}{user.partition(':')[0]}@{host}"
