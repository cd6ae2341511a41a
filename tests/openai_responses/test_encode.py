"""Requests to bytes."""

import base64
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, strategies as st
from openai_responses.responses_wire import (
    PLAIN,
    SCOPE,
    THINKS,
    adapter,
    body,
    call,
    message,
    prepare,
    reasoning,
    tool,
    turn,
)

import lutum
from lutum import BadValue, CommittedTurn, Document, Image, ModelInput, Raw, Text, TextItem, ToolCallItem
from lutum.abc import OutputFormat, ToolPlan, TurnRequest
from lutum_openai import OpenAIOptions
from lutum_openai.responses import _items

GOLDEN = Path(__file__).parent / "golden"
PNG = b"\x89PNG\r\n\x1a\n1234"
PDF = b"%PDF-1.7\n1 0 obj\n<< /Type /Page >>\n"
ELSEWHERE = "https://llm.example/v1"
VALUE = OutputFormat(
    "Value",
    '{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"],"additionalProperties":false}',
)


def sent(input: ModelInput, model: str = PLAIN, **given: Any) -> list[Any]:
    found: list[Any] = body(prepare(input, model, **given))["input"]
    return found


def test_messages_stay_in_order() -> None:
    """System, developer, user and assistant items go out where they stand, one each."""
    conversation = ModelInput().system("a").user("b").developer("c").assistant("d").system("e").user("f")
    assert [(item["role"], item["content"]) for item in sent(conversation)] == [
        ("system", "a"),
        ("user", "b"),
        ("developer", "c"),
        ("assistant", "d"),
        ("system", "e"),
        ("user", "f"),
    ]


def test_responses_media() -> None:
    """Images and files go out as data, by URL or by id, a file's context before it."""
    parts = [
        Text("look"),
        Image.from_bytes(PNG),
        Image.from_url("https://a.test/i.png"),
        Image.from_file_id("file-1"),
        Document.from_bytes(PDF, title="Report", context="of May", citations=True),
        Document.from_text("words"),
        Document.from_url("https://a.test/d.pdf"),
        Document.from_file_id("file-2"),
        Raw("openai-responses", '{"type":"input_audio","x":1e2}'),
    ]
    (item,) = sent(ModelInput().user(parts))
    data = "data:{};base64,{}".format
    assert item["content"] == [
        {"type": "input_text", "text": "look"},
        {
            "type": "input_image",
            "detail": "auto",
            "image_url": data("image/png", base64.b64encode(PNG).decode()),
        },
        {"type": "input_image", "detail": "auto", "image_url": "https://a.test/i.png"},
        {"type": "input_image", "detail": "auto", "file_id": "file-1"},
        {"type": "input_text", "text": "of May"},
        {
            "type": "input_file",
            "filename": "Report.pdf",
            "file_data": data("application/pdf", base64.b64encode(PDF).decode()),
        },
        {
            "type": "input_file",
            "filename": "document.txt",
            "file_data": data("text/plain", base64.b64encode(b"words").decode()),
        },
        {"type": "input_file", "file_url": "https://a.test/d.pdf"},
        {"type": "input_file", "file_id": "file-2"},
        {"type": "input_audio", "x": 100.0},
    ]


def test_raw_goes_out_as_it_is() -> None:
    """An item of raw JSON is sent byte for byte; another adapter's is refused by name."""
    raw = '{ "type": "mcp_approval_response", "approve": true, "n": 1e2 }'
    assert raw.encode() in prepare(ModelInput().user("x").raw("openai-responses", raw)).body
    with pytest.raises(BadValue, match=r"input\[0\].*'claude'"):
        prepare(ModelInput().raw("claude", "{}"))
    with pytest.raises(BadValue, match=r"input\[0\].content\[1\]"):
        prepare(ModelInput().user([Text("x"), Raw("claude", "{}")]))


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("stop", {"stop": ("x",)}),
        ("seed", {"seed": 1}),
        ("max_output_tokens", {"max_output_tokens": 3}),
        ("tools", {"tools": ToolPlan(head=(tool("no such name"),))}),
        ("tools", {"tools": ToolPlan(head=(lutum.ToolDef("x", "[]"),))}),
    ],
)
def test_what_the_api_does_not_take(field: str, given: dict[str, Any]) -> None:
    """What the API has no way to say is refused, and the field named."""
    with pytest.raises(BadValue) as caught:
        prepare(ModelInput().user("x"), **given)
    assert caught.value.field == field


