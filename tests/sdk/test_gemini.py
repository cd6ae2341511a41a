"""google-genai beside the Gemini adapter: its types accept our requests, and it reads the recorded answers
as we do. Run by `nox -s sdk_types`."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from typing import Any

import httpx
import pytest
from gemini.gemini_wire import (
    FOUR,
    LOOK,
    SCOPE,
    THREE,
    TWO,
    call,
    events_of,
    frame,
    prepare,
    recordings,
    text,
    turn,
)

import lutum
from lutum import Document, Image, ModelInput, Text, ToolResult
from lutum.abc import OutputFormat, Prepared, ToolPlan
from lutum_gemini import GeminiAdapter, GeminiOptions

with warnings.catch_warnings(action="ignore"):
    from google import genai
    from google.genai import types

PNG = b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\rIHDR" + b"\x00\x00\x00\x01" * 2
MEMBERS: dict[str, Any] = {
    "systemInstruction": types.Content,
    "contents": list[types.Content],
    "tools": list[types.Tool],
    "toolConfig": types.ToolConfig,
    "safetySettings": list[types.SafetySetting],
    "generationConfig": types.GenerationConfig,
}
# Members that lutum sends and the SDK's request types lack.
UNDECLARED = {
    "cachedContent": "a member of GenerateContentConfig in the SDK",
    "serviceTier": "likewise",
    "labels": "likewise",
    "continuationToken": "the SDK continues an answer by itself",
}


def conversation(model: str) -> ModelInput:
    """A conversation with everything that an item can hold."""
    made = turn(
        frame(text("hm", thought=True), model=model),
        frame(call(args={"at": "x"}, thoughtSignature="c2ln"), call(args={}), finish="STOP", model=model),
        model=model,
    )
    first, second = (one.id for one in made.tool_calls)
    shot = ToolResult(first, (Text("a shot"), Image.from_bytes(PNG)))
    return (
        ModelInput()
        .system("Be brief.")
        .user([Text("Hi"), Image.from_bytes(PNG), Document.from_bytes(b"RIFF", media_type="audio/wav")])
        .user([Image.from_url("https://a.example/cat.png"), Document("video/mp4", file_id="gs://b/film")])
        .turn(made)
        .item(shot)
        .tool_result(second, "no", is_error=True)
        .system("Now French.")
        .user("Go on.")
    )


EVERYTHING = GeminiOptions(
    include_thoughts=True,
    safety_settings={"HARM_CATEGORY_HARASSMENT": "BLOCK_NONE"},
    server_tools=({"googleSearch": {}}, {"codeExecution": {}}),
    retrieval_config={"languageCode": "en"},
    response_modalities=("TEXT",),
    media_resolution="MEDIA_RESOLUTION_LOW",
    logprobs=2,
    top_k=3,
    service_tier="flex",
    cached_content=None,
)
FILM = OutputFormat("Film", '{"type":"object","properties":{"title":{"type":"string"}},"required":["title"]}')
CASES: dict[str, Prepared] = {
    "conversation, Gemini 2.5": prepare(conversation(TWO), TWO, tools=ToolPlan(head=(LOOK,))),
    "conversation, Gemini 3": prepare(conversation(THREE), THREE, tools=ToolPlan(head=(LOOK,))),
    "foreign": prepare(conversation(THREE), FOUR, tools=ToolPlan(head=(LOOK,), choice="any")),
    "options": prepare(
        ModelInput().user("Hi"),
        THREE,
        options=EVERYTHING,
        tools=ToolPlan(head=(LOOK,), choice="tool", tool="look"),
        temperature=0.5,
        top_p=0.9,
        stop=("END",),
        seed=7,
    ),
    "level": prepare(ModelInput().user("Hi"), FOUR, options=GeminiOptions(thinking_level="high")),
    "budget": prepare(ModelInput().user("Hi"), TWO, options=GeminiOptions(thinking_budget=0)),
    "schema": prepare(ModelInput().user("Hi"), TWO, output=FILM),
    "forced tool": prepare(
        ModelInput().user("Hi"), TWO, output=FILM, options=GeminiOptions(structured="tool")
    ),
    "cache": prepare(ModelInput().user("Hi"), TWO, options=GeminiOptions(cached_content="cachedContents/a")),
}


@pytest.mark.parametrize("case", CASES)
def test_bodies_are_what_the_sdk_declares(case: str) -> None:
    """Every member of a request body, and no member more: the SDK's types forbid unknown ones."""
    import pydantic

    for name, value in json.loads(CASES[case].body).items():
        if name in UNDECLARED:
            continue
        pydantic.TypeAdapter(MEMBERS[name]).validate_json(json.dumps(value))


