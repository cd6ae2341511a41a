"""The replay rule of committed turns: the part that is the same for each adapter."""

from __future__ import annotations

from lutum._values.results import CommittedTurn
from lutum.abc import ReplayForm

__all__ = ["origin_form"]


def origin_form(turn: CommittedTurn, adapter: str, scope: str) -> ReplayForm:
    """Return whether a turn comes from this adapter and this scope, and was received in full.

    Any other turn is sent as its semantic view. The adapter decides about the rest, such as models.
    """
    if turn.adapter != adapter:
        return ReplayForm(False, f"it was made by the adapter {turn.adapter!r}")
    if turn.scope != scope:
        return ReplayForm(False, f"it was made at {turn.scope!r}, this is {scope!r}")
    return ReplayForm(turn.exact, turn.inexact_reason or "")
