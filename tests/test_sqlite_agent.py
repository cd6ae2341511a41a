"""The SQLite agent of the examples: what may run, who is asked before, and what a conversation leaves."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import pytest

import lutum
from lutum.testing import ScriptedAdapter
from lutum.testing.wire import NeverEnding, Reply, WireServer
from lutum_claude import ClaudeAdapter

sys.path.append(str(Path(__file__).parents[1] / "examples"))
try:
    agent, database, evaluation, program, scripted, terminal = (
        import_module(f"sqlite_agent.{name}")
        for name in ("agent", "database", "evaluation", "__main__", "scripted", "terminal")
    )
finally:
    sys.path.pop()

CHAIRS = "UPDATE product SET stock = 10 WHERE name = 'chair'"
STOCK = "SELECT stock FROM product WHERE name = 'chair'"


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Any]:
    """A folder of databases with the demo shop in it."""
    scripted.make_shop(tmp_path / "data")
    found = database.Databases(tmp_path / "data")
    yield found
    found.close()


def hooks(decide: Callable[[Any], Any] | None = None, rule: Callable[[str], str | None] | None = None) -> Any:
    """Hooks that grant the mode, and decide about each write as `decide` says."""

    @agent.AgentHooks.approve_mode
    async def grant(reason: str) -> bool:
        return True

    @agent.AgentHooks.approve_write
    async def approve(write: Any) -> Any:
        return decide(write) if decide else agent.Accept()

    @agent.AgentHooks.objection
    async def object_to(database: str, kind: str, sql: str) -> str | None:
        return rule(sql) if rule else None

    return agent.AgentHooks(grant, approve, object_to)


async def run(shop: Any, hooks: Any, *calls: tuple[str, dict[str, str]], writable: bool = True) -> list[str]:
    """What the model is told of these calls, a round each."""
    rounds: list[Any] = [
        [lutum.ToolCallReady(f"c{i}", name, json.dumps(given))] for i, (name, given) in enumerate(calls)
    ]
    made = agent.Agent(lutum.Lutum(ScriptedAdapter([*rounds, ["Done."]])), shop, hooks, max_rows=2)
    made.desk.writable = writable
    await made.ask("Do it.")
    return [item.text for item in made.session.transcript if isinstance(item, lutum.ToolResult)]


def sql(tool: str, statement: str) -> tuple[str, dict[str, str]]:
    return tool, {"database": "shop", "sql": statement}


def stock(shop: Any) -> str:
    return str(shop.get("shop").select(STOCK, 1).rows[0][0])


@pytest.mark.parametrize(
    ("kind", "statement"),
    [
        ("select", "DELETE FROM sale"),
        ("select", "INSERT INTO customer(name) VALUES ('x') RETURNING id"),
        ("select", "WITH x AS (SELECT 1) DELETE FROM sale"),
        ("select", "PRAGMA writable_schema = 1"),
        ("select", "SELECT * FROM pragma_table_info('sale')"),
        ("select", "SELECT load_extension('x')"),
        ("select", "SELECT 1; DELETE FROM sale"),
        ("select", "ATTACH 'other.db' AS other"),
        ("select", "VACUUM"),
        ("select", "BEGIN"),
        ("select", ""),
        ("select", "nonsense"),
        ("insert", "DELETE FROM sale"),
        ("update", "INSERT INTO sale VALUES (9, 1, 1, 1)"),
        ("delete", "DROP TABLE sale"),
        ("update", "UPDATE sqlite_schema SET sql = ''"),
        ("create_table", "DROP TABLE sale"),
        ("create_table", "CREATE TABLE t AS SELECT 1; DROP TABLE sale"),
        ("create_table", "CREATE TRIGGER t AFTER INSERT ON sale BEGIN DELETE FROM sale; END"),
        ("alter_table", "CREATE TABLE t(a)"),
        ("create_index", "DELETE FROM sale"),
    ],
)
def test_a_statement_of_another_kind_is_refused(shop: Any, kind: str, statement: str) -> None:
    """Whatever else a statement would do, it does not do; the database is as it was."""
    before = [shop.get("shop").schema(), shop.get("shop").select("SELECT * FROM sale", 99).rows]
    found = shop.get("shop")
    with pytest.raises(database.Refused):
        found.check(kind, statement)
    with pytest.raises(database.Refused):
        found.select(statement, 99) if kind == "select" else found.dry_run(kind, statement, 99)
    assert [found.schema(), found.select("SELECT * FROM sale", 99).rows] == before


@pytest.mark.parametrize(
    ("kind", "statement", "changed"),
    [
        ("insert", "INSERT INTO customer(name) SELECT name FROM product", 3),
        ("insert", "INSERT INTO customer VALUES (1, 'An', NULL) ON CONFLICT DO UPDATE SET name = 'An'", 1),
        ("insert", "INSERT INTO customer(name) VALUES ('x') RETURNING id", 1),
        ("update", CHAIRS, 1),
        ("delete", "WITH old AS (SELECT 1 AS id) DELETE FROM sale WHERE id IN (SELECT id FROM old)", 1),
        ("create_table", "CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, a TEXT UNIQUE)", 0),
        ("alter_table", "ALTER TABLE sale ADD COLUMN paid INTEGER", 0),
        ("alter_table", "ALTER TABLE customer RENAME COLUMN name TO called", 0),
        ("create_index", "CREATE UNIQUE INDEX one ON sale(customer, product)", 0),
    ],
)
def test_a_dry_run_is_taken_back(shop: Any, kind: str, statement: str, changed: int) -> None:
    """It says what would change, and changes nothing; the run itself does."""
    found = shop.get("shop")
    before = found.schema(), found.select("SELECT * FROM customer", 99)
    write = found.dry_run(kind, statement, 99)
    assert write.changed == changed
    assert (found.schema(), found.select("SELECT * FROM customer", 99)) == before
    assert found.execute(write, 99) == changed


def test_rows_are_shown_and_cut(shop: Any) -> None:
    """NULL and blobs are named, and what is beyond the limit is said to be there."""
    found = shop.get("shop")
    assert found.select("SELECT NULL, x'0102', 1.5", 9).rows == [["NULL", "blob of 2 bytes", "1.5"]]
    assert found.select("SELECT id FROM product", 2) == database.Rows(["id"], [["1"], ["2"]], more=True)
    assert found.scans("SELECT * FROM product") == ["product"]
    assert found.scans("SELECT * FROM sale WHERE customer = 1") == []


def test_a_statement_that_does_not_end_is_ended(shop: Any) -> None:
    """A query is bounded in what it computes, not in time."""
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "STEPS", 100_000)
        with pytest.raises(database.Refused, match="interrupted"):
            shop.get("shop").select(endless, 1)


def test_databases_are_the_files_of_the_folder(shop: Any) -> None:
    """Sorted, in WAL mode, with names that stay in the folder."""
    shop.create("archive")
    assert shop.ids() == ["archive", "shop"]
    again = database.Databases(shop.folder)
    assert again.ids() == ["archive", "shop"]
    again.close()
    for name in ("shop", "Archive", "../x", "", "a b", "x" * 41):
        with pytest.raises(database.Refused):
            shop.create(name)
    with pytest.raises(database.Refused, match="there are: archive, shop"):
        shop.get("other")


async def test_nothing_is_written_unless_somebody_approves(shop: Any) -> None:
    """Without hooks: no mode, and no write even in writable mode."""
    ask = ("request_writable_mode", {"reason": "to work"})
    assert await run(shop, None, ask, writable=False) == ["the user does not grant it"]
    [told] = await run(shop, None, sql("update", CHAIRS))
    assert told == "the user rejected it: no write approver is configured"
    assert stock(shop) == "0"


async def test_tools_that_write_are_not_offered_before_the_mode_is_granted(shop: Any) -> None:
    """A call is answered as not available; once granted, the next request offers them."""
    ask = ("request_writable_mode", {"reason": "to work"})
    early, granted, done = await run(
        shop, hooks(), sql("update", CHAIRS), ask, sql("update", CHAIRS), writable=False
    )
    assert "available" in early
    assert (granted, done) == ("granted", "done, 1 rows changed")
    assert stock(shop) == "10"


@pytest.mark.parametrize(
    ("first", "told", "left"),
    [
        ("accept", "done, 1 rows changed", "10"),
        ("reject", "the user rejected it: not today", "0"),
        (
            CHAIRS.replace("10", "7"),
            f"done, 1 rows changed; the user made it: {CHAIRS.replace('10', '7')}",
            "7",
        ),
        ("DELETE FROM product", "not authorized", "0"),
        ("UPDATE product SET", "incomplete input", "0"),
        ("UPDATE product SET stock = 1 WHERE 1", "the rule forbids WHERE 1", "0"),
        ("UPDATE product SET stock = 1", "it would change 3 rows; at most 2 are allowed", "0"),
    ],
)
async def test_a_write_is_approved_rejected_or_edited(shop: Any, first: str, told: str, left: str) -> None:
    """What is edited goes through all checks again, and only the replacement is run."""
    shown: list[Any] = []

    def decide(write: Any) -> Any:
        shown.append(write)
        if first == "reject":
            return agent.Reject("not today")
        return agent.Accept() if first == "accept" or len(shown) > 1 else agent.Edit(first)

    def rule(statement: str) -> str | None:
        return "the rule forbids WHERE 1" if statement.endswith("WHERE 1") else None

    made = hooks(decide, rule)
    assert await run(shop, made, sql("update", CHAIRS)) == [told]
    assert (shown[0].sql, shown[0].changed) == (CHAIRS, 1)
    assert stock(shop) == left


async def test_a_rule_is_asked_about_reads_and_schema_changes_too(shop: Any) -> None:
    """The first objection counts, whatever the kind of statement."""
    forbid = hooks(rule=lambda statement: "no" if "customer" in statement else None)
    told = await run(
        shop,
        forbid,
        sql("select", "SELECT * FROM customer"),
        sql("alter_table", "ALTER TABLE customer ADD COLUMN x"),
        sql("select", "SELECT count(*) FROM sale"),
    )
    assert told[:2] == ["no", "no"]
    assert json.loads(told[2])["rows"] == [["3"]]


async def test_the_loop_ends(shop: Any) -> None:
    """After so many rounds the answer says so, and the session holds every round."""
    calls = [[lutum.ToolCallReady(f"c{i}", "list_databases", "{}")] for i in range(9)]
    made = agent.Agent(lutum.Lutum(ScriptedAdapter(calls)), shop, max_rounds=3)
    answer = await made.ask("Again!")
    assert (answer.ended, len(made.session.turns())) == ("too many rounds", 3)


async def test_a_question_that_failed_can_be_asked_again(shop: Any) -> None:
    """A request that fails leaves the session as it was before the question."""
    busy = lutum.ProviderError("busy", kind="overloaded", status=529)
    made = agent.Agent(lutum.Lutum(ScriptedAdapter([[busy], ["Two."]])), shop)
    with pytest.raises(lutum.ProviderError):
        await made.ask("How many?")
    assert len(made.session.transcript) == 0
    assert (await made.ask("How many?")).text == "Two."


def typed(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    """A person who types these lines, and then ends the input."""
    left = iter(lines)

    def read(prompt: str = "") -> str:
        try:
            return next(left)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", read)


async def talk(folder: Path) -> None:
    async with program.offline() as adapter:
        llm = lutum.Lutum(adapter, budget=lutum.Budget(tokens=100_000))
        await terminal.Terminal(llm, folder).run()
        assert llm.budget.reserved.total_tokens == 0


async def test_a_conversation_at_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Asked, granted, edited, approved, left and taken up again, over the wire."""
    folder = tmp_path / "data"
    scripted.make_shop(folder)
    edited = CHAIRS.replace("10", "11")
    typed(
        monkeypatch,
        "Which customers live in Oslo?",
        "Put 10 chairs into stock.",
        "y",
        "e",
        edited,
        "y",
        "/sql",
    )
    await talk(folder)
    shown = capsys.readouterr().out
    assert "Ann does." in shown
    assert f"the user made it: {edited}" in shown
    typed(monkeypatch, "Delete all customers.", "y", "n they are people", "/quit")
    await talk(folder)
    assert "the user rejected it: they are people" in capsys.readouterr().out
    again = database.Databases(folder)
    assert stock(again) == "11"
    again.close()
    kept = lutum.Transcript.load((folder / "session.jsonl").read_bytes())
    assert len([item for item in kept if isinstance(item, lutum.Message) and item.role == "user"]) == 3


