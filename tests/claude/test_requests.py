"""Requests to Claude and its kin: bounds, effort, tools, prefills, unsigned thinking."""

import json
from typing import Any

import msgspec
import pytest
from claude import claude_wire

import lutum
from lutum import BadValue, ModelInput, ToolDef
from lutum.abc import ToolPlan
from lutum_claude import ClaudeAdapter, ClaudeOptions
from lutum_claude._tools import strict_names
from lutum_claude._turn import turn_from_message

SONNET = "claude-sonnet-4-5"


def llm(model: str = SONNET, **given: Any) -> lutum.Lutum:
    return lutum.Lutum(ClaudeAdapter(model, api_key="k", **given))


def sent(turn: Any) -> Any:
    return json.loads(turn.preview().body)


@pytest.mark.parametrize(
    ("model", "base", "bound"),
    [
        ("deepseek-v4-pro", "https://api.deepseek.com/anthropic", 16_384),
        ("MiniMax-M2.5", "https://api.minimax.io/anthropic", 16_384),
        ("claude-opus-9", None, 16_384),
        ("claude-opus-5", None, 16_384),
        (SONNET, None, 4_096),
    ],
)
def test_room_to_think(model: str, base: str | None, bound: int) -> None:
    """A model of which nothing is known may think by default, so it gets room for it."""
    turn = llm(model, base_url=base).text_turn("x")
    assert sent(turn)["max_tokens"] == bound
    off = turn.ext(ClaudeOptions(thinking="disabled")) if model != "claude-opus-9" else turn.effort("none")
    assert sent(off)["max_tokens"] == 4_096


@pytest.mark.parametrize(
    ("model", "level", "members"),
    [
        (SONNET, "none", {}),
        (SONNET, "low", {"thinking": {"type": "enabled", "budget_tokens": 2_048}}),
        (SONNET, "max", {"thinking": {"type": "enabled", "budget_tokens": 32_000}}),
        (
            "claude-opus-4-8",
            "medium",
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "medium"}},
        ),
        ("claude-opus-5", "max", {"output_config": {"effort": "max"}}),
        ("claude-opus-5", "none", {"thinking": {"type": "disabled"}}),
        ("glm-5.3", "high", {"output_config": {"effort": "high"}}),
    ],
)
def test_claude_effort(model: str, level: Any, members: dict[str, Any]) -> None:
    """The portable effort is thinking, a budget or `output_config.effort`, as the model takes it."""
    body = sent(llm(model).text_turn("x").effort(level))
    assert {name: body[name] for name in ("thinking", "output_config") if name in body} == members
    if budget := members.get("thinking", {}).get("budget_tokens"):
        assert body["max_tokens"] > budget


def test_claude_effort_that_cannot_be() -> None:
    """A model that always thinks, or never, refuses; a small bound makes the budget smaller."""
    with pytest.raises(BadValue, match="always thinks"):
        llm("claude-fable-5").text_turn("x").effort("none").preview()
    with pytest.raises(BadValue, match="does not think"):
        llm("claude-3-haiku").text_turn("x").effort("low").preview()
    body = sent(llm().text_turn("x").effort("high").max_output_tokens(4_000))
    assert body["thinking"]["budget_tokens"] == 2_000
    own = llm(options=ClaudeOptions(effort="low")).text_turn("x").ext(ClaudeOptions(effort="max"))
    assert sent(own.effort("none"))["output_config"] == {"effort": "max"}


@pytest.mark.parametrize("combinator", ["anyOf", "oneOf", "allOf"])
def test_a_combinator_at_the_root_of_a_schema(combinator: str) -> None:
    """Claude refuses the whole request for it, so the tool is refused by name."""
    schema = {"type": "object", "properties": {"a": {"anyOf": [{"type": "string"}]}}}
    fine = lutum.Toolset(lutum.raw_tool("fine", schema))
    assert sent(llm().text_turn("x").tools(fine))["tools"]
    tools = lutum.Toolset(lutum.raw_tool("bad", {**schema, combinator: [{"required": ["a"]}]}))
    with pytest.raises(BadValue, match=f"'bad' has {combinator} at its root"):
        llm().text_turn("x").tools(tools).preview()
    assert ToolDef("x", "{}")


def test_claude_refused_before_sending() -> None:
    """What every host of the dialect refuses of a stop sequence and of a prefill."""
    with pytest.raises(BadValue, match="white space only"):
        llm().text_turn("x").stop("\n").preview()
    prefilled = ModelInput().user("x").assistant("The answer is ")
    with pytest.raises(BadValue, match="white space in a final assistant message"):
        llm().text_turn(prefilled).preview()
    stripped = ModelInput().user("x").assistant("The answer is")
    assert sent(llm().text_turn(stripped))["messages"][-1]["role"] == "assistant"
    with pytest.raises(BadValue, match="ends with an assistant message"):
        llm().text_turn(stripped).ext(ClaudeOptions(thinking=1_024)).preview()


@pytest.mark.parametrize("edits", [[{"type": "compact_20260112"}], [{"type": "clear_tool_uses_20250919"}]])
@pytest.mark.parametrize("place", ["context_management", "extra_body"])
async def test_a_compaction_has_no_bound(edits: list[dict[str, str]], place: str) -> None:
    """It reads the whole context once more, so a budget needs an estimate of yours."""
    given: Any = {"edits": edits}
    options = ClaudeOptions(**{place: {"context_management": given} if place == "extra_body" else given})
    adapter = ClaudeAdapter(SONNET, api_key="k", base_url="http://127.0.0.1:9")
    limited = lutum.Lutum(adapter, budget=lutum.Budget(tokens=100_000))
    if "compact" in edits[0]["type"]:
        with pytest.raises(lutum.EstimateRequired, match="compaction"):
            await limited.text_turn("x").ext(options).estimate()
    else:
        assert await limited.text_turn("x").ext(options).estimate()


