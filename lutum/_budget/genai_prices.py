"""The prices of the genai-prices package: the only module that imports it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from lutum._values.errors import UsageError
from lutum._values.results import Usage

# Lutum's names of rates, each with the package's words that select the price of the rate.
_CONTEXTS: Final[Mapping[str, tuple[Mapping[str, str], ...]]] = {
    "priority": ({"service_tier": "priority"},),
    "flex": ({"service_tier": "flex"},),
    "batch": ({"processing": "batch"},),
    "fast": ({"speed": "fast"}, {"service_tier": "fast"}),
}


class GenaiPrices:
    """The prices of the package genai-prices.

    Each call looks up the price again, because a price can depend on the hour, or start on a date.

    Raises:
      UsageError: the package is not installed.
    """

    __slots__ = ("_package", "_provider")

    def __init__(self, provider: str | None) -> None:
        try:
            self._package: Any = importlib.import_module("genai_prices")
        except ImportError:
            raise UsageError(
                "pricing: needs genai-prices: pip install 'lutum[prices]' (in a clone: '.[prices]')"
            ) from None
        self._provider = provider

    def cost(
        self, model: str, usage: Usage, billed_by: str | None = None
    ) -> tuple[Decimal, tuple[str, ...], bool] | None:
        """Return US dollars, the rates that have no price for the model, and whether searches are included.

        Return None if the package does not know the model. If it has a price of the model's maker, but none
        of the company that bills the request, the price is that of the maker, and `billed_by` is among the
        rates without a price.
        """
        cached = min(usage.cache_read_tokens, usage.input_tokens)
        written = min(usage.cache_write_tokens, usage.input_tokens - cached)
        figures = {
            "input_tokens": usage.input_tokens,
            "cache_read_tokens": cached,
            "cache_write_tokens": written,
            "output_tokens": usage.output_tokens,
            "output_reasoning_tokens": min(usage.reasoning_tokens, usage.output_tokens),
        }
        if usage.cache_write_1h_tokens:
            figures["cache_write_1h_tokens"] = min(usage.cache_write_1h_tokens, written)
        if usage.web_searches:
            figures["web_searches"] = usage.web_searches
        known = self._package.Usage(**figures)
        provider = self._provider or billed_by
        context, missing = dict[str, str](), list[str]()
        try:
            found = self._priced(known, model, {}, provider)
        except LookupError:
            if self._provider is not None or billed_by is None:
                return None
            provider, missing = None, [billed_by]
            try:
                found = self._priced(known, model, {}, provider)
            except LookupError:
                return None
        for rate in usage.rates:
            variant = next((words for words in _CONTEXTS.get(rate, ()) if _has(found.model, words)), None)
            if variant is None:
                missing.append(rate)
            else:
                context |= variant
        if context:
            found = self._priced(known, model, context, provider)
        price: Decimal = found.total_price
        searched = usage.web_searches > 0 and found.model_price.web_searches_kcount is not None
        return price, tuple(missing), searched

    def _priced(self, usage: Any, model: str, context: Mapping[str, str], provider: str | None) -> Any:
        more = {"price_context": dict(context)} if context else {}
        return self._package.calc_price(usage, model, provider_id=provider, **more)


def _has(model: Any, words: Mapping[str, str]) -> bool:
    """Return whether a model has its own price for the selected words."""
    variants: Any = getattr(model, "price_variants", None) or ()
    return any(words.items() <= variant.when.items() for variant in variants)
