"""Prices: tokens to US dollars. PURE, in integers: pico-USD a token is US dollars a million tokens x 10^6."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import final

import msgspec
from msgspec import Struct

from lutum._budget.amounts import PICO, pico_usd
from lutum._budget.genai_prices import GenaiPrices
from lutum._values.check import check_type
from lutum._values.errors import BadValue
from lutum._values.results import Estimate, Usage

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

    __slots__ = ("_data", "_rates")

    def __init__(self, prices: Mapping[str, Price]) -> None:
        for model, price in prices.items():
            check_type(f"prices[{model!r}]", price, Price, "a lutum.Price")
        self._rates = {model: _rates(model, price) for model, price in prices.items()}
        self._data: GenaiPrices | None = None

    @classmethod
    def from_genai_prices(
        cls, prices: Mapping[str, Price] | None = None, *, provider: str | None = None
    ) -> Pricing:
        """Prices of the genai-prices package (`pip install lutum[prices]`), with its tiers and dates.

        Args:
          prices: yours, which go before.
          provider: the package's name of whom you pay, such as "openrouter"; without it, who made the model.

        Raises:
          UsageError: the package is not installed.
        """
        pricing = cls(prices or {})
        pricing._data = GenaiPrices(provider)
        return pricing

    def cost(self, model: str, usage: Usage) -> Decimal | None:
        """US dollars for a usage, rounded up to a pico-USD once; None where the model has no price."""
        rates = self._find(model)
        if rates is None:
            return None if self._data is None else self._data.cost(model, usage)
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
        if estimate.cost_usd is not None:
            return estimate
        read, spoken = estimate.input_tokens, estimate.output_tokens
        costs = [
            cost
            for cached in ((0, 0), (0, read), (read, 0))
            for thought in (0, spoken)
            if (cost := self.cost(model, Usage(read, spoken, *cached, thought))) is not None
        ]
        return msgspec.structs.replace(estimate, cost_usd=max(costs, default=None))

    def settled(self, model: str, usage: Usage) -> Usage:
        """A usage with its cost, where the provider did not say it."""
        if usage.cost_usd is not None or not usage.total_tokens:
            return usage
        return msgspec.structs.replace(usage, cost_usd=self.cost(model, usage))

    def __repr__(self) -> str:
        known = ", ".join([*self._rates, *(["genai-prices"] if self._data is not None else [])])
        return f"<Pricing of {known}>"

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
