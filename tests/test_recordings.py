"""Recordings of programs whose turns overlap: they replay with equal requests and events in any schedule."""

from pathlib import Path
from typing import Any

import anyio
import pytest
from fakes import VIRTUAL

import lutum
from lutum.testing import RecordingAdapter, ReplayAdapter, ScriptedAdapter, dump_logs, load_logs
from lutum.testing._recording import FrameLog


def echo(request: Any) -> list[str]:
    """Answers in as many pieces as there are words."""
    return [f"{word} " for word in request.transcript[-1].text.split()]


async def program(llm: lutum.Lutum) -> dict[str, list[lutum.Event]]:
    """Six turns at once; two of them send equal requests and are told apart by their labels."""
    seen: dict[str, list[lutum.Event]] = {}

    async def ask(label: str, words: str) -> None:
        async with llm.text_turn(words).label(label).stream() as turn:
            seen[label] = [event async for event in turn]

    async with anyio.create_task_group() as group:
        for label, words in [
            ("a", "one"),
            ("b", "two words"),
            ("c", "same"),
            ("d", "same"),
            ("e/1", "x y z"),
        ]:
            group.start_soon(ask, label, words)
    return seen


def plain(seen: dict[str, list[lutum.Event]]) -> dict[str, list[lutum.Event]]:
    return dict(sorted(seen.items()))


@VIRTUAL
async def test_any_schedule() -> None:
    recorder = RecordingAdapter(ScriptedAdapter(echo))
    live = plain(await program(lutum.Lutum(recorder)))
    for seed in range(200):
        replay = ReplayAdapter(ScriptedAdapter(), recorder.logs, delays=seed)
        assert plain(await program(lutum.Lutum(replay))) == live
        assert replay.unused == []


async def test_equal_requests_in_a_row_take_their_answers_in_order() -> None:
    recorder = RecordingAdapter(ScriptedAdapter([["one"], ["two"]]))
    for _ in range(2):
        await lutum.Lutum(recorder).text_turn("q").collect()
    llm = lutum.Lutum(ReplayAdapter(ScriptedAdapter(), recorder.logs))
    assert [(await llm.text_turn("q").collect()).text for _ in range(2)] == ["one", "two"]


async def test_a_mismatch_names_label_and_path() -> None:
    recorder = RecordingAdapter(ScriptedAdapter([["one"]]))
    await lutum.Lutum(recorder).text_turn("q").label("node/1").collect()
    replay = ReplayAdapter(ScriptedAdapter(), recorder.logs)
    llm = lutum.Lutum(replay)
    with pytest.raises(
        LookupError, match=r"turn 'node/1' differs from the recorded one at \$\.content\[0\]\.text"
    ):
        await llm.text_turn("other").label("node/1").collect()
    with pytest.raises(LookupError, match="no frame log is left for turn 'node/2'"):
        await llm.text_turn("q").label("node/2").collect()
    with pytest.raises(LookupError, match="no frame log is left for a turn without a label"):
        await llm.text_turn("q").collect()
    assert replay.unused == recorder.logs


@VIRTUAL
async def test_errors_and_retries_replay() -> None:
    """The retried request, its error, its pause and the answer are what they were."""
    busy = lutum.ProviderError(
        "busy", kind="overloaded", status=529, type="overloaded_error", retry_after=2.0
    )
    broken = lutum.Interrupted("the connection broke")
    recorder = RecordingAdapter(
        ScriptedAdapter([[busy], [lutum.NetworkError("no route")], ["ok"], ["x", broken]])
    )

    async def turns(llm: lutum.Lutum) -> list[Any]:
        seen: list[Any] = []
        async with llm.text_turn("q").retry(lutum.RetryPolicy(chance=lambda: 0.5)).stream() as turn:
            seen += [event async for event in turn]
        with pytest.raises(lutum.Interrupted, match="the connection broke") as caught:
            await llm.text_turn("r").collect()
        return [*seen, caught.value.partial.text]

    live = await turns(lutum.Lutum(recorder))
    assert isinstance(live[0], lutum.WillRetry)
    assert live[0].after == 2.0
    replay = ReplayAdapter(ScriptedAdapter(), recorder.logs)
    assert await turns(lutum.Lutum(replay)) == live
    assert replay.unused == []


async def test_files_and_old_logs(tmp_path: Path) -> None:
    recorder = RecordingAdapter(ScriptedAdapter([["one"]]))
    await lutum.Lutum(recorder).text_turn("q").label("a").collect()
    dump_logs(recorder.logs, tmp_path / "logs")
    assert load_logs(tmp_path / "logs") == recorder.logs
    log = recorder.logs[0]
    old = FrameLog(log.body, log.frames, log.ended)  # as written before logs had labels
    dump_logs([old], tmp_path / "old")
    llm = lutum.Lutum(ReplayAdapter(ScriptedAdapter(), load_logs(tmp_path / "old")))
    assert (await llm.text_turn("q").collect()).text == "one"


async def test_scripts_by_request() -> None:
    """Each request gets its own answer, whatever the order in which they arrive."""
    llm = lutum.Lutum(ScriptedAdapter(echo))
    got: dict[int, str] = {}

    async def ask(number: int) -> None:
        got[number] = (await llm.text_turn(f"item {number}").collect()).text

    async with anyio.create_task_group() as group:
        for number in range(8):
            group.start_soon(ask, number)
    assert got == {number: f"item {number} " for number in range(8)}
