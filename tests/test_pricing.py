"""Prices: exact in integers, the dearest in advance, the provider's own figure first."""

from __future__ import annotations

import sys
import types
from decimal import Decimal
from fractions import Fraction
from typing import Any

import httpx
import msgspec
import pytest
from fakes import STARTED, WHOLE, FakeAdapter, Text, done
from hypothesis import given, strategies as st

import lutum
from lutum import Budget, Estimate, Price, Pricing, Usage
from lutum.testing.wire import Cut, Reply, Say, Status, WireServer
from lutum_claude import ClaudeAdapter

SONNET = Price(input=3, output=15, cache_read="0.3", cache_write="3.75")
MODEL = "claude-sonnet-4-5"

tokens = st.integers(0, 10**7)
amounts = st.decimals(0, 1000, places=4)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    read, write, fresh = draw(tokens), draw(tokens), draw(tokens)
    thought, said = draw(tokens), draw(tokens)
    return Usage(read + write + fresh, thought + said, read, write, thought)


@given(usages(), st.tuples(amounts, amounts, amounts, amounts, amounts))
def test_cost_is_exact(usage: Usage, per_million: tuple[Decimal, ...]) -> None:
    """The sum of each kind of token at its price, to the last pico-dollar."""
    names = ("input", "output", "cache_read", "cache_write", "reasoning")
    pricing = Pricing({"m": Price(**dict(zip(names, per_million, strict=True)))})
    counts = (
        usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens,
        usage.output_tokens - usage.reasoning_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        usage.reasoning_tokens,
    )
    exact = sum(n * Fraction(p) / 10**6 for n, p in zip(counts, per_million, strict=True))
    assert Fraction(pricing.cost("m", usage) or 0) == exact


@given(usages(), usages())
def test_costs_add_up(one: Usage, two: Usage) -> None:
    """What two turns cost is what their sum costs: nothing is rounded on the way."""
    pricing = Pricing({"m": SONNET})
    costs = [pricing.cost("m", usage) or 0 for usage in (one, two, one + two)]
    assert costs[0] + costs[1] == costs[2]


@given(usages(), st.tuples(amounts, amounts, amounts, amounts, amounts))
def test_an_estimate_is_the_dearest(usage: Usage, per_million: tuple[Decimal, ...]) -> None:
    """However the tokens turn out to be read and written, they cost no more than was reserved."""
    names = ("input", "output", "cache_read", "cache_write", "reasoning")
    pricing = Pricing({"m": Price(**dict(zip(names, per_million, strict=True)))})
    estimate = pricing.priced("m", Estimate(usage.input_tokens, usage.output_tokens))
    assert (estimate.input_tokens, estimate.output_tokens) == (usage.input_tokens, usage.output_tokens)
    assert estimate.cost_usd is not None
    assert estimate.cost_usd >= (pricing.cost("m", usage) or 0)


def test_what_is_not_given_costs_as_fresh() -> None:
    """Cache reads and writes cost as input, reasoning as output."""
    pricing = Pricing({"m": Price(input=1, output=2)})
    assert pricing.cost("m", Usage(3, 2, 1, 1, 1)) == Decimal(3 + 4) / 10**6


def test_a_price_covers_dated_forms_of_its_model() -> None:
    """A price covers its name, its dated forms and `-latest`; a longer name goes before a shorter one."""
    pricing = Pricing({"gpt-5": Price(input=1, output=1), "gpt-5-mini": Price(input=2, output=2)})
    one = Usage(10**6)
    for same in (
        "gpt-5",
        "gpt-5-2025-08-07",
        "gpt-5-latest",
        "gpt-5-20250807",
        "gpt-5@20250807",
        "gpt-5-0613",
    ):
        assert pricing.cost(same, one) == 1, same
    assert pricing.cost("gpt-5-mini-2025-08-07", one) == 2
    assert pricing.cost("gpt-5-mini", one) == 2
    for other in (
        "gpt-4",
        "gpt-5-pro",
        "gpt-5.1",
        "gpt-50",
        "gpt-5-codex",
        "gpt-5:free",
        "gpt-5-9999",
        "gpt-5-",
    ):
        assert pricing.cost(other, one) is None, other
    assert pricing.priced("gpt-4", Estimate(1)) == Estimate(1)
    assert repr(pricing) == "<Pricing of gpt-5, gpt-5-mini>"