def test_extra_body_keeps_the_schema() -> None:
    """Objects are merged; a second effort is refused."""

    class P(msgspec.Struct):
        a: int

    turn = llm("claude-opus-5").structured_turn(P, "x")
    body = sent(turn.ext(ClaudeOptions(effort="low", extra_body={"output_config": {"task_budget": 5}})))
    assert body["output_config"].keys() == {"effort", "format", "task_budget"}
    with pytest.raises(BadValue) as caught:
        sent(turn.ext(ClaudeOptions(effort="low", extra_body={"output_config": {"effort": "max"}})))
    assert caught.value.field == "extra_body.output_config.effort"


@pytest.mark.parametrize("signature", [None, ""])
def test_thinking_without_a_signature(signature: str | None) -> None:
    """Claude refuses it back, as of a turn that was cut while it thought; other models get theirs."""
    block: dict[str, Any] = {"type": "thinking", "thinking": "hm"}
    if signature is not None:
        block["signature"] = signature
    text = {"type": "text", "text": "Hi"}
    for model, base, kept in (
        (SONNET, "https://api.anthropic.com", [text]),
        ("deepseek-v4-pro", "https://api.deepseek.com/anthropic", [block, text]),
    ):
        adapter = ClaudeAdapter(model, api_key="k", base_url=base)
        message = {"role": "assistant", "model": model, "content": [block, text], "stop_reason": "end_turn"}
        turn = turn_from_message(msgspec.json.encode(message), scope=adapter.scope)
        preview = lutum.Lutum(adapter).text_turn(ModelInput().user("a").turn(turn).user("b")).preview()
        content = json.loads(preview.body)["messages"][1]["content"]
        assert [{k: v for k, v in part.items() if k != "cache_control"} for part in content] == kept
        assert preview.forms[0].exact is (len(kept) == 2)


CITY = json.dumps(
    {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    separators=(",", ":"),
)
SIZED = CITY.replace('"string"', '"string","maxLength":3')


@pytest.mark.parametrize(
    ("model", "base", "tool", "strict"),
    [
        (SONNET, None, ToolDef("look", CITY, strict=True), True),
        (SONNET, None, ToolDef("look", CITY), False),
        (SONNET, None, ToolDef("look", SIZED, strict=True), False),
        (SONNET, None, ToolDef("look", '{"type":"object","properties":{}}', strict=True), False),
        ("claude-sonnet-4", None, ToolDef("look", CITY, strict=True), False),
        (SONNET, "https://gateway.example", ToolDef("look", CITY, strict=True), False),
        ("deepseek-v4-pro", "https://api.deepseek.com/anthropic", ToolDef("look", CITY, strict=True), False),
    ],
)
def test_claude_strict_tools(model: str, base: str | None, tool: ToolDef, strict: bool) -> None:
    """`strict` is sent where host and model take it, and the schema is one that the API can enforce."""
    via = ClaudeAdapter(model, api_key="k", base_url=base)
    plan = ToolPlan(head=(tool,), choice="auto")
    prepared = claude_wire.prepare(ModelInput().user("x"), model, tools=plan, via=via)
    [sent_tool] = claude_wire.body(prepared)["tools"]
    assert sent_tool.get("strict", False) is strict
    assert sent_tool["input_schema"] == json.loads(tool.schema)


def test_too_many_strict_tools() -> None:
    """The API refuses more than 20, and more than 16 parameters of several types, so none is then strict."""
    many = tuple(ToolDef(f"t{i}", CITY, strict=True) for i in range(21))
    assert len(strict_names(many[:20])) == 20
    assert strict_names(many) == frozenset()
    either = CITY.replace('{"type":"string"}', '{"anyOf":[{"type":"string"},{"type":"null"}]}')
    some = tuple(ToolDef(f"t{i}", either, strict=True) for i in range(17))
    assert len(strict_names(some[:16])) == 16
    assert strict_names(some) == frozenset()


def test_a_forced_value_tool_is_strict() -> None:
    class City(msgspec.Struct):
        name: str

    turn = llm().structured_turn(City, "x").ext(ClaudeOptions(structured="tool"))
    assert sent(turn)["tools"][0]["strict"] is True
    older = llm("claude-sonnet-4").structured_turn(City, "x").ext(ClaudeOptions(structured="tool"))
    assert "strict" not in sent(older)["tools"][0]


def test_an_empty_thinking_block_where_the_host_wants_one() -> None:
    """At DeepSeek each assistant message has one while the model thinks."""
    deepseek = llm("deepseek-v4-pro", base_url="https://api.deepseek.com/anthropic")
    turn = deepseek.text_turn(ModelInput().user("a").assistant("b").user("c"))
    first, second, third = (message["content"][0] for message in sent(turn)["messages"])
    assert (first["type"], second["type"], third["type"]) == ("text", "thinking", "text")
    off = turn.ext(ClaudeOptions(thinking="disabled"))
    assert sent(off)["messages"][1]["content"][0]["type"] == "text"
    elsewhere = llm("glm-5.3", base_url="https://api.z.ai/api/anthropic").text_turn(
        ModelInput().user("a").assistant("b").user("c")
    )
    assert sent(elsewhere)["messages"][1]["content"][0]["type"] == "text"