def test_assistant_holds_no_media() -> None:
    """Nothing but text can be put into the assistant's mouth."""
    item = lutum.Message("assistant", (Text("x"), Image.from_bytes(PNG)))
    with pytest.raises(BadValue, match=r"input\[1\].content\[1\]"):
        prepare(ModelInput().user("x").item(item))


def test_results() -> None:
    """A result without its turn brings its call; errors are marked, parts are a list, long ids are cut."""
    long_id = "toolu_" + "x" * 90
    items = sent(
        ModelInput()
        .user("x")
        .tool_result("c1", "fine", name="look", arguments='{"a":1e2}')
        .tool_result("c2", "bad", is_error=True, name="look", arguments="nonsense")
        .tool_result("c3", [Text("see"), Image.from_bytes(PNG)], is_error=True, name="look", arguments="{}")
        .tool_result(long_id, "ok", name="look", arguments="{}")
    )
    assert items[1:3] == [
        {"type": "function_call", "call_id": "c1", "name": "look", "arguments": '{"a":1e2}'},
        {"type": "function_call_output", "call_id": "c1", "output": "fine"},
    ]
    assert items[3]["arguments"] == "nonsense"
    assert items[4]["output"] == "ERROR: bad"
    assert [part["type"] for part in items[6]["output"]] == ["input_text", "input_text", "input_image"]
    assert items[6]["output"][0]["text"] == "ERROR:"
    assert items[7]["call_id"] == items[8]["call_id"]
    assert len(items[7]["call_id"]) == 64


def test_exact_turn_and_its_results() -> None:
    """A turn of this endpoint goes back byte for byte, and its results behind it, without its calls again."""
    whole = turn(reasoning("hm", encrypted_content="x"), message("a"), call(), call(id="fc_2", call_id="c2"))
    conversation = ModelInput().user("x").turn(whole).tool_result("call_1", "1").tool_result("c2", "2")
    prepared = prepare(conversation, THINKS)
    assert prepared.forms == (lutum.abc.ReplayForm(True),)
    output = msgspec.json.decode(whole.wire, type=dict[str, msgspec.Raw])["output"]
    assert bytes(output)[1:-1] in prepared.body
    kinds = [item["type"] for item in body(prepared)["input"]]
    assert kinds == ["message", "reasoning", "message", *["function_call"] * 2, *["function_call_output"] * 2]


@pytest.mark.parametrize(
    ("output", "stored", "kinds"),
    [
        ([reasoning("hm"), message("a")], False, ["message"]),
        ([reasoning("hm"), message("a")], True, ["reasoning", "message"]),
        ([reasoning("hm", encrypted_content="x"), message("a")], False, ["reasoning", "message"]),
        (
            [reasoning(content=[{"type": "reasoning_text", "text": "t"}]), call()],
            False,
            ["reasoning", "function_call"],
        ),
        ([message("a"), reasoning("hm", encrypted_content="x")], True, ["message", "reasoning"]),
        ([reasoning(encrypted_content="x")], False, ["reasoning"]),
        ([message("a"), reasoning("hm")], True, ["message"]),
        ([reasoning("hm")], False, []),
    ],
)
def test_responses_response_only(output: list[dict[str, Any]], stored: bool, kinds: list[str]) -> None:
    """Reasoning goes back where the provider can still read it; at the end of a turn without its id."""
    whole = turn(*output, response={"store": stored})
    results = ModelInput().user("x").turn(whole)
    if whole.tool_calls:
        results = results.tool_result("call_1", "1")
    sent_items = sent(results, THINKS)[1:]
    assert [item["type"] for item in sent_items if item["type"] != "function_call_output"] == kinds
    assert kinds[-1:] != ["reasoning"] or "id" not in sent_items[-1]
    lost = stored and output[-1]["type"] == "reasoning" and len(kinds) < len(output)
    assert prepare(results, THINKS).forms[0].exact is not lost


