"""Bytes, paths and URLs of images and documents: their media type, size and form."""

from __future__ import annotations

import os
from pathlib import Path

from lutum._values.errors import BadValue

# This limit only prevents a wrong path from filling the memory. No provider accepts more in one request
# (Claude: 32 MB a request, OpenAI: 50 MB a file), and the adapters check the limits of their providers.
MAX_MEDIA_BYTES = 50 * 10**6


# Signatures from the IANA media type registrations and the formats' own specifications.
_SIGNATURES: tuple[tuple[bytes, int, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", 0, "image/png"),
    (b"\xff\xd8\xff", 0, "image/jpeg"),
    (b"GIF87a", 0, "image/gif"),
    (b"GIF89a", 0, "image/gif"),
    (b"WEBP", 8, "image/webp"),
    (b"%PDF-", 0, "application/pdf"),
)


IMAGE_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""The image types that every provider with image input accepts."""

_PDF = "application/pdf"
_PDF_HEAD = 1024  # readers accept that many bytes before the signature (PDF 1.7, implementation note 13)


def type_of(data: bytes) -> str | None:
    """Return the media type whose signature the data has; None if it has no known signature."""
    for signature, at, media_type in _SIGNATURES:
        if data.startswith(signature, at):
            return media_type
    return _PDF if b"%PDF-" in data[:_PDF_HEAD] else None


def true_type(field: str, data: bytes, given: str) -> str:
    """Return the media type of data that is declared as `given`. The signature of the bytes decides.

    Providers check the bytes, and refuse a request that declares another media type. For data without a known
    signature, `given` is returned unchecked.

    Raises:
      BadValue: the data is another kind of media.
    """
    found, kind = type_of(data), given.partition(";")[0].strip().lower()
    if found is None or found == given:
        return given
    if found.partition("/")[0] != kind.partition("/")[0]:
        raise BadValue(field, f"is {found}, not {given}")
    return found


def repaired(text: str) -> str:
    """Return text without lone surrogates: two halves of a pair are joined, others become U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def sniff(field: str, data: bytes, given: str | None, prefix: str, *, text: bool = False) -> str:
    if not isinstance(data, bytes):
        raise BadValue(field, f"{type(data).__name__} is not bytes")
    if not data:
        raise BadValue(field, "is empty")
    if len(data) > MAX_MEDIA_BYTES:
        raise BadValue(field, f"has {len(data)} bytes; at most {MAX_MEDIA_BYTES} are allowed")
    if given is not None:
        if "/" not in given:
            raise BadValue(f"{field}.media_type", f"{given!r} is not of the form type/subtype")
        return true_type(field, data, given)
    found = type_of(data)
    if found is not None and found.startswith(prefix):
        return found
    if text:
        try:
            data.decode()
        except UnicodeDecodeError:
            pass
        else:
            return "text/plain"
    raise BadValue(
        f"{field}.media_type", f"is not known (the first bytes are {data[:8].hex(' ')}); give media_type="
    )


def read_file(field: str, path: str | os.PathLike[str]) -> bytes:
    size = Path(path).stat().st_size
    if size > MAX_MEDIA_BYTES:
        raise BadValue(field, f"has {size} bytes; at most {MAX_MEDIA_BYTES} are allowed")
    return Path(path).read_bytes()


def checked_url(field: str, url: str) -> str:
    if not not_blank(field, url).startswith(("https://", "http://")):
        raise BadValue(field, f"{url!r} has no http(s) scheme")
    return url


def check_text(field: str, text: str) -> None:
    """Refuse text with half of a surrogate pair, which no encoder accepts. Undecodable file names have it."""
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise BadValue(field, f"character {exc.start} is half of a surrogate pair") from None


def not_blank(field: str, value: str) -> str:
    if not isinstance(value, str):
        raise BadValue(field, f"{type(value).__name__} is not a str")
    if not value.strip():
        raise BadValue(field, "is blank")
    return value
