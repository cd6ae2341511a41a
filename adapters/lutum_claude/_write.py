"""The bytes of a request: head, messages and members, with cache breakpoints. No I/O."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from lutum.dialect.json import encode
from lutum_claude import _models, _wire
from lutum_claude._items import ContentBlock
from lutum_claude._request_body import Join, Sent
from lutum_claude._settings import ClaudeSettings

_BYTES = 4  # bytes of JSON per token, to decide whether a prefix is long enough for the cache
_BREAKPOINT = {
    "5m": b',"cache_control":{"type":"ephemeral"}}',
    "1h": b',"cache_control":{"type":"ephemeral","ttl":"1h"}}',
}
_STREAM = b',"stream":true}'
_ONE_HOUR = re.compile(rb'"ttl"\s*:\s*"1h"')
_quoted = lru_cache(maxsize=1024)(encode)
_ROLE = {role: encode(role) for role in ("user", "assistant", "system")}


def body_of(settings: ClaudeSettings, tools: Sequence[bytes], join: Join, members: dict[str, bytes]) -> bytes:
    """Return the bytes of a body. Cache breakpoints are written here, at most four."""
    tool_blocks = list(map(ContentBlock, tools))
    if settings.options.cache != "off":
        shortest = _models.shortest_cached(settings.model)
        mark(tool_blocks, join, _BREAKPOINT[settings.options.cache or "5m"], shortest)
    if settings.config.vertex:
        out = [b'{"anthropic_version":' + encode(_wire.VERTEX_VERSION)]
    else:
        out = [b'{"model":' + _quoted(settings.model)]
    if tools:
        out.append(b',"tools":[%b]' % _joined(tool_blocks))
    if join.system:
        out.append(b',"system":[%b]' % _joined(join.system))
    out.append(b',"messages":[')
    out += [  # joined once, because the messages of a long session are most of the bytes
        message.raw + b","
        if message.raw
        else b'{"role":%b,"content":[%b]},' % (_ROLE[message.role], _joined(message.blocks))
        for message in join.messages
    ]
    out[-1] = out[-1][:-1]
    out.append(b"]")
    out += [b",%b:%b" % (_quoted(name), value) for name, value in members.items()]
    out.append(_STREAM)
    return b"".join(out)


def has_one_hour(settings: ClaudeSettings, tools: Sequence[bytes], join: Join, body: bytes) -> bool:
    """Return whether a cache breakpoint in the body lasts an hour.

    A body can have megabytes, so it is searched only if an option or a tool may have set such a breakpoint.
    """
    asked = settings.options.cache == "1h" or settings.options.extra_body or join.marks
    return bool(asked or any(map(_ONE_HOUR.search, tools))) and _ONE_HOUR.search(body) is not None


def _joined(blocks: Sequence[ContentBlock]) -> bytes:
    # The case of one block is separate, because most messages have one and this runs for each message.
    return blocks[0].json if len(blocks) == 1 else b",".join([block.json for block in blocks])


def mark(tools: list[ContentBlock], join: Join, breakpoint: bytes, shortest: int) -> None:
    """Write cache breakpoints.

    - The main breakpoint is at the last block before the first ephemeral; without ephemerals, at the last
      block of the messages.
    - The API finds an earlier cache entry only if it ends at most `LOOKBACK` blocks before a breakpoint. If
      the previous request's breakpoint is farther away, another one is at the last block before the last
      turn.
    - Branches of a conversation share the content before their own first message, but a cache entry ends only
      at a breakpoint. So there is a breakpoint at the end of the head. If several items are joined in the
      last message, there is another before the last of these items. Both are set only if at least `shortest`
      tokens precede them. These breakpoints cause no token to be written to the cache twice.
    """
    free = 4 - join.marks - sum(b'"cache_control"' in tool.json for tool in tools)
    if free < 1:
        return
    message, cut = join.stable or (len(join.messages) - 1, None)
    place = None if join.stable_system is not None else _last_markable(join.messages, message, cut)
    if place is not None:
        places = {place}
        earlier = _last_markable(join.messages, join.last_turn - 1, None) if free > 1 else None
        if earlier and _apart(join.messages, earlier, place):
            places.add(earlier)
        head = sum(len(block.json) for block in (*tools, *join.system))
        if join.stable is None and len(places) < free and join.before_last is not None:
            shared = _last_markable(join.messages, *join.before_last)
            if shared is not None and head + _size(join.messages, shared) >= _BYTES * shortest:
                places.add(shared)
        for m, b in places:
            sent = join.messages[m]
            sent.blocks = list(sent.blocks)  # a copy, because other requests share the piece's blocks
            _write_mark(sent.blocks, b, breakpoint)
        if len(places) < free and join.system and join.system[-1].markable and head >= _BYTES * shortest:
            _write_mark(join.system, len(join.system) - 1, breakpoint)
    elif system := join.system[: join.stable_system]:
        if system[-1].markable:
            _write_mark(join.system, len(system) - 1, breakpoint)
    elif tools and b'"cache_control"' not in tools[-1].json:
        _write_mark(tools, len(tools) - 1, breakpoint)


def _size(messages: Sequence[Sent], end: tuple[int, int]) -> int:
    """Return the bytes of the blocks up to and including the one at `end`."""
    before = sum(len(block.json) for message in messages[: end[0]] for block in message.blocks)
    return before + sum(len(block.json) for block in messages[end[0]].blocks[: end[1] + 1])


def _write_mark(blocks: list[ContentBlock], at: int, breakpoint: bytes) -> None:
    blocks[at] = ContentBlock(blocks[at].json[:-1] + breakpoint)


def _last_markable(messages: Sequence[Sent], message: int, cut: int | None) -> tuple[int, int] | None:
    for m in range(message, -1, -1):
        blocks = messages[m].blocks[:cut]
        cut = None
        for b in range(len(blocks) - 1, -1, -1):
            if blocks[b].markable:
                return m, b
    return None


def _apart(messages: Sequence[Sent], earlier: tuple[int, int], later: tuple[int, int]) -> bool:
    """Return whether more than `LOOKBACK` blocks are between two places."""
    between = sum(len(message.blocks) for message in messages[earlier[0] : later[0]])
    return between - earlier[1] + later[1] > _wire.LOOKBACK
