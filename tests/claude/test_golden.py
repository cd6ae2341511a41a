"""How each kind of item is written, pinned: what is sent before a turn is part of what the turn is bound to.

`LUTUM_GOLDEN=write pytest tests/claude/test_claude_golden.py` writes the files anew; read the difference.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from claude.claude_wire import BOUND, PLAIN, call, prepare, text, thinking, tool, turn

import lutum
from lutum import Document, Image, ModelInput, Raw, Text
from lutum.abc import OutputFormat, ToolPlan
from lutum_claude import ClaudeOptions

GOLDEN = Path(__file__).parent / "golden"
PNG = b"\x89PNG\r\n\x1a\n"


def system(words: str) -> lutum.Message:
    return lutum.Message("system", (Text(words),))


def user(words: str) -> lutum.Message:
    return lutum.Message("user", (Text(words),))


FOREIGN = lutum.CommittedTurn(
    "responses",
    "api.openai.com",
    "gpt-9",
    b"{}",
    (
        lutum.ReasoningItem("I think."),
        lutum.TextItem("I look."),
        lutum.RefusalItem("Not that."),
        lutum.TextItem(" "),
        lutum.ToolCallItem("call_1", "look", '{"at": 1e2}'),
        lutum.ToolCallItem("call|2", "look", "not json"),
    ),
)

LATE = (
    ModelInput()
    .system("Head.")
    .developer("Head too.")
    .user("One")
    .system("Late, behind a user.")
    .turn(turn(text("a"), model=BOUND))
    .system("Held back behind the next user.")
    .developer("And this.")
    .user("Two")
    .user("Three")
    .turn(turn(call(), model=BOUND, stop_reason="tool_use"))
    .tool_result("toolu_1", "ok")
    .system("Behind a result.")
    .turn(turn(text(" "), model=BOUND))
    .user("Four")
    .assistant("Words.")
    .system("No user message follows.")
    .turn(turn(text("b"), model=BOUND))
    .user("Five")
    .system("Last.")
)

CASES: dict[str, Any] = {
    "late_system": lambda: prepare(LATE, BOUND),
    "late_system_older_model": lambda: prepare(LATE, PLAIN),
    "foreign_turn": lambda: prepare(
        ModelInput()
        .user("Hi")
        .turn(FOREIGN)
        .tool_result("call_1", "1")
        .tool_result("call|2", "2")
        .user("And?")
    ),
    "exact_turn": lambda: prepare(
        ModelInput()
        .user("Hi")
        .turn(
            turn(
                thinking(""),
                text("\n"),
                text("a"),
                {"type": "new_block", "x": [1]},
                call(),
                stop_reason="tool_use",
            )
        )
        .tool_result("toolu_1", "ok")
    ),
    "inexact_turn": lambda: prepare(
        ModelInput()
        .user("Hi")
        .turn(turn(thinking(), text("a"), call(), stop_reason="tool_use", inexact_reason="why"))
        .tool_result("toolu_1", "ok")
    ),
    "other_scope": lambda: prepare(
        ModelInput().user("Hi").turn(turn(thinking(), text("a"), scope="elsewhere")).user("b")
    ),
    "tool_results": lambda: prepare(
        ModelInput()
        .user("Hi")
        .turn(turn(call("t1"), call("t2"), call("t3"), stop_reason="tool_use"))
        .tool_result("t1", "plain")
        .tool_result("t2", "", is_error=True)
        .tool_result("t3", [Text("seen"), Image.from_bytes(PNG), Raw("claude", '{"type":"x"}')])
        .user("And?")
    ),
    "standalone_results": lambda: prepare(
        ModelInput()
        .user("Hi")
        .tool_result("s1", "1", name="look", arguments='{"a": 1.0}')
        .tool_result("s2", "2", name="look", arguments="broken")
        .assistant("Done.")
        .user("And?")
    ),
    "media": lambda: prepare(
        ModelInput().user(
            [
                Text("See"),
                Image.from_bytes(PNG),
                Image.from_url("https://x/y.png"),
                Image.from_file_id("file_1"),
                Document.from_bytes(b"%PDF-1.7", title="T", context="C", citations=True),
                Document.from_text("words", title="W"),
                Document.from_url("https://x/y.pdf"),
                Document.from_file_id("file_2"),
            ]
        )
    ),
    "raw": lambda: prepare(
        ModelInput()
        .raw("claude", '{"role":"user","content":"string"}')
        .user(Raw("claude", ' {"type":"search_result","n":1e2} '))
        .raw("claude", '{"role":"system","content":[],"output_config":{"effort":"low"}}')
        .raw("claude", '{"role":"assistant","content":[{"type":"text","text":"a"}]}')
        .user("b")
    ),
    "ephemerals": lambda: prepare(
        LATE,
        BOUND,
        ephemerals=(
            (20, system("One turn.")),
            (20, lutum.Message("developer", (Text("Two"), Text("texts")))),
        ),
    ),
    "ephemerals_in_place": lambda: prepare(
        LATE,
        PLAIN,
        ephemerals=((2, system("In the head.")), (11, user("In place.")), (20, system("At the end."))),
    ),
    "tool_changes": lambda: prepare(
        ModelInput().user("Hi").turn(turn(text("a"), model=BOUND)).user("b"),
        BOUND,
        tools=ToolPlan(
            head=(tool("a"), tool("b")), new=(tool("c"), tool("b", "Anew.")), available=("b", "c")
        ),
    ),
    "empty_turn_behind_system": lambda: prepare(
        ModelInput().user("Hi").system("S").turn(turn(model=BOUND)).user("b"), BOUND
    ),
    "options": lambda: prepare(
        ModelInput().system("S").user("Hi"),
        BOUND,
        tools=ToolPlan(head=(tool(),)),
        output=OutputFormat("answer", '{"type": "object"}'),
        options=ClaudeOptions(
            thinking="adaptive",
            display="summarized",
            effort="low",
            prefix_mismatch="drop",
            user_id="u",
            service_tier="auto",
            container={"id": "c", "skills": []},
            context_management={"edits": []},
            mcp_servers=[{"type": "url", "name": "n", "url": "https://x"}],
            server_tools=({"type": "web_search_20250305", "name": "web_search"},),
            fallbacks="[]",
            task_budget={"type": "tokens", "total": 9},
            inference_geo="us",
            parallel_tool_calls=False,
            cache="1h",
            extra_body={"speed": "fast"},
            extra_headers={"x-thing": "1"},
        ),
        stop=("END",),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_claude_golden(name: str) -> None:
    """The request is, member by member and in this order, the one in the file."""
    prepared = CASES[name]()
    shown = {
        "headers": dict(prepared.headers),
        "forms": [form.reason or "exact" for form in prepared.forms],
        "inexact_reason": prepared.inexact_reason,
        "body": json.loads(prepared.body, parse_float=str),  # a number stays as it is written
    }
    written = json.dumps(shown, indent=1, ensure_ascii=False) + "\n"
    file = GOLDEN / f"{name}.json"
    if os.environ.get("LUTUM_GOLDEN") == "write":
        file.write_text(written, "utf-8")
    assert written == file.read_text("utf-8")


def test_every_file_has_a_case() -> None:
    """No file is left over."""
    assert {file.stem for file in GOLDEN.glob("*.json")} == set(CASES)
