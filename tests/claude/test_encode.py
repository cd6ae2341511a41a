"""Requests to bytes: options, tools, places, cache breakpoints, estimates."""

import json
from typing import Any

import msgspec
import pytest
from claude.claude_wire import (
    BOUND,
    PLAIN,
    SCOPE,
    adapter,
    blocks,
    body,
    call,
    prepare,
    text,
    thinking,
    tool,
    turn,
)
from hypothesis import given, strategies as st

import lutum
from lutum import BadValue, Document, Image, ModelInput, Raw, Text
from lutum.abc import OutputFormat, ToolPlan, TurnRequest
from lutum.testing.wire import check_claude_request
from lutum.transport import OutgoingRequest
from lutum_claude import ClaudeAdapter, ClaudeOptions, Thinking, _items

HI = ModelInput().user("Hi")
PNG = (
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (750).to_bytes(4, "big") + (100).to_bytes(4, "big") + b"\x08\x02\0\0\0"
)
OUTPUT = OutputFormat("answer", '{"type":"object","properties":{"n":{"const":1e2}}}')


def system(words: str) -> lutum.Message:
    return lutum.Message("system", (Text(words),))


def user(words: str) -> lutum.Message:
    return lutum.Message("user", (Text(words),))


def mark_paths(prepared: Any) -> list[str]:
    """Where the cache breakpoints stand."""
    found = list[str]()

    def walk(value: Any, path: str) -> None:
        if isinstance(value, dict):
            if "cache_control" in value:
                found.append(path)
            for name, inner in value.items():
                walk(inner, f"{path}.{name}" if path else name)
        elif isinstance(value, list):
            for i, inner in enumerate(value):
                walk(inner, f"{path}.{i}")

    walk(body(prepared), "")
    return found


# --- the body --------------------------------------------------------------------------------------


def test_members_and_their_order() -> None:
    """The head comes first, what changes from turn to turn behind the messages."""
    prepared = prepare(
        ModelInput().system("S").user("Hi"),
        tools=ToolPlan(head=(tool(),)),
        options=ClaudeOptions(user_id="u", service_tier="auto", top_k=5),
        stop=("END",),
        max_output_tokens=300,
    )
    assert list(body(prepared)) == [
        "model",
        "tools",
        "system",
        "messages",
        "max_tokens",
        "top_k",
        "stop_sequences",
        "metadata",
        "service_tier",
        "stream",
    ]
    assert prepared.url == f"https://{SCOPE}/v1/messages"
    assert dict(prepared.headers)["anthropic-version"] == "2023-06-01"
    assert prepared.secret_headers == ("x-api-key",)
    assert prepared.estimate.output_tokens == 300


def test_preparing_twice_gives_the_same_bytes() -> None:
    """A request is a value."""
    request = TurnRequest(transcript=HI.transcript)
    assert adapter().prepare(request) == adapter().prepare(request)


def test_one_more_item_is_one_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Request 1,001 of a conversation encodes one item, and begins as request 1,000 did."""
    made = list[object]()
    piece = _items.ClaudeItemEncoder.piece

    def counted(self: Any, item: Any, *rest: Any, **more: Any) -> Any:
        made.append(item)
        return piece(self, item, *rest, **more)

    monkeypatch.setattr(_items.ClaudeItemEncoder, "piece", counted)
    conversation, via = ModelInput().system("S"), adapter()
    for i in range(1_000):
        conversation = conversation.user(f"q{i}").turn(turn(text(f"a{i}")))
    first = prepare(conversation.user("last"), via=via, options=ClaudeOptions(cache="off"))
    made.clear()
    second = prepare(conversation.user("last").turn(turn(text("new"))).user("more"), via=via)
    assert len(made) == 3  # "last" stands on another node, and two are new
    cut = first.body.index(b'],"max_tokens"')
    assert prepare(conversation.user("last"), via=via, options=ClaudeOptions(cache="off")).body == first.body
    assert second.body.startswith(first.body[: cut - len('{"type":"text","text":"last"}]}')])


def test_schemas() -> None:
    """A tool's schema keeps its bytes; a value's loses what Claude does not take, and the preview says so."""
    schema = '{"type": "object", "properties": {"n": {"maximum": 1e2}}}'
    prepared = prepare(
        HI, tools=ToolPlan(head=(lutum.ToolDef("look", schema, "Looks."),)), output=OutputFormat("x", schema)
    )
    assert b'"input_schema":' + schema.encode() in prepared.body
    assert b'"format":{"type":"json_schema","schema":{"type":"object","properties":{"n":{' in prepared.body
    assert b'"maximum"' not in prepared.body.partition(b'"format"')[2]
    assert prepared.dropped_constraints == ("$.n: maximum 100.0",)


def test_claude_encode_structured_by_tool() -> None:
    """The value's tool stands behind the others and is forced."""
    prepared = prepare(
        HI, tools=ToolPlan(head=(tool(),)), output=OUTPUT, options=ClaudeOptions(structured="tool")
    )
    assert [entry["name"] for entry in body(prepared)["tools"]] == ["look", "answer"]
    assert body(prepared)["tool_choice"] == {"type": "tool", "name": "answer"}
    with pytest.raises(BadValue, match="output"):
        prepare(
            HI,
            tools=ToolPlan(head=(tool("answer"),)),
            output=OUTPUT,
            options=ClaudeOptions(structured="tool"),
        )


