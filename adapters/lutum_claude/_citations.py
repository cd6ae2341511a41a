"""Claude's citations as `Citation` values. No I/O.

Each text block names the sources of its whole text (build-with-claude/citations). So a citation has no
offsets in the answer.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from lutum import Citation
from lutum.dialect.json import FAULTS, decode_array, decode_object


class _Source(Struct):
    type: Any = None
    cited_text: Any = None
    title: Any = None
    document_title: Any = None
    document_index: Any = None
    file_id: Any = None
    url: Any = None
    source: Any = None


_decode = msgspec.json.Decoder(_Source).decode


def citation_of(json: bytes) -> Citation | None:
    """Return a citation; None if the JSON is not an object. Members of an unexpected type are left out."""
    try:
        read = _decode(json)
    except FAULTS:
        return None
    index = read.document_index
    return Citation(
        title=_text(read.title) or _text(read.document_title),
        url=_text(read.url) or _text(read.source),
        document=index if type(index) is int else None,
        file_id=_text(read.file_id),
        quote=_text(read.cited_text),
        type=_text(read.type),
        data=json,
    )


def citations_of(block: bytes) -> tuple[Citation, ...]:
    """Return the citations of a text block."""
    if b'"citations"' not in block:
        return ()
    try:
        entries = decode_array(decode_object(block)["citations"])
    except (*FAULTS, KeyError):
        return ()
    found = (citation_of(bytes(entry)) for entry in entries)
    return tuple(citation for citation in found if citation is not None)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
