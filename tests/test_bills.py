"""`Pricing.from_genai_prices` against bills of 20 models, computed from the package's listed rates as below.

The bills check the arithmetic, the tiers and the batch rates; they do not check the listed rates themselves.

Each has three: one at the standard rate with cached tokens, one at a tier, and one of a batch.

- A short request reads 90,000 tokens, 40,000 of them from the cache, and writes 2,000. Where the model bills
  cache writes, 10,000 of the tokens read are one. Example, claude-sonnet-4-5 at $3, $0.30, $3.75 and $15 a
  million: 40,000 x 3 + 40,000 x 0.30 + 10,000 x 3.75 + 2,000 x 15 = 199,500, so $0.1995.
- A long one reads 400,000, 100,000 of them cached and 50,000 written, and writes 10,000. It is beyond each
  model's tier of prompt lengths, which then holds for all of its tokens: 250,000 x 6 + 100,000 x 0.60
  + 50,000 x 7.50 + 10,000 x 22.50 = 2,160,000, so $2.16.
- A model without such a tier has the short request at OpenAI's service tier `priority` in its place.
- The batch is the short request at the batch rates: half, and for some models another listed rate.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import pytest

import lutum
from lutum import Pricing, Usage

Kind = Literal["priority", "written", "plain"]

# Model, what its second bill is and whether it bills cache writes, and the three bills in US dollars.
BILLS: list[tuple[str, Kind, str, str, str]] = [
    ("gpt-5", "priority", "0.0875", "0.175", "0.04375"),
    ("gpt-5-mini", "priority", "0.0175", "0.0315", "0.00875"),
    ("gpt-5.1", "priority", "0.0875", "0.175", "0.04375"),
    ("gpt-5.2", "priority", "0.1225", "0.245", "0.06125"),
    ("gpt-5.4-mini", "priority", "0.0495", "0.099", "0.02475"),
    ("claude-haiku-5-5", "written", "0.00665", "0.18625", "0.003325"),
    ("claude-sonnet-4-5", "written", "0.1995", "2.16", "0.09975"),
    ("gpt-5.4", "plain", "0.165", "1.775", "0.0827"),
    ("gpt-5.5", "plain", "0.33", "3.55", "0.165"),
    ("gpt-5.6-luna", "written", "0.0137", "0.147", "0.00685"),
    ("gpt-5.6-sol", "written", "0.266", "2.88", "0.133"),
    ("gpt-5.6-terra", "written", "0.137", "1.47", "0.0685"),
    ("gpt-6-astra", "written", "0.665", "7.2", "0.3325"),
    ("gpt-6-luna", "written", "0.00665", "0.072", "0.003325"),
    ("gpt-6-sol", "written", "0.133", "1.44", "0.0665"),
    ("gpt-6.1-sol", "written", "0.129", "1.42", "0.0645"),
    ("gpt-6.1-terra", "written", "0.0645", "0.71", "0.03225"),
    ("grok-4.20", "plain", "0.0755", "0.84", "0.0604"),
    ("grok-4.20-multi-agent-0309", "plain", "0.0755", "0.84", "0.0604"),
    ("grok-4.3", "plain", "0.0755", "0.84", "0.0604"),
]


def short(kind: Kind, *rates: str) -> Usage:
    written = 10_000 if kind == "written" else 0
    return Usage(90_000, 2_000, 40_000, written, rates=rates)


@pytest.mark.parametrize(("model", "kind", "standard", "tier", "batch"), BILLS, ids=[row[0] for row in BILLS])
def test_the_package_bills_as_computed_by_hand(
    model: str, kind: Kind, standard: str, tier: str, batch: str
) -> None:
    """Cached, tiered and batch parts, to the last cent of a cent, and each known as exactly as its usage."""
    pytest.importorskip("genai_prices")
    pricing = Pricing.from_genai_prices()
    written = 50_000 if kind == "written" else 0
    long = short(kind, "priority") if kind == "priority" else Usage(400_000, 10_000, 100_000, written)
    for usage, bill in ((short(kind), standard), (long, tier), (short(kind, "batch"), batch)):
        assert pricing.cost(model, usage) == Decimal(bill)
        settled = pricing.settled(model, usage)
        assert (settled.cost_usd, settled.known) == (Decimal(bill), "exact")


def test_there_are_twenty_and_the_package_knows_them() -> None:
    """A model that the package does not know has no price, and no bill of zero."""
    pytest.importorskip("genai_prices")
    assert len({row[0] for row in BILLS}) == 20
    assert lutum.Pricing.from_genai_prices().cost("nobody-knows-it", Usage(1, 1)) is None