def test_created_by_stays_behind() -> None:
    """A member that only answers have does not go back, and the others stay as they were."""
    item = {"type": "shell_call", "call_id": "c", "action": {"n": 1e2}, "created_by": "u", "x": 1}
    assert sent(ModelInput().user("x").turn(turn(item)))[1] == {
        k: v for k, v in item.items() if k != "created_by"
    }


def test_turns_from_elsewhere() -> None:
    """A turn of another adapter or endpoint goes out as what it said and called, without its reasoning."""
    items = (
        lutum.ReasoningItem("hm"),
        TextItem("a"),
        lutum.RefusalItem("b"),
        ToolCallItem("c1", "look", "{}"),
    )
    foreign = CommittedTurn("claude", "api.anthropic.com", "claude-x", b"{}", items)
    prepared = prepare(ModelInput().user("x").turn(foreign).tool_result("c1", "1"))
    assert body(prepared)["input"][1:3] == [
        {"type": "message", "role": "assistant", "content": "ab"},
        {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
    ]
    assert "claude" in prepared.forms[0].reason
    away = turn(reasoning("hm", encrypted_content="x"), message("a"), scope="llm.example")
    prepared = prepare(ModelInput().user("x").turn(away), THINKS)
    assert [item["type"] for item in body(prepared)["input"]] == ["message", "message"]
    assert "llm.example" in prepared.forms[0].reason


def test_a_model_that_does_not_reason() -> None:
    """Reasoning is not sent to a model that is known not to reason; the rest of its turn is, as it was."""
    whole = turn(reasoning("hm", encrypted_content="x"), message("a"), model=THINKS)
    prepared = prepare(ModelInput().user("x").turn(whole), "gpt-4.1")
    assert not prepared.forms[0].exact
    assert body(prepared)["input"][1] == message("a")
    assert prepare(ModelInput().user("x").turn(whole), "gpt-6-astra").forms[0].exact


def test_malformed_arguments_go_back_as_they_came() -> None:
    """The call goes out with the string that was received, though its turn is not exact."""
    whole = turn(reasoning("hm", encrypted_content="x"), call(arguments='{"a":'), model=THINKS)
    prepared = prepare(ModelInput().user("x").turn(whole).tool_result("call_1", "bad", is_error=True), THINKS)
    assert not prepared.forms[0].exact
    assert [item["type"] for item in body(prepared)["input"]][1:] == [
        "reasoning",
        "function_call",
        "function_call_output",
    ]
    assert body(prepared)["input"][2]["arguments"] == '{"a":'


def test_the_value_of_a_forced_tool_goes_back_as_text() -> None:
    """A call nobody answers does not go back as a call."""
    whole = turn(call("Value", '{"a":1}'), value_tool="Value")
    assert sent(ModelInput().user("x").turn(whole))[1]["content"] == '{"a":1}'


# --- tools -----------------------------------------------------------------------------------------

A, B, C = tool("a"), tool("b"), tool("c")


def test_no_tools() -> None:
    """Without tools neither they nor a choice is sent, also where none may be called."""
    for plan in (ToolPlan(), ToolPlan(choice="none")):
        assert not {"tools", "tool_choice"} & body(prepare(ModelInput().user("x"), tools=plan)).keys()


@pytest.mark.parametrize(
    ("plan", "choice"),
    [
        (ToolPlan(head=(A, B)), None),
        (ToolPlan(head=(A, B), choice="none"), "none"),
        (ToolPlan(head=(A, B), choice="any"), "required"),
        (ToolPlan(head=(A, B), choice="tool", tool="b"), {"type": "function", "name": "b"}),
        (
            ToolPlan(head=(A, B), available=("b",)),
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "b"}]},
        ),
        (
            ToolPlan(head=(A, B, C), available=("b", "c"), choice="any"),
            {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "function", "name": "b"}, {"type": "function", "name": "c"}],
            },
        ),
        # One tool is left: naming it says the same.
        (ToolPlan(head=(A, B), available=("b",), choice="any"), {"type": "function", "name": "b"}),
        (ToolPlan(head=(A, B), available=()), "none"),
    ],
)
def test_choice(plan: ToolPlan, choice: Any) -> None:
    """The head's tools are always sent; which of them may be called is said beside them."""
    found = body(prepare(ModelInput().user("x"), tools=plan))
    assert [entry["name"] for entry in found["tools"]] == [one.name for one in plan.head]
    assert found.get("tool_choice") == choice


