"""Golden requests: how each item is rendered is part of the prefix that the provider caches.

`LUTUM_GOLDEN=write pytest tests/gemini/test_golden.py` writes the files anew; read the difference.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from gemini.gemini_wire import FOUR, LOOK, THREE, TWO, call, frame, prepare, text, turn

import lutum
from lutum import Document, Image, ModelInput, Text, ToolResult
from lutum.abc import OutputFormat, Prepared, ToolPlan
from lutum_gemini import GeminiOptions

GOLDEN = Path(__file__).parent / "golden"
PNG = b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\rIHDR" + b"\x00\x00\x00\x01" * 2
FOREIGN = lutum.CommittedTurn(
    "openai-responses",
    "api.openai.com",
    "gpt-5.5",
    b"{}",
    (
        lutum.ReasoningItem("hm"),
        lutum.TextItem("Let me look."),
        lutum.ToolCallItem("call_1", "look", '{"at": 1e2}'),
        lutum.ToolCallItem("call_2", "look", "not json"),
        lutum.RefusalItem("And no more."),
    ),
)
PLAN = ToolPlan(head=(LOOK,))


def result(id: str, *parts: lutum.Part, is_error: bool = False) -> ToolResult:
    return ToolResult(id, parts or (Text("ok"),), is_error)


def foreign(model: str) -> Prepared:
    began = ModelInput().system("Be brief.").user("Hi").turn(FOREIGN)
    shot = result("call_1", Text("a shot"), Image.from_bytes(PNG))
    return prepare(began.item(shot).item(result("call_2", Text("no"), is_error=True)), model, tools=PLAN)


def own() -> Prepared:
    made = turn(
        frame(text("hm", thought=True), model=THREE),
        frame(call(args={"at": 1e2}, thoughtSignature="c2ln"), call(), model=THREE),
        frame(text("", thoughtSignature="c2ln"), finish="STOP", model=THREE),
        model=THREE,
    )
    first, second = (one.id for one in made.tool_calls)
    began = ModelInput().user("Hi").turn(made).item(result(first)).item(result(second))
    return prepare(began.system("Now French.").user("Go on."), THREE, tools=PLAN)


def media() -> Prepared:
    parts = (
        Text("Look."),
        Image.from_bytes(PNG),
        Image.from_url("https://a.example/cat.png"),
        Document.from_text("Words.", title="A paper"),
        Document("video/mp4", file_id="gs://bucket/film"),
    )
    return prepare(ModelInput().user(parts), TWO)


def other_scope() -> Prepared:
    made = turn(frame(text("a", thoughtSignature="c2ln"), finish="STOP"), scope="elsewhere")
    return prepare(ModelInput().user("Hi").turn(made).user("And?"))


def structured() -> Prepared:
    schema = '{"type":"object","properties":{"name":{"type":"string","pattern":"^A"}},"required":["name"]}'
    options = GeminiOptions(thinking_level="low", safety_settings={"HARM_CATEGORY_HARASSMENT": "BLOCK_NONE"})
    return prepare(ModelInput().user("Hi"), FOUR, output=OutputFormat("A", schema), options=options)


REQUESTS = {
    "foreign_turn_gemini_3": foreign(THREE),
    "foreign_turn_gemini_2": foreign(TWO),
    "own_turn": own(),
    "media": media(),
    "structured": structured(),
    "other_scope": other_scope(),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_requests_are_as_they_were(name: str) -> None:
    body = json.loads(REQUESTS[name].body, parse_float=str)
    written = json.dumps(body, indent=1, ensure_ascii=False) + "\n"
    path = GOLDEN / f"{name}.json"
    if os.environ.get("LUTUM_GOLDEN") == "write":
        path.write_text(written, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == written
