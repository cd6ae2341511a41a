"""Estimates of tokens: rates for text and JSON, sizes of images, pages of documents.

The estimates are not upper bounds, because no rule about bytes gives a bound. Each adapter calibrates its
rates on recorded exchanges.
"""

from __future__ import annotations

import re
import struct

from msgspec import Struct

__all__ = ["Rates", "image_size", "pdf_pages"]

_PAGE = re.compile(rb"/Type\s*/Page(?![A-Za-z])")


class Rates(Struct, frozen=True):
    """The rates of a tokenizer.

    Attributes:
      ascii_per_token: the number of ASCII characters in a token.
      other_tokens: the number of tokens of a character outside ASCII.
    """

    ascii_per_token: float
    other_tokens: float

    def text(self, text: str) -> int:
        """Return the estimated tokens of a text."""
        if text.isascii():
            return int(len(text) / self.ascii_per_token) + 1
        plain = len(text.encode("ascii", "ignore"))
        return int(plain / self.ascii_per_token + (len(text) - plain) * self.other_tokens) + 1

    def json(self, json: bytes) -> int:
        """Return the estimated tokens of JSON that is sent."""
        return self.text(json.decode(errors="replace"))


def pdf_pages(data: bytes) -> int | None:
    """Return the number of pages of a PDF; None if they cannot be counted, for example in compressed
    streams."""
    return len(_PAGE.findall(data)) or None


def image_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height in pixels of a PNG, GIF, WebP or JPEG, from its header."""
    try:
        if data.startswith(b"\x89PNG"):
            return struct.unpack_from(">II", data, 16)
        if data.startswith(b"GIF8"):
            return struct.unpack_from("<HH", data, 6)
        if data[8:12] == b"WEBP":
            return _webp_size(data)
        if data.startswith(b"\xff\xd8"):
            return _jpeg_size(data)
    except struct.error:
        pass
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 < len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a "start of frame" marker
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    return None
