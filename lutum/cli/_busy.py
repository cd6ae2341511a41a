"""Another attempt if a provider is busy: 429 and 529. Other errors are reported at once."""

from __future__ import annotations

import lutum


class BusyRetry(lutum.RetryPolicy, frozen=True, kw_only=True):
    """As `RetryPolicy`, for rate limits and overload only."""

    def delay(self, attempt: int, error: lutum.TurnError) -> float | None:
        """Seconds before the next attempt; None for no more."""
        if not isinstance(error, lutum.ProviderError) or error.kind not in ("rate_limit", "overloaded"):
            return None
        return super().delay(attempt, error)