def test_new_tools_are_appended() -> None:
    """A tool that comes later is an item at the end, sent once and resent with its turn ever after."""
    started = ModelInput().user("x").turn(msgspec.structs.replace(turn(message("a")), tools=(A,))).user("y")
    plan = ToolPlan(head=(A,), new=(B,))
    first = prepare(started, tools=plan)
    assert [entry["name"] for entry in body(first)["tools"]] == ["a"]
    extra = body(first)["input"][-1]
    assert (extra["type"], extra["role"], [t["name"] for t in extra["tools"]]) == (
        "additional_tools",
        "developer",
        ["b"],
    )
    assert first.inexact_reason is None
    assert msgspec.json.decode(first.preface) == [extra]
    answered = turn(message("b", id="msg_2"), preface=first.preface)
    grown = started.turn(answered).user("z")
    second = prepare(grown, tools=plan)
    assert body(second)["input"].count(extra) == 1
    assert second.preface == b""
    assert "tool_choice" not in body(second)
    assert adapter().first_difference(first, second) is None
    # Asked for no more, it stays where it was said and is off.
    third = prepare(grown, tools=ToolPlan(head=(A,)))
    assert body(third)["tool_choice"]["tools"] == [{"type": "function", "name": "a"}]


def test_new_tools_at_a_host_that_cannot_append() -> None:
    """Elsewhere they go behind the head's, and the turn says why it is not exact."""
    via = adapter(base_url=ELSEWHERE)
    started = ModelInput().user("x").turn(msgspec.structs.replace(turn(message("a")), tools=(A,))).user("y")
    prepared = prepare(started, tools=ToolPlan(head=(A,), new=(B,), available=("b",)), via=via)
    assert [entry["name"] for entry in body(prepared)["tools"]] == ["a", "b"]
    assert "'b'" in (prepared.inexact_reason or "")
    assert "tool_choice" not in body(prepared)


def test_changed_tool() -> None:
    """A tool of the head with another description takes its place, and the turn says so."""
    started = ModelInput().user("x").turn(msgspec.structs.replace(turn(message("a")), tools=(A,))).user("y")
    prepared = prepare(started, tools=ToolPlan(head=(A,), new=(tool("a", "better"),)))
    assert [entry.get("description") for entry in body(prepared)["tools"]] == ["better"]
    assert "'a' was changed" in (prepared.inexact_reason or "")


def test_responses_server_tools() -> None:
    """The provider's own tools stand first, stay on offer when yours are not, and have no bound."""
    options = OpenAIOptions(
        server_tools=({"type": "web_search"}, '{"type":"mcp","server_label":"s","n":1e2}')
    )
    prepared = prepare(ModelInput().user("x"), options=options, tools=ToolPlan(head=(A,), choice="none"))
    assert [entry["type"] for entry in body(prepared)["tools"]] == ["web_search", "mcp", "function"]
    assert body(prepared)["tool_choice"]["tools"] == [
        {"type": "web_search"},
        {"type": "mcp", "server_label": "s"},
    ]
    assert prepared.unbounded == ("server_tools[0] (web_search)", "server_tools[1] (mcp)")
    assert b'"n":1e2' in prepared.body
    assert "tool_choice" not in body(
        prepare(ModelInput().user("x"), options=options, tools=ToolPlan(choice="none"))
    )


