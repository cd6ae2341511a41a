"""`--budget 0.05usd|5000tokens|redis://...`: the limit on the spending of a command."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import lutum

_AMOUNT = re.compile(r"\$?\s*([0-9][0-9_]*(?:\.[0-9]+)?)\s*(usd|dollars?|\$|tokens?|k)?", re.IGNORECASE)

FORMS = "0.05usd, 5000tokens, or redis://SERVER#LEDGER"


@asynccontextmanager
async def boundary(
    adapter: Any, limit: str | None, retry: lutum.RetryPolicy | None
) -> AsyncGenerator[lutum.Lutum]:
    """Yield a `Lutum` with the limit. A ledger on a server is closed when the block ends.

    Raises:
      BadValue: the limit has none of the forms.
      UsageError: the limit is in dollars, and no package of prices is installed.
      LedgerError: the server cannot be reached.
    """
    if limit is None:
        yield lutum.Lutum(adapter, retry=retry)
        return
    if limit.startswith(("redis://", "rediss://", "unix://")):
        from lutum.cli import _shared_budget  # needs an extra

        async with await _shared_budget.shared_budget(limit) as ledger:
            yield lutum.Lutum(adapter, budget=ledger, pricing=_prices(), retry=retry)
        return
    budget, pricing = local_budget(limit)
    yield lutum.Lutum(adapter, budget=budget, pricing=pricing, retry=retry)


def local_budget(limit: str) -> tuple[lutum.Budget, lutum.Pricing | None]:
    """Return the budget for an amount, and the prices if the amount is in dollars.

    Raises:
      BadValue: the amount has none of the forms.
      UsageError: the amount is in dollars, and no package of prices is installed.
    """
    found = _AMOUNT.fullmatch(limit.strip())
    unit = "" if found is None else (found[2] or "").lower()
    if found is None or (not unit and not limit.strip().startswith("$")):
        raise lutum.BadValue("--budget", f"{limit!r} is not an amount; write it as {FORMS}")
    figure = found[1].replace("_", "")
    if unit.startswith("token") or unit == "k":
        if "." in figure and unit != "k":
            raise lutum.BadValue("--budget", f"{limit!r} is not a whole number of tokens")
        return lutum.Budget(tokens=round(float(figure) * (1000 if unit == "k" else 1))), None
    return lutum.Budget(cost_usd=figure), lutum.Pricing.from_genai_prices()


def _prices() -> lutum.Pricing | None:
    try:
        return lutum.Pricing.from_genai_prices()
    except lutum.UsageError:
        return None  # a ledger that limits only tokens needs no prices