@pytest.mark.parametrize(
    ("plan", "parallel", "expected"),
    [
        (ToolPlan(), None, None),
        (ToolPlan(choice="none"), None, None),
        (ToolPlan(head=(tool(),)), None, None),
        (ToolPlan(head=(tool(),), choice="none"), None, {"type": "none"}),
        (ToolPlan(head=(tool(), tool("hear")), choice="any"), None, {"type": "any"}),
        (ToolPlan(head=(tool(),), choice="any"), None, {"type": "tool", "name": "look"}),
        (ToolPlan(head=(tool(),), choice="tool", tool="look"), None, {"type": "tool", "name": "look"}),
        (ToolPlan(head=(tool(),)), False, {"type": "auto", "disable_parallel_tool_use": True}),
    ],
)
def test_claude_tool_choice(plan: ToolPlan, parallel: bool | None, expected: Any) -> None:
    """A choice is sent where it says more than the default, and never without tools."""
    options = ClaudeOptions(parallel_tool_calls=parallel)
    assert body(prepare(HI, tools=plan, options=options)).get("tool_choice") == expected


def test_options_are_laid_over_each_other() -> None:
    """A turn's options win field by field over the adapter's."""
    via = adapter(options=ClaudeOptions(effort="low", user_id="u"))
    sent = body(prepare(HI, "claude-opus-5", via=via, options=ClaudeOptions(effort="max")))
    assert (sent["output_config"], sent["metadata"]) == ({"effort": "max"}, {"user_id": "u"})


def test_extra_body_and_headers() -> None:
    """Whatever lutum does not know goes through, as text or as a value."""
    options = ClaudeOptions(
        extra_body={"speed": "fast", "max_n": 3},
        extra_headers={"X-Thing": "1", "anthropic-version": "2026-10-21"},
        context_management='{"edits": [1e2]}',
        betas=("mine-1",),
    )
    prepared = prepare(HI, options=options)
    assert body(prepared)["speed"] == "fast"
    assert b'"context_management":{"edits": [1e2]}' in prepared.body
    headers = dict(prepared.headers)
    assert (headers["x-thing"], headers["anthropic-version"]) == ("1", "2026-10-21")
    assert headers["anthropic-beta"] == "mine-1,context-management-2025-06-27"


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"extra_body": {"messages": []}}, "extra_body.messages"),
        ({"extra_body": {"max_tokens": 3}}, "extra_body.max_tokens"),
        ({"extra_headers": {"Authorization": "x"}}, "extra_headers['Authorization']"),
        ({"extra_headers": {"X-API-Key": "x"}}, "extra_headers['X-API-Key']"),
        ({"extra_headers": {"Content-Length": "1"}}, "extra_headers['Content-Length']"),
        ({"extra_headers": {"transfer-encoding": "x"}}, "extra_headers['transfer-encoding']"),
        ({"extra_headers": {"Host": "x"}}, "extra_headers['Host']"),
        ({"extra_headers": {"connection": "x"}}, "extra_headers['connection']"),
        ({"extra_headers": {"x y": "x"}}, "extra_headers['x y']"),
        ({"extra_headers": {"": "x"}}, "extra_headers['']"),
        ({"extra_headers": {1: "x"}}, "extra_headers[1]"),
        ({"extra_headers": {"x": 1}}, "extra_headers['x']"),
        ({"extra_headers": {"x": "a\r\nb: c"}}, "extra_headers['x']"),
        ({"extra_headers": {"x": "a\0"}}, "extra_headers['x']"),
        ({"extra_headers": ["x"]}, "extra_headers"),
        ({"betas": "one"}, "betas"),
        ({"betas": ("one", 2)}, "betas[1]"),
        ({"betas": ("one\ntwo",)}, "betas[0]"),
        ({"betas": ("",)}, "betas[0]"),
        ({"thinking": 1023}, "thinking.budget_tokens"),
        ({"thinking": Thinking("enabled")}, "thinking.budget_tokens"),
        ({"mcp_servers": "[{"}, "mcp_servers"),
        ({"server_tools": ("[]",)}, "server_tools[0]"),
        ({"top_k": 0}, "top_k"),
    ],
)
def test_claude_bad_options(given: dict[str, Any], field: str) -> None:
    """An option that cannot be right is refused where it is written, by name."""
    with pytest.raises(BadValue) as caught:
        ClaudeOptions(**given)
    assert caught.value.field == field


def test_options_hide_tokens() -> None:
    """What holds tokens of other servers is in no repr."""
    options = ClaudeOptions(effort="low", mcp_servers=[{"authorization_token": "hush"}])
    assert repr(options) == "ClaudeOptions(effort='low', mcp_servers=Ellipsis)"


