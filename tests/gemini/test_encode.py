"""Requests: contents, tools, settings, and what is refused before it is sent."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from gemini.gemini_wire import (
    BYPASS,
    FOUR,
    LOOK,
    SCOPE,
    THREE,
    TWO,
    adapter,
    asked,
    body,
    call,
    frame,
    prepare,
    sent,
    text,
    turn,
)

import lutum
from lutum import Document, Image, ModelInput, Text, ToolResult
from lutum.abc import OutputFormat, ToolPlan
from lutum.testing.wire import check_gemini_request
from lutum_gemini import GeminiAdapter, GeminiOptions

PNG = b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\rIHDR" + b"\x00\x00\x00\x01" * 2
FOREIGN = lutum.CommittedTurn(
    "claude",
    "api.anthropic.com",
    "claude-opus-5-5",
    b"{}",
    (
        lutum.ReasoningItem("hm"),
        lutum.TextItem("Let me look."),
        lutum.ToolCallItem("toolu_1", "look", '{"at":1e2}'),
        lutum.ToolCallItem("toolu_2", "look", '{"at":"y"}'),
    ),
)
PLAN = ToolPlan(head=(LOOK,))
FILM = OutputFormat("Film", '{"type":"object","properties":{"title":{"type":"string","pattern":"^A"}}}')


def result(id: str, words: str = "ok", **given: Any) -> ToolResult:
    return ToolResult(id, (Text(words),), **given)


# --- contents ------------------------------------------------------------------------------------


def test_the_head_is_the_system_instruction() -> None:
    """System and developer items at the beginning; later ones are user text where they stand."""
    made = body(
        prepare(ModelInput().system("Be brief.").developer("And kind.").user("Hi").system("Now French."))
    )
    assert made["systemInstruction"] == {"parts": [{"text": "Be brief."}, {"text": "And kind."}]}
    assert made["contents"] == [
        {"role": "user", "parts": [{"text": "Hi"}]},
        {"role": "user", "parts": [{"text": "<system>\nNow French.\n</system>"}]},
    ]


def test_an_exact_turn() -> None:
    """Every part goes back as it came, with its signature, in one content."""
    made = turn(
        frame(text("hm", thought=True), model=THREE),
        frame(
            call(args={"at": "x"}, thoughtSignature="s1"), call(args={"at": "y"}), model=THREE, finish="STOP"
        ),
        model=THREE,
    )
    first, second = (one.id for one in made.tool_calls)
    request = prepare(ModelInput().user("Hi").turn(made).item(result(first)).item(result(second)), THREE)
    contents = body(request)["contents"]
    assert [content["role"] for content in contents] == ["user", "model", "user"]
    assert contents[1]["parts"] == [
        text("hm", thought=True),
        call(args={"at": "x"}, thoughtSignature="s1"),
        call(args={"at": "y"}),
    ]
    assert contents[2]["parts"] == [{"functionResponse": {"name": "look", "response": {"output": "ok"}}}] * 2
    assert request.forms == (lutum.abc.ReplayForm(True),)


def test_an_id_goes_back_only_if_the_server_gave_it() -> None:
    given = {"functionCall": {"id": "fc1", "name": "look", "args": {}}}
    made = turn(frame(given, call(args={}), finish="STOP"))
    first, second = (one.id for one in made.tool_calls)
    parts = [
        part
        for _, part in sent(
            prepare(ModelInput().user("Hi").turn(made).item(result(first)).item(result(second)))
        )
    ]
    answers = [part["functionResponse"] for part in parts if "functionResponse" in part]
    assert (answers[0]["id"], "id" in answers[1]) == ("fc1", False)


def test_results_are_in_the_order_of_the_calls() -> None:
    """Calls without ids are matched by name and order, whatever order the results were pushed in."""
    made = turn(frame(call(args={"at": "x"}), call(args={"at": "y"}), finish="STOP"))
    first, second = (one.id for one in made.tool_calls)
    request = prepare(
        ModelInput().user("Hi").turn(made).item(result(second, "two")).item(result(first, "one"))
    )
    (content,) = body(request)["contents"][2:]
    said = [part["functionResponse"]["response"]["output"] for part in content["parts"]]
    assert said == ["one", "two"]


def test_errors_are_marked() -> None:
    made = turn(frame(call(args={}), finish="STOP"))
    request = prepare(
        ModelInput().user("Hi").turn(made).item(result(made.tool_calls[0].id, "no", is_error=True))
    )
    assert sent(request)[-1][1]["functionResponse"]["response"] == {"error": "no"}


@pytest.mark.parametrize(
    ("model", "signed"), [(TWO, False), (THREE, True), (FOUR, True), ("some-model", True)]
)
def test_a_foreign_turn(model: str, signed: bool) -> None:
    """It goes out as its view; a model that demands signatures gets the bypass on the first call only."""
    began = ModelInput().user("Hi").turn(FOREIGN).item(result("toolu_1")).item(result("toolu_2"))
    request = prepare(began, model)
    parts = [part for role, part in sent(request) if role == "model"]
    assert parts[0] == {"text": "Let me look."}
    assert [part.get("thoughtSignature") for part in parts[1:]] == [BYPASS if signed else None, None]
    assert b'"args":{"at":1e2}' in request.body
    assert not any("id" in part.get("functionResponse", {}) for _, part in sent(request))
    assert ("bypass" in request.forms[0].reason) is signed


@pytest.mark.parametrize(
    ("model", "scope", "exact"),
    [
        (THREE, SCOPE, True),
        ("models/" + THREE, SCOPE, True),
        ("gemini-3-flash", SCOPE, True),
        ("some-model", SCOPE, True),
        (TWO, SCOPE, False),
        ("gemini-3-pro-preview", SCOPE, False),
        (THREE, "aiplatform.googleapis.com/p", False),
        (THREE, "api.example.com", False),
    ],
)
def test_signatures_belong_to_model_and_door(model: str, scope: str, exact: bool) -> None:
    made = turn(frame(call(args={}, thoughtSignature="s"), finish="STOP", model=THREE), model=THREE)
    assert adapter().replay_form(made, scope, model).exact is exact


def test_an_unsigned_turn_is_exact_for_every_model() -> None:
    made = turn(frame(text("a"), finish="STOP"))
    assert adapter().replay_form(made, SCOPE, THREE).exact
    assert not adapter().replay_form(made, "elsewhere", THREE).exact


def test_a_routed_model_reads_its_own_turns() -> None:
    """Google answers some models by another one: the one that was asked for reads the turn."""
    asked_for = "gemini-3.7-flash"
    made = turn(
        frame(call(args={}, thoughtSignature="s"), finish="STOP", model="gemini-3.8-flash"), model=asked_for
    )
    assert made.model == "gemini-3.8-flash"
    for model, exact in ((asked_for, True), ("gemini-3.8-flash", True), ("gemini-3.6-flash", False)):
        assert adapter().replay_form(made, SCOPE, model).exact is exact
    loaded = lutum.Transcript.load(ModelInput().user("a").turn(made).transcript.dump())
    assert adapter().replay_form(loaded[1], SCOPE, asked_for).exact  # pyright: ignore[reportArgumentType]


def test_an_unsigned_call_at_a_model_that_demands_signatures() -> None:
    """A call of gemini-2.5 has none, and gemini-3 refuses it: it goes out with the bypass."""
    made = turn(frame(call(args={}), finish="STOP"))
    request = prepare(ModelInput().user("Hi").turn(made).item(result(made.tool_calls[0].id)), THREE)
    assert sent(request)[1][1]["thoughtSignature"] == BYPASS
    assert "requires a signature" in request.forms[0].reason


def test_thoughts_can_be_left_out() -> None:
    """The switch drops summaries of thoughts and keeps signatures."""
    made = turn(
        frame(text("hm", thought=True), model=THREE),
        frame(text("a"), model=THREE, finish="STOP"),
        model=THREE,
    )
    began = ModelInput().user("Hi").turn(made).user("And?")
    assert [part for _, part in sent(prepare(began, THREE))][1] == text("hm", thought=True)
    without = prepare(began, THREE, options=GeminiOptions(replay_thoughts=False))
    assert not any("thought" in part for _, part in sent(without))


def test_a_turn_that_says_nothing_is_left_out() -> None:
    """A content without parts is refused."""
    made = turn(frame(finish="SAFETY"))
    assert [role for role, _ in sent(prepare(ModelInput().user("Hi").turn(made).user("And?")))] == [
        "user",
        "user",
    ]


def test_a_standalone_result() -> None:
    """With name and arguments it goes out with its call."""
    request = prepare(ModelInput().user("Hi").tool_result("x", "ok", name="look", arguments="{}"), THREE)
    parts = [part for _, part in sent(request)]
    assert parts[1]["thoughtSignature"] == BYPASS
    assert parts[2]["functionResponse"] == {"name": "look", "response": {"output": "ok"}}


def test_a_paused_turn_is_continued() -> None:
    """The same request goes out again with the token; later the answer's hops are one content."""
    hop = turn(frame(text("a"), finish="CONTINUATION", continuationToken="t1", model=FOUR), model=FOUR)
    began = ModelInput().user("Write.").turn(hop)
    request = prepare(began, FOUR)
    assert body(request)["continuationToken"] == "t1"
    assert [role for role, _ in sent(request)] == ["user"]
    rest = turn(frame(text("b"), finish="STOP", model=FOUR), model=FOUR)
    later = prepare(began.turn(rest).user("And?"), FOUR)
    assert "continuationToken" not in body(later)
    assert body(later)["contents"][1] == {"role": "model", "parts": [text("a"), text("b")]}
    assert adapter().first_difference(request, later) is None


