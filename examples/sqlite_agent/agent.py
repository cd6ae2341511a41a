"""The agent: a loop of rounds, eleven tools, and hooks for the decisions of the program.

A write takes these steps: SQLite compiles it and reports whether it is one statement of the tool's kind; the
rules of the program may object; it runs in a savepoint that is rolled back; the approver sees it; it runs. An
edited statement takes all steps again. A failed step is reported to the model, which may try again. No failed
step ends the loop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import anyio

import lutum

from .database import Databases, Kind, Refused, Rows, Write


@dataclass(frozen=True)
class Accept:
    """Run the statement unchanged."""


@dataclass(frozen=True)
class Reject:
    """Do not run the statement; the model gets the reason."""

    why: str


@dataclass(frozen=True)
class Edit:
    """Run this statement instead, if it passes all checks."""

    sql: str


Decision = Accept | Reject | Edit


class AgentHooks(lutum.HookSet):
    """The decisions of a program. Without any hook, nothing is written."""

    @lutum.hook("singleton")
    async def system_prompt(self) -> str:
        """Return the instructions for the model."""
        return (
            "You answer questions about SQLite databases. Look at the schema before you write SQL, and give "
            "every name and number as the database has it. You may change data only in writable mode; ask "
            "for it with request_writable_mode when the user wants a change."
        )

    @lutum.hook("fallback")
    async def augment(self, text: str) -> str:
        """Return the question that is sent instead of the user's text."""
        return text

    @lutum.hook("always", chain=lutum.first_success)
    async def objection(self, database: str, kind: Kind, sql: str) -> str | None:
        """Return why a statement may not run, or None. The first objection counts."""
        return None

    @lutum.hook("singleton")
    async def approve_write(self, write: Write) -> Decision:
        """Decide about a write that has passed all checks."""
        return Reject("no write approver is configured")

    @lutum.hook("singleton")
    async def approve_mode(self, reason: str) -> bool:
        """Return whether the model gets the writable mode that it requests."""
        return False


@dataclass(frozen=True)
class Statement:
    """One statement that was run for the model."""

    database: str
    kind: Kind
    sql: str
    rows: int


@dataclass
class Desk:
    """The state that the tools share."""

    databases: Databases
    hooks: AgentHooks
    max_rows: int = 100
    writable: bool = False
    statements: list[Statement] = field(default_factory=list[Statement])

    async def write(self, database: str, kind: Kind, sql: str) -> str:
        """Take a write through all steps. Raises Refused if a step fails."""
        if not self.writable:
            raise Refused("the databases are read-only; request_writable_mode asks the user for more")
        found, changed_by_user = self.databases.get(database), False
        while True:
            found.check(kind, sql)
            if (why := await self.hooks.objection(database, kind, sql)) is not None:
                raise Refused(why)
            match await self.hooks.approve_write(write := found.dry_run(kind, sql, self.max_rows)):
                case Accept():
                    break
                case Reject(why):
                    raise Refused(f"the user rejected it: {why}")
                case Edit(edited):
                    if edited == sql:
                        break
                    sql, changed_by_user = edited, True
        rows = found.execute(write, self.max_rows)
        self.statements.append(Statement(database, kind, sql, rows))
        return f"done, {rows} rows changed" + (f"; the user made it: {sql}" if changed_by_user else "")


At = Annotated[Desk, lutum.Injected]


@lutum.tool
async def request_writable_mode(reason: str, desk: At) -> str:
    """Ask the user to let you change data.

    Args:
      reason: What you want to change, in a sentence for the user.
    """
    desk.writable = desk.writable or await desk.hooks.approve_mode(reason)
    return "granted" if desk.writable else "the user does not grant it"


@lutum.tool
async def list_databases(desk: At) -> list[str]:
    """The names of all databases."""
    return desk.databases.ids()


@lutum.tool
async def create_database(name: str, desk: At) -> str:
    """Make a new, empty database."""
    if not desk.writable:
        raise Refused("the databases are read-only")
    return f"made {desk.databases.create(name).id}"


@lutum.tool
async def get_schema(database: str, desk: At) -> str:
    """The statements that made the tables and indices of a database."""
    return desk.databases.get(database).schema() or "it is empty"


@lutum.tool
async def select(database: str, sql: str, desk: At) -> dict[str, Any]:
    """Run one SELECT statement."""
    found = desk.databases.get(database)
    found.check("select", sql)
    if (why := await desk.hooks.objection(database, "select", sql)) is not None:
        raise Refused(why)
    rows: Rows = found.select(sql, desk.max_rows)
    desk.statements.append(Statement(database, "select", sql, len(rows.rows)))
    more = {"note": f"there are more than {desk.max_rows} rows"} if rows.more else {}
    return {"columns": rows.columns, "rows": rows.rows, **more}


