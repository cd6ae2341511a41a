"""Requests: golden bodies, what goes back to whom, and that requests only grow."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, strategies as st
from openai_chat.chat_wire import MODEL, SCHEMA, SCOPE, adapter, body, call, prepare, tool, turn

import lutum
from lutum.abc import OutputFormat, ToolPlan
from lutum_openai import OpenAIOptions
from lutum_openai._hosts import PROFILES, profile_of
from lutum_openai._profiles import UNKNOWN, Profile
from lutum_openai.chat import _items, _turn

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 16
GOLDEN = (
    b'{"model":"gpt-4o","tools":[{"type":"function","function":{"name":"look","description":"Looks.",'
    b'"parameters":{"type":"object","properties":{}}}}],"messages":[{"role":"system","content":"Be brief."},'
    b'{"role":"user","content":"hi"},{"role":"assistant","content":null,"tool_calls":[{"id":"call_1",'
    b'"type":"function","function":{"name":"look","arguments":"{\\"n\\": 1e2}"}}]},'
    b'{"role":"tool","tool_call_id":"call_1","content":"seen"},'
    b'{"role":"developer","content":"Now in French."},'
    b'{"role":"user","content":[{"type":"text","text":"this?"},{"type":"image_url","image_url":{"url":'
    b'"data:image/png;base64,iVBORw0KGgoAAAAAAAAAAAAAAAAAAAAA"}}]}],"tool_choice":"auto",'
    b'"max_completion_tokens":4096,"temperature":0.5,"stop":["END"],"seed":7,"stream":true,'
    b'"stream_options":{"include_usage":true}}'
)


def asked(*more: lutum.Item) -> lutum.Transcript:
    transcript = lutum.ModelInput().system("Be brief.").user("hi").transcript
    for item in more:
        transcript = transcript.append(item)
    return transcript


def result(id: str = "call_1", text: str = "seen", **given: Any) -> lutum.ToolResult:
    return lutum.ToolResult(id, (lutum.Text(text),), **given)


def sent(*items: lutum.Item, host: str = SCOPE, **given: Any) -> Any:
    return body(prepare(asked(*items), via=adapter(host, **given)))["messages"][2:]


def test_golden_body() -> None:
    """Everything in its place and in order: nothing hoisted, arguments and lexemes as received."""
    made = turn({"content": None, "tool_calls": [call(arguments='{"n": 1e2}')]})
    transcript = lutum.ModelInput(asked(made, result())).developer("Now in French.")
    transcript = transcript.user([lutum.Text("this?"), lutum.Image.from_bytes(PNG)])
    plan = ToolPlan(head=(tool(description="Looks."),))
    prepared = prepare(transcript, tools=plan, temperature=0.5, stop=("END",), seed=7)
    assert prepared.body == GOLDEN
    assert prepared.url == "https://api.openai.com/v1/chat/completions"
    assert prepared.headers == (("content-type", "application/json"), ("accept", "text/event-stream"))
    assert prepared.secret_headers == ("authorization",)
    assert prepared.estimate.output_tokens == 4096


# --- what goes back ----------------------------------------------------------------------------


def test_exact_replay() -> None:
    """A turn goes back to its scope with unknown members and lexemes, minus what is response-only."""
    wire = (
        b'{"role":"assistant","x":{"n":1e2},"content":"Rhine","refusal":null,"annotations":[{"a":1}],'
        b'"function_call":null,"audio":{"id":"audio_1","data":"QQ==","transcript":"Rhine"},'
        b'"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"arguments":"{}","name":"look"},'
        b'"extra_content":{"s":1.50}}]}'
    )
    prepared = prepare(asked(turn(wire), result()))
    assert [form.exact for form in prepared.forms] == [True]
    assert (
        b'{"role":"assistant","content":"Rhine","tool_calls":[{"id":"call_1","type":"function","function":'
        b'{"arguments":"{}","name":"look"},"extra_content":{"s":1.50}}],"audio":{"id":"audio_1"},"x":{"n":1e2}}'
    ) in prepared.body
    assert prepared.unbounded == ("a turn with audio",)


def test_elsewhere_the_view() -> None:
    """Another scope, an inexact turn and another adapter's go out as text and calls, and say why."""
    message = {"content": "Rhine", "reasoning": "hm", "x": 1, "tool_calls": [call()]}
    for made, reason in (
        (
            turn(message, scope="api.groq.com"),
            "it was made at 'api.groq.com', and this request goes to 'api.openai.com'",
        ),
        (turn(message, inexact_reason="because"), "because"),
        (msgspec.structs.replace(turn(message), adapter="claude"), "it was made by the adapter 'claude'"),
    ):
        prepared = prepare(asked(made, result()))
        assert [(form.exact, form.reason) for form in prepared.forms] == [(False, reason)]
        assert body(prepared)["messages"][2] == {
            "role": "assistant",
            "content": "Rhine",
            "tool_calls": [call()],
        }


