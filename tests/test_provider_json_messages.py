"""Providers' messages in and out: what comes back is what went in, and what goes on is what was recorded."""

import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

import corpus
import pytest
from hypothesis import given, reject, strategies as st

import lutum
import lutum_claude
import lutum_gemini
import lutum_openrouter
from lutum.abc import Adapter, ToolPlan, TurnRequest
from lutum.testing import strategies
from lutum_claude import ClaudeAdapter, ClaudeOptions
from lutum_gemini import GeminiAdapter
from lutum_openai import OpenAIAdapter, OpenAIChatAdapter, chat, responses

PNG = "iVBORw0KGgo="
WEATHER = lutum.Toolset(lutum.raw_tool("weather", {"type": "object"}, "Tells it."))


def value(text: bytes | str) -> Any:
    """JSON with its numbers as their digits, which no other value of JSON is."""
    return json.loads(text, parse_int=lambda digits: (digits,), parse_float=lambda digits: (digits,))


def kinds(transcript: lutum.Transcript) -> list[str]:
    return [type(item).__name__ for item in transcript]


CLAUDE = """[
  {"role": "user", "content": "What is the weather in Paris?"},
  {"role": "assistant", "content": [
    {"type": "thinking", "thinking": "Let me see.", "signature": "c2ln"},
    {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"lat": 4.886e1}}]},
  {"role": "user", "content": [
    {"type": "tool_result", "tool_use_id": "toolu_1", "content": "warm",
     "cache_control": {"type": "ephemeral"}},
    {"type": "text", "text": "And tomorrow?"}]},
  {"role": "assistant", "content": "Warm."}
]"""
RESPONSES = """[
  {"role": "developer", "content": "Be brief."},
  {"role": "user", "content": [{"type": "input_text", "text": "What is the weather in Paris?"}]},
  {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "enc"},
  {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{\\"lat\\": 4.886e1}"},
  {"type": "function_call_output", "call_id": "call_1", "output": "warm", "status": "completed"},
  {"role": "assistant", "content": "Warm."},
  {"type": "item_reference", "id": "msg_9", "weight": 1e2}
]"""
CHAT = """[
  {"role": "system", "content": "Be brief."},
  {"role": "user", "name": "ann", "content": [{"type": "text", "text": "What is the weather in Paris?"}]},
  {"role": "assistant", "content": null, "reasoning": "Let me see.", "tool_calls": [
    {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}]},
  {"role": "tool", "tool_call_id": "call_1", "content": "warm", "weight": 1e2},
  {"role": "assistant", "content": "Warm."}
]"""
DIALECTS = pytest.mark.parametrize(
    ("module", "messages", "found"),
    [
        (lutum_claude, CLAUDE, ["Message", "CommittedTurn", "ToolResult", "Message", "CommittedTurn"]),
        (
            responses,
            RESPONSES,
            ["Message", "Message", "CommittedTurn", "ToolResult", "CommittedTurn", "Raw"],
        ),
        (chat, CHAT, ["Message", "Message", "CommittedTurn", "ToolResult", "CommittedTurn"]),
    ],
    ids=["claude", "responses", "chat"],
)


@DIALECTS
def test_messages_come_back_as_they_were(module: ModuleType, messages: str, found: list[str]) -> None:
    """Also out of a dump, with the digits of their numbers; what is said has become items."""
    transcript = module.from_messages(messages, model="m")
    assert kinds(transcript) == found
    assert value(module.to_messages(transcript)) == value(messages)
    loaded = lutum.Transcript.load(transcript.dump())
    assert value(module.to_messages(loaded)) == value(messages)
    assert [turn.exact for turn in transcript if isinstance(turn, lutum.CommittedTurn)] == [True, True]


@DIALECTS
def test_messages_are_text_bytes_or_objects(module: ModuleType, messages: str, found: list[str]) -> None:
    """What another library holds as a list needs no dumping first."""
    expected = module.from_messages(messages)
    assert module.from_messages(messages.encode()) == expected
    assert kinds(module.from_messages(json.loads(messages))) == found


