"""Requests, streams and turns for the tests of the Claude adapter."""

from typing import Any

import msgspec

import lutum
from lutum.abc import Prepared, ToolPlan, TurnRequest
from lutum_claude import ClaudeAdapter, ClaudeOptions, _turn
from lutum_claude._decode import ClaudeDecoder

SCOPE = "api.anthropic.com"
BOUND = "claude-opus-5-5"
PLAIN = "claude-sonnet-4-5"


def adapter(model: str = PLAIN, **given: Any) -> ClaudeAdapter:
    return ClaudeAdapter(model, api_key="test-key", base_url=f"https://{SCOPE}", **given)


def prepare(
    transcript: lutum.Transcript | lutum.ModelInput,
    model: str = PLAIN,
    *,
    options: ClaudeOptions | None = None,
    tools: ToolPlan | None = None,
    ephemerals: tuple[tuple[int, lutum.Item], ...] = (),
    output: Any = None,
    via: ClaudeAdapter | None = None,
    **settings: Any,
) -> Prepared:
    if isinstance(transcript, lutum.ModelInput):
        transcript = transcript.transcript
    ext = (options,) if options else ()
    request = TurnRequest(
        transcript=transcript,
        ephemerals=ephemerals,
        settings=lutum.Settings(model=model, ext=ext, **settings),
        tools=tools or ToolPlan(),
        output=output,
    )
    return (via or adapter()).prepare(request)


def body(prepared: Prepared) -> Any:
    return msgspec.json.decode(prepared.body)


def blocks(prepared: Prepared) -> list[tuple[str, Any]]:
    """The flat sequence of (role, block), cache marks left out."""
    found = list[tuple[str, Any]]()
    for message in body(prepared)["messages"]:
        content = message["content"]
        if isinstance(content, str):
            content = [{"type": "text", "text": content, "clear_at": message.get("clear_at")}]
        for block in content:
            block.pop("cache_control", None)
            found.append((message["role"], block))
    return found


def tool(name: str = "look", description: str = "") -> lutum.ToolDef:
    return lutum.ToolDef(name, '{"type":"object","properties":{}}', description)


def message_json(content: bytes, *, model: str = PLAIN, stop_reason: str = "end_turn") -> bytes:
    return (
        b'{"id":"msg_1","type":"message","role":"assistant","model":"%b","content":%b,"stop_reason":"%b",'
        b'"stop_sequence":null,"usage":{"input_tokens":10,"output_tokens":5}}'
    ) % (model.encode(), content, stop_reason.encode())


def turn(
    *content: dict[str, Any],
    model: str = PLAIN,
    stop_reason: str = "end_turn",
    scope: str = SCOPE,
    **given: Any,
) -> lutum.CommittedTurn:
    whole = message_json(msgspec.json.encode(content), model=model, stop_reason=stop_reason)
    return _turn.turn_from_message(whole, scope=scope, **given)


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def thinking(words: str = "hm", signature: str = "sig") -> dict[str, Any]:
    return {"type": "thinking", "thinking": words, "signature": signature}


def call(id: str = "toolu_1", name: str = "look", input: Any = None) -> dict[str, Any]:
    return {"type": "tool_use", "id": id, "name": name, "input": input or {}}


def sse(*events: bytes | dict[str, Any]) -> bytes:
    """A stream of these events; a dict is encoded."""
    out = bytearray()
    for event in events:
        data = event if isinstance(event, bytes) else msgspec.json.encode(event)
        out += b"data: %b\n\n" % data
    return bytes(out)


def start(**members: Any) -> dict[str, Any]:
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": PLAIN,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 1},
    }
    return {"type": "message_start", "message": {**message, **members}}


def begin(index: int, block: dict[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, **members: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": members}


def stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def finish(stop_reason: str | None = "end_turn", **members: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    reason = {"stop_reason": stop_reason, "stop_sequence": None, **members}
    return (
        {"type": "message_delta", "delta": reason, "usage": {"output_tokens": 7}},
        {"type": "message_stop"},
    )


def decoder(**given: Any) -> ClaudeDecoder:
    return ClaudeDecoder(lutum.Response(request_id="req_1"), **{"model": PLAIN, "scope": SCOPE, **given})


def decode(stream: bytes, **given: Any) -> list[lutum.Event]:
    """Every event of a stream that is fed whole and ends."""
    reading, out = decoder(**given), list[lutum.Event]()
    reading.feed(stream, out)
    reading.eof(out)
    return out


def completed(events: list[lutum.Event]) -> lutum.Completed:
    last = events[-1]
    assert isinstance(last, lutum.Completed)
    return last