def test_malformed_arguments_go_back_as_received() -> None:
    """Cut arguments are still a string, so the body is JSON and holds what the model wrote."""
    made = turn({"content": None, "tool_calls": [call(arguments='{"x":')]})
    assert not made.exact
    assert sent(made, result(is_error=True))[0]["tool_calls"][0]["function"]["arguments"] == '{"x":'


def test_content_as_received() -> None:
    """String, parts or null: as it came; null is said as nothing where no call speaks for it."""
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "text", "text": "x"},
    ]
    assert sent(turn({"content": parts}))[0]["content"] == parts
    assert sent(turn({"content": ""}))[0]["content"] == ""
    assert sent(turn({"content": None, "tool_calls": [call()]}), result())[0]["content"] is None
    assert sent(turn({"content": None, "reasoning": "cut"}))[0]["content"] == ""
    assert "refusal" not in sent(turn({"content": "x", "refusal": ""}))[0]
    assert sent(turn({"content": None, "refusal": "no"}))[0]["refusal"] == "no"


REASONED = {
    "content": "x",
    "reasoning": "a",
    "reasoning_content": "b",
    "reasoning_details": [{"type": "reasoning.encrypted", "data": "X"}],
    "tool_calls": [call()],
}


@pytest.mark.parametrize(
    ("host", "members"),
    [
        ("api.groq.com", set()),
        ("api.cerebras.ai", {"reasoning"}),
        ("api.deepseek.com", {"reasoning_content"}),
        ("openrouter.ai", {"reasoning_details"}),
        ("api.z.ai", {"reasoning_content"}),
        ("localhost", {"reasoning", "reasoning_content", "reasoning_details"}),
    ],
)
def test_reasoning_by_host(host: str, members: set[str]) -> None:
    """Each host gets the reasoning members it takes, and an unknown one those it used itself."""
    message = sent(turn(REASONED, scope=host), result(), host=host)[0]
    assert {name for name in message if name.startswith("reasoning")} == members
    assert all(message[name] == REASONED[name] for name in members)


def test_required_reasoning() -> None:
    """DeepSeek refuses a tool round without `reasoning_content`: it is empty where it said none itself."""
    host = "api.deepseek.com"
    own = turn({"content": "", "tool_calls": [call()]}, scope=host)
    foreign = msgspec.structs.replace(
        turn({"content": "", "reasoning": "hm", "tool_calls": [call()]}), adapter="x"
    )
    lone = result("call_9", name="look", arguments="{}")
    for items, words in (((own, result()), ""), ((foreign, result()), ""), ((lone,), "")):
        assert sent(*items, host=host)[0]["reasoning_content"] == words
    assert "reasoning_content" not in sent(turn({"content": "x"}, scope=host), host=host)[0]


