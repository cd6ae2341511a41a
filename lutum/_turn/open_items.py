"""Provider calls that you answer with raw items, and that nothing answers yet. PURE."""

from __future__ import annotations

from typing import cast

import msgspec

from lutum._values.errors import UsageError
from lutum._values.transcript import Transcript
from lutum.abc import Adapter, ListsOpenItems


class _Item(msgspec.Struct):
    type: str = "call"
    call_id: str | None = None
    id: str | None = None


def open_items(adapter: Adapter, transcript: Transcript) -> tuple[bytes, ...]:
    """Those of the last turn that wait for an answer, as they came."""
    if not hasattr(adapter, "open_items"):
        return ()
    return cast("ListsOpenItems", adapter).open_items(transcript)


def check_open_items(adapter: Adapter, transcript: Transcript) -> None:
    """Raises UsageError, naming the first item that waits."""
    for json in open_items(adapter, transcript):
        item = msgspec.json.decode(json, type=_Item)
        raise UsageError(
            f"input: {item.type} {item.call_id or item.id!r} waits for your answer: push_raw it,"
            " see Session.open_items"
        )
