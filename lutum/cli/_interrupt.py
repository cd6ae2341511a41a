"""Ctrl-C in a command: it cancels a scope of the running event loop, and never raises inside the loop.

A `KeyboardInterrupt` at an unlucky point of an event loop leaves coroutines that were never awaited. While a
loop runs, SIGINT therefore has a handler that schedules a cancellation in the loop.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Literal, TypeVar, TypeVarTuple, final

import anyio
from anyio.lowlevel import current_token

import lutum

T = TypeVar("T")
Args = TypeVarTuple("Args")

IMPATIENCE = 1.0
"""A Ctrl-C that comes more than this number of seconds after the first one ends the program without any
clean-up."""

INTERRUPTED = 130
"""The exit code after Ctrl-C: 128 + SIGINT, as in shells."""


def run(fn: Callable[[*Args], Awaitable[T]], *args: *Args, backend: Literal["trio", "asyncio"] = "trio") -> T:
    """Run `fn(*args)` in a new event loop, which Ctrl-C cancels.

    Raises:
      KeyboardInterrupt: Ctrl-C was pressed. The loop has ended by then.
    """
    interrupts = Interrupts()

    async def whole() -> list[T]:
        found = list[T]()
        with interrupts.cancelling(anyio.CancelScope()):
            found.append(await fn(*args))
        return found

    try:
        found = interrupts.run(whole, backend=backend)
    except BaseException:
        if interrupts.at is not None:  # the cancelled program may raise another error
            raise KeyboardInterrupt from None
        raise
    if interrupts.at is not None or not found:
        raise KeyboardInterrupt
    return found[0]


@final
class Interrupts:
    """The handler of SIGINT during one event loop.

    Attributes:
      at: the time of the first SIGINT; None before it.
    """

    def __init__(self) -> None:
        self.at: float | None = None
        self._cancel_soon: Callable[[], object] | None = None

    def run(
        self,
        fn: Callable[[*Args], Awaitable[T]],
        *args: *Args,
        backend: Literal["trio", "asyncio"] = "trio",
    ) -> T:
        """Run `fn(*args)` in a new event loop. Ctrl-C cancels the scope that `fn` passes to `cancelling`."""
        if threading.current_thread() is not threading.main_thread():  # other threads get no signals
            return lutum.run(fn, *args, backend=backend)
        before = signal.getsignal(signal.SIGINT)
        if before is signal.SIG_IGN:  # a background job of a shell
            return lutum.run(fn, *args, backend=backend)
        # An event loop does not change the handler of SIGINT if it is not Python's own handler.
        signal.signal(signal.SIGINT, self._interrupt)
        try:
            return lutum.run(fn, *args, backend=backend)
        finally:
            signal.signal(signal.SIGINT, before)

    @contextmanager
    def cancelling(self, scope: anyio.CancelScope) -> Generator[anyio.CancelScope]:
        """Enter a scope that Ctrl-C cancels. A Ctrl-C from before the call cancels it too."""
        native: Any = current_token().native_token
        # Both functions may be called from a signal handler, and both wake the loop.
        soon = getattr(native, "run_sync_soon", None) or native.call_soon_threadsafe
        with scope:
            self._cancel_soon = lambda: soon(scope.cancel)
            if self.at is not None:
                scope.cancel()
            try:
                yield scope
            finally:
                self._cancel_soon = None

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.at is None:
            self.at = now
        elif now - self.at > IMPATIENCE:
            os._exit(INTERRUPTED)
        if self._cancel_soon is not None:
            self._cancel_soon()