def test_a_profile_of_your_own() -> None:
    """`profile=` replaces the table's, and `max_tokens_field=` its member for the bound."""
    profile = Profile(reasoning=("reasoning",), developer=True)
    message = sent(turn(REASONED), result(), profile=profile)[0]
    assert "reasoning" in message
    assert "reasoning_details" not in message
    request = body(prepare(asked(), via=adapter(max_tokens_field="max_tokens")))
    assert request["max_tokens"] == 4096


def test_profiles_by_host() -> None:
    """An entry is for a host and all under it, whatever the port."""
    assert profile_of("x.openai.azure.com") is PROFILES["openai.azure.com"]
    assert profile_of("API.OPENAI.COM:443") is PROFILES["api.openai.com"]
    assert profile_of("localhost:8080") is PROFILES["llama.cpp"]
    assert profile_of("gateway.example") is UNKNOWN
    assert profile_of("notapi.openai.com.evil.example") is UNKNOWN


# --- items -------------------------------------------------------------------------------------


def test_tool_results() -> None:
    """Text as a string; errors say so in words; a lone result brings its call; calls of old their name."""
    made = turn({"content": None, "tool_calls": [call()]})
    assert sent(made, result(is_error=True))[1]["content"] == "ERROR: seen"
    many = lutum.ToolResult("call_1", (lutum.Text("a"), lutum.Text("b")))
    assert sent(made, many)[1] == {"role": "tool", "tool_call_id": "call_1", "content": "ab"}
    lone = result("call_9", name="look", arguments='{"a":1}')
    assert sent(lone) == [
        {"role": "assistant", "content": None, "tool_calls": [call("call_9", arguments='{"a":1}')]},
        {"role": "tool", "tool_call_id": "call_9", "content": "seen"},
    ]
    legacy = turn({"content": None, "function_call": {"name": "look", "arguments": "{}"}})
    assert sent(legacy, result("function_call:look")) == [
        {"role": "assistant", "content": None, "function_call": {"name": "look", "arguments": "{}"}},
        {"role": "function", "name": "look", "content": "seen"},
    ]


def test_content_may_be_left_out() -> None:
    """Where null is refused, a message of calls alone has no content: own turns, others', lone results."""
    strict = Profile(null_content=False, empty_assistant=True)
    message = {"role": "assistant", "tool_calls": [call()]}
    own = turn({"content": None, "tool_calls": [call()]})
    other = turn({"content": None, "tool_calls": [call()]}, scope="elsewhere")
    lone = result("call_1", name="look", arguments="{}")
    for items in ((own, result("call_1")), (other, result("call_1")), (lone,)):
        assert sent(*items, profile=strict)[0] == message
    assert sent(turn({"content": None}), profile=strict) == [{"role": "assistant", "content": ""}]


def test_call_ids() -> None:
    """Own ids go back as they came; those of others are made to fit, on both sides of the pair."""
    long = "toolu_" + "x" * 60
    own = turn({"content": None, "tool_calls": [call(long)]})
    assert [sent(own, result(long))[i][name] for i, name in ((0, "tool_calls"), (1, "tool_call_id"))] == [
        [call(long)],
        long,
    ]
    foreign = msgspec.structs.replace(own, adapter="claude")
    for host in (SCOPE, "api.mistral.ai"):
        asks, answers = sent(foreign, result(long), host=host)
        assert asks["tool_calls"][0]["id"] == answers["tool_call_id"] != long
        assert len(answers["tool_call_id"]) == 9


