"""A rate limit of an account, as the headers of a response report it."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

RateKind = Literal["requests", "tokens", "input", "output"]
"""The unit of a rate limit: requests, or tokens of input, output or both."""


class RateLimit(Struct, frozen=True):
    """One rate limit, as a response reports it.

    Attributes:
      kind: the unit.
      limit: the most in a period.
      left: the rest that can be used now.
      period: its length in seconds.
      full_in: seconds until the whole limit is available again, if the provider resets it at an instant.
        None if it refills all the time.
      refunds: True if the provider counts the tokens that a request used in the end. False if it counts the
        most tokens that the request might have used.
    """

    kind: RateKind
    limit: int
    left: int
    period: float = 60.0
    full_in: float | None = None
    refunds: bool = True