# --- settings and options ----------------------------------------------------------------------------


def test_stateless_by_default() -> None:
    """Nothing is stored, and models that reason are asked for what makes a turn go back without that."""
    found = body(prepare(ModelInput().user("x"), THINKS))
    assert (found["store"], found["include"]) == (False, ["reasoning.encrypted_content"])
    for model in ("gpt-4o", "qwen3"):
        found = body(prepare(ModelInput().user("x"), model))
        assert found["store"] is False
        assert "include" not in found
    found = body(prepare(ModelInput().user("x"), THINKS, options=OpenAIOptions(store=True)))
    assert found["store"] is True
    assert "include" not in found


@pytest.mark.parametrize(
    ("model", "reasons"),
    [
        ("gpt-5", True),
        ("gpt-5.2-pro", True),
        ("openai/gpt-5.6-sol", True),
        ("openai.gpt-5.5", True),
        ("gpt-6-astra", True),
        ("o4-mini", True),
        ("grok-4.3", True),
        ("gpt-5.3-codex", True),
        ("gpt-4.1-mini", False),
        ("gpt-4o-2024-08-06", False),
        ("gpt-5-chat-latest", False),
        ("chatgpt-4o-latest", False),
        ("my-deployment", None),
        ("ollama3", None),
    ],
)
def test_models_that_reason(model: str, reasons: bool | None) -> None:
    """Whether a model reasons is read from its name, in the spellings of other hosts too."""
    from lutum_openai.responses import _wire

    assert _wire.reasons(model) is reasons


def test_limits() -> None:
    """What bounds the output is always said: the turn's, the adapter's, or one by the model."""
    assert prepare(ModelInput().user("x")).estimate.output_tokens == 4_096
    assert prepare(ModelInput().user("x"), THINKS).estimate.output_tokens == 16_384
    via = adapter(default_max_output_tokens=99)
    prepared = prepare(ModelInput().user("x"), via=via)
    assert body(prepared)["max_output_tokens"] == prepared.estimate.output_tokens == 99
    assert body(prepare(ModelInput().user("x"), via=via, max_output_tokens=50))["max_output_tokens"] == 50
    assert body(prepare(ModelInput().user("x"), via=adapter(base_url=ELSEWHERE), max_output_tokens=3))


def test_responses_options() -> None:
    """Every option is sent as given, a turn's over the adapter's, extras over all."""
    via = adapter(options=OpenAIOptions(effort="low", verbosity="low", user="u"))
    options = OpenAIOptions(
        effort="high",
        summary="auto",
        include=("file_search_call.results", "reasoning.encrypted_content"),
        previous_response_id="resp_0",
        prompt_cache_key="k",
        service_tier="flex",
        metadata={"a": "b"},
        parallel_tool_calls=False,
        truncation="auto",
        top_logprobs=2,
        safety_identifier="s",
        extra_body={"background": True, "service_tier": "fast"},
        extra_headers={"X-Beta": "1"},
    )
    prepared = prepare(ModelInput().user("x"), THINKS, options=options, via=via, temperature=0.5, top_p=0.9)
    found = body(prepared)
    assert found["reasoning"] == {"effort": "high", "summary": "auto"}
    assert found["text"] == {"verbosity": "low"}
    assert found["include"] == [
        "reasoning.encrypted_content",
        "message.output_text.logprobs",
        "file_search_call.results",
    ]
    named = ("previous_response_id", "prompt_cache_key", "service_tier", "truncation", "top_logprobs", "user")
    assert [found[name] for name in named] == ["resp_0", "k", "fast", "auto", 2, "u"]
    assert (found["metadata"], found["safety_identifier"], found["background"]) == ({"a": "b"}, "s", True)
    assert (found["parallel_tool_calls"], found["temperature"], found["top_p"]) == (False, 0.5, 0.9)
    assert ("x-beta", "1") in prepared.headers
    assert prepared.unbounded == ("previous_response_id",)
    assert prepared.hidden_reasoning


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("extra_body.instructions", {"extra_body": {"instructions": "x"}}),
        ("extra_body.x", {"extra_body": {"x": object()}}),
        ("extra_headers['Authorization']", {"extra_headers": {"Authorization": "x"}}),
        ("server_tools[0]", {"server_tools": ("{",)}),
        ("top_logprobs", {"top_logprobs": 21}),
    ],
)
def test_responses_bad_options(field: str, given: dict[str, Any]) -> None:
    """What cannot be right is refused where it is written."""
    with pytest.raises(BadValue) as caught:
        OpenAIOptions(**given)
    assert caught.value.field == field


