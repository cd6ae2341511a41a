"""Citations of an answer: grounding metadata and citation metadata to `Citation`.

Offsets of the API count bytes of the answer's text. In a few recordings they are off by one. So an offset is
used only if the quotation is found at this offset. Otherwise the text is searched for the quotation.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Raw

from lutum import Citation
from lutum.dialect.json import FAULTS, decode_array, decode_object, starts_with, string
from lutum.dialect.usage import count

_SOURCES = ("web", "retrievedContext", "maps")


def citations_of(candidate: Mapping[str, Raw], text: str) -> tuple[Citation, ...]:
    """Return the sources that a candidate lists for its text, up to the first unreadable entry."""
    found = list[Citation]()
    try:
        grounding = _object(candidate.get("groundingMetadata"))
        chunks = [decode_object(chunk) for chunk in _array(grounding.get("groundingChunks"))]
        for raw in _array(grounding.get("groundingSupports")):
            support = decode_object(raw)
            place = _place(_object(support.get("segment")), text)
            for number in _array(support.get("groundingChunkIndices")):
                if (at := count(number)) is not None and at < len(chunks):
                    found.append(_grounded(chunks[at], place))
        named = _object(candidate.get("citationMetadata"))
        for raw in _array(named.get("citations", named.get("citationSources"))):
            found.append(_cited(bytes(raw), text))
    except FAULTS:
        pass
    return tuple(found)


_Place = tuple[str, int | None, int | None]


def _place(segment: Mapping[str, Raw], text: str) -> _Place:
    """Return the quoted text, and its start and end in characters."""
    quote = string(segment.get("text")) or ""
    start, end = _characters(segment, text)
    if start is not None and text[start:end] != quote:
        start = text.find(quote) if quote else -1
        return (quote, None, None) if start < 0 else (quote, start, start + len(quote))
    return quote, start, end


def _characters(members: Mapping[str, Raw], text: str) -> tuple[int | None, int | None]:
    """Convert byte offsets to character offsets; None if they are outside of the text."""
    data = text.encode()
    start, end = count(members.get("startIndex")) or 0, count(members.get("endIndex"))
    if end is None or not start <= end <= len(data):
        return None, None
    return len(data[:start].decode(errors="ignore")), len(data[:end].decode(errors="ignore"))


def _grounded(chunk: Mapping[str, Raw], place: _Place) -> Citation:
    kind = next((name for name in _SOURCES if name in chunk), "")
    source = _object(chunk.get(kind))
    quote, start, end = place
    return Citation(
        title=string(source.get("title")) or "",
        url=string(source.get("uri")) or "",
        quote=string(source.get("text")) or quote,
        start=start,
        end=end,
        type=kind,
        data=bytes(chunk[kind]) if source else b"{}",
    )


def _cited(raw: bytes, text: str) -> Citation:
    members = decode_object(raw)
    start, end = _characters(members, text)
    return Citation(
        title=string(members.get("title")) or "",
        url=string(members.get("uri")) or "",
        start=start,
        end=end,
        type="citation",
        data=raw,
    )


def _object(value: Raw | None) -> Mapping[str, Raw]:
    return decode_object(value) if value is not None and starts_with(value, b"{") else {}


def _array(value: Raw | None) -> list[Raw]:
    return decode_array(value) if value is not None and starts_with(value, b"[") else []
