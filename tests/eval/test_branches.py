"""pass@k over branches of one session: one prefix, one guaranteed amount, and nothing left when it ends."""

from typing import Any

import anyio
import msgspec
import pytest
from fakes import STALLED, VIRTUAL, WHOLE, FakeAdapter, Wait
from hypothesis import given, settings, strategies as st

import lutum
from lutum.eval import EvalBranch, pass_at_k, run_branches
from lutum.testing import ScriptedAdapter
from lutum.testing.wire import Pause, Reply, Say, WireRequest, WireServer
from lutum_claude import ClaudeAdapter

MODEL = "claude-sonnet-4-5"


def in_memory(server: WireServer) -> ClaudeAdapter:
    client = server.connect
    return ClaudeAdapter(model=MODEL, api_key="k", base_url=server.url, http_client=client)


async def answer(branch: lutum.Session) -> str:
    result = await branch.text_turn().max_output_tokens(100).collect()
    branch.commit_text(result)
    return result.text


def good(text: str) -> bool:
    return "right" in text


async def talked(adapter: Any, budget: lutum.Budget | None = None) -> lutum.Session:
    """A session with a committed turn behind it."""
    session = lutum.Session(lutum.Lutum(adapter, budget=budget))
    session.push_system("You solve riddles.")
    session.push_user("Are you ready?")
    session.commit_text(await session.text_turn().max_output_tokens(100).collect())
    session.push_user("What has keys and opens no door?")
    return session


async def test_all_branches_share_one_prefix() -> None:
    """The k requests have the same bytes, to the last; each branch goes on from its own answer."""
    server = WireServer([Reply("Yes.")], default=Reply("A piano, that is right."))
    async with in_memory(server) as claude:
        session = await talked(claude)
        before = session.transcript
        found = await run_branches(session, answer, 8, passed=good, tokens=100_000, stop_early=False)
    bodies = {request.body for request in server.requests[1:]}
    assert len(server.requests) == 9
    assert len(bodies) == 1
    assert session.transcript is before
    assert all(branch.session.transcript[: len(before)] == before for branch in found.branches)
    assert [branch.status for branch in found.branches] == ["passed"] * 8
    assert all(branch.session.llm is session.llm for branch in found.branches)
    assert found.pass_at_k(1) == found.pass_hat_k(8) == 1


async def test_the_metrics_are_those_of_the_outcomes() -> None:
    """A branch that raised has failed; the unbiased estimates are of all branches."""
    adapter = ScriptedAdapter([["Yes."], ["right"], ["wrong"], [ConnectionError("gone")], ["wrong"]])
    session = await talked(adapter)
    found = await run_branches(session, answer, 4, passed=good, tokens=100_000, stop_early=False)
    assert sorted(branch.status for branch in found.branches) == ["error", "failed", "failed", "passed"]
    assert sum(found.outcomes) == 1
    assert found.pass_at_k(2) == pass_at_k([True, False, False, False], 2) == 0.5
    [broken] = [branch for branch in found.branches if branch.error is not None]
    assert isinstance(broken.error, ConnectionError)
    assert str(found).startswith("4 branches: 1 passed, 2 failed, 1 error\nspent no price, ")


@VIRTUAL
async def test_the_first_pass_ends_the_rest() -> None:
    """They are cancelled and settled at once; what they held and did not spend is shown as saved."""

    def reply(request: WireRequest) -> Reply:
        if len(server.requests) == 1:
            return Reply("Yes.")
        # The last of the requests is the first to be right.
        slow = 1 if len(server.requests) == 7 else 50
        return Reply(Say("A ", "piano.", Pause(slow), " That is right."))

    server = WireServer(reply)
    budget = lutum.Budget(tokens=50_000)
    async with in_memory(server) as claude:
        session = await talked(claude, budget)
        began, before = anyio.current_time(), budget.spent
        held = await session.text_turn().max_output_tokens(100).estimate()
        found = await run_branches(session, answer, 6, passed=good, tokens=20_000)
        assert anyio.current_time() - began < 10
    assert [branch.status for branch in found.branches].count("cancelled") == 5
    assert found.first is not None
    assert found.first.output == "A piano. That is right."
    assert budget.reserved.total_tokens == 0
    assert (before + found.usage).total_tokens == budget.spent.total_tokens
    for branch in found.branches:
        if branch.status == "cancelled":
            assert branch.usage.output_tokens == 2
            assert branch.usage.total_tokens + branch.saved.total_tokens == held.total_tokens
            assert branch.saved.total_tokens > 0
        else:
            assert branch.saved == lutum.Usage()
    assert "saved at most" in str(found)
    with pytest.raises(lutum.UsageError, match="stop_early=False"):
        found.pass_at_k(1)
    # The winner goes on, on the ledger of the session that it was branched from.
    winner = found.first.session
    winner.push_user("Are you sure?")
    await winner.text_turn().max_output_tokens(100).estimate()
    session.transcript = winner.transcript
    assert [request.outcome for request in server.requests].count("disconnected") == 5