def test_gemini_requests_only_grow() -> None:
    """Every request is a prefix of the next one, also around rounds and late system items."""
    made = turn(frame(call(args={}, thoughtSignature="s"), finish="STOP", model=THREE), model=THREE)
    began = ModelInput().system("Be brief.").user("Hi")
    answered = began.turn(made).item(result(made.tool_calls[0].id))
    later = answered.turn(FOREIGN).item(result("toolu_1")).item(result("toolu_2"))
    steps = [began, answered, later, later.system("Now French.").user("Go on.")]
    requests = [prepare(step, THREE, tools=PLAN) for step in steps]
    for earlier, later in pairwise(requests):
        assert adapter().first_difference(earlier, later) is None
    other = prepare(ModelInput().system("Be long.").user("Hi"), THREE, tools=PLAN)
    assert adapter().first_difference(requests[0], other) == "$.systemInstruction.parts[0]"
    more = prepare(began, THREE, tools=ToolPlan(head=(LOOK, lutum.ToolDef("b", '{"type":"object"}'))))
    assert adapter().first_difference(requests[0], more) == "$.tools[0]"
    changed = prepare(ModelInput().system("Be brief.").user("Ho"), THREE, tools=PLAN)
    assert adapter().first_difference(requests[0], changed) == "$.contents[0].parts[0]"
    assert adapter().first_difference(requests[-1], requests[0]) == "$.contents"


