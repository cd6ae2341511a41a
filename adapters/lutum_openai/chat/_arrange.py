"""Arrange the messages of a request in the order and number that a host accepts. No I/O.

Each step depends only on neighbouring messages, and a message before an assistant message never changes
again. Therefore a later request only appends messages. This module also writes the cache breakpoints. The
memoized messages do not contain them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Raw

from lutum.dialect.json import decode_array, decode_object, encode, string
from lutum_openai._profiles import Profile
from lutum_openai.chat import _wire

BRIDGE = b'{"role":"assistant","content":"OK."}'
"""The message between a tool message and a user message, if the host requires one there."""

BREAKPOINTS = {
    "5m": b'{"type":"ephemeral"}',
    "1h": b'{"type":"ephemeral","ttl":"1h"}',
}

_TALKING = ("user", "assistant")


def arranged(messages: Sequence[bytes], head: int, profile: Profile) -> list[bytes]:
    """Return the messages in a form that the host accepts. The first `head` ones are system messages."""
    found = list(messages)
    if profile.system == "one" and head > 1:
        found[:head] = [_joined(found[:head])]
    if profile.alternate or not profile.after_tool:
        found = list(_alternating(found, profile))
    return found


def late_system(text: str) -> bytes:
    """Return a user message with the text of a late system message, for a host that refuses such messages."""
    return b'{"role":"user","content":%b}' % encode(f"<system>\n{text}\n</system>")


def mark(messages: list[bytes], stable: int | None, head: int, breakpoint: bytes) -> None:
    """Write `cache_control` into two messages: the last of the head, and the last before the first ephemeral.

    Claude behind a gateway caches the request up to these messages. Content that is a string becomes a text
    part, because only a part can have `cache_control`.
    """
    end = len(messages) if stable is None else stable
    places = list[int]()
    for last in (end, min(head, end)):
        for i in range(last - 1, -1, -1):
            if i in places:
                break
            if (marked := _marked(messages[i], breakpoint)) is not None:
                messages[i] = marked
                places.append(i)
                break


def role_of(message: bytes) -> str:
    """Return the role of a message."""
    for role in ("user", "assistant", "tool", "system"):  # messages that lutum wrote need no decoding
        if message.startswith(b'{"role":"%b",' % role.encode()):
            return role
    return string(decode_object(message).get("role")) or ""


def _alternating(messages: Iterable[bytes], profile: Profile) -> Iterable[bytes]:
    last, role = b"", ""
    for message in messages:
        now = role_of(message)
        if profile.alternate and now == role and now in _TALKING and _takes_more(last):
            last = _joined([last, message])
            continue
        if last:
            yield last
        if not profile.after_tool and role in ("tool", "function") and now == "user":
            yield BRIDGE
        last, role = message, now
    if last:
        yield last


def _takes_more(message: bytes) -> bool:
    """Return whether another message may be joined to this one. False for calls: their results follow."""
    return b'"tool_calls"' not in message and b'"function_call"' not in message


def _joined(messages: Sequence[bytes]) -> bytes:
    """Join messages of one role. Members that only a later message has are kept."""
    whole = dict[str, Raw]()
    contents = list[bytes]()
    for message in messages:
        members = decode_object(message)
        if (content := bytes(members.pop("content", Raw(b"null")))) not in (b"null", b'""'):
            contents.append(content)
        whole = {**members, **whole}
    role = whole.pop("role")
    if all(content.startswith(b'"') for content in contents):
        content = encode("\n\n".join(string(content) or "" for content in contents))
    else:
        content = b"[" + b",".join(part for one in contents for part in _parts(one)) + b"]"
    return encode({"role": role, "content": Raw(content), **whole})


def _parts(content: bytes) -> list[bytes]:
    if content.startswith(b'"'):
        return [b'{"type":"text","text":%b}' % content]
    return [bytes(part) for part in decode_array(content)]


def _marked(message: bytes, breakpoint: bytes) -> bytes | None:
    members = decode_object(message)
    content = bytes(members.get("content", b""))
    if content.startswith(b'"'):
        if content == b'""':
            return None
        members["content"] = Raw(b'[{"type":"text","text":%b,"cache_control":%b}]' % (content, breakpoint))
        return encode(members)
    if not content.startswith(b"["):
        return None
    parts = list(map(bytes, decode_array(content)))
    for i in range(len(parts) - 1, -1, -1):
        if _wire.decode_part(parts[i]).type == "text":
            part = decode_object(parts[i])
            part["cache_control"] = Raw(breakpoint)
            parts[i] = encode(part)
            members["content"] = Raw(b"[" + b",".join(parts) + b"]")
            return encode(members)
    return None