def by_sdk(sse: str) -> tuple[str, str, list[Any], list[str], int | None]:
    """What the SDK makes of a stream: text, thoughts, calls, finish reasons and the last total."""

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=sse.encode())

    client = genai.Client(
        api_key="k",
        http_options=types.HttpOptions(httpx_client=httpx.Client(transport=httpx.MockTransport(answer))),
    )
    said, thought, calls, reasons, total = "", "", list[Any](), list[str](), None
    for chunk in client.models.generate_content_stream(model=TWO, contents="Hi"):
        for candidate in (chunk.candidates or [])[:1]:
            for part in (candidate.content and candidate.content.parts) or []:
                if part.text and part.thought:
                    thought += part.text
                elif part.text:
                    said += part.text
                elif part.function_call:
                    calls.append((part.function_call.name, part.function_call.args or {}))
            if candidate.finish_reason:
                reasons.append(candidate.finish_reason.value)
        if chunk.usage_metadata and chunk.usage_metadata.total_token_count is not None:
            total = chunk.usage_metadata.total_token_count
    return said, thought, calls, reasons, total


# Why the two do not agree.
REASONS = {
    "SDK fails": "hand-made fixtures that its types do not take",
    "both fail": "an error frame, or a call that nobody can read",
    "no turn": "no finish reason at the end: the SDK takes any end for an answer",
    "calls": "arguments that come in pieces, which the SDK does not assemble",
    "total": "a report whose total is not the sum of its parts",
}


@pytest.mark.corpus
def test_the_sdk_agrees_in_sdk_gemini() -> None:
    """Every recorded stream is the same answer to both, but for those whose difference has a reason."""
    seen = Counter[str]()
    for record in recordings():
        if not record["sse"] or record["status"] != 200:
            continue
        seen[difference(record) or "agree"] += 1
    print(f"\n{seen.total()} streams, {seen['agree']} agree")
    for reason, count in seen.most_common():
        print(f"  {count}  {reason}: {REASONS.get(reason, '')}")
    assert seen.keys() <= {"agree", *REASONS}
    assert seen["agree"] > 0.95 * seen.total()


def difference(record: dict[str, Any]) -> str:
    """Why the SDK and lutum do not agree about a stream; empty if they do."""
    try:
        with warnings.catch_warnings(action="ignore"):
            theirs = by_sdk(record["sse"])
    except Exception:  # whatever it raises
        theirs = None
    try:
        events = events_of(record)
    except lutum.ProviderError:
        return "both fail"
    if theirs is None:
        return "SDK fails"
    if not events or not isinstance(events[-1], lutum.Completed):
        return "no turn"
    end = events[-1]
    said, thought, calls, _, total = theirs
    mine = [(one.name, json.loads(one.arguments)) for one in end.turn.tool_calls]
    if (said, thought) != (end.turn.text, end.turn.reasoning):
        return f"text of {record['id']}"
    if calls != mine:
        return "calls" if "partialArgs" in record["sse"] else f"calls of {record['id']}"
    if total is not None and total != end.usage.total_tokens:
        return "total"
    return ""


def test_the_sdk_and_the_adapter_use_one_url() -> None:
    """But for the version: the SDK's default is `v1`, which `api_version=` chooses here."""
    seen = list[str]()

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(str(request.url))
        return httpx.Response(200, content=b"")

    http = types.HttpOptions(httpx_client=httpx.Client(transport=httpx.MockTransport(answer)))
    list(
        genai.Client(api_key="k", http_options=http).models.generate_content_stream(model=TWO, contents="Hi")
    )
    adapter = GeminiAdapter(TWO, api_key="k", base_url=f"https://{SCOPE}", api_version="v1")
    assert seen == [prepare(ModelInput().user("Hi"), via=adapter).url]
