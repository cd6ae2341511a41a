"""Retries of tasks and scorers: the conditions, and the pauses."""

from __future__ import annotations

import anyio

from lutum._telemetry.spans import span
from lutum._values.errors import (
    BadValue,
    BudgetExceeded,
    Interrupted,
    LedgerError,
    NetworkError,
    ProviderError,
    UsageError,
)
from lutum._values.settings import RetryPolicy
from lutum.eval._results import is_model_fault, leaves_of

NEVER = (UsageError, BudgetExceeded, LedgerError)
"""Errors that a retry cannot avoid: a wrong call, or a budget that refuses."""


def policy_of(retry: RetryPolicy | int | None) -> RetryPolicy | None:
    """Return the policy. A number is the number of further tries.

    Raises:
      BadValue: `retry` is neither a policy nor a number from 0.
    """
    if retry is None or isinstance(retry, RetryPolicy):
        return retry
    if isinstance(retry, bool) or not isinstance(retry, int) or retry < 0:
        raise BadValue("retry", f"{retry!r} is neither a lutum.RetryPolicy nor a number of further tries")
    return RetryPolicy(attempts=retry + 1) if retry else None


def pause_after(policy: RetryPolicy | None, tries: int, error: Exception) -> float | None:
    """Return the seconds before the next try; None if the error is not retried."""
    leaves = list(leaves_of(error))
    if policy is None or is_model_fault(error) or any(isinstance(leaf, NEVER) for leaf in leaves):
        return None
    for leaf in leaves:
        if isinstance(leaf, ProviderError | NetworkError | Interrupted):
            return policy.delay(tries, leaf)
    return policy.delay(tries, NetworkError("an error of the task"))


async def wait_before_retry(seconds: float) -> None:
    """Wait, and record a span `wait` in the trace."""
    with span("wait", reason="retry"):
        await anyio.sleep(seconds)
