"""Read the body of a response as events of a stream, or as one JSON value in place of a stream.

Servers and gateways that do not stream send the whole answer as one JSON value. Proxies may send HTML or
plain text. A decoder feeds the bytes to an `AnswerReader` and gets the events of a stream. At the end it
checks whether the body was something else.
"""

from __future__ import annotations

from typing import Final, Literal, final

import msgspec

from lutum._values.errors import ProviderError
from lutum._values.results import Response
from lutum.dialect.errors import ErrorTable, holds_error, not_an_answer, stream_error
from lutum.dialect.json import FAULTS
from lutum.dialect.surrogates import HalfPairs, without_halves
from lutum.sse import SSEDecoder, SSEError

__all__ = ["AnswerReader"]

BODY_BYTES: Final = 16 * 2**20
"""The largest number of bytes of a JSON body. It is the same as for an event of a stream."""

TEXT_BYTES: Final = 64 * 1024
"""The largest number of bytes that are kept of a body that is neither a stream nor JSON. `ProviderError.body`
has the same limit."""

_FIELDS: Final = (b"data", b"event", b"id", b"retry")
_USUAL: Final = (b"data: ", b"event: ")  # nearly every stream begins with one of these
_BOM: Final = b"\xef\xbb\xbf"


@final
class AnswerReader:
    """The body of one response.

    Args:
      response: the head of the response.
      table: the provider's error words.
    """

    __slots__ = (
        "_body",
        "_escapes",
        "_halves",
        "_kind",
        "_response",
        "_sse",
        "_strays",
        "_table",
        "_tail",
    )

    def __init__(self, response: Response, table: ErrorTable) -> None:
        self._response = response
        self._table = table
        self._sse = SSEDecoder()
        self._kind: Literal["unknown", "stream", "json", "text"] = "unknown"
        self._body = bytearray()
        self._escapes = False  # a `\u` has arrived, so the events may contain halves of surrogate pairs
        self._halves = HalfPairs()
        self._strays = b""  # JSON or HTML between events
        self._tail = b""  # the first byte of a line that has not ended

    @property
    def repaired(self) -> bool:
        """True if half of a surrogate pair was replaced by U+FFFD."""
        return self._halves.replaced

    @property
    def in_line(self) -> bool:
        """True if a line other than a comment has begun and not ended."""
        return self._tail not in (b"", b":")

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """Return the events that `data` completes, as pairs of name and data.

        Raises:
          ProviderError: an event or the body is too long.
        """
        if self._kind != "stream":
            if not self._body and data.startswith(_USUAL):
                self._kind = "stream"
            elif not self._sniff(data):
                return []
            else:
                data = bytes(self._body)
                self._body.clear()
        in_line = bool(self._tail)
        stray = bool(self._strays) or (not in_line and data[:1] in (b"{", b"<"))
        end = max(data.rfind(b"\n"), data.rfind(b"\r"))
        if end >= 0:
            self._tail = data[end + 1 : end + 2]
        elif not self._tail:
            self._tail = data[:1]
        if (stray or b"\n{" in data or b"\n<" in data) and len(self._strays) < TEXT_BYTES:
            # The kept bytes begin at the start of a line, because the rest of a line of the stream may look
            # like JSON or HTML.
            lines = data.partition(b"\n")[2] if in_line and not self._strays else data
            self._strays += lines[:TEXT_BYTES]
        try:
            events = self._sse.feed(data)
        except SSEError as exc:
            raise ProviderError(str(exc), kind="malformed") from None
        if not self._escapes and b"\\" in data:
            # A backslash may end one piece and its `u` begin the next.
            self._escapes = b"\\u" in data or data.endswith(b"\\")
        return self._paired(events) if self._escapes else events

    def eof(self) -> list[tuple[bytes, bytes]]:
        """End the stream. Return its last events, also if the blank line after the last one is missing.

        An event whose JSON is cut is left out, because the connection broke and the provider is not the
        cause.
        """
        if self._kind != "stream":
            return []
        try:
            last = self._sse.flush()
        except SSEError:
            return []
        whole = [event for event in last if _is_whole(event[1])]
        if len(whole) < len(last):
            self._tail = b"d"  # the line may be complete, but its JSON is cut
        return [*self._paired(whole), *self._halves.flush()]

    def body(self) -> bytes | None:
        """Return the body if it is JSON instead of a stream; None if it is a stream, or JSON that is cut.

        Call this method at the end of the response.

        Raises:
          ProviderError: the body is neither a stream nor JSON, but HTML or plain text.
        """
        body = bytes(self._body)
        if self._kind == "json":
            whole = without_halves(body)
            self._halves.replaced = whole != body
            return whole.strip() if _is_json(whole) else None
        if self._kind == "text" or (self._kind == "unknown" and self._names_another_type()):
            raise not_an_answer(body, self._response)
        return None

    def check_strays(self) -> None:
        """Check for JSON or HTML between the events. Call this if the stream ended without its terminal
        event.

        Raises:
          ProviderError: HTML, or JSON that reports an error, is between the events. A proxy has added it.
        """
        lines = self._strays.splitlines(keepends=True)
        kept = [line for line in lines if not line.startswith((*_FIELDS, b":"))]
        stray = b"".join(kept).strip()
        at = min((i for i in (stray.find(b"{"), stray.find(b"<")) if i >= 0), default=-1)
        if at < 0:
            return
        stray = stray[at:]
        if stray.startswith(b"<"):
            raise not_an_answer(stray, self._response)
        try:
            found: object = msgspec.json.decode(without_halves(stray))
        except FAULTS:
            return
        if holds_error(found):
            raise stream_error(stray, self._response, self._table)

    def _sniff(self, data: bytes) -> bool:
        """Add bytes while it is not known whether the body is a stream. Return whether it is now known to be
        one."""
        body = self._body
        room = BODY_BYTES + 1 if self._kind == "json" else TEXT_BYTES
        if self._kind != "unknown":
            body += data[: max(0, room - len(body))]
            if len(body) > BODY_BYTES:
                raise ProviderError(f"the answer is longer than {BODY_BYTES} bytes", kind="malformed")
            return False
        body += data
        start = bytes(body).removeprefix(_BOM).lstrip(b" \t\r\n")
        if not start or _BOM.startswith(bytes(body)):
            if len(body) > BODY_BYTES:
                raise ProviderError(f"the answer begins with {BODY_BYTES} blank bytes", kind="malformed")
            return False
        if start[:1] in b"{[":
            self._kind = "json"
        elif start[:1] == b"<":
            self._kind = "text"
        elif start[:1] == b":":
            self._kind = "stream"
        else:
            field = start.partition(b"\n")[0].partition(b"\r")[0]
            name, colon, _ = field.partition(b":")
            whole = colon or len(field) < len(start)  # the name is complete
            if name in _FIELDS and whole:
                self._kind = "stream"
            elif whole or not any(known.startswith(name) for known in _FIELDS):
                self._kind = "text"
        return self._kind == "stream"

    def _paired(self, events: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        halves = self._halves
        return [found for name, data in events for found in halves.take(name, data)]

    def _names_another_type(self) -> bool:
        """Return whether the content type of the response is that of something other than a stream."""
        type = self._response.headers.get("content-type", "").partition(";")[0].strip().lower()
        return type not in ("", "text/event-stream")


def _is_whole(data: bytes) -> bool:
    """Return whether the data of a last event is complete: it is valid JSON or `[DONE]`."""
    stripped = data.strip()
    return stripped == b"[DONE]" or _is_json(without_halves(stripped))


def _is_json(data: bytes) -> bool:
    try:
        msgspec.json.decode(data)
    except FAULTS:
        return False
    return True
