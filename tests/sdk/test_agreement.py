"""The official SDKs accumulate the recorded streams, and what they make of each is what lutum makes of it.

Compared are text, tool calls, finish reason and usage of the whole turn: the SDK's own client on one
side, a turn of lutum's on the other, each fed the same bytes by a transport in memory.
"""

import json
import re
import warnings
from collections import Counter
from typing import Any, NamedTuple

import anthropic
import corpus
import httpx
import httpx2
import openai
import pytest

import lutum
from lutum_claude import ClaudeAdapter
from lutum_openai import OpenAIAdapter, OpenAIChatAdapter

pytestmark = pytest.mark.corpus

HEADERS = {"content-type": "text/event-stream", "x-request-id": "req_1", "request-id": "req_1"}
NAME = re.compile(r'"name"\s*:\s*"([a-zA-Z0-9_.:-]{1,64})"')
USER: Any = [{"role": "user", "content": "Hi"}]


class Answer(NamedTuple):
    """A turn as both sides can tell it; arguments are JSON values where they are JSON."""

    text: str
    calls: tuple[tuple[str, str, str], ...]
    finish: str
    usage: tuple[int, int] | None


def arguments(value: Any) -> str:
    """One form for arguments that were received as text or as a value."""
    try:
        value = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return str(value)
    return json.dumps(value, sort_keys=True)


# --- what the SDKs say ---------------------------------------------------------------------------


def by_anthropic(sse: str) -> Answer:
    client = anthropic.Anthropic(api_key="k", max_retries=0, http_client=in_memory(sse))
    with client.beta.messages.stream(model="m", max_tokens=1, messages=USER) as stream:
        message = stream.get_final_message()
    usage, calls = message.usage, [block for block in message.content if block.type == "tool_use"]
    cached = (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
    return Answer(
        "".join(block.text for block in message.content if block.type == "text"),
        tuple((call.id, call.name, arguments(call.input)) for call in calls),
        message.stop_reason or "",
        (usage.input_tokens + cached, usage.output_tokens),
    )


def by_openai_chat(sse: str) -> Answer:
    client = openai.OpenAI(api_key="k", max_retries=0, http_client=in_memory(sse))
    with client.chat.completions.stream(model="m", messages=USER) as stream:
        try:
            completion = stream.get_final_completion()
        except openai.LengthFinishReasonError as cut:  # raised in place of the answer, which it carries
            completion = cut.completion
    choice: Any = completion.choices[0]
    usage = completion.usage
    calls = [call for call in choice.message.tool_calls or () if call.type != "custom"]
    return Answer(
        choice.message.content or "",
        tuple((call.id or "", call.function.name, arguments(call.function.arguments)) for call in calls),
        choice.finish_reason or "",
        None if usage is None else (usage.prompt_tokens, usage.completion_tokens),
    )


def by_openai_responses(sse: str) -> Answer:
    client = openai.OpenAI(api_key="k", max_retries=0, http_client=in_memory(sse))
    with client.responses.stream(model="m", input="Hi") as stream:
        response = stream.get_final_response()
    usage, calls = response.usage, [item for item in response.output if item.type == "function_call"]
    return Answer(
        response.output_text,
        tuple((call.call_id, call.name, arguments(call.arguments)) for call in calls),
        response.status or "",
        None if usage is None else (usage.input_tokens, usage.output_tokens),
    )


def in_memory(sse: str) -> httpx2.Client:
    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers=HEADERS, content=sse.encode())

    return httpx2.Client(transport=httpx2.MockTransport(answer))


# --- what lutum says -----------------------------------------------------------------------------


async def by_lutum(protocol: str, sse: str, host: str) -> tuple[Answer, str]:
    """The answer, and how its usage is known."""

    async def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers=HEADERS, content=sse.encode())

    client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    adapter: Any
    if protocol == "claude_messages":
        adapter = ClaudeAdapter("m", api_key="k", base_url="https://api.anthropic.com", http_client=client)
    elif protocol == "openai_chat":
        url = f"https://{host}/v1"
        adapter = OpenAIChatAdapter("m", api_key="k", base_url=url, api_version="v1", http_client=client)
    else:
        adapter = OpenAIAdapter("m", api_key="k", base_url="https://api.openai.com/v1", http_client=client)
    names = dict.fromkeys(NAME.findall(sse.replace('\\"', "'")))
    tools = lutum.Toolset(*(lutum.raw_tool(name, {"type": "object"}) for name in names))
    text = list[str]()
    async with client, lutum.Lutum(adapter).text_turn("Hi").tools(tools).stream() as turn:
        async for event in turn:
            if isinstance(event, lutum.TextDelta):
                text.append(event.text)
    match turn.result:
        case lutum.Finished(result):
            finish, made = result.finish_reason, result.turn
        case lutum.NeedsTools(round):
            finish, made = round.finish_reason, round.turn
    calls = tuple((call.id, call.name, arguments(call.arguments)) for call in made.tool_calls)
    usage = turn.usage
    return Answer(
        "".join(text) or made.text, calls, finish, (usage.input_tokens, usage.output_tokens)
    ), usage.known


