"""A reply of the Responses API: the events of a stream, and the items of the final response."""

import json
from collections.abc import Mapping
from typing import Any, Final, final

import msgspec

from lutum.testing.wire._dialect import Rendered
from lutum.testing.wire._json import Object
from lutum.testing.wire._openai import (
    CREATED,
    at_openrouter,
    cached_tokens,
    input_tokens,
    json_bytes,
    merged,
    padding,
    pieces_of_arguments,
    pieces_of_text,
)
from lutum.testing.wire._openai_seal import seal
from lutum.testing.wire._plan import Forever, Item, sse
from lutum.testing.wire._request import WireRequest
from lutum.testing.wire._script import (
    At,
    BeforeHead,
    Block,
    Call,
    CutAt,
    ErrorEvent,
    NeverEnding,
    RedactedThink,
    Reply,
    Say,
    SlowClose,
    Step,
    Think,
)

__all__ = ["ResponsesRendering", "begun", "numbered"]

_ENCRYPTED: Final = "reasoning.encrypted_content"
_CUT_SHORT: Final = ("max_output_tokens", "content_filter")


@final
class ResponsesRendering:
    """One reply while it is rendered into events and into the items of the final response."""

    def __init__(self, request: WireRequest, reply: Reply) -> None:
        self._request = request
        self._reply = reply
        self._body: Object = request.json
        self._items: list[Item] = []
        self._count = 0
        self._deltas = 0
        self._thought = 0
        options: Any = self._body.get("stream_options") or {}
        self._padded = options.get("include_obfuscation", True)
        self.failing: int | None = None
        self.output: list[bytes] = []
        self.final: dict[str, Any] = {}
        self.usage: dict[str, Any] = {}

    def render(self) -> Rendered:
        model = self._reply.model or self._body["model"]
        response = begun(self._request, model)
        for kind in ("response.created", "response.in_progress"):
            self._event(kind, response=response)
        for part in self._reply.parts:
            match part:
                case Say(pieces, citations):
                    self._message("output_text", pieces, citations)
                case Think(pieces, signature):
                    self._think(pieces, signature)
                case RedactedThink(data):
                    self._think((), data)
                case Call():
                    self._call(part)
                case Block(raw, deltas):
                    self._block(raw, deltas)
                case NeverEnding(text, delay):
                    self._forever(text, delay)
                case At(step, event):
                    if isinstance(step, ErrorEvent):
                        self._fails(event)
                case BeforeHead() | CutAt() | SlowClose():
                    pass  # placed when the stream is complete
                case _:
                    self._step(part)
        self.usage = self._figures()
        reason = self._reply.stop_reason
        status = "incomplete" if reason in _CUT_SHORT else reason or "completed"
        self.final = response | {
            "status": status,
            "completed_at": CREATED if status == "completed" else None,
            "incomplete_details": self._reply.stop_details
            or ({"reason": reason} if reason in _CUT_SHORT else None),
            "output": [msgspec.Raw(item) for item in self.output],
            "usage": self.usage,
        }
        if not self._body.get("stream"):
            steps = [item for item in self._items if not isinstance(item, bytes)]
            return Rendered([*steps, msgspec.json.encode(self.final)], stream=False)
        self._event(f"response.{status}", response=self.final)
        return Rendered(self._items, stream=True)

    def _figures(self) -> dict[str, Any]:
        usage: dict[str, Any] = {
            "input_tokens": input_tokens(self._request),
            "input_tokens_details": {"cached_tokens": cached_tokens(self._request)},
            "output_tokens": self._deltas + len(self.output),
            "output_tokens_details": {"reasoning_tokens": self._thought},
        }
        usage = merged(usage, self._reply.usage)
        usage.setdefault("total_tokens", usage["input_tokens"] + usage["output_tokens"])
        return usage

    # --- items ---

    def _message(
        self, kind: str, pieces: tuple[str | Step, ...], citations: tuple[Mapping[str, Any], ...] = ()
    ) -> None:
        """Add a message with one part: a text or a refusal."""
        id = self._id("msg")
        at: dict[str, Any] = {"output_index": len(self.output)}
        text = kind == "output_text"
        extra: dict[str, Any] = {"annotations": [], "logprobs": []} if text else {}
        word = "text" if text else "refusal"
        message: dict[str, Any] = {"id": id, "type": "message", "status": "in_progress", "role": "assistant"}
        self._event("response.output_item.added", item=message | {"content": []}, **at)
        at |= {"item_id": id, "content_index": 0}
        self._event("response.content_part.added", part={"type": kind, word: ""} | extra, **at)
        more: dict[str, Any] = {"logprobs": []} if text else {}
        said = self._pieces(f"response.{kind}.delta", pieces, at | more)
        for number, citation in enumerate(citations):
            self._event(
                "response.output_text.annotation.added",
                annotation=citation,
                annotation_index=number,
                **at,
            )
        part = {"type": kind, word: said} | extra
        if text:
            part["annotations"] = list(citations)
        self._event(f"response.{kind}.done", **{word: said}, **at, **more)
        self._event("response.content_part.done", part=part, **at)
        self._done(msgspec.json.encode(message | {"status": "completed", "content": [part]}))

    def _think(self, pieces: tuple[str | Step, ...], sealed: str | None) -> None:
        """Add a reasoning item. Its text is the summary. `sealed` replaces the server's sealed content."""
        id = self._id("rs")
        at: dict[str, Any] = {"output_index": len(self.output)}
        item: dict[str, Any] = {"id": id, "type": "reasoning", "summary": []}
        include: Any = self._body.get("include") or ()
        encrypted = _ENCRYPTED in include and sealed != ""
        partly = {"encrypted_content": self._seal("")} if encrypted else {}  # the reasoning so far
        self._event("response.output_item.added", item=item | partly, **at)
        text = ""
        if pieces:
            at |= {"item_id": id, "summary_index": 0}
            self._event("response.reasoning_summary_part.added", part=_summary(""), **at)
            before = self._deltas
            text = self._pieces("response.reasoning_summary_text.delta", pieces, at)
            self._thought += self._deltas - before
            self._event("response.reasoning_summary_text.done", text=text, **at)
            self._event("response.reasoning_summary_part.done", part=_summary(text), **at)
            item["summary"] = [_summary(text)]
        if encrypted:
            item["encrypted_content"] = sealed or self._seal(text)
        self._done(msgspec.json.encode(item))

    def _seal(self, text: str) -> str:
        return seal(self._body["model"], text)

    def _call(self, call: Call) -> None:
        id, number = self._id("fc"), len(self.output)
        call_id = call.id or f"call_{self._request.id}_{number:02}"
        item = {
            "id": id,
            "type": "function_call",
            "status": "in_progress",
            "arguments": "",
            "call_id": call_id,
            "name": call.name,
        }
        at = {"output_index": number}
        self._event("response.output_item.added", item=item, **at)
        pieces = pieces_of_arguments(call.input)
        place = at | {"item_id": id}
        said = self._pieces("response.function_call_arguments.delta", tuple(pieces), place, whole=True)
        self._event("response.function_call_arguments.done", arguments=said, name=call.name, **place)
        self._done(msgspec.json.encode(item | {"status": "completed", "arguments": said}))

    def _block(
        self, raw: Mapping[str, Any] | str, deltas: tuple[Mapping[str, Any] | str | Step, ...]
    ) -> None:
        """Add a refusal, or an item as the provider writes it. Each delta of the item is a whole event."""
        item = json_bytes(raw)
        value = json.loads(item)
        if value.get("type") == "refusal":
            self._message("refusal", (value["refusal"],))
            return
        at = {"output_index": len(self.output)}
        self._event("response.output_item.added", item=msgspec.Raw(item), **at)
        for delta in deltas:
            if isinstance(delta, Step):
                self._step(delta)
                continue
            self._deltas += 1
            members = json.loads(delta) if isinstance(delta, str) else dict(delta)
            if isinstance(delta, str):
                self._items.append(sse(members["type"], delta.encode()))
                self._count += 1
            else:
                given: dict[str, Any] = {"item_id": value.get("id"), **at} | members
                self._event(given.pop("type"), **given)
        self._done(item)

    def _done(self, item: bytes) -> None:
        self._event("response.output_item.done", item=msgspec.Raw(item), output_index=len(self.output))
        self.output.append(item)

    def _forever(self, text: str, delay: float) -> None:
        id = self._id("msg")
        at: dict[str, Any] = {"output_index": len(self.output)}
        item: dict[str, Any] = {"id": id, "type": "message", "role": "assistant"}
        item |= {"status": "in_progress", "content": []}
        self._event("response.output_item.added", item=item, **at)
        at |= {"item_id": id, "content_index": 0}
        part: dict[str, Any] = {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
        self._event("response.content_part.added", part=part, **at)
        members: dict[str, Any] = at | {"delta": text, "logprobs": []}
        self._items.append(Forever(numbered("response.output_text.delta", self._count, members), delay))

    # --- events ---

    def _pieces(
        self, kind: str, pieces: tuple[str | Step, ...], place: Mapping[str, Any], *, whole: bool = False
    ) -> str:
        """Add one delta for each piece, and return the whole text."""
        said: list[str] = []
        for piece in pieces if whole else pieces_of_text(pieces):
            if not isinstance(piece, str):
                self._step(piece)
                continue
            said.append(piece)
            self._deltas += 1
            hidden = {"obfuscation": padding(piece)} if self._padded else {}
            self._event(kind, delta=piece, **hidden, **place)
        return "".join(said)

    def _event(self, type: str, **members: Any) -> None:
        self._items.append(numbered(type, self._count, members))
        self._count += 1

    def _step(self, step: Step) -> None:
        if isinstance(step, ErrorEvent):
            self._fails(self._count)
        self._items.append(step)

    def _fails(self, at: int) -> None:
        """Remember the number of the first error event. No event is sent after it."""
        self.failing = at if self.failing is None else min(at, self.failing)

    def _id(self, prefix: str) -> str:
        return f"{prefix}_{self._request.id}_{len(self.output):02}"


def numbered(type: str, number: int, members: Mapping[str, Any]) -> bytes:
    """Write one event with its number."""
    return sse(type, msgspec.json.encode({"type": type, **members, "sequence_number": number}))


def _summary(text: str) -> dict[str, str]:
    return {"type": "summary_text", "text": text}


# The members that a response repeats from its request, with their defaults.
_ECHO: Final[dict[str, Any]] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
    "metadata": {},
}


def begun(request: WireRequest, model: str) -> dict[str, Any]:
    """Return a response that has only begun."""
    body: Object = request.json
    prefix = "gen-" if at_openrouter(request) else "resp_"
    response: dict[str, Any] = {
        "id": f"{prefix}{request.id}",
        "object": "response",
        "created_at": CREATED,
        "status": "in_progress",
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "model": model,
        "output": [],
        "usage": None,
    }
    for name, value in _ECHO.items():
        given = body.get(name)
        response[name] = value if given is None else given
    if request.transformations:
        response["input_transformations"] = request.transformations
    return response
