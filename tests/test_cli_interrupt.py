"""Ctrl-C in a command cancels the root scope; no `KeyboardInterrupt` is raised inside an event loop."""

from __future__ import annotations

import gc
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import anyio
import anyio.lowlevel
import pytest

import lutum
from lutum.cli import _interrupt
from lutum.testing.wire import NeverEnding, Reply, WireServer
from lutum_claude import ClaudeAdapter

BACKENDS = pytest.mark.parametrize("backend", ["trio", "asyncio"])
Backend = Literal["trio", "asyncio"]


async def endless() -> None:
    """A turn whose answer has no end, at a server in this process."""
    async with (
        WireServer(default=Reply(NeverEnding("more ", 0.001))) as server,
        ClaudeAdapter("m", base_url=server.url, api_key="k") as adapter,
        anyio.create_task_group() as nursery,
    ):
        llm = lutum.Lutum(adapter)
        nursery.start_soon(anyio.sleep_forever)
        async with llm.text_turn("x").max_output_tokens(10**6).stream() as turn:
            async for _ in turn.text():
                pass


@contextmanager
def signal_at_call(number: int) -> Iterator[list[str]]:
    """Raise SIGINT at the n-th Python call, wherever the program is then."""
    calls, where = 0, list[str]()

    def profile(frame: Any, event: str, _: object) -> None:
        nonlocal calls
        if event == "call":
            calls += 1
            if calls == number:
                where.append(f"{frame.f_code.co_filename}:{frame.f_lineno}")
                signal.raise_signal(signal.SIGINT)

    sys.setprofile(profile)
    try:
        yield where
    finally:
        sys.setprofile(None)


@BACKENDS
def test_at_any_moment(backend: Backend) -> None:
    """Beginning, connecting, streaming: each ends with one KeyboardInterrupt outside of the loop."""
    before = signal.getsignal(signal.SIGINT)
    number, places = 40, set[str]()
    while number < 60_000:
        with pytest.raises(KeyboardInterrupt), signal_at_call(number) as where:
            _interrupt.run(endless, backend=backend)
        places.update(where)
        assert signal.getsignal(signal.SIGINT) is before
        number = number * 5 // 4
    gc.collect()  # a coroutine that was never awaited warns, which is an error here
    assert len(places) > 20


@BACKENDS
def test_what_the_program_raises(backend: Backend) -> None:
    """Without Ctrl-C the value and the exception come out; with it, whatever the clean-up raised does not."""

    async def value(x: int) -> int:
        return x

    async def wrong() -> None:
        raise lutum.UsageError("wrong")

    async def wrong_at_the_end() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
            await anyio.sleep_forever()
        finally:
            raise lutum.UsageError("wrong")

    assert _interrupt.run(value, 3, backend=backend) == 3
    with pytest.raises(lutum.UsageError):
        _interrupt.run(wrong, backend=backend)
    with pytest.raises(KeyboardInterrupt):
        _interrupt.run(wrong_at_the_end, backend=backend)


@BACKENDS
def test_only_what_is_named_is_cancelled(backend: Backend) -> None:
    """A chat cancels its turn, also one that was not begun yet, and goes on."""
    interrupts, done = _interrupt.Interrupts(), list[str]()

    async def chat() -> None:
        signal.raise_signal(signal.SIGINT)
        await anyio.lowlevel.checkpoint()
        done.append("before")
        with interrupts.cancelling(anyio.CancelScope()) as scope:
            await anyio.sleep_forever()
        assert scope.cancelled_caught
        await anyio.lowlevel.checkpoint()
        done.append("after")

    interrupts.run(chat, backend=backend)
    assert done == ["before", "after"]


@BACKENDS
def test_where_signals_are_not_ours(backend: Backend) -> None:
    """In another thread, and where SIGINT is ignored, nothing is changed."""

    async def value() -> object:
        return signal.getsignal(signal.SIGINT)

    found = list[object]()
    thread = threading.Thread(target=lambda: found.append(_interrupt.run(value, backend=backend)))
    thread.start()
    thread.join()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert _interrupt.run(value, backend=backend) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(found) == 1
