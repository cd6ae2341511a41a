"""Server-sent events, sans I/O: bytes in, pairs of event name and data out.

Written from the WHATWG text (html.spec.whatwg.org, server-sent events). Ids and reconnection
times are not kept, because a model's answer cannot be resumed by connecting again.
"""

import re
from typing import final

__all__ = ["SSEDecoder", "SSEError"]

# The shape providers send, one match an event, so that `findall` makes the pairs without a loop here. The
# last branch takes all that is left once anything has another shape: no byte is skipped, and the last
# pair is then empty. `.` is any byte but LF, and faster than a class that leaves out CR as well.
_find_regular = re.compile(rb"(?:event: (.*)\n)?data: (.*)\n\n|(?s:.+)").findall

_BOM = b"\xef\xbb\xbf"
_FIELD_STARTS = (b"d", b"e", b":")
# Numbers: `in` with bytes on the left first tries, and fails, to read them as one.
_CR, _LF = b"\r\n"


class SSEError(ValueError):
    """The stream holds an event longer than the cap of its decoder; it cannot be read on."""


@final
class SSEDecoder:
    """Decode one stream: `feed` it as it arrives, `flush` at its end.

    An event is a pair: its name, `b""` if it is missing (a browser uses "message"), and its data, the
    lines joined by `b"\\n"`. Both are bytes as received, so UTF-8 may be cut anywhere, and the caller
    must check that it is valid. Neither the events nor a failure depend on how the stream is cut.

    `max_event_bytes` caps the lines from one blank line to the next, comments included, CRLF counted
    as one byte. Events before one that is too long are still returned. The call after that raises, or
    this one if there are none, and so does every later call.
    """

    __slots__ = ("_between", "_cr", "_held", "_lead", "_max", "position")

    position: int
    """How many bytes were fed. The events a call returns ended within the bytes it was given."""

    def __init__(self, *, max_event_bytes: int = 16 * 2**20) -> None:
        self.position = 0
        self._max = max_event_bytes
        # The bytes since the last blank line. Over the cap it stays so, whatever is fed: the failed state.
        self._held = bytearray()
        # The first bytes for as long as they may become a BOM, then None.
        self._lead: bytes | None = b""
        # A CR came last and was taken as a line end at once; a LF that follows belongs to it.
        self._cr = False
        # None of the three above concerns the next byte.
        self._between = False

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """Take the next bytes and return the events they complete; none means "more data".

        Raises:
          SSEError: an event is longer than `max_event_bytes`.
        """
        self.position += (size := len(data))
        if self._lead == b"" and data[:1] in _FIELD_STARTS:  # no BOM
            self._lead = None
            self._between = True
        # Most chunks are whole regular events. The last byte identifies most others, and cheaply.
        if self._between and 0 < size <= self._max and data[-1] == _LF and _CR not in data:
            events: list[tuple[bytes, bytes]] = _find_regular(data)
            if events[-1][1]:
                return events
        if self._cr or self._lead is not None or _CR in data:
            data = self._normalize(data)
        held = self._held
        if held:
            # Only the new bytes are searched, or an event that drips in would take quadratic time.
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
        # Further blank lines do not belong to the next event, and must not count towards its cap.
        held += data[end:].lstrip(b"\n")
        self._between = not (held or self._cr or self._lead is not None)
        if len(held) > self._max and not events:
            raise self._too_long()
        return events

    def flush(self) -> list[tuple[bytes, bytes]]:
        """Say that the stream ended, and return the event that was left unterminated, if any.

        The specification drops that event. It is kept here because some servers omit the last blank
        line; but its data may be cut short, so data that does not parse here is a cut stream and not
        a malformed event. Without a byte of data it is dropped.

        Raises:
          SSEError: an event is longer than `max_event_bytes`.
        """
        if len(self._held) > self._max:
            raise self._too_long()
        event = _parse(bytes(self._held))
        self._held.clear()
        return [event] if event and event[1] else []

    def _normalize(self, data: bytes) -> bytes:
        """Drop the BOM and make every line end LF."""
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
        # On bytes, unlike on str, this knows CR, LF and CRLF only.
        lines = data.splitlines()
        if data.endswith((b"\r", b"\n")):
            lines.append(b"")
        return b"\n".join(lines)

    def _decode(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """Decode what ends in a blank line, up to a block that is too long: that one is held."""
        events: list[tuple[bytes, bytes]] = _find_regular(data) if len(data) <= self._max else []
        if events and events[-1][1]:
            return events
        events = []
        for block in data.split(b"\n\n"):
            lines = block.strip(b"\n")
            if len(lines) + 1 > self._max:  # the line end that was split off
                self._held += lines + b"\n"
                break
            if event := _parse(lines):
                events.append(event)
        return events

    def _too_long(self) -> SSEError:
        return SSEError(f"a server-sent event is longer than {self._max} bytes")


def _parse(block: bytes) -> tuple[bytes, bytes] | None:
    """Decode the lines of one block, None if none of them is data."""
    name = b""
    data: list[bytes] = []
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ")
    return (name, b"\n".join(data)) if data else None