def test_responses_encode_structured() -> None:
    """A value is asked for by a strict schema, by JSON mode, or by a forced tool."""
    found = body(prepare(ModelInput().user("x"), output=VALUE))["text"]["format"]
    assert found == {
        "type": "json_schema",
        "name": "Value",
        "schema": {
            "type": "object",
            "properties": {"a": {"type": "integer"}},
            "required": ["a"],
            "additionalProperties": False,
        },
        "strict": True,
    }
    options = OpenAIOptions(structured="json_object")
    found = body(prepare(ModelInput().user("x"), output=VALUE, options=options))
    assert found["text"]["format"] == {"type": "json_object"}
    options = OpenAIOptions(structured="tool")
    found = body(prepare(ModelInput().user("x"), output=VALUE, options=options, tools=ToolPlan(head=(A,))))
    assert [entry["name"] for entry in found["tools"]] == ["a", "Value"]
    assert found["tool_choice"] == {"type": "function", "name": "Value"}
    assert "text" not in found


def test_unbounded_media() -> None:
    """What the provider fetches has no bound, and is named by its place."""
    item = [Text("x"), Image.from_url("https://a.test/i.png")]
    assert prepare(ModelInput().user("y").user(item)).unbounded == ("input[1].content[1]",)
    assert prepare(ModelInput().user([Image.from_bytes(PNG)])).unbounded == ()
    assert prepare(ModelInput().user([Document.from_bytes(PDF)])).unbounded == ()


# --- laws --------------------------------------------------------------------------------------------


def conversation() -> ModelInput:
    """One of everything."""
    return (
        ModelInput()
        .system("Be brief.")
        .user([Text("Look"), Image.from_bytes(PNG)])
        .turn(turn(reasoning("hm", encrypted_content="x"), message("a"), call()))
        .tool_result("call_1", "1")
        .developer("Now in French.")
        .user("go")
        .turn(CommittedTurn("claude", "api.anthropic.com", "claude-x", b"{}", (TextItem("b"),)))
        .tool_result("c9", "2", name="look", arguments="{}")
    )


def test_responses_encode_requests_only_grow() -> None:
    """Up to its input's end, a request is a prefix of every later one of its conversation."""
    items = list(conversation().transcript)
    prepared = list[lutum.abc.Prepared]()
    for end in lutum.Transcript(items).cuts()[1:]:
        prepared.append(prepare(ModelInput(items[:end]), THINKS, tools=ToolPlan(head=(A,))))
    for earlier, later in pairwise(prepared):
        start = earlier.body.index(b'],"max_output_tokens"')
        assert later.body[:start] == earlier.body[:start]
        assert adapter().first_difference(earlier, later) is None
    assert adapter().first_difference(prepared[-1], prepared[0]) == "$.input[1]"
    other = prepare(ModelInput(items[:1]), THINKS, tools=ToolPlan(head=(B,)))
    assert adapter().first_difference(prepared[0], other) == "$.tools[0]"


