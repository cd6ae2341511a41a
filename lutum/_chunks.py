"""A body in chunks (RFC 9112, 7.1), PURE: the bytes of a read are split into what h11 reads and the body.

h11 and httpcore together spend 30 us on a chunk where an event costs 2, and of 1,000 streams their
generators are cold each time. So chunks that are plainly chunks are read here. Nothing else is judged: the
head, the end of the body with its trailers, and whatever is not plainly a chunk go to h11 as they came.
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
_chunked: Final = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n", re.IGNORECASE).search


class BadChunk(Exception):
    """A chunk is longer than it says."""


@final
class Chunks:
    """What one connection receives. `sent` tells it of requests, so that it knows a head when it comes."""

    __slots__ = ("_head", "_left", "_line", "plain")

    def __init__(self) -> None:
        self.plain = False
        """The next bytes are of a body in chunks, and are for `body` to read."""
        self._head: bytes | None = None  # what came of a head that is not whole
        self._left = 0  # what is to come of a chunk that was given out in part, its line end included
        self._line = b""  # the beginning of a chunk's first line

    def sent(self, data: bytes) -> None:
        """A part of a request is about to be written."""
        if data.startswith((b"POST ", b"GET ")):  # the answer to a HEAD has no body, whatever its head says
            self._head, self.plain = b"", False

    def split(self, data: bytes) -> tuple[bytes, bytes]:
        """What h11 must read of `data`, which is no body in chunks, and what `body` must."""
        if self._head is None:
            return data, b""
        came, self._head = len(self._head), self._head + data
        end = self._head.find(b"\r\n\r\n", max(0, came - 3)) + 4
        if end < 4:
            if len(self._head) > HEAD_BYTES:
                self._head = None
            return data, b""
        head, self._head = self._head[: end - 2], None
        if not _is_chunked(head):
            return data, b""
        self.plain, self._left, self._line = True, 0, b""
        return data[: end - came], data[end - came :]

    def body(self, data: bytes) -> tuple[bytes, bytes]:
        """The body's bytes in `data`, and what follows for h11; nothing does while it is `plain`.

        Raises:
          BadChunk: no line end follows a chunk. What follows it may look like a chunk to h11.
        """
        found = list[bytes]()
        data, at, left = self._line + data, 0, self._left
        while True:
            if left:
                end = at + max(0, left - len(_LINE_END))
                found.append(data[at:end])
                if not _LINE_END[-left:].startswith(data[end : at + left]):
                    raise BadChunk("no line end follows a chunk")
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
        return b"".join(found), b"" if held else rest


def _is_chunked(head: bytes) -> bool:
    """Whether a body in chunks follows, and h11 sees the same head: it takes a bare LF for a line end."""
    return (
        head.startswith(b"HTTP/1.1 200 ")
        and head.count(b"\n") == head.count(b"\r\n")
        and head.lower().count(b"\r\ntransfer-encoding") == 1
        and _chunked(head) is not None
    )