async def test_a_broken_conversation_is_kept_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that cannot be read is renamed, and a new conversation begins."""
    scripted.make_shop(tmp_path)
    (tmp_path / "session.jsonl").write_text("not a transcript\n")
    typed(monkeypatch, "What is out of stock?")
    await talk(tmp_path)
    assert "cannot be read" in capsys.readouterr().out
    assert (tmp_path / "session.broken").exists()
    assert lutum.Transcript.load((tmp_path / "session.jsonl").read_bytes())


async def test_ctrl_c_stops_the_answer_and_not_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The socket is closed, the words are kept, the next question is answered."""
    server = WireServer([Reply(NeverEnding()), Reply("Yes.")])
    client = httpx.AsyncClient(transport=server.transport())
    say, shown = terminal.say, list[str]()

    def interrupting(text: str = "", end: str = "\n") -> None:
        say(text, end=end)
        shown.append(text)
        if end == "" and len(server.requests) == 1:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(terminal, "say", interrupting)
    typed(monkeypatch, "Go on and on.", "Are you there?")
    async with ClaudeAdapter(
        "claude-sonnet-4-5", base_url=server.url, api_key="k", http_client=client
    ) as claude:
        chat = terminal.Terminal(lutum.Lutum(claude), tmp_path)
        await chat.run()
    assert "\n(stopped)" in shown
    assert "Yes." in "".join(shown)
    assert server.outcomes() == ["disconnected", "completed"]
    assert [type(item).__name__ for item in chat.agent.session.transcript][-2:] == [
        "Message",
        "CommittedTurn",
    ]


