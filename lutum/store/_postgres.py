"""PostgreSQL with psycopg 3: a few synchronous connections, used in threads. It needs the extra `postgres`.

`statement_timeout` limits each statement. A process shows that it lives with an advisory lock, which has its
own connection. The server drops the lock when this connection ends.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from typing import Any, cast, final

from lutum._values.errors import StoreBusy, StoreCorrupt, StoreError, StoreFormat
from lutum.store._database import Missing, Retry, Row, Transaction

# The class of the advisory locks: "lutu". It distinguishes them from the locks of other programs.
_CLASS = 0x6C757475


@final
class Postgres:
    """A PostgreSQL database."""

    bytes_type = "bytea"
    serial = "bigserial primary key"

    def __init__(self, url: str, timeout: float, connections: int = 4) -> None:
        self.url = url
        self.threads = connections
        self._timeout = timeout
        self._idle = list[Any]()
        self._alive: Any = None
        self._lock = threading.Lock()

    def open(self, create: bool) -> None:
        with self._connection():
            pass

    @contextmanager
    def transaction(self, *, write: bool) -> Generator[_PostgresTransaction]:
        with self._connection() as connection, _translated(), connection.transaction():
            yield _PostgresTransaction(connection)

    def tables(self, at: Transaction) -> set[str]:
        return {
            row[0] for row in at.rows("select tablename from pg_tables where schemaname = current_schema()")
        }

    def lock_schema(self, at: Transaction) -> None:
        at.rows("select pg_advisory_xact_lock(?, 0)", _CLASS)

    def keep_alive(self, runner: int) -> None:
        with self._lock:
            if self._alive is not None:
                return
            with _translated():
                self._alive = connection = self._connect()
                # The second key of an advisory lock takes 31 bits of the number; these are random too.
                connection.execute("select pg_advisory_lock(%s, %s)", (_CLASS, _low(runner)))

    def is_alive(self, runner: int) -> bool:
        with self.transaction(write=False) as at:
            return bool(
                at.rows(
                    "select 1 from pg_locks where locktype = 'advisory' and granted"
                    " and classid = ? and objid = ?"
                    " and database = (select oid from pg_database where datname = current_database())",
                    _CLASS,
                    _low(runner),
                )
            )

    def sweep(self) -> None:
        """Do nothing, because the server drops a lock when its connection ends."""

    def close(self) -> None:
        with self._lock:
            connections, self._idle = self._idle, []
            alive, self._alive = self._alive, None
        for connection in (*connections, alive):
            if connection is not None:
                with suppress(Exception):
                    connection.close()

    def _connect(self) -> Any:
        try:
            import psycopg
            from psycopg.conninfo import conninfo_to_dict
        except ImportError as exc:
            raise StoreError(
                "postgresql: psycopg is not installed: pip install 'lutum[postgres]' 'psycopg[binary]'"
                " (in a clone: '.[postgres]')"
            ) from exc
        limit = int(self._timeout * 1000)
        given = conninfo_to_dict(self.url)
        options = f"-c statement_timeout={limit} -c lock_timeout={limit} {given.get('options') or ''}"
        return psycopg.connect(
            self.url, autocommit=True, connect_timeout=max(2, int(self._timeout)), options=options
        )

    @contextmanager
    def _connection(self) -> Generator[Any]:
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is None or connection.closed:
            with _translated():
                connection = self._connect()
        try:
            yield connection
        finally:
            if connection.closed or connection.broken:
                connection.close()
                with self._lock:  # the server ended this connection, so it ended the idle connections too
                    stale, self._idle = self._idle, []
                for one in stale:
                    one.close()
            else:
                with self._lock:
                    self._idle.append(connection)


@final
class _PostgresTransaction:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def rows(self, sql: str, *values: object) -> list[Row]:
        found = self._connection.execute(_dialect(sql), values).fetchall()
        return cast("list[Row]", found)

    def run(self, sql: str, *values: object) -> int:
        return cast("int", self._connection.execute(_dialect(sql), values).rowcount)

    def many(self, sql: str, values: Iterable[Row]) -> None:
        with self._connection.cursor() as cursor:
            cursor.executemany(_dialect(sql), list(values))


def _dialect(sql: str) -> str:
    return sql.replace("?", "%s")


def _low(runner: int) -> int:
    return runner & 0x7FFFFFFF


@contextmanager
def _translated() -> Generator[None]:
    """Convert psycopg's errors to the store's errors."""
    try:
        import psycopg
        from psycopg import errors
    except ImportError:
        yield  # `_connect` names the missing package
        return
    try:
        yield
    except errors.ForeignKeyViolation as exc:
        raise Missing(str(exc)) from exc
    except (errors.SerializationFailure, errors.DeadlockDetected, errors.UniqueViolation) as exc:
        raise Retry(str(exc)) from exc
    except (errors.LockNotAvailable, errors.QueryCanceled) as exc:
        raise StoreBusy(f"postgresql: {exc}") from exc
    except (errors.DataCorrupted, errors.IndexCorrupted) as exc:
        raise StoreCorrupt(f"postgresql: {exc}") from exc
    except (errors.UndefinedTable, errors.UndefinedColumn) as exc:
        raise StoreFormat(f"postgresql: {exc}") from exc
    except psycopg.Error as exc:
        raise StoreError(f"postgresql: {str(exc).strip() or type(exc).__name__}") from exc
