"""`usageMetadata` to `Usage`.

Output is candidates plus thoughts. `toolUsePromptTokenCount` is outside of the prompt, and
`cachedContentTokenCount` is inside. Each frame holds the figures so far; the last report counts, because
figures can fall between frames. (2,629 of 2,640 recorded reports add up in this way.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Raw, Struct

from lutum.dialect.json import FAULTS, decode_object
from lutum.dialect.usage import MOST, Reported, count, is_odd

_COUNTS: Final = (
    "promptTokenCount",
    "toolUsePromptTokenCount",
    "candidatesTokenCount",
    "thoughtsTokenCount",
    "cachedContentTokenCount",
    "totalTokenCount",
)


class _Counts(Struct, gc=False):
    promptTokenCount: int | None = None
    toolUsePromptTokenCount: int | None = None
    candidatesTokenCount: int | None = None
    thoughtsTokenCount: int | None = None
    cachedContentTokenCount: int | None = None
    totalTokenCount: int | None = None


_decode_counts = msgspec.json.Decoder(_Counts).decode


def reported(report: bytes | Raw) -> Reported | None:
    """Read a report; None when it holds no count, as between the first and the last frame on Vertex AI."""
    figures, odd = _figures(report)
    if not odd and all(figure is None for figure in figures):
        return None
    prompt, tools, candidates, thoughts, cached, total = figures
    output = None if candidates is None and thoughts is None else (candidates or 0) + (thoughts or 0)
    if output is None and total is not None and total == (prompt or 0) + (tools or 0):
        output = 0  # counts of 0 are left out
    return Reported(
        input_tokens=None if prompt is None else prompt + (tools or 0),
        output_tokens=output,
        total_tokens=total,
        cache_read_tokens=cached,
        reasoning_tokens=thoughts,
        tool_input_tokens=tools,
        odd=odd,
    )


def _figures(report: bytes | Raw) -> tuple[list[int | None], bool]:
    """The counts in the order of `_COUNTS`, and whether a member is not a count."""
    try:
        read = _decode_counts(report)
        figures: list[int | None] = [getattr(read, name) for name in _COUNTS]
        if all(figure is None or 0 <= figure <= MOST for figure in figures):
            return figures, False
    except FAULTS:
        pass
    try:
        members: Mapping[str, Raw] = decode_object(report)
    except FAULTS:
        return [None] * len(_COUNTS), True
    odd = any(is_odd(members.get(name)) for name in _COUNTS)
    return [count(members.get(name)) for name in _COUNTS], odd
