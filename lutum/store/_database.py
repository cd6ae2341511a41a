"""The interface of a database: transactions with three kinds of statement, and a check of living processes.

A statement is written once for all databases, with `?` for a parameter and ` for update` to lock a row. Each
database translates it to its own dialect.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any, Protocol

Row = tuple[Any, ...]


class Retry(Exception):
    """The transaction conflicted with another one and changed nothing. It can be tried again."""


class Missing(Exception):
    """A row that this transaction refers to is missing, for example a parent that `vacuum` removed."""


class Transaction(Protocol):
    """One transaction. It ends with the block of `Database.transaction`."""

    def rows(self, sql: str, *values: object) -> list[Row]:
        """Return the rows of a query."""
        ...

    def run(self, sql: str, *values: object) -> int:
        """Run a statement and return the number of rows that it changed."""
        ...

    def many(self, sql: str, values: Iterable[Row]) -> None:
        """Run a statement for each of several rows."""
        ...


class Database(Protocol):
    """A database, used by the worker threads of one store.

    Attributes:
      threads: the number of threads that may use it at once. With 0, the calling thread uses it.
      bytes_type: the type of a column of bytes.
      serial: the type of a numbered primary key.
    """

    threads: int
    bytes_type: str
    serial: str

    def open(self, create: bool) -> None:
        """Open the database. Raises StoreError if it is missing and may not be created."""
        ...

    def transaction(self, *, write: bool) -> AbstractContextManager[Transaction]:
        """Return a transaction. It is committed when its block ends, and rolled back if the block raises.

        Raises:
          StoreError: the database reported an error; its kind selects the subclass.
          Retry: the transaction conflicted with another one.
          Missing: a foreign key refers to a missing row.
        """
        ...

    def tables(self, at: Transaction) -> set[str]:
        """Return the names of the tables that exist."""
        ...

    def lock_schema(self, at: Transaction) -> None:
        """Lock the tables, so that only one process at a time creates or migrates them."""
        ...

    def keep_alive(self, runner: int) -> None:
        """Show that this process lives, until it ends or `close` is called. Later calls do nothing."""
        ...

    def is_alive(self, runner: int) -> bool:
        """Return whether the process of that runner lives."""
        ...

    def sweep(self) -> None:
        """Remove the files that dead processes left beside the database."""
        ...

    def close(self) -> None:
        """Close every connection."""
        ...