def test_ephemerals_stand_where_they_belong() -> None:
    """One never parts a call from its result, and none counts in the comparison."""
    made = turn(frame(call(args={}), finish="STOP"))
    began = ModelInput().user("Hi").turn(made).item(result(made.tool_calls[0].id))
    hint = lutum.Message("user", (Text("hint"),))
    request = prepare(began, ephemerals=((2, hint), (0, lutum.Message("system", (Text("aside"),)))))
    words = [part.get("text") for _, part in sent(request)]
    assert words == ["<system>\naside\n</system>", "Hi", None, None, "hint"]
    assert adapter().first_difference(prepare(began), request) is None


# --- media ---------------------------------------------------------------------------------------


def test_gemini_media() -> None:
    """Bytes, URLs and file names of images, documents, audio and video."""
    parts = (
        Image.from_bytes(PNG),
        Image.from_url("https://a.example/cat.png?x=1"),
        Image.from_file_id("https://generativelanguage.googleapis.com/v1beta/files/abc"),
        Document.from_bytes(b"%PDF-1.4", title="A paper", context="Read it."),
        Document.from_bytes(b"RIFF", media_type="audio/wav"),
        Document("video/mp4", file_id="gs://bucket/film"),
        lutum.Raw("gemini", '{"fileData":{"fileUri":"u"},"videoMetadata":{"fps":1}}'),
    )
    request = prepare(ModelInput().user(parts))
    made = [part for _, part in sent(request)]
    assert made[0]["inlineData"]["mimeType"] == "image/png"
    assert made[1] == {"fileData": {"mimeType": "image/png", "fileUri": "https://a.example/cat.png?x=1"}}
    assert "mimeType" not in made[2]["fileData"]
    assert made[3] == {"text": "A paper\nRead it."}
    assert made[4]["inlineData"]["mimeType"] == "application/pdf"
    assert made[5]["inlineData"]["mimeType"] == "audio/wav"
    assert made[6] == {"fileData": {"mimeType": "video/mp4", "fileUri": "gs://bucket/film"}}
    assert made[7]["videoMetadata"] == {"fps": 1}
    assert len(request.unbounded) == 6  # only the image's tokens are known: no page can be counted here


