"""A stand-in for a model that knows the demo shop: it answers the questions of the cases, and no others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lutum.testing.wire import Call, Reply, WireRequest

from .database import Database

SHOP = """
CREATE TABLE customer(id INTEGER PRIMARY KEY, name TEXT NOT NULL, city TEXT);
CREATE TABLE product(id INTEGER PRIMARY KEY, name TEXT NOT NULL, price INTEGER, stock INTEGER NOT NULL);
CREATE TABLE sale(id INTEGER PRIMARY KEY, customer INTEGER REFERENCES customer,
    product INTEGER REFERENCES product, amount INTEGER NOT NULL);
CREATE INDEX sale_customer ON sale(customer);
INSERT INTO customer VALUES (1, 'Ann', 'Oslo'), (2, 'Bo', 'Rome'), (3, 'Cy', NULL);
INSERT INTO product VALUES (1, 'lamp', 20, 2), (2, 'table', 90, 5), (3, 'chair', 35, 0);
INSERT INTO sale VALUES (1, 1, 1, 2), (2, 1, 2, 1), (3, 2, 3, 4);
"""


def make_shop(folder: Path) -> None:
    """Create a folder with one database, unless the folder has one."""
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.glob("*.db")):
        database = Database(folder / "shop.db")
        database.script(SHOP)
        database.close()


def _sql(tool: str, sql: str) -> Call:
    return Call(tool, {"database": "shop", "sql": sql})


SCHEMA = Call("get_schema", {"database": "shop"})
ASK = Call("request_writable_mode", {"reason": "to change what you asked for"})
BOUGHT = "SELECT p.name, s.amount FROM sale s JOIN product p ON p.id = s.product WHERE s.customer = 1"

# For each question: the call of each round, and the final answer. "{0}" stands for the last result.
ANSWERS: dict[str, tuple[list[Call], str]] = {
    "Which databases are there?": ([Call("list_databases", {})], "There is one: {0}"),
    "Which customers live in Oslo?": (
        [SCHEMA, _sql("select", "SELECT name FROM customer WHERE city = 'Oslo'")],
        "Ann does.",
    ),
    "What did customer 1 buy?": ([SCHEMA, _sql("select", BOUGHT)], "Two lamps and a table."),
    "What is out of stock?": (
        [SCHEMA, _sql("select", "SELECT name FROM product WHERE stock = 0")],
        "The chair is.",
    ),
    "Put 10 chairs into stock.": (
        [SCHEMA, ASK, _sql("update", "UPDATE product SET stock = 10 WHERE name = 'chair'")],
        "What became of it: {0}.",
    ),
    "Add a customer Di in Bern.": (
        [ASK, _sql("insert", "INSERT INTO customer(name, city) VALUES ('Di', 'Bern')")],
        "What became of it: {0}.",
    ),
    "Delete all customers.": ([ASK, _sql("delete", "DELETE FROM customer")], "What became of it: {0}."),
    "Make sales by product fast to find.": (
        [ASK, _sql("create_index", "CREATE INDEX sale_product ON sale(product)")],
        "What became of it: {0}.",
    ),
}


def answer(request: WireRequest) -> Reply:
    """Return the answer of the stand-in to a request in Claude's protocol."""
    messages: list[dict[str, Any]] = json.loads(request.body)["messages"]
    asked = max(i for i, message in enumerate(messages) if _text(message) is not None)
    calls, said = ANSWERS.get(
        _text(messages[asked]) or "",
        ([], f"I have a script, and no mind. Ask one of these: {' '.join(ANSWERS)}"),
    )
    results = [message for message in messages[asked + 1 :] if message["role"] == "user"]
    offered = {tool["name"] for tool in json.loads(request.body).get("tools", [])}
    for call in calls[len(results) :]:
        if call.name in offered:
            # unique in the conversation, which an earlier process may have begun
            return Reply(Call(call.name, call.input, id=f"toolu_{len(messages)}"))
    return Reply(said.format(_result(results[-1]) if results else ""))


def _text(message: dict[str, Any]) -> str | None:
    """Return the text of a user's message that contains no result, otherwise None."""
    content: Any = message["content"]
    if message["role"] != "user" or isinstance(content, str):
        return content if message["role"] == "user" else None
    return None if any(part["type"] == "tool_result" for part in content) else content[0]["text"]


def _result(message: dict[str, Any]) -> str:
    content: Any = message["content"][-1]["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)
