"""The bill of a search: what each branch was charged, and what the prompt cache saved."""

from decimal import Decimal

import anyio
import httpx
import pytest
from fakes import STALLED, VIRTUAL, FakeAdapter

import lutum
from lutum import trace
from lutum._lutum import with_adapter
from lutum.testing import CUT, Script, ScriptedAdapter
from lutum.testing.wire import Reply, WireServer
from lutum_claude import ClaudeAdapter

LONG = "word " * 80_000  # 100,000 tokens of the wire server
PRICES = lutum.Pricing({"claude": lutum.Price(input=3, output=15, cache_read="0.30", cache_write="3.75")})
MILLION = Decimal(10**6)


async def fan_out(llm: lutum.Lutum, k: int) -> trace.Trace:
    """`k` labelled branches of one long prefix, behind a gate."""
    session, gate = lutum.Session(llm), lutum.PrefixGate()
    session.push_user(LONG)

    async def ask(number: int) -> None:
        turn = session.fork().text_turn().max_output_tokens(50).label("branch", number)
        await turn.after(gate).collect()

    async with trace.capture() as found:
        async with anyio.create_task_group() as group:
            for number in range(k):
                group.start_soon(ask, number)
    return found


@VIRTUAL
async def test_a_shared_prefix_counts_once() -> None:
    """One branch writes it, the others read it; new input is that of one branch and seven questions."""
    server = WireServer(default=Reply("x"), prompt_cache=True)
    async with httpx.AsyncClient(transport=server.transport()) as client:
        claude = ClaudeAdapter("claude-sonnet-4-5", base_url=server.url, api_key="k", http_client=client)
        llm = lutum.Lutum(claude, pricing=PRICES)
        found = await fan_out(llm, 8)
        bill = found.bill()
        spent = llm.budget.spent
    assert sorted(one.label for one in bill.branches) == [f"branch/{i}" for i in range(8)]
    prefix = spent.cache_write_tokens
    assert prefix > 99_000
    assert bill.total.cache_read_tokens == 7 * prefix
    assert bill.total.input_tokens == spent.input_tokens > 8 * prefix
    assert bill.total.new_tokens == spent.input_tokens - 7 * prefix < prefix + 1_000
    assert bill.total.cost_usd == spent.cost_usd
    [writer] = [one for one in bill.branches if one.cache_write_tokens]
    assert writer.saved_usd == -prefix * Decimal("0.75") / MILLION
    for reader in bill.branches:
        if reader is not writer:
            assert reader.saved_usd == prefix * Decimal("2.70") / MILLION
            assert bill.branch(*reader.label.split("/")) is reader
    assert bill.total.saved_usd == (7 * Decimal("2.70") - Decimal("0.75")) * prefix / MILLION
    # By the first part of their labels they are one branch.
    [whole] = found.bill(1).branches
    assert (whole.label, whole.turns) == ("branch", 8)
    # The waterfall has the same table, in a terminal and as a page, and so has a loaded trace.
    loaded = trace.load(found.dump())
    assert loaded.bill() == bill
    shown = loaded.render(200)
    assert str(bill).splitlines()[1] in shown
    assert f"{7 * prefix:,} read, {prefix:,} written" in shown
    assert "turn branch/0 claude-sonnet-4-5" in shown


@VIRTUAL
async def test_the_page_has_the_table(tmp_path: object) -> None:
    """Labels are text there, whatever is in them."""
    from lutum.trace._html import page

    llm = lutum.Lutum(ScriptedAdapter([["a"], ["b"]]))
    async with trace.capture() as found:
        await llm.text_turn("q").label("<b>one").collect()
        assert 'id="branches"' not in page(found)
        await llm.text_turn("q").label("two").collect()
    assert '<th scope="row">&lt;b&gt;one</th>' in page(found)


@VIRTUAL
async def test_cancelled_and_running_turns() -> None:
    """A stopped branch is settled and is in the sum; a running one is not yet."""
    llm = lutum.Lutum(ScriptedAdapter([Script(("a",), lutum.Usage(10, 5)), ["c", CUT]]))
    stalling = with_adapter(llm, FakeAdapter(STALLED))
    async with trace.capture() as found:
        await llm.text_turn("q").label("won").collect()
        async with stalling.text_turn("q").label("lost").stream() as turn:
            async for _ in turn.text():
                break
            [running] = [one for one in found.bill().branches if one.label == "lost"]
            assert (running.turns, running.open, running.output_tokens) == (1, 1, 0)
        with pytest.raises(lutum.Interrupted):
            await llm.text_turn("q").collect()
    bill = found.bill()
    assert [(one.label, one.turns, one.cancelled) for one in bill.branches] == [
        ("won", 1, 0),
        ("lost", 1, 1),
        ("", 1, 0),
    ]
    assert bill.total.input_tokens + bill.total.output_tokens == llm.budget.spent.total_tokens
    assert (bill.total.cost_usd, bill.total.saved_usd) == (None, None)
    assert str(bill).splitlines()[0].split() == ["branch", "turns", "input", "output"]
    assert "1 (1 cancelled)" in str(bill)
    with pytest.raises(LookupError, match=r"no branch 'other'; it has \['won', 'lost', ''\]"):
        bill.branch("other")
    with pytest.raises(lutum.BadValue, match="parts"):
        found.bill(0)


def test_a_bill_of_nothing() -> None:
    """A head and a total."""
    assert trace.Trace(0.0, 0.0).bill().total.turns == 0
    assert str(trace.Trace(0.0, 0.0).bill()).splitlines() == ["branch  turns", "total       0"]


@VIRTUAL
async def test_a_picture_has_a_table_of_bounded_length() -> None:
    """Labels are shortened to their first parts; whole labels are in `bill()`."""
    llm = lutum.Lutum(ScriptedAdapter(lambda request: ["a"]))
    async with trace.capture() as found:
        for depth in range(2):
            for number in range(30):
                await llm.text_turn("q").label("beam", depth, number).collect()
    assert len(found.bill().branches) == 60
    shown = found.render(120)
    assert "beam/1  " in shown
    assert "beam/1/3  " not in shown.rpartition("branch  ")[2]


def test_what_a_cache_saves() -> None:
    """Nothing without its use or without a price; parts of other models at their own price."""
    read = lutum.Usage(1_000_000, 0, 1_000_000)
    assert PRICES.saved("claude-x", read) == Decimal("2.70")
    assert PRICES.saved("claude-x", lutum.Usage(1_000_000, 5)) is None
    assert PRICES.saved("gpt-x", read) is None
    both = lutum.Usage(2_000_000, 0, 2_000_000, parts=(("claude-y", read),))
    assert PRICES.saved("claude-x", both) == Decimal("5.40")
