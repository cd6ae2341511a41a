"""An output item that is being received. No I/O, no clock, no tasks.

The final item is the item of `response.output_item.done`, byte for byte. If a server does not send that
event, the final item is taken from the terminal event's `output`. If it is missing there too, it is built
from the added item and its deltas.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Raw

from lutum.dialect.json import decode_object, encode
from lutum_openai.responses import _turn, _wire

Place = tuple[str, int]
"""The place of a piece: a kind (`text`, `refusal`, `summary`, `reasoning` or `arguments`) and an index."""


class ReceivedItem:
    """An item that is being received: its pieces so far, and which of them were emitted."""

    __slots__ = (
        "added",
        "annotations",
        "call_id",
        "done",
        "emitted",
        "id",
        "index",
        "kind",
        "name",
        "phase",
        "pieces",
        "ready",
        "value",
    )

    def __init__(self, kind: str, index: int | None, added: bytes = b"") -> None:
        self.kind = kind
        self.index = index
        self.added = added
        self.done: bytes | None = None
        self.id = self.call_id = self.name = ""
        self.phase: str | None = None
        self.pieces = dict[Place, list[str]]()
        self.annotations = dict[int, list[bytes]]()
        self.emitted = False  # some of its arguments were emitted as events
        self.ready = False
        self.value = False

    def learn(self, head: _wire.ItemHead) -> None:
        """Take the identifying members of `head`. A member that `head` lacks keeps its value."""
        self.id = head.id or self.id
        self.call_id = head.call_id or self.call_id
        self.name = head.name or self.name
        self.phase = head.phase or self.phase

    @property
    def public_id(self) -> str:
        return self.call_id or self.id

    def text(self, place: Place) -> str:
        """Return the streamed text of a place."""
        return "".join(self.pieces.get(place, ()))

    def assembled(self) -> bytes:
        """Return the item as it was added, with the streamed text filled in."""
        members = decode_object(self.added) if self.added else {"type": Raw(encode(self.kind))}
        if self.kind == "function_call":
            if self.name and "name" not in members:
                members["name"] = Raw(encode(self.name))
            if self.pieces:
                members["arguments"] = Raw(encode(self.text(("arguments", 0))))
        elif self.kind == "message":
            members.setdefault("role", Raw(b'"assistant"'))
            if content := self._content():
                members["content"] = Raw(b"[" + b",".join(content) + b"]")
        elif self.kind == "reasoning":
            members["summary"] = Raw(self._parts("summary", "summary_text"))
            if any(place == "reasoning" for place, _ in self.pieces):
                members["content"] = Raw(self._parts("reasoning", "reasoning_text"))
        return encode(members)

    def _content(self) -> list[bytes]:
        content = list[bytes]()
        for place, i in sorted(self.pieces, key=lambda found: found[1]):
            text = encode(self.text((place, i)))
            if place == "text":
                noted = b",".join(self.annotations.get(i, ()))
                content.append(b'{"type":"output_text","annotations":[%b],"text":%b}' % (noted, text))
            elif place == "refusal":
                content.append(b'{"type":"refusal","refusal":%b}' % text)
        return content

    def _parts(self, place: str, type: str) -> bytes:
        texts = [self.text(found) for found in sorted(self.pieces) if found[0] == place]
        return encode([{"type": type, "text": text} for text in texts])


def places(head: _wire.ItemHead) -> Iterator[tuple[Place, str]]:
    """Yield each place of a complete item that deltas can fill, with its text."""
    if head.type == "message":
        for i, part in enumerate(_turn.parts(head.content)):
            if part.text is not None:
                yield ("text", i), part.text
            elif part.refusal is not None:
                yield ("refusal", i), part.refusal
    elif head.type == "reasoning":
        for i, part in enumerate(_turn.parts(head.summary)):
            yield ("summary", i), part.text or ""
        for i, part in enumerate(_turn.parts(head.content)):
            yield ("reasoning", i), part.text or ""
    elif head.type == "function_call":
        yield ("arguments", 0), _turn.call_of(head).arguments