@pytest.mark.parametrize(("model", "inside"), [(TWO, False), (THREE, True)])
def test_media_in_results(model: str, inside: bool) -> None:
    """Within the result from Gemini 3 on; before it, behind the results of the round."""
    made = turn(frame(call(args={}), call(args={}), finish="STOP"))
    first, second = (one.id for one in made.tool_calls)
    shot = ToolResult(first, (Text("a shot"), Image.from_bytes(PNG)))
    request = prepare(ModelInput().user("Hi").turn(made).item(shot).item(result(second)), model)
    parts = [part for role, part in sent(request) if role == "user"][1:]
    if inside:
        assert [len(part["functionResponse"].get("parts", ())) for part in parts] == [1, 0]
    else:
        assert [next(iter(part)) for part in parts] == [
            "functionResponse",
            "functionResponse",
            "text",
            "inlineData",
        ]
        assert parts[2] == {"text": "From the result of the tool call look:"}
    assert check_gemini_request(request.body, model) is None


# --- tools ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plan", "options", "config"),
    [
        (PLAN, {}, None),
        (ToolPlan(head=(LOOK,), choice="none"), {}, {"mode": "NONE"}),
        (ToolPlan(head=(LOOK,), available=()), {}, {"mode": "NONE"}),
        (ToolPlan(head=(LOOK,), choice="any"), {}, {"mode": "ANY"}),
        (
            ToolPlan(head=(LOOK,), choice="tool", tool="look"),
            {},
            {"mode": "ANY", "allowedFunctionNames": ["look"]},
        ),
        (PLAN, {"validated": True}, {"mode": "VALIDATED"}),
        (
            ToolPlan(head=(LOOK, lutum.ToolDef("b", '{"type":"object"}')), available=("look",)),
            {},
            {"mode": "VALIDATED", "allowedFunctionNames": ["look"]},
        ),
    ],
)
def test_gemini_tool_choice(plan: ToolPlan, options: dict[str, Any], config: Any) -> None:
    made = body(asked(tools=plan, options=GeminiOptions(**options)))
    assert made.get("toolConfig") == (None if config is None else {"functionCallingConfig": config})
    assert made["tools"][0]["functionDeclarations"][0] == {
        "name": "look",
        "description": "Looks.",
        "parametersJsonSchema": {"type": "object", "properties": {"at": {"type": "string"}}},
    }


