"""When a failed request is sent again: PURE. The pump asks; nobody is retried unless a policy was given."""

from __future__ import annotations

import random
from collections.abc import Callable

from msgspec import Struct

from lutum._values.errors import BadValue, Interrupted, NetworkError, ProviderError, TurnError

_RETRYABLE = frozenset({"rate_limit", "overloaded", "server", "timeout"})


class RetryPolicy(Struct, frozen=True, kw_only=True):
    """Attempts before the first semantic event, for overload, rate limits, 5xx and failed connections.

    Seconds between attempts: `initial`, then times `multiplier` up to `max_delay`, each moved by up to
    `jitter` of itself. A provider's Retry-After counts instead, up to `max_retry_after`; if it asks for
    more, the error is raised.

    Attributes:
      attempts: how many requests at the most, the first one included.
      chance: a number in [0, 1) for the jitter; yours makes it predictable.
    """

    attempts: int = 3
    initial: float = 0.5
    multiplier: float = 2.0
    max_delay: float = 8.0
    jitter: float = 0.1
    max_retry_after: float = 60.0
    chance: Callable[[], float] = random.random

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise BadValue("retry.attempts", f"{self.attempts} is below 1")
        for name in ("initial", "max_delay", "jitter", "max_retry_after"):
            if not getattr(self, name) >= 0:
                raise BadValue(f"retry.{name}", f"{getattr(self, name)!r} is below 0")
        if not self.multiplier >= 1:
            raise BadValue("retry.multiplier", f"{self.multiplier!r} is below 1")

    def delay(self, attempt: int, error: TurnError) -> float | None:
        """Seconds before the request that follows failed attempt number `attempt`; None for no more."""
        if attempt >= self.attempts or not is_retryable(error):
            return None
        asked = error.retry_after if isinstance(error, ProviderError) else None
        if asked is not None:
            return asked if asked <= self.max_retry_after else None
        seconds = min(self.max_delay, self.initial * self.multiplier ** (attempt - 1))
        return seconds * (1 + self.jitter * (2 * self.chance() - 1))


def is_retryable(error: TurnError) -> bool:
    """Whether the same request may succeed later, and nothing of an answer was lost by failing."""
    if isinstance(error, ProviderError):
        return error.kind in _RETRYABLE
    return isinstance(error, NetworkError | Interrupted)
