"""A scripted reply as frames of `streamGenerateContent`, or as one response of `generateContent`. No I/O."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, final

import msgspec

from lutum.testing.wire._dialect import Rendered
from lutum.testing.wire._gemini_check import generation_of
from lutum.testing.wire._gemini_sign import sign
from lutum.testing.wire._openai import input_tokens, json_bytes, merged, pieces_of_text
from lutum.testing.wire._plan import Forever, Item
from lutum.testing.wire._request import WireRequest
from lutum.testing.wire._script import (
    At,
    BeforeHead,
    Block,
    Call,
    CutAt,
    NeverEnding,
    RedactedThink,
    Reply,
    Say,
    SlowClose,
    Step,
    Think,
)

__all__ = ["GeminiRendering"]

_FIRST_WITH_IDS: Final = (3, 6)
"""The generation from which on each recorded call has an id."""


@final
class GeminiRendering:
    """One reply while it is rendered into frames, and into the parts of the whole answer.

    Args:
      earlier: the parts of the answer that this reply continues.
    """

    def __init__(
        self, request: WireRequest, model: str, reply: Reply, earlier: Sequence[bytes] = (), *, signing: bool
    ) -> None:
        self._request = request
        self._model = model
        self._reply = reply
        self._signing = signing
        self._earlier = tuple(earlier)
        self._generation = generation_of(model)
        self._items: list[Item] = []
        self._parts: list[bytes] = []
        self._metadata: dict[str, Any] = {}
        self._output = 0
        self._thoughts = 0
        self._calls = 0
        self._has_thoughts = False
        self._given: str | None = None  # a signature from the script

    @property
    def parts(self) -> list[bytes]:
        """The parts of the answer so far."""
        return [*self._earlier, *self._parts]

    @property
    def continuation(self) -> str | None:
        """The token with which a client requests the rest."""
        token = (self._reply.stop_details or {}).get("continuationToken")
        return token if isinstance(token, str) and self._reply.stop_reason == "CONTINUATION" else None

    def render(self, streamed: bool) -> Rendered:
        """Render the reply."""
        for part in self._reply.parts:
            match part:
                case Say(pieces, citations):
                    self._texts(pieces, is_thought=False)
                    if citations:
                        self._metadata["citationMetadata"] = {"citations": list(citations)}
                case Think(pieces, signature):
                    self._has_thoughts = True
                    self._given = signature if signature is not None else self._given
                    self._texts(pieces, is_thought=True)
                case RedactedThink(data):
                    self._has_thoughts = True
                    self._given = data if data is not None else self._given
                case Call(name, given, id):
                    self._call(name, given, id)
                case Block(raw, deltas):
                    for piece in (raw, *deltas):
                        if isinstance(piece, Step):
                            self._items.append(piece)
                        else:
                            self._output += 1
                            self._add(json_bytes(piece))
                case NeverEnding(text, delay):
                    self._items.append(Forever(self._frame([json_bytes({"text": text})]), delay))
                case At() | BeforeHead() | CutAt() | SlowClose():
                    pass  # placed when the stream is complete
                case _:
                    self._items.append(part)
        return self._streamed() if streamed else self._whole()

    def _streamed(self) -> Rendered:
        last: list[bytes] = []
        if (signature := self._last_signature()) is not None:
            part = {"text": "", "thoughtSignature": signature}
            last.append(json_bytes(part))
        self._items.append(self._frame(last, closing=True))
        return Rendered(self._items, stream=True)

    def _whole(self) -> Rendered:
        steps = [item for item in self._items if not isinstance(item, bytes)]
        if (signature := self._last_signature()) is not None:
            self._parts.append(json_bytes({"text": "", "thoughtSignature": signature}))
        return Rendered([*steps, self._response(self._parts, closing=True)], stream=False)

    def _last_signature(self) -> str | None:
        """The signature of an answer without a call. It belongs to the empty text part at the end."""
        if self._calls or not self._parts or self._generation < (3, 0) or self.continuation is not None:
            return None
        return self._signature(json_bytes({"text": ""}))

    def _signature(self, part: bytes) -> str | None:
        if self._given is not None:
            return self._given or None
        if not self._signing:
            return "c2lnbmF0dXJl"
        return sign(self._model, [*self.parts, part])

    def _texts(self, pieces: tuple[str | Step, ...], *, is_thought: bool) -> None:
        for piece in pieces_of_text(pieces):
            if not isinstance(piece, str):
                self._items.append(piece)
                continue
            self._output += not is_thought
            self._thoughts += is_thought
            part: dict[str, Any] = {"text": piece}
            if is_thought:
                part["thought"] = True
            self._add(json_bytes(part))

    def _call(self, name: str, given: Mapping[str, Any] | str | tuple[str, ...], id: str | None) -> None:
        call: dict[str, Any] = {}
        if id is None and self._generation >= _FIRST_WITH_IDS:
            id = f"fc{self._request.id}{self._calls:02}"
        if id is not None:
            call["id"] = id
        call["name"] = name
        text = "".join(given) if isinstance(given, tuple) else json_bytes(given).decode()
        if text:
            call["args"] = _arguments(text)
        part = b'{"functionCall":' + msgspec.json.encode(call) + b"}"
        is_first = not self._calls
        self._calls += 1
        self._output += 1
        signs = self._generation >= (3, 0) or (self._generation >= (2, 5) and self._has_thoughts)
        if is_first and signs and (signature := self._signature(part)) is not None:
            part = part[:-1] + b',"thoughtSignature":%b}' % msgspec.json.encode(signature)
        self._add(part)

    def _add(self, part: bytes) -> None:
        self._parts.append(part)
        self._items.append(self._frame([part]))

    def _frame(self, parts: list[bytes], *, closing: bool = False) -> bytes:
        return b"data: %b\r\n\r\n" % self._response(parts, closing=closing)

    def _response(self, parts: list[bytes], *, closing: bool) -> bytes:
        content: dict[str, Any] = {"parts": [msgspec.Raw(part) for part in parts]} if parts else {}
        candidate: dict[str, Any] = {"content": {**content, "role": "model"}}
        if closing:
            candidate["finishReason"] = self._reply.stop_reason or "STOP"
            if details := self._reply.stop_details:
                candidate.update(details)
            candidate.update(self._metadata)
        candidate["index"] = 0
        response = {
            "candidates": [candidate],
            "usageMetadata": self._usage(),
            "modelVersion": self._reply.model or self._model,
            "responseId": f"resp{self._request.id}",
        }
        return msgspec.json.encode(response)

    def _usage(self) -> dict[str, Any]:
        usage: dict[str, Any] = {"promptTokenCount": input_tokens(self._request)}
        if self._output:
            usage["candidatesTokenCount"] = self._output
        if self._thoughts:
            usage["thoughtsTokenCount"] = self._thoughts
        usage = merged(usage, self._reply.usage)
        counted = (
            "promptTokenCount",
            "toolUsePromptTokenCount",
            "candidatesTokenCount",
            "thoughtsTokenCount",
        )
        usage.setdefault("totalTokenCount", sum(usage.get(name) or 0 for name in counted))
        return usage


def _arguments(text: str) -> Any:
    """Return the arguments unchanged if they are JSON, else as a string. The API always sends an object."""
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text
    return msgspec.Raw(text.encode())
