"""A tool call that is being received: its deltas become an entry of `tool_calls`. No I/O, clock or tasks."""

from __future__ import annotations

import json
from itertools import pairwise

from msgspec import Raw

from lutum.dialect.json import (
    copied,
    decode_object,
    encode,
    is_null,
    is_object,
    starts_with,
    string,
)
from lutum.dialect.usage import count
from lutum_openai.chat._received_parts import text_of


class ReceivedCall:
    """A tool call that is being received.

    `custom` is true for a custom call, which is a call of the provider: see `Completed.open_items`. `id` is
    empty until a delta contains an id, or until a piece of the call is shown.
    """

    __slots__ = ("_function", "_members", "_pieces", "_whole", "custom", "id", "index", "name", "ready")

    def __init__(self, index: int | None, id: str) -> None:
        self.index = index
        self.id = id
        self.name = ""
        self.ready = False
        self.custom = False
        self._pieces = list[str]()
        self._whole: bytes | None = None
        self._members = dict[str, Raw]()
        self._function = dict[str, Raw]()

    @property
    def arguments(self) -> str:
        """The received arguments, without repetitions; `{}` if they are missing or blank."""
        if self._whole is not None:
            return self._whole.decode()
        joined = "".join(self._pieces)
        return said_once(self._pieces) if joined.strip() else "{}"

    @property
    def blank(self) -> bool:
        """True if no arguments were received."""
        return self._whole is None and not "".join(self._pieces).strip()

    @property
    def whole(self) -> bool:
        """True if the arguments so far are one JSON object."""
        return not self.blank and is_object(self.arguments)

    @property
    def bare(self) -> bool:
        """True if only metadata was received, without a name and arguments."""
        return not self.name and self.blank and not self.custom

    def take(self, members: dict[str, Raw]) -> str:
        """Take a delta. Returns its piece of the arguments."""
        piece = ""
        for name, raw in members.items():
            if name in ("index", "id") or is_null(raw):
                continue
            if name == "function" and starts_with(raw, b"{"):
                piece = self._take_function(decode_object(raw), self._function, "arguments")
            elif (
                name == "custom"
                and starts_with(raw, b"{")
                and text_of(members.get("type") or self._members.get("type")) == "custom"
            ):
                self.custom = True
                piece = self._take_function(decode_object(raw), self._function, "input")
            else:
                self._members[name] = Raw(copied(raw))
        return piece

    def adopt(self, other: ReceivedCall) -> None:
        """Take over the metadata of a separate delta. Values that this call has already are kept."""
        self._members = other._members | self._members
        self._function = other._function | self._function

    def _take_function(self, members: dict[str, Raw], known: dict[str, Raw], streamed: str) -> str:
        piece = ""
        for name, raw in members.items():
            if is_null(raw):
                continue
            if name == "name":
                self._take_name(string(raw) or "")
                known.setdefault(name, Raw())
            elif name != streamed:
                known[name] = Raw(copied(raw))
            elif bytes(raw)[:1] == b'"':
                piece = string(raw) or ""
                self._pieces.append(piece)
                known.setdefault(name, Raw())
            else:
                self._whole = copied(raw)
                piece = self._whole.decode()
                known.setdefault(name, Raw())
        return piece

    def _take_name(self, said: str) -> None:
        # OVH and the Hugging Face router repeat the name in every delta. Other servers send the name in
        # pieces before the arguments (continue#5849, openai-agents-python#326). A delta whose name begins
        # with the name so far contains the whole name.
        if said.startswith(self.name):
            self.name = said
        elif self.blank:
            self.name += said

    def json(self) -> bytes:
        """Return the whole call."""
        streamed = "input" if self.custom else "arguments"
        text = "".join(self._pieces) if self.custom else said_once(self._pieces)
        function = dict(self._function)
        function["name"] = Raw(encode(self.name))
        function[streamed] = Raw(encode(text) if self._whole is None else self._whole)
        members = {"id": Raw(encode(self.id)), "type": Raw(b'"function"')} | self._members
        members["custom" if self.custom else "function"] = Raw(encode(function))
        return encode(members)


def said_once(pieces: list[str]) -> str:
    """Return the arguments of a call without repetitions. Some servers send:

    - `{}` before the real arguments (litellm#4537);
    - all arguments again at the end (opencodex#361, codex-lb#284, 9router#2869);
    - all arguments so far in each delta (new-api, gateways to Gemini).

    Arguments that are already one JSON object, or that match none of these cases, are returned unchanged.
    """
    joined = "".join(pieces)
    if not joined.strip() or is_object(joined):
        return joined
    filled = [piece for piece in pieces if piece.strip()]
    last = filled[-1]
    grows = all(later.startswith(earlier) for earlier, later in pairwise(filled))
    if len(filled) > 1 and grows and is_object(last):
        return last
    values = list[str]()
    at = 0
    while at < len(joined):
        if joined[at].isspace():
            at += 1
            continue
        try:
            _, end = _scan(joined, at)
        except (ValueError, RecursionError):
            return joined
        values.append(joined[at:end])
        at = end
    real = [value for value in values if value.replace(" ", "") != "{}"] or values
    return real[0] if len(set(real)) == 1 and is_object(real[0]) else joined


_scan = json.JSONDecoder().raw_decode


def id_of(raw: Raw | None) -> str:
    """Return the id of a call. Some servers send a number."""
    number = None if starts_with(raw, b'"') else count(raw)
    return text_of(raw) if number is None else str(number)


def arguments_of(raw: Raw | None) -> str:
    """Return the arguments in a delta. They are a string, or the object itself."""
    return text_of(raw) if starts_with(raw, b'"') or is_null(raw) or raw is None else bytes(raw).decode()