@pytest.mark.parametrize(
    ("model", "options", "settings", "field"),
    [
        (PLAIN, {}, {"seed": 3}, "seed"),
        (PLAIN, {}, {"temperature": 1.5}, "temperature"),
        (PLAIN, {}, {"temperature": 0.5, "top_p": 0.5}, "top_p"),
        (PLAIN, {"thinking": 2048}, {"temperature": 0.5}, "temperature"),
        (PLAIN, {"thinking": 2048}, {"max_output_tokens": 2048}, "thinking.budget_tokens"),
        (PLAIN, {"thinking": "adaptive"}, {}, "thinking"),
        (PLAIN, {"display": "omitted"}, {}, "display"),
        (PLAIN, {}, {"max_output_tokens": 64_001}, "max_output_tokens"),
        (BOUND, {"thinking": 2048}, {}, "thinking"),
        (BOUND, {"thinking": "disabled"}, {}, "thinking"),
        (BOUND, {}, {"temperature": 0.5}, "temperature"),
        (BOUND, {"top_k": 5}, {}, "top_k"),
        ("claude-opus-5", {"thinking": "disabled", "effort": "max"}, {}, "effort"),
    ],
)
def test_what_a_model_refuses_in_claude(model: str, options: Any, settings: Any, field: str) -> None:
    """What a known model refuses is refused before anything is reserved, and names the field."""
    with pytest.raises(BadValue) as caught:
        prepare(HI, model, options=ClaudeOptions(**options), **settings)
    assert caught.value.field == field


def test_forced_tools_are_refused() -> None:
    """Some models choose for themselves."""
    plan = ToolPlan(head=(tool(),), choice="any")
    for model, options in ((BOUND, ClaudeOptions()), (PLAIN, ClaudeOptions(thinking=2048))):
        with pytest.raises(BadValue, match="tool_choice"):
            prepare(HI, model, tools=plan, options=options)


def test_unknown_models_get_what_was_asked() -> None:
    """A model that no table knows is sent everything."""
    options = ClaudeOptions(thinking=2048, top_k=7)
    sent = body(prepare(HI, "llama-9", options=options, temperature=0.5, max_output_tokens=10**6))
    assert (sent["temperature"], sent["top_k"], sent["max_tokens"]) == (0.5, 7, 10**6)
    assert sent["thinking"] == {"type": "enabled", "budget_tokens": 2048}


def test_sampling_by_version() -> None:
    """The newer API version takes no sampling parameters on any model."""
    with pytest.raises(BadValue, match="2026-10-21"):
        prepare(HI, via=adapter(version="2026-10-21"), temperature=0.5)


def test_max_tokens() -> None:
    """A limit is always sent: the turn's, the adapter's, or a default that leaves room for thinking."""
    assert body(prepare(HI))["max_tokens"] == 4_096
    assert body(prepare(HI, BOUND))["max_tokens"] == 16_384
    assert body(prepare(HI, options=ClaudeOptions(thinking=8_000)))["max_tokens"] == 9_024
    assert body(prepare(HI, via=adapter(default_max_output_tokens=77)))["max_tokens"] == 77


@pytest.mark.parametrize(
    ("input", "field"),
    [
        (ModelInput().system("S"), "input"),
        (ModelInput().user(" "), "input[0]"),
        (ModelInput().system(Image.from_url("https://x/y.png")).user("Hi"), "input[0]"),
        (ModelInput().user(Raw("chat", "{}")), "input[0].content[0]"),
        (ModelInput().raw("chat", "{}"), "input[0]"),
        (ModelInput().raw("claude", "[]"), "input[0]"),
        (ModelInput().turn(lutum.CommittedTurn("claude", SCOPE, PLAIN, b"{}")), "input[0]"),
        (
            ModelInput().user(Image.from_bytes(b"x", media_type="image/tiff")),
            "input[0].content[0].media_type",
        ),
        (
            ModelInput().user(Image.from_bytes(bytes(8 * 2**20), media_type="image/png")),
            "input[0].content[0]",
        ),
        (ModelInput().user(Document.from_bytes(b"x", media_type="a/b")), "input[0].content[0].media_type"),
    ],
)
def test_claude_bad_input(input: ModelInput, field: str) -> None:
    """What Claude cannot take is refused by its place."""
    with pytest.raises(BadValue) as caught:
        prepare(input)
    assert caught.value.field == field


def test_no_prefill_on_new_models() -> None:
    """Words to go on from are refused by models that do not go on; a paused turn is not such words."""
    conversation = ModelInput().user("Hi").assistant("Well")
    assert blocks(prepare(conversation))[-1] == ("assistant", text("Well"))
    with pytest.raises(BadValue, match="input"):
        prepare(conversation, BOUND)
    block = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    paused = ModelInput().user("Hi").turn(turn(block, stop_reason="pause_turn"))
    assert blocks(prepare(paused, BOUND))[-1][0] == "assistant"