def test_what_items_say_in_full_is_nothing_but_those_items() -> None:
    """A message of this adapter's own making reads as if it had been pushed."""
    pushed = lutum.ModelInput().user("Hello.").transcript
    assert lutum_claude.from_messages(lutum_claude.to_messages(pushed)) == pushed
    assert responses.from_messages(responses.to_messages(pushed)) == pushed
    assert chat.from_messages(chat.to_messages(pushed)) == pushed


def test_a_whole_body_brings_its_system_and_its_tools() -> None:
    """A logged request needs no taking apart; its model is who answered."""
    tool = {"name": "weather", "description": "Tells it.", "input_schema": {"type": "object"}}
    searching = {"type": "web_search_20250305", "name": "web_search"}
    system = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    body = {"model": "claude-x", "system": system, "tools": [tool, searching], "messages": json.loads(CLAUDE)}
    transcript = lutum_claude.from_messages(json.dumps(body))
    assert transcript.head.tools == (lutum.ToolDef("weather", '{"type": "object"}', "Tells it."),)
    (item,) = transcript.head.system
    assert isinstance(item, lutum.Message)
    assert item.text == "Be brief."
    assert json.loads(lutum_claude.to_system(transcript) or b"") == system
    assert json.loads(lutum_claude.to_messages(transcript)) == body["messages"]
    assert [turn.model for turn in transcript if isinstance(turn, lutum.CommittedTurn)] == ["claude-x"] * 2


def test_instructions_become_the_first_item() -> None:
    """The adapter never sends `instructions`, which no transcript would keep."""
    body = {"model": "gpt-5", "instructions": "Be brief.", "input": "Hello."}
    transcript = responses.from_messages(body)
    assert transcript == lutum.ModelInput().system("Be brief.").user("Hello.").transcript


def test_tools_of_a_list_are_given() -> None:
    """So that the next turn's tools are those that the conversation began with."""
    transcript = chat.from_messages(CHAT, tools=WEATHER.definitions)
    assert transcript.head.tools == WEATHER.definitions


def test_cache_breakpoints_stay_where_they_were() -> None:
    """The adapter writes none of its own into a block that has one, and no more than four in all."""
    mark = {"cache_control": {"type": "ephemeral"}}
    system = [{"type": "text", "text": "Be brief."} | mark]
    content = [{"type": "text", "text": "Hello."} | mark]
    body = {"system": system, "messages": [{"role": "user", "content": content}]}
    llm = lutum.Lutum(ClaudeAdapter("claude-sonnet-4-5", api_key="k"))
    session = lutum.Session(llm, lutum_claude.from_messages(body))
    sent = session.text_turn().preview().body
    assert sent.count(b"cache_control") == 2
    assert json.loads(sent)["system"] == system
    session.push_ephemeral_user("Now.")
    assert session.text_turn().preview().body.count(b"cache_control") == 2
    session.push_user("And then?")
    assert session.text_turn().preview().body.count(b"cache_control") <= 4


def test_media_become_parts() -> None:
    """Images and documents are what every adapter takes; what no part says stays raw."""
    content = [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        {"type": "document", "source": {"type": "url", "url": "https://a.test/b.pdf"}, "title": "B"},
        {"type": "search_result", "source": "https://a.test", "title": "t", "content": []},
    ]
    (item,) = lutum_claude.from_messages([{"role": "user", "content": content}])
    assert isinstance(item, lutum.Message)
    assert [type(part) for part in item.content] == [lutum.Image, lutum.Document, lutum.Raw]
    url = f"data:image/png;base64,{PNG}"
    image = [{"type": "image_url", "image_url": {"url": url, "detail": "low"}}]
    (item,) = transcript = chat.from_messages([{"role": "user", "content": image}])
    assert isinstance(item, lutum.Message)
    assert isinstance(item.content[0], lutum.Image)
    assert json.loads(chat.to_messages(transcript))[0]["content"] == image
    (item,) = responses.from_messages(
        [{"role": "user", "content": [{"type": "input_image", "image_url": url, "detail": "auto"}]}]
    )
    assert isinstance(item, lutum.Message)
    assert item.content[0] == lutum.Image.from_bytes(b"\x89PNG\r\n\x1a\n")


