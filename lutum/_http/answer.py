"""A body in chunks (RFC 9112, 7.1), PURE: the bytes of a read are split into what h11 reads and the body.

h11 and httpcore together spend 30 us on a chunk where an event costs 2, and of 1,000 streams their
generators are cold each time. So chunks that are plainly chunks are read here. Nothing else is judged: the
head, the end of the body with its trailers, and whatever is not plainly a chunk go to h11 as they came. Where
an answer ends is watched too, so that a connection on which more came is not used again.
"""

from __future__ import annotations

import re
from typing import Final, final

HEAD_BYTES: Final = 64 * 1024
"""A longer response head is not looked at; h11 refuses it a little later."""

# Without leading zeros: the chunk of size 0 is the last, and h11 reads it.
_size_line: Final = re.compile(rb"([1-9a-fA-F][0-9a-fA-F]{0,7})\r\n").match
_cut_size_line: Final = re.compile(rb"[1-9a-fA-F][0-9a-fA-F]{0,7}\r?").fullmatch
_LINE_END: Final = b"\r\n"
_LAST: Final = b"0\r\n\r\n"
_folded: Final = re.compile(rb"\r\n[ \t]").search
_has_body: Final = re.compile(rb"HTTP/1\.1 (?!1|204|304)[0-9]{3} ").match
_framing: Final = re.compile(
    rb"\r\n(?:transfer-encoding:[ \t]*(chunked)|content-length:[ \t]*([0-9]{1,15}))[ \t]*\r\n", re.IGNORECASE
).search


@final
class Chunks:
    """What one connection receives. `sent` tells it of requests, so that it knows a head when it comes."""

    __slots__ = ("_after", "_head", "_left", "_length", "_line", "bad", "plain")

    def __init__(self) -> None:
        self.plain = False
        """The next bytes are of a body in chunks, and are for `body` to read."""
        self.bad = False
        """No line end follows a chunk. What stands there may look like one to h11, so it must not read on."""
        self._head: bytes | None = None  # what came of a head that is not whole
        self._left = 0  # what is to come of a chunk that was given out in part, its line end included
        self._line = b""  # the beginning of a chunk's first line
        self._after: bytes | None = None  # the beginning of what came behind the chunks
        self._length: int | None = None  # what is to come of a body that says how long it is

    @property
    def whole(self) -> bool:
        """What came since the request is one answer and no byte more, as far as that is plain.

        h11 keeps what came with an answer, and would take it for the answer to the next request.
        """
        return self._after == _LAST or self._length == 0

    def sent(self, data: bytes) -> None:
        """A part of a request is about to be written."""
        if data.startswith((b"POST ", b"GET ")):  # the answer to a HEAD has no body, whatever its head says
            self._head, self._after, self._length = b"", None, None
            self.plain = self.bad = False

    def split(self, data: bytes) -> tuple[bytes, bytes]:
        """What h11 must read of `data`, which is no body in chunks, and what `body` must."""
        if self._head is None:
            if self._length is not None:
                self._length -= len(data)
            elif self._after is not None:
                self._after = (self._after + data)[: len(_LAST) + 1]
            return data, b""
        came, self._head = len(self._head), self._head + data
        end = self._head.find(b"\r\n\r\n", max(0, came - 3)) + 4
        if end < 4:
            if len(self._head) > HEAD_BYTES:
                self._head = None
            return data, b""
        head, self._head = self._head[: end - 2], None
        framing = _framing(head) if _is_plain(head) else None
        if framing is None:
            return data, b""
        rest = data[end - came :]
        if framing[1] is None:
            self._length = int(framing[2]) - len(rest)
            return data, b""
        self.plain, self._left, self._line = True, 0, b""
        return data[: end - came], rest

    def body(self, data: bytes) -> tuple[bytes, bytes]:
        """The body's bytes in `data`, and what follows for h11; nothing does while it is `plain`."""
        found = list[bytes]()
        data, at, left = self._line + data, 0, self._left
        while True:
            if left:
                end = at + max(0, left - len(_LINE_END))
                found.append(data[at:end])
                if not _LINE_END[-left:].startswith(data[end : at + left]):
                    self.plain, self.bad = False, True
                    return b"".join(found[:-1]), b""
                at += left
                left = max(0, at - len(data))
            line = None if left else _size_line(data, at)
            if line is None:
                break
            at, left = line.end(), int(line[1], 16) + len(_LINE_END)
        rest = data[at:]
        held = not left and _cut_size_line(rest) is not None
        self._left, self._line = left, rest if held else b""
        self.plain = not rest or held
        if self.plain:
            return b"".join(found), b""
        self._after = rest[: len(_LAST) + 1]
        return b"".join(found), rest


def _is_plain(head: bytes) -> bool:
    """Whether a body follows whose framing is said once, and h11 sees the same head: it takes a bare LF for a
    line end, and joins folded lines."""
    names = head.lower()
    return (
        _has_body(head) is not None
        and head.count(b"\n") == head.count(b"\r\n")
        and _folded(head) is None
        and names.count(b"\r\ntransfer-encoding") + names.count(b"\r\ncontent-length") == 1
    )
