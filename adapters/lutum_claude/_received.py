"""Assemble a block from its deltas to the JSON that the non-stream answer would contain. No I/O."""

from __future__ import annotations

from collections.abc import Collection
from io import StringIO
from typing import Final

from msgspec import Raw

from lutum.dialect.json import decode_array, decode_object, encode, is_null, is_object, starts_with, string
from lutum.dialect.usage import count
from lutum_claude import _wire

CALLS: Final = frozenset({"tool_use", "server_tool_use", "mcp_tool_use"})


class ReceivedBlock:
    """A block that is being received."""

    __slots__ = ("citations", "id", "kind", "members", "name", "signature", "streamed", "value", "went_on")

    def __init__(self, start: bytes, value_tool: str | None, taken: Collection[str], fallback: str) -> None:
        self.kind = _wire.decode_tag(start).type
        self.members = decode_object(start)
        self.streamed = StringIO()  # a string for each delta would be six times as large
        self.went_on = False  # at least one delta of its text was received, even if it was empty
        self.citations = list[bytes]()
        self.signature: str | None = None
        self.id = self.name = ""
        if self.kind in CALLS:
            self.id = _word(self.members.get("id"))
            self.name = _word(self.members.get("name"))
        if self.kind == "tool_use":
            # A result belongs to one call. So an id is replaced if it is missing, is a number, or was used by
            # an earlier call (Kimi's coding endpoint: nanobot#4473). The next request contains the new id.
            unique, number = self.id or fallback, 2
            while unique in taken:
                unique, number = f"{self.id or fallback}_{number}", number + 1
            if unique != self.id or not starts_with(self.members.get("id"), b'"'):
                self.members["id"] = Raw(encode(unique))
            self.id = unique
            if not starts_with(self.members.get("name"), b'"'):
                self.members["name"] = Raw(encode(self.name))
        self.value = self.kind == "tool_use" and value_tool == self.name

    @property
    def arguments(self) -> str:
        """The received input of a call. If no delta was received, the input at the start of the block."""
        if streamed := self.streamed.getvalue():
            return streamed
        start = self.members.get("input")
        if starts_with(start, b'"'):  # bridges from OpenAI send the arguments as a string
            return string(start) or "{}"
        return "{}" if start is None or is_null(start) else bytes(start).decode()

    def assembled(self) -> bytes:
        """Return the whole block's JSON."""
        members = dict(self.members)
        if self.kind in CALLS:
            arguments = self.arguments
            members["input"] = Raw(arguments.encode() if is_object(arguments) else b"{}")
        elif self.went_on:
            before = string(members.get(self.kind)) or ""
            members[self.kind] = Raw(encode(before + self.streamed.getvalue()))
        if self.signature is not None:
            members["signature"] = Raw(encode(self.signature))
        if self.citations:
            first = members.get("citations")
            earlier = decode_array(first) if starts_with(first, b"[") else []
            joined = [*map(bytes, earlier), *self.citations]
            members["citations"] = Raw(b"[" + b",".join(joined) + b"]")
        return encode(members)


def _word(value: Raw | None) -> str:
    """Return a string, or a number as a string; empty for any other value."""
    if starts_with(value, b'"'):
        return string(value) or ""
    number = count(value)
    return "" if number is None else str(number)
