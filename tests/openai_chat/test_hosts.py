"""What each host is sent: system messages, roles, empty turns, reasoning, calls, tools, bounds and effort."""

import json
import logging
from typing import Any

import httpx
import msgspec
import pytest
from openai_chat.chat_wire import adapter, body, call, prepare, tool, turn

import lutum
from lutum import BadValue, Message, ModelInput, Text, ToolDef
from lutum.abc import OutputFormat, Prepared, ToolPlan
from lutum.testing.wire import Reply, WireServer
from lutum_openai import OpenAIChatAdapter, OpenAIOptions, Profile
from lutum_openrouter import OpenRouterAdapter, OpenRouterOptions

STRICT = ToolDef("look", '{"type":"object","properties":{"n":{"type":"integer"}}}', strict=True)
OUTPUT = OutputFormat("Answer", '{"type":"object","properties":{"s":{"type":"string","maxLength":5}}}')


def at(host: str, model: str = "m", **given: Any) -> OpenAIChatAdapter:
    base = f"http://{host}/v1" if host.startswith(("127.", "localhost")) else f"https://{host}/v1"
    return adapter(host, model, base_url=base, **given)


def messages(made: ModelInput, host: str, model: str = "m", **given: Any) -> list[dict[str, Any]]:
    return body(prepare(made, via=at(host, model), **given))["messages"]


def roles(made: ModelInput, host: str, model: str = "m", **given: Any) -> list[str]:
    return [message["role"] for message in messages(made, host, model, **given)]


# --- system messages and roles -----------------------------------------------------------------

TWO = ModelInput().system("a").developer("b").user("hi").assistant("x").system("late").user("go")


def test_one_system_message() -> None:
    """The head's items become one, late ones user text, and so does what JSON mode wants said."""
    sent = messages(TWO, "gateway.example")
    assert sent[0] == {"role": "system", "content": "a\n\nb"}
    assert sent[3] == {"role": "user", "content": "<system>\nlate\n</system>"}
    assert [m["role"] for m in sent] == ["system", "user", "assistant", "user", "user"]
    options = OpenAIOptions(structured="json_object")
    last = messages(TWO, "gateway.example", output=OUTPUT, options=options)[-1]
    assert last["role"] == "user"
    assert last["content"].startswith("<system>\nAnswer with one JSON object")
    parts = ModelInput().system([Text("a"), Text("b")]).system("c").user("x")
    assert [p["text"] for p in messages(parts, "gateway.example")[0]["content"]] == ["a", "b", "c"]


def test_many_system_messages() -> None:
    """Hosts that take them get each where it stands."""
    assert roles(TWO, "api.openai.com") == ["system", "developer", "user", "assistant", "system", "user"]


def test_ephemerals_at_hosts_with_one_system_message() -> None:
    """An ephemeral system item never changes the head, which later requests repeat."""
    made = ModelInput().system("a").user("hi")
    late = Message("system", (Text("now"),))
    sent = messages(made, "gateway.example", ephemerals=((0, late),))
    assert [m["content"] for m in sent] == ["a", "<system>\nnow\n</system>", "hi"]


@pytest.mark.parametrize(
    ("host", "model"),
    [
        ("api.perplexity.ai", "sonar"),
        ("127.0.0.1:8000", "google/gemma-3-4b-it"),
        ("localhost:11434", "mistral"),
    ],
)
def test_alternating_roles(host: str, model: str) -> None:
    """Neighbours of one role are one message, and a turn without words keeps its place."""
    made = ModelInput().system("s").user("a").user("b").assistant("c").assistant("d").user("e")
    sent = messages(made, host, model)
    assert [(m["role"], m["content"]) for m in sent] == [
        ("system", "s"),
        ("user", "a\n\nb"),
        ("assistant", "c\n\nd"),
        ("user", "e"),
    ]
    empty = ModelInput().user("a").turn(turn({"content": ""}, scope=host)).user("b")
    assert roles(empty, host, model) == ["user", "assistant", "user"]


def test_calls_are_never_joined() -> None:
    """A message with calls is followed by their results, at hosts with alternating roles too."""
    made = ModelInput().user("a").assistant("b").turn(turn({"content": "c", "tool_calls": [call()]}))
    made = made.tool_result("call_1", "seen").user("d")
    sent = messages(made, "api.perplexity.ai", "sonar")
    assert [m["role"] for m in sent] == ["user", "assistant", "tool", "user"]
    assert sent[1]["content"] == "b\n\nc"
    assert len(sent[1]["tool_calls"]) == 1


@pytest.mark.parametrize(
    ("host", "model"),
    [("api.mistral.ai", "mistral-large"), ("integrate.api.nvidia.com", "mistralai/mistral-small-4")],
)
def test_a_user_message_behind_a_tool_message(host: str, model: str) -> None:
    """Mistral refuses it, so a short assistant message stands between."""
    made = ModelInput().user("a").turn(turn({"tool_calls": [call("abcdefghi")]}, scope=host))
    made = made.tool_result("abcdefghi", "seen")
    assert roles(made, host, model) == ["user", "assistant", "tool"]
    assert roles(made.user("b"), host, model) == ["user", "assistant", "tool", "assistant", "user"]


def test_string_content() -> None:
    """Where content is a string only, several texts are one; an image needs a list everywhere."""
    made = ModelInput().user([Text("a"), Text("b")])
    assert messages(made, "api.deepseek.com")[0]["content"] == "a\nb"
    assert [p["text"] for p in messages(made, "api.openai.com")[0]["content"]] == ["a", "b"]


# --- turns -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said", [{"content": ""}, {"content": None, "reasoning_content": "long"}, {"content": []}]
)
@pytest.mark.parametrize("host", ["api.moonshot.ai", "api.mistral.ai", "api.z.ai", "gateway.example"])
@pytest.mark.parametrize("own", [True, False])
def test_turns_without_words(said: dict[str, Any], host: str, own: bool) -> None:
    """They stay behind where the host refuses them, own and others', and the form says why."""
    made = ModelInput().user("a").turn(turn(said, scope=host if own else "elsewhere")).user("b")
    prepared = prepare(made, via=at(host))
    assert [m["role"] for m in body(prepared)["messages"]] == ["user", "user"]
    assert not prepared.forms[0].exact
    assert prepared.forms[0].reason


@pytest.mark.parametrize(
    ("host", "filler"), [("api.moonshot.ai", " "), ("api.moonshot.cn", " "), ("api.deepseek.com", "")]
)
@pytest.mark.parametrize("own", [True, False])
def test_fillers_for_reasoning(host: str, filler: str, own: bool) -> None:
    """A tool round without reasoning of this host gets what the host takes for it; so does a lone result."""
    made = ModelInput().user("a").turn(turn({"tool_calls": [call()]}, scope=host if own else "elsewhere"))
    made = made.tool_result("call_1", "seen")
    assert messages(made, host)[1]["reasoning_content"] == filler
    lone = ModelInput().user("a").tool_result("c", "seen", name="look", arguments="{}")
    assert messages(lone, host)[1]["reasoning_content"] == filler
    thought = {"reasoning_content": "hm", "tool_calls": [call()]}
    said = ModelInput().user("a").turn(turn(thought, scope=host)).tool_result("call_1", "seen")
    assert messages(said, host)[1]["reasoning_content"] == "hm"


def test_reasoning_that_a_host_refuses() -> None:
    """What stays behind is said: such a turn is not exact. Cerebras takes `reasoning`."""
    thought = {"content": "x", "reasoning": "hm"}
    groq = prepare(ModelInput().user("a").turn(turn(thought, scope="api.groq.com")), via=at("api.groq.com"))
    assert groq.forms[0].reason == "its reasoning is left out, because the host does not accept reasoning"
    cerebras = ModelInput().user("a").turn(turn(thought, scope="api.cerebras.ai"))
    prepared = prepare(cerebras, via=at("api.cerebras.ai"))
    assert prepared.forms[0].exact
    assert body(prepared)["messages"][1]["reasoning"] == "hm"


SIGNED = {"extra_content": {"google": {"thought_signature": "abc"}}}
DUMMY = {"google": {"thought_signature": "skip_thought_signature_validator"}}
GEMINI = "generativelanguage.googleapis.com"


@pytest.mark.parametrize("host", [GEMINI, "us-central1-aiplatform.googleapis.com"])
def test_signatures_of_calls(host: str) -> None:
    """Calls of others get Google's own value for them; signed ones keep theirs, and so do their siblings."""
    for made, extra in (
        (turn({"tool_calls": [call()]}, scope="elsewhere"), [DUMMY]),
        (turn({"tool_calls": [call()]}, scope=host), [DUMMY]),
        (turn({"tool_calls": [call(**SIGNED), call("c2")]}, scope=host), [SIGNED["extra_content"], None]),
    ):
        given = ModelInput().user("a").turn(made)
        for item in made.tool_calls:
            given = given.tool_result(item.id, "seen")
        sent = messages(given, host, "gemini-3.1-pro")[1]["tool_calls"]
        assert [one.get("extra_content") for one in sent] == extra
    older = ModelInput().user("a").turn(turn({"tool_calls": [call()]}, scope="elsewhere"))
    assert (
        "extra_content"
        not in messages(older.tool_result("call_1", "x"), host, "gemini-2.5-pro")[1]["tool_calls"][0]
    )


@pytest.mark.parametrize("scope", ["gateway.example", "elsewhere"])
def test_one_id_in_two_turns(scope: str) -> None:
    """The second call gets another id with its result, and a longer request repeats it."""
    made = ModelInput()
    for _ in range(2):
        made = made.user("a").turn(turn({"tool_calls": [call("f:0")]}, scope=scope)).tool_result("f:0", "x")
    short, long = messages(made, "gateway.example"), messages(made.user("b"), "gateway.example")
    calls = [m["tool_calls"][0]["id"] for m in short if "tool_calls" in m]
    assert calls == [m["tool_call_id"] for m in short if m["role"] == "tool"]
    assert len(set(calls)) == 2
    assert long[: len(short)] == short


# --- tools and schemas -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "strict"),
    [
        ("api.openai.com", True),
        ("127.0.0.1:8000", True),
        ("10.0.0.5:9000", True),
        ("api.cerebras.ai", None),
        ("gateway.example", None),
    ],
)
def test_chat_strict_tools(host: str, strict: bool | None) -> None:
    """`strict` is sent where the host takes it: of tools, and of the forced value tool."""
    options = OpenAIOptions(structured="tool")
    request = body(
        prepare(
            ModelInput().user("x"),
            via=at(host),
            tools=ToolPlan(head=(STRICT, tool())),
            output=OUTPUT,
            options=options,
        )
    )
    given = [one["function"].get("strict") for one in request["tools"]]
    assert given == [strict, None, strict]


def test_all_of_json_schema() -> None:
    """A server with a grammar gets each constraint; elsewhere the description says what was dropped."""
    for host, dropped in (("localhost:8000", ()), ("api.openai.com", ("$.s: maxLength 5",))):
        prepared = prepare(ModelInput().user("x"), via=at(host), output=OUTPUT)
        field = body(prepared)["response_format"]["json_schema"]["schema"]["properties"]["s"]
        assert ("maxLength" in field) is not bool(dropped)
        assert prepared.dropped_constraints == dropped


def chosen(plan: ToolPlan, host: str, model: str = "m", **given: Any) -> Any:
    return body(prepare(ModelInput().user("x"), via=at(host, model), tools=plan, **given)).get("tool_choice")


@pytest.mark.parametrize(("host", "model"), [("api.z.ai", "glm-5.3"), ("api.llama.com", "Llama-4")])
def test_hosts_that_take_auto_only(host: str, model: str) -> None:
    """A plain turn behind tools leaves the choice out; a required call is refused by name."""
    assert chosen(ToolPlan(head=(STRICT,), choice="none"), host, model) is None
    assert chosen(ToolPlan(head=(STRICT,)), host, model) is None
    for plan in (
        ToolPlan(head=(STRICT,), choice="any"),
        ToolPlan(head=(STRICT,), choice="tool", tool="look"),
    ):
        with pytest.raises(BadValue, match="does not accept a required call"):
            chosen(plan, host, model)
    with pytest.raises(BadValue, match="tool_choice"):
        prepare(
            ModelInput().user("x"),
            via=at(host, model),
            output=OUTPUT,
            options=OpenAIOptions(structured="tool"),
        )


