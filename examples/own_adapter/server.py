"""A server for Reed in memory. It answers from a script and refuses the requests that Reed would refuse.

It seals each answer. If the model's line comes back with a seal, it has to be the line that was sealed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

import httpx

Event = tuple[str, dict[str, object]]


def text(*pieces: str, why: str = "done", used: tuple[int, int] = (12, 5)) -> list[Event]:
    """Return the events of an answer of text."""
    said: list[Event] = [("text", {"text": piece}) for piece in pieces]
    return [*said, *_end(why, used)]


def call(name: str, input: object, id: str = "c1") -> list[Event]:
    """Return the events of an answer that calls a tool."""
    return [("call", {"call": id, "name": name, "input": input}), *_end("call", (20, 9))]


def _end(why: str, used: tuple[int, int]) -> list[Event]:
    return [("used", {"in": used[0], "out": used[1]}), ("close", {"why": why})]


def body(events: Iterable[Event]) -> bytes:
    """Return an answer as Reed streams it, sealed."""
    parts = list[dict[str, object]]()
    out = ['event: open\ndata: {"id":"r1","model":"reed-2"}\n\n']
    for name, value in events:
        if name == "text" and parts and "text" in parts[-1]:
            parts[-1] = {"text": f"{parts[-1]['text']}{value['text']}"}
        elif name in ("text", "call"):
            parts.append(value)
        sealed = {"seal": seal(parts)} if name == "close" else {}
        out.append(f"event: {name}\ndata: {json.dumps({**value, **sealed})}\n\n")
    return "".join(out).encode()


def seal(parts: Sequence[object]) -> str:
    """Return the seal of the parts of a line."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


class ReedServer:
    """Answers one request after another. `requests` has the bodies of all requests."""

    def __init__(self, *answers: list[Event]) -> None:
        self.requests = list[dict[str, Any]]()
        self._answers = list(answers)

    def client(self) -> httpx.AsyncClient:
        """Return a client for `ReedAdapter(http_client=)` that speaks to this server."""
        return httpx.AsyncClient(transport=httpx.MockTransport(self._answer))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        asked: dict[str, Any] = json.loads(request.content)
        if problem := self._problem(request, asked):
            return httpx.Response(400, json={"error": {"type": "bad_request", "message": problem}})
        self.requests.append(asked)
        headers = {"content-type": "text/event-stream"}
        return httpx.Response(200, headers=headers, content=body(self._answers.pop(0)))

    def _problem(self, request: httpx.Request, asked: dict[str, Any]) -> str:
        if request.headers.get("x-reed-key") != "reed-key":
            return "the key is wrong"
        if unknown := asked.keys() - MEMBERS:
            return f"{min(unknown)} is unknown"
        for line in asked["lines"]:
            if line["by"] == "model" and line.get("seal") not in (None, seal(line["parts"])):
                return "a line is not the one that was sealed"
        return ""


MEMBERS = {
    "end",
    "form",
    "heat",
    "limit",
    "lines",
    "may",
    "model",
    "seed",
    "system",
    "tone",
    "tools",
    "top",
    "use",
}
