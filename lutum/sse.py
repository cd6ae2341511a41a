"""Server-sent events, sans I/O: bytes in, pairs of event name and data out.

It follows the WHATWG text (html.spec.whatwg.org, server-sent events). Ids and reconnection times are
dropped, because a new connection cannot resume a model's answer.
"""

import re
from typing import final

__all__ = ["SSEDecoder", "SSEError"]

# Matches events in the form that providers send. Each match is one event, so `findall` makes the pairs
# without a loop here. If an event has another form, the last branch matches it and all bytes after it: no
# byte is skipped, and the last pair is then empty. `.` is any byte except LF, and is faster than a class that
# excludes CR too.
_find_regular = re.compile(rb"(?:event: (.*)\n)?data: (.*)\n\n|(?s:.+)").findall

_BOM = b"\xef\xbb\xbf"
_FIELD_STARTS = (b"d", b"e", b":")
# Integers, because `in` with bytes on its left side first tries to convert them to an integer, which fails.
_CR, _LF = b"\r\n"


class SSEError(ValueError):
    """The stream has an event that is longer than the decoder allows. The rest cannot be decoded."""


@final
class SSEDecoder:
    """Decode one stream: `feed` it as it arrives, `flush` at its end.

    An event is a pair of name and data. The name is `b""` if it is missing (a browser uses "message"). The
    data is the lines of data joined by `b"\\n"`. Both are bytes as received: the caller must check that they
    are valid UTF-8. The stream may be cut anywhere, also inside of a character. Neither the events nor a
    failure depend on how the stream is cut.

    `max_event_bytes` limits the length of the lines from one blank line to the next. Comments are included,
    and a CRLF counts as one byte. If an event is too long, the events before it are still returned, and the
    next call raises. If no event is before it, the same call raises. All later calls raise too.
    """

    __slots__ = ("_between", "_cr", "_held", "_lead", "_max", "position")

    position: int
    """How many bytes were fed. The events that a call returns ended within the bytes of that call."""

    def __init__(self, *, max_event_bytes: int = 16 * 2**20) -> None:
        self.position = 0
        self._max = max_event_bytes
        # The bytes since the last blank line. If they are more than `max_event_bytes`, the decoder has
        # failed, and they stay too many whatever is fed.
        self._held = bytearray()
        # The first bytes of the stream while they may still become a BOM, then None.
        self._lead: bytes | None = b""
        # True if the last byte was a CR. It was taken as a line end at once; a LF that follows belongs to it.
        self._cr = False
        # True if none of the three attributes above affects the next byte.
        self._between = False

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """Take the next bytes and return the events that they complete. An empty list means "more data".

        Raises:
          SSEError: an event is longer than `max_event_bytes`.
        """
        self.position += (size := len(data))
        if self._lead == b"" and data[:1] in _FIELD_STARTS:  # no BOM
            self._lead = None
            self._between = True
        # Most chunks are whole events of the usual form. A check of the last byte excludes most other chunks.
        if self._between and 0 < size <= self._max and data[-1] == _LF and _CR not in data:
            events: list[tuple[bytes, bytes]] = _find_regular(data)
            if events[-1][1]:
                return events
        if self._cr or self._lead is not None or _CR in data:
            data = self._normalize(data)
        held = self._held
        if held:
            # Only the new bytes are searched. Otherwise an event in many small pieces would take quadratic
            # time.
            if b"\n\n" not in data and not (held[-1] == _LF and data.startswith(b"\n")):
                held += data
                if len(held) > self._max:
                    raise self._too_long()
                return []
            data = b"".join((held, data))
            held.clear()
        last = data.rfind(b"\n\n")
        end = last + 2 if last >= 0 else 0
        events = self._decode(data[:end])
        # Further blank lines do not belong to the next event, and must not count towards its length.
        held += data[end:].lstrip(b"\n")
        self._between = not (held or self._cr or self._lead is not None)
        if len(held) > self._max and not events:
            raise self._too_long()
        return events

    def flush(self) -> list[tuple[bytes, bytes]]:
        """End the stream, and return the last event if no blank line ended it.

        The specification drops that event. It is kept here, because some servers omit the last blank line.
        Its data may be cut short: data that cannot be parsed means that the stream was cut, not that the
        event is malformed. An event without a byte of data is dropped.

        Raises:
          SSEError: an event is longer than `max_event_bytes`.
        """
        if len(self._held) > self._max:
            raise self._too_long()
        event = _parse(bytes(self._held))
        self._held.clear()
        return [event] if event and event[1] else []

    def _normalize(self, data: bytes) -> bytes:
        """Drop the BOM, and replace every line end with LF."""
        if self._lead is not None:
            data = self._lead + data
            if _BOM.startswith(data):
                self._lead = data
                return b""
            self._lead = None
            data = data.removeprefix(_BOM)
        if not data:
            return data
        if self._cr:
            data = data.removeprefix(b"\n")
        self._cr = data.endswith(b"\r")
        # `bytes.splitlines` splits at CR, LF and CRLF only, unlike `str.splitlines`.
        lines = data.splitlines()
        if data.endswith((b"\r", b"\n")):
            lines.append(b"")
        return b"\n".join(lines)

    def _decode(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """Decode blocks that end in a blank line. Stop at a block that is too long, and hold it."""
        events: list[tuple[bytes, bytes]] = _find_regular(data) if len(data) <= self._max else []
        if events and events[-1][1]:
            return events
        events = []
        for block in data.split(b"\n\n"):
            lines = block.strip(b"\n")
            if len(lines) + 1 > self._max:  # 1 is the line end that was split off
                self._held += lines + b"\n"
                break
            if event := _parse(lines):
                events.append(event)
        return events

    def _too_long(self) -> SSEError:
        return SSEError(f"a server-sent event is longer than {self._max} bytes")


def _parse(block: bytes) -> tuple[bytes, bytes] | None:
    """Decode the lines of one block. Return None if no line is data."""
    name = b""
    data: list[bytes] = []
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ")
    return (name, b"\n".join(data)) if data else None