def test_hostile_text_does_not_reach_the_terminal() -> None:
    """Escape sequences and bidi overrides are shown, not obeyed."""
    assert terminal.printable("a\x1b]52;c;eA==\x07b\u202ec\n") == "a\ufffd]52;c;eA==\ufffdb\ufffdc\n"


async def test_all_cases_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The evaluation runs each case on a shop of its own, and keeps what it found."""
    async with program.offline() as adapter:
        assert await evaluation.evaluate(lutum.Lutum(adapter), tmp_path / "run")
    assert "8 of 8 cases" in capsys.readouterr().out
    assert len((tmp_path / "run" / "results.jsonl").read_bytes().splitlines()) == 8


async def test_a_case_that_fails_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """A model that only talks fails all cases; a judge's verdict counts beside the checks."""

    def chatter(request: Any) -> Reply:
        return Reply('{"consistent": true, "why": "so"}' if b"rows say" in request.body else "Hello.")

    server = WireServer(chatter)
    client = httpx.AsyncClient(transport=server.transport())
    async with ClaudeAdapter(
        "claude-sonnet-4-5", base_url=server.url, api_key="k", http_client=client
    ) as claude:
        assert not await evaluation.evaluate(lutum.Lutum(claude), judged=True)
    assert capsys.readouterr().out.count("\nfailed: ") == 8
    assert len(server.requests) == 16


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_exit_code_says_whether_the_cases_passed(
    backend: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """0 when all passed, 1 when one did not."""
    assert program.main(["--eval", "--backend", backend]) == 0
    monkeypatch.setattr(program, "answer", lambda request: Reply("Hello."))
    assert program.main(["--eval", "--backend", backend]) == 1


def test_what_was_not_checked_has_not_passed() -> None:
    """A case that asks for nothing does not pass, nor does one of whose checks one fails."""
    assert not evaluation.Checks().passed
    assert evaluation.Checks(tool=True).passed
    assert not evaluation.Checks(tool=True, found=False).passed
