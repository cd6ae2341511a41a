"""A reply of Chat Completions: the chunks of a stream, and the final message."""

import re
from typing import Any, Final, Literal, TypeAlias, final

import msgspec

from lutum.testing.wire._dialect import Rendered
from lutum.testing.wire._json import Object, is_array, is_object
from lutum.testing.wire._openai import (
    CREATED,
    Bill,
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
from lutum.testing.wire._plan import Forever, Item
from lutum.testing.wire._request import WireRequest
from lutum.testing.wire._script import (
    At,
    BeforeHead,
    Block,
    Call,
    CutAt,
    NeverEnding,
    Part,
    RedactedThink,
    Reply,
    Say,
    SlowClose,
    Step,
    Think,
)

__all__ = ["DONE", "ChatRendering", "Reasoning", "data", "deployment_of", "head_of", "model_of"]

Reasoning: TypeAlias = Literal["reasoning_content", "reasoning", "reasoning_details"]

DONE: Final = b"data: [DONE]\n\n"
_PROCESSING: Final = b": OPENROUTER PROCESSING\n\n"
_DEPLOYMENT: Final = re.compile(r".*/deployments/([^/]+)/chat/completions")
_FORMAT: Final = "anthropic-claude-v1"
_PROVIDER: Final = "Wire"


@final
class ChatRendering:
    """One reply while it is rendered into chunks and into the final message."""

    def __init__(self, request: WireRequest, reply: Reply, style: Reasoning) -> None:
        self._request = request
        self._reply = reply
        self._style: Reasoning = style
        self._body: Object = request.json
        self._router = at_openrouter(request)
        self._asked = model_of(request)
        self.model = reply.model or self._asked
        self._chunk_head = head_of(request, self.model, "chat.completion.chunk")
        self.id: str = self._chunk_head["id"]
        options: Any = self._body.get("stream_options") or {}
        self._usage_asked = options.get("include_usage", False)
        self._padded = not self._router and options.get("include_obfuscation", True)
        self._choices = self._body.get("n") or 1
        self._items: list[Item] = []
        self._message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
        self._calls: list[dict[str, Any]] = []
        self._thoughts = 0
        self._deltas = 0
        self._thought = 0
        self.usage: dict[str, Any] = {}

    def render(self) -> Rendered:
        called = any(isinstance(part, Call) for part in self._reply.parts)
        begins_with_call = next(
            (isinstance(part, Call) for part in self._reply.parts if isinstance(part, Say | Call)), False
        )
        self._chunk({"role": "assistant", "content": None if begins_with_call else "", "refusal": None})
        for part in self._reply.parts:
            self._part(part)
        forced = is_object(self._body.get("tool_choice"))
        # A call that was forced by its name ends with "stop" at OpenAI (guides/function-calling).
        reason = self._reply.stop_reason or ("tool_calls" if called and not forced else "stop")
        self._chunk({}, reason)
        self.usage = self._figures()
        if not self._body.get("stream"):
            steps = [item for item in self._items if not isinstance(item, bytes)]
            return Rendered([*steps, self._whole(reason)], stream=False)
        first = self._items[0]
        assert isinstance(first, bytes)
        if self._router:
            self._items[0] = _PROCESSING + first
        elif deployment_of(self._request) is not None:
            self._items.insert(0, data(_FILTERED))
        if self._usage_asked or self._router:
            last: dict[str, Any] = {"choices": [], "usage": self.usage}
            self._items.append(data(self._chunk_head | last))
        return Rendered([*self._items, DONE], stream=True)

    def _part(self, part: Part) -> None:
        match part:
            case Say(pieces, citations):
                self._texts("content", pieces)
                if citations:
                    self._delta({"annotations": list(citations)})
            case Think(pieces, signature):
                self._think(pieces, signature)
            case RedactedThink(sealed):
                if self._style == "reasoning_details":
                    entry = {"type": "reasoning.encrypted", "data": sealed or self._seal("")}
                    self._delta({"reasoning_details": [entry | self._place()]})
                self._thoughts += 1
            case Call():
                self._call(part)
            case Block(raw, deltas):
                for delta in (raw, *deltas):
                    if isinstance(delta, Step):
                        self._items.append(delta)
                    else:
                        self._delta(msgspec.Raw(json_bytes(delta)))
            case NeverEnding(text, delay):
                self._items.append(Forever(data(self._chunks({"content": text}, None, 0)), delay))
            case At() | BeforeHead() | CutAt() | SlowClose():
                pass  # placed when the stream is complete
            case _:
                self._items.append(part)

    # --- deltas ---

    def _texts(self, member: str, pieces: tuple[str | Step, ...]) -> str:
        said: list[str] = []
        for piece in pieces_of_text(pieces):
            if isinstance(piece, str):
                said.append(piece)
                self._delta({member: piece})
            else:
                self._items.append(piece)
        return "".join(said)

    def _think(self, pieces: tuple[str | Step, ...], signature: str | None) -> None:
        before = self._deltas
        if self._style != "reasoning_details":
            self._texts(self._style, pieces)
        else:
            text: list[str] = []
            for piece in pieces_of_text(pieces):
                if isinstance(piece, str):
                    text.append(piece)
                    entry = {"type": "reasoning.text", "text": piece} | self._place()
                    self._delta({"reasoning": piece, "reasoning_details": [entry]})
                else:
                    self._items.append(piece)
            signature = self._seal("".join(text)) if signature is None else signature
            if signature:
                entry = {"type": "reasoning.text", "signature": signature} | self._place()
                self._delta({"reasoning_details": [entry]})
        self._thoughts += 1
        self._thought += self._deltas - before

    def _place(self) -> dict[str, Any]:
        return {"format": _FORMAT, "index": self._thoughts}

    def _seal(self, text: str) -> str:
        return seal(self._asked, text)

    def _call(self, call: Call) -> None:
        at = len(self._calls)
        id = call.id or f"call_{self._request.id}_{at:02}"
        whole = {"id": id, "type": "function", "function": {"name": call.name, "arguments": ""}}
        self._delta({"tool_calls": [{"index": at, **whole}]})
        pieces = pieces_of_arguments(call.input)
        for piece in pieces:
            self._delta({"tool_calls": [{"index": at, "function": {"arguments": piece}}]})
        self._calls.append(whole | {"function": {"name": call.name, "arguments": "".join(pieces)}})

    def _delta(self, delta: dict[str, Any] | msgspec.Raw) -> None:
        """Add one delta of content: a chunk for each choice, and a piece of the message."""
        self._deltas += 1
        self._chunk(delta)
        members = _raw_members(delta) if isinstance(delta, msgspec.Raw) else delta
        for name, value in members.items():
            if name != "tool_calls":
                self._message[name] = _joined(self._message.get(name), value)

    def _chunk(self, delta: dict[str, Any] | msgspec.Raw, reason: str | None = None) -> None:
        for choice in range(self._choices):
            self._items.append(data(self._chunks(delta, reason, choice)))

    def _chunks(self, delta: dict[str, Any] | msgspec.Raw, reason: str | None, index: int) -> dict[str, Any]:
        if self._router and isinstance(delta, dict):
            delta = {"role": "assistant", "content": ""} | delta
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}
        if self._router:
            choice["native_finish_reason"] = reason
        chunk = self._chunk_head | {"choices": [choice]}
        if self._usage_asked:
            chunk["usage"] = None
        if self._padded:
            chunk["obfuscation"] = padding(str(delta))
        return chunk

    # --- the whole ---

    def _figures(self) -> dict[str, Any]:
        usage: dict[str, Any] = {
            "prompt_tokens": input_tokens(self._request),
            "completion_tokens": self._deltas + 1,
            "prompt_tokens_details": {"cached_tokens": cached_tokens(self._request), "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": self._thought, "audio_tokens": 0},
        }
        usage = merged(usage, self._reply.usage)
        usage.setdefault("total_tokens", usage["prompt_tokens"] + usage["completion_tokens"])
        if self._router:
            bill = Bill(
                self._request,
                self.model,
                usage["prompt_tokens"],
                usage["completion_tokens"],
                self._thought,
                0,
            )
            usage.setdefault("cost", bill.cost)
        return usage

    def _whole(self, reason: str) -> bytes:
        message = dict(self._message)
        if self._calls:
            message["tool_calls"] = self._calls
        if is_array(details := message.get("reasoning_details")):
            message["reasoning_details"] = _folded(details)
        choices = [
            {"index": index, "message": message, "logprobs": None, "finish_reason": reason}
            for index in range(self._choices)
        ]
        head = head_of(self._request, self.model, "chat.completion")
        return msgspec.json.encode(head | {"choices": choices, "usage": self.usage})


