"""The retry policy for busy providers (429 and 529). Other errors are reported at once."""

from __future__ import annotations

import lutum


class BusyRetry(lutum.RetryPolicy, frozen=True, kw_only=True):
    """A `RetryPolicy` that retries only rate limits and overload."""

    def delay(self, attempt: int, error: lutum.TurnError) -> float | None:
        """Return the seconds before the next attempt, or None if there is no further attempt."""
        if not isinstance(error, lutum.ProviderError) or error.kind not in ("rate_limit", "overloaded"):
            return None
        return super().delay(attempt, error)
