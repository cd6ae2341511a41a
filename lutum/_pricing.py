"""Prices: tokens to US dollars. PURE, in integers: pico-USD a token is US dollars a million tokens x 10^6."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import final

import msgspec
from msgspec import Struct

from lutum._budget import PICO, pico_usd
from lutum._errors import BadValue
from lutum._results import Estimate, Usage

Amount = Decimal | str | int | float

_MILLION = 10**6


class Price(Struct, frozen=True, kw_only=True):
    """US dollars for a million tokens. A float is read by its repr.

    What is not given costs as `input` (cache reads and writes) or as `output` (reasoning).
    """

    input: Amount
    output: Amount
    cache_read: Amount | None = None
    cache_write: Amount | None = None
    reasoning: Amount | None = None


class _Rates(Struct, frozen=True):
    """Pico-USD a token."""

    input: int
    output: int
    cache_read: int
    cache_write: int
    reasoning: int


@final
class Pricing:
    """Prices by model: the whole name, or the longest one that it begins with (`claude-sonnet-4-5` prices
    `claude-sonnet-4-5-20250929`).

    Raises:
      BadValue: a price is no amount of US dollars; names the model and the field.
    """

    __slots__ = ("_rates",)

    def __init__(self, prices: Mapping[str, Price]) -> None:
        self._rates = {model: _rates(model, price) for model, price in prices.items()}

    def cost(self, model: str, usage: Usage) -> Decimal | None:
        """US dollars for a usage, rounded up to a pico-USD once; None where the model has no price."""
        rates = self._find(model)
        if rates is None:
            return None
        fresh = usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens
        spoken = usage.output_tokens - usage.reasoning_tokens
        pico = (
            max(0, fresh) * rates.input
            + usage.cache_read_tokens * rates.cache_read
            + usage.cache_write_tokens * rates.cache_write
            + max(0, spoken) * rates.output
            + usage.reasoning_tokens * rates.reasoning
        )
        return Decimal(pico) / PICO

    def priced(self, model: str, estimate: Estimate) -> Estimate:
        """An estimate with its cost at the dearest: every token fresh, or written to a cache, or reasoned."""
        rates = self._find(model)
        if rates is None or estimate.cost_usd is not None:
            return estimate
        read = max(rates.input, rates.cache_write, rates.cache_read)
        pico = estimate.input_tokens * read + estimate.output_tokens * max(rates.output, rates.reasoning)
        return msgspec.structs.replace(estimate, cost_usd=Decimal(pico) / PICO)

    def settled(self, model: str, usage: Usage) -> Usage:
        """A usage with its cost, where the provider did not say it."""
        if usage.cost_usd is not None or not usage.total_tokens:
            return usage
        return msgspec.structs.replace(usage, cost_usd=self.cost(model, usage))

    def __repr__(self) -> str:
        return f"<Pricing of {', '.join(self._rates)}>"

    def _find(self, model: str) -> _Rates | None:
        known = [name for name in self._rates if model.startswith(name)]
        return self._rates[max(known, key=len)] if known else None


def _rates(model: str, price: Price) -> _Rates:
    def rate(field: str, value: Amount | None, otherwise: Amount) -> int:
        return pico_usd(otherwise if value is None else value, f"pricing[{model!r}].{field}") // _MILLION

    if not model:
        raise BadValue("pricing", "has a blank model name")
    return _Rates(
        rate("input", price.input, 0),
        rate("output", price.output, 0),
        rate("cache_read", price.cache_read, price.input),
        rate("cache_write", price.cache_write, price.input),
        rate("reasoning", price.reasoning, price.output),
    )