def test_each_rate_is_billed() -> None:
    """Long-lived cache writes, searches, long prompts, tiers and regions have prices of their own."""
    pricing = Pricing(
        {
            "m": Price(
                input=1,
                output=2,
                cache_write="1.25",
                cache_write_1h=2,
                search=10,
                above={1_000: Price(input=3, output=4)},
                rates={"priority": Price(input=5, output=6), "us": "1.1"},
            )
        }
    )
    million = Decimal(10) ** 6
    for usage, cost in (
        (Usage(100, 0, cache_write_tokens=100, cache_write_1h_tokens=40), 60 * Decimal("1.25") + 40 * 2),
        (Usage(1_000, 10), 1_000 + 20),
        (Usage(1_001, 10), 3_003 + 40),
        (Usage(100, 10, rates=("priority",)), 560),
        (Usage(100, 10, rates=("us",)), 132),
        (Usage(100, 10, rates=("priority", "us")), 616),
        (Usage(0, 10, web_searches=3), 20 + 30_000),
    ):
        settled = pricing.settled("m", usage)
        assert (settled.cost_usd, settled.known) == (cost / million, "exact"), usage


def test_a_rate_without_a_price_is_an_estimate() -> None:
    """What is billed at a rate that has no price is never recorded as exact, and never too low."""
    pricing = Pricing({"m": Price(input=1, output=2, cache_write="1.25"), "free": Price(input=0, output=0)})
    plain = pricing.settled("m", Usage(100, 10)).cost_usd or 0
    for usage in (
        Usage(100, 10, rates=("priority",)),
        Usage(100, 10, rates=("fast",)),
        Usage(100, 10, cache_write_tokens=100, cache_write_1h_tokens=100),
        Usage(100, 10, web_searches=1),
    ):
        settled = pricing.settled("m", usage)
        assert settled.known == "estimated"
        assert (settled.cost_usd or 0) > plain
    flex = pricing.settled("m", Usage(100, 10, rates=("flex",)))
    assert (flex.cost_usd, flex.known) == (plain / 2, "estimated")
    free = pricing.settled(
        "free", Usage(100, 10, cache_write_tokens=9, cache_write_1h_tokens=9, web_searches=1)
    )
    assert (free.cost_usd, free.known) == (0, "exact")


def test_parts_of_other_models_keep_their_price() -> None:
    """An advisor's tokens are in the sum and cost what that model costs."""
    pricing = Pricing({"m": Price(input=1, output=1), "big": Price(input=10, output=10)})
    usage = Usage(110, 20, parts=(("big", Usage(10, 10)),))
    assert pricing.settled("m", usage) == msgspec.structs.replace(usage, cost_usd=Decimal(310) / 10**6)
    unknown = Usage(110, 20, parts=(("other", Usage(10, 10)),))
    settled = pricing.settled("m", unknown)
    assert (settled.cost_usd, settled.known) == (Decimal(130) / 10**6, "estimated")


def test_a_requested_rate_is_reserved() -> None:
    """The reservation holds the dearer of the standard rate and the one that was asked for."""
    pricing = Pricing({"m": Price(input=1, output=1, cache_write_1h=4, rates={"priority": 2, "flex": "0.5"})})
    one = Estimate(10**6, 0)
    assert pricing.priced("m", one, ("priority",)).cost_usd == 2
    assert pricing.priced("m", one, ("flex",)).cost_usd == 1
    assert pricing.priced("m", one, ("1h",)).cost_usd == 4


@pytest.mark.parametrize("amount", [Decimal("0.1"), "0.1", 0.1], ids=["decimal", "text", "float"])
def test_pricing_amounts(amount: Any) -> None:
    """A float is read by its repr."""
    assert Pricing({"m": Price(input=amount, output=0)}).cost("m", Usage(10**7)) == 1


