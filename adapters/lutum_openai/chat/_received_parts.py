"""Parts of a message that is being received, and entries of its lists. No I/O, no clock, no tasks."""

from __future__ import annotations

from msgspec import Raw

from lutum.dialect.json import (
    FAULTS,
    copied,
    decode_object,
    encode,
    is_null,
    string,
)

# Types of entries that are received in pieces, each with the member to which the pieces are appended. Entries
# of other types are received whole.
_STREAMED_DETAILS = {"reasoning.text": "text", "reasoning.summary": "summary"}


class ReceivedPart:
    """A content part. Text, refusals and thinking grow with further pieces."""

    __slots__ = ("kind", "members", "pieces")

    def __init__(self, kind: str, members: dict[str, Raw], pieces: list[str]) -> None:
        self.kind = kind
        self.members = {name: Raw(copied(raw)) for name, raw in members.items()}
        self.pieces = pieces

    def go_on(self, part: ReceivedPart) -> bool:
        """Append a part that continues this one. Returns False if it is a separate part."""
        if not self.kind or part.kind != self.kind or bytes(self.members.get("closed", b"")) == b"true":
            return False
        if self.kind == "text" and not part.members.keys() | self.members.keys() <= {"type", "text"}:
            return False
        self.pieces += part.pieces
        self.members |= {name: raw for name, raw in part.members.items() if name != self.kind}
        return True

    def json(self) -> bytes:
        if not self.kind:
            return encode(self.members)
        text = encode("".join(self.pieces))
        members = dict(self.members)
        was_list = bytes(members.get("thinking", b"["))[:1] == b"["
        if self.kind == "thinking" and was_list:
            text = b'[{"type":"text","text":' + text + b"}]"
        members[self.kind] = Raw(text)
        return encode(members)


class ListEntry:
    """An entry of a list member. Only pieces of `reasoning_details` are joined."""

    __slots__ = ("_members", "_pieces", "_streamed", "id", "index", "kind", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self._members = dict[str, Raw]()
        self._pieces = list[str]()
        self.kind = self.id = ""
        self.index: bytes | None = None
        if not raw.startswith(b"{"):
            return
        self._members = decode_object(raw)
        self.kind = text_of(self._members.get("type"))
        self.id = text_of(self._members.get("id"))
        index = self._members.get("index")
        self.index = None if is_null(index) or index is None else bytes(index)
        self._streamed = _STREAMED_DETAILS.get(self.kind)
        if self._streamed and self._streamed in self._members:
            self._pieces.append(text_of(self._members[self._streamed]))

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    @property
    def signed(self) -> bool:
        return bool(text_of(self._members.get("signature")))

    def takes(self, new: ListEntry) -> bool:
        """Return whether `new` is a further piece of this entry. A signature ends the entry."""
        if not self.kind or new.kind != self.kind or new.index != self.index:
            return False
        if self.kind not in _STREAMED_DETAILS or (self.id and new.id and self.id != new.id):
            return False
        return not (self.signed and (new.text or new.signed))

    def go_on(self, new: ListEntry) -> None:
        self._pieces += new._pieces
        self.raw = b""
        for name, raw in new._members.items():
            known = self._members.get(name)
            empty = bytes(raw) in (b"null", b'""')
            if name != self._streamed and (known is None or not empty):
                self._members[name] = raw
        if self._pieces and self._streamed:
            self._members[self._streamed] = Raw()

    def json(self) -> bytes:
        if self.raw:
            return self.raw
        members = dict(self._members)
        if self._pieces and self._streamed:
            members[self._streamed] = Raw(encode(self.text))
        return encode(members)


def text_of(raw: Raw | bytes | None) -> str:
    """Return a string member; empty if it is absent, null or of another type."""
    try:
        return string(raw) or ""
    except FAULTS:
        return ""
