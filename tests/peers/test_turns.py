"""Turns at servers that nobody here wrote: answered, left early, stopped, many at once."""

import anyio
import pytest

import lutum

MANY = 50


async def test_a_conversation_in_peers(llm: lutum.Lutum) -> None:
    """Turns are streamed, committed and go back exactly; each request only adds to the one before."""
    session = lutum.Session(llm)
    session.push_system("Be brief.")
    for question in ("One?", "Two?", "Three?"):
        session.push_user(question)
        turn = session.text_turn().max_output_tokens(24)
        preview = turn.preview()
        assert preview.first_difference is None
        assert all(form.exact for form in preview.forms)
        pieces = list[str]()
        async with turn.stream() as stream:
            async for text in stream.text():
                pieces.append(text)
        result = stream.result
        assert "".join(pieces) == result.text
        assert len(pieces) > 1
        assert result.turn.exact, result.turn.inexact_reason
        assert result.usage.output_tokens > 0
        assert result.usage.input_tokens > 0
        session.commit_text(result)
    assert [type(item) for item in session.transcript].count(lutum.CommittedTurn) == 3
    assert llm.budget.reserved.total_tokens == 0


async def test_reports_usage(llm: lutum.Lutum) -> None:
    """The provider's own figure is the usage of the turn."""
    result = await llm.text_turn("Hello?").max_output_tokens(16).collect()
    if result.usage.known != "exact":
        pytest.skip(f"lacks usage: {result.usage}")
    assert result.usage.output_tokens == 16


async def test_the_end_is_the_limit(llm: lutum.Lutum) -> None:
    """An answer that was cut at its limit says so."""
    result = await llm.text_turn("Hello?").max_output_tokens(16).collect()
    if result.finish_reason != "length":
        pytest.skip(f"lacks the reason: {result.finish_reason!r} at the limit")


async def test_leaving(llm: lutum.Lutum) -> None:
    """Left at its first word, a turn is paid for and has no result, and the server answers the next."""
    async with llm.text_turn("Hello?").max_output_tokens(1_000).stream() as turn:
        async for _ in turn.text():
            break
    with pytest.raises(lutum.TurnNotFinished):
        _ = turn.result
    assert turn.partial.text
    assert turn.usage.output_tokens >= 1
    assert turn.usage.known in ("estimated", "lower_bound")
    assert llm.budget.reserved.total_tokens == 0
    assert llm.budget.spent.total_tokens == turn.usage.total_tokens
    await llm.text_turn("Still there?").max_output_tokens(8).collect()


async def test_stopping(llm: lutum.Lutum) -> None:
    """A turn's own scope, cancelled from another task, ends its block quietly."""
    begun = anyio.Event()

    async def stop() -> None:
        await begun.wait()
        turn.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        turn = llm.text_turn("Hello?").max_output_tokens(1_000).stream()
        async with turn:
            tasks.start_soon(stop)
            async for _ in turn.text():
                begun.set()
    assert turn.cancel_scope.cancelled_caught
    assert turn.partial.text
    assert llm.budget.reserved.total_tokens == 0
    await llm.text_turn("Still there?").max_output_tokens(8).collect()


async def test_fifty_at_once(llm: lutum.Lutum) -> None:
    """Fifty turns on one budget and one adapter, every third left early: none is lost, all are settled."""
    results, left = list[lutum.TextResult](), list[lutum.Usage]()

    async def one(number: int) -> None:
        early = number % 3 == 0
        async with llm.text_turn(f"Number {number}?").max_output_tokens(12).stream() as turn:
            async for event in turn:
                if early and isinstance(event, lutum.TextDelta):
                    break
        if early:
            left.append(turn.usage)
        else:
            results.append(turn.result)

    with anyio.fail_after(300):
        async with anyio.create_task_group() as tasks:
            for number in range(MANY):
                tasks.start_soon(one, number)
    assert len(results) + len(left) == MANY
    assert llm.budget.reserved.total_tokens == 0
    settled = [*left, *(result.usage for result in results)]
    assert llm.budget.spent.total_tokens == sum(usage.total_tokens for usage in settled)
    assert all(usage.total_tokens > 0 for usage in settled)


async def test_a_refusal(llm: lutum.Lutum) -> None:
    """A model that the server does not have is an error with the server's words, and costs nothing."""
    turn = llm.text_turn("Hello?").model("no-such-model").max_output_tokens(8)
    refused: lutum.ProviderError | None = None
    try:
        await turn.collect()
    except lutum.ProviderError as error:
        refused = error
    if refused is None:
        pytest.skip("lacks it: answers for any model")
    assert refused.status is not None
    assert str(refused)
    assert llm.budget.spent.total_tokens == 0
