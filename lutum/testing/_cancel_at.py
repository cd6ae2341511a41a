"""Cancellation at the k-th step of a coroutine and of the tasks that it starts, on both backends.

trio reports the steps of tasks to an instrument. asyncio has no instruments, so a task factory wraps the
coroutines of new tasks. Instruments and task factories are public interfaces; nothing is patched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import anyio
from anyio.lowlevel import current_token

T = TypeVar("T")


async def cancel_at(coro: Coroutine[Any, Any, T], k: int) -> tuple[bool, T | None]:
    """Run `coro`, and cancel it at the k-th step, counted from 1.

    The steps of `coro` and of the tasks that it starts are counted together. A step ends when a task returns
    control to the event loop, or when the task ends. On asyncio, callbacks that the loop runs between two
    steps are not counted.

    Returns whether the cancellation was requested, and the value of the coroutine. The value is None if the
    cancellation ended the coroutine. An exception of `coro` propagates unchanged.

    To test a cancellation at every step, call `cancel_at` with k = 1, 2, ... until the first returned value
    is False.

    This is a checkpoint only if it has to wait.
    """
    value: T | None = None
    scope = anyio.CancelScope()
    steps = _Steps(k, scope)
    with scope:
        token = _counter.set(steps)
        try:
            with _watched() as own:
                value = await (_Counted(coro, steps) if own else coro)
        finally:
            _counter.reset(token)
    return steps.requested, value


class _Steps:
    """A counter of steps that cancels once."""

    def __init__(self, k: int, scope: anyio.CancelScope) -> None:
        self.left = k
        self.scope = scope
        self.requested = False

    def step(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.requested = True
            self.scope.cancel()


# The counter of the current task. A new task inherits the counter of the task that started it.
_counter: ContextVar[_Steps | None] = ContextVar("lutum.testing.cancel_at", default=None)

# For each loop, by its token: the number of `cancel_at` calls that watch it.
_watching: WeakKeyDictionary[Any, int] = WeakKeyDictionary()


@contextmanager
def _watched() -> Generator[bool]:
    """Count the steps of this loop's tasks. Yields True if the caller must wrap its own coroutine."""
    loop: Any = current_token().native_token
    start, end, own = _on_trio() if type(loop).__module__.startswith("trio") else _on_asyncio(loop)
    if loop not in _watching:
        start()
    _watching[loop] = _watching.get(loop, 0) + 1
    try:
        yield own
    finally:
        _watching[loop] -= 1
        if not _watching[loop]:
            del _watching[loop]
            end()


def _on_trio() -> tuple[Any, Any, bool]:
    import trio

    class Watch(trio.abc.Instrument):
        def after_task_step(self, task: trio.lowlevel.Task) -> None:
            steps = task.context.get(_counter)
            if steps is not None:
                steps.step()

    def end() -> None:
        trio.lowlevel.remove_instrument(_instruments.pop(trio.lowlevel.current_trio_token()))

    def start() -> None:
        watch = _instruments[trio.lowlevel.current_trio_token()] = Watch()
        trio.lowlevel.add_instrument(watch)

    return start, end, False


_instruments: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


def _on_asyncio(loop: asyncio.AbstractEventLoop) -> tuple[Any, Any, bool]:
    def start() -> None:
        before = _factories[loop] = loop.get_task_factory()

        def factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
            steps = _counter.get()
            counted = coro if steps is None else _Counted(coro, steps)
            if before is not None:
                return before(loop, counted, **options)
            return asyncio.Task(counted, loop=loop, **options)

        loop.set_task_factory(factory)

    def end() -> None:
        loop.set_task_factory(_factories.pop(loop))

    return start, end, True


_factories: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


class _Counted(Coroutine[Any, Any, T]):
    """A coroutine whose steps are counted. All other attributes come from the inner coroutine."""

    def __init__(self, inner: Coroutine[Any, Any, T], steps: _Steps) -> None:
        self._inner = inner
        self._steps = steps

    def send(self, value: Any) -> Any:
        try:
            return self._inner.send(value)
        finally:
            self._steps.step()

    def throw(self, *exc: Any) -> Any:
        try:
            return self._inner.throw(*exc)
        finally:
            self._steps.step()

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, T]:
        return _Main(self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _Main(Generator[Any, Any, T]):
    """The awaiter of the coroutine that `cancel_at` runs.

    The last step of the coroutine is not counted, because the caller's task continues in the same step.
    """

    def __init__(self, counted: _Counted[T]) -> None:
        self._counted = counted

    def send(self, value: Any) -> Any:
        trap = self._counted._inner.send(value)
        self._counted._steps.step()
        return trap

    def throw(self, *exc: Any) -> Any:
        trap = self._counted._inner.throw(*exc)
        self._counted._steps.step()
        return trap

    def close(self) -> None:
        self._counted.close()
