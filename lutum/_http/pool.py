"""The connection pool: a list of idle HTTP/1.1 connections for each event loop.

A request takes the newest idle connection of its origin or opens a new connection. The number of connections
is not limited, because the caller decides how many requests run at once. The pool does not look at every
connection for each request, because this would take quadratic time with many concurrent streams.

A request is never written twice. If a server closes an idle connection at the moment when a request takes it,
the request fails, because it is unknown whether the server has read the request. Three rules make this rare:

- A connection is idle for 30 s at most, or for a shorter time if the server's `Keep-Alive` header says so.
- A connection is checked before it is used.
- If the server closes an idle connection, the pool closes it within a second.
"""

from __future__ import annotations

import sys
import threading
import time
import warnings
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, NamedTuple, final
from weakref import WeakKeyDictionary, ref

import anyio
from anyio.abc import ByteStream
from anyio.lowlevel import current_token

from lutum._backend import is_trio
from lutum._http.connect import connect_tcp
from lutum._http.http_client import Connector as Connector
from lutum._http.socket import TcpStream
from lutum._http.tls import TlsStream, start_tls, tls_context
from lutum._run import at_end_of_run

MAX_IDLE: Final = 256
"""The largest number of idle connections of one adapter and event loop. If there are more, the oldest is
closed."""

IDLE_SECONDS: Final = 30.0
"""The longest time in seconds that an idle connection is kept. Servers and load balancers close idle
connections after 60 s or more."""

SWEEP_SECONDS: Final = 1.0
"""The time in seconds between checks whether the server has closed an idle connection."""

OPENING: Final = 256
"""The largest number of connections to one origin that are opened at the same time on one loop. If thousands
of turns start at once, the others wait, and their connect timeout does not run meanwhile. Without this limit,
the timeout would run while the loop and the kernel are busy."""

CLOSE_SECONDS: Final = 1.0
"""The longest time in seconds to close one connection."""


class Origin(NamedTuple):
    """The destination of a connection. A request can use an idle connection of the same origin."""

    scheme: str
    host: str
    port: int
    through: object = None
    """The proxy, if there is one."""


@final
class Connection:
    """A byte stream to one origin. `receive` and `send` are those of the stream."""

    __slots__ = ("idle_until", "origin", "receive", "send", "settles_in", "stream", "tcp")

    def __init__(self, origin: Origin, stream: ByteStream) -> None:
        self.origin: Origin = origin
        self.idle_until: float = 0.0
        self.stream: ByteStream = stream
        self.tcp: TcpStream | None = stream if isinstance(stream, TcpStream) else None
        self.settles_in: float = stream.settles_in if isinstance(stream, TlsStream) else 0.0
        self.receive: Callable[..., Awaitable[bytes]] = stream.receive
        self.send: Callable[[Any], Awaitable[None]] = stream.send

    async def close(self) -> None:
        """Close the stream, even if cancelled. Errors are ignored."""
        with anyio.move_on_after(CLOSE_SECONDS, shield=True), suppress(Exception):
            await self.stream.aclose()

    def is_quiet(self) -> bool:
        """Return whether the connection can carry another request: it is open and has nothing to read."""
        if self.tcp is None:
            return not getattr(self.stream, "is_closing", False)
        return self.tcp.is_quiet()


async def open_connection(origin: Origin) -> Connection:
    """Open a direct connection, with TLS for https. If this fails or is cancelled, nothing stays open.

    Raises:
      OSError: the connection or the TLS handshake failed.
      BadValue: a certificate variable cannot be used.
    """
    if origin.scheme == "https":
        tls_context()  # raises early, before a connection is opened
    stream = await connect_tcp(origin.host, origin.port)
    if origin.scheme == "https":
        stream = await start_tls(stream, origin.host)
    return Connection(origin, stream)


