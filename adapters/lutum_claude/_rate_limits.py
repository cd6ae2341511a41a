"""The rate limits that the Messages API reports in its headers (api/rate-limits)."""

from __future__ import annotations

from collections.abc import Mapping

from lutum.abc import RateKind, RateLimit
from lutum.dialect.headers import two_counts

# `tokens` is the most restrictive limit at the moment. So its size may differ between responses.
_NAMES: dict[RateKind, str] = {
    "requests": "requests",
    "tokens": "tokens",
    "input": "input-tokens",
    "output": "output-tokens",
}


def read_rate_limits(headers: Mapping[str, str]) -> list[RateLimit]:
    """Return the rate limits that a response's headers report."""
    found = list[RateLimit]()
    for kind, name in _NAMES.items():
        prefix = f"anthropic-ratelimit-{name}"
        if (figures := two_counts(headers, f"{prefix}-limit", f"{prefix}-remaining")) is not None:
            found.append(RateLimit(kind, *figures))
    return found