@pytest.mark.parametrize(
    ("field", "prices"),
    [
        ("pricing['m'].input", {"m": Price(input="free", output=1)}),
        ("pricing['m'].output", {"m": Price(input=1, output=-1)}),
        ("pricing['m'].reasoning", {"m": Price(input=1, output=1, reasoning=float("nan"))}),
        ("pricing", {"": Price(input=1, output=1)}),
    ],
)
def test_no_price(field: str, prices: dict[str, Price]) -> None:
    """A price that is none is named, by model and field."""
    with pytest.raises(lutum.BadValue) as info:
        Pricing(prices)
    assert info.value.field == field


# On a ledger.


def house(*scripts: Any, **options: Any) -> lutum.Lutum:
    server = WireServer(scripts)
    client = httpx.AsyncClient(transport=server.transport())
    adapter = ClaudeAdapter(model=MODEL, api_key="k", base_url=server.url, http_client=client)
    return lutum.Lutum(adapter, **options)


async def test_a_turn_is_charged_its_price() -> None:
    """Settled from the provider's figures, cache reads at their own price; a cut one at what was counted."""
    usage = {"input_tokens": 100, "cache_read_input_tokens": 1000, "output_tokens": 10}
    llm = house(
        Reply("ok", usage=usage), Reply(Say("a", "b", Cut()), usage=usage), pricing=Pricing({MODEL: SONNET})
    )
    result = await llm.text_turn("hello").collect()
    cost = (100 * 3 + 1000 * Decimal("0.3") + 10 * 15) / 10**6
    assert result.usage.cost_usd == llm.budget.spent.cost_usd == cost
    with pytest.raises(lutum.Interrupted) as info:
        await llm.text_turn("hello").collect()
    assert info.value.usage is not None
    assert info.value.usage.cost_usd == cost - Decimal(8 * 15) / 10**6


async def test_a_limit_in_dollars() -> None:
    """It holds the dearest a turn may cost, refuses what does not fit, and is settled at what it did cost."""
    llm = house(
        Reply("ok", usage={"input_tokens": 100, "output_tokens": 10}),
        budget=Budget(cost_usd="0.002"),
        pricing=Pricing({MODEL: SONNET}),
    )
    turn = llm.text_turn("hello").reserve(Estimate(100, 100))
    assert (await turn.estimate()).cost_usd == Decimal(100 * Decimal("3.75") + 100 * 15) / 10**6
    await turn.collect()
    assert llm.budget.spent.cost_usd == Decimal(100 * 3 + 10 * 15) / 10**6
    with pytest.raises(lutum.BudgetExceeded, match=r"\$"):
        await turn.collect()


async def test_growth_costs_too() -> None:
    """Output beyond the reservation grows the lease in dollars, and ends the turn where that fails."""
    pricing = Pricing({"fake-1": Price(input=0, output=1)})
    play = [STARTED, *[Text("x")] * 100, done()]
    llm = lutum.Lutum(FakeAdapter(play), budget=Budget(cost_usd="0.000050"), pricing=pricing)
    with pytest.raises(lutum.BudgetExceeded) as info:
        await llm.text_turn("hello").reserve(Estimate(0, 10)).collect()
    assert info.value.usage == Usage(0, 51, cost_usd=Decimal("0.000051"), known="estimated")
    assert llm.budget.statistics().overdraft_tokens == 0


@pytest.mark.parametrize("limit", ["0.30", "0.20"])
async def test_the_providers_figure_goes_before(limit: str) -> None:
    """What the provider says it costs is what is settled, whatever the price list says."""
    play = [*WHOLE[:3], done(Usage(12, 5, cost_usd=Decimal("0.25")))]
    pricing = Pricing({"fake-1": Price(input=1, output=1)})
    llm = lutum.Lutum(FakeAdapter(play), budget=Budget(cost_usd=limit), pricing=pricing)
    assert (await llm.text_turn("hello").collect()).usage.cost_usd == Decimal("0.25")
    assert llm.budget.spent.cost_usd == Decimal("0.25")