@lutum.tool
async def insert(database: str, sql: str, desk: At) -> str:
    """Run one INSERT statement, when the user has approved it."""
    return await desk.write(database, "insert", sql)


@lutum.tool
async def update(database: str, sql: str, desk: At) -> str:
    """Run one UPDATE statement, when the user has approved it."""
    return await desk.write(database, "update", sql)


@lutum.tool
async def delete(database: str, sql: str, desk: At) -> str:
    """Run one DELETE statement, when the user has approved it."""
    return await desk.write(database, "delete", sql)


@lutum.tool
async def create_table(database: str, sql: str, desk: At) -> str:
    """Run one CREATE TABLE statement, when the user has approved it."""
    return await desk.write(database, "create_table", sql)


@lutum.tool
async def alter_table(database: str, sql: str, desk: At) -> str:
    """Run one ALTER TABLE statement, when the user has approved it."""
    return await desk.write(database, "alter_table", sql)


@lutum.tool
async def create_index(database: str, sql: str, desk: At) -> str:
    """Run one CREATE INDEX statement, when the user has approved it."""
    return await desk.write(database, "create_index", sql)


READ: lutum.Toolset[Any] = lutum.Toolset(list_databases, get_schema, select)
WRITE: lutum.Toolset[Any] = lutum.Toolset(
    create_database, insert, update, delete, create_table, alter_table, create_index
)
TOOLS: lutum.Toolset[Any] = lutum.Toolset(request_writable_mode, READ, WRITE)


@dataclass(frozen=True)
class Answer:
    """The result of a question."""

    text: str
    statements: tuple[Statement, ...]
    usage: lutum.Usage
    ended: Literal["finished", "stopped", "too many rounds"] = "finished"


class Agent:
    """One conversation about the databases of one folder; read-only until `approve_mode` says otherwise."""

    def __init__(
        self,
        llm: lutum.Lutum,
        databases: Databases,
        hooks: AgentHooks | None = None,
        *,
        transcript: lutum.Transcript | None = None,
        max_rows: int = 100,
        max_rounds: int = 20,
    ) -> None:
        self.session = lutum.Session(llm, transcript or lutum.Transcript())
        self.session.defaults = lutum.Settings(max_output_tokens=2000)
        self.desk = Desk(databases, hooks or AgentHooks(), max_rows)
        self._max_rounds = max_rounds
        self.running: anyio.CancelScope | None = None
        """The cancel scope of the open turn. Cancelling it ends the answer and keeps the received text."""

    async def ask(self, text: str, show: Callable[[str], object] | None = None) -> Answer:
        """Send a question, run the calls of the model, and return its answer.

        After a cancellation or an error, finished rounds stay in the session, and completed writes stay in
        the database. If no round was finished, the question is removed, so that it can be asked again.

        Args:
          text: the question.
          show: is called with each piece of text when it arrives.

        Raises:
          lutum.TurnError: a request failed.
        """
        session, desk, spent = self.session, self.desk, lutum.Usage()
        before, first, tools = session.transcript, len(desk.statements), TOOLS.bind(desk=desk)
        if not before:
            session.push_system(await desk.hooks.system_prompt())
        session.push_user(await desk.hooks.augment(text))
        asked = session.transcript
        try:
            for _ in range(self._max_rounds):
                # every request has the same tools, so that the cache is hit; only the callable ones differ
                offered: list[Any] = [READ, WRITE] if desk.writable else [READ, request_writable_mode]
                async with session.text_turn().tools(tools).available(only=offered).stream() as stream:
                    self.running = stream.cancel_scope
                    async for piece in stream.text():
                        if show is not None:
                            show(piece)
                self.running = None
                spent += stream.usage
                if stream.cancel_scope.cancel_called:
                    session.push_assistant(stream.partial.text or "(stopped)")
                    return Answer(stream.partial.text, tuple(desk.statements[first:]), spent, "stopped")
                match stream.result:
                    case lutum.NeedsTools(round):
                        # one at a time: a call may read what the one before it wrote
                        session.commit_round(round, await round.run(limit=1))
                    case lutum.Finished(result):
                        session.commit_text(result)
                        return Answer(result.text, tuple(desk.statements[first:]), spent)
        finally:
            self.running = None
            if session.transcript is asked:
                session.transcript = before
        return Answer("", tuple(desk.statements[first:]), spent, "too many rounds")
