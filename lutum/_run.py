"""`lutum.run`: start an event loop, trio by default, and close idle resources when it ends.

Some resources outlive a turn on purpose, such as idle connections. `at_end_of_run` registers callbacks that
close them when the loop ends. In a loop that `lutum.run` did not start, `at_end_of_run` does nothing.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Literal, TypeVar, TypeVarTuple, cast

import anyio
from anyio.lowlevel import RunVar, current_token

from lutum._values.check import describe
from lutum._values.errors import BadValue, UsageError

T = TypeVar("T")
Args = TypeVarTuple("Args")

_CLEANUP_SECONDS = 1.0

# A dict, because it keeps the order of registration. Each key is a new object, so no two keys are equal.
_callbacks: RunVar[dict[object, Callable[[], Awaitable[None]]]] = RunVar("lutum.run callbacks")


def run(
    fn: Callable[[*Args], Awaitable[T]],
    *args: *Args,
    backend: Literal["trio", "asyncio"] = "trio",
) -> T:
    """Run `fn(*args)` in a new event loop and return its value.

    Connections that adapters left idle on this loop are closed before it ends. Ctrl-C raises a plain
    `KeyboardInterrupt`, even if nested task groups put it into an exception group.

    Raises:
      UsageError: an event loop is running in this thread already; write `await fn(...)` there. Or `fn` is
        a coroutine, not the function that makes one.
      BadValue: `fn` is not callable, or `backend` is unknown.
    """
    if inspect.iscoroutine(fn):
        fn.close()
        raise UsageError(f"lutum.run takes the function, not its coroutine: lutum.run({fn.__name__}, ...)")
    if not callable(fn):
        raise BadValue("fn", f"needs an async function, not {describe(fn)}")
    name = getattr(fn, "__name__", "fn")
    if backend not in ("trio", "asyncio"):
        raise BadValue("backend", f"{backend!r} is neither 'trio' nor 'asyncio'")
    if _is_running():
        raise UsageError(f"an event loop is running in this thread already: write `await {name}(...)`")
    try:
        return anyio.run(_main, fn, args, backend=backend)
    except BaseException as error:
        if isinstance(error, BaseExceptionGroup):
            group = cast("BaseExceptionGroup[BaseException]", error)
            if group.split(KeyboardInterrupt)[1] is None:
                raise KeyboardInterrupt from group
        error.__traceback__ = _of_program(error.__traceback__)
        raise


def _of_program(trace: TracebackType | None) -> TracebackType | None:
    """Return the part of a traceback after `_main`: the frames of the program, without those of the loop."""
    found = trace
    while found is not None:
        if found.tb_frame.f_code is _main.__code__:
            return found.tb_next
        found = found.tb_next
    return trace


def at_end_of_run(callback: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """Register a callback that is awaited when the `lutum.run` of this loop ends.

    All callbacks together have 1 s, and are shielded from cancellation. Return a function that removes the
    callback. In a loop that `lutum.run` did not start, nothing is registered.
    """
    callbacks = _callbacks.get(dict[object, Callable[[], Awaitable[None]]]())
    key = object()
    callbacks[key] = callback

    def forget() -> None:
        callbacks.pop(key, None)

    return forget


async def _main(fn: Callable[[*Args], Awaitable[T]], args: tuple[*Args]) -> T:
    callbacks: dict[object, Callable[[], Awaitable[None]]] = {}
    _callbacks.set(callbacks)
    try:
        return await fn(*args)
    finally:
        with anyio.move_on_after(_CLEANUP_SECONDS, shield=True):
            while callbacks:
                with suppress(Exception):  # an error must not replace the value or the exception of fn
                    await callbacks.pop(next(iter(callbacks)))()


def _is_running() -> bool:
    with suppress(RuntimeError):
        current_token()
        return True
    # asyncio also finds the loop in a callback, where no task runs. If asyncio is not loaded, no loop of it
    # runs. It is not imported here, because that is a sixth of the time that `import lutum` takes.
    if (asyncio := sys.modules.get("asyncio")) is not None:
        with suppress(RuntimeError, AttributeError):  # another thread may be loading it
            asyncio.get_running_loop()
            return True
    return False