# --- side by side --------------------------------------------------------------------------------

FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "pause_turn": "paused",
    "refusal": "content_filter",
}
SDK = {
    "claude_messages": by_anthropic,
    "openai_chat": by_openai_chat,
    "openai_responses": by_openai_responses,
}
# Why the two do not agree, by protocol and what the difference begins with.
REASONS: dict[str, dict[str, str]] = {
    "claude_messages": {
        "calls": "arguments cut at max_tokens: the SDK shows what its partial parser made of them",
        "SDK fails: JSONDecodeError": "a gateway's `data: [DONE]` behind the end, which the SDK parses",
    },
    "openai_chat": {
        "SDK fails: TypeError: list indices": "calls without an index: Mistral, Google, Ollama",
        "SDK fails: RuntimeError: Expected list delta entry": "lists without an index: OpenRouter",
        "SDK fails: AssertionError": "chunks whose `object` says nothing are passed over: AI21, Copilot",
        "SDK fails: AttributeError": "a choice without a delta: Azure's filter results",
        "finish:  / stop": "Perplexity and Snowflake leave the reason empty; the usage of the whole ends it",
        "calls": "no arguments at all are an object without members to lutum, and empty text to the SDK",
        "text": "content in parts, then a string: the SDK keeps the string alone",
        "both fail": "an error event in the stream",
    },
    "openai_responses": {
        "SDK fails: RuntimeError: Didn't receive": "`response.incomplete` is no end to the SDK",
        "SDK fails: RuntimeError: Completed output item": "an item's id changes on the way",
        "SDK fails: RuntimeError: Expected to have received": "the SDK wants `response.created` first",
        "calls: () / ": "chatgpt.com ends with a response without output; lutum keeps the items that came",
        "text:  / ": "the same, of words",
        "text": "the recording's deltas are not the text of its items",
        "finish: stop / content_filter": "a refusal, which is a `completed` response like any other",
        "both fail": "an error event in the stream, or JSON that was cut",
    },
}


def why(protocol: str, theirs: Answer | Exception, mine: Answer | Exception, known: str) -> str:
    """The difference, in short; empty where they agree."""
    if isinstance(mine, Exception):
        return f"{'both fail' if isinstance(theirs, Exception) else 'lutum fails'}: {str(mine)[:80]}"
    if isinstance(theirs, Exception):
        return f"SDK fails: {type(theirs).__name__}: {str(theirs)[:80]}"
    for name, a, b in zip(Answer._fields, theirs, mine, strict=True):
        if name == "finish" and protocol == "claude_messages":
            a = FINISH.get(str(a), a)
        if name == "finish" and a == "completed":
            a = "tool_calls" if mine.calls else "stop"
        if name == "finish" and a == "function_call":
            a = "tool_calls"
        if name == "usage" and (a is None or known != "exact"):
            continue
        if a != b:
            return f"{name}: {str(a)[:60]} / {str(b)[:60]}"
    return ""


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("protocol", SDK)
async def test_the_sdk_agrees_in_sdk_agreement(protocol: Any) -> None:
    """Every recorded stream is the same turn to both, but for those whose difference has a reason."""
    compared, seen, unknown = 0, Counter[str](), list[str]()
    for record in corpus.load(protocol):
        if not record["sse"] or record["status"] != 200:
            continue
        compared += 1
        theirs: Answer | Exception
        mine: Answer | Exception
        known = ""
        try:
            with warnings.catch_warnings(action="ignore"):
                theirs = SDK[protocol](record["sse"])
        except Exception as exc:  # whatever it is, it is told
            theirs = exc
        try:
            mine, known = await by_lutum(protocol, record["sse"], record["host"])
        except lutum.TurnError as exc:
            mine = exc
        if difference := why(protocol, theirs, mine, known):
            reason = next((r for r in REASONS[protocol] if difference.startswith(r)), None)
            if reason is None:
                unknown.append(f"{record['id']}: {difference}")
            else:
                seen[reason] += 1
    print(f"\n{protocol}: {compared} streams, {compared - seen.total() - len(unknown)} agree")
    for reason, count in seen.most_common():
        print(f"  {count}  {reason!r}: {REASONS[protocol][reason]}")
    assert not unknown, "\n".join(unknown)
    assert compared
