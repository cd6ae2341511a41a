"""SQLite with the standard library: a file in WAL mode with `synchronous=FULL`, or memory."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import final

from lutum._values.errors import StoreBusy, StoreCorrupt, StoreError, StoreFormat
from lutum.store._database import Missing, Retry, Row, Transaction
from lutum.store._lock_file import LockFile, sweep

_FOR_UPDATE = re.compile(r" for update\b")


@final
class Sqlite:
    """A database file, or a database in memory if `path` is None. A database in memory uses no thread."""

    bytes_type = "blob"
    serial = "integer primary key"

    def __init__(self, path: str | None, timeout: float) -> None:
        # The path is absolute, because the program may change its folder. Symbolic links are resolved,
        # because other processes have to find the lock files beside the database.
        self.path = None if path is None else os.path.realpath(path)
        self.threads = 0 if path is None else 1
        self._timeout = timeout
        self._connection: sqlite3.Connection | None = None
        self._lock: LockFile | None = None

    @property
    def connection(self) -> sqlite3.Connection:
        """The only connection. Raises StoreError if the store is closed."""
        if self._connection is None:
            raise StoreError("sqlite: the store is closed")
        return self._connection

    def open(self, create: bool) -> None:
        path = ":memory:" if self.path is None else self.path
        if self.path is not None and not create and not os.path.exists(self.path):
            raise StoreError(
                f"sqlite: there is no database {self.path!r}; connect(url, create=True) makes one"
            )
        with _translated(path):
            # Several worker threads use the connection, but only one of them at a time.
            self._connection = sqlite3.connect(
                path, timeout=self._timeout, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("pragma foreign_keys=on")
            if self.path is not None:
                self._connection.execute("pragma journal_mode=wal")
                self._connection.execute("pragma synchronous=full")

    @contextmanager
    def transaction(self, *, write: bool) -> Generator[_SqliteTransaction]:
        connection = self.connection
        with _translated(self.path or "memory"):
            connection.execute("begin immediate" if write else "begin")
            try:
                yield _SqliteTransaction(connection)
                connection.execute("commit")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("rollback")
                raise

    def tables(self, at: Transaction) -> set[str]:
        return {row[0] for row in at.rows("select name from sqlite_master where type = 'table'")}

    def lock_schema(self, at: Transaction) -> None:
        """Do nothing, because only one writing transaction runs at a time."""

    def keep_alive(self, runner: int) -> None:
        if self.path is not None and self._lock is None:
            with _translated(self.path):
                self._lock = LockFile(self.path, runner)

    def is_alive(self, runner: int) -> bool:
        return self.path is not None and LockFile.is_held(self.path, runner)

    def sweep(self) -> None:
        if self.path is not None:
            sweep(self.path)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        lock, self._lock = self._lock, None
        try:
            if connection is not None:
                connection.close()
        finally:
            if lock is not None:
                lock.release()


@final
class _SqliteTransaction:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def rows(self, sql: str, *values: object) -> list[Row]:
        return self._connection.execute(_FOR_UPDATE.sub("", sql), values).fetchall()

    def run(self, sql: str, *values: object) -> int:
        count = self._connection.execute(sql, values).rowcount
        # The sqlite3 module does not count the rows of a statement that begins with WITH; the database does.
        return self._connection.execute("select changes()").fetchone()[0] if count < 0 else count

    def many(self, sql: str, values: Iterable[Row]) -> None:
        self._connection.executemany(sql, values)


@contextmanager
def _translated(path: str) -> Generator[None]:
    """Convert sqlite3's errors to the store's errors."""
    try:
        yield
    except sqlite3.Error as exc:
        name = getattr(exc, "sqlite_errorname", "")
        text = f"sqlite: {path}: {exc}"
        if name == "SQLITE_CONSTRAINT_FOREIGNKEY":
            raise Missing(text) from exc
        if name.startswith(("SQLITE_BUSY_SNAPSHOT", "SQLITE_CONSTRAINT")):
            raise Retry(text) from exc
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise StoreBusy(f"{text}: another process writes, and `timeout` seconds have passed") from exc
        if name.startswith("SQLITE_NOTADB"):
            raise StoreFormat(text) from exc
        if name.startswith("SQLITE_CORRUPT"):
            raise StoreCorrupt(text) from exc
        raise StoreError(text) from exc
    except (OverflowError, UnicodeError, OSError) as exc:
        raise StoreError(f"sqlite: {path}: {exc}") from exc
