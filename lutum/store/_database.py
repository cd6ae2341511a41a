"""The interface of a database: transactions over three kinds of statement, and a check of which runs live.

Statements are written once, with `?` for a parameter and ` for update` where a row is locked; each database
makes its own dialect of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any, Protocol

Row = tuple[Any, ...]


class Retry(Exception):
    """The transaction met another one and did nothing; it can be tried again."""


class Missing(Exception):
    """A row that this transaction refers to is not there, such as a parent that `vacuum` removed."""


class Transaction(Protocol):
    """One transaction. It ends with the block of `Database.transaction`."""

    def rows(self, sql: str, *values: object) -> list[Row]:
        """The rows of a query."""
        ...

    def run(self, sql: str, *values: object) -> int:
        """The number of rows that a statement changed."""
        ...

    def many(self, sql: str, values: Iterable[Row]) -> None:
        """Run a statement for each of several rows."""
        ...


class Database(Protocol):
    """A database, used by the worker threads of one store.

    Attributes:
      threads: how many threads may use it at once; 0 uses it where it is called.
      bytes_type: the type of a column of bytes.
      serial: the type of a numbered primary key.
    """

    threads: int
    bytes_type: str
    serial: str

    def open(self, create: bool) -> None:
        """Open it. Raises StoreError if it is missing and may not be created."""
        ...

    def transaction(self, *, write: bool) -> AbstractContextManager[Transaction]:
        """A transaction: committed when its block ends, rolled back when it raises.

        Raises:
          StoreError: what the database reported, by its kind.
          Retry: it met another transaction.
          Missing: a foreign key has no row.
        """
        ...

    def tables(self, at: Transaction) -> set[str]:
        """The names of the store's tables that are there."""
        ...

    def lock_schema(self, at: Transaction) -> None:
        """Let one process at a time create or migrate the tables."""
        ...

    def keep_alive(self, runner: int) -> None:
        """Show that this process lives, until it ends or `close` is called. Once for each store."""
        ...

    def is_alive(self, runner: int) -> bool:
        """Return whether the process of that runner lives."""
        ...

    def sweep(self) -> None:
        """Remove what dead processes left beside the database."""
        ...

    def close(self) -> None:
        """Close every connection."""
        ...
