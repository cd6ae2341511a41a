"""The chunks of an HTTP/1.1 body, PURE: those that one read brings become one.

Servers put each event into a chunk of its own, and h11 spends 7 us on a chunk where an event costs 2. Where
a body is cut into chunks has no meaning (RFC 9112, 7.1), so h11 is given fewer and larger ones. Nothing is
judged here: whatever is not plainly a whole chunk is passed on as it came.
"""

from __future__ import annotations

import re
from typing import Final, final

HEAD_BYTES: Final = 64 * 1024
"""A longer response head is not looked at; h11 refuses it a little later."""

# Without leading zeros: the chunk of size 0 is the last, and ends the merging.
_size_line: Final = re.compile(rb"([1-9a-fA-F][0-9a-fA-F]{0,7})\r\n").match
_cut_size_line: Final = re.compile(rb"[1-9a-fA-F][0-9a-fA-F]{0,7}\r?").fullmatch
_chunked: Final = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n", re.IGNORECASE).search


@final
class ChunkMerger:
    """What one connection receives. `sent` tells it of requests, so that it knows a head when it comes."""

    __slots__ = ("_head", "_held", "_left", "_merging")

    def __init__(self) -> None:
        self._head: bytearray | None = None  # what came of a head that is not whole
        self._merging = False
        self._left = 0  # what is to come of the chunk that was passed on in part, its line end included
        self._held: bytes = b""  # the beginning of a chunk's first line

    def sent(self) -> None:
        """A part of a request is about to be written."""
        if not self._merging:
            self._head = bytearray()

    def feed(self, data: bytes) -> bytes:
        """What to read in place of `data`; empty when it only says that more will come."""
        if self._merging:
            return self._merge(data)
        if self._head is None:
            return data
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            if len(self._head) > HEAD_BYTES:
                self._head = None
            return data
        head, self._head = bytes(self._head), None
        if not _is_chunked(head[: end + 2]):
            return data
        self._merging = True
        body = head[end + 4 :]
        return data[: len(data) - len(body)] + self._merge(body)

    def _merge(self, data: bytes) -> bytes:
        if self._left >= len(data):
            self._left -= len(data)
            return data
        data = self._held + data
        begin = at = self._left
        self._held, self._left = b"", 0
        bodies: list[bytes] = []
        while (line := _size_line(data, at)) is not None:
            start = line.end()
            end = start + int(line[1], 16)
            if data[end : end + 2] != b"\r\n":
                self._left = max(0, end + 2 - len(data))
                break
            bodies.append(data[start:end])
            at = end + 2
        rest = data[at:]
        if not self._left and rest:
            if _cut_size_line(rest):
                rest, self._held = b"", rest
            else:
                self._merging = False
        if len(bodies) < 2:
            return data[: len(data) - len(self._held)] if self._held else data
        body = b"".join(bodies)
        return b"%b%x\r\n%b\r\n%b" % (data[:begin], len(body), body, rest)


def _is_chunked(head: bytes) -> bool:
    """Whether a body in chunks follows, and h11 sees the same head: it takes a bare LF for a line end."""
    return (
        head.startswith(b"HTTP/1.1 200 ")
        and head.count(b"\n") == head.count(b"\r\n")
        and head.lower().count(b"\r\ntransfer-encoding") == 1
        and _chunked(head) is not None
    )
