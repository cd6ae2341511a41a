"""Amounts of a ledger as integers: tokens and pico-USD. No I/O, no clock, no tasks."""

from __future__ import annotations

import sys
from decimal import ROUND_CEILING, Decimal

from msgspec import Struct

from lutum._values.errors import BadValue
from lutum._values.results import Estimate, Usage

PICO = 10**12

UNLIMITED = sys.maxsize
"""The tokens in `remaining` if tokens have no limit."""


def pico_usd(cost: Decimal | str | int | float, field: str = "cost_usd") -> int:
    """Return US dollars as integer pico-USD, rounded up. A float is converted through its repr."""
    try:
        if isinstance(cost, bool):
            raise TypeError
        value = Decimal(repr(cost) if isinstance(cost, float) else cost)
    except (ArithmeticError, ValueError, TypeError):
        raise BadValue(field, f"{cost!r} is not an amount of US dollars") from None
    if not value.is_finite() or value < 0:
        raise BadValue(field, f"{cost!r} is not an amount of US dollars")
    return int((value * PICO).to_integral_value(ROUND_CEILING))


def check_whole(field: str, value: object, least: int = 0) -> None:
    """Raise BadValue unless the value is missing (None) or an integer of at least `least`."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadValue(field, f"{value!r} is not an integer")
    if value < least:
        raise BadValue(field, f"{value} is below {least}")


class Amount(Struct, frozen=True):
    """An amount that a ledger holds, that a turn requests, or that was used."""

    input: int = 0
    output: int = 0
    pico: int = 0

    @property
    def tokens(self) -> int:
        return self.input + self.output

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.input + other.input, self.output + other.output, self.pico + other.pico)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.input - other.input, self.output - other.output, self.pico - other.pico)


def amount_of(of: Usage | Estimate) -> Amount:
    """Return the amount of a usage or an estimate. An unknown cost counts as 0."""
    cost = 0 if of.cost_usd is None else pico_usd(of.cost_usd)
    return Amount(of.input_tokens, of.output_tokens, cost)
