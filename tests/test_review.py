"""Faults that a reader of the whole once found; each is a promise somewhere else."""

from __future__ import annotations

import pickle
from typing import Any

import anyio
import pytest

import lutum
from lutum.abc import Prepared
from lutum.testing import CUT, ScriptedAdapter, strategies, virtual_time
from lutum.testing.wire import NeverEnding, Reply, WireServer
from lutum_claude import ClaudeAdapter

assert strategies.__name__ == "lutum.testing.strategies"


@pytest.mark.parametrize("steps", range(12))
@pytest.mark.parametrize("stop", ["leave", "cancel"])
async def test_a_turn_may_end_while_it_connects(steps: int, stop: str) -> None:
    """Leaving and cancelling are quiet at any stage; on trio connecting is a nursery of its own."""
    async with (
        WireServer(default=Reply(NeverEnding("a ", delay=0.001))) as server,
        ClaudeAdapter(model="claude-sonnet-4-5", base_url=server.url) as adapter,
    ):
        llm = lutum.Lutum(adapter)
        async with llm.text_turn("hello").stream() as turn:
            for _ in range(steps):
                await anyio.lowlevel.checkpoint()
            if stop == "cancel":
                turn.cancel_scope.cancel()
                await anyio.lowlevel.checkpoint()
        assert llm.budget.reserved.total_tokens == 0


@pytest.mark.parametrize("tokens", [-1, 1.5, "7"])
def test_an_estimate_is_a_number_of_tokens(tokens: Any) -> None:
    """A negative estimate would make budget out of nothing."""
    with pytest.raises(lutum.BadValue, match=r"estimate\.input_tokens"):
        lutum.Estimate(tokens, 1)


async def test_a_bill_that_never_came_is_not_exact() -> None:
    """A turn that completes without its bill is charged what was counted, labelled so."""
    whole = lutum.CommittedTurn("", "", "", b"")
    unbilled = lutum.Completed("stop", lutum.Usage(known="lower_bound"), whole)
    llm = lutum.Lutum(ScriptedAdapter([["a ", "b ", unbilled]]))
    result = await llm.text_turn("hello").collect()
    assert result.text == "a b "
    assert llm.budget.spent.output_tokens == 2
    assert llm.budget.spent.known == "estimated"


async def test_an_error_stays_what_it_was() -> None:
    """Reading on after an error raises that error again."""
    llm = lutum.Lutum(ScriptedAdapter([[lutum.StructuredDelta("[1"), lutum.StructuredDelta("x]")]]))
    with pytest.raises(lutum.OutputInvalid):
        async with llm.structured_turn(list[int], "hello").stream() as turn:
            with pytest.raises(lutum.OutputInvalid):
                async for _ in turn:
                    pass
            async for _ in turn:
                pass
    with pytest.raises(lutum.OutputInvalid):
        _ = turn.result


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_an_estimator_has_a_deadline(backend: str) -> None:
    """Asking what a turn may cost takes no longer than a first event may."""

    async def never(adapter: Any, prepared: Prepared) -> lutum.Estimate:
        await anyio.sleep_forever()
        raise AssertionError

    async def main() -> None:
        llm = lutum.Lutum(
            ScriptedAdapter([["a", CUT]]), estimate=never, timeout=lutum.Timeouts(first_event=7)
        )
        start = anyio.current_time()
        with pytest.raises(lutum.TurnTimeout) as caught:
            await llm.text_turn("hello").collect()
        assert caught.value.reason == "first_event"
        assert anyio.current_time() - start == pytest.approx(7)

    anyio.run(main, backend=backend, backend_options=virtual_time(backend))


@pytest.mark.parametrize(
    "item",
    [
        lutum.Message("user", (lutum.Text(5),)),
        lutum.Raw("claude", b"{}"),
        lutum.CommittedTurn("a", "s", None, b"{}"),
        lutum.CommittedTurn("a", "s", "m", "{}"),
    ],
    ids=range(4),
)
def test_what_cannot_be_loaded_is_not_dumped(item: Any) -> None:
    """A dump never holds what its own load would refuse."""
    with pytest.raises(lutum.TranscriptError):
        lutum.Transcript([item]).dump()


def test_a_deeply_nested_line_is_refused() -> None:
    """A line nested beyond reason is a line of no transcript."""
    line = b'{"item":' + b"[" * 100_000 + b"]" * 100_000 + b',"digest":""}\n'
    with pytest.raises(lutum.TranscriptError, match="line 2"):
        lutum.Transcript.load(lutum.Transcript().dump() + line)


def test_a_timeout_can_be_pickled() -> None:
    """Errors go through process pools."""
    assert pickle.loads(pickle.dumps(lutum.TurnTimeout("idle", 3.0))).reason == "idle"


def test_a_stream_is_made_outside_a_loop() -> None:
    """Only entering it needs an event loop."""
    assert lutum.Lutum(ScriptedAdapter()).text_turn("hello").stream() is not None


def test_require_needs_tools() -> None:
    """Requiring a call of nothing is a mistake."""
    with pytest.raises(lutum.BadValue, match="require"):
        lutum.Lutum(ScriptedAdapter()).text_turn("hello").require()
