"""Who says what a request may use, when the adapter's own count is not enough."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast

from lutum._telemetry.spans import span
from lutum._values.errors import UsageError
from lutum._values.results import Estimate
from lutum.abc import Adapter, CountsTokens, Prepared

Estimator = Callable[[Adapter, Prepared], Awaitable[Estimate]]
"""Given to `Lutum(estimate=)`: what to reserve for a request that is about to be sent."""


async def exact_estimate(adapter: Adapter, prepared: Prepared) -> Estimate:
    """An estimator that asks the provider to count the input; one more, free request a turn.

    The output stays bounded by the request. Cancelled, nothing was reserved.

    Raises:
      UsageError: the adapter's provider has no such endpoint.
      TurnError: the provider could not be asked; as for a turn.
    """
    if not hasattr(adapter, "count_input_tokens"):
        raise UsageError(f"estimate: {adapter.name} has no endpoint that counts tokens")
    with span("request", purpose="estimate"):
        tokens = await cast("CountsTokens", adapter).count_input_tokens(prepared)
    return Estimate(tokens, prepared.estimate.output_tokens, prepared.estimate.cost_usd)
