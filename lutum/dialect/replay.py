"""The part of the replay rule of committed turns that is the same for all adapters."""

from __future__ import annotations

from lutum._values.results import CommittedTurn
from lutum.abc import ReplayForm

__all__ = ["origin_form"]


def origin_form(turn: CommittedTurn, adapter: str, scope: str) -> ReplayForm:
    """Return whether a turn was made by this adapter in this scope, and was received completely.

    For any other turn, the semantic view (the content as lutum's items) is sent. The adapter checks the other
    conditions, such as the model.
    """
    if turn.adapter != adapter:
        return ReplayForm(False, f"it was made by the adapter {turn.adapter!r}")
    if turn.scope != scope:
        return ReplayForm(False, f"it was made at {turn.scope!r}, and this request goes to {scope!r}")
    return ReplayForm(turn.exact, turn.inexact_reason or "")
