"""The prices of the genai-prices package: the only module that imports it."""

from __future__ import annotations

import importlib
from decimal import ROUND_CEILING, Decimal
from typing import Any

from lutum._values.errors import UsageError
from lutum._values.results import Usage

_PICO = Decimal("1e-12")


class GenaiPrices:
    """What the package knows, asked anew each time: a price may hold for some hours or from a day on.

    Raises:
      UsageError: the package is not installed.
    """

    __slots__ = ("_package", "_provider")

    def __init__(self, provider: str | None) -> None:
        try:
            self._package: Any = importlib.import_module("genai_prices")
        except ImportError:
            raise UsageError("pricing: needs genai-prices; pip install 'lutum[prices]'") from None
        self._provider = provider

    def cost(self, model: str, usage: Usage) -> Decimal | None:
        """US dollars, rounded up to a pico-USD; None where it does not know the model."""
        cached = min(usage.cache_read_tokens, usage.input_tokens)
        known = self._package.Usage(
            input_tokens=usage.input_tokens,
            cache_read_tokens=cached,
            cache_write_tokens=min(usage.cache_write_tokens, usage.input_tokens - cached),
            output_tokens=usage.output_tokens,
            output_reasoning_tokens=min(usage.reasoning_tokens, usage.output_tokens),
        )
        try:
            price: Decimal = self._package.calc_price(known, model, provider_id=self._provider).total_price
        except LookupError:
            return None
        return price.quantize(_PICO, ROUND_CEILING)