def test_gemini_server_tools() -> None:
    """They stand before the functions; Gemini 3 shows their calls where both are sent, Vertex AI cannot."""
    options = GeminiOptions(server_tools=({"googleSearch": {}},), retrieval_config={"languageCode": "en"})
    made = body(asked(THREE, tools=PLAN, options=options))
    assert [next(iter(tool)) for tool in made["tools"]] == ["googleSearch", "functionDeclarations"]
    assert made["toolConfig"] == {
        "retrievalConfig": {"languageCode": "en"},
        "includeServerSideToolInvocations": True,
    }
    alone = asked(THREE, options=GeminiOptions(server_tools=('{"codeExecution":{}}',)))
    assert "toolConfig" not in body(alone)
    assert alone.unbounded == ("server tool codeExecution",)
    with pytest.raises(lutum.BadValue, match="server_tools"):
        asked(TWO, tools=PLAN, options=options)


def test_tools_added_later() -> None:
    """They are sent behind the others, and the turn is inexact; the same tool again is not a change."""
    began = (
        ModelInput()
        .user("x")
        .turn(lutum.CommittedTurn("gemini", SCOPE, TWO, b'{"candidates":[]}', tools=(LOOK,)))
    )
    more = lutum.ToolDef("more", '{"type":"object"}')
    request = prepare(began.user("y"), tools=ToolPlan(head=(LOOK,), new=(more,)))
    assert [one["name"] for one in body(request)["tools"][0]["functionDeclarations"]] == ["look", "more"]
    assert request.inexact_reason == "tool 'more' was added in the middle of the conversation"
    assert prepare(began.user("y"), tools=PLAN).inexact_reason is None


@pytest.mark.parametrize("name", ["", "1a", "a b", "a" * 129, "é"])
def test_names_of_tools(name: str) -> None:
    with pytest.raises(lutum.BadValue, match="tools"):
        asked(tools=ToolPlan(head=(lutum.ToolDef(name, "{}"),)))
    assert asked(tools=ToolPlan(head=(lutum.ToolDef("a.b:c-d", '{"type":"object"}'),)))


def test_schemas_of_tools() -> None:
    with pytest.raises(lutum.BadValue, match="not a JSON object"):
        asked(tools=ToolPlan(head=(lutum.ToolDef("a", "[1]"),)))


# --- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [TWO, THREE, FOUR, "gemini-2.0-flash", "some-model"])
def test_nothing_is_sent_by_default(model: str) -> None:
    """The output limit alone: new models refuse old defaults."""
    made = body(asked(model))
    assert made.keys() == {"contents", "generationConfig"}
    assert made["generationConfig"].keys() == {"maxOutputTokens"}


def test_settings() -> None:
    options = GeminiOptions(
        top_k=3,
        logprobs=2,
        response_modalities=("TEXT",),
        media_resolution="MEDIA_RESOLUTION_LOW",
        presence_penalty=0.5,
        thinking_budget=1024,
        include_thoughts=True,
        safety_settings={"HARM_CATEGORY_HARASSMENT": "BLOCK_NONE"},
        service_tier="flex",
        generation_config={"imageConfig": {"aspectRatio": "1:1"}},
        extra_body={"brandNew": 1e2},
        extra_headers={"X-Trace": "t"},
    )
    request = asked(options=options, temperature=0.5, top_p=0.9, stop=("END",), seed=7, max_output_tokens=99)
    made = body(request)
    assert made["generationConfig"] == {
        "maxOutputTokens": 99,
        "temperature": 0.5,
        "topP": 0.9,
        "topK": 3,
        "stopSequences": ["END"],
        "seed": 7,
        "presencePenalty": 0.5,
        "thinkingConfig": {"includeThoughts": True, "thinkingBudget": 1024},
        "responseModalities": ["TEXT"],
        "mediaResolution": "MEDIA_RESOLUTION_LOW",
        "responseLogprobs": True,
        "logprobs": 2,
        "imageConfig": {"aspectRatio": "1:1"},
    }
    assert made["safetySettings"] == [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]
    assert (made["serviceTier"], made["brandNew"]) == ("flex", 100)
    assert ("x-trace", "t") in request.headers
    assert request.estimate.output_tokens == 99


