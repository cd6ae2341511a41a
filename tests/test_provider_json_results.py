"""Answers that came whole, lines of a batch, and the provider's calls that wait for an answer of yours."""

import json
import logging
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import corpus
import httpx
import pytest

import lutum
import lutum_claude
import lutum_gemini
import lutum_openrouter
from lutum.abc import Adapter
from lutum.testing import ScriptedAdapter
from lutum.testing.wire import Reply, Say, WireServer
from lutum_claude import ClaudeAdapter, ClaudeOptions
from lutum_gemini import GeminiAdapter
from lutum_openai import OpenAIAdapter, OpenAIChatAdapter, chat, responses
from lutum_openrouter import OpenRouterAdapter

WEATHER = lutum.Toolset(lutum.raw_tool("weather", {"type": "object"}, "Tells it."))

CLAUDE = """{"id":"msg_1","type":"message","role":"assistant","model":"claude-sonnet-4-5",
  "content":[{"type":"text","text":"Warm.","weight":1e2}],
  "stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":9,"output_tokens":2}}"""
RESPONSE = """{"id":"resp_1","object":"response","status":"completed","model":"gpt-5","output":[
  {"type":"message","id":"msg_1","role":"assistant","status":"completed","weight":1e2,
   "content":[{"type":"output_text","text":"Warm.","annotations":[]}]}],
  "usage":{"input_tokens":9,"output_tokens":2,"total_tokens":11}}"""
CHAT = """{"id":"chatcmpl-1","object":"chat.completion","model":"gpt-4o","choices":[{"index":0,
  "message":{"role":"assistant","content":"Warm.","weight":1e2},"finish_reason":"stop"}],
  "usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}"""


@dataclass
class Place:
    at: int


GEMINI = """{"candidates":[{"content":{"role":"model","parts":[{"text":"Warm."},{"new":1e2}]},
"finishReason":"STOP"}],"modelVersion":"gemini-3.8-flash","responseId":"r1",
"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":2,"totalTokenCount":11}}"""


def claude(**given: Any) -> ClaudeAdapter:
    return ClaudeAdapter("claude-sonnet-4-5", api_key="k", **given)


def openai(**given: Any) -> OpenAIAdapter:
    return OpenAIAdapter("gpt-5", api_key="k", **given)


def chatting(**given: Any) -> OpenAIChatAdapter:
    return OpenAIChatAdapter("gpt-4o", api_key="k", **given)


def gemini(**given: Any) -> GeminiAdapter:
    return GeminiAdapter("gemini-3.8-flash", api_key="k", **given)


DIALECTS = pytest.mark.parametrize(
    ("adapter", "body"),
    [
        (claude(), CLAUDE),
        (openai(), RESPONSE),
        (chatting(), CHAT),
        (OpenRouterAdapter("m", api_key="k"), CHAT),
        (gemini(), GEMINI),
    ],
    ids=["claude", "responses", "chat", "openrouter", "gemini"],
)


@DIALECTS
def test_an_answer_that_came_whole_is_committed(adapter: Adapter, body: str) -> None:
    """It is the result that a stream would have given: on the session's base, with the usage as reported."""
    session = lutum.Session(lutum.Lutum(adapter))
    session.push_user("What is the weather?")
    result = lutum.result_from_body(body, session.text_turn())
    assert (result.text, result.finish_reason) == ("Warm.", "stop")
    assert result.usage == lutum.Usage(9, 2)
    assert b"1e2" in result.turn.wire
    session.commit_text(result)
    assert session.turns() == [result.turn]
    with pytest.raises(lutum.StaleCommit):
        session.commit_text(result)


def test_it_is_one_function_in_every_package() -> None:
    """The turn's adapter reads the body, so there is nothing to choose."""
    functions = {
        module.result_from_body for module in (lutum_claude, lutum_gemini, responses, chat, lutum_openrouter)
    }
    assert functions == {lutum.result_from_body}