def test_calls_without_their_results_stay_raw() -> None:
    """A transcript holds no such round, but what somebody logged is kept."""
    call = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}
    broken = [
        {"role": "user", "content": "Go."},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_2", "content": "?"}]},
    ]
    transcript = lutum_claude.from_messages(broken)
    assert kinds(transcript) == ["Message", "Raw", "Raw"]
    assert json.loads(lutum_claude.to_messages(transcript)) == broken
    assert kinds(lutum_claude.from_messages(broken[:2])) == ["Message", "CommittedTurn"]
    assert lutum_claude.from_messages(broken[:2]).open_calls == ("toolu_1",)


def test_neighbours_of_one_role_stay_two_messages() -> None:
    """Claude would read them as one, and they are two all the same."""
    twice = [{"role": "user", "content": [{"type": "text", "text": text}]} for text in ("One.", "Two.")]
    assert json.loads(lutum_claude.to_messages(lutum_claude.from_messages(twice))) == twice


@pytest.mark.parametrize("bad", ["", "{", "7", '{"model":"m"}', '["hello"]', b"\xff"])
@pytest.mark.parametrize("module", [lutum_claude, responses, chat], ids=["claude", "responses", "chat"])
def test_what_is_no_list_of_messages_is_refused(module: ModuleType, bad: bytes | str) -> None:
    """The field is named."""
    with pytest.raises(lutum.BadValue, match=r"^messages: "):
        module.from_messages(bad)


def test_openrouter_reads_chat_for_its_own_host() -> None:
    """So its turns go back to it with their reasoning."""
    turn = next(i for i in lutum_openrouter.from_messages(CHAT) if isinstance(i, lutum.CommittedTurn))
    assert turn.scope == "openrouter.ai"
    assert value(lutum_openrouter.to_messages(lutum_openrouter.from_messages(CHAT))) == value(CHAT)


def test_other_adapters_read_what_was_read_in() -> None:
    """A conversation logged at one provider goes on at another, as what it says."""
    transcript = lutum_claude.from_messages(CLAUDE).append(lutum.ModelInput().user("Thanks.").transcript[0])
    sent = json.loads(chat.to_messages(transcript))
    assert [message["role"] for message in sent] == ["user", "assistant", "tool", "user", "assistant", "user"]
    assert sent[0]["content"] == "What is the weather in Paris?"
    assert sent[1]["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"lat": 4.886e1}'}
    assert sent[2] == {"role": "tool", "tool_call_id": "toolu_1", "content": "warm"}
    items = json.loads(responses.to_messages(transcript))
    kinds = [item["type"] for item in items]
    assert kinds == ["message", "function_call", "function_call_output", "message", "message", "message"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "adapter"),
    [
        (lutum_claude, ClaudeAdapter("claude-sonnet-4-5", api_key="k")),
        (lutum_gemini, GeminiAdapter("gemini-3.8-flash", api_key="k")),
        (responses, OpenAIAdapter("gpt-5", api_key="k")),
        (chat, OpenAIChatAdapter("gpt-4o", api_key="k")),
    ],
    ids=["claude", "gemini", "responses", "chat"],
)
@given(data=st.data())
def test_what_was_written_reads_back(module: ModuleType, adapter: Adapter, data: st.DataObject) -> None:
    """Of any transcript that the provider takes, whoever made its turns."""
    try:
        written = module.to_messages(data.draw(strategies.transcripts(adapter)))
    except lutum.BadValue:  # Chat takes no images by id and no documents by URL
        reject()
    assert value(module.to_messages(module.from_messages(written))) == value(written)


RECORDED: list[tuple[Any, str, ModuleType, str]] = [
    ("claude_messages", "messages", lutum_claude, "claude"),
    ("openai_responses", "input", responses, "responses"),
    ("openai_chat", "messages", chat, "chat"),
]


def recorded(name: Any, member: str) -> list[dict[str, Any]]:
    """The records whose request has messages; one has a message that the recording cut to a word."""
    found: list[dict[str, Any]] = []
    for record in corpus.load(name):
        request = record["request"]
        given = request.get(member) if isinstance(request, dict) else None
        if isinstance(given, str) or (
            isinstance(given, list) and all(isinstance(message, dict) for message in given)
        ):
            found.append(record)
    return found


