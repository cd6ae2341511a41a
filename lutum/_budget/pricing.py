"""Prices: tokens to US dollars. No I/O.

Prices are integers in pico-USD for a token. This is 10^6 times the US dollars for a million tokens.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal
from typing import Final, final

import msgspec
from msgspec import Struct

from lutum._budget.amounts import PICO, pico_usd
from lutum._budget.genai_prices import GenaiPrices
from lutum._values.check import check_type
from lutum._values.errors import BadValue
from lutum._values.results import Estimate, Usage

Amount = Decimal | str | int | float

_MILLION = 10**6
_THOUSAND = 10**3

FACTORS: Final[Mapping[str, Decimal]] = {
    "priority": Decimal(2),  # openai.com/api/pricing: 1.7 to 2 times
    "flex": Decimal("0.5"),  # openai.com/api/pricing
    "batch": Decimal("0.5"),  # OpenAI, Anthropic, Google, Mistral
    "fast": Decimal(6),  # platform.claude.com, "Fast mode": 30 and 150 instead of 5 and 25 dollars
    "us": Decimal("1.1"),  # platform.claude.com, "Data residency"
}
"""The factor between a rate and the standard rate, if no price gives it. The cost is then an estimate."""

SEARCH: Final = Decimal(10)
"""US dollars for 1,000 web searches at Anthropic and OpenAI; an estimate if no price gives it."""

_ONE_HOUR: Final = 2
"""platform.claude.com, "Prompt caching": a cache write that lives an hour costs two times the input."""

# The suffixes of dated forms of a model's name: -20250929, -2025-08-07, -08-2024, -0613 or -2411,
# @20250929 (Vertex), -latest.
_same_model = re.compile(
    r"(?:[-@](?:20[0-9]{6}|latest)|-20[0-9]{2}-[0-9]{2}-[0-9]{2}|-[0-9]{2}-20[0-9]{2}"
    r"|-(?:0[1-9]|1[0-2])(?:[0-2][0-9]|3[01])|-2[0-9](?:0[1-9]|1[0-2]))?"
).fullmatch


class Price(Struct, frozen=True, kw_only=True):
    """US dollars for a million tokens. A float is converted through its repr. 0 means that the model is free.

    Attributes:
      input: input that is neither read from a cache nor written to one.
      output: output that is not reasoning.
      cache_read, cache_write: as `input` if not given.
      cache_write_1h: cache writes that live an hour. If not given, two times `input`, and the cost is an
        estimate.
      reasoning: as `output` if not given.
      search: 1,000 web searches. If not given, 10 US dollars, and the cost is an estimate.
      above: other prices by number of tokens, for a request whose input has more tokens than that.
      rates: the prices of other rates by name (`priority`, `flex`, `batch`, `fast`, `us`). Each is a `Price`,
        or a factor for this price. If a request is billed at a rate that is not given, the cost is an
        estimate.
    """

    input: Amount
    output: Amount
    cache_read: Amount | None = None
    cache_write: Amount | None = None
    cache_write_1h: Amount | None = None
    reasoning: Amount | None = None
    search: Amount | None = None
    above: Mapping[int, Price] = {}
    rates: Mapping[str, Price | Amount] = {}


class _Rates(Struct, frozen=True):
    """Pico-USD for a token, and for a search."""

    input: int
    output: int
    cache_read: int
    cache_write: int
    cache_write_1h: int
    reasoning: int
    search: int
    assumed: frozenset[str]
    above: tuple[tuple[int, _Rates], ...]
    named: Mapping[str, _Rates | Decimal]


@final
class Pricing:
    """Prices by model.

    A price applies to the model of that name, to dated forms of the name and to `-latest`: the price of
    `claude-sonnet-4-5` applies to `claude-sonnet-4-5-20250929`. It does not apply to other models whose names
    begin in the same way. A name without a digit is a family: the price of `claude` applies to every model
    whose name begins with `claude-` and that has no price of its own.

    Raises:
      BadValue: a price is not an amount of US dollars; the message names the model and the field.
    """

    __slots__ = ("_data", "_rates")

    def __init__(self, prices: Mapping[str, Price]) -> None:
        check_type("prices", prices, Mapping, "prices by model")
        for model, price in prices.items():
            check_type(f"prices[{model!r}]", price, Price, "a lutum.Price")
        self._rates = {model: _rates(f"pricing[{model!r}]", model, price) for model, price in prices.items()}
        self._data: GenaiPrices | None = None

    @classmethod
    def from_genai_prices(
        cls, prices: Mapping[str, Price] | None = None, *, provider: str | None = None
    ) -> Pricing:
        """Return the prices of the genai-prices package (`pip install lutum[prices]`), with tiers and dates.

        Args:
          prices: your own prices, which are used first.
          provider: the package's name of the provider that you pay, such as "openrouter". If it is not given,
            it is the cloud that the request goes through, or else the maker of the model.

        Raises:
          UsageError: the package is not installed.
        """
        pricing = cls(prices or {})
        pricing._data = GenaiPrices(provider)
        return pricing

    def cost(self, model: str, usage: Usage, billed_by: str | None = None) -> Decimal | None:
        """Return the US dollars for a usage, rounded up to a pico-USD once; None if the model has no price.

        Args:
          billed_by: see `Prepared.billed_by`. Your own prices are used first.
        """
        found = self._cost(model, usage, billed_by)
        return None if found is None else found[0]

    def saved(self, model: str, usage: Usage, billed_by: str | None = None) -> Decimal | None:
        """Return the US dollars that the provider's cache saved: the cost without a cache minus the cost.

        The value is negative if writes cost more than reads saved. It is None if no cache was used, or the
        model has no price.
        """
        if not (usage.cache_read_tokens or usage.cache_write_tokens):
            return None
        parts = tuple((other, _uncached(part)) for other, part in usage.parts)
        plain = self.cost(model, msgspec.structs.replace(_uncached(usage), parts=parts), billed_by)
        cost = self.cost(model, usage, billed_by)
        return None if plain is None or cost is None else plain - cost

    def priced(
        self, model: str, estimate: Estimate, rates: tuple[str, ...] = (), billed_by: str | None = None
    ) -> Estimate:
        """Return an estimate with its highest possible cost.

        These cases are compared: all input is fresh, is read from a cache or is written to one; all output is
        reasoning, or none is.

        Args:
          rates: the rates that the request selects, see `Prepared.rates`. The provider may bill the
            standard rate instead, so the higher cost of the two is used.
          billed_by: see `Prepared.billed_by`.
        """
        if estimate.cost_usd is not None:
            return estimate
        read, spoken = estimate.input_tokens, estimate.output_tokens
        hour = read if "1h" in rates else 0
        named = tuple(rate for rate in rates if rate != "1h")
        costs = [
            cost
            for cached in ((0, 0, 0), (0, read, 0), (0, read, hour), (read, 0, 0))
            for thought in (0, spoken)
            for asked in {(), named}
            if (cost := self.cost(model, _usage(read, spoken, cached, thought, asked), billed_by)) is not None
        ]
        return msgspec.structs.replace(estimate, cost_usd=max(costs, default=None))

    def settled(self, model: str, usage: Usage, billed_by: str | None = None) -> Usage:
        """Return a usage with its cost. If the provider reported the cost, it is not changed.

        The label becomes `estimated` if a rate that was billed has no price here.
        """
        if usage.cost_usd is not None or not (usage.total_tokens or usage.web_searches):
            return usage
        found = self._cost(model, usage, billed_by)
        if found is None:
            return usage
        cost, exact = found
        return msgspec.structs.replace(usage, cost_usd=cost, known=usage.known if exact else "estimated")

    def __repr__(self) -> str:
        known = ", ".join([*self._rates, *(["genai-prices"] if self._data is not None else [])])
        return f"<Pricing of {known}>"

    def _cost(self, model: str, usage: Usage, billed_by: str | None) -> tuple[Decimal, bool] | None:
        """Return the cost, and whether every rate in it has a price."""
        main, exact = usage, True
        costs = Decimal(0)
        for other, part in usage.parts:
            found = self._one(other, part, billed_by)
            if found is None:  # it keeps the price of the requested model, which is better than no price
                exact = False
                continue
            main = _less(main, part)
            costs += found[0]
            exact = exact and found[1]
        found = self._one(model, main, billed_by)
        return None if found is None else (costs + found[0], exact and found[1])

    def _one(self, model: str, usage: Usage, billed_by: str | None) -> tuple[Decimal, bool] | None:
        rates = self._find(model)
        if rates is not None:
            return _cost(rates, usage)
        if self._data is None:
            return None
        found = self._data.cost(model, usage, billed_by)
        if found is None:
            return None
        cost, missing, searched = found
        for rate in missing:
            cost *= FACTORS.get(rate, 1)
        if not searched:
            cost += usage.web_searches * SEARCH / _THOUSAND
        return _rounded(cost), not missing and (searched or not usage.web_searches)

    def _find(self, model: str) -> _Rates | None:
        known = [
            name for name in self._rates if model.startswith(name) and _same_model(model.removeprefix(name))
        ]
        if not known:
            known = [name for name in self._rates if _is_family(name) and model.startswith(f"{name}-")]
        return self._rates[max(known, key=len)] if known else None


def _is_family(name: str) -> bool:
    return not any(letter.isdigit() for letter in name)


def _usage(
    read: int, spoken: int, cached: tuple[int, int, int], thought: int, rates: tuple[str, ...]
) -> Usage:
    return Usage(read, spoken, cached[0], cached[1], thought, cache_write_1h_tokens=cached[2], rates=rates)


def _uncached(usage: Usage) -> Usage:
    return msgspec.structs.replace(usage, cache_read_tokens=0, cache_write_tokens=0, cache_write_1h_tokens=0)


def _less(whole: Usage, part: Usage) -> Usage:
    """Return the usage without a part of it; no figure falls below 0."""
    names = (
        "input_tokens",
        "output_tokens",
        "cache_read_tokens",
        "cache_write_tokens",
        "reasoning_tokens",
        "cache_write_1h_tokens",
        "web_searches",
    )
    left = {name: max(0, getattr(whole, name) - getattr(part, name)) for name in names}
    return msgspec.structs.replace(whole, **left)


def _cost(rates: _Rates, usage: Usage) -> tuple[Decimal, bool]:
    factor, exact, standard = Decimal(1), True, rates
    for name in usage.rates:
        named = standard.named.get(name)
        if isinstance(named, _Rates):
            rates = named
        else:
            factor *= FACTORS.get(name, Decimal(1)) if named is None else named
            exact = exact and named is not None
    for tokens, dearer in rates.above:
        if usage.input_tokens > tokens:
            rates = dearer
    hour = min(usage.cache_write_1h_tokens, usage.cache_write_tokens)
    fresh = usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens
    spoken = usage.output_tokens - usage.reasoning_tokens
    pico = (
        max(0, fresh) * rates.input
        + usage.cache_read_tokens * rates.cache_read
        + (usage.cache_write_tokens - hour) * rates.cache_write
        + hour * rates.cache_write_1h
        + max(0, spoken) * rates.output
        + usage.reasoning_tokens * rates.reasoning
    )
    exact = exact and not (hour and "cache_write_1h" in rates.assumed)
    exact = exact and not (usage.web_searches and "search" in rates.assumed)
    # The factor of a rate applies to tokens only, not to the fee for a search.
    return _rounded((pico * factor + usage.web_searches * rates.search) / PICO), exact


def _rounded(cost: Decimal) -> Decimal:
    pico = (cost * PICO).to_integral_value(ROUND_CEILING)
    return pico / PICO


def _rates(field: str, model: str, price: Price) -> _Rates:
    def rate(name: str, value: Amount | None, otherwise: Amount, of: int = _MILLION) -> int:
        return pico_usd(otherwise if value is None else value, f"{field}.{name}") // of

    if not model:
        raise BadValue("pricing", "has a blank model name")
    if any(not isinstance(tokens, int) or tokens < 0 for tokens in price.above):
        raise BadValue(f"{field}.above", "needs a mapping from numbers of tokens to prices")
    named = dict[str, _Rates | Decimal]()
    for name, value in price.rates.items():
        inner = f"{field}.rates[{name!r}]"
        if isinstance(value, Price):
            named[name] = _rates(inner, model, value)
        else:
            named[name] = Decimal(pico_usd(value, inner)) / PICO
    input = rate("input", price.input, 0)
    free = not input and not rate("output", price.output, 0)
    assumed = {name for name in ("cache_write_1h", "search") if getattr(price, name) is None and not free}
    return _Rates(
        input,
        rate("output", price.output, 0),
        rate("cache_read", price.cache_read, price.input),
        write := rate("cache_write", price.cache_write, price.input),
        max(write, _ONE_HOUR * input)
        if price.cache_write_1h is None
        else rate("cache_write_1h", price.cache_write_1h, 0),
        rate("reasoning", price.reasoning, price.output),
        rate("search", price.search, 0 if free else SEARCH, _THOUSAND),
        frozenset(assumed),
        tuple(
            sorted(
                (tokens, _rates(f"{field}.above[{tokens}]", model, dearer))
                for tokens, dearer in price.above.items()
            )
        ),
        named,
    )
