"""Incremental JSON: the known part of a text that is still arriving. No I/O, no clock, no tasks."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeGuard, final

from msgspec import UNSET

Path = tuple[str | int, ...]


_PLAIN = re.compile(r'[^"\\\x00-\x1f\ud800-\udfff]*')


_SPACE = re.compile(r"[ \t\n\r]*")


_NUMERAL = re.compile(r"[-+.0-9eE]*")


_NUMBER = re.compile(r"(-?(?:0|[1-9][0-9]*))(\.[0-9]+)?([eE][-+]?[0-9]+)?")


_UNICODE = re.compile(r"\\u([0-9a-fA-F]{4})(?:\\u([0-9a-fA-F]{4}))?")


_UNFINISHED = re.compile(
    r"\\(?:u[0-9a-fA-F]{0,3}|u[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u[0-9a-fA-F]{0,3})?)?)?\Z"
)


_SIMPLE = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


_WORDS: dict[str, tuple[str, bool | None]] = {
    "t": ("true", True),
    "f": ("false", False),
    "n": ("null", None),
}


# The states of the scanner: the token that may come next.
_VALUE, _FIRST_ITEM, _FIRST_KEY, _KEY, _COLON, _NEXT, _STRING, _DIGITS, _END, _BROKEN = range(10)


@final
class PartialJson:
    """Reads one JSON text piece by piece.

    A string or container is closed when its end has arrived. `whole(path)` returns True for strings that are
    shown only when they are closed; by default there are none. All views share the closed containers, so the
    caller must not change them.
    """

    __slots__ = (
        "_keys",
        "_open",
        "_parts",
        "_pieces",
        "_root",
        "_scanned",
        "_stack",
        "_state",
        "_tail",
        "_to_key",
        "_whole",
    )

    def __init__(self, whole: Callable[[Path], bool] | None = None) -> None:
        self._whole = whole
        self._pieces: list[str] = []
        self._tail = ""  # the start of an escape or a literal, until the rest comes
        self._state = _VALUE
        self._stack: list[Any] = []  # the open containers, outermost first; none is in its parent yet
        self._keys: list[str] = []  # for each open container, the key of the next value; "" in an array
        self._parts: list[str] = []  # the parts of the open string or number
        self._to_key = False  # the open string is a key
        self._root: Any = UNSET
        self._scanned = 0

    def feed(self, piece: str) -> None:
        """Add a piece of text. This is only an append; `value` scans the text."""
        self._pieces.append(piece)

    def value(self) -> Any:
        """Return the known part as plain data; UNSET if nothing is known yet.

        This scans the text that was added since the last call, and makes a shallow copy of the open
        containers. A number at the root is closed only when more text follows it.
        """
        if self._pieces:
            self._scan(self._tail + "".join(self._pieces))
            self._pieces.clear()
        child: Any = UNSET
        if self._parts and not self._to_key and self._state != _DIGITS and not self._held():
            self._parts = ["".join(self._parts)]
            child = self._parts[0]
        for container, key in zip(reversed(self._stack), reversed(self._keys), strict=True):
            copy = container.copy()
            if child is not UNSET:
                _put(copy, key, child)
            child = copy
        return self._root if child is UNSET else child

    def _held(self) -> bool:
        if self._whole is None:
            return False
        at = zip(self._stack, self._keys, strict=True)
        return self._whole(tuple(len(one) if is_array(one) else key for one, key in at))

    def _scan(self, text: str) -> None:
        self._scanned += len(text)
        pos, end = 0, len(text)
        while pos < end and self._state != _BROKEN:
            if self._state == _STRING:
                after = self._string(text, pos)
            elif self._state == _DIGITS:
                after = self._digits(text, pos)
            else:
                after = self._token(text, pos)
            if after is None:
                break
            pos = after
        self._tail = "" if self._state == _BROKEN else text[pos:]

    # Each of these methods reads from `pos`. It returns the position after the text that it has read, or None
    # if it needs more text.

    def _string(self, text: str, pos: int) -> int | None:
        after = _end(_PLAIN, text, pos)
        if after > pos:
            self._parts.append(text[pos:after])
            return after
        char = text[pos]
        if char == '"':
            value = "".join(self._parts)
            self._parts = []
            if self._to_key:
                self._keys[-1], self._to_key, self._state = value, False, _COLON
            else:
                self._close(value)
            return pos + 1
        if char != "\\":
            return self._break(pos)
        if (simple := _SIMPLE.get(text[pos + 1 : pos + 2])) is not None:
            self._parts.append(simple)
            return pos + 2
        if _UNFINISHED.match(text, pos):
            return None
        match = _UNICODE.match(text, pos)
        if match is None:
            return self._break(pos)
        code = int(match[1], 16)
        if not 0xD800 <= code < 0xE000:
            self._parts.append(chr(code))
            return pos + 6
        low = int(match[2], 16) if match[2] else 0
        if code >= 0xDC00 or not 0xDC00 <= low < 0xE000:
            return self._break(pos)
        self._parts.append(chr(0x10000 + ((code - 0xD800) << 10) + low - 0xDC00))
        return pos + 12

    def _digits(self, text: str, pos: int) -> int:
        after = _end(_NUMERAL, text, pos)
        self._parts.append(text[pos:after])
        if after == len(text):
            return after
        digits = "".join(self._parts)
        self._parts = []
        match = _NUMBER.fullmatch(digits)
        if match is None:
            return self._break(pos)
        try:
            self._close(float(digits) if match[2] or match[3] else int(digits))
        except ValueError:  # more digits than Python converts
            return self._break(pos)
        return after

    def _token(self, text: str, pos: int) -> int | None:
        if (after := _end(_SPACE, text, pos)) > pos:
            return after
        char, state = text[pos], self._state
        if state == _COLON and char == ":":
            self._state = _VALUE
        elif state == _NEXT and char == ",":
            self._state = _KEY if isinstance(self._stack[-1], dict) else _VALUE
        elif char in "]}" and state in (_NEXT, _FIRST_ITEM, _FIRST_KEY):
            if isinstance(self._stack[-1], list) != (char == "]"):
                return self._break(pos)
            self._keys.pop()
            self._close(self._stack.pop())
        elif char == '"' and state in (_KEY, _FIRST_KEY):
            self._to_key, self._parts, self._state = True, [""], _STRING
        elif state not in (_VALUE, _FIRST_ITEM):
            return self._break(pos)
        elif char == '"':
            self._parts, self._state = [""], _STRING  # an open string is shown, even while it is empty
        elif char in "[{":
            self._stack.append([] if char == "[" else {})
            self._keys.append("")
            self._state = _FIRST_ITEM if char == "[" else _FIRST_KEY
        elif char in "-0123456789":
            self._state = _DIGITS
            return self._digits(text, pos)
        elif char in _WORDS:
            word, value = _WORDS[char]
            have = text[pos : pos + len(word)]
            if have == word:
                self._close(value)
                return pos + len(word)
            return None if word.startswith(have) else self._break(pos)
        else:
            return self._break(pos)
        return pos + 1

    def _close(self, value: object) -> None:
        if self._stack:
            _put(self._stack[-1], self._keys[-1], value)
            self._state = _NEXT
        else:
            self._root, self._state = value, _END

    def _break(self, pos: int) -> int:
        self._state = _BROKEN
        return pos


def is_array(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def is_object(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _end(pattern: re.Pattern[str], text: str, pos: int) -> int:
    match = pattern.match(text, pos)
    return match.end() if match else pos


def _put(container: Any, key: str, value: object) -> None:
    if is_array(container):
        container.append(value)
    else:
        container[key] = value