async def test_an_attempt_that_was_refused_costs_nothing() -> None:
    """It has no cost, which is not the same as a cost that nobody knows."""
    llm = house(Status(529), pricing=Pricing({MODEL: SONNET}))
    with pytest.raises(lutum.ProviderError) as info:
        await llm.text_turn("hello").collect()
    assert info.value.usage == Usage() == llm.budget.spent


async def test_unpriced() -> None:
    """A limit in dollars and no price: the error names the model and the line that mends it, which does."""
    turns = house(Reply("ok"), budget=Budget(cost_usd=1)).text_turn("hello")
    with pytest.raises(lutum.UnpricedModel) as info:
        await turns.collect()
    line = f"Lutum(pricing=Pricing({{{MODEL!r}: Price(input=..., output=...)}}))"
    assert line in str(info.value)
    pricing = eval(line.partition("pricing=")[2][:-1].replace("...", "1"), vars(lutum))
    llm = house(Reply("ok"), budget=Budget(cost_usd=1), pricing=pricing)
    await llm.text_turn("hello").collect()
    async with llm.within(cost_usd=1) as scoped:
        with pytest.raises(lutum.UnpricedModel):
            await scoped.text_turn("hello").model("other").collect()


# The genai-prices package.


class Known(types.ModuleType):
    """Stands in for the package: the two names of it that are used, and one model."""

    def __init__(self) -> None:
        super().__init__("genai_prices")
        self.asked: list[tuple[str, str | None]] = []

    def Usage(self, **counts: int) -> dict[str, int]:
        return counts

    def calc_price(self, usage: dict[str, int], model: str, *, provider_id: str | None) -> Any:
        self.asked.append((model, provider_id))
        if model != "known":
            raise LookupError(model)
        fresh = usage["input_tokens"] - usage["cache_read_tokens"] - usage["cache_write_tokens"]
        pico = fresh * 2 + usage["cache_read_tokens"] + usage["cache_write_tokens"] * 3
        total = Decimal(pico + usage["output_tokens"] * 5) / 10**12 + Decimal("1e-13")
        return types.SimpleNamespace(total_price=total)


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> Known:
    """The package, as if it were installed."""
    known = Known()
    monkeypatch.setitem(sys.modules, "genai_prices", known)
    return known


def test_genai_prices(package: Known) -> None:
    """It is asked with our counts as its own, and rounded up; yours go before, and what it does not know has
    no price."""
    pricing = Pricing.from_genai_prices({"mine": Price(input=1, output=1)}, provider="somebody")
    assert pricing.cost("known", Usage(10, 2, 3, 4, 1)) == Decimal(3 * 2 + 3 + 4 * 3 + 2 * 5 + 1) / 10**12
    assert pricing.cost("mine", Usage(10**6)) == 1
    assert pricing.cost("nobody", Usage(1)) is None
    assert package.asked == [("known", "somebody"), ("nobody", "somebody")]
    assert pricing.priced("known", Estimate(10, 2)).cost_usd == Decimal(10 * 3 + 2 * 5 + 1) / 10**12
    assert pricing.priced("nobody", Estimate(10, 2)).cost_usd is None
    assert repr(pricing) == "<Pricing of mine, genai-prices>"


def test_counts_that_contradict_each_other_are_priced(package: Known) -> None:
    """A provider that reports more cache reads than input is no reason to fail."""
    assert Pricing.from_genai_prices().cost("known", Usage(5, 1, 10, 10, 3)) is not None


def test_a_search_without_a_price_of_its_own_makes_the_cost_an_estimate() -> None:
    """The package prices searches of some models only; for others the usual fee is added."""
    pytest.importorskip("genai_prices")
    pricing = Pricing.from_genai_prices()
    searched, plain = Usage(10, 1, web_searches=1), Usage(10, 1)
    for model, known in (("gpt-5", True), ("gpt-4", False)):
        cost, without = pricing._cost(model, searched, None), pricing._cost(model, plain, None)
        assert cost is not None
        assert without is not None
        assert (cost[1], without[1]) == (known, True)
        assert cost[0] - without[0] == Decimal("0.01")


