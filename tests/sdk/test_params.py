"""Request bodies of every kind are what the official SDKs' param types declare, and no member more."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from anthropic.types.beta.message_create_params import MessageCreateParamsStreaming as BetaMessage
from anthropic.types.message_create_params import MessageCreateParamsStreaming as PlainMessage
from anthropic.types.messages.batch_create_params import Request as ClaudeBatchRequest
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming as Chat
from openai.types.completion_create_params import CompletionCreateParamsStreaming as Completion
from openai.types.responses.response_create_params import ResponseCreateParamsStreaming as Responses
from sdk.params import faults, without

import lutum
import lutum_claude
from lutum import Document, Image, ModelInput, Raw, Text
from lutum.abc import Prepared, ToolPlan, TurnRequest
from lutum_claude import ClaudeAdapter, ClaudeOptions
from lutum_openai import (
    OpenAIAdapter,
    OpenAIChatAdapter,
    OpenAICompletionsAdapter,
    OpenAIOptions,
    chat as chat_json,
    responses as responses_json,
)

PNG = b"\x89PNG\r\n\x1a\n"
PDF = b"%PDF-1.7\n1 0 obj\n<< /Type /Page >>\n"
PLACE = {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]}
LOOK = lutum.raw_tool("look", PLACE, "Looks.")
HEAR = lutum.raw_tool("hear", PLACE)
WORDS = ModelInput().system("Be brief.").user("Hello.").assistant("Hello!").user("Three rivers?")

# Members of bodies that lutum sends and no param type declares, by API, and why.
SAMPLING = "the SDK declares none since the newest models take none; older ones do, under version 2023-06-01"
UNDECLARED: dict[str, dict[str, str]] = {
    "claude": {"temperature": SAMPLING, "top_k": SAMPLING},
    "claude-beta": {"temperature": SAMPLING, "top_k": SAMPLING},
}


class Answer(msgspec.Struct):
    """A value."""

    city: str
    rain: bool
    warm: float | None = None


Case = Callable[[lutum.Lutum], Any]
"""What makes a turn, or a prepared request."""


def turn_of(adapter: str, scope: str, model: str, wire: Any, *items: Any, preface: bytes = b"") -> Any:
    return lutum.CommittedTurn(adapter, scope, model, json.dumps(wire).encode(), items, preface=preface)


CALL = lutum.ToolCallItem("call_1", "look", '{"at": "sea"}')
FOREIGN = turn_of("elsewhere", "x.test", "m", {}, lutum.ReasoningItem("Hm."), lutum.TextItem("I look."), CALL)

COMMON: dict[str, Case] = {
    "text": lambda llm: llm.text_turn("Hello."),
    "roles": lambda llm: llm.text_turn(WORDS),
    "late system": lambda llm: llm.text_turn(WORDS.system("In French.").developer("Now.").user("Go on.")),
    "foreign turn": lambda llm: llm.text_turn(
        ModelInput().user("Look.").turn(FOREIGN).tool_result("call_1", "blue").user("And?")
    ),
    "lone result": lambda llm: llm.text_turn(
        ModelInput().user("Look.").tool_result("c9", "blue", name="look", arguments="{}").user("And?")
    ),
    "failed result": lambda llm: llm.text_turn(
        ModelInput().user("Look.").turn(FOREIGN).tool_result("call_1", "no", is_error=True)
    ),
    "result with an image": lambda llm: llm.text_turn(
        ModelInput().user("Look.").turn(FOREIGN).tool_result("call_1", [Text("here"), Image.from_bytes(PNG)])
    ),
    "tools": lambda llm: llm.text_turn("Look.").tools(lutum.Toolset(LOOK, HEAR)),
    "a tool required": lambda llm: llm.text_turn("Look.").tools(lutum.Toolset(LOOK, HEAR)).require("look"),
    "some tool required": lambda llm: llm.text_turn("Look.").tools(lutum.Toolset(LOOK, HEAR)).require(),
    "tools available": lambda llm: (
        llm.text_turn("Look.").tools(lutum.Toolset(LOOK, HEAR)).available(only=["look"])
    ),
    "value": lambda llm: llm.structured_turn(Answer, "Where?"),
    "sampling": lambda llm: llm.text_turn("Hello.").temperature(0.5).max_output_tokens(99),
    "images": lambda llm: llm.text_turn(
        ModelInput().user([Text("See"), Image.from_bytes(PNG), Image.from_url("https://x.test/a.png")])
    ).reserve(lutum.Estimate(9, 9)),
    "documents": lambda llm: llm.text_turn(
        ModelInput().user([Document.from_bytes(PDF, title="T"), Document.from_text("words"), Text("Read.")])
    ),
    "ephemerals": lambda llm: ephemeral(llm),
    "tools changed": lambda llm: later(llm),
    "tools added": lambda llm: added(llm),
}


def ephemeral(llm: lutum.Lutum) -> Any:
    session = lutum.Session(llm)
    session.push_user("Hello.")
    session.push_ephemeral_system("For now.")
    session.push_ephemeral_user("And this.")
    return session.text_turn()


def later(llm: lutum.Lutum) -> Any:
    """Not what the first turn had: another tool, another description, and fewer to call."""
    plan = ToolPlan(
        head=(LOOK.definition,),
        new=(lutum.raw_tool("look", PLACE, "Looks again.").definition, HEAR.definition),
        available=("hear",),
    )
    said = ModelInput().user("Hello.").assistant("Hello!").user("Look.")
    return llm.adapter.prepare(TurnRequest(transcript=said.transcript, tools=plan))


def added(llm: lutum.Lutum) -> Any:
    """A new tool beside those that the first turn had."""
    plan = ToolPlan(head=(LOOK.definition,), new=(HEAR.definition,))
    said = ModelInput().user("Hello.").assistant("Hello!").user("Look.")
    return llm.adapter.prepare(TurnRequest(transcript=said.transcript, tools=plan))


CLAUDE_TURN = turn_of(
    "claude",
    "api.anthropic.com",
    "claude-sonnet-4-5",
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
            {"type": "redacted_thinking", "data": "eA=="},
            {"type": "text", "text": "I look."},
            {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}},
            {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
            {"type": "tool_use", "id": "call_1", "name": "look", "input": {"at": "sea"}},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    },
    CALL,
)
CLAUDE: dict[str, Case] = {
    "replay": lambda llm: llm.text_turn(
        ModelInput().user("Look.").turn(CLAUDE_TURN).tool_result("call_1", "blue").user("And?")
    ),
    "stop": lambda llm: llm.text_turn("Hello.").stop("END"),
    "media by id": lambda llm: llm.text_turn(
        ModelInput().user([Image.from_file_id("file_1"), Document.from_file_id("file_2"), Text("See")])
    ),
    "document with citations": lambda llm: llm.text_turn(
        ModelInput().user([Document.from_bytes(PDF, title="T", context="C", citations=True)])
    ),
    "document by url": lambda llm: llm.text_turn(
        ModelInput().user([Document.from_url("https://x.test/a.pdf"), Text("Read.")])
    ),
    "raw blocks": lambda llm: llm.text_turn(
        ModelInput().user(
            Raw(
                "claude",
                '{"type":"search_result","source":"s","title":"t","content":[{"type":"text","text":"x"}]}',
            )
        )
    ),
    "thinking budget": lambda llm: llm.text_turn("Hello.").ext(ClaudeOptions(thinking=2_000)),
    "value by tool": lambda llm: llm.structured_turn(Answer, "Where?").ext(ClaudeOptions(structured="tool")),
    "server tools": lambda llm: llm.text_turn("Search.").ext(
        ClaudeOptions(server_tools=({"type": "web_search_20250305", "name": "web_search", "max_uses": 2},))
    ),
    "options": lambda llm: (
        llm.text_turn("Hello.")
        .tools(lutum.Toolset(LOOK))
        .ext(ClaudeOptions(user_id="u", service_tier="auto", parallel_tool_calls=False, top_k=5, cache="1h"))
    ),
}
CLAUDE_BETA: dict[str, Case] = {
    "adaptive": lambda llm: (
        llm.text_turn(WORDS)
        .model("claude-opus-5-5")
        .ext(ClaudeOptions(thinking="adaptive", display="summarized", effort="low"))
    ),
    "binding": lambda llm: (
        llm.text_turn(WORDS).model("claude-opus-5-5").ext(ClaudeOptions(prefix_mismatch="drop"))
    ),
    "late system in place": lambda llm: llm.text_turn(WORDS.system("In French.").user("Go on.")).model(
        "claude-opus-5-5"
    ),
    "one turn": lambda llm: ephemeral(llm).model("claude-opus-5-5"),
    "tools changed in place": lambda _: later(claude("claude-opus-5-5")),
    "tools added in place": lambda _: added(claude("claude-opus-5-5")),
    "beta options": lambda llm: llm.text_turn("Hello.").ext(
        ClaudeOptions(
            container={"id": "c", "skills": [{"type": "anthropic", "skill_id": "pdf", "version": "latest"}]},
            context_management={"edits": [{"type": "clear_tool_uses_20250919"}]},
            mcp_servers=[{"type": "url", "name": "n", "url": "https://x.test"}],
            task_budget={"type": "tokens", "total": 20_000},
            inference_geo="us",
        )
    ),
}

RESPONSES_TURN = turn_of(
    "openai-responses",
    "api.openai.com",
    "gpt-5.6",
    {
        "id": "resp_1",
        "object": "response",
        "status": "completed",
        "model": "gpt-5.6",
        "output": [
            {
                "id": "rs_1",
                "type": "reasoning",
                "summary": [{"type": "summary_text", "text": "Hm."}],
                "encrypted_content": "eA==",
            },
            {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": "I look.", "annotations": []}],
            },
            {
                "id": "ws_1",
                "type": "web_search_call",
                "status": "completed",
                "action": {"type": "search", "query": "x"},
            },
            {
                "id": "fc_1",
                "type": "function_call",
                "call_id": "call_1",
                "name": "look",
                "arguments": '{"at": "sea"}',
                "status": "completed",
            },
        ],
    },
    CALL,
)
RESPONSES: dict[str, Case] = {
    "replay": lambda llm: llm.text_turn(
        ModelInput().user("Look.").turn(RESPONSES_TURN).tool_result("call_1", "blue").user("And?")
    ),
    "reasoning": lambda llm: (
        llm.text_turn("Hello.").model("gpt-5.6").ext(OpenAIOptions(effort="low", summary="auto"))
    ),
    "media by id": lambda llm: llm.text_turn(
        ModelInput().user([Image.from_file_id("file_1"), Document.from_file_id("file_2"), Text("See")])
    ),
    "document by url": lambda llm: llm.text_turn(
        ModelInput().user([Document.from_url("https://x.test/a.pdf"), Text("Read.")])
    ),
    "raw item": lambda llm: llm.text_turn(
        ModelInput()
        .user("Go on.")
        .raw(
            "openai-responses",
            '{"type":"mcp_approval_response","approval_request_id":"mcpr_1","approve":true}',
        )
    ),
    "value by json": lambda llm: llm.structured_turn(Answer, "JSON?").ext(
        OpenAIOptions(structured="json_object")
    ),
    "value by tool": lambda llm: llm.structured_turn(Answer, "Where?").ext(OpenAIOptions(structured="tool")),
    "server tools": lambda llm: (
        llm.text_turn("Search.")
        .tools(lutum.Toolset(LOOK))
        .ext(
            OpenAIOptions(
                server_tools=(
                    {"type": "web_search"},
                    {"type": "code_interpreter", "container": {"type": "auto"}},
                    {"type": "mcp", "server_label": "m", "server_url": "https://x.test"},
                )
            )
        )
    ),
    "options": lambda llm: (
        llm.text_turn("Hello.")
        .top_p(0.9)
        .tools(lutum.Toolset(LOOK))
        .ext(
            OpenAIOptions(
                store=True,
                include=("web_search_call.action.sources",),
                previous_response_id="resp_0",
                prompt_cache_key="k",
                metadata={"a": "b"},
                service_tier="flex",
                parallel_tool_calls=False,
                truncation="auto",
                verbosity="low",
                top_logprobs=2,
                user="u",
                safety_identifier="s",
            )
        )
    ),
}

CHAT_TURN = turn_of(
    "openai-chat",
    "api.openai.com",
    "gpt-4.1",
    {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "annotations": [],
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at": "sea"}'}}
        ],
    },
    CALL,
)
CHAT: dict[str, Case] = {
    "replay": lambda llm: llm.text_turn(
        ModelInput().user("Look.").turn(CHAT_TURN).tool_result("call_1", "blue").user("And?")
    ),
    "stop and seed": lambda llm: llm.text_turn("Hello.").stop("END", "STOP").seed(7).top_p(0.9),
    "document by id": lambda llm: llm.text_turn(
        ModelInput().user([Document.from_file_id("file_2"), Text("See")])
    ),
    "raw message": lambda llm: llm.text_turn(
        ModelInput().raw("openai-chat", '{"role":"user","content":"Hello.","name":"ann"}')
    ),
    "value by json": lambda llm: llm.structured_turn(Answer, "JSON?").ext(
        OpenAIOptions(structured="json_object")
    ),
    "value by tool": lambda llm: llm.structured_turn(Answer, "Where?").ext(OpenAIOptions(structured="tool")),
    "options": lambda llm: (
        llm.text_turn("Hello.")
        .tools(lutum.Toolset(LOOK))
        .ext(
            OpenAIOptions(
                effort="low",
                store=True,
                prompt_cache_key="k",
                metadata={"a": "b"},
                service_tier="flex",
                parallel_tool_calls=False,
                verbosity="low",
                top_logprobs=2,
                user="u",
                safety_identifier="s",
            )
        )
    ),
}
COMPLETIONS: dict[str, Case] = {
    "prompt": lambda llm: llm.completion("One, two"),
    "settings": lambda llm: (
        llm.completion("One")
        .temperature(0.5)
        .top_p(0.9)
        .stop("\n")
        .seed(7)
        .max_output_tokens(9)
        .ext(OpenAIOptions(user="u", extra_body={"echo": True}))
    ),
}


def claude(model: str = "claude-sonnet-4-5") -> lutum.Lutum:
    return lutum.Lutum(ClaudeAdapter(model, api_key="k", base_url="https://api.anthropic.com"))


def responses() -> lutum.Lutum:
    return lutum.Lutum(OpenAIAdapter("gpt-4.1", api_key="k", base_url="https://api.openai.com/v1"))


def chat() -> lutum.Lutum:
    return lutum.Lutum(OpenAIChatAdapter("gpt-4.1", api_key="k", base_url="https://api.openai.com/v1"))


def completions() -> lutum.Lutum:
    adapter = OpenAICompletionsAdapter("davinci", api_key="k", base_url="https://api.openai.com/v1")
    return lutum.Lutum(adapter, completion=adapter)


APIS: dict[str, tuple[Callable[[], lutum.Lutum], Any, dict[str, Case]]] = {
    "claude": (claude, PlainMessage, COMMON | CLAUDE),
    "claude-beta": (claude, BetaMessage, COMMON | CLAUDE | CLAUDE_BETA),
    "responses": (responses, Responses, COMMON | RESPONSES),
    "chat": (chat, Chat, COMMON | CHAT),
    "completions": (completions, Completion, COMPLETIONS),
}


@pytest.mark.parametrize(("api", "case"), [(api, case) for api, row in APIS.items() for case in row[2]])
def test_body(api: str, case: str) -> None:
    """The body is what the API's param type takes, without a member that it does not declare."""
    make, params, cases = APIS[api]
    made = cases[case](make())
    sent = made if isinstance(made, Prepared) else made.preview()
    if api == "claude" and "anthropic-beta" in dict(sent.headers):
        return  # the other row's
    assert faults(params, without(sent.body, UNDECLARED.get(api, {}))) == []


def test_batch_lines() -> None:
    """What goes into a batch is a request of the batch's own type."""
    entry = lutum_claude.batch_line(COMMON["tools"](claude()), "a")
    assert faults(ClaudeBatchRequest, entry) == []
    for line, params in (
        (responses_json.batch_line(COMMON["tools"](responses()), "a"), Responses),
        (chat_json.batch_line(COMMON["tools"](chat()), "a"), Chat),
    ):
        whole = msgspec.json.decode(line)
        assert (whole["custom_id"], whole["method"]) == ("a", "POST")
        assert faults(params, msgspec.json.encode({**whole["body"], "stream": True})) == []


def test_it_is_strict() -> None:
    """An unknown member, a wrong type and a missing one are all found, however deep."""
    for body in (
        b'{"model":"m","messages":[{"role":"user","content":"a","more":1}],"stream":true}',
        b'{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":1}]}],"stream":true}',
        b'{"model":"m","messages":[{"role":"tool","content":"a"}],"stream":true}',
        b'{"model":"m","messages":[{"role":"user","content":"a"}],"stream":true,"more":1}',
    ):
        assert faults(Chat, body), body
