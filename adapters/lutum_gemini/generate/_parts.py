"""Join the parts of a stream's frames to the parts that are stored and sent back.

One answer stays one content, with its parts in order. Pieces of text are joined. A part with a signature is
never joined with other parts. The last part of most Gemini 3 streams is an empty text part with a signature;
it is kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from io import StringIO
from typing import Any, Final, TypeGuard

import msgspec
from msgspec import Raw

from lutum.dialect.json import FAULTS, copied, decode_array, decode_object, decode_str, encode, is_null

_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(\d{1,6})\]|\[(?:'([^']*)'|\"([^\"]*)\")\]")
_STREAMING: Final = frozenset({"partialArgs", "willContinue"})
"""Members of a call that occur only in pieces of a stream."""
_VALUES: Final = ("numberValue", "boolValue", "structValue", "listValue")


class TextRun:
    """Text that is being received."""

    __slots__ = ("first", "is_thought", "pieces", "text")

    def __init__(self, text: str, *, is_thought: bool, first: bytes | None) -> None:
        self.text = StringIO()
        self.text.write(text)
        self.is_thought = is_thought
        self.first = first  # the part as received, used if the text has only one piece
        self.pieces = 1

    def json(self) -> bytes:
        """Return the part's JSON."""
        if self.first is not None and self.pieces == 1:
            return self.first
        thought = b',"thought":true}' if self.is_thought else b"}"
        return b'{"text":' + encode(self.text.getvalue()) + thought


class PartialCall:
    """A call whose arguments arrive in pieces. Vertex AI sends such calls on request."""

    __slots__ = ("arguments", "call", "is_broken", "part")

    def __init__(self, part: Mapping[str, Raw], call: Mapping[str, Raw]) -> None:
        self.part = dict(part)
        self.call = {name: value for name, value in call.items() if name not in _STREAMING}
        self.arguments: dict[str, Any] = {}
        self.is_broken = False

    def add(self, call: Mapping[str, Raw]) -> None:
        """Add the pieces of one frame."""
        pieces = call.get("partialArgs")
        for raw in decode_array(pieces) if pieces is not None and not is_null(pieces) else ():
            piece = decode_object(raw)
            path = decode_str(piece.get("jsonPath", Raw(b'""')))
            value: Any = None
            if "stringValue" in piece:
                value = [decode_str(piece["stringValue"])]
            else:
                value = next((Raw(copied(piece[name])) for name in _VALUES if name in piece), Raw(b"null"))
            if not _place(self.arguments, path, value):
                self.is_broken = True

    def json(self) -> bytes:
        """Return the whole part, as in an answer that is not streamed."""
        arguments = Raw(encode(_joined(self.arguments)))
        call = Raw(encode({**self.call, "args": arguments}))
        return encode({**self.part, "functionCall": call})


class PartList:
    """The parts of an answer, in order."""

    __slots__ = ("_run", "_whole", "partial")

    def __init__(self) -> None:
        self._whole = list[bytes]()
        self._run: TextRun | None = None
        self.partial: PartialCall | None = None

    def text(self, text: str, *, is_thought: bool, joins: bool, raw: bytes | None = None) -> None:
        """Add text without a signature.

        Args:
          joins: the text may continue the last part. False if another part precedes it in the same frame.
          raw: the part as received.
        """
        run = self._run
        if joins and run is not None and run.is_thought == is_thought:
            run.text.write(text)
            run.pieces += 1
            return
        if not text and raw is None:
            return
        self.close()
        self._run = TextRun(text, is_thought=is_thought, first=raw)

    def add(self, part: bytes) -> None:
        """Add a whole part of another kind, or text with a signature."""
        self.close()
        self._whole.append(part)

    def close(self) -> None:
        """End the text that is being received."""
        if self._run is not None:
            self._whole.append(self._run.json())
            self._run = None

    def finish(self) -> list[bytes]:
        """Return all parts."""
        self.close()
        return self._whole


def _place(arguments: dict[str, Any], path: str, value: Any) -> bool:
    """Put a value at a JSON path. A list of strings extends an existing list. Return False for a bad path."""
    steps = list[str | int]()
    at = 1 if path.startswith("$") else len(path) + 1
    while at < len(path):
        found = _STEP.match(path, at)
        if found is None:
            return False
        name, index, single, double = found.groups()
        steps.append(int(index) if index is not None else name or single or double or "")
        at = found.end()
    if not steps or at != len(path):
        return False
    # Arrays are dicts with integer keys until the end, because an entry may come before its neighbours.
    holder: Any = arguments
    for step in steps[:-1]:
        if not _is_dict(holder):
            return False
        holder = holder.setdefault(step, {})
    if not _is_dict(holder):
        return False
    earlier = holder.get(steps[-1])
    if _is_list(value) and _is_list(earlier):
        earlier += value
    else:
        holder[steps[-1]] = value
    return True


def _joined(value: Any) -> Any:
    if _is_list(value):
        return "".join(value)
    if not _is_dict(value):
        return value
    if value and all(isinstance(key, int) for key in value):
        return [_joined(value[key]) for key in sorted(value)]
    return {str(key): _joined(inner) for key, inner in value.items()}


def _is_dict(value: object) -> TypeGuard[dict[Any, Any]]:
    return isinstance(value, dict)


def _is_list(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list)


def text_of(members: Mapping[str, Raw]) -> tuple[str, bool] | None:
    """Return the text of a part and whether it is a thought; None for a part of another kind."""
    try:
        text = members["text"]
        is_thought = bytes(members.get("thought", b"")) == b"true"
        return decode_str(text), is_thought
    except (KeyError, *FAULTS):
        return None


def is_plain(members: Mapping[str, Raw]) -> bool:
    """Return whether a text part has only the members `text` and `thought`."""
    return members.keys() <= {"text", "thought"}


def members_of_part(part: bytes | Raw) -> dict[str, Raw]:
    """Return a part's members; empty for a part that is not an object."""
    try:
        return decode_object(part)
    except msgspec.DecodeError:
        return {}