@pytest.mark.parametrize("name", ["a b", "", "x" * 129, "é"])
def test_tool_names(name: str) -> None:
    """A tool name that Claude does not take is refused."""
    with pytest.raises(BadValue, match="tools"):
        prepare(HI, tools=ToolPlan(head=(tool(name),)))


# --- cache breakpoints -----------------------------------------------------------------------------


def test_last_block_is_marked() -> None:
    """Without ephemerals the very last block that can be is marked."""
    assert mark_paths(prepare(ModelInput().system("S").user("Hi"))) == ["messages.0.content.0"]


def test_calls_and_thinking_are_never_marked() -> None:
    """The search for a block passes over calls and thinking."""
    conversation = ModelInput().user("Hi").turn(turn(text("a"), thinking(), stop_reason="pause_turn"))
    assert mark_paths(prepare(conversation)) == ["messages.1.content.0"]


def test_mark_stands_before_the_first_ephemeral() -> None:
    """What later requests leave out is not cached."""
    conversation = ModelInput().user("Hi").user("there")
    shown = ((1, user("only now")),)
    prepared = prepare(conversation, ephemerals=shown)
    assert mark_paths(prepared) == ["messages.0.content.0"]
    assert [block["text"] for _, block in blocks(prepared)] == ["Hi", "only now", "there"]


def test_first_block_ephemeral() -> None:
    """With nothing before the first ephemeral there is no mark; tools and system are before it."""
    shown = ((0, user("only now")),)
    assert mark_paths(prepare(HI, ephemerals=shown)) == []
    assert mark_paths(prepare(HI, ephemerals=shown, tools=ToolPlan(head=(tool(), tool("b"))))) == ["tools.1"]
    conversation = ModelInput().system("S").user("Hi")
    assert mark_paths(prepare(conversation, ephemerals=((1, user("only now")),))) == ["system.0"]
    assert mark_paths(prepare(conversation, ephemerals=((0, system("only now")),))) == []


@pytest.mark.parametrize(("cache", "ttl"), [("5m", None), ("1h", "1h")])
def test_lifetime(cache: Any, ttl: str | None) -> None:
    """A breakpoint says how long its entry lives, where that is not the default."""
    sent = body(prepare(HI, options=ClaudeOptions(cache=cache)))
    mark = sent["messages"][0]["content"][0]["cache_control"]
    assert mark == ({"type": "ephemeral"} if ttl is None else {"type": "ephemeral", "ttl": ttl})


def test_caching_off() -> None:
    """Off means no breakpoint anywhere."""
    assert b"cache_control" not in prepare(HI, options=ClaudeOptions(cache="off")).body


def test_a_long_round_is_marked_twice() -> None:
    """Where the last entry is further back than the API looks, its place is marked again."""
    calls = [call(f"t{i}") for i in range(15)]
    conversation = ModelInput().user("Hi").turn(turn(*calls, stop_reason="tool_use"))
    for i in range(15):
        conversation = conversation.tool_result(f"t{i}", "ok")
    assert mark_paths(prepare(conversation)) == ["messages.0.content.0", "messages.2.content.14"]


def test_own_marks_count() -> None:
    """With four breakpoints of yours none is added."""
    mine = [Raw("claude", json.dumps({**text(c), "cache_control": {"type": "ephemeral"}})) for c in "abcd"]
    prepared = prepare(ModelInput().user([*mine, Text("e")]))
    assert mark_paths(prepared) == [f"messages.0.content.{i}" for i in range(4)]


def test_own_marks_count_in_a_message_that_is_sent_as_it_is() -> None:
    """A raw message with other members holds breakpoints, too; four is the limit of the API."""
    mine = [{**text(c), "cache_control": {"type": "ephemeral"}} for c in "abcd"]
    whole = Raw("claude", json.dumps({"role": "user", "content": mine, "note": 1}))
    assert len(mark_paths(prepare(lutum.Transcript((whole, user("e")))))) == 4


MARK_1H = {"type": "ephemeral", "ttl": "1h"}


@pytest.mark.parametrize(
    ("conversation", "options"),
    [
        (HI, ClaudeOptions(cache="1h")),
        (HI, ClaudeOptions(extra_body={"cache_control": MARK_1H})),
        (ModelInput().user([Raw("claude", json.dumps({**text("a"), "cache_control": MARK_1H}))]), None),
        (
            lutum.Transcript(
                (Raw("claude", json.dumps({"role": "user", "content": "a", "cache_control": MARK_1H})),)
            ),
            None,
        ),
    ],
)
def test_an_entry_for_an_hour_has_its_rate(conversation: Any, options: ClaudeOptions | None) -> None:
    assert "1h" in prepare(conversation, options=options).rates


def test_a_call_whose_arguments_look_like_a_breakpoint_has_no_other_rate() -> None:
    told = call("t1", "wait", {"ttl": "1h"})
    conversation = ModelInput().user("Hi").turn(turn(told, stop_reason="tool_use")).tool_result("t1", "ok")
    prepared = prepare(conversation)
    assert b'"ttl":"1h"' in prepared.body
    assert prepared.rates == ()


