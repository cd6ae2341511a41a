"""`lutum.run`: the value comes back, mistakes are named, nothing is left open."""

import asyncio
import signal
import sys
import types
from collections.abc import Callable
from typing import Any

import anyio
import msgspec
import pytest
import sniffio

import lutum
from lutum._run import at_end_of_run, run
from lutum.testing import ScriptedAdapter

BACKENDS = ["asyncio", "trio"]


async def double(number: int) -> int:
    await anyio.lowlevel.checkpoint()
    return 2 * number


async def library() -> str:
    return sniffio.current_async_library()


@pytest.mark.parametrize("backend", BACKENDS)
def test_returns_the_value(backend: Any) -> None:
    """The arguments go in and the value comes out, on either backend."""
    assert run(double, 21, backend=backend) == 42
    assert run(library, backend=backend) == backend


def test_trio_is_the_default() -> None:
    """Without `backend=` it is trio that runs."""
    assert run(library) == "trio"


@pytest.mark.parametrize("backend", BACKENDS)
def test_exceptions_come_out_as_they_are(backend: Any) -> None:
    """What fn raises is raised, not a group around it."""
    error = LookupError("x")

    async def fail() -> None:
        raise error

    with pytest.raises(LookupError) as info:
        run(fail, backend=backend)
    assert info.value is error


async def test_inside_a_loop_it_says_await() -> None:
    """In a running loop of either kind it is a UsageError that says what to write."""
    with pytest.raises(lutum.UsageError, match=r"await double\(\.\.\.\)"):
        run(double, 1)


def test_inside_a_callback_of_asyncio_it_says_await() -> None:
    """A loop is running too where no task is."""
    errors: list[BaseException] = []

    def callback() -> None:
        try:
            run(double, 1)
        except lutum.UsageError as exc:
            errors.append(exc)

    async def main() -> None:
        asyncio.get_running_loop().call_soon(callback)
        await asyncio.sleep(0)

    asyncio.run(main())
    assert len(errors) == 1


def test_a_coroutine_is_not_a_function() -> None:
    """`run(main())` is answered with what was meant, and without a warning about the coroutine."""
    with pytest.raises(lutum.UsageError, match=r"lutum\.run\(double"):
        run(double(1))


def test_run_unknown_backend() -> None:
    """A backend that is none names the argument."""
    with pytest.raises(lutum.BadValue) as info:
        run(double, 1, backend="curio")
    assert info.value.field == "backend"


async def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)
    await anyio.sleep_forever()


async def interrupt_in_a_group() -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep_forever)
        await interrupt()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("fn", [interrupt, interrupt_in_a_group])
def test_keyboard_interrupt_is_itself(backend: Any, fn: Callable[[], Any]) -> None:
    """Ctrl-C comes out as KeyboardInterrupt, also where task groups are open."""
    with pytest.raises(KeyboardInterrupt):
        run(fn, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_other_groups_are_kept(backend: Any) -> None:
    """A group that holds more than KeyboardInterrupt is not touched."""

    async def fail() -> None:
        raise BaseExceptionGroup("both", [KeyboardInterrupt(), ValueError()])

    with pytest.raises(BaseExceptionGroup):
        run(fail, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("fails", [False, True])
def test_callbacks_run_at_the_end(backend: Any, fails: bool) -> None:
    """Every callback is awaited once, in the loop it was registered in; one taken back is not."""
    ran: list[str] = []

    async def callback(name: str) -> None:
        await anyio.lowlevel.checkpoint()
        ran.append(name)

    async def main() -> None:
        at_end_of_run(lambda: callback("first"))
        forget = at_end_of_run(lambda: callback("taken back"))
        at_end_of_run(lambda: callback("second"))
        forget()
        forget()
        assert not ran
        if fails:
            raise LookupError

    if fails:
        with pytest.raises(LookupError):
            run(main, backend=backend)
    else:
        run(main, backend=backend)
    assert ran == ["first", "second"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_callback_that_fails_does_not_stop_the_others(backend: Any) -> None:
    """Cleaning up goes on after an error, and the value still comes back."""
    ran: list[int] = []

    async def fail() -> None:
        raise OSError

    async def callback() -> None:
        ran.append(1)

    async def main() -> int:
        at_end_of_run(fail)
        at_end_of_run(callback)
        return 1

    assert run(main, backend=backend) == 1
    assert ran == [1]


async def test_elsewhere_nothing_is_kept() -> None:
    """In a loop that somebody else started a callback is not kept; taking it back is harmless."""

    async def callback() -> None:
        raise AssertionError

    at_end_of_run(callback)()
    at_end_of_run(callback)


# Another thread may be in the middle of the first import of a module.


class HalfImported(types.ModuleType):
    """A module whose names are not there yet."""


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("name", ["trio", "pydantic"])
async def test_a_turn_while_another_thread_imports(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It needs nothing of the backend that does not run here, nor of a library that its types do not use."""
    monkeypatch.setitem(sys.modules, name, HalfImported(name))
    llm = lutum.Lutum(ScriptedAdapter([["x"], ['{"a":1}']]))
    assert (await llm.text_turn("hello").collect()).text == "x"

    class Answer(msgspec.Struct):
        a: int

    class Fresh(msgspec.Struct):
        inner: Answer | None = None

    assert llm.structured_turn(Fresh, "hello").preview().body


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_a_tool_on_trio_while_another_thread_imports_asyncio(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancelled tool asks nothing of asyncio; `lutum.run` says that a loop is running."""
    monkeypatch.setitem(sys.modules, "asyncio", HalfImported("asyncio"))
    with pytest.raises(lutum.UsageError, match="event loop is running"):
        lutum.run(anyio.lowlevel.checkpoint)