def expected(request: dict[str, Any], member: str) -> list[Any]:
    """An input that is a string is short for a message of the user (api/reference, `input`)."""
    given = request[member]
    return [{"type": "message", "role": "user", "content": given}] if isinstance(given, str) else given


@pytest.mark.corpus
@pytest.mark.parametrize(("name", "member", "module", "id"), RECORDED, ids=lambda value: value)
def test_every_recorded_request_comes_back(name: Any, member: str, module: ModuleType, id: str) -> None:
    """`to_messages(from_messages(x)) == x`, of the list and of the whole body, and out of a dump."""
    for record in recorded(name, member):
        request = record["request"]
        want = value(json.dumps(expected(request, member)))
        transcript = module.from_messages(json.dumps(request[member]))
        assert value(module.to_messages(transcript)) == want, record["id"]
        whole = lutum.Transcript.load(module.from_messages(json.dumps(request)).dump())
        got = value(module.to_messages(whole))
        if id == "claude":
            system = lutum_claude.to_system(whole)
            assert (None if system is None else json.loads(system)) == request.get("system"), record["id"]
        elif id == "responses" and request.get("instructions"):
            assert got.pop(0)["content"] == request["instructions"], record["id"]
        assert got == want, record["id"]


def plain(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Claude's messages as the adapter joins them: lists, one message a role, no marks, no blank text."""
    joined: list[dict[str, Any]] = []
    for message in messages:
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        kept = [unmarked(block) for block in blocks if block.get("type") != "text" or block["text"].strip()]
        if joined and joined[-1]["role"] == message["role"]:
            joined[-1]["content"] += kept
        else:
            joined.append({"role": message["role"], "content": kept})
    return joined


def unmarked(value: Any) -> Any:
    if isinstance(value, list):
        return [unmarked(entry) for entry in value]
    if isinstance(value, dict):
        return {name: unmarked(entry) for name, entry in value.items() if name != "cache_control"}
    return value


def told(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Chat's messages without what the adapter never sends back."""
    found = []
    for message in messages:
        kept = {name: entry for name, entry in message.items() if name != "annotations"}
        if kept.get("tool_calls"):
            kept["tool_calls"] = [
                {name: entry for name, entry in call.items() if name != "index"}
                for call in kept["tool_calls"]
            ]
        else:
            kept.pop("tool_calls", None) if kept["role"] == "assistant" else None
        found.append(kept)
    return found


ADAPTERS: dict[str, tuple[Callable[[str], Adapter], Callable[[Any], Any]]] = {
    "claude": (
        lambda model: ClaudeAdapter(
            model, api_key="k", replay_scope="here", options=ClaudeOptions(cache="off")
        ),
        plain,
    ),
    "responses": (lambda model: OpenAIAdapter(model, api_key="k", replay_scope="here"), lambda items: items),
    "chat": (lambda model: OpenAIChatAdapter(model, api_key="k", replay_scope="here"), told),
}


@pytest.mark.corpus
@pytest.mark.parametrize(("name", "member", "module", "id"), RECORDED, ids=lambda value: value)
def test_what_goes_on_is_what_was_recorded(name: Any, member: str, module: ModuleType, id: str) -> None:
    """A conversation that was read in is sent as its provider had it: its caches and its thinking hold."""
    adapter, reduced = ADAPTERS[id]
    for record in recorded(name, member):
        request = record["request"]
        if record["status"] != 200 or record.get("request_elided"):
            continue
        model = request.get("model") or "claude-sonnet-4-5"
        transcript = module.from_messages(json.dumps(request), scope="here", model=model)
        if transcript.open_calls:
            continue
        plan = ToolPlan(head=transcript.head.tools or (), choice="none")
        prepared = adapter(model).prepare(TurnRequest(transcript=transcript, tools=plan))
        sent = json.loads(prepared.body)[member]
        if id == "responses" and request.get("instructions"):
            assert sent.pop(0)["content"] == request["instructions"]
        assert reduced(sent) == reduced(expected(request, member)), record["id"]
