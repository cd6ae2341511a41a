"""OpenAI's Responses dialect: `/responses`, streamed or not, `/responses/{id}` and `/responses/input_tokens`.

Checked by `_openai_responses_check`. Reasoning is sealed (`_openai_seal`) when the request includes
`reasoning.encrypted_content`: what comes back altered is refused, and what another model thought is left out
and listed. A summary that is not what was thought is refused too; there the API would not look.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final, final

import msgspec

from lutum.testing.wire._dialect import Rendered
from lutum.testing.wire._error import WireError
from lutum.testing.wire._json import Object, is_array, is_object
from lutum.testing.wire._openai import (
    CREATED,
    Bill,
    Bills,
    at_openrouter,
    check_key,
    code_of,
    error_body,
    error_headers,
    input_tokens,
    json_bytes,
    merged,
    padding,
    pieces_of_arguments,
    pieces_of_text,
    status_of,
    type_of,
)
from lutum.testing.wire._openai_responses_check import check_openai_responses_request
from lutum.testing.wire._openai_seal import seal, unseal
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

__all__ = ["OpenAIResponsesDialect"]

_ENCRYPTED: Final = "reasoning.encrypted_content"
_ONE: Final = re.compile(r".*/responses/(?!input_tokens$)([^/]+)")
_CLIENT_CALLS: Final = ("function_call", "custom_tool_call")
_CUT_SHORT: Final = ("max_output_tokens", "content_filter")


@final
class OpenAIResponsesDialect:
    """Speaks the Responses API; with `signing`, sealed reasoning must come back unchanged.

    `bills` takes what each answer is said to have used.
    """

    def __init__(self, *, signing: bool = True, api_key: str | None = None, bills: Bills) -> None:
        self._signing = signing
        self._api_key = api_key
        self._bills = bills
        self._stored: dict[str, bytes] = {}
        self._items: set[str] = set()
        self._places: dict[int, int] = {}

    def matches(self, request: WireRequest) -> bool:
        return request.path.endswith(("/responses", "/responses/input_tokens")) or _one(request) is not None

    def headers(self, request: WireRequest) -> dict[str, str]:
        return error_headers(request)

    def check(self, request: WireRequest) -> WireError | None:
        if (found := check_key(request, self._api_key)) is not None:
            return found
        if (wanted := _one(request)) is not None:
            if request.method != "GET":
                return WireError("Method Not Allowed", status=405)
            return None if wanted in self._stored else _not_found(f"Response with id '{wanted}'")
        if request.method != "POST":
            return WireError("Method Not Allowed", status=405)
        try:
            body = request.json
        except ValueError:
            return WireError("We could not parse the JSON body of your request.")
        previous: Any = body.get("previous_response_id") if is_object(body) else None
        if previous is not None and previous not in self._stored:
            return WireError(
                f"Previous response with id '{previous}' not found.", code="previous_response_not_found"
            )
        found = check_openai_responses_request(
            body, known_calls=self._open_calls(previous), extras=at_openrouter(request)
        )
        return found or self._check_references(request)

    def _open_calls(self, response: str | None) -> list[str]:
        if response is None:
            return []
        output = json.loads(self._stored[response])["output"]
        return [item["call_id"] for item in output if item["type"] in _CLIENT_CALLS]

    def _check_references(self, request: WireRequest) -> WireError | None:
        """Whether what the input refers to is there, and what is sealed stands."""
        given: Any = request.json.get("input")
        items: list[Any] = given if is_array(given) else []
        for at, item in enumerate(items):
            kind = item.get("type")
            if kind == "item_reference" and item["id"] not in self._items:
                return _not_found(f"Item with id '{item['id']}'")
            if kind != "reasoning":
                continue
            sealed = item.get("encrypted_content")
            if not sealed:
                shown = any(is_object(part) and part.get("text") for part in item.get("content") or ())
                if item.get("id") not in self._items and not shown:
                    return _not_found(f"Item with id '{item.get('id')}'")
            elif self._signing:
                content = unseal(sealed)
                summary = "".join(part["text"] for part in item["summary"])
                if content is None or summary not in ("", content.text):
                    return WireError(
                        f"The encrypted content {sealed[:4]}...{sealed[-4:]} could not be verified. Reason: "
                        "Encrypted content could not be decrypted or parsed.",
                        code="invalid_encrypted_content",
                    )
                if content.model != request.json["model"]:
                    request.transformations.append(
                        {
                            "type": "reasoning_dropped",
                            "path": f"input[{at}]",
                            "reason": "model_binding_mismatch",
                        }
                    )
        return None

    def answer(self, request: WireRequest) -> bytes | None:
        if request.path.endswith("/input_tokens"):
            said = {"object": "response.input_tokens", "input_tokens": input_tokens(request)}
            return msgspec.json.encode(said)
        wanted = _one(request)
        return None if wanted is None else self._stored[wanted]

    def error(self, request: WireRequest, error: WireError) -> bytes:
        return error_body(request, error)

    def error_type(self, status: int) -> str:
        return type_of(status)

    def status_of(self, error_type: str) -> int:
        return status_of(error_type)

    def error_event(self, request: WireRequest, event: ErrorEvent) -> bytes:
        """Write the `error` event and the `response.failed` behind it."""
        number = self._places.pop(request.number, 0)
        kind, code = code_of(WireError(event.message, type=event.error_type))
        said: dict[str, Any] = {"type": kind, "code": code, "message": event.message, "param": None}
        failed = _response(request, request.json["model"]) | {
            "status": "failed",
            "error": {"code": code or kind, "message": event.message},
        }
        return _event("error", number, {"error": said}) + _event(
            "response.failed", number + 1, {"response": failed}
        )

    def render(self, request: WireRequest, reply: Reply) -> Rendered:
        rendering = _Rendering(request, reply)
        rendered = rendering.render()
        final, usage = rendering.final, rendering.usage
        if rendering.failing is not None:
            self._places[request.number] = rendering.failing
        self._bills[final["id"]] = Bill(
            request,
            final["model"],
            usage["input_tokens"],
            usage["output_tokens"],
            usage["output_tokens_details"]["reasoning_tokens"],
            usage["input_tokens_details"]["cached_tokens"],
        )
        if final["store"]:
            self._stored[final["id"]] = msgspec.json.encode(final)
            self._items.update(str(item.get("id")) for item in map(json.loads, rendering.output))
        return rendered


@final
class _Rendering:
    """One reply on its way into events and into the items of the final response."""

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
        begun = _response(self._request, model)
        for kind in ("response.created", "response.in_progress"):
            self._event(kind, response=begun)
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
        self.final = begun | {
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
            "input_tokens_details": {"cached_tokens": 0},
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
        """A message of one part: text, or a refusal."""
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
        """A reasoning item; its text is the summary. `sealed` overrides what the server would write."""
        id = self._id("rs")
        at: dict[str, Any] = {"output_index": len(self.output)}
        item: dict[str, Any] = {"id": id, "type": "reasoning", "summary": []}
        include: Any = self._body.get("include") or ()
        encrypted = _ENCRYPTED in include and sealed != ""
        begun = {"encrypted_content": self._seal("")} if encrypted else {}  # what was thought by then
        self._event("response.output_item.added", item=item | begun, **at)
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
        call_id = call.id or f"call_{self._request.number:04}_{number:02}"
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
        """An item as the provider writes it, or a refusal; its deltas are whole events."""
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
                given = {"item_id": value.get("id"), **at} | members
                self._event(given.pop("type"), **given)
        self._done(item)

    def _done(self, item: bytes) -> None:
        self._event("response.output_item.done", item=msgspec.Raw(item), output_index=len(self.output))
        self.output.append(item)

    def _forever(self, text: str, delay: float) -> None:
        id = self._id("msg")
        at: dict[str, Any] = {"output_index": len(self.output)}
        item = {"id": id, "type": "message", "status": "in_progress", "content": [], "role": "assistant"}
        self._event("response.output_item.added", item=item, **at)
        at |= {"item_id": id, "content_index": 0}
        part = {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
        self._event("response.content_part.added", part=part, **at)
        members = at | {"delta": text, "logprobs": []}
        self._items.append(Forever(_event("response.output_text.delta", self._count, members), delay))

    # --- events ---

    def _pieces(
        self, kind: str, pieces: tuple[str | Step, ...], place: Mapping[str, Any], *, whole: bool = False
    ) -> str:
        """One delta a piece; gives what was said."""
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
        self._items.append(_event(type, self._count, members))
        self._count += 1

    def _step(self, step: Step) -> None:
        if isinstance(step, ErrorEvent):
            self._fails(self._count)
        self._items.append(step)

    def _fails(self, at: int) -> None:
        """Remember the number of the error's event: the first one is the last that is sent."""
        self.failing = at if self.failing is None else min(at, self.failing)

    def _id(self, prefix: str) -> str:
        return f"{prefix}_{self._request.number:04}_{len(self.output):02}"


def _one(request: WireRequest) -> str | None:
    """The id in the path of a stored response."""
    found = _ONE.fullmatch(request.path)
    return None if found is None else found[1]


def _event(type: str, number: int, members: Mapping[str, Any]) -> bytes:
    return sse(type, msgspec.json.encode({"type": type, **members, "sequence_number": number}))


def _summary(text: str) -> dict[str, str]:
    return {"type": "summary_text", "text": text}


def _not_found(what: str) -> WireError:
    return WireError(
        f"{what} not found. Items are not persisted when `store` is set to false. Try again with `store` set to "
        "true, or remove this item from your input.",
        status=404,
    )


# What a response repeats of its request, and what it says where the request says nothing.
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


def _response(request: WireRequest, model: str) -> dict[str, Any]:
    """A response that has only begun."""
    body: Object = request.json
    prefix = "gen-" if at_openrouter(request) else "resp_"
    response: dict[str, Any] = {
        "id": f"{prefix}{request.number:04}",
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