def test_the_outcome_is_the_turns() -> None:
    """With tools it is finished or a round, of a structured turn it is a value."""
    llm = lutum.Lutum(claude())
    call = '{"type":"tool_use","id":"toolu_1","name":"weather","input":{"at":"Paris"}}'
    message = json.loads(CLAUDE) | {"content": [json.loads(call)], "stop_reason": "tool_use"}
    offered = llm.text_turn("Hello.").tools(WEATHER)
    needs = lutum.result_from_body(json.dumps(message), offered)
    assert isinstance(needs, lutum.NeedsTools)
    assert [(call.id, call.name) for call in needs.round.calls] == [("toolu_1", "weather")]
    assert isinstance(lutum.result_from_body(CLAUDE, offered), lutum.Finished)
    said = CLAUDE.replace('"Warm."', r'"{\"at\": 1}"')
    assert lutum.result_from_body(said, llm.structured_turn(Place, "Hello.")).value == Place(1)


def test_what_is_no_outcome_says_what_it_used() -> None:
    """It was billed all the same, and is yours to settle."""
    llm = lutum.Lutum(claude())
    with pytest.raises(lutum.OutputInvalid) as invalid:
        lutum.result_from_body(CLAUDE, llm.structured_turn(Place, "Hello."))
    assert invalid.value.usage == lutum.Usage(9, 2)
    assert invalid.value.partial.json == "Warm."
    call = [{"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}]
    with pytest.raises(lutum.ContractViolation, match="'weather' in a turn without tools") as violation:
        lutum.result_from_body(json.dumps(json.loads(CLAUDE) | {"content": call}), llm.text_turn("Hello."))
    assert violation.value.usage == lutum.Usage(9, 2)


def test_prices_are_those_of_the_boundary() -> None:
    """So a Lutum for batches has the batch's."""
    pricing = lutum.Pricing({"claude-sonnet-4-5": lutum.Price(input="1.5", output="7.5")})
    turn = lutum.Lutum(claude(), pricing=pricing).text_turn("Hello.")
    assert lutum.result_from_body(CLAUDE, turn).usage.cost_usd == Decimal("0.0000285")


@pytest.mark.parametrize(
    ("adapter", "error"),
    [
        (claude(), '{"type":"error","error":{"type":"overloaded_error","message":"Busy."}}'),
        (openai(), '{"error":{"message":"Busy.","type":"server_error","code":"server_is_overloaded"}}'),
        (chatting(), '{"error":{"message":"Busy.","type":"server_error","code":"server_is_overloaded"}}'),
        (gemini(), '{"error":{"message":"Busy.","code":503,"status":"UNAVAILABLE"}}'),
    ],
    ids=["claude", "responses", "chat", "gemini"],
)
def test_errors_in_place_of_an_answer(adapter: Adapter, error: str) -> None:
    """A line of a batch that failed is the provider's error; what is cut, or still runs, is no answer."""
    turn = lutum.Lutum(adapter).text_turn("Hello.")
    with pytest.raises(lutum.ProviderError, match=r"Busy\.") as failed:
        lutum.result_from_body(error, turn)
    assert failed.value.kind == "overloaded"
    for body in ("", "{", RESPONSE.replace("completed", "in_progress", 1)):
        with pytest.raises(lutum.ProviderError):
            lutum.result_from_body(body, turn)


def test_an_adapter_without_bodies_says_so() -> None:
    """Nothing is guessed."""
    with pytest.raises(lutum.UsageError, match="cannot read a body"):
        lutum.result_from_body(CLAUDE, lutum.Lutum(ScriptedAdapter([])).text_turn("Hello."))


def test_lines_of_a_batch_are_what_would_be_sent() -> None:
    """The body of the preview, without what a batch does not take, in the provider's envelope."""
    turn = lutum.Lutum(claude()).text_turn("Hello.")
    line = json.loads(lutum_claude.batch_line(turn, "a-1"))
    sent = json.loads(turn.preview().body)
    assert sent.pop("stream") is True
    assert line == {"custom_id": "a-1", "params": sent}
    for adapter, module, path in ((openai(), responses, "responses"), (chatting(), chat, "chat/completions")):
        turn = lutum.Lutum(adapter).text_turn("Hello.")
        data = module.batch_line(turn, "a 1")
        assert b"\n" not in data
        sent = json.loads(turn.preview().body)
        del sent["stream"]
        sent.pop("stream_options", None)
        assert json.loads(data) == {"custom_id": "a 1", "method": "POST", "url": f"/v1/{path}", "body": sent}


def test_lines_that_no_batch_takes_are_refused() -> None:
    """A blank or odd id, and the turn of another API."""
    turn = lutum.Lutum(claude()).text_turn("Hello.")
    for id in ("", "a b", "a" * 65):
        with pytest.raises(lutum.BadValue, match=r"^id: "):
            lutum_claude.batch_line(turn, id)
    with pytest.raises(lutum.BadValue, match=r"^turn: "):
        responses.batch_line(turn, "a")
    with pytest.raises(lutum.BadValue, match=r"^turn: "):
        lutum_claude.batch_line(lutum.Lutum(openai()).text_turn("Hello."), "a")
    with pytest.raises(lutum.BadValue, match=r"^id: "):
        chat.batch_line(lutum.Lutum(chatting()).text_turn("Hello."), " ")


OPEN = {
    "computer_call": ("call_id", "computer_call_output", "call_id"),
    "shell_call": ("call_id", "shell_call_output", "call_id"),
    "apply_patch_call": ("call_id", "apply_patch_call_output", "call_id"),
    "custom_tool_call": ("call_id", "custom_tool_call_output", "call_id"),
    "mcp_approval_request": ("id", "mcp_approval_response", "approval_request_id"),
}


@pytest.mark.parametrize("kind", OPEN)
async def test_an_open_item_is_answered_before_the_next_turn(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The commit says that it waits, the session shows it, and the next turn is refused and names it."""
    session = lutum.Session(lutum.Lutum(openai(), budget=lutum.Budget(tokens=100_000)))
    session.push_user("Do it.")
    id, answer, names = OPEN[kind]
    item = {"type": kind, id: "x_1", "name": "n", "weight": 1}
    result = lutum.result_from_body(
        json.dumps(json.loads(RESPONSE) | {"output": [item]}), session.text_turn()
    )
    assert list(map(json.loads, result.open_items)) == [item]
    with caplog.at_level(logging.INFO, logger="lutum"):
        session.commit_text(result)
    assert "1 provider calls wait for an answer" in caplog.text
    assert session.open_items == result.open_items
    session.push_user("And then?")
    assert session.text_turn().preview().open_items == result.open_items
    with pytest.raises(lutum.UsageError, match=rf"^input: {kind} 'x_1' waits for your answer"):
        await session.text_turn().collect()
    assert session.llm.budget.statistics().spent == lutum.Usage()
    session.push_raw("openai-responses", json.dumps({"type": answer, names: "x_2"}))
    assert session.open_items
    session.push_raw("openai-responses", json.dumps({"type": answer, names: "x_1"}))
    assert session.open_items == ()
    assert json.loads(session.text_turn().preview().body)["input"][1] == item


async def test_an_open_custom_call_of_chat_is_answered_too() -> None:
    """By a raw message of the role `tool`."""
    session = lutum.Session(lutum.Lutum(chatting()))
    session.push_user("Do it.")
    call = {"id": "call_1", "type": "custom", "custom": {"name": "n", "input": "x"}}
    body = json.loads(CHAT)
    body["choices"][0] |= {"finish_reason": "tool_calls"}
    body["choices"][0]["message"] = {"role": "assistant", "content": None, "tool_calls": [call]}
    session.commit_text(lutum.result_from_body(json.dumps(body), session.text_turn()))
    assert [json.loads(item)["id"] for item in session.open_items] == ["call_1"]
    with pytest.raises(lutum.UsageError, match="custom 'call_1' waits for your answer"):
        await session.text_turn().collect()
    session.push_raw("openai-chat", '{"role":"tool","tool_call_id":"call_1","content":"y"}')
    assert session.open_items == ()
    assert session.text_turn().preview().open_items == ()


def test_open_items_are_no_part_of_what_others_read() -> None:
    """Elsewhere the turn goes out as what it says, so nothing waits."""
    session = lutum.Session(lutum.Lutum(openai()))
    session.push_user("Do it.")
    output = [*json.loads(RESPONSE)["output"], {"type": "computer_call", "call_id": "c"}]
    session.commit_text(
        lutum.result_from_body(json.dumps(json.loads(RESPONSE) | {"output": output}), session.text_turn())
    )
    assert len(session.open_items) == 1
    assert session.fork(lutum.Lutum(chatting())).open_items == ()
    assert session.fork(lutum.Lutum(claude())).open_items == ()
    elsewhere = session.fork(lutum.Lutum(openai(replay_scope="elsewhere")))
    assert elsewhere.open_items == ()


async def test_a_turn_read_in_goes_on_where_it_came_from() -> None:
    """A logged conversation is a session like any other, in its exact form."""
    server = WireServer([Reply(Say("Nile.")), Reply(Say("Amazon."))])
    async with httpx.AsyncClient(transport=server.transport()) as http:
        options = ClaudeOptions(cache="off")
        adapter = claude(base_url=server.url, http_client=http, replay_scope="here", options=options)
        session = lutum.Session(lutum.Lutum(adapter))
        session.push_user("Which river is the longest?")
        session.commit_text(await session.text_turn().collect())
        sent = lutum_claude.to_messages(session.transcript)
        read = lutum_claude.from_messages(sent, scope="here", model="claude-sonnet-4-5")
        again = lutum.Session(lutum.Lutum(adapter), read)
        again.push_user("And the widest?")
        preview = again.text_turn().preview()
        assert preview.forms[0].exact
        session.push_user("And the widest?")
        assert preview.body == session.text_turn().preview().body
        assert (await again.text_turn().collect()).text == "Amazon."


def said(record: dict[str, Any]) -> str:
    """The text of a recorded body."""
    body = record["json"]
    match record["protocol"]:
        case "claude_messages":
            return "".join(block["text"] for block in body["content"] if block["type"] == "text")
        case "openai_responses":
            parts = [p for item in body["output"] if item["type"] == "message" for p in item["content"]]
            return "".join(part.get("text") or "" for part in parts)
        case _:
            message = body["choices"][0].get("message") or {}
            content = message.get("content") or (message.get("audio") or {}).get("transcript") or ""
            if isinstance(content, str):
                return content
            return "".join(part["text"] for part in content if part["type"] == "text")


@pytest.mark.corpus
@pytest.mark.parametrize("name", ["claude_messages", "openai_responses", "openai_chat"])
def test_every_recorded_body_is_a_result(name: Any) -> None:
    """With its text and an exact usage; what did not end is none, and what failed is an error."""
    adapter: Adapter = {"claude_messages": claude(), "openai_responses": openai(), "openai_chat": chatting()}[
        name
    ]
    turn = lutum.Lutum(adapter).text_turn("Hello.").tools(WEATHER)
    for record in corpus.load(name):
        body = record["json"]
        if not isinstance(body, dict):
            continue
        try:
            outcome = lutum.result_from_body(json.dumps(body), turn)
        except lutum.ProviderError:
            whole = record["status"] == 200 and (body.get("choices") or body.get("content"))
            assert not whole, record["id"]
            assert body.get("status") != "completed", record["id"]
            continue
        result = outcome.result if isinstance(outcome, lutum.Finished) else outcome.round.result
        if not (name == "openai_chat" and "delta" in body["choices"][0]):
            assert result.text == said(record), record["id"]
        reported = body.get("usage") or {}
        counts = ("input_tokens", "prompt_tokens", "output_tokens", "completion_tokens")
        if any(reported.get(count) for count in counts):
            more = (reported.get("total_tokens") or 0) - sum(reported.get(count) or 0 for count in counts)
            details = {**(reported.get("completion_tokens_details") or {})}
            details |= reported.get("prompt_tokens_details") or {}
            # Gemini's endpoint counts its thinking in the total only.
            explained = more <= 0 or more in (details.get("reasoning_tokens"), details.get("audio_tokens"))
            assert result.usage.known == ("exact" if explained else "estimated"), record["id"]
