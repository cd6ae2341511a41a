"""Decompression of answers, with a bound on each piece. No I/O."""

from __future__ import annotations

import zlib
from typing import Final, final

from lutum._http.answer import MalformedAnswer
from lutum._values.errors import ProviderError

PIECE_BYTES: Final = 1024 * 1024
"""The size in bytes of the largest piece that decompression returns."""


@final
class Decompressor:
    """Decodes a gzip or deflate body in bounded pieces.

    Requests accept only `identity`, but some servers compress their answers nevertheless.
    """

    __slots__ = ("_begun", "_full", "_object", "_raw", "_rest")

    def __init__(self, *, deflate: bool) -> None:
        self._object = zlib.decompressobj(zlib.MAX_WBITS | 32)
        self._raw = deflate  # some servers send deflate without its header
        self._begun = False
        self._full = False  # the last piece had the largest size, so more decoded bytes may be available
        self._rest = b""

    @classmethod
    def of(cls, coding: str, host: str) -> Decompressor | None:
        """Return the decoder for a `Content-Encoding`.

        Raises:
          ProviderError: the header has an unknown coding, or more than one. Nested codings are refused,
            because they can expand a few bytes to gigabytes.
        """
        names = [name for part in coding.lower().split(",") if (name := part.strip()) not in ("", "identity")]
        if not names:
            return None
        if len(names) > 1 or names[0] not in ("gzip", "x-gzip", "deflate"):
            raise ProviderError(
                f"the answer of {host} has the encoding {coding[:100]!r}, which the request does not accept",
                kind="malformed",
            )
        return cls(deflate=names[0] == "deflate")

    def feed(self, data: bytes) -> None:
        """Add encoded bytes. Call this only after `take` has returned all earlier bytes."""
        self._rest = data

    def take(self) -> bytes:
        """Return at most `PIECE_BYTES` decoded bytes; empty if more encoded bytes are needed.

        Raises:
          zlib.error: the bytes do not have the encoding of the header.
        """
        while self._rest or self._full:
            data = self._rest
            if self._object.eof:  # gzip may have several members
                self._object = zlib.decompressobj(zlib.MAX_WBITS | 32)
            try:
                piece = self._object.decompress(data, PIECE_BYTES)
            except zlib.error:
                if self._begun or not self._raw:
                    raise
                self._object = zlib.decompressobj(-zlib.MAX_WBITS)
                piece = self._object.decompress(data, PIECE_BYTES)
            self._begun = True
            self._full = len(piece) == PIECE_BYTES and not self._object.eof
            self._rest = self._object.unused_data if self._object.eof else self._object.unconsumed_tail
            if piece:
                return piece
        return b""

    def end(self) -> None:
        """Note the end of the body.

        Raises:
          MalformedAnswer: the encoded data are not complete.
        """
        if self._begun and not self._object.eof:
            raise MalformedAnswer("the compressed body is incomplete")
