"""SQLite for an untrusted caller: one statement at a time, of a kind that was allowed.

SQLite itself reports what a statement does, while it compiles the statement (`sqlite3_set_authorizer`). This
module does not parse SQL. A SELECT that writes, a second database, a PRAGMA or an extension never runs.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import lutum

Kind = Literal["select", "insert", "update", "delete", "create_table", "alter_table", "create_index"]

STEPS = 20_000_000
"""How many instructions of SQLite's virtual machine a statement may take: about a second."""

READING = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
ROWS = {"insert": sqlite3.SQLITE_INSERT, "update": sqlite3.SQLITE_UPDATE, "delete": sqlite3.SQLITE_DELETE}
SCHEMA = {
    "create_table": sqlite3.SQLITE_CREATE_TABLE,
    "alter_table": sqlite3.SQLITE_ALTER_TABLE,
    "create_index": sqlite3.SQLITE_CREATE_INDEX,
}
# The tables and the actions that SQLite reports for its own work on the schema.
CATALOGUE = {"sqlite_master", "sqlite_schema", "sqlite_sequence", "sqlite_temp_master"}
INSIDE = {*ROWS.values(), sqlite3.SQLITE_CREATE_TABLE, sqlite3.SQLITE_CREATE_INDEX, sqlite3.SQLITE_REINDEX}


class Refused(lutum.ToolError):
    """An action was not done. The message is for the caller, which may be a model."""


@dataclass(frozen=True)
class Rows:
    """The rows of a SELECT, cut at the limit."""

    columns: list[str]
    rows: list[list[str]]
    more: bool = False


@dataclass(frozen=True)
class Write:
    """A statement that changes data, with the number of rows that its dry run changed."""

    database: str
    kind: Kind
    sql: str
    changed: int


class Database:
    """One database file. Two tasks must not use it at once."""

    def __init__(self, path: Path) -> None:
        self.id = path.stem
        # autocommit: only the statements in this class begin and end transactions
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def script(self, sql: str) -> None:
        """Run statements of the program's own, without any check."""
        self._connection.executescript(sql)

    def schema(self) -> str:
        """Return the statements that created the schema."""
        found = self._connection.execute(
            "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid"
        )
        return ";\n".join(str(sql) for (sql,) in found)

    def select(self, sql: str, max_rows: int) -> Rows:
        """Run a SELECT. Raises Refused if the statement is not a SELECT or fails."""
        self.check("select", sql)
        with self._only("select"):
            cursor = self._connection.execute(sql)
            found = cursor.fetchmany(max_rows + 1)
            cursor.close()
        columns = [str(column[0]) for column in cursor.description]
        return Rows(
            columns, [[shown(value) for value in row] for row in found[:max_rows]], len(found) > max_rows
        )

    def check(self, kind: Kind, sql: str) -> None:
        """Compile a statement without running it. Raises Refused if it is not allowed."""
        with self._only(kind):
            self._connection.execute(f"EXPLAIN {sql}").close()

    def dry_run(self, kind: Kind, sql: str, max_rows: int) -> Write:
        """Run a statement in a savepoint that is rolled back. Raises Refused if it is not allowed."""
        self._connection.execute("SAVEPOINT dry_run")
        try:
            return Write(self.id, kind, sql, self._change(kind, sql, max_rows))
        finally:
            self._connection.execute("ROLLBACK TO dry_run")
            self._connection.execute("RELEASE dry_run")

    def execute(self, write: Write, max_rows: int) -> int:
        """Run a write, whole or not at all; returns how many rows changed. Raises Refused if it fails."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            changed = self._change(write.kind, write.sql, max_rows)
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")
        return changed

    def scans(self, sql: str) -> list[str]:
        """Return the tables that a SELECT reads from end to end because it uses no index."""
        plan = self._connection.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall()
        return [match[1] for row in plan if (match := re.match(r"SCAN (\w+)(?! USING)", str(row[3])))]

    def _change(self, kind: Kind, sql: str, max_rows: int) -> int:
        self.check(kind, sql)
        with self._only(kind):
            before = self._connection.total_changes  # includes the changes of triggers
            self._connection.execute(sql).fetchall()  # read all rows of a RETURNING clause
        changed = self._connection.total_changes - before
        if changed > max_rows:
            raise Refused(f"it would change {changed} rows; at most {max_rows} are allowed")
        return changed

    @contextmanager
    def _only(self, kind: Kind) -> Generator[None, None, None]:
        """Allow only statements of this kind inside the block, each for at most `STEPS` instructions."""
        asked = list[int]()
        steps = 0

        def tired() -> bool:
            nonlocal steps
            steps += 10_000
            return steps > STEPS

        self._connection.set_authorizer(_authorizer(kind, asked))
        self._connection.set_progress_handler(tired, 10_000)
        try:
            yield
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise Refused(str(error)) from error
        finally:
            self._connection.set_authorizer(None)
            self._connection.set_progress_handler(None, 0)
        if {**ROWS, **SCHEMA}.get(kind, sqlite3.SQLITE_SELECT) not in asked:
            raise Refused(f"this is not a {kind.upper().replace('_', ' ')} statement")


def _authorizer(
    kind: Kind, asked: list[int]
) -> Callable[[int, str | None, str | None, str | None, str | None], int]:
    def allow(
        action: int, first: str | None, second: str | None, where: str | None, cause: str | None
    ) -> int:
        own = action == {**ROWS, **SCHEMA}.get(kind)
        if own and first not in CATALOGUE:
            asked.append(action)
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_FUNCTION and second == "load_extension":
            return sqlite3.SQLITE_DENY
        if action in READING:
            if kind == "select":
                asked.append(action)
            return sqlite3.SQLITE_OK
        if cause is not None and action in ROWS.values():  # done by a trigger that is already in the schema
            return sqlite3.SQLITE_OK
        if kind == "insert" and action == sqlite3.SQLITE_UPDATE and first not in CATALOGUE:
            return sqlite3.SQLITE_OK  # ON CONFLICT DO UPDATE
        if kind in SCHEMA and action in INSIDE:
            theirs = action in ROWS.values() or action == sqlite3.SQLITE_CREATE_TABLE
            return sqlite3.SQLITE_OK if first in CATALOGUE or not theirs else sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_DENY

    return allow


class Databases:
    """The databases of a folder: each `NAME.db` is one."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._open = {path.stem: Database(path) for path in sorted(folder.glob("*.db"))}

    def ids(self) -> list[str]:
        """Return the names of the databases, sorted."""
        return sorted(self._open)

    def get(self, id: str) -> Database:
        """Return a database. Raises Refused if there is no database `id`."""
        if (found := self._open.get(id)) is None:
            raise Refused(f"no database {id!r}; there are: {', '.join(self.ids()) or 'none'}")
        return found

    def create(self, id: str) -> Database:
        """Create an empty database. Raises Refused if the name is invalid or taken."""
        if not re.fullmatch(r"[A-Za-z]\w{0,39}", id, re.ASCII):
            raise Refused("a name is a letter and up to 39 letters, digits or underscores")
        if id.lower() in {known.lower() for known in self._open}:  # the same file if the system ignores case
            raise Refused(f"there is a database {id!r}")
        self._open[id] = Database(self.folder / f"{id}.db")
        return self._open[id]

    def close(self) -> None:
        """Close all databases."""
        for database in self._open.values():
            database.close()


def shown(value: object) -> str:
    """Format a value for the model and the person."""
    match value:
        case None:
            return "NULL"
        case bytes():
            return f"blob of {len(value)} bytes"
        case _:
            return str(value)