@pytest.mark.parametrize(
    ("model", "given", "field"),
    [
        (TWO, {"thinking_level": "low"}, "thinking_level"),
        (TWO, {"thinking_budget": 99_999}, "thinking_budget"),
        ("gemini-2.5-pro", {"thinking_budget": 0}, "thinking_budget"),
        ("gemini-2.0-flash", {"thinking_budget": 10}, "thinking_budget"),
        ("gemini-3-pro-preview", {"thinking_level": "medium"}, "thinking_level"),
        ("gemini-3.8-flash", {"thinking_level": "minimal"}, "thinking_level"),
        (FOUR, {"thinking_budget": -1}, "thinking_budget"),
        (FOUR, {"thinking_level": "xhigh"}, "thinking_level"),
        (FOUR, {"thinking_level": "minimal"}, "thinking_level"),
        (FOUR, {"presence_penalty": 1.0}, "presence_penalty"),
        (FOUR, {"frequency_penalty": 1.0}, "frequency_penalty"),
        (TWO, {"labels": {"a": "b"}}, "labels"),
        (TWO, {"server_tools": ({"googleSearch": {}},), "structured": "tool"}, None),
    ],
)
def test_what_a_model_refuses_in_gemini(model: str, given: dict[str, Any], field: str | None) -> None:
    """It is refused before anything is reserved, by its name."""
    if field is None:
        assert asked(model, options=GeminiOptions(**given))
        return
    with pytest.raises(lutum.BadValue) as failed:
        asked(model, options=GeminiOptions(**given))
    assert failed.value.field == field


@pytest.mark.parametrize("level", ["low", "high", "xhigh"])
def test_levels(level: Any) -> None:
    made = body(asked("gemini-4-neon", options=GeminiOptions(thinking_level=level)))
    assert made["generationConfig"]["thinkingConfig"] == {"thinkingLevel": level.upper()}
    assert body(asked("some-model", options=GeminiOptions(thinking_level=level)))


@pytest.mark.parametrize(
    ("model", "effort", "thinking"),
    [
        (TWO, "none", {"thinkingBudget": 0}),
        (TWO, "medium", {"thinkingBudget": 8_192}),
        (TWO, "max", {"thinkingBudget": 24_576}),
        ("gemini-2.5-pro", "none", None),
        (THREE, "none", {"thinkingLevel": "MINIMAL"}),
        (THREE, "max", {"thinkingLevel": "HIGH"}),
        ("gemini-3-pro-preview", "medium", None),
        (FOUR, "none", None),
        (FOUR, "low", {"thinkingLevel": "LOW"}),
        ("gemini-4-neon", "max", {"thinkingLevel": "XHIGH"}),
        ("some-model", "high", {"thinkingLevel": "HIGH"}),
        ("gemini-2.0-flash", "none", {}),
        ("gemini-2.0-flash", "low", None),
    ],
)
def test_gemini_effort(model: str, effort: Any, thinking: Any) -> None:
    """A portable effort is mapped or refused; options of Gemini go before it."""
    if thinking is None:
        with pytest.raises(lutum.BadValue) as failed:
            asked(model, effort=effort)
        assert failed.value.field == "effort"
        return
    assert body(asked(model, effort=effort))["generationConfig"].get("thinkingConfig", {}) == thinking
    own = asked(TWO, effort=effort, options=GeminiOptions(thinking_budget=-1))
    assert body(own)["generationConfig"]["thinkingConfig"] == {"thinkingBudget": -1}