def test_marks_are_not_cached() -> None:
    """A breakpoint is never part of what an item is encoded to."""
    via, first = adapter(), ModelInput().user("Hi")
    prepare(first, via=via)
    second = prepare(first.turn(turn(text("a"))).user("b"), via=via)
    assert mark_paths(second) == ["messages.2.content.0"]


# --- forms -----------------------------------------------------------------------------------------


def form(made: lutum.CommittedTurn, model: str = PLAIN) -> lutum.abc.ReplayForm:
    return adapter().replay_form(made, SCOPE, model)


def test_replay_forms() -> None:
    """A turn goes back exactly to its adapter, its scope, and a model that reads it; else it says why not."""
    assert form(turn(text("a"))).exact
    assert "elsewhere" in form(turn(text("a"), scope="elsewhere")).reason
    assert "chat" in form(lutum.CommittedTurn("chat", SCOPE, "m", b"{}")).reason
    assert form(turn(text("a"), inexact_reason="because")).reason == "because"
    newest = turn(thinking(), text("a"), model="claude-fable-5-1")
    assert form(newest, "claude-mythos-5-2-20260901").exact
    assert "cannot read" in form(newest, BOUND).reason
    assert form(turn(text("a"), model="claude-fable-5-1"), BOUND).exact
    assert "cannot read" in form(turn(thinking()), "claude-haiku-5-5").reason


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("claude-opus-5-20260401", "claude-opus-5"),
        ("claude-opus-5-5-20260901", "claude-opus-5-5"),
        ("claude-opus-5-9", None),
        ("anthropic/claude-sonnet-4.5", "claude-sonnet-4-5"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"),
        ("claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
        ("claude-sonnet-4-20250514", "claude-sonnet-4"),
        ("gpt-9", None),
    ],
)
def test_model_families(model: str, expected: str | None) -> None:
    """Dated ids and other hosts' spellings belong to a row; a newer version does not."""
    from lutum_claude import _models

    assert _models.family(model) == expected


def test_claude_response_only() -> None:
    """What the API takes back from nobody is left out, and the turn stays exact."""
    cited = {**text("b"), "citations": [{"type": "char_location", "file_id": None, "end": 1}]}
    made = turn(text(" "), cited, text(""))
    prepared = prepare(ModelInput().user("Hi").turn(made).user("x"))
    assert blocks(prepared)[1] == (
        "assistant",
        {**text("b"), "citations": [{"type": "char_location", "end": 1}]},
    )
    assert prepared.forms[0].exact


def test_what_a_fallback_made_void() -> None:
    """Thinking and calls of the model that gave up do not go back, answered server calls do."""
    made = turn(
        thinking(),
        call(),
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}},
        {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []},
        {"type": "server_tool_use", "id": "s2", "name": "web_search", "input": {}},
        {"type": "fallback", "from": {"model": "a"}, "to": {"model": "b"}},
        text("ok"),
    )
    assert made.tool_calls == ()
    sent = [
        block["type"]
        for role, block in blocks(prepare(ModelInput().user("Hi").turn(made).user("x")))
        if role == "assistant"
    ]
    assert sent == ["server_tool_use", "web_search_tool_result", "fallback", "text"]


def test_paused_turns_join() -> None:
    """A paused turn and what follows it are one message, as the provider has it."""
    conversation = (
        ModelInput().user("Hi").turn(turn(text("a"), stop_reason="pause_turn")).turn(turn(text("b")))
    )
    assert [m["role"] for m in body(prepare(conversation.user("x")))["messages"]] == [
        "user",
        "assistant",
        "user",
    ]


def test_odd_call_ids() -> None:
    """A foreign id in letters that Claude refuses is written in others, in the call and in its result."""
    foreign = lutum.CommittedTurn("chat", "x", "m", b"{}", (lutum.ToolCallItem("call|1", "look", "[]"),))
    sent = blocks(prepare(ModelInput().user("Hi").turn(foreign).tool_result("call|1", "ok")))
    assert sent[1][1] == call("call_63616c6c7c31")
    assert sent[2][1]["tool_use_id"] == "call_63616c6c7c31"
    own = turn(call("call|1"), stop_reason="tool_use")
    sent = blocks(prepare(ModelInput().user("Hi").turn(own).tool_result("call|1", "ok")))
    assert (sent[1][1]["id"], sent[2][1]["tool_use_id"]) == ("call|1", "call|1")


# --- tools that change -----------------------------------------------------------------------------


def later(plan: ToolPlan, model: str, *more: lutum.CommittedTurn) -> Any:
    conversation = ModelInput().user("Hi").turn(turn(text("a"), model=model))
    for made in more:
        conversation = conversation.user("x").turn(made)
    return prepare(conversation.user("b"), model, tools=plan)