@final
class IdleConnections:
    """The idle connections of one event loop. A request takes the newest one of its origin."""

    def __init__(self) -> None:
        self.closed: bool = False
        self.forget: Callable[[], None] = at_end_of_run(self.aclose)
        self._idle: list[Connection] = []  # in the order in which they became idle
        self._swept = False
        self._opening: dict[Origin, anyio.Semaphore] = {}

    def opening(self, origin: Origin) -> anyio.Semaphore:
        """Return the semaphore that limits how many connections to `origin` are opened at the same time."""
        found = self._opening.get(origin)
        if found is None:
            found = self._opening[origin] = anyio.Semaphore(OPENING, fast_acquire=True)
        return found

    def __len__(self) -> int:
        return len(self._idle)

    @property
    def descriptors(self) -> int:
        """The number of idle connections with a file descriptor."""
        return sum(connection.tcp is not None for connection in self._idle)

    async def take(self, origin: Origin) -> Connection | None:
        """Return an idle connection that can carry a request; None if there is none. Close connections that
        cannot carry a request."""
        idle = self._idle
        if not idle:
            return None
        now = time.monotonic()
        dropped: list[Connection] = []
        found = None
        for index in range(len(idle) - 1, -1, -1):
            if idle[index].origin == origin:
                found = idle.pop(index)
                if found.idle_until >= now and found.is_quiet():
                    break
                dropped.append(found)
                found = None
        try:
            while dropped:
                await dropped.pop().close()
        except BaseException:
            if found is not None:
                dropped.append(found)
            for connection in dropped:
                await connection.close()
            raise
        return found

    def put(self, connection: Connection, seconds: float | None) -> bool:
        """Keep a connection after its response was read to the end. Return False if the caller must close it.

        Args:
          seconds: how long the server keeps the connection, from its `Keep-Alive` header.
        """
        # One second less than the server's time, because the server began to count earlier.
        keep = IDLE_SECONDS if seconds is None else min(IDLE_SECONDS, seconds - 1)
        if self.closed or keep <= 0:
            return False
        if len(self._idle) >= MAX_IDLE:
            oldest = self._idle[0].tcp
            if oldest is None:
                return False
            del self._idle[0]
            oldest.close_now()
        connection.idle_until = time.monotonic() + keep
        connection.settles_in = 0.0
        self._idle.append(connection)
        if connection.tcp is not None and not self._swept:
            self._swept = True
            _later(self._sweep)
        return True

    def _sweep(self) -> bool:
        """Close idle connections that expired or that the server closed. Return whether any are left."""
        now = time.monotonic()
        watched = False
        for connection in list(self._idle):
            if connection.tcp is None:
                continue
            if self.closed or connection.idle_until < now or not connection.is_quiet():
                self._idle.remove(connection)
                connection.tcp.close_now()
            else:
                watched = True
        self._swept = watched
        return watched

    async def aclose(self) -> None:
        """Close the idle connections. Connections in use are closed at the end of their responses."""
        self.closed = True
        self.forget()
        cancelled: BaseException | None = None
        while self._idle:
            try:
                await self._idle.pop().close()
            except BaseException as exc:  # a native asyncio cancellation, which no scope can shield
                cancelled = exc
        if cancelled is not None:
            raise cancelled


def _later(sweep: Callable[[], bool]) -> None:
    """Call `sweep` every second on the running loop, until it returns False.

    The calls come from a timer on asyncio and from a system task on trio. Both end with the loop, and nothing
    waits for them.
    """
    loop: Any = current_token().native_token
    if not is_trio(loop):

        def again() -> None:
            if sweep():
                loop.call_later(SWEEP_SECONDS, again)

        loop.call_later(SWEEP_SECONDS, again)
        return
    trio: Any = sys.modules["trio"]

    async def task() -> None:
        while True:
            await trio.sleep(SWEEP_SECONDS)
            if not sweep():
                return

    trio.lowlevel.spawn_system_task(task, name="lutum idle connections")


@final
class LoopPool:
    """The `IdleConnections` of each event loop. They are separate, because a socket belongs to one loop."""

    def __init__(self) -> None:
        self._loops: WeakKeyDictionary[Any, IdleConnections] = WeakKeyDictionary()
        self._last: tuple[ref[Any], IdleConnections] | None = None  # faster than the dictionary
        self._lock = threading.Lock()  # loops may run in several threads

    def here(self) -> IdleConnections:
        """Return the idle connections of the running loop."""
        loop = current_token().native_token
        last = self._last
        if last is not None and last[0]() is loop and not last[1].closed:
            return last[1]
        found = self._loops.get(loop)
        if found is None or found.closed:
            with self._lock:
                # An asyncio transport refers to its loop, so the weak dictionary never removes a closed loop.
                for other in list(self._loops):
                    if not is_trio(other) and other.is_closed():
                        del self._loops[other]
                found = self._loops[loop] = IdleConnections()
        self._last = (ref(loop), found)
        return found

    def __len__(self) -> int:
        return sum(map(len, self._loops.values()))

    async def aclose(self) -> None:
        """Close the idle connections of the running loop; the next request opens new ones."""
        with self._lock:
            found = self._loops.pop(current_token().native_token, None)
        if found is not None:
            await found.aclose()

    def __del__(self) -> None:
        left = 0
        for found in self._loops.values():
            found.closed = True  # connections in use are then closed after their responses
            left += found.descriptors
        if left:
            warnings.warn(
                f"{left} idle connection(s) of an adapter were left open: `await adapter.aclose()`, or "
                "`async with` it",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )
