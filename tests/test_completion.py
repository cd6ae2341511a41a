"""Completions: one prompt, one answer, no transcript, on whichever adapter answers them."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec
import pytest

import lutum
from lutum.testing import CUT, Script, ScriptedAdapter
from lutum.testing.wire import Reply, WireServer
from lutum_claude import ClaudeAdapter
from lutum_openai import OpenAIAdapter, OpenAIChatAdapter


class River(msgspec.Struct):
    name: str
    km: int = 0


NILE = '{"name":"Nile","km":6650}'


def script(json: str, finish_reason: str = "stop") -> Script:
    return Script((lutum.StructuredDelta(json),), lutum.Usage(7, 3), finish_reason)


async def test_a_completion_is_a_turn_of_one_message() -> None:
    """The adapter sees one user message and the settings; what comes back holds no turn and no base."""
    adapter = ScriptedAdapter([["Hel", "lo"]])
    llm = lutum.Lutum(adapter, budget=lutum.Budget(tokens=10_000))
    completion = llm.completion("Once upon").temperature(0.5).max_output_tokens(20).seed(1).stop("\n")
    result = await completion.collect()
    assert (result.text, result.finish_reason, result.model) == ("Hello", "stop", "scripted-1")
    assert (result.request_id, len(result.attempts)) == ("scripted-1", 1)
    assert result.usage == result.cumulative_usage == llm.budget.spent
    (request,) = adapter.requests
    assert list(request.transcript) == list(lutum.ModelInput().user("Once upon").transcript)
    assert request.settings.temperature == 0.5
    assert request.settings.stop == ("\n",)
    assert request.tools.choice == "none"
    assert not hasattr(result, "turn")
    assert not hasattr(completion, "tools")
    session = lutum.Session(llm)
    wrong: Any = result
    for commit in (session.commit_text, session.commit_structured):
        with pytest.raises(lutum.UsageError, match="CompletionResult"):
            commit(wrong)
    assert len(session.transcript) == 0


async def test_the_ends_of_a_completion() -> None:
    """It streams, collects with a handler, and shows and estimates itself as a turn does."""
    adapter = ScriptedAdapter([["Hel", "lo"]] * 3)
    completion = lutum.Lutum(adapter).completion("Once upon").max_output_tokens(20)
    async with completion.stream() as stream:
        pieces = [piece async for piece in stream.text()]
    assert (pieces, stream.result.text) == (["Hel", "lo"], "Hello")

    async def stop(event: lutum.Event, view: lutum.View) -> lutum.Stop | None:
        return lutum.STOP if isinstance(event, lutum.TextDelta) else None

    with pytest.raises(lutum.Stopped) as stopped:
        await completion.collect_with(stop)
    assert stopped.value.partial.text == "Hel"
    assert completion.preview().estimate == await completion.estimate()
    assert len(adapter.requests) == 2


@pytest.mark.parametrize("prompt", ["", "  \n"])
def test_a_blank_prompt_is_refused(prompt: str) -> None:
    """By name, and before anything is reserved."""
    llm = lutum.Lutum(ScriptedAdapter())
    with pytest.raises(lutum.BadValue, match=r"^prompt: "):
        llm.completion(prompt)
    with pytest.raises(lutum.BadValue, match=r"^prompt: "):
        llm.structured_completion(River, prompt)


async def test_empty_and_cut_completions_are_results() -> None:
    """An answer without text, or one that ends at the limit, is a result; a cut is an error."""
    adapter = ScriptedAdapter([Script(()), Script(("Hel",), finish_reason="length"), ["Hel", CUT]])
    completion = lutum.Lutum(adapter).completion("Once upon")
    assert (await completion.collect()).text == ""
    assert (await completion.collect()).finish_reason == "length"
    with pytest.raises(lutum.Interrupted) as cut:
        await completion.collect()
    assert cut.value.partial.text == "Hel"


async def test_structured_completions() -> None:
    """A value, a refusal, a value that was cut, none, and one that does not decode: as with a turn."""
    scripts = [
        script(NILE),
        Script((lutum.RefusalDelta("No."),)),
        script(NILE[:-4], "length"),
        script(""),
        script('{"name":7}'),
    ]
    adapter = ScriptedAdapter(scripts)
    llm = lutum.Lutum(adapter, budget=lutum.Budget(tokens=100_000))
    completion = llm.structured_completion(River, "The longest?")
    async with completion.stream() as stream:
        events = [event async for event in stream]
        assert stream.partial_value() == {"name": "Nile", "km": 6650}
    assert lutum.StructuredReady(NILE, River("Nile", 6650)) in events
    assert (stream.result.value, stream.result.refusal) == (River("Nile", 6650), None)
    refused = await completion.collect()
    assert refused.refusal == "No."
    with pytest.raises(lutum.Refused, match=r"No\."):
        _ = refused.value
    with pytest.raises(lutum.OutputLimitExceeded):
        await completion.collect()
    for path in ("$", "$.name"):
        with pytest.raises(lutum.OutputInvalid) as caught:
            await completion.collect()
        assert caught.value.path == path
    assert adapter.requests[0].output == lutum.Lutum(adapter).structured_turn(River, "x")._spec.output
    assert llm.budget.reserved.total_tokens == 0


async def test_completions_may_have_an_adapter_of_their_own() -> None:
    """`completion=` answers them, on the same ledger; turns stay where they are, also within a block."""
    turns, completions = ScriptedAdapter([["turn"]]), ScriptedAdapter([["a"], ["b"]], model="other")
    llm = lutum.Lutum(turns, completion=completions, budget=lutum.Budget(tokens=100_000))
    assert (await llm.completion("x").collect()).model == "other"
    assert (await llm.text_turn("x").collect()).text == "turn"
    async with llm.within(tokens=50_000) as scoped:
        assert (await scoped.completion("x").collect()).text == "b"
        assert scoped.budget.spent.total_tokens == 11
    assert (len(turns.requests), len(completions.requests)) == (1, 2)
    assert llm.budget.spent.total_tokens == 33
    assert llm.adapter is turns


class Bills:
    """A provider that knows what one of its turns was billed."""

    def __init__(self) -> None:
        self.asked = 0

    async def recover_usage(self, response: lutum.Response) -> lutum.Usage:
        self.asked += 1
        return lutum.Usage(99, 1)


async def test_the_recovery_is_not_asked_for_another_providers_bill() -> None:
    """It knows the turns of the Lutum's own adapter, and completions where that one answers them."""
    bills = Bills()
    own = lutum.Lutum(ScriptedAdapter([["a", CUT]]), recovery=bills)
    with pytest.raises(lutum.Interrupted) as caught:
        await own.completion("x").collect()
    assert (bills.asked, caught.value.usage.known) == (1, "recovered")
    other = lutum.Lutum(ScriptedAdapter(), completion=ScriptedAdapter([["a", CUT]]), recovery=bills)
    with pytest.raises(lutum.Interrupted) as caught:
        await other.completion("x").collect()
    assert (bills.asked, caught.value.usage.known) == (1, "estimated")


@pytest.mark.parametrize("dialect", [ClaudeAdapter, OpenAIAdapter, OpenAIChatAdapter])
async def test_every_adapter_answers_completions(dialect: Any) -> None:
    """Providers without a completion side take the prompt as a turn of one user message."""
    server = WireServer([Reply("Nile."), Reply(NILE)])
    async with httpx.AsyncClient(transport=server.transport()) as client:
        model = "claude-sonnet-4-5" if dialect is ClaudeAdapter else "gpt-4o"
        url = server.url + ("/v1" if dialect is OpenAIAdapter else "")
        llm = lutum.Lutum(dialect(model, api_key="k", base_url=url, http_client=client))
        assert (await llm.completion("The longest?").collect()).text == "Nile."
        assert (await llm.structured_completion(River, "The longest?").collect()).value.km == 6650
        assert len(server.requests) == 2