def test_new_tools_are_added_behind() -> None:
    """On a model that takes it, a new tool is a system message; the tools of the head stay."""
    prepared = later(ToolPlan(head=(tool(),), new=(tool("b"),), available=("b",)), BOUND)
    assert [entry["name"] for entry in body(prepared)["tools"]] == ["look"]
    removal, addition = body(prepared)["messages"][-1]["content"]
    assert removal == {"type": "tool_removal", "tool": {"type": "tool_reference", "name": "look"}}
    assert addition["tool"]["definition"]["name"] == "b"
    assert prepared.inexact_reason is None
    assert "inline-tools-2026-09-15" in dict(prepared.headers)["anthropic-beta"]
    assert msgspec.json.decode(prepared.preface) == body(prepared)["messages"][-1:]


def test_what_was_told_is_not_told_again() -> None:
    """The state that earlier prefaces left is what a difference is taken from."""
    plan = ToolPlan(head=(tool(),), new=(tool("b"),), available=("b",))
    first = later(plan, BOUND)
    made = turn(text("c"), model=BOUND, preface=first.preface)
    again = later(plan, BOUND, made)
    assert again.preface == b""
    assert first.preface[1:-1] in again.body
    back = later(ToolPlan(head=(tool(),), available=("look",)), BOUND, made)
    changed = body(back)["messages"][-1]["content"]
    assert [(block["type"], block["tool"]["name"]) for block in changed] == [
        ("tool_removal", "b"),
        ("tool_addition", "look"),
    ]


def test_described_anew_and_back() -> None:
    """A tool that is described anew is defined again, and so when its first description comes back."""
    plan = ToolPlan(head=(tool(),), new=(tool("look", "Looks well."),))
    first = later(plan, BOUND)
    assert "Looks well." in json.dumps(body(first)["messages"][-1])
    back = later(ToolPlan(head=(tool(),)), BOUND, turn(text("c"), model=BOUND, preface=first.preface))
    assert body(back)["messages"][-1]["content"][0]["tool"]["definition"] == body(back)["tools"][0]


def test_forced_tool_without_a_head() -> None:
    """A tool that must be called stands in `tools` where the head has none."""
    plan = ToolPlan(new=(tool(),), choice="any")
    prepared = later(plan, "claude-opus-5")
    assert [entry["name"] for entry in body(prepared)["tools"]] == ["look"]
    assert check_claude_request(prepared.body) is None
    assert prepared.inexact_reason is not None


def test_new_tools_on_older_models() -> None:
    """Elsewhere new tools stand behind the head's, and the answer is not exact."""
    prepared = later(ToolPlan(head=(tool(),), new=(tool("b"), tool("look", "Other."))), PLAIN)
    sent = body(prepared)["tools"]
    assert [entry["name"] for entry in sent] == ["look", "b"]
    assert sent[0]["description"] == "Other."
    assert prepared.inexact_reason is not None
    assert later(ToolPlan(head=(tool(), tool("b")), available=("b",)), PLAIN).inexact_reason is None


# --- ephemerals ------------------------------------------------------------------------------------


def test_one_turn_form() -> None:
    """A system ephemeral at the end is the provider's one-turn message, kept for ever."""
    prepared = prepare(HI, BOUND, ephemerals=((1, system("only now")),))
    last = body(prepared)["messages"][-1]
    assert last == {"role": "system", "content": "only now", "clear_at": "next_user_message"}
    assert (prepared.inexact_reason, msgspec.json.decode(prepared.preface)) == (None, [last])
    assert "mid-conversation-system-clear-at-2026-08-21" in dict(prepared.headers)["anthropic-beta"]
    made = turn(text("a"), model=BOUND, preface=prepared.preface)
    again = prepare(HI.turn(made).user("b"), BOUND)
    assert body(again)["messages"][1] == last
    assert "mid-conversation-system-clear-at-2026-08-21" in dict(again.headers)["anthropic-beta"]


@pytest.mark.parametrize(("model", "item"), [(BOUND, user("only now")), (PLAIN, system("only now"))])
def test_ephemerals_in_place(model: str, item: lutum.Message) -> None:
    """What has no one-turn form stands where it was pushed, and the answer is not exact."""
    prepared = prepare(HI, model, ephemerals=((1, item),))
    assert "only now" in blocks(prepared)[-1][1]["text"]
    assert prepared.inexact_reason is not None
    assert prepared.preface == b""


def test_ephemerals_keep_rounds_whole() -> None:
    """An ephemeral between a call and its result stands behind the result."""
    conversation = (
        ModelInput().user("Hi").turn(turn(call(), stop_reason="tool_use")).tool_result("toolu_1", "ok")
    )
    sent = blocks(prepare(conversation, ephemerals=((2, user("only now")),)))
    assert [block["type"] for _, block in sent] == ["text", "tool_use", "tool_result", "text"]


def test_an_ephemeral_turn() -> None:
    """A committed turn shown for one turn goes out with its own blocks and results."""
    shown = ((1, turn(call(), stop_reason="tool_use")), (1, lutum.ToolResult("toolu_1", (Text("ok"),))))
    sent = blocks(prepare(HI, ephemerals=shown))
    assert [block["type"] for _, block in sent] == ["text", "tool_use", "tool_result"]


