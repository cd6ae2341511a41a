"""Thinking signatures of the Claude dialect, and the check of signatures that come back. No I/O.

The rules are from "Preserved thinking" and "Prefix checks" of the provider's docs. A signature covers the
block's own text, the model, and the prefix. The prefix is the canonical JSON of `system`, of `tools`, and of
every earlier block with its role. It is one flat sequence without message boundaries.

The prefix excludes `cache_control`. It also excludes content of answers that requests may or must leave out:

- text blocks without a non-space character,
- `citations` that are null or empty,
- in a citation, `file_id` and members that are null.

Thinking blocks are not part of the prefix, because the first of them may be removed. Instead, each signature
contains the digest of the previous thinking block. This detects a block that was removed or moved between
other thinking blocks.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any, final

import msgspec

from lutum.testing.wire._json import is_array, is_object

__all__ = ["Finding", "Prefix", "canonical", "check_signatures", "reads"]

_KEY = b"lutum.testing.wire"
_MAC = 16

_THINKING = ("thinking", "redacted_thinking")


@final
class Finding(msgspec.Struct, frozen=True):
    """An invalid thinking block: its place, the reason, and its type."""

    path: str
    reason: str
    type: str


def canonical(text: bytes | str) -> bytes:
    """Write JSON so that equal values give equal bytes. Numbers keep their digits."""
    value = json.loads(text, parse_float=_lexeme)
    return json.dumps(_bare(value), sort_keys=True, separators=(",", ":")).encode()


def _lexeme(number: str) -> dict[str, str]:
    return {"\0": number}


def _bare(block: Any) -> Any:
    """Remove `cache_control` where the protocol defines it, but not from a tool's input or schema."""
    if is_array(block):
        return [_bare(item) for item in block]
    if not is_object(block):
        return block
    bare = {
        name: _bare(value) if name in ("content", "tool", "definition", "source") else value
        for name, value in block.items()
        if name != "cache_control"
    }
    if block.get("type") == "text" and (citations := bare.pop("citations", None)):
        bare["citations"] = [_cited(citation) for citation in citations] if is_array(citations) else citations
    return bare


def _cited(citation: Any) -> Any:
    if not is_object(citation):
        return citation
    return {name: value for name, value in citation.items() if name != "file_id" and value is not None}


@final
class Prefix:
    """The content before a place in a conversation. Blocks are added, signed and verified in their order."""

    def __init__(self, model: str, *, bound: bool) -> None:
        self._model = model
        self._bound = bound
        self._digest = hashlib.sha256()
        self._last = b""

    def add(self, role: str, block: bytes) -> None:
        """Add one block, as canonical JSON, to the prefix."""
        self._digest.update(b"%b\0%d\0%b" % (role.encode(), len(block), block))

    def sign(self, text: str) -> str:
        """Sign a thinking block at this place, and remember it as the last one."""
        own = _own(self._model, text, self._last)
        signature = msgspec.msgpack.encode((self._model, own, self._last, self._place()))
        self._last = own
        return base64.b64encode(signature).decode()

    def verify(self, text: str, signature: str, reader: str, *, first: bool) -> str | None:
        """Return None if the block is valid at this place, else "signature" or the API's reason code."""
        try:
            raw = base64.b64decode(signature, validate=True)
            model, own, last, place = msgspec.msgpack.decode(raw, type=tuple[str, bytes, bytes, bytes])
        except (ValueError, msgspec.MsgspecError):
            return "signature"
        if not hmac.compare_digest(own, _own(model, text, last)):
            return "signature"
        before, self._last = self._last, own
        if not reads(reader, model):
            return "model_binding_mismatch"
        if self._bound and (place != self._place(model) or not (first or last == before)):
            return "prefix_binding_mismatch"
        return None

    def _place(self, model: str | None = None) -> bytes:
        return _mac(b"place", (model or self._model).encode(), self._digest.digest())


def _own(model: str, text: str, last: bytes) -> bytes:
    return _mac(b"text", model.encode(), text.encode("utf-8", "surrogatepass"), last)


def _mac(*parts: bytes) -> bytes:
    return hmac.digest(_KEY, b"".join(b"%d\0%b" % (len(part), part) for part in parts), "sha256")[:_MAC]


_NEWEST = ("claude-fable-5-1", "claude-fable-5-2", "claude-mythos-5-1", "claude-mythos-5-2")


def reads(reader: str, writer: str) -> bool:
    """Return whether the model `reader` can read the thinking of the model `writer`, according to the docs.

    Models of the newest family read the thinking of every model, but no other model reads theirs. Every model
    reads the thinking of Haiku 5.5. Every model reads its own thinking. For other pairs, which the docs do
    not mention, the answer is False.
    """
    if reader == writer:
        return True
    if reader.startswith("claude-haiku-5-5") or (
        writer.startswith(_NEWEST) and not reader.startswith(_NEWEST)
    ):
        return False
    return reader.startswith(_NEWEST) or writer.startswith("claude-haiku-5-5")


def begin(body: Mapping[str, Any], *, bound: bool) -> Prefix:
    """Start the prefix of a request with its `system` and `tools`."""
    prefix = Prefix(body["model"], bound=bound)
    for name in ("system", "tools"):
        if (given := body.get(name)) is not None:
            entries = given if is_array(given) else [given]
            for entry in entries:
                prefix.add(name, _canonical_value(entry))
    return prefix


def _canonical_value(value: Any) -> bytes:
    return json.dumps(_bare(value), sort_keys=True, separators=(",", ":")).encode()


def check_signatures(body: bytes, *, bound: bool) -> tuple[Prefix, list[Finding]]:
    """Return the prefix at the end of a request, and the request's invalid thinking blocks, in order."""
    request: dict[str, Any] = json.loads(body, parse_float=_lexeme)
    prefix = begin(request, bound=bound)
    findings: list[Finding] = []
    first = True
    for number, message in enumerate(request["messages"]):
        role: str = message["role"]
        if "clear_at" in message:
            role += "\0" + message["clear_at"]
        content: Any = message["content"]
        for index, block in enumerate(content if is_array(content) else [content]):
            if is_object(block) and (kind := block["type"]) in _THINKING:
                text, signature = thinking_of(block)
                reason = prefix.verify(text, signature, request["model"], first=first)
                first = False
                if reason:
                    findings.append(Finding(f"messages.{number}.content.{index}", reason, kind))
            elif not is_blank(block):
                prefix.add(role, _canonical_value(block))
    return prefix, findings


def thinking_of(block: Mapping[str, Any]) -> tuple[str, str]:
    """Return the signed text of a thinking block, and its signature. Redacted data is the signature."""
    if block["type"] == "redacted_thinking":
        return "", str(block.get("data", ""))
    return str(block.get("thinking", "")), str(block.get("signature", ""))


def is_blank(block: Any) -> bool:
    """Return whether a block is a text block without a non-space character."""
    return is_object(block) and block.get("type") == "text" and not str(block.get("text", "")).strip()