def test_chat_media() -> None:
    """PDFs are file parts, plain text is text, and what Chat cannot take is refused by name."""
    pdf = lutum.Document.from_bytes(b"%PDF-1.4 /Type /Page ", title="a")
    text = lutum.Document.from_text("body", title="T")
    (message,) = body(prepare(lutum.ModelInput().user([pdf, text])))["messages"]
    assert message["content"][0]["file"]["filename"] == "a.pdf"
    assert message["content"][0]["file"]["file_data"].startswith("data:application/pdf;base64,")
    assert message["content"][1] == {"type": "text", "text": "T\n\nbody"}
    by_url = lutum.ModelInput().user([lutum.Document.from_url("https://a.example/x.pdf")])
    with pytest.raises(lutum.BadValue, match=r"input\[0\]\.content\[0\]"):
        prepare(by_url)
    assert prepare(by_url, via=adapter("openrouter.ai")).unbounded == ("input[0].content[0]",)
    for bad in (
        lutum.Image.from_file_id("file_1"),
        lutum.Image(media_type="image/bmp", data=b"x"),
        lutum.Raw("claude", "{}"),
    ):
        with pytest.raises(lutum.BadValue, match=r"input\[0\]\.content\[0\]"):
            prepare(lutum.ModelInput().user([bad]))
    with pytest.raises(lutum.BadValue, match="contains text only"):
        prepare(lutum.ModelInput().item(lutum.Message("system", (lutum.Image.from_bytes(PNG),))))


def test_raw() -> None:
    """Raw items are whole messages, raw parts content parts."""
    item = lutum.Raw("openai-chat", ' {"role":"user","name":"bob","content":"hi"} ')
    part = lutum.Raw("openai-chat", '{"type":"input_audio","input_audio":{"data":"QQ==","format":"wav"}}')
    prepared = prepare(lutum.ModelInput().item(item).user([part]))
    assert b'"messages":[{"role":"user","name":"bob","content":"hi"},' in prepared.body
    assert prepared.unbounded == ("input[1].content[0]",)


def test_developer_items() -> None:
    """Where the role is unknown, developer items are system messages; both stay where they stand."""
    transcript = lutum.ModelInput().user("a").developer("b").user("c")
    for host, role in ((SCOPE, "developer"), ("openrouter.ai", "developer"), ("localhost", "user")):
        messages = body(prepare(transcript, via=adapter(host)))["messages"]
        assert [message["role"] for message in messages] == ["user", role, "user"]


def test_nothing_to_send() -> None:
    """An empty input is refused."""
    with pytest.raises(lutum.BadValue, match="input"):
        prepare(lutum.Transcript())


# --- tools, values, options --------------------------------------------------------------------


def choice(host: str = SCOPE, **plan: Any) -> Any:
    plan.setdefault("head", (tool(), tool("peek")))
    return body(prepare(asked(), via=adapter(host), tools=ToolPlan(**plan))).get("tool_choice")


def test_chat_tool_choice() -> None:
    """What the plan says, by `allowed_tools` where the host takes it."""
    assert choice() == "auto"
    assert choice(choice="none") == "none"
    assert choice(choice="any") == "required"
    assert choice(choice="tool", tool="peek") == {"type": "function", "function": {"name": "peek"}}
    assert choice(available=("peek",)) == {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "peek"}}]},
    }
    assert choice("localhost", available=("peek",)) == "auto"
    assert choice(available=()) == "none"
    assert choice(head=()) is None


def test_new_tools() -> None:
    """New tools stand behind the head's, and the turn says that the request was not append-only."""
    plan = ToolPlan(head=(tool(), tool("peek")), new=(tool("look", "Otherwise."), tool("find")))
    prepared = prepare(asked(), tools=plan)
    names = [(t["function"]["name"], t["function"].get("description")) for t in body(prepared)["tools"]]
    assert names == [("look", "Otherwise."), ("peek", None), ("find", None)]
    assert prepared.inexact_reason == "tools were sent that the first turn did not have: look, find"
    with pytest.raises(lutum.BadValue, match="tools"):
        prepare(asked(), tools=ToolPlan(head=(tool("a b"),)))