# --- differences -----------------------------------------------------------------------------------


def test_claude_first_difference() -> None:
    """A later request that only adds has none; else the path of the first is named."""
    via, first = adapter(), prepare(ModelInput().system("S").user("Hi"), tools=ToolPlan(head=(tool(),)))

    def against(conversation: ModelInput, plan: ToolPlan) -> str | None:
        return via.first_difference(first, prepare(conversation, tools=plan))

    grown = ModelInput().system("S").user("Hi").turn(turn(text("a"))).user("b")
    plan = ToolPlan(head=(tool(),))
    assert against(grown, plan) is None
    assert against(grown, ToolPlan(head=(tool(), tool("b")))) == "$.tools[1]"
    assert against(ModelInput().system("T").user("Hi"), plan) == "$.system[0]"
    assert against(ModelInput().system("S").user("Ho"), plan) == "$.messages[0].content[0]"
    assert against(ModelInput().system("S").assistant("Hi"), plan) == "$.messages[0].content[0]"


def test_ephemerals_are_no_difference() -> None:
    """What was shown for one turn is left out of the comparison."""
    for model in (PLAIN, BOUND):
        first = prepare(HI, model, ephemerals=((1, user("only now")),))
        later_one = prepare(HI.turn(turn(text("a"), model=model)).user("b"), model)
        assert adapter().first_difference(first, later_one) is None


# --- estimates -------------------------------------------------------------------------------------


def test_images_are_counted_by_their_size() -> None:
    """A picture's header says how many tokens it takes."""
    small = prepare(ModelInput().user(Image.from_bytes(PNG))).estimate.input_tokens
    assert 100 <= small - prepare(ModelInput().user(".")).estimate.input_tokens <= 102