@pytest.mark.parametrize(
    ("host", "model"), [("api.deepseek.com", "deepseek-v4-pro"), ("dashscope.aliyuncs.com", "qwen3.5-plus")]
)
def test_hosts_that_take_auto_only_while_thinking(host: str, model: str) -> None:
    """With thinking off, by the builder or by a member of the host, calls can be required."""
    plan = ToolPlan(head=(STRICT,), choice="any")
    named = {"type": "function", "function": {"name": "look"}}
    with pytest.raises(BadValue, match="turn thinking off"):
        chosen(plan, host, model)
    assert chosen(plan, host, model, effort="none") == named
    off = {"thinking": {"type": "disabled"}, "enable_thinking": False}
    assert chosen(plan, host, model, options=OpenAIOptions(extra_body=off)) == named
    assert chosen(plan, host, "deepseek-chat") == named


def test_one_tool_left_is_named() -> None:
    """More servers enforce a named tool than a required one."""
    other = ToolDef("other", STRICT.schema)
    assert chosen(ToolPlan(head=(STRICT, other), choice="any"), "api.groq.com") == "required"
    one = ToolPlan(head=(STRICT, other), available=("other",), choice="any")
    assert chosen(one, "api.groq.com") == {"type": "function", "function": {"name": "other"}}


def test_chat_refused_before_sending() -> None:
    """What the host refuses is refused by the name of its field."""
    for host, limit in (("api.openai.com", 4), ("api.z.ai", 1), ("api.moonshot.ai", 5)):
        assert (
            body(prepare(ModelInput().user("x"), via=at(host), stop=("a",) * limit))["stop"] == ["a"] * limit
        )
        with pytest.raises(BadValue, match=f"accepts at most {limit}") as caught:
            prepare(ModelInput().user("x"), via=at(host), stop=("a",) * (limit + 1))
        assert caught.value.field == "stop"
    long = ToolPlan(head=(ToolDef("n" * 65, STRICT.schema),))
    with pytest.raises(BadValue, match="longer than 64"):
        prepare(ModelInput().user("x"), tools=long)
    assert prepare(ModelInput().user("x"), via=at("localhost:8000"), tools=long)


# --- output bounds and effort ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "bound"),
    [
        *(
            (m, 16_384)
            for m in ("deepseek-v4-pro", "glm-4.6", "kimi-k2.6", "qwen3-max-thinking", "MiniMax-M2.5")
        ),
        *(
            (m, 16_384)
            for m in ("grok-4", "gemini-2.5-flash", "openai/gpt-oss-20b", "o3", "gpt-5", "new-model")
        ),
        *(
            (m, 4_096)
            for m in ("gpt-4o", "llama3.1:8b", "meta-llama/Llama-3.3-70B-Instruct", "deepseek-chat")
        ),
        *(
            (m, 4_096)
            for m in ("anthropic/claude-sonnet-4.5", "gemini-2.0-flash", "grok-4-fast-non-reasoning")
        ),
    ],
)
def test_room_to_reason(model: str, bound: int) -> None:
    """A model that may reason unasked gets room for it; one that is known not to gets the small bound."""
    prepared = prepare(ModelInput().user("x"), via=at("gateway.example", model))
    sent = body(prepared)
    assert (sent.get("max_tokens") or sent.get("max_completion_tokens")) == bound
    assert prepared.implicit_bound == prepared.estimate.output_tokens == bound


def test_whose_bound() -> None:
    """The turn's and the adapter's are no implicit ones; without a budget some hosts get none."""
    made, own = ModelInput().user("x"), at("localhost:8000", "qwen3")
    assert prepare(made, via=own, max_output_tokens=5).implicit_bound is None
    assert prepare(made, via=at("localhost:8000", default_max_output_tokens=7)).implicit_bound is None
    llm = lutum.Lutum(own)
    assert "max_tokens" not in json.loads(llm.text_turn("x").preview().body)
    limited = lutum.Lutum(own, budget=lutum.Budget(tokens=100_000))
    assert json.loads(limited.text_turn("x").preview().body)["max_tokens"] == 16_384
    one = llm.text_turn("x").limit(lutum.RequestBudget(tokens=100_000))
    assert json.loads(one.preview().body)["max_tokens"] == 16_384
    assert llm.text_turn("x").preview().estimate.output_tokens == 16_384