def test_without_a_budget_no_limit_is_sent() -> None:
    """A reservation needs a bound; a turn without one does not."""
    transcript = ModelInput().user("Hi").transcript
    free = adapter().prepare(lutum.abc.TurnRequest(transcript=transcript, limited=False))
    assert body(free)["generationConfig"] == {}
    assert free.implicit_bound is None
    assert asked().implicit_bound == 16_384
    assert asked(max_output_tokens=9).implicit_bound is None
    assert prepare(ModelInput().user("Hi"), via=adapter(default_max_output_tokens=7)).implicit_bound is None


def test_what_is_cached() -> None:
    """A prefix below the shortest that the API caches is not worth a wait."""
    assert not asked().cacheable
    assert prepare(ModelInput().user("word " * 4_000)).cacheable
    assert not prepare(ModelInput().user("word " * 4_000), "gemini-2.0-flash").cacheable


@pytest.mark.parametrize(
    "given",
    [
        {"thinking_level": "low", "thinking_budget": 10},
        {"thinking_budget": -2},
        {"top_k": 0},
        {"logprobs": 21},
        {"cached_content": " "},
        {"server_tools": ("[1]",)},
        {"generation_config": {"maxOutputTokens": 3}},
        {"generation_config": {"candidateCount": 2}},
        {"extra_body": {"contents": []}},
        {"extra_headers": {"x-goog-api-key": "k"}},
        {"extra_headers": {"Authorization": "k"}},
    ],
)
def test_options_that_cannot_be(given: dict[str, Any]) -> None:
    with pytest.raises(lutum.BadValue):
        GeminiOptions(**given)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"temperature": 2.5}, "temperature"),
        ({"stop": tuple("abcdef")}, "stop"),
        ({"max_output_tokens": 70_000}, "max_output_tokens"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(lutum.BadValue) as failed:
        asked(**settings)
    assert failed.value.field == field


def test_the_output_limit() -> None:
    """Thoughts count inside: a model that thinks gets more room, and a budget makes more."""

    def limit(model: str, **given: Any) -> int:
        return body(asked(model, options=GeminiOptions(**given)))["generationConfig"]["maxOutputTokens"]

    assert limit("gemini-2.0-flash") == 4_096
    assert limit("gemini-2.5-flash-lite") == 4_096
    assert limit(TWO) == limit(FOUR) == limit("some-model") == 16_384
    assert limit(TWO, thinking_budget=0) == 4_096
    assert limit(TWO, thinking_budget=20_000) == 24_096


def test_cached_content() -> None:
    """The cache holds system instruction and tools, so the request has neither; its size is unknown."""
    options = GeminiOptions(cached_content="cachedContents/abc")
    request = asked(options=options)
    assert body(request)["cachedContent"] == "cachedContents/abc"
    assert request.unbounded == ("cached_content",)
    with pytest.raises(lutum.BadValue, match="system items"):
        prepare(ModelInput().system("x").user("y"), options=options)
    with pytest.raises(lutum.BadValue, match="tools"):
        asked(options=options, tools=PLAN)


def test_structured_values() -> None:
    """By `responseJsonSchema`; a constraint that the API ignores is told in the description."""
    request = asked(output=FILM)
    config = body(request)["generationConfig"]
    assert config["responseMimeType"] == "application/json"
    assert config["responseJsonSchema"]["properties"]["title"] == {
        "type": "string",
        "description": "Constraints: pattern ^A.",
    }
    assert request.dropped_constraints == ("$.title: pattern ^A",)
    assert request.structured == "GeminiOptions(structured='json_schema')"


def test_structured_values_beside_tools() -> None:
    """From Gemini 3 on both go in one request; before, the value is asked for by a forced tool."""
    assert asked(THREE, output=FILM, tools=PLAN)
    with pytest.raises(lutum.BadValue) as failed:
        asked(TWO, output=FILM, tools=PLAN)
    assert failed.value.field == "structured"
    made = body(asked(TWO, output=FILM, tools=PLAN, options=GeminiOptions(structured="tool")))
    assert made["toolConfig"]["functionCallingConfig"] == {"mode": "ANY", "allowedFunctionNames": ["Film"]}
    assert "responseJsonSchema" not in made["generationConfig"]


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("items", "field"),
    [
        (ModelInput().user(""), "input[0]"),
        (ModelInput().user(Image("image/gif", b"GIF89a")), "input[0].content[0].media_type"),
        (ModelInput().raw("claude", '{"role":"user"}'), "input[0]"),
        (ModelInput().raw("gemini", "[1]"), "input[0]"),
        (ModelInput().raw("gemini", '{"role":"system","parts":[]}'), "input[0].role"),
        (ModelInput().item(lutum.Message("system", (Image.from_url("https://a.example"),))), "input[0]"),
        (ModelInput().item(lutum.Message("assistant", (Image.from_url("https://a.example"),))), "input[0]"),
        (ModelInput(), "input"),
        (ModelInput().system("alone"), "input"),
        (ModelInput().user("a").turn(lutum.CommittedTurn("gemini", SCOPE, THREE, b"no json")), "input[1]"),
    ],
)
def test_bad_items(items: ModelInput, field: str) -> None:
    with pytest.raises(lutum.BadValue) as failed:
        prepare(items)
    assert failed.value.field == field


