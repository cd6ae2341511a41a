"""Connections: a free list for each event loop, behind an httpx transport.

httpcore's pool looks at every connection whenever a request starts or a response ends, which is
quadratic in concurrent streams. Here a request takes the newest idle connection of its origin or
opens one, and there is no limit to wait for: how much runs at once is the caller's to say.

A request that was written is never written again: when a server closes an idle connection at the very
moment it is taken, the request fails, because nobody can know whether it was read. What makes that
rare: a connection is kept for 30 s at most, and is looked at (readable means closed) before it is used.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import threading
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from functools import cache
from typing import Any, Self
from weakref import WeakKeyDictionary

import anyio
import httpcore
import httpx
from anyio.lowlevel import current_token

from lutum._http.foreign_client import BODY, without_asyncgen_hooks
from lutum._http.network_stream import Socket, connect
from lutum._run import at_end_of_run
from lutum._values.errors import BadValue

MAX_IDLE = 64
"""Idle connections kept for one adapter and event loop; a burst of more closes the oldest."""

IDLE_SECONDS = 30.0
"""How long an idle connection is kept; servers and load balancers close theirs after 60 s or more."""

CLOSE_SECONDS = 1.0
"""How long closing one connection may take."""


@cache
def tls_context() -> ssl.SSLContext:
    """The TLS settings of this process, made at its first https connection (reading the CAs takes 10 ms).

    Raises:
      BadValue: `SSL_CERT_FILE` or `SSL_CERT_DIR` cannot be used.
    """
    try:
        context = httpx.create_ssl_context()
    except OSError as exc:
        name = "SSL_CERT_FILE" if os.environ.get("SSL_CERT_FILE") else "SSL_CERT_DIR"
        raise BadValue(name, f"no certificates could be read from {os.environ.get(name)!r}") from exc
    context.set_alpn_protocols(["http/1.1"])
    return context


class LoopPool(ABC):
    """What a transport holds on one event loop. Closed, it serves open responses to their end."""

    def __init__(self) -> None:
        self.closed = False
        self.forget = at_end_of_run(self.aclose)

    @abstractmethod
    def __len__(self) -> int:
        """How many connections are open and nobody uses."""

    @abstractmethod
    async def handle(self, request: httpx.Request) -> httpx.Response:
        """Send `request`; the response holds its connection until it is closed.

        Cancelled, it has closed its connection.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Close what is idle, now, and what is in use when its response is closed."""


class PerLoopTransport(httpx.AsyncBaseTransport):
    """Gives each event loop its own `LoopPool`, so that a socket is only ever touched by its own loop."""

    def __init__(self, make: Callable[[], LoopPool]) -> None:
        self._make = make
        self._locals: WeakKeyDictionary[object, LoopPool] = WeakKeyDictionary()
        self._lock = threading.Lock()  # loops may run in several threads

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._here().handle(request)

    async def aclose(self) -> None:
        """Close the idle connections of the running loop; the next request opens new ones."""
        with self._lock:
            local = self._locals.pop(current_token().native_token, None)
        if local is not None:
            await local.aclose()

    def _here(self) -> LoopPool:
        loop = current_token().native_token
        local = self._locals.get(loop)
        if local is None or local.closed:
            with self._lock:
                # An asyncio transport holds its loop, so these would stay for as long as we do.
                for other in list(self._locals):
                    if isinstance(other, asyncio.AbstractEventLoop) and other.is_closed():
                        del self._locals[other]
                local = self._locals[loop] = self._make()
        return local

    def __del__(self) -> None:
        left = 0
        for local in self._locals.values():
            local.closed = True  # what is in use now is not kept any more
            left += len(local)
        if left:
            warnings.warn(
                f"{left} idle connection(s) of an adapter were left open: `await adapter.aclose()`, or "
                "`async with` it",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )


class IdleConnections(LoopPool):
    """Direct connections, HTTP/1.1 only; the newest idle one is used first."""

    def __init__(self) -> None:
        super().__init__()
        self._idle: list[_Connection] = []  # in the order in which they became idle

    def __len__(self) -> int:
        return len(self._idle)

    async def handle(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        sent = httpcore.Request(
            request.method,
            httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        origin = sent.url.origin
        connection = await self._take(origin)
        if connection is None:
            if (trace := request.extensions.get("trace")) is not None:
                await trace("connection.connect_tcp.started", {})
            tls = tls_context() if origin.scheme == b"https" else None
            connection = _Connection(origin, await connect(origin.host.decode("ascii"), origin.port, tls))
        response: Any  # its extensions are a bare dict, which strict checkers refuse
        try:
            response = await connection.http.handle_async_request(sent)
        except BaseException:
            await connection.close()
            raise
        body = Body(response, connection, self)
        return httpx.Response(
            response.status,
            headers=response.headers,
            stream=body,
            extensions={**response.extensions, BODY: body},
        )

    async def aclose(self) -> None:
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

    async def put(self, connection: _Connection) -> None:
        """Keep a connection whose response is closed, if it is fit for another request."""
        if self.closed or not connection.http.is_idle() or not connection.socket.whole:
            await connection.close()
            return
        connection.idle_since = time.monotonic()
        self._idle.append(connection)
        if len(self._idle) > MAX_IDLE:
            await self._idle.pop(0).close()

    async def _take(self, origin: httpcore.Origin) -> _Connection | None:
        idle = self._idle
        old = time.monotonic() - IDLE_SECONDS
        dropped: list[_Connection] = []
        while idle and idle[0].idle_since < old:
            dropped.append(idle.pop(0))
        found = None
        for index in range(len(idle) - 1, -1, -1):
            if idle[index].origin == origin:
                found = idle.pop(index)
                if not found.http.has_expired():
                    break
                dropped.append(found)
                found = None
        for connection in dropped:
            await connection.close()
        return found


class _Connection:
    def __init__(self, origin: httpcore.Origin, socket: Socket) -> None:
        self.origin = origin
        self.idle_since = 0.0
        self.socket = socket
        self.http = httpcore.AsyncHTTP11Connection(origin, socket)

    async def close(self) -> None:
        """Close the socket, also if cancelled, and never raise for how it went."""
        with anyio.move_on_after(CLOSE_SECONDS, shield=True), suppress(Exception):
            await self.http.aclose()


class Body(httpx.AsyncByteStream):
    """The body of a response; closing it gives its connection back. It holds nothing else of the response,
    which is five times as large."""

    __slots__ = ("_connection", "_home", "_rest", "_socket", "_stream")

    def __init__(self, response: Any, connection: _Connection, home: IdleConnections) -> None:
        self._stream: Any = response.stream
        self._socket: Socket = response.extensions["network_stream"]
        self._connection: _Connection | None = connection
        self._home = home
        self._rest: AsyncGenerator[bytes, None] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._rest is not None:
            return await self._rest.__anext__()
        if piece := await self._socket.piece():
            return piece
        self._rest = self._stream.__aiter__()
        return await without_asyncgen_hooks(self.__anext__())

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            await self._stream.aclose()
            if self._rest is not None:  # after its stream, so that it has nothing to await
                await self._rest.aclose()
        finally:
            await self._home.put(connection)