def data(value: object) -> bytes:
    """Write one server-sent event without a name."""
    return b"data: %b\n\n" % msgspec.json.encode(value)


# Azure's first chunk, which contains no part of the answer.
_FILTERED: Final[dict[str, Any]] = {
    "choices": [],
    "created": 0,
    "id": "",
    "model": "",
    "object": "",
    "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {}}],
}


def deployment_of(request: WireRequest) -> str | None:
    """Return the model in an Azure path."""
    found = _DEPLOYMENT.fullmatch(request.path)
    return None if found is None else found[1]


def model_of(request: WireRequest) -> str:
    return deployment_of(request) or request.json["model"]


def head_of(request: WireRequest, model: str, kind: str) -> dict[str, Any]:
    head: dict[str, Any] = {
        "id": f"chatcmpl-{request.id}",
        "object": kind,
        "created": CREATED,
        "model": model,
    }
    if at_openrouter(request):
        return head | {"id": f"gen-{request.id}", "provider": _PROVIDER}
    return head | {"service_tier": "default", "system_fingerprint": None}


_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _raw_members(delta: msgspec.Raw) -> dict[str, Any]:
    """Return the members of a delta given as JSON. Strings are decoded, and other values stay as written."""
    return {
        name: msgspec.json.decode(raw) if bytes(raw)[:1] == b'"' else raw
        for name, raw in _decode_members(delta).items()
    }


def _joined(before: Any, value: Any) -> Any:
    if isinstance(before, str) and isinstance(value, str):
        return before + value
    if is_array(before) and is_array(value):
        return before + value
    return value


def _folded(details: list[Any]) -> list[Object]:
    """Join reasoning details to one entry for each thought, as in an answer that is not streamed."""
    folded: list[Object] = []
    for detail in details:
        if folded and detail["type"] == "reasoning.text" and folded[-1]["index"] == detail["index"]:
            last = folded[-1]
            folded[-1] = last | detail
            if "text" in detail:
                folded[-1]["text"] = last.get("text", "") + detail["text"]
        else:
            folded.append(dict(detail))
    return folded