def test_a_request_does_not_end_with_the_model() -> None:
    """Models from Gemini 3 on do not continue a model turn; gemini-2.5-flash does."""
    began = ModelInput().user("a").assistant("b")
    assert prepare(began, TWO)
    with pytest.raises(lutum.BadValue, match="ends with a model turn"):
        prepare(began, THREE)


def test_a_request_that_is_too_large() -> None:
    film = Document("video/mp4", b"\x00" * 80_000_000)
    with pytest.raises(lutum.BadValue, match="limit is 100000000"):
        prepare(ModelInput().user(film))


def test_a_model_that_a_region_lacks() -> None:
    near = GeminiAdapter.vertex(FOUR, project="p", region="europe-west4", token="t")
    with pytest.raises(lutum.BadValue, match="not served in europe-west4") as failed:
        prepare(ModelInput().user("a"), FOUR, via=near)
    assert failed.value.field == "model"
    assert prepare(ModelInput().user("a"), TWO, via=near)


def test_urls() -> None:
    """Models of the API, tuned models, and Vertex AI."""
    base = f"https://{SCOPE}/v1beta"
    assert asked().url == f"{base}/models/{TWO}:streamGenerateContent?alt=sse"
    assert asked("models/" + TWO).url == asked().url
    assert asked("tunedModels/mine").url == f"{base}/tunedModels/mine:streamGenerateContent?alt=sse"
    assert asked("a b?c").url == f"{base}/models/a%20b%3Fc:streamGenerateContent?alt=sse"
    where = GeminiAdapter.vertex(TWO, project="p", region="global", token="t")
    assert prepare(ModelInput().user("a"), via=where).url == (
        "https://aiplatform.googleapis.com/v1beta1/projects/p/locations/global/publishers/google/models/"
        f"{TWO}:streamGenerateContent?alt=sse"
    )


def test_every_request_stands_in_gemini() -> None:
    """The dialect of the wire server accepts a request with everything."""
    made = turn(frame(call(args={"at": "x"}), finish="STOP"))
    everything = (
        ModelInput()
        .system("Be brief.")
        .user([Text("Hi"), Image.from_bytes(PNG)])
        .turn(made)
        .item(result(made.tool_calls[0].id))
        .turn(FOREIGN)
        .item(result("toolu_1"))
        .item(result("toolu_2"))
        .user("Go on.")
    )
    for model in (TWO, THREE, FOUR):
        request = prepare(everything, model, tools=PLAN)
        assert check_gemini_request(request.body, model) is None
        assert json.loads(request.body)
