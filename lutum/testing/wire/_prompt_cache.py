"""The prompt cache of a wire server: the tokens that a request reads from it and writes to it.

Claude's cache follows "Prompt caching" of the provider's docs. An entry ends at a block with `cache_control`,
called its mark. A request finds an entry at most 20 blocks before one of its own marks. The shortest prefix
depends on the model. OpenAI's cache follows OpenAI's guide "Prompt caching". It has no marks, and caches
prefixes from 1,024 tokens in steps of 128. In both caches, an entry is readable when the answer that writes
it has begun. It expires 5 minutes after its last use, or 1 hour if its mark says so.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any, Final, final

import anyio
import msgspec

from lutum.testing.wire._claude_sign import canonical
from lutum.testing.wire._json import is_array, is_object
from lutum.testing.wire._request import CacheUse, WireRequest

__all__ = ["PromptCache"]

_LOOK_BACK: Final = 20
_MINUTES: Final = {"5m": 300.0, "1h": 3600.0}
_OPENAI_SHORTEST: Final = 1024
_OPENAI_STEP: Final = 128
_OPENAI_LIFETIME: Final = 300.0

# Tokens of the shortest cached prefix, by model. The longest matching name counts; other models have 1,024.
_CLAUDE_SHORTEST: Final = {
    "claude-haiku-3": 2048,
    "claude-3-5-haiku": 2048,
    "claude-3-haiku": 2048,
    "claude-haiku-4-5": 4096,
    "claude-haiku-5": 4096,
    "claude-opus-4-5": 4096,
    "claude-opus-4-6": 4096,
    "claude-opus-4-7": 2048,
    "claude-opus-5": 512,
    "claude-fable-5": 512,
    "claude-mythos-5": 512,
}


class _CacheEntry:
    __slots__ = ("lifetime", "until", "writer")

    def __init__(self, writer: WireRequest, lifetime: float) -> None:
        self.writer = writer
        self.lifetime = lifetime
        self.until = anyio.current_time() + lifetime

    def is_readable(self) -> bool:
        return self.writer.began and anyio.current_time() <= self.until


class _PrefixBlock(msgspec.Struct, frozen=True):
    digest: bytes
    tokens: int
    """The tokens of the prefix up to and including this block."""
    mark: str | None = None
    """The lifetime of the entry that ends at this block."""


@final
class PromptCache:
    """The entries of one server, for all models and keys."""

    def __init__(self) -> None:
        self._entries = dict[bytes, _CacheEntry]()

    def look_up(self, request: WireRequest) -> CacheUse:
        """Return the tokens that a valid request reads and writes, and store its entries."""
        if request.path.endswith("/v1/messages"):
            return self._claude(request)
        if request.path.endswith(("/responses", "/chat/completions")):
            return self._openai(request)
        return CacheUse()

    def _claude(self, request: WireRequest) -> CacheUse:
        body: dict[str, Any] = request.json
        blocks = list(_chained(body, _claude_blocks(body)))
        marks = [at for at, block in enumerate(blocks) if block.mark is not None]
        if not marks:
            return CacheUse()
        shortest = _claude_shortest(str(body.get("model", "")))
        read = max((self._found(blocks, mark) for mark in marks), default=0)
        written = {"5m": 0, "1h": 0}
        before = read
        for mark in marks:
            block = blocks[mark]
            if block.tokens < shortest or block.tokens <= before or block.mark is None:
                continue
            written[block.mark] += block.tokens - before
            before = block.tokens
            self._entries[block.digest] = _CacheEntry(request, _MINUTES[block.mark])
        return CacheUse(read, written["5m"], written["1h"])

    def _found(self, blocks: list[_PrefixBlock], mark: int) -> int:
        for at in range(mark, max(-1, mark - _LOOK_BACK - 1), -1):
            entry = self._entries.get(blocks[at].digest)
            if entry is not None and entry.is_readable():
                entry.until = anyio.current_time() + entry.lifetime
                return blocks[at].tokens
        return 0

    def _openai(self, request: WireRequest) -> CacheUse:
        body: dict[str, Any] = request.json
        blocks = list(_chained(body, _openai_blocks(body)))
        read = 0
        for block in reversed(blocks):
            entry = self._entries.get(block.digest)
            if entry is not None and entry.is_readable():
                entry.until = anyio.current_time() + entry.lifetime
                read = block.tokens // _OPENAI_STEP * _OPENAI_STEP
                break
        for block in blocks:
            if block.tokens >= _OPENAI_SHORTEST and block.digest not in self._entries:
                self._entries[block.digest] = _CacheEntry(request, _OPENAI_LIFETIME)
        return CacheUse(read)


def _chained(body: dict[str, Any], blocks: Iterator[tuple[Any, str | None]]) -> Iterator[_PrefixBlock]:
    digest = hashlib.blake2b(str([body.get("model"), body.get("prompt_cache_key")]).encode(), digest_size=16)
    size = 0
    for block, mark in blocks:
        data = canonical(json.dumps(block))
        digest.update(len(data).to_bytes(8, "big") + data)
        size += len(data)
        yield _PrefixBlock(digest.digest(), size // 4, mark)


def _claude_blocks(body: dict[str, Any]) -> Iterator[tuple[Any, str | None]]:
    found = list[tuple[Any, str | None]]()
    for tool in body.get("tools", ()):
        found.append((["tool", tool], _mark(tool)))
    system = body.get("system", ())
    for block in [{"type": "text", "text": system}] if isinstance(system, str) else system:
        found.append((["system", block], _mark(block)))
    for message in body["messages"]:
        content = message["content"]
        for block in content if is_array(content) else [{"type": "text", "text": content}]:
            found.append(([message["role"], block], _mark(block)))
    if (mark := _mark(body)) is not None and found:
        found[-1] = (found[-1][0], mark)
    return iter(found)


def _openai_blocks(body: dict[str, Any]) -> Iterator[tuple[Any, str | None]]:
    for member in ("tools", "instructions"):
        if body.get(member):
            yield [member, body[member]], None
    items = body.get("messages", body.get("input", ()))
    for item in [items] if isinstance(items, str) else items:
        yield item, None


def _mark(holder: Any) -> str | None:
    control = holder.get("cache_control") if is_object(holder) else None
    return str(control.get("ttl", "5m")) if is_object(control) else None


def _claude_shortest(model: str) -> int:
    names = [name for name in _CLAUDE_SHORTEST if name in model.replace(".", "-")]
    return _CLAUDE_SHORTEST[max(names, key=len)] if names else 1024