async def test_a_budget_that_is_too_small_for_the_bound() -> None:
    """The refusal says what to do."""
    llm = lutum.Lutum(at("localhost:8000", "qwen3"), budget=lutum.Budget(tokens=1_000))
    said = r"this model reserves 16,384 output tokens; set \.max_output_tokens\(n\) or raise the limit"
    with pytest.raises(lutum.BudgetExceeded, match=said):
        await llm.text_turn("x").collect()
    with pytest.raises(lutum.BudgetExceeded) as caught:
        await llm.text_turn("x").max_output_tokens(2_000).collect()
    assert "this model reserves" not in str(caught.value)


async def test_a_turn_that_was_cut_at_the_implicit_bound(caplog: pytest.LogCaptureFixture) -> None:
    """A warning names the bound; a bound of yours needs none."""
    server = WireServer([Reply("x", stop_reason="length")] * 2)
    for set_bound, expected in ((False, 1), (True, 0)):
        caplog.clear()
        async with httpx.AsyncClient(transport=server.transport()) as client:
            via = OpenAIChatAdapter("m", base_url=server.url, api_key="k", http_client=client)
            llm = lutum.Lutum(via, budget=lutum.Budget(tokens=100_000))
            made = llm.text_turn("x")
            with caplog.at_level(logging.WARNING, "lutum"):
                result = await (made.max_output_tokens(9) if set_bound else made).collect()
            assert result.finish_reason == "length"
        said = [r.getMessage() for r in caplog.records if "cut at 16,384 output tokens" in r.getMessage()]
        assert len(said) == expected


@pytest.mark.parametrize(
    ("host", "model", "level", "members"),
    [
        ("api.openai.com", "gpt-5.2", "max", {"reasoning_effort": "xhigh"}),
        ("api.openai.com", "o3", "max", {"reasoning_effort": "high"}),
        ("api.openai.com", "gpt-5.1", "none", {"reasoning_effort": "none"}),
        ("api.openai.com", "gpt-4o", "none", {}),
        ("api.deepseek.com", "deepseek-v4-pro", "none", {"thinking": {"type": "disabled"}}),
        ("api.z.ai", "glm-5.3", "high", {"thinking": {"type": "enabled"}}),
        ("dashscope.aliyuncs.com", "qwen3.5-plus", "none", {"enable_thinking": False}),
        ("openrouter.ai", "anthropic/claude-sonnet-4.5", "low", {"reasoning": {"effort": "low"}}),
        ("gateway.example", "m", "medium", {"reasoning_effort": "medium"}),
    ],
)
def test_chat_effort(host: str, model: str, level: str, members: dict[str, Any]) -> None:
    """The portable effort goes out as the host's own setting."""
    sent = body(prepare(ModelInput().user("x"), via=at(host, model), effort=level))
    names = ("reasoning_effort", "thinking", "enable_thinking", "reasoning")
    assert {name: sent[name] for name in names if name in sent} == members


@pytest.mark.parametrize(
    ("host", "model", "level"),
    [
        ("api.openai.com", "gpt-4o", "low"),
        ("api.openai.com", "o3", "none"),
        ("api.deepseek.com", "deepseek-v4-pro", "low"),
        ("api.minimax.io", "MiniMax-M2.5", "high"),
    ],
)
def test_chat_effort_that_cannot_be(host: str, model: str, level: str) -> None:
    """What the host or the model has no setting for is refused."""
    with pytest.raises(BadValue) as caught:
        prepare(ModelInput().user("x"), via=at(host, model), effort=level)
    assert caught.value.field == "effort"


