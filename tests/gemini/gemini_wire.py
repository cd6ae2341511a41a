"""Requests, streams, turns and recordings for the tests of the Gemini adapter."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from typing import Any

import corpus
import httpx
import msgspec
import pytest

import lutum
from lutum.abc import OutputFormat, Prepared, ToolPlan, TurnRequest
from lutum.testing.wire import Answer, Script, WireServer
from lutum_gemini import GeminiAdapter, GeminiOptions
from lutum_gemini.generate._decode import GeminiDecoder

SCOPE = "generativelanguage.googleapis.com"
TWO = "gemini-2.5-flash"
THREE = "gemini-3-flash-preview"
FOUR = "gemini-4-argon"
BYPASS = "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="
LOOK = lutum.ToolDef("look", '{"type":"object","properties":{"at":{"type":"string"}}}', "Looks.")


@cache
def recordings(name: str = "gemini_generate") -> list[dict[str, Any]]:
    """Load recorded exchanges; the test is skipped where there are none."""
    path = corpus.ROOT.parent / "recordings" / "gemini" / f"{name}.jsonl"
    if not path.exists():
        pytest.skip(f"no {path}", allow_module_level=True)
    return msgspec.json.Decoder().decode_lines(path.read_bytes())


def adapter(model: str = TWO, **given: Any) -> GeminiAdapter:
    return GeminiAdapter(model, api_key="test-key", base_url=f"https://{SCOPE}", **given)


def at(server: WireServer, model: str = THREE, **given: Any) -> GeminiAdapter:
    """An adapter on a server in memory."""
    client = httpx.AsyncClient(transport=server.transport())
    return GeminiAdapter(model, api_key="k", base_url=server.url, http_client=client, **given)


def session(
    scripts: Iterable[Script], model: str = THREE, *, default: Answer | None = None, **given: Any
) -> tuple[lutum.Session, WireServer]:
    server = WireServer(scripts, default=default)
    return lutum.Session(lutum.Lutum(at(server, model, **given))), server


def prepare(
    transcript: lutum.Transcript | lutum.ModelInput,
    model: str = TWO,
    *,
    options: GeminiOptions | None = None,
    tools: ToolPlan | None = None,
    ephemerals: tuple[tuple[int, lutum.Item], ...] = (),
    output: OutputFormat | None = None,
    via: GeminiAdapter | None = None,
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


def asked(model: str = TWO, **given: Any) -> Prepared:
    """A small request."""
    return prepare(lutum.ModelInput().user("Hi"), model, **given)


def decoder(model: str = TWO, *, scope: str = SCOPE, prepared: Prepared | None = None) -> GeminiDecoder:
    return GeminiDecoder(lutum.Response(), prepared or asked(model), scope=scope)


def decode(data: bytes, model: str = TWO, **given: Any) -> list[lutum.Event]:
    reading, out = decoder(model, **given), list[lutum.Event]()
    reading.feed(data, out)
    reading.eof(out)
    return out


def frame(
    *parts: Any, finish: str | None = None, usage: dict[str, Any] | None = None, model: str = TWO, **more: Any
) -> bytes:
    """One frame of a stream; `more` are members of the candidate."""
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": 0, **more}
    if not parts:
        candidate["content"] = {"role": "model"}
    if finish is not None:
        candidate["finishReason"] = finish
    whole: dict[str, Any] = {"candidates": [candidate], "modelVersion": model, "responseId": "r1"}
    if usage is not None:
        whole["usageMetadata"] = usage
    return b"data: " + json.dumps(whole).encode() + b"\r\n\r\n"


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"text": words, **more}


def call(name: str = "look", args: Any = None, **more: Any) -> dict[str, Any]:
    given = {"name": name} if args is None else {"name": name, "args": args}
    return {"functionCall": given, **more}


def blocked(reason: str) -> bytes:
    """The answer to a prompt that was blocked."""
    whole = {
        "promptFeedback": {"blockReason": reason},
        "usageMetadata": {"promptTokenCount": 3, "totalTokenCount": 3},
    }
    return b"data: " + json.dumps(whole).encode() + b"\r\n\r\n"


USAGE = {"promptTokenCount": 4, "candidatesTokenCount": 3, "thoughtsTokenCount": 5, "totalTokenCount": 12}


def done(events: list[lutum.Event]) -> lutum.Completed:
    last = events[-1]
    assert isinstance(last, lutum.Completed), events
    return last


def turn(*frames: bytes, model: str = TWO, scope: str = SCOPE) -> lutum.CommittedTurn:
    """The turn of a stream; the last frame names a finish reason."""
    return done(decode(b"".join(frames), model, scope=scope)).turn


def sent(prepared: Prepared) -> list[tuple[str, Any]]:
    """The flat sequence of role and part."""
    return [(content["role"], part) for content in body(prepared)["contents"] for part in content["parts"]]


def bytes_of(record: dict[str, Any]) -> bytes:
    """What the server sent: a stream, or a body."""
    if record["sse"]:
        return record["sse"].encode()
    given = record["json"]
    return given.encode() if isinstance(given, str) else json.dumps(given).encode()


def events_of(record: dict[str, Any]) -> list[lutum.Event]:
    """The events of a recording."""
    prepared = asked(record["model"] or TWO)
    if record["sse"]:
        return decode(bytes_of(record), prepared=prepared)
    return adapter().read_body(prepared, bytes_of(record))


def frames_of(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The frames of a recording as JSON, read without lutum."""
    if not record["sse"]:
        given = record["json"]
        return given if isinstance(given, list) else [given]
    found = list[dict[str, Any]]()
    for block in record["sse"].replace("\r\n", "\n").split("\n\n"):
        lines = [line[5:].strip() for line in block.split("\n") if line.startswith("data:")]
        if lines and lines[0] != "[DONE]":
            found.append(json.loads("\n".join(lines)))
    return found