@pytest.mark.parametrize(
    ("header", "size"),
    [
        (PNG, (750, 100)),
        (b"GIF89a" + bytes([10, 0, 20, 0]), (10, 20)),
        (b"\xff\xd8\xff\xe0\0\x04ab\xff\xc0\0\x11\x08\0\x20\0\x40\x03aaaaaaaa", (64, 32)),
        (b"RIFF\0\0\0\0WEBPVP8X\0\0\0\0\0\0\0\0\x09\0\0\x13\0\0", (10, 20)),
        (b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f" + (9 | 19 << 14).to_bytes(4, "little"), (10, 20)),
        (b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0\0\0\0\x9d\x01\x2a\x0a\0\x14\0", (10, 20)),
        (b"\x89PNG", None),
        (b"\xff\xd8\xff", None),
        (b"what", None),
    ],
)
def test_image_sizes(header: bytes, size: tuple[int, int] | None) -> None:
    """Sizes are read from headers, also cut ones."""
    from lutum_claude import _estimate

    assert _estimate.image_size(header) == size


@pytest.mark.parametrize(
    ("input", "options", "expected"),
    [
        (ModelInput().user(Image.from_url("https://x/y.png")), {}, "input[0].content[0]"),
        (ModelInput().user(Document.from_file_id("f")), {}, "input[0].content[0]"),
        (ModelInput().user(Document.from_bytes(b"%PDF-1.7 stream")), {}, "input[0].content[0]"),
        (
            HI,
            {"server_tools": ('{"type":"web_search_20250305","name":"w"}',)},
            "server tool web_search_20250305",
        ),
        (HI, {"mcp_servers": [{"type": "url", "name": "n", "url": "https://x"}]}, "mcp_servers"),
        (HI, {"container": "container_1"}, "container"),
    ],
)
def test_unbounded(input: ModelInput, options: Any, expected: str) -> None:
    """What nobody can know before is named."""
    assert prepare(input, options=ClaudeOptions(**options)).unbounded == (expected,)


def test_documents_are_bounded() -> None:
    """Text counts as text, a PDF by its pages."""
    pdf = b"%PDF-1.4 << /Type /Page >> << /Type /Pages >> << /Type/Page/Parent >>"
    prepared = prepare(ModelInput().user([Document.from_bytes(pdf), Document.from_text("words " * 30)]))
    assert prepared.unbounded == ()
    assert 6_000 < prepared.estimate.input_tokens < 6_100


# --- the adapter -----------------------------------------------------------------------------------


def test_a_key_is_needed_for_the_api_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing key is refused before anything is reserved, and only where one is needed."""
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    request = TurnRequest(transcript=HI.transcript)
    with pytest.raises(BadValue, match="ANTHROPIC_API_KEY") as caught:
        ClaudeAdapter(PLAIN).prepare(request)
    assert caught.value.field == "api_key"
    local = ClaudeAdapter(PLAIN, base_url="http://localhost:8080/")
    assert local.prepare(request).url == "http://localhost:8080/v1/messages"
    assert (local.scope, local.prepare(request).secret_headers) == ("localhost", ())


ANY_REQUEST = OutgoingRequest("POST", "https://host.test/", (), b"")


async def test_claude_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key is read once from the environment or asked for each request; no repr shows it."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "env-key")
    monkeypatch.delenv("ANTHROPIC_AUTH_TOKEN", raising=False)
    made = ClaudeAdapter(PLAIN)
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    assert await made._secrets(ANY_REQUEST) == {"x-api-key": "env-key"}
    assert "env-key" not in repr(made)
    prepared = made.prepare(TurnRequest(transcript=HI.transcript))
    assert "env-key" not in repr(prepared)

    async def later_key() -> str:
        return "later"

    assert await ClaudeAdapter(PLAIN, api_key=later_key)._secrets(ANY_REQUEST) == {"x-api-key": "later"}
    assert await ClaudeAdapter(PLAIN, auth_token=lambda: "t")._secrets(ANY_REQUEST) == {
        "authorization": "Bearer t"
    }


def test_claude_vertex() -> None:
    """On Vertex the model is in the URL and the version in the body."""
    via = ClaudeAdapter.vertex("claude-sonnet-4-5@20250929", project="p", region="global", token="t")
    prepared = via.prepare(TurnRequest(transcript=HI.transcript))
    assert prepared.url == (
        "https://aiplatform.googleapis.com/v1/projects/p/locations/global/publishers/anthropic/models/"
        "claude-sonnet-4-5@20250929:streamRawPredict"
    )
    assert next(iter(body(prepared).items())) == ("anthropic_version", "vertex-2023-10-16")
    assert "model" not in body(prepared)
    assert "anthropic-version" not in dict(prepared.headers)
    assert prepared.secret_headers == ("authorization",)


# --- laws ------------------------------------------------------------------------------------------

items = st.lists(
    st.sampled_from(
        [
            user("u"),
            system("s"),
            lutum.Message("assistant", (Text("a"),)),
            turn(text("t"), model=BOUND),
            turn(text(" "), model=BOUND),
            lutum.CommittedTurn("chat", "x", "m", b"{}", (lutum.TextItem("f"),)),
        ]
    ),
    max_size=12,
)


@pytest.mark.parametrize("model", [PLAIN, BOUND])
@given(items=items)
def test_committed_requests_are_prefixes(model: str, items: list[lutum.Item]) -> None:
    """Wherever a turn was committed, the request before it is a prefix of every later one, in blocks."""
    transcript = lutum.Transcript([user("first"), *items, user("last")])
    whole = blocks(prepare(transcript, model))
    for i in range(2, len(transcript)):
        if not isinstance(transcript[i], lutum.CommittedTurn):
            continue
        if not isinstance(before := transcript[i - 1], lutum.Message) or before.role == "assistant":
            continue
        sent = blocks(prepare(transcript[:i], model, options=ClaudeOptions()))
        assert sent == whole[: len(sent)]
        assert check_claude_request(prepare(transcript[:i], model).body) is None


@pytest.mark.parametrize(
    ("item", "field"),
    [
        (lutum.Message("user", (lutum.Text("a"), lutum.Raw("claude", "{"))), "input[0].content[1]"),
        (lutum.Message("user", (lutum.Raw("claude", '{"a":1},{"b":2}'),)), "input[0].content[0]"),
        (lutum.Message("user", (lutum.Raw("claude", '["a"]'),)), "input[0].content[0]"),
        (lutum.Raw("claude", '[{"role":"user","content":"a"}]'), "input[0]"),
        (lutum.Raw("claude", '{"content":"a"}'), "input[0]"),
        (lutum.Raw("claude", '{"role":5,"content":"a"}'), "input[0]"),
        (lutum.Raw("claude", '{"role":"user"}'), "input[0].content"),
        (lutum.Raw("claude", '{"role":"system","content":5,"clear_at":"x"}'), "input[0].content"),
        (lutum.Raw("claude", '{"role":"user","content":[{"type":"text"},5]}'), "input[0].content[1]"),
    ],
)
def test_raw_json_that_is_no_message(item: lutum.Item, field: str) -> None:
    """Raw JSON that would break the request, or is nothing the API takes, names its place."""
    with pytest.raises(lutum.BadValue) as caught:
        prepare(lutum.Transcript([item]))
    assert caught.value.field == field


def test_a_foreign_turn_without_a_view() -> None:
    """A turn from elsewhere of which nothing can be said is refused; an empty one of Claude's is not."""
    search = {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {}}
    elsewhere = turn(search, scope="elsewhere")
    foreign = lutum.CommittedTurn(adapter="other", scope="x", model="m", wire=b"[]", items=())
    hi = lutum.Message("user", (lutum.Text("Hi"),))
    with pytest.raises(lutum.BadValue) as caught:
        prepare(lutum.Transcript([hi, foreign, hi]))
    assert caught.value.field == "input[1]"
    for item in (turn(), turn(scope="elsewhere"), elsewhere):
        assert prepare(lutum.Transcript([hi, item, hi])).body
