"""Requests, streams and turns for the tests of the Responses adapter."""

from typing import Any

import msgspec

import lutum
from lutum.abc import OutputFormat, Prepared, ToolPlan, TurnRequest
from lutum_openai import OpenAIAdapter, OpenAIOptions
from lutum_openai.responses import _turn
from lutum_openai.responses._decode import ResponsesDecoder

SCOPE = "api.openai.com"
PLAIN = "gpt-4.1"
THINKS = "gpt-5.6"


def adapter(model: str = PLAIN, *, base_url: str = f"https://{SCOPE}/v1", **given: Any) -> OpenAIAdapter:
    return OpenAIAdapter(model, **{"api_key": "test-key", "base_url": base_url, **given})


def prepare(
    transcript: lutum.Transcript | lutum.ModelInput,
    model: str = PLAIN,
    *,
    options: OpenAIOptions | None = None,
    tools: ToolPlan | None = None,
    ephemerals: tuple[tuple[int, lutum.Item], ...] = (),
    output: OutputFormat | None = None,
    via: OpenAIAdapter | None = None,
    **settings: Any,
) -> Prepared:
    if isinstance(transcript, lutum.ModelInput):
        transcript = transcript.transcript
    request = TurnRequest(
        transcript=transcript,
        ephemerals=ephemerals,
        settings=lutum.Settings(model=model, ext=(options,) if options else (), **settings),
        tools=tools or ToolPlan(),
        output=output,
    )
    return (via or adapter()).prepare(request)


def body(prepared: Prepared) -> Any:
    return msgspec.json.decode(prepared.body)


def tool(name: str = "look", description: str = "") -> lutum.ToolDef:
    return lutum.ToolDef(name, '{"type":"object","properties":{}}', description)


def message(*content: dict[str, Any] | str, id: str = "msg_1", **more: Any) -> dict[str, Any]:
    parts = [
        {"type": "output_text", "annotations": [], "text": part} if isinstance(part, str) else part
        for part in content
    ]
    return {"id": id, "type": "message", "status": "completed", "role": "assistant", "content": parts, **more}


def call(
    name: str = "look", arguments: str = "{}", id: str = "fc_1", call_id: str = "call_1", **more: Any
) -> dict[str, Any]:
    return {
        "id": id,
        "type": "function_call",
        "status": "completed",
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
        **more,
    }


def reasoning(*summary: str, id: str = "rs_1", **more: Any) -> dict[str, Any]:
    parts = [{"type": "summary_text", "text": text} for text in summary]
    return {"id": id, "type": "reasoning", "summary": parts, **more}


def response(*output: dict[str, Any], status: str = "completed", **more: Any) -> dict[str, Any]:
    usage = {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 15,
    }
    found = {"id": "resp_1", "object": "response", "status": status, "model": PLAIN, "output": list(output)}
    return {**found, "usage": usage, **more}


def event(type: str, **members: Any) -> dict[str, Any]:
    return {"type": type, **members}


def created(**more: Any) -> dict[str, Any]:
    return event("response.created", response=response(status="in_progress", **{"usage": None, **more}))


def added(item: dict[str, Any], index: int | None = 0) -> dict[str, Any]:
    begun = {"function_call": {"arguments": ""}, "message": {"content": []}, "reasoning": {"summary": []}}
    started = {**item, **begun.get(item["type"], {})}
    return event("response.output_item.added", item=started, **_index(index))


def done(item: dict[str, Any], index: int | None = 0) -> dict[str, Any]:
    return event("response.output_item.done", item=item, **_index(index))


def delta(
    kind: str, text: str, item_id: str | None = "msg_1", index: int | None = 0, **more: Any
) -> dict[str, Any]:
    members = {} if item_id is None else {"item_id": item_id}
    return event(f"response.{kind}.delta", delta=text, **members, **_index(index), **more)


def completed(*output: dict[str, Any], **more: Any) -> dict[str, Any]:
    return event("response.completed", response=response(*output, **more))


def sse(*events: dict[str, Any] | bytes) -> bytes:
    out = list[bytes]()
    for found in events:
        if isinstance(found, bytes):
            out.append(found)
        else:
            out.append(b"event: %b\ndata: %b\n\n" % (found["type"].encode(), msgspec.json.encode(found)))
    return b"".join(out)


def decoder(**given: Any) -> ResponsesDecoder:
    return ResponsesDecoder(lutum.Response(request_id="req_1"), **{"model": PLAIN, "scope": SCOPE, **given})


def decode(data: bytes, **given: Any) -> list[lutum.Event]:
    reading, out = decoder(**given), list[lutum.Event]()
    reading.feed(data, out)
    reading.eof(out)
    return out


def finished(events: list[lutum.Event]) -> lutum.Completed:
    assert isinstance(events[-1], lutum.Completed)
    assert sum(isinstance(event, lutum.Completed) for event in events) == 1
    return events[-1]


def turn(
    *output: dict[str, Any], model: str = PLAIN, scope: str = SCOPE, **given: Any
) -> lutum.CommittedTurn:
    whole = response(*output, model=model, **given.pop("response", {}))
    return _turn.turn_from_response(msgspec.json.encode(whole), scope=scope, model=model, **given)


def _index(index: int | None) -> dict[str, int]:
    return {} if index is None else {"output_index": index}
