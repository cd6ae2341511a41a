"""Requests, streams and turns for the tests of the Chat adapter."""

from collections.abc import Iterable
from typing import Any

import msgspec

import lutum
from lutum.abc import OutputFormat, Prepared, ToolPlan, TurnRequest
from lutum_openai import OpenAIOptions
from lutum_openai.chat import _turn
from lutum_openai.chat._adapter import OpenAIChatAdapter
from lutum_openai.chat._decode import ChatDecoder

SCOPE = "api.openai.com"
MODEL = "gpt-4o"
SCHEMA = '{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}'


def adapter(host: str = SCOPE, model: str = MODEL, **given: Any) -> OpenAIChatAdapter:
    given.setdefault("base_url", f"https://{host}/v1")
    return OpenAIChatAdapter(model, api_key="test-key", **given)


def prepare(
    transcript: lutum.Transcript | lutum.ModelInput,
    *,
    via: OpenAIChatAdapter | None = None,
    options: OpenAIOptions | None = None,
    tools: ToolPlan | None = None,
    ephemerals: tuple[tuple[int, lutum.Item], ...] = (),
    output: OutputFormat | None = None,
    **settings: Any,
) -> Prepared:
    if isinstance(transcript, lutum.ModelInput):
        transcript = transcript.transcript
    request = TurnRequest(
        transcript=transcript,
        ephemerals=ephemerals,
        settings=lutum.Settings(ext=(options,) if options else (), **settings),
        tools=tools or ToolPlan(),
        output=output,
    )
    return (via or adapter()).prepare(request)


def body(prepared: Prepared) -> Any:
    return msgspec.json.decode(prepared.body)


def tool(name: str = "look", description: str = "") -> lutum.ToolDef:
    return lutum.ToolDef(name, '{"type":"object","properties":{}}', description)


def turn(message: dict[str, Any] | bytes, *, scope: str = SCOPE, **given: Any) -> lutum.CommittedTurn:
    if isinstance(message, dict):
        message = msgspec.json.encode({"role": "assistant", **message})
    return _turn.turn_from_message(message, scope=scope, model=MODEL, **given)


def call(id: str = "call_1", name: str = "look", arguments: str = "{}", **more: Any) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}, **more}


def decoder(**given: Any) -> ChatDecoder:
    given.setdefault("scope", SCOPE)
    given.setdefault("estimate", lutum.Estimate(100, 50))
    return ChatDecoder(lutum.Response(request_id="req_1"), model=MODEL, **given)


def decode(data: bytes, chunks: Iterable[bytes] | None = None, **given: Any) -> list[lutum.Event]:
    """The events of a whole response."""
    reading, out = decoder(**given), list[lutum.Event]()
    for chunk in [data] if chunks is None else chunks:
        reading.feed(chunk, out)
    reading.eof(out)
    return out


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> bytes:
    """A data line with one choice, or with none where there is no delta."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    whole = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "gpt-4o-x", "choices": choices}
    return b"data: " + msgspec.json.encode(whole | more) + b"\n\n"


DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def stream(*deltas: dict[str, Any], finish: str = "stop") -> bytes:
    """A whole stream as api.openai.com sends it."""
    return b"".join(map(chunk, deltas)) + chunk({}, finish) + chunk(usage=USAGE) + DONE


def completed(events: list[lutum.Event]) -> lutum.Completed:
    last = events[-1]
    assert isinstance(last, lutum.Completed), events
    return last


def of(events: list[lutum.Event], kind: type[Any]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]
