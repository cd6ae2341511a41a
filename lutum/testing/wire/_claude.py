"""The Claude dialect: `/v1/messages` and `/v1/messages/count_tokens`, streamed or not.

`_claude_check` checks the requests, and `_claude_sign` checks thinking that a request sends back. Two figures
of the usage are invented. They are plausible, and the same on every run: the input is a quarter of the
request's bytes, and the output is at least the number of deltas.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast, final

import msgspec

from lutum.testing.wire._claude_check import check_claude_request
from lutum.testing.wire._claude_sign import (
    Prefix,
    canonical,
    check_signatures,
    is_blank,
)
from lutum.testing.wire._dialect import Rendered
from lutum.testing.wire._error import WireError
from lutum.testing.wire._json import is_array, is_object
from lutum.testing.wire._paths import is_endpoint
from lutum.testing.wire._plan import Forever, Item, sse
from lutum.testing.wire._request import CacheUse, WireRequest
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

__all__ = ["ClaudeDialect", "check_claude_head", "claude_error", "claude_status_of", "claude_type_of"]

_BINDING_BETA: Final = "thinking-binding-controls-2026-08-01"

# From the errors page of the provider's docs.
_STATUS_OF: Final = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
_TYPE_OF: Final = {status: name for name, status in _STATUS_OF.items()}

# As in the recorded streams: tool arguments arrive a few characters at a time.
_ARGUMENT_PIECE: Final = 8


def check_claude_head(request: WireRequest, api_key: str | None) -> WireError | None:
    """Refuse a request without the key or without an API version."""
    if api_key is not None:
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        given = request.headers.get("x-api-key") or bearer
        if given != api_key:
            text = "invalid x-api-key" if given else "x-api-key header is required"
            return WireError(text, status=401, type="authentication_error")
    if request.headers.get("anthropic-version") is None:
        return WireError("anthropic-version: header is required")
    return None


def claude_error(request: WireRequest, error: WireError) -> bytes:
    """Write the JSON body of an error."""
    body: dict[str, Any] = {"type": error.type, "message": error.message}
    if error.code is not None:
        body["details"] = {"error_code": error.code}
    return msgspec.json.encode({"type": "error", "error": body, "request_id": _request_id(request)})


def claude_type_of(status: int) -> str:
    """Return the error type of a status."""
    return _TYPE_OF.get(status, "api_error" if status >= 500 else "invalid_request_error")


def claude_status_of(error_type: str) -> int:
    """Return the status of an error type."""
    return _STATUS_OF.get(error_type, 500)


@final
class ClaudeDialect:
    """The dialect of the Messages API.

    With `signing`, thinking blocks are signed and must come back unchanged. With `bind_prefix`, the content
    before them must also be unchanged, for every model.
    """

    def __init__(self, *, signing: bool = True, bind_prefix: bool = True, api_key: str | None = None) -> None:
        self._signing = signing
        self._bind_prefix = bind_prefix
        self._api_key = api_key
        self._prefixes: dict[int, Prefix] = {}

    def matches(self, request: WireRequest) -> bool:
        return is_endpoint(request.path, "/v1/messages", "/v1/messages/count_tokens")

    def headers(self, request: WireRequest) -> dict[str, str]:
        return {"request-id": _request_id(request)}

    def check(self, request: WireRequest) -> WireError | None:
        if request.method != "POST":
            return WireError("Method Not Allowed", status=405)
        if (found := check_claude_head(request, self._api_key)) is not None:
            return found
        version = request.headers["anthropic-version"]
        counting = request.path.endswith("/count_tokens")
        try:
            body = request.json
        except ValueError as error:
            return WireError(f"The request body is not valid JSON: {error}")
        found = check_claude_request(body, betas=request.betas, version=version, counting=counting)
        if found is None and self._signing:
            found = self._check_signatures(request)
        return found

    def _check_signatures(self, request: WireRequest) -> WireError | None:
        prefix, findings = check_signatures(request.body, bound=self._bind_prefix)
        self._prefixes[request.number] = prefix
        thinking = request.json.get("thinking")
        binding = thinking.get("block_binding") if is_object(thinking) else None
        dropping = is_object(binding) and binding.get("prefix_mismatch_behavior") == "drop_block"
        behind = False
        for finding in findings:
            text = f"{finding.path}: Invalid `signature` in `{finding.type}` block"
            if finding.reason == "signature":
                return WireError(text)
            if finding.reason == "prefix_binding_mismatch" and not dropping:
                text += (
                    ". The block is bound to a different conversation. Remove the block, or set "
                    '`thinking.block_binding.prefix_mismatch_behavior` to "drop_block".'
                )
                if _BINDING_BETA not in request.betas:
                    text += (
                        f" That setting requires the `{_BINDING_BETA}` value in the `anthropic-beta` header."
                    )
                return WireError(text)
        reasons = {finding.path: finding.reason for finding in findings}
        for path in _thinking_paths(request.json):
            behind = behind or reasons.get(path) == "prefix_binding_mismatch"
            if reason := reasons.get(path, "prefix_binding_mismatch" if behind else None):
                request.transformations.append({"type": "thinking_dropped", "path": path, "reason": reason})
        return None

    def answer(self, request: WireRequest) -> bytes | None:
        if request.path.endswith("/count_tokens"):
            return msgspec.json.encode({"input_tokens": _input_tokens(request)})
        return None

    def error(self, request: WireRequest, error: WireError) -> bytes:
        return claude_error(request, error)

    def error_type(self, status: int) -> str:
        return claude_type_of(status)

    def status_of(self, error_type: str) -> int:
        return claude_status_of(error_type)

    def error_event(self, request: WireRequest, event: ErrorEvent) -> bytes:
        return sse("error", self.error(request, WireError(event.message, type=event.error_type)))

    def render(self, request: WireRequest, reply: Reply) -> Rendered:
        return _Rendering(request, reply, self._prefixes.pop(request.number, None)).render()


@final
class _Rendering:
    """One reply while it is rendered into events and into the blocks of the final message."""

    def __init__(self, request: WireRequest, reply: Reply, prefix: Prefix | None) -> None:
        self._request = request
        self._reply = reply
        self._prefix = prefix
        self._body: dict[str, Any] = request.json
        self._items: list[Item] = []
        self._final: list[bytes] = []
        self._deltas = 0
        self._thinking_deltas = 0

    def render(self) -> Rendered:
        reply = self._reply
        for part in reply.parts:
            match part:
                case Say() | Think() | RedactedThink() | Call() | Block():
                    self._block(part)
                case NeverEnding(text, delay):
                    self._forever(text, delay)
                case At() | BeforeHead() | CutAt() | SlowClose():
                    pass  # placed when the stream is complete
                case _:
                    self._items.append(part)
        called = any(json.loads(block)["type"] == "tool_use" for block in self._final)
        reason = reply.stop_reason or ("tool_use" if called else "end_turn")
        closing: dict[str, Any] = {
            "stop_reason": reason,
            "stop_sequence": reply.stop_sequence,
            "stop_details": reply.stop_details,
        }
        usage = self._usage()
        if not self._body.get("stream"):
            steps = [item for item in self._items if not isinstance(item, bytes)]
            message = self._message(usage) | closing
            message["content"] = [msgspec.Raw(block) for block in self._final]
            return Rendered([*steps, msgspec.json.encode(message)], stream=False)
        # `message_start` has the count of tokens sampled so far. `message_delta` has the final count.
        message = self._message(usage | {"output_tokens": min(1, usage["output_tokens"])})
        start = _event({"type": "message_start", "message": message})
        final = {name: usage[name] for name in usage if name not in _ONLY_IN_START}
        end = (
            _event({"type": "message_delta", "delta": closing, "usage": final}),
            _event({"type": "message_stop"}),
        )
        return Rendered([start, *self._items, *end], stream=True)

    def _message(self, usage: Mapping[str, Any]) -> dict[str, Any]:
        message: dict[str, Any] = {
            "id": f"msg_{self._request.id}",
            "type": "message",
            "role": "assistant",
            "model": self._reply.model or self._body["model"],
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "stop_details": None,
            "usage": usage,
        }
        if _BINDING_BETA in self._request.betas:
            message["input_transformations"] = self._request.transformations
        return message

    def _usage(self) -> dict[str, Any]:
        cache = self._request.cache or CacheUse()
        usage: dict[str, Any] = {
            "input_tokens": max(1, _input_tokens(self._request) - cache.read - cache.written),
            "cache_creation_input_tokens": cache.written,
            "cache_read_input_tokens": cache.read,
            "cache_creation": {
                "ephemeral_5m_input_tokens": cache.written_5m,
                "ephemeral_1h_input_tokens": cache.written_1h,
            },
            "output_tokens": self._deltas + len(self._final),
            "service_tier": "standard",
        }
        if self._thinking_deltas:
            usage["output_tokens_details"] = {"thinking_tokens": self._thinking_deltas}
        return usage | dict(self._reply.usage)

    def _block(self, part: Say | Think | RedactedThink | Call | Block) -> None:
        """Render one block: the events for its start, its deltas and its stop, and the finished block."""
        number = len(self._final)
        flow: list[bytes | Item]
        match part:
            case Say(pieces, citations):
                raw: Any = {"type": "text", "text": ""}
                if citations:
                    raw["citations"] = []
                deltas = [
                    {"type": "text_delta", "text": piece} if isinstance(piece, str) else piece
                    for piece in _split(pieces)
                ]
                deltas += [{"type": "citations_delta", "citation": citation} for citation in citations]
            case Think(pieces, signature):
                raw = {"type": "thinking", "thinking": "", "signature": ""}
                deltas = [
                    {"type": "thinking_delta", "thinking": piece} if isinstance(piece, str) else piece
                    for piece in _split(pieces)
                ]
                if signature is None:
                    text = "".join(piece for piece in pieces if isinstance(piece, str))
                    signature = self._sign(text)
                if signature:
                    deltas.append({"type": "signature_delta", "signature": signature})
            case RedactedThink(data):
                raw = {"type": "redacted_thinking", "data": self._sign("") if data is None else data}
                deltas = []
            case Call(name, arguments, call_id):
                call_id = call_id or f"toolu_{self._request.id}_{number:02}"
                raw = {"type": "tool_use", "id": call_id, "name": name, "input": {}}
                deltas = [
                    {"type": "input_json_delta", "partial_json": piece} for piece in _arguments(arguments)
                ]
            case Block(raw, given):
                deltas = list(given)
        start = _json(raw)
        flow = [_start(number, start)]
        if number == 0:
            flow.append(_event({"type": "ping"}))
        written: list[bytes] = []
        for delta in deltas:
            if isinstance(delta, Step):
                flow.append(delta)
            else:
                written.append(_json(delta))
                flow.append(_delta(number, written[-1]))
        flow.append(_event({"type": "content_block_stop", "index": number}))
        self._items += flow
        final = _folded(start, written)
        self._final.append(final)
        self._count(part, len(written))
        self._extend_prefix(final)

    def _count(self, part: object, deltas: int) -> None:
        self._deltas += deltas
        if isinstance(part, Think):
            self._thinking_deltas += deltas

    def _forever(self, text: str, delay: float) -> None:
        number = len(self._final)
        self._items.append(_start(number, b'{"type":"text","text":""}'))
        delta = _json({"type": "text_delta", "text": text})
        self._items.append(Forever(_delta(number, delta), delay))

    def _sign(self, text: str) -> str:
        if self._prefix is not None:
            return self._prefix.sign(text)
        return "c2lnbmF0dXJl"  # without `signing`, any base64 text is valid

    def _extend_prefix(self, block: bytes) -> None:
        if self._prefix is None:
            return
        value = json.loads(block)
        if value.get("type") not in ("thinking", "redacted_thinking") and not is_blank(value):
            self._prefix.add("assistant", canonical(block))


# The last usage of the stream leaves these out (the SDK's MessageDeltaUsage).
_ONLY_IN_START: Final = ("cache_creation", "service_tier", "inference_geo", "speed")


def _split(pieces: tuple[Any, ...]) -> Iterator[Any]:
    """Return several pieces unchanged. Split a single piece into words, each with the space before it."""
    if len(pieces) != 1 or not isinstance(pieces[0], str):
        yield from pieces
        return
    words = pieces[0].split(" ")
    yield words[0]
    for word in words[1:]:
        yield " " + word


def _arguments(given: Mapping[str, Any] | str | tuple[str, ...]) -> Iterator[str]:
    """Split the arguments of a call into the pieces to send. The first piece is empty, as in the API."""
    if isinstance(given, tuple):
        yield from given
        return
    text = given if isinstance(given, str) else msgspec.json.encode(given).decode()
    yield ""
    for at in range(0, len(text), _ARGUMENT_PIECE):
        yield text[at : at + _ARGUMENT_PIECE]


def _json(value: Mapping[str, Any] | str) -> bytes:
    return value.encode() if isinstance(value, str) else msgspec.json.encode(value)


def _event(value: Mapping[str, Any]) -> bytes:
    return sse(value["type"], msgspec.json.encode(value))


def _start(number: int, block: bytes) -> bytes:
    data = b'{"type":"content_block_start","index":%d,"content_block":%b}' % (number, block)
    return sse("content_block_start", data)


def _delta(number: int, delta: bytes) -> bytes:
    data = b'{"type":"content_block_delta","index":%d,"delta":%b}' % (number, delta)
    return sse("content_block_delta", data)


_RawObject = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _folded(start: bytes, deltas: list[bytes]) -> bytes:
    """Return the block as in an unstreamed answer. Members without a delta are copied as written."""
    if not deltas:
        return start
    block: dict[str, Any] = dict(_RawObject.decode(start))
    texts: dict[str, list[str]] = {}
    citations: list[msgspec.Raw] = []
    for raw in deltas:
        delta = _RawObject.decode(raw)
        match msgspec.json.decode(delta["type"], type=str):
            case "text_delta":
                texts.setdefault("text", []).append(msgspec.json.decode(delta["text"]))
            case "thinking_delta":
                texts.setdefault("thinking", []).append(msgspec.json.decode(delta["thinking"]))
            case "input_json_delta":
                texts.setdefault("input", []).append(msgspec.json.decode(delta["partial_json"]))
            case "citations_delta":
                citations.append(delta["citation"])
            case _:
                # signature_delta, compaction_delta and similar deltas replace the members that they name.
                block |= {name: value for name, value in delta.items() if name != "type"}
    for name, pieces in texts.items():
        text = "".join(pieces)
        if name != "input":
            block[name] = cast("str", msgspec.json.decode(block.get(name, b'""'))) + text
        elif text:
            block[name] = _object_or_empty(text)
    if citations:
        block["citations"] = citations
    return msgspec.json.encode(block)


def _object_or_empty(text: str) -> Any:
    """Return the arguments, or `{}` if they are not a JSON object. The protocol allows only objects."""
    try:
        _RawObject.decode(text)
    except msgspec.MsgspecError:
        return {}
    return msgspec.Raw(text.encode())


def _input_tokens(request: WireRequest) -> int:
    size = len(request.body)
    for dropped in request.transformations:
        _, message, _, block = dropped["path"].split(".")
        content = request.json["messages"][int(message)]["content"]
        size -= len(msgspec.json.encode(content[int(block)]))
    return max(1, size // 4)


def _thinking_paths(body: Mapping[str, Any]) -> Iterator[str]:
    for number, message in enumerate(body["messages"]):
        content = message["content"]
        if is_array(content):
            for index, block in enumerate(content):
                if block["type"] in ("thinking", "redacted_thinking"):
                    yield f"messages.{number}.content.{index}"


def _request_id(request: WireRequest) -> str:
    return f"req_{request.number:04}"