def test_chat_encode_structured() -> None:
    """By a strict schema, by JSON mode with the schema in words, or by a forced tool."""
    output = OutputFormat("City[x]", SCHEMA)
    request = body(prepare(asked(), output=output))
    assert request["response_format"]["json_schema"]["name"] == "City_x_"
    assert request["response_format"]["json_schema"]["strict"] is True
    request = body(prepare(asked(), output=output, via=adapter("api.deepseek.com")))
    assert request["response_format"] == {"type": "json_object"}
    assert SCHEMA in request["messages"][-1]["content"]
    plain = OutputFormat("City", SCHEMA)
    by_tool = OpenAIOptions(structured="tool")
    request = body(prepare(asked(), output=plain, options=by_tool))
    assert request["tool_choice"] == {"type": "function", "function": {"name": "City"}}
    assert request["tools"][0]["function"]["parameters"] == json.loads(SCHEMA)
    with pytest.raises(lutum.BadValue, match="already has the name"):
        prepare(asked(), output=OutputFormat("look", SCHEMA), options=by_tool, tools=ToolPlan(head=(tool(),)))


def test_chat_options() -> None:
    """Options by their Chat names; those of the Responses API are refused by name."""
    given = OpenAIOptions(
        effort="low", top_logprobs=0, store=True, metadata={"a": "b"}, extra_body={"n": 2, "x": None}
    )
    prepared = prepare(asked(), options=given)
    request = body(prepared)
    assert (request["reasoning_effort"], request["logprobs"], request["store"]) == ("low", True, True)
    assert "top_logprobs" not in request
    assert (request["n"], request["x"]) == (2, None)
    assert prepared.estimate.output_tokens == 2 * 16_384
    for bad in (
        OpenAIOptions(summary="auto"),
        OpenAIOptions(previous_response_id="r"),
        OpenAIOptions(truncation="auto"),
    ):
        with pytest.raises(lutum.BadValue, match="Responses API"):
            prepare(asked(), options=bad)


def test_bounds() -> None:
    """Whatever bounds the output goes on the wire, under the host's name for it."""
    assert body(prepare(asked(), max_output_tokens=9))["max_completion_tokens"] == 9
    assert body(prepare(asked(), via=adapter("localhost")))["max_tokens"] == 4096
    assert body(prepare(asked(), via=adapter(default_max_output_tokens=11)))["max_completion_tokens"] == 11
    reasoning = prepare(asked(), model="gpt-5-mini")
    assert body(reasoning)["max_completion_tokens"] == 16_384
    assert reasoning.hidden_reasoning
    assert prepare(asked(), options=OpenAIOptions(extra_body={"web_search_options": {}})).unbounded == (
        "extra_body.web_search_options",
    )


def test_mistral() -> None:
    """Mistral reports usage unasked, refuses `stream_options`, and has another name for the seed."""
    request = body(prepare(asked(), via=adapter("api.mistral.ai"), seed=3))
    assert "stream_options" not in request
    assert request["random_seed"] == 3


def test_cache_control() -> None:
    """Breakpoints are opt-in, stand before the first ephemeral, and change nothing that is cached."""
    note = lutum.Message("user", (lutum.Text("now"),))
    transcript = asked(turn({"content": "Rhine"}))
    plain = prepare(transcript, ephemerals=((3, note),))
    marked = prepare(transcript, ephemerals=((3, note),), via=adapter(cache_control="1h"))
    mark = {"type": "ephemeral", "ttl": "1h"}
    assert body(marked)["messages"] == [
        {"role": "system", "content": [{"type": "text", "text": "Be brief.", "cache_control": mark}]},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [{"type": "text", "text": "Rhine", "cache_control": mark}]},
        {"role": "user", "content": "now"},
    ]
    assert adapter().first_difference(plain, marked) is None
    assert prepare(transcript, ephemerals=((3, note),)).body == plain.body


# --- requests only grow ------------------------------------------------------------------------