def test_whose_effort() -> None:
    """The turn's options go before its builder, and the builder before the adapter's options."""
    via = at("api.openai.com", "gpt-5.2", options=OpenAIOptions(effort="minimal"))
    made = ModelInput().user("x")
    assert body(prepare(made, via=via))["reasoning_effort"] == "minimal"
    assert body(prepare(made, via=via, effort="high"))["reasoning_effort"] == "high"
    options = OpenAIOptions(effort="low")
    assert body(prepare(made, via=via, effort="high", options=options))["reasoning_effort"] == "low"
    with pytest.raises(BadValue, match="effort"):
        lutum.Settings(effort="huge")  # type: ignore[arg-type]  # a value of no level
    router = OpenRouterAdapter(
        "m/x", api_key="k", options=OpenRouterOptions(reasoning={"effort": "low", "exclude": True})
    )
    turn_ = lutum.Lutum(router).text_turn("x")
    assert json.loads(turn_.preview().body)["reasoning"] == {"effort": "low", "exclude": True}
    sent = json.loads(turn_.effort("max").preview().body)["reasoning"]
    assert sent == {"effort": "xhigh", "exclude": True}
    own = turn_.effort("max").ext(OpenRouterOptions(reasoning={"max_tokens": 9}))
    assert json.loads(own.preview().body)["reasoning"] == {"max_tokens": 9}


# --- options -----------------------------------------------------------------------------------


def test_penalties_and_logit_bias() -> None:
    """They have options, which are checked."""
    options = OpenAIOptions(frequency_penalty=0.5, presence_penalty=-1, logit_bias={"50256": -100})
    sent = body(prepare(ModelInput().user("x"), options=options))
    assert sent["frequency_penalty"] == 0.5
    assert sent["presence_penalty"] == -1
    assert sent["logit_bias"] == {"50256": -100}
    for bad in ({"frequency_penalty": 3.0}, {"presence_penalty": -2.5}, {"logit_bias": {"1": 101}}):
        with pytest.raises(BadValue):
            OpenAIOptions(**bad)


def with_extra(extra: dict[str, Any], **given: Any) -> Prepared:
    options = OpenAIOptions(extra_body=extra, **given)
    return prepare(ModelInput().user("x"), via=at("api.openai.com", "gpt-5"), output=OUTPUT, options=options)


def test_extra_body_is_merged() -> None:
    """Objects get the members that they lack; the schema and the request for usage stay."""
    sent = body(with_extra({"response_format": {"x": 1}, "stream_options": {"include_obfuscation": False}}))
    assert sent["response_format"].keys() == {"type", "json_schema", "x"}
    assert sent["stream_options"] == {"include_usage": True, "include_obfuscation": False}
    assert body(with_extra({"temperature": 0.5}))["temperature"] == 0.5


@pytest.mark.parametrize(
    ("extra", "given", "field"),
    [
        ({"response_format": {"type": "text"}}, {}, "extra_body.response_format.type"),
        ({"response_format": None}, {}, "extra_body.response_format"),
        ({"reasoning_effort": "high"}, {"effort": "low"}, "extra_body.reasoning_effort"),
    ],
)
def test_extra_body_that_would_drop_something(
    extra: dict[str, Any], given: dict[str, Any], field: str
) -> None:
    """A second value for a schema or an effort is refused."""
    with pytest.raises(BadValue) as caught:
        with_extra(extra, **given)
    assert caught.value.field == field


def test_options_of_other_providers() -> None:
    """A preview lists those that the adapter does not read; a type of yours is for your hooks."""
    from lutum_claude import ClaudeOptions

    class Mine(msgspec.Struct, frozen=True):
        tier: str = "x"

    turn_ = lutum.Lutum(at("api.openai.com")).text_turn("x").ext(ClaudeOptions(), OpenAIOptions(), Mine())
    assert turn_.preview().unused_options == ("ClaudeOptions",)
    router = lutum.Lutum(OpenRouterAdapter("m/x", api_key="k")).text_turn("x")
    assert router.ext(OpenAIOptions(), OpenRouterOptions()).preview().unused_options == ()


def test_a_profile_of_the_caller_is_left_alone() -> None:
    """No rule of a model is laid over a profile that was given."""
    profile = Profile(max_tokens="max_tokens", alternate=False)
    prepared = prepare(ModelInput().user("x"), via=at("gateway.example", "gpt-5", profile=profile))
    assert body(prepared)["max_tokens"] == 16_384