def test_genai_prices_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package the error says what to install, when the list is made and not in a turn."""
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    with pytest.raises(lutum.UsageError, match=r"lutum\[prices\]"):
        Pricing.from_genai_prices()


def test_the_real_package() -> None:
    """Where it is installed, it knows what a well-known model costs."""
    pytest.importorskip("genai_prices")
    pricing = Pricing.from_genai_prices()
    cost = pricing.cost("claude-sonnet-4-5-20250929", Usage(1000, 100, 400, 200))
    assert cost == (400 * 3 + 400 * Decimal("0.3") + 200 * Decimal("3.75") + 100 * 15) / 10**6
    assert (pricing.priced("claude-sonnet-4-5", Estimate(1000, 100)).cost_usd or 0) >= cost
    assert pricing.cost("no-such-model", Usage(1)) is None


# In mid-stream: a limit in dollars is enforced as one in tokens is.


class Watched(FakeAdapter):
    """Counts the pieces that the pump asked for."""

    @property
    def asked(self) -> int:
        return self.exchanges[-1].asked


def told(cost: str, output: int = 1) -> lutum.UsageUpdate:
    return lutum.UsageUpdate(Usage(10, output, cost_usd=Decimal(cost), known="lower_bound"))


@pytest.mark.parametrize("where", ["ledger", "block", "request"])
async def test_a_cost_that_the_provider_reports_in_mid_stream(where: str) -> None:
    """It grows the lease though the tokens fit, and ends the turn within one event where it cannot; what came
    is kept, and the cost is settled as reported."""
    play = [STARTED, Text("a"), told("0.04"), Text("b"), told("0.06"), Text("c"), Text("d"), done()]
    fake = Watched(play, checkpoints=True)
    llm = lutum.Lutum(fake, budget=Budget(cost_usd="0.05") if where == "ledger" else None)
    held = list[Decimal | None]()
    turn = llm.text_turn("hello").reserve(Estimate(10, 100, Decimal("0.01")))
    if where == "request":
        turn = turn.limit(lutum.RequestBudget(cost_usd=Decimal("0.05")))

    async def run(turn: lutum.TextTurn) -> None:
        async with turn.stream() as stream:
            async for _ in stream:
                held.append(llm.budget.reserved.cost_usd)

    with pytest.raises(lutum.BudgetExceeded, match=r"\$0\.04|block is spent") as info:
        if where == "block":
            async with llm.within(cost_usd="0.05") as scoped:
                await run(scoped.text_turn("hello").reserve(Estimate(10, 100, Decimal("0.01"))))
        else:
            await run(turn)
    assert fake.asked == 5
    if where != "block":
        assert info.value.partial is not None
        assert (info.value.partial.text, info.value.started) == ("ab", True)
    assert held[0] == Decimal("0.01")
    assert max(cost for cost in held if cost is not None) == Decimal("0.04")
    assert llm.budget.spent.cost_usd == Decimal("0.06")
    assert llm.budget.reserved == Usage(known="estimated")


async def test_a_price_that_the_reservation_did_not_foresee() -> None:
    """Tokens within the reservation may still cost more than it holds: that grows it, or ends the turn."""
    play = [STARTED, *[Text("x")] * 50, done()]
    fake = Watched(play, checkpoints=True)
    pricing = Pricing({"fake-1": Price(input=0, output=1)})
    llm = lutum.Lutum(fake, budget=Budget(cost_usd="0.00003"), pricing=pricing)
    with pytest.raises(lutum.BudgetExceeded, match=r"\$0\.00003 ") as info:
        await llm.text_turn("hello").reserve(Estimate(0, 100, Decimal("0.00001"))).collect()
    assert fake.asked == 32
    assert info.value.usage == Usage(0, 31, cost_usd=Decimal("0.000031"), known="estimated")


async def test_what_follows_a_reported_cost_is_priced() -> None:
    """A provider that said once what it costs is not free from then on; without prices nobody can say."""
    play = [STARTED, told("0.00001", 10), *[Text("x")] * 40, lutum.Interrupted("cut")]
    for pricing, cost in ((Pricing({"fake-1": Price(input=0, output=1)}), "0.00004"), (None, "0.00001")):
        llm = lutum.Lutum(FakeAdapter(play), pricing=pricing)
        with pytest.raises(lutum.Interrupted) as info:
            await llm.text_turn("hello").collect()
        assert info.value.usage == Usage(10, 40, cost_usd=Decimal(cost), known="estimated")
    limited = lutum.Lutum(
        FakeAdapter(play),
        pricing=Pricing({"fake-1": Price(input=0, output=1)}),
        budget=Budget(cost_usd="0.00003"),
    )
    with pytest.raises(lutum.BudgetExceeded) as over:
        await limited.text_turn("hello").reserve(Estimate(10, 90, Decimal("0.00002"))).collect()
    assert over.value.usage is not None
    assert over.value.usage.cost_usd == Decimal("0.000031")


async def test_a_second_attempt_is_priced_on_top_of_the_first() -> None:
    """What failed has a cost already; what is said now is added to it."""
    first = [
        STARTED,
        lutum.UsageUpdate(Usage(10, 0, known="lower_bound")),
        lutum.ProviderError("x", kind="server"),
    ]
    again = [STARTED, *[Text("x")] * 100, done()]
    pricing = Pricing({"fake-1": Price(input=1, output=1)})
    llm = lutum.Lutum(
        FakeAdapter(first, again),
        budget=Budget(cost_usd="0.00005"),
        pricing=pricing,
        retry=lutum.RetryPolicy(initial=0),
    )
    with pytest.raises(lutum.BudgetExceeded) as info:
        await llm.text_turn("hello").reserve(Estimate(10, 10)).collect()
    assert info.value.usage == Usage(20, 31, cost_usd=Decimal("0.000051"), known="estimated")


async def test_a_final_cost_never_ends_a_turn() -> None:
    """You get the answer you were billed for, and nothing starts on that ledger any more."""
    play = [
        STARTED,
        Text("a"),
        lutum.UsageUpdate(Usage(10, 1, cost_usd=Decimal(9)), final=True),
        done(Usage(10, 1, cost_usd=Decimal(9))),
    ]
    llm = lutum.Lutum(FakeAdapter(play), budget=Budget(cost_usd=1))
    turn = llm.text_turn("hello").reserve(Estimate(10, 1, Decimal("0.1")))
    assert (await turn.collect()).usage.cost_usd == Decimal(9)
    with pytest.raises(lutum.BudgetExceeded):
        await turn.collect()


async def test_an_overdraft_of_tokens_does_not_keep_a_cost_from_growing() -> None:
    """A lease is only refused what it asks for more of."""
    budget = Budget(tokens=100, cost_usd=1)
    one, other = await budget.reserve(Estimate(10, 10, Decimal("0.1"))), await budget.reserve(Estimate(10))
    other.settle(Usage(500))
    assert one.grow(Usage(10, 5, cost_usd=Decimal("0.2")))
    assert not one.grow(Usage(10, 11, cost_usd=Decimal("0.2")))
    assert not one.grow(Usage(10, 5, cost_usd=Decimal("1.1")))
    assert budget.reserved.cost_usd == Decimal("0.2")


def test_a_family() -> None:
    """A name without a digit prices what has no price of its own; one with a digit is a model."""
    pricing = Pricing({"claude": Price(input=1, output=1), "claude-opus-4-5": Price(input=2, output=2)})
    usage = Usage(1_000_000)
    models = "claude-sonnet-4-5", "claude-opus-4-5", "claudette-1"
    assert (
        [pricing.cost(model, usage) for model in models]
        == [pricing.cost(model, usage) for model in ("claude-sonnet-4-5", "claude-opus-4-5", "claudette-1")]
        == [
            1,
            2,
            None,
        ]
    )
    assert Pricing({"gpt-5": Price(input=1, output=1)}).cost("gpt-5-pro", usage) is None
