"""The attachments of a message: images and documents, from files or URLs."""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import urlsplit

from lutum import BadValue, Document, Image

IMAGES = (".png", ".jpg", ".jpeg", ".gif", ".webp")
"""The endings of image URLs. A URL with another ending is a document."""


def attachment(source: str) -> Image | Document:
    """Return the image or document at a path or URL; `-` is standard input.

    Raises:
      BadValue: the source is neither an image nor a document that a provider accepts; the message names it.
      OSError: the source cannot be read; the message names it.
    """
    if source.startswith(("http://", "https://")):
        address = urlsplit(source).path.lower()
        return Image.from_url(source) if address.endswith(IMAGES) else Document.from_url(source)
    if source == "-":
        return _part(sys.stdin.buffer.read(), "standard input", None)
    path = Path(source).expanduser()
    return _part(path.read_bytes(), source, path.name)


def _part(data: bytes, source: str, title: str | None) -> Image | Document:
    try:
        return Image.from_bytes(data)
    except BadValue:
        pass
    try:
        return Document.from_bytes(data, title=title)
    except BadValue as error:
        raise BadValue(source, f"is neither an image nor a document: {error.problem}") from None
