"""Connections: a list of idle ones for each event loop, HTTP/1.1 only.

A request takes the newest idle connection of its origin or opens one. There is no limit to wait for, because
the caller decides how much runs at once, and because a pool that looks at every connection for each request
is quadratic in concurrent streams.

A written request is never written again. If a server closes an idle connection at the very moment it is
taken, the request fails, because nobody can know whether it was read. Three rules make that rare: a
connection is idle for 30 s at most (or as long as the server's `Keep-Alive` header allows), it is checked
before it is used, and idle connections that the server closed are closed here within a second.
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
"""Idle connections kept for one adapter and event loop; a burst of more closes the oldest."""

IDLE_SECONDS: Final = 30.0
"""How long an idle connection is kept; servers and load balancers close theirs after 60 s or more."""

SWEEP_SECONDS: Final = 1.0
"""How often idle connections are checked for an end that the server made."""

OPENING: Final = 256
"""Connections to one origin that are opened at the same time on one loop. If thousands of turns start at
once, the others wait here, where no connect timeout runs, and not for a busy loop or kernel."""

CLOSE_SECONDS: Final = 1.0
"""How long closing one connection may take."""


class Origin(NamedTuple):
    """What an idle connection must have been opened to in order to serve a request."""

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
        """Close the stream, also if cancelled, and never raise for how it went."""
        with anyio.move_on_after(CLOSE_SECONDS, shield=True), suppress(Exception):
            await self.stream.aclose()

    def is_quiet(self) -> bool:
        """Return whether it can carry another request: it is open, and nothing has arrived."""
        if self.tcp is None:
            return not getattr(self.stream, "is_closing", False)
        return self.tcp.is_quiet()


async def open_connection(origin: Origin) -> Connection:
    """Open a direct connection, with TLS for https. Cancelled, or when it fails, nothing of it is left.

    Raises:
      OSError: no connection, or no TLS over it.
      BadValue: a certificate variable cannot be used.
    """
    if origin.scheme == "https":
        tls_context()  # before a connection is opened for nothing
    stream = await connect_tcp(origin.host, origin.port)
    if origin.scheme == "https":
        stream = await start_tls(stream, origin.host)
    return Connection(origin, stream)


@final
class IdleConnections:
    """The idle connections of one event loop; the newest of an origin is used first."""

    def __init__(self) -> None:
        self.closed: bool = False
        self.forget: Callable[[], None] = at_end_of_run(self.aclose)
        self._idle: list[Connection] = []  # in the order in which they became idle
        self._swept = False
        self._opening: dict[Origin, anyio.Semaphore] = {}

    def opening(self, origin: Origin) -> anyio.Semaphore:
        """Return what limits the connections to `origin` that are being opened."""
        found = self._opening.get(origin)
        if found is None:
            found = self._opening[origin] = anyio.Semaphore(OPENING, fast_acquire=True)
        return found

    def __len__(self) -> int:
        return len(self._idle)

    @property
    def descriptors(self) -> int:
        """How many of them hold a descriptor."""
        return sum(connection.tcp is not None for connection in self._idle)

    async def take(self, origin: Origin) -> Connection | None:
        """Return a connection that can carry a request, and close those that cannot."""
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
        """Keep a connection whose response was read to its end. Return False if it has to be closed.

        Args:
          seconds: how long the server says that it keeps it.
        """
        # A second less, because the server's clock began to run earlier.
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
        """Close the connections that are of no more use. Return whether there is anything left to watch."""
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
        """Close what is idle now, and have what is in use closed at the end of its response."""
        self.closed = True
        self.forget()
        cancelled: BaseException | None = None
        while self._idle:
            try:
                await self._idle.pop().close()
            except BaseException as exc:  # asyncio's own cancellation, which no scope holds back
                cancelled = exc
        if cancelled is not None:
            raise cancelled


def _later(sweep: Callable[[], bool]) -> None:
    """Call `sweep` every second on the running loop, until it returns False.

    It is a timer on asyncio and a system task on trio, so it ends with the loop and nothing waits for it.
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
    """Gives each event loop its own `IdleConnections`, so that a socket is only touched by its own loop."""

    def __init__(self) -> None:
        self._loops: WeakKeyDictionary[Any, IdleConnections] = WeakKeyDictionary()
        self._last: tuple[ref[Any], IdleConnections] | None = None  # the dictionary costs more than a poll
        self._lock = threading.Lock()  # loops may run in several threads

    def here(self) -> IdleConnections:
        """Return those of the running loop."""
        loop = current_token().native_token
        last = self._last
        if last is not None and last[0]() is loop and not last[1].closed:
            return last[1]
        found = self._loops.get(loop)
        if found is None or found.closed:
            with self._lock:
                # An asyncio transport holds its loop, so these would stay for as long as we do.
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
            found.closed = True  # what is in use now is not kept any more
            left += found.descriptors
        if left:
            warnings.warn(
                f"{left} idle connection(s) of an adapter were left open: `await adapter.aclose()`, or "
                "`async with` it",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )
