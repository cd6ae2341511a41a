"""One connection to an MCP server. A separate task keeps it open.

When an HTTP server goes away, the task groups in the official client end with an exception group. In the
caller's task this would cancel the caller's block. In the separate task it ends only that task.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TextIO, TypeVar, cast, final

import anyio
from anyio import get_cancelled_exc_class
from mcp import Client, MCPError

from lutum._values.errors import LutumError, ToolError

T = TypeVar("T")

# The most seconds that the end of a connection may take.
ENDING = 5.0

# Seconds to wait for the last output of a command that has ended.
LAST_WORDS = 0.5

_CONNECTION_CLOSED = -32000


class ConnectionFailed(LutumError):
    """The server could not be started or reached, or its answer did not follow the MCP protocol."""

    whose: str = "the MCP server, or the command or URL that names it"
    advice: str = (
        "check that the command starts in a shell, or that the URL answers; give connect(timeout=) more"
        " seconds if the server is slow; `await server.reconnect()` tries again within the block"
    )


class Words(Protocol):
    """A stream that receives a command's standard error."""

    def write(self, text: str, /) -> object: ...


@final
class StandardError:
    """A pipe for the standard error of a command. It forwards all lines and keeps the last lines."""

    def __init__(self, target: Words | None) -> None:
        read, write = os.pipe()
        self.file: TextIO = os.fdopen(write, "w")
        self._last = deque[str](maxlen=20)
        self._target = target
        self._thread = threading.Thread(target=self._pump, args=(read,), daemon=True)
        self._thread.start()

    def _pump(self, read: int) -> None:
        with os.fdopen(read, errors="replace") as lines:
            for line in lines:
                self._last.append(line[:500])
                if self._target is not None:
                    try:
                        self._target.write(line)
                    except (OSError, ValueError):  # closed meanwhile
                        self._target = None

    def release(self) -> None:
        """Close the write end in this process. The command has its own copy."""
        self.file.close()

    async def last_words(self) -> str:
        """Return the last lines that the command wrote. If cancelled, it can be called again."""
        self.release()
        await anyio.to_thread.run_sync(self._thread.join, LAST_WORDS, abandon_on_cancel=True)
        return "".join(self._last).strip()[-2000:]


@final
class McpConnection:
    """A connected client. `hold` keeps the connection open until `end` is called.

    If the connection is lost before that, `lost` contains the reason.
    """

    def __init__(self, client: Client, errors: StandardError | None, name: str) -> None:
        self.client = client
        self.name = name
        self.lost: BaseException | None = None
        self.words = ""
        self._errors = errors
        self._connected = False
        self._begun = anyio.Event()
        self._ended = anyio.Event()
        self._stop = anyio.Event()
        self._scope = anyio.CancelScope()
        self._running = set[anyio.CancelScope]()

    async def hold(self) -> None:
        """Connect, and stay connected until `end`. Store an error in `lost`. Cancellation propagates."""
        try:
            with self._scope:
                async with self.client:
                    self._connected = True
                    if self._errors is not None:
                        self._errors.release()
                    self._begun.set()
                    await self._stop.wait()
        except get_cancelled_exc_class():
            raise
        except BaseExceptionGroup as group:  # from the client's task groups
            _, rest = group.split(get_cancelled_exc_class())
            if not isinstance(rest, ExceptionGroup):
                raise
            self.lost = _first(cast("ExceptionGroup[Exception]", rest))
        except Exception as exc:
            self.lost = exc
        finally:
            with anyio.CancelScope(shield=True):
                if self._errors is not None:
                    self.words = await self._errors.last_words()
            self._begun.set()
            self._ended.set()
            for scope in self._running:
                scope.cancel()

    async def connect(self, seconds: float | None) -> None:
        """Wait until the client is connected. If connecting fails or is cancelled, end the connection.

        Raises:
          ConnectionFailed: the client did not connect.
        """
        try:
            with anyio.move_on_after(seconds):
                await self._begun.wait()
        finally:
            if not self._connected:
                await self.end()
        if self._connected:
            return
        why = f"{type(self.lost).__name__}: {self.lost}"
        if self.lost is None:
            why = f"the server did not answer within {seconds:g} s"
        raise ConnectionFailed(f"mcp: server {self.name!r}: {why}{self.said()}") from self.lost

    async def end(self) -> None:
        """Disconnect. After 5 s, or if cancelled, close the connection by force."""
        self._stop.set()
        if not self._connected:
            self._scope.cancel()
        try:
            with anyio.move_on_after(ENDING):
                await self._ended.wait()
        finally:
            self._scope.cancel()
        with anyio.move_on_after(ENDING, shield=True):
            await self._ended.wait()

    def said(self) -> str:
        """Return the end of the command's standard error, as a clause for an error message."""
        return f"; its last words: {self.words}" if self.words else ""

    async def ask(self, call: Callable[[], Awaitable[T]], seconds: float | None = None) -> T:
        """Run a call of the client and return its result.

        Raises:
          ToolError: the connection was lost, or the server returned an error or did not answer.
        """
        if not self._ended.is_set():
            scope, bound = anyio.CancelScope(), anyio.move_on_after(seconds)
            self._running.add(scope)
            try:
                with bound, scope:
                    return await call()
            except MCPError as exc:
                if exc.code != _CONNECTION_CLOSED:
                    raise ToolError(f"the MCP server answered with an error: {exc}") from exc
                raise ToolError(f"the MCP server did not answer: {exc}{self.said()}") from exc
            except (anyio.ClosedResourceError, anyio.BrokenResourceError, anyio.EndOfStream) as exc:
                self.lost = self.lost or exc
            finally:
                self._running.discard(scope)
            if bound.cancelled_caught:
                raise ToolError(f"the MCP server {self.name!r} did not answer within {seconds:g} s")
        why = "the connection has ended" if self.lost is None else f"{type(self.lost).__name__}: {self.lost}"
        raise ToolError(
            f"the MCP server did not answer, its connection is lost ({why}){self.said()};"
            " `await server.reconnect()` makes another one"
        ) from self.lost


def _first(group: BaseExceptionGroup[Exception]) -> Exception:
    member = group.exceptions[0]
    return _first(member) if isinstance(member, BaseExceptionGroup) else member


def default_words() -> Any:
    """Return the default stream for a command's standard error: the current `sys.stderr` of this process."""
    return sys.stderr
