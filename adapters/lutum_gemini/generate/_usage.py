"""Reading of `usageMetadata`.

Output is candidates plus thoughts. `toolUsePromptTokenCount` is not part of the prompt.
`cachedContentTokenCount` is part of the prompt. 2,629 of 2,640 recorded reports add up in this way.

Each frame contains the figures so far. The last report is used, because figures can become smaller from frame
to frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Raw, Struct

from lutum import Usage
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
_Count = Annotated[int, Meta(ge=0, le=MOST)] | None


class _Counts(Struct, gc=False):
    promptTokenCount: _Count = None
    toolUsePromptTokenCount: _Count = None
    candidatesTokenCount: _Count = None
    thoughtsTokenCount: _Count = None
    cachedContentTokenCount: _Count = None
    totalTokenCount: _Count = None


_decode_counts = msgspec.json.Decoder(_Counts).decode


def plain(report: Raw, counted: int) -> Usage | None:
    """Return the usage of a consistent report in the middle of a stream. This is the fast path.

    Return None if there is no input count, a figure is malformed, the output is below the `counted` deltas,
    more tokens are cached than sent, or the figures do not add up to the total. For such a report use
    `reported`.
    """
    try:
        read = _decode_counts(report)
    except FAULTS:
        return None
    thoughts = read.thoughtsTokenCount or 0
    input_tokens = (read.promptTokenCount or 0) + (read.toolUsePromptTokenCount or 0)
    output_tokens = (read.candidatesTokenCount or 0) + thoughts
    cached = read.cachedContentTokenCount or 0
    if not input_tokens or output_tokens < counted or cached > input_tokens:
        return None
    if read.totalTokenCount != input_tokens + output_tokens:
        return None
    return Usage(input_tokens, output_tokens, cached, 0, thoughts, None, "lower_bound")


def reported(report: bytes | Raw) -> Reported | None:
    """Read a report; None if it has no count.

    Vertex AI sends reports without a count between the first and the last frame.
    """
    figures, odd = _figures(report)
    if not odd and all(figure is None for figure in figures):
        return None
    prompt, tools, candidates, thoughts, cached, total = figures
    output = None if candidates is None and thoughts is None else (candidates or 0) + (thoughts or 0)
    if output is None and total is not None and total == (prompt or 0) + (tools or 0):
        output = 0  # the API leaves out counts of 0
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
    """Return the counts in the order of `_COUNTS`, and whether a member is not a count."""
    try:
        read = _decode_counts(report)
        return [getattr(read, name) for name in _COUNTS], False
    except FAULTS:
        pass
    try:
        members: Mapping[str, Raw] = decode_object(report)
    except FAULTS:
        return [None] * len(_COUNTS), True
    odd = any(is_odd(members.get(name)) for name in _COUNTS)
    return [count(members.get(name)) for name in _COUNTS], odd
