r"""Join or replace halves of surrogate pairs in JSON.

JavaScript servers write a character outside the basic plane as two escapes, such as `\ud83d` and `\ude00`.
They may send each half in a separate delta (KohakuTerrarium#48, rakazo#416, eliza#30904). A half is not valid
by itself, and msgspec refuses JSON that contains one. If an event has the first half at the end of a string,
the event is held back until the next event. If a string in the next event begins with the second half, that
half is moved to the first string. Any other half is replaced by U+FFFD.
"""

from __future__ import annotations

import re
from typing import Final, final

__all__ = ["REPAIRED", "HalfPairs", "without_halves"]

REPAIRED: Final = "half of a surrogate pair was replaced by U+FFFD"
"""The reason why a turn with a replaced half is not replayed exactly."""

# Any escape in a JSON string. It matches `\\` too, so that an escaped backslash does not start a `\u` escape.
_escape: Final = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)
_REPLACEMENT: Final = rb"\ufffd"


def _halves(data: bytes) -> list[tuple[int, int, bool]]:
    """Return each half whose other half is missing: its start, its end, and whether it is a first half."""
    found = list[tuple[int, int, bool]]()
    high: tuple[int, int] | None = None
    for match in _escape.finditer(data):
        code = int(match[1], 16) if match[1] else 0
        if high is not None:
            if 0xDC00 <= code < 0xE000 and match.start() == high[1]:
                high = None
                continue
            found.append((*high, True))
            high = None
        if 0xD800 <= code < 0xDC00:
            high = match.span()
        elif 0xDC00 <= code < 0xE000:
            found.append((*match.span(), False))
    if high is not None:
        found.append((*high, True))
    return found


def _opens_string(data: bytes, at: int) -> bool:
    """Return whether a string begins at `at`: the byte before it is a quote that is not escaped."""
    return data[at - 1 : at] == b'"' and data[at - 2 : at - 1] != b"\\"


def _replaced(data: bytes, spans: list[tuple[int, int, bytes]]) -> bytes:
    pieces, at = list[bytes](), 0
    for start, end, new in sorted(spans):
        pieces += (data[at:start], new)
        at = end
    return b"".join((*pieces, data[at:]))


def without_halves(data: bytes) -> bytes:
    """Return JSON with U+FFFD in place of each half without its other half; `data` itself if there is
    none."""
    if b"\\u" not in data:
        return data
    return _replaced(data, [(start, end, _REPLACEMENT) for start, end, _ in _halves(data)])


@final
class HalfPairs:
    """Joins or replaces the halves in the events of one stream.

    `replaced` is True once a half was replaced. The answer then differs from the text that the model wrote.
    """

    __slots__ = ("_held", "replaced")

    def __init__(self) -> None:
        self._held: tuple[bytes, bytes, tuple[int, int]] | None = None
        self.replaced: bool = False

    @property
    def waiting(self) -> bool:
        """True while an event is held back."""
        return self._held is not None

    def take(self, name: bytes, data: bytes) -> list[tuple[bytes, bytes]]:
        """Add an event. Return the events that can be decoded now: this event, the held-back event, both or
        none."""
        held, self._held = self._held, None
        # All halves begin with `\ud` or `\uD`, and nearly no event has them.
        halves = _halves(data) if b"\\ud" in data or b"\\uD" in data else []
        if held is None and not halves:
            return [(name, data)]
        out = list[tuple[bytes, bytes]]()
        edits = list[tuple[int, int, bytes]]()
        if held is not None:
            if not halves and b'"ping"' in data:
                self._held = held  # a ping can be between any two deltas
                return [(name, data)]
            other = next((h for h in halves if not h[2] and _opens_string(data, h[0])), None)
            whole = _REPLACEMENT
            if other is not None:
                whole = held[1][slice(*held[2])] + data[other[0] : other[1]]
                edits.append((other[0], other[1], b""))
                halves.remove(other)
            else:
                self.replaced = True
            out.append((held[0], _replaced(held[1], [(*held[2], whole)])))
        last = next((h for h in reversed(halves) if h[2] and data[h[1] : h[1] + 1] == b'"'), None)
        if last is not None:
            halves.remove(last)
        self.replaced = self.replaced or bool(halves)
        edits += [(start, end, _REPLACEMENT) for start, end, _ in halves]
        if last is None:
            out.append((name, _replaced(data, edits)))
        else:
            shift = sum(len(new) - (end - start) for start, end, new in edits if start < last[0])
            self._held = (name, _replaced(data, edits), (last[0] + shift, last[1] + shift))
        return out

    def flush(self) -> list[tuple[bytes, bytes]]:
        """Return the event that is held back, if there is one. Call this at the end of the stream."""
        held, self._held = self._held, None
        if held is None:
            return []
        self.replaced = True
        return [(held[0], _replaced(held[1], [(*held[2], _REPLACEMENT)]))]