@VIRTUAL
async def test_the_amount_is_set_aside_and_shared() -> None:
    """While branches run the whole amount is reserved outside; those that do not fit at once take turns."""
    plays = [(*WHOLE[:-1], Wait(1.0), WHOLE[-1])]
    budget = lutum.Budget(tokens=1_000)
    session = lutum.Session(lutum.Lutum(FakeAdapter(*plays), budget=budget))
    session.push_user("hello")
    most = 0

    async def watched(branch: lutum.Session) -> str:
        nonlocal most
        assert budget.reserved.total_tokens >= 250
        running = branch.llm.budget._chain()[1].statistics()
        assert running.reserved.total_tokens <= 250
        text = (await branch.text_turn().collect()).text
        most = max(most, running.open_leases)
        return text

    began = anyio.current_time()
    found = await run_branches(session, watched, 5, passed=lambda text: False, tokens=250)
    # A turn holds 110 tokens and costs 17: two fit at once, and four in all, then 182 are left for none.
    assert [branch.status for branch in found.branches].count("failed") >= 4
    assert anyio.current_time() - began >= 2
    for branch in found.branches:
        if branch.status == "error":
            assert isinstance(branch.error, lutum.BudgetExceeded)
    assert budget.spent.total_tokens == found.usage.total_tokens <= 250
    assert budget.reserved.total_tokens == 0


async def test_an_amount_that_is_not_there_starts_nothing() -> None:
    """The reservation is refused as a whole; nothing is sent."""
    adapter = FakeAdapter(WHOLE)
    session = lutum.Session(lutum.Lutum(adapter, budget=lutum.Budget(tokens=100)))
    session.push_user("hello")
    with pytest.raises(lutum.BudgetExceeded):
        await run_branches(session, answer, 2, passed=good, tokens=200)
    assert adapter.exchanges == []
    for kwargs in ({"k": 0, "tokens": 1}, {"k": 1}):
        with pytest.raises(lutum.BadValue):
            await run_branches(session, answer, passed=good, **kwargs)


@VIRTUAL
async def test_a_cancel_from_outside_settles_all() -> None:
    """The deadline around it is met; every socket is closed and the amount is back."""
    adapter = FakeAdapter(STALLED)
    budget = lutum.Budget(tokens=10_000)
    session = lutum.Session(lutum.Lutum(adapter, budget=budget))
    session.push_user("hello")
    with anyio.move_on_after(2) as scope:
        await run_branches(session, answer, 4, passed=good, tokens=5_000)
    assert scope.cancelled_caught
    assert budget.reserved.total_tokens == 0
    assert all(
        exchange.closed == pytest.approx(adapter.exchanges[0].closed) for exchange in adapter.exchanges
    )


@VIRTUAL
async def test_a_judge_may_say_who_passed() -> None:
    """`passed` may await; several branches may pass at once, and one is the first."""
    session = lutum.Session(lutum.Lutum(ScriptedAdapter([["right"]] * 4)))
    session.push_user("hello")

    async def judged(text: str) -> bool:
        await anyio.sleep(1)
        return good(text)

    found = await run_branches(session, answer, 4, passed=judged, tokens=9_000, stop_early=False)
    assert found.first in found.branches
    assert found.outcomes == (True,) * 4
    copy = msgspec.structs.replace(found.branches[0], number=9)
    assert isinstance(copy, EvalBranch)


@settings(max_examples=20)
@given(
    seconds=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    passing=st.data(),
)
@VIRTUAL
async def test_spent_and_saved_never_exceed_the_amount(seconds: list[int], passing: st.DataObject) -> None:
    """Whoever passes first, and whenever: what was spent is settled, and with what was saved it is no more
    than was set aside."""
    good_ones = passing.draw(st.sets(st.integers(0, len(seconds) - 1)))
    plays = [(*WHOLE[:-1], Wait(float(pause)), WHOLE[-1]) for pause in seconds]
    adapter = FakeAdapter(*plays) if len(plays) > 1 else FakeAdapter(plays[0])
    budget = lutum.Budget(tokens=2_000)
    session = lutum.Session(lutum.Lutum(adapter, budget=budget))
    session.push_user("hello")
    numbers = iter(range(len(seconds)))

    async def numbered(branch: lutum.Session) -> int:
        number = next(numbers)
        await branch.text_turn().collect()
        return number

    found = await run_branches(
        session, numbered, len(seconds), passed=lambda number: number in good_ones, tokens=1_000
    )
    assert (found.first is None) == (not good_ones)
    assert found.usage.total_tokens + found.saved.total_tokens <= 1_000
    assert budget.spent.total_tokens == found.usage.total_tokens > 0
    assert budget.reserved.total_tokens == 0
    assert all(exchange.closed is not None for exchange in adapter.exchanges)
