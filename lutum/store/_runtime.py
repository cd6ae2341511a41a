"""The runtime of a store: transactions in its threads, which are repeated after conflicts, and its claims."""

from __future__ import annotations

import random
import secrets
import time
from typing import Protocol, TypeVar, final

from lutum._values.errors import StoreBusy, UsageError
from lutum.store._database import Database, Missing, Retry, Transaction
from lutum.store._nodes import Nodes
from lutum.store._schema import migrate
from lutum.store._threads import Threads

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_TRIES = 10


class Operation(Protocol[T_co]):
    """The work of one transaction.

    `whole` is True if an earlier attempt failed because rows were missing that this process believed to be
    stored.
    """

    def __call__(self, at: Transaction, /, whole: bool) -> T_co: ...


@final
class StoreRuntime:
    """A database, its reader of items, and the claims of this process.

    Attributes:
      url: the URL that the store was opened with; a generated URL for memory.
      nodes: the reader and writer of items.
      runner: the random id of this store. Its claims contain this id.
      running: the claims of this store whose runs have not ended.
    """

    def __init__(self, database: Database, url: str, nodes: Nodes, *, create: bool) -> None:
        self.url = url
        self.nodes = nodes
        self.runner: int = secrets.randbits(62)
        self.running: set[str] = set[str]()
        self._database = database
        self._create = create
        self._threads: Threads | None = None

    @property
    def threads(self) -> Threads:
        """The store's threads. Raises UsageError outside the store's `async with` block."""
        if self._threads is None:
            raise UsageError("store: use it inside `async with lutum.store.connect(...) as store`")
        return self._threads

    async def open(self) -> None:
        """Open the database, and migrate its tables to the current version. An error or a cancellation closes
        the database again."""
        if self._threads is not None:
            raise UsageError("store: it is open already")
        self._threads = Threads(self._database.threads)
        try:
            await self._threads.run(self._open)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close the database. The call is shielded from cancellation, and waits for the store's threads."""
        threads, self._threads = self._threads, None
        if threads is None:
            return
        try:
            await threads.run(self._database.close, always=True)
        finally:
            threads.close()

    def is_alive(self, runner: int, claim: str) -> bool:
        """Return whether the run of a claim still runs."""
        return claim in self.running if runner == self.runner else self._database.is_alive(runner)

    def keep_alive(self) -> None:
        """Show other processes that this process lives."""
        self._database.keep_alive(self.runner)

    def sweep(self) -> None:
        """Remove the files that dead processes left beside the database."""
        self._database.sweep()

    async def do(self, operation: Operation[T], *, write: bool = True, always: bool = False) -> T:
        """Run an operation in one transaction. Repeat it after a conflict with another transaction.

        With `always`, run it even if the task is cancelled already.
        """
        return await self.threads.run(lambda: self.attempt(operation, write=write), always=always)

    def attempt(self, operation: Operation[T], *, write: bool) -> T:
        """Run an operation in this thread. Repeat it after a conflict with another transaction.

        Raises:
          StoreBusy: every try conflicted with another transaction.
        """
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
        raise StoreBusy(f"store: {_TRIES} attempts conflicted with other transactions: {met}")

    def _open(self) -> None:
        self._database.open(self._create)
        migrate(self._database, create=self._create)