def test_one_item_more_is_one_item_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Request 1,001 encodes one item; preparing it again encodes none."""
    made = list[lutum.Item]()
    piece = _items.ResponsesItemEncoder.piece

    def counted(self: Any, item: lutum.Item, *rest: Any) -> Any:
        made.append(item)
        return piece(self, item, *rest)

    monkeypatch.setattr(_items.ResponsesItemEncoder, "piece", counted)
    grown = ModelInput(lutum.Message("user", (Text(str(i)),)) for i in range(1_000)).transcript
    prepare(grown)
    assert len(made) == 1_000
    grown = grown.append(lutum.Message("user", (Text("one more"),)))
    first = prepare(grown)
    assert len(made) == 1_001
    assert prepare(grown).body == first.body
    assert len(made) == 1_001


def test_ephemerals() -> None:
    """They go out where they were pushed, never between a call and its result, and count for nothing."""
    started = ModelInput().user("x").turn(turn(call())).tool_result("call_1", "1").user("y")
    aside = lutum.Message("developer", (Text("aside"),))
    for at, place in ((1, 1), (2, 3), (4, 4)):
        prepared = prepare(started, ephemerals=((at, aside),))
        roles = [item.get("role") for item in body(prepared)["input"]]
        assert roles.index("developer") == place
        assert prepared.inexact_reason is None
        assert adapter().first_difference(prepared, prepare(started)) is None
    whole = turn(message("e"))
    assert message("e") in body(prepare(started, ephemerals=((4, whole),)))["input"]


@given(
    st.lists(
        st.sampled_from(["system", "user", "developer", "assistant", "turn", "result"]),
        min_size=1,
        max_size=12,
    )
)
def test_fuzz_conversations(kinds: list[str]) -> None:
    """Any conversation makes valid JSON, the same twice, with its items in order; each cut is a prefix."""
    items = list[lutum.Item]()
    for i, kind in enumerate(kinds):
        if kind == "turn":
            items += [turn(call(call_id=f"c{i}")), lutum.ToolResult(f"c{i}", (Text(f"{i}"),))]
        elif kind == "result":
            items.append(lutum.ToolResult(f"r{i}", (Text(f"{i}"),), False, "look", "{}"))
        else:
            items.append(lutum.Message(kind, (Text(f"ü{i}"),)))
    transcript = lutum.Transcript(items)
    whole = prepare(transcript)
    assert whole.body == prepare(lutum.Transcript.load(transcript.dump())).body
    for cut in transcript.cuts()[1:]:
        assert adapter().first_difference(prepare(transcript[:cut]), whole) is None


# --- golden bodies -----------------------------------------------------------------------------------

CASES: dict[str, tuple[ModelInput, str, dict[str, Any]]] = {
    "everything": (conversation(), THINKS, {"tools": ToolPlan(head=(A, B), new=(C,), available=("a", "c"))}),
    "foreign": (
        ModelInput()
        .user("x")
        .turn(
            CommittedTurn(
                "claude",
                "api.anthropic.com",
                "claude-x",
                b"{}",
                (
                    lutum.ReasoningItem("hm"),
                    TextItem("a"),
                    TextItem("b"),
                    ToolCallItem("toolu_1", "look", '{"a": 1}'),
                ),
            )
        )
        .tool_result("toolu_1", "no", is_error=True),
        PLAIN,
        {},
    ),
    "structured": (ModelInput().system("s").user("x"), THINKS, {"output": VALUE, "temperature": 1.0}),
}


@pytest.mark.parametrize("case", CASES)
def test_golden_bodies(case: str) -> None:
    """How a request is written is fixed: a change here changes the prefix of every conversation."""
    input, model, given = CASES[case]
    assert prepare(input, model, **given).body == (GOLDEN / f"{case}.json").read_bytes().strip()


def test_scope_is_the_host() -> None:
    """Turns go back exactly to the host they came from; a replay scope says otherwise."""
    assert adapter().scope == SCOPE
    assert adapter(base_url="http://localhost:8080/v1").scope == "localhost:8080"
    assert adapter(replay_scope="team").scope == "team"
    request = TurnRequest(transcript=ModelInput().user("x").transcript)
    assert adapter().prepare(request) == adapter().prepare(request)
