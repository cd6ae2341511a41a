"""Rearranges the input items of a request for models with a strict chat template. No I/O.

Self-hosted servers convert the items to messages of the model's chat template. Most templates accept only one
system message, at the start. Some accept user and assistant messages only in alternation. A message is joined
only with direct neighbours, never across an answer. So the items before an answer are the same in every later
request.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Raw

from lutum.dialect.json import decode_array, decode_object, encode, string
from lutum_openai._profiles import Profile

_SYSTEM = (b'{"type":"message","role":"system",', b'{"type":"message","role":"developer",')
_USER = b'{"type":"message","role":"user",'


def arranged(items: Sequence[bytes], head: int, profile: Profile) -> list[bytes]:
    """Return the items in a form that the host accepts. The first `head` items are system items."""
    found = list(items)
    if profile.system == "one":
        if head > 1 and all(item.startswith(_SYSTEM) for item in found[:head]):
            found[:head] = [_joined(found[:head])]
            head = 1
        found[head:] = [_as_user(item) if item.startswith(_SYSTEM) else item for item in found[head:]]
    if profile.alternate:
        found = _alternating(found)
    return found


def _as_user(item: bytes) -> bytes:
    texts = [string(decode_object(part).get("text")) or "" for part in _parts(item)]
    text = "\n\n".join(texts)
    return b'{"type":"message","role":"user","content":%b}' % encode(f"<system>\n{text}\n</system>")


def _alternating(items: Sequence[bytes]) -> list[bytes]:
    found = list[bytes]()
    for item in items:
        if found and item.startswith(_USER) and found[-1].startswith(_USER):
            found[-1] = _joined([found[-1], item])
        else:
            found.append(item)
    return found


def _joined(items: Sequence[bytes]) -> bytes:
    """Join messages into one message, with the role of the first message."""
    contents = [decode_object(item)["content"] for item in items]
    if all(bytes(content).startswith(b'"') for content in contents):
        content = encode("\n\n".join(string(content) or "" for content in contents))
    else:
        content = b"[" + b",".join(part for item in items for part in _parts(item)) + b"]"
    return encode({**decode_object(items[0]), "content": Raw(content)})


def _parts(item: bytes) -> list[bytes]:
    content = bytes(decode_object(item)["content"])
    if content.startswith(b'"'):
        return [b'{"type":"input_text","text":%b}' % content]
    return [bytes(part) for part in decode_array(content)]
