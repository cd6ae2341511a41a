"""Annotations of OpenAI's APIs as `Citation` values. No I/O.

In Responses, the members of a citation are in the annotation itself. In Chat Completions, they are in an
inner object. The annotation's type is the name of that object.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from lutum import Citation
from lutum.dialect.json import FAULTS, decode_array, decode_object


class _Annotation(Struct):
    type: Any = None
    title: Any = None
    filename: Any = None
    url: Any = None
    file_id: Any = None
    quote: Any = None
    content: Any = None
    start_index: Any = None
    end_index: Any = None


_decode = msgspec.json.Decoder(_Annotation).decode


def citation_of(json: bytes) -> Citation | None:
    """Return a citation; None if the JSON is not an object. Members of wrong types are left out."""
    try:
        read = _decode(json)
        kind = _text(read.type)
        inner = decode_object(json).get(kind) if kind else None
        if inner is not None and bytes(inner).startswith(b"{"):
            read = _decode(inner)
    except FAULTS:
        return None
    return Citation(
        title=_text(read.title) or _text(read.filename),
        url=_text(read.url),
        file_id=_text(read.file_id),
        quote=_text(read.quote) or _text(read.content),
        start=_count(read.start_index),
        end=_count(read.end_index),
        type=kind,
        data=json,
    )


def citations_of(annotations: bytes) -> tuple[Citation, ...]:
    """Return the citations of an `annotations` member; empty if it is not an array."""
    try:
        entries = decode_array(annotations) if annotations.startswith(b"[") else []
    except FAULTS:
        return ()
    found = (citation_of(bytes(entry)) for entry in entries)
    return tuple(citation for citation in found if citation is not None)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(value: object) -> int | None:
    return value if type(value) is int else None
