"""The searches in examples/search: recorded once, and the same in any schedule of their turns."""

from __future__ import annotations

import ast
import importlib
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from example_files import FOLDER
from fakes import VIRTUAL

import lutum
from lutum import trace
from lutum.testing import RecordingAdapter, ReplayAdapter
from lutum.testing._recording import FrameLog

SCHEDULES = int(os.environ.get("LUTUM_SCHEDULES", "30"))

SHOWS = {
    "best_of_n": "for (\\d+) s\nbranch",
    "self_consistency": "122 [5 of 7 votes]\nbranch",
    "beam_search": "level 0: kept ['0', '2'] of 3\nlevel 1: kept ['00', '01'] of 6\n"
    "level 2: kept ['000', '001'] of 6\n8 / 8 = 1; 7 - 1 = 6; 4 * 6 = 24, done\nbranch",
    "tree_search": "16 visits: the opera; a sauna; a boat\nbranch",
    "debate": "1. tenant: Clause 3 makes the lessor repair it.\n1. lessor: Who breaks a lamp pays for it.\n",
}
"""What each search prints first."""

CANCELLED = {"best_of_n": 3, "self_consistency": 2}
"""How many branches are cancelled when the search is decided."""

CACHED = {"best_of_n": (1, 5), "self_consistency": (1, 8)}
"""Branches that write the shared prefix to the prompt cache, and branches that read it."""


@contextmanager
def search(name: str) -> Iterator[Any]:
    """The module of a search, loaded anew."""
    sys.path.insert(0, str(FOLDER))
    try:
        sys.modules.pop(f"search.{name}", None)
        yield importlib.import_module(f"search.{name}")
    finally:
        sys.path.remove(str(FOLDER))


async def recorded(
    module: Any, capsys: pytest.CaptureFixture[str]
) -> tuple[list[FrameLog], str, trace.Trace, lutum.Lutum]:
    """Run a search on its scripted provider; what was recorded, printed, traced and spent."""
    from _provider import boundary, offline

    async with offline(module.REPLIES) as adapter:
        recorder = RecordingAdapter(adapter)
        llm = boundary(recorder)
        async with trace.capture() as seen:
            await module.main(llm)
    return recorder.logs, capsys.readouterr().out, seen, llm


@VIRTUAL
@pytest.mark.parametrize("name", SHOWS)
async def test_a_search_runs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It prints its answer and its bill; losers are cancelled and settled, and every turn has a label."""
    with search(name) as module:
        logs, shown, seen, llm = await recorded(module, capsys)
    assert shown.startswith(SHOWS[name])
    assert llm.budget.reserved.total_tokens == 0
    bill = seen.bill()
    assert all(one.label for one in bill.branches)
    assert all(log.label for log in logs)
    assert bill.total.input_tokens + bill.total.output_tokens == llm.budget.spent.total_tokens
    assert bill.total.cost_usd == llm.budget.spent.cost_usd
    assert bill.total.cancelled == CANCELLED.get(name, 0)
    assert re.search(rf"^total +{bill.total.turns}\b", shown, re.MULTILINE)
    if name in CACHED:
        writes, reads = CACHED[name]
        assert sum(one.cache_write_tokens > 0 for one in bill.branches) == writes
        assert sum(one.cache_read_tokens > 0 for one in bill.branches) == reads
        assert bill.total.saved_usd is not None
        assert bill.total.saved_usd > 0


def decision(shown: str) -> str:
    """What a search printed before its bill. A stopped branch may be billed for another number of words."""
    return shown.partition("branch ")[0]


@VIRTUAL
@pytest.mark.parametrize(
    "seeds", [range(5), pytest.param(range(5, SCHEDULES), marks=pytest.mark.slow)], ids=["few", "all"]
)
@pytest.mark.parametrize("name", SHOWS)
async def test_a_search_replays_in_any_schedule(
    name: str, seeds: range, capsys: pytest.CaptureFixture[str]
) -> None:
    """Equal requests, equal events, equal answer, in random schedules: `nox -s nightly` plays 200."""
    from lutum.testing.wire import WireServer

    with search(name) as module:
        logs, shown, *_ = await recorded(module, capsys)
        from _provider import boundary, offline

        async with offline(WireServer()) as adapter:
            for seed in seeds:
                replay = ReplayAdapter(adapter, logs, delays=seed)
                again = RecordingAdapter(replay)
                await module.main(boundary(again))
                assert decision(capsys.readouterr().out) == decision(shown)
                assert replay.unused == []  # each recorded request was sent again, byte for byte
                check_events(again.logs, logs)


def check_events(played: list[FrameLog], recorded: list[FrameLog]) -> None:
    """Turns that ended give equal events; a stopped one gives the first of them, or all."""
    found = {(log.label, log.body): log for log in played}
    assert len(found) == len(played) == len(recorded)
    for log in recorded:
        events = found[log.label, log.body].events
        assert events == (log.events if log.ended else log.events[: len(events)])


@pytest.mark.parametrize("name", SHOWS)
def test_a_search_is_short(name: str) -> None:
    """Under 80 lines of code, with what runs it offline."""
    text = (FOLDER / "search" / f"{name}.py").read_text("utf-8")
    assert len([line for line in text.splitlines() if line.strip()]) < 80
    says = " ".join((ast.get_docstring(ast.parse(text)) or "").split())
    assert "Copy it" in says
    listing = (FOLDER / "README.md").read_text("utf-8")
    assert f"- [`search/{name}.py`](search/{name}.py): {says}\n" in listing


def test_every_search_is_run() -> None:
    """A new file needs an entry above."""
    assert {path.stem for path in (FOLDER / "search").glob("[a-z]*.py")} == SHOWS.keys()


@VIRTUAL
async def test_a_search_goes_as_far_as_every_budget_around_it(capsys: pytest.CaptureFixture[str]) -> None:
    """`available` is the smallest remainder of the chain at each expansion, not that of the search alone."""
    with search("tree_search") as module:
        from _provider import boundary, offline

        for around, visits in ((100_000, 16), (4_000, 6), (3_000, 2), (2_000, 0)):
            async with offline(module.REPLIES) as adapter, boundary(adapter).within(tokens=around) as outer:
                await module.main(outer)
                assert outer.budget.spent.total_tokens <= around
            assert capsys.readouterr().out.startswith(f"{visits} visits: ")