def test_one_item_is_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Request 1,001 of a conversation encodes one item."""
    transcript = lutum.Transcript()
    for number in range(1_000):
        transcript = transcript.append(lutum.Message("user", (lutum.Text(f"{number}"),)))
    prepare(transcript)
    seen = list[lutum.Item]()
    whole = _items.ChatItemEncoder.piece

    def counted(self: Any, item: lutum.Item, field: str, before: lutum.Transcript) -> Any:
        seen.append(item)
        return whole(self, item, field, before)

    monkeypatch.setattr(_items.ChatItemEncoder, "piece", counted)
    prepare(transcript.append(turn({"content": "last"})))
    assert len(seen) == 1


def test_chat_first_difference() -> None:
    """The path of what is not as it was: tools, then messages; ephemerals and options do not count."""
    plan = ToolPlan(head=(tool(),))
    first = prepare(asked(), tools=plan)
    note = lutum.Message("system", (lutum.Text("now"),))
    grown = prepare(asked(turn({"content": "a"})), tools=plan, temperature=1.0, ephemerals=((1, note),))
    via = adapter()
    assert via.first_difference(first, grown) is None
    assert via.first_difference(first, prepare(asked())) == "$.tools[0]"
    other = prepare(lutum.ModelInput().system("Be brief.").user("bye"), tools=plan, ephemerals=((0, note),))
    assert via.first_difference(first, other) == "$.messages[2]"
    by_tool = prepare(
        asked(),
        tools=ToolPlan(head=(tool(),)),
        output=OutputFormat("Value", SCHEMA),
        options=OpenAIOptions(structured="tool"),
    )
    assert via.first_difference(by_tool, grown) == "$.tools[1]"
    assert via.first_difference(grown, first) == "$.messages[2]"


TEXTS = st.text(max_size=8)
TURNS = st.builds(
    lambda words, reasoning, scope, exact: turn(
        {"content": words, "reasoning_content": reasoning, "x": words},
        scope=scope,
        inexact_reason=None if exact else "test",
    ),
    TEXTS,
    TEXTS,
    st.sampled_from([SCOPE, "localhost", "api.deepseek.com"]),
    st.booleans(),
)
ITEMS = st.one_of(
    st.builds(
        lambda role, text: lutum.Message(role, (lutum.Text(text),)),
        st.sampled_from(["user", "system", "developer", "assistant"]),
        TEXTS,
    ),
    TURNS,
)


@given(
    st.lists(ITEMS, min_size=1, max_size=6),
    st.lists(ITEMS, max_size=4),
    st.sampled_from([SCOPE, "localhost", "api.deepseek.com"]),
)
def test_chat_requests_only_grow(items: list[lutum.Item], more: list[lutum.Item], host: str) -> None:
    """Every longer request begins with the messages of the shorter one, byte for byte."""
    via = adapter(host)
    head = [lutum.Message("system", (lutum.Text("Be brief."),)), lutum.Message("user", (lutum.Text("x"),))]
    short, long = lutum.Transcript([*head, *items]), lutum.Transcript([*head, *items, *more])
    first, second = prepare(short, via=via), prepare(long, via=via)
    before = msgspec.json.decode(first.body, type=dict[str, msgspec.Raw])["messages"]
    after = msgspec.json.decode(second.body, type=dict[str, msgspec.Raw])["messages"]
    assert bytes(after).startswith(bytes(before)[:-1])
    assert via.first_difference(first, second) is None
    assert len(second.forms) == sum(isinstance(item, lutum.CommittedTurn) for item in long)


@given(TEXTS, TEXTS)
def test_replay_is_a_fixed_point(words: str, reasoning: str) -> None:
    """A message that went back once goes back the same again."""
    profile = msgspec.structs.replace(profile_of("localhost"), empty_assistant=True)
    once = _turn.replay_message(turn({"x": words, "reasoning": reasoning, "content": words}), profile)
    assert once is not None
    again = _turn.turn_from_message(once, scope=SCOPE, model=MODEL)
    assert _turn.replay_message(again, profile) == once
