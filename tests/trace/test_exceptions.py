"""The law: a trace records every exception of the block, wherever the block raises it. Time is virtual."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from fakes import STARTED, VIRTUAL, FakeAdapter, Text, Wait, done
from hypothesis import assume, given, strategies as st

import lutum
from lutum import trace

pytestmark = VIRTUAL

PLAY = [STARTED, Wait(1), Text("a"), Text("b")]
ENDS: dict[str, list[Any]] = {
    "completes": [done()],
    "fails": [lutum.ProviderError("no", kind="server", status=500)],
    "is cut": [],
}


class OwnError(Exception):
    """Of the consumer."""


class Fatal(BaseException):
    """Likewise, and no Exception."""


RAISES: list[Callable[[], BaseException] | None] = [
    None,
    OwnError,
    lambda: KeyError("secret"),
    Fatal,
    KeyboardInterrupt,
    GeneratorExit,
    lambda: BaseExceptionGroup("several", [OwnError(), KeyError()]),
    lambda: BaseExceptionGroup("several", [BaseExceptionGroup("inner", [OwnError()]), Fatal()]),
    lambda: lutum.TurnTimeout("idle", 3),
]


@given(
    end=st.sampled_from(list(ENDS)),
    raises=st.sampled_from(RAISES),
    at=st.integers(0, 5),
    catches=st.booleans(),
    wrapped=st.booleans(),
    cancelled=st.booleans(),
)
async def test_every_exception_of_the_block_is_in_the_trace(
    end: str,
    raises: Callable[[], BaseException] | None,
    at: int,
    catches: bool,
    wrapped: bool,
    cancelled: bool,
) -> None:
    """The class that comes out of the block is in its span, as `raised` or as the turn's error.

    `at`: before the first event, at the n-th (`Completed` is one), or behind the last. `catches`: the turn's
    own error is caught before. `wrapped`: a nursery is around the reading. `cancelled`: so is the block.
    """
    # asyncio lets a KeyboardInterrupt of a task out of its loop at once, and so out of the test.
    assume(not (wrapped and raises is KeyboardInterrupt))
    llm = lutum.Lutum(FakeAdapter([*PLAY, *ENDS[end]]))
    out: BaseException | None = None

    # asyncio raises these two out of the event loop, past the block, when a task of a nursery raises them.
    assume(not (wrapped and raises in (KeyboardInterrupt, SystemExit)))

    def here(seen: int) -> None:
        if seen == at and raises is not None:
            raise raises()

    async def read(stream: lutum.Stream) -> None:
        seen = 0
        here(seen)
        try:
            async for _ in stream:
                seen += 1
                here(seen)
        except (lutum.ProviderError, lutum.Interrupted):
            if not catches:
                raise
        while seen < 6:
            seen += 1
            here(seen)

    with anyio.CancelScope() as scope:
        async with trace.capture() as t:
            try:
                async with llm.text_turn("hello").stream() as stream:
                    if cancelled:
                        scope.cancel()
                    if wrapped:
                        async with anyio.create_task_group() as tasks:
                            tasks.start_soon(read, stream)
                    else:
                        await read(stream)
            except anyio.get_cancelled_exc_class():
                raise
            except BaseException as exc:
                out = exc
    found = t.span("turn")
    if out is None:
        assert "raised" not in found.fields
    elif "raised" in found.fields:
        assert found.fields["raised"] == words(out)
        assert found.status == "error"
    else:  # the turn's own error, which is in the span as that
        assert isinstance(out, lutum.TurnError)
        assert found.error == type(out).__name__
        assert out is not raises
    assert "secret" not in str(found.fields)


def words(error: BaseException) -> str:
    if not isinstance(error, BaseExceptionGroup):
        return type(error).__name__
    cancelled = anyio.get_cancelled_exc_class()
    members = sorted(words(one) for one in error.exceptions if not isinstance(one, cancelled))
    return f"{type(error).__name__}({', '.join(members)})"


async def test_an_exception_at_completed() -> None:
    """The turn is complete and its block is not: the trace has both."""
    llm = lutum.Lutum(FakeAdapter([*PLAY, done()]))
    with pytest.raises(KeyError):
        async with trace.capture() as t:
            async with llm.text_turn("hello").stream() as stream:
                async for event in stream:
                    if isinstance(event, lutum.Completed):
                        raise KeyError
    found = t.span("turn")
    assert found.fields["outcome"] == "completed"
    assert found.fields["raised"] == found.error == "KeyError"
    assert "KeyError" in t.render()


BLOCK_ENDS: list[tuple[Callable[[], BaseException] | None, str | None, str]] = [
    (None, None, ""),
    (OwnError, "OwnError", ""),
    (lambda: ValueError("wrong"), "ValueError", "wrong"),
    (Fatal, "Fatal", ""),
    (KeyboardInterrupt, "KeyboardInterrupt", ""),
    (lambda: BaseExceptionGroup("one", [OwnError("a")]), "OwnError", "a"),
    (lambda: lutum.ProviderError("busy", kind="overloaded", status=529), "ProviderError", "busy"),
    (GeneratorExit, None, ""),
]


@pytest.mark.parametrize(("raises", "error", "message"), BLOCK_ENDS, ids=range(len(BLOCK_ENDS)))
@pytest.mark.parametrize("at", ["at once", "in a span", "behind a turn", "in an inner capture"])
async def test_a_capture_shows_what_its_block_raised(
    raises: Callable[[], BaseException] | None, error: str | None, message: str, at: str, tmp_path: Path
) -> None:
    """At any point of the block, in the trace, its picture, its page and its files."""
    file = tmp_path / "t.jsonl"

    async def block() -> None:
        if at == "behind a turn":
            await lutum.Lutum(FakeAdapter([*PLAY, done()])).text_turn("hello").collect()
        if raises is None:
            return
        if at == "in a span":
            with trace.span("own"):
                raise raises()
        if at == "in an inner capture":
            async with trace.capture():
                raise raises()
        raise raises()

    came: BaseException | None = None
    try:
        async with trace.capture(to=file) as t:
            await block()
    except BaseException as exc:
        came = exc
    assert type(came) is type(None if raises is None else raises())
    for found in t, trace.load(t.dump()), trace.load(file.read_bytes()):
        assert (found.error, found.message) == (error, message)
        assert (f"{error} raised" in found.render(120)) is (error is not None)
        if error is not None:
            assert f"! {error}" in found.render(120)
    t.to_html(tmp_path / "t.html")
    assert error is None or error in (tmp_path / "t.html").read_text()


async def test_what_a_block_raised_is_masked() -> None:
    """As in a span: secrets that the trace knows are not in the message."""
    with pytest.raises(ValueError, match="sk-0123456789"):
        async with trace.capture() as t:
            llm = lutum.Lutum(FakeAdapter([*PLAY, done()]))
            await llm.text_turn("hello").collect()
            t.roots[0].hide("sk-0123456789")
            raise ValueError("the key sk-0123456789 is wrong")
    assert t.message == "the key *** is wrong"


async def test_a_cancelled_block_is_no_error() -> None:
    with anyio.move_on_after(1):
        async with trace.capture() as t:
            await anyio.sleep_forever()
    assert t.error is None
