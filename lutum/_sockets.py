"""One socket under httpcore, the same on both backends.

httpcore's own network streams open a cancel scope for each read, for timeouts that are off here, and on
each of 1,000 streams that is a fifth of what an event costs. The chunks of one read come as one.
"""

from __future__ import annotations

import selectors
import ssl
from collections.abc import Iterable
from typing import Any, final

import anyio
import httpcore
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSAttribute, TLSStream

from lutum._chunks import ChunkMerger


@final
class Network(httpcore.AsyncNetworkBackend):
    """Opens one socket, and remembers it from the moment it is open."""

    def __init__(self) -> None:
        self.socket: Socket | None = None

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        self.socket = Socket(await anyio.connect_tcp(host, port))
        return self.socket


@final
class Socket(httpcore.AsyncNetworkStream):
    """A connection, or TLS over one. A timeout is never given, and not looked at."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._receive = stream.receive
        self._merger = ChunkMerger()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        while True:
            try:
                data = await self._receive(max_bytes)
            except anyio.EndOfStream:
                return b""
            if merged := self._merger.feed(data):
                return merged

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if not buffer:
            return
        self._merger.sent()
        try:
            await self._stream.send(buffer)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as exc:
            # The one that httpcore knows: a server may answer and close before it has read everything.
            raise httpcore.WriteError(str(exc)) from exc

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        stream = await TLSStream.wrap(
            self._stream,
            ssl_context=ssl_context,
            hostname=server_hostname,
            server_side=False,
            standard_compatible=False,  # HTTP says where a body ends, and many servers just close
        )
        return Socket(stream)

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":
            return _is_readable(self._stream.extra(SocketAttribute.raw_socket).fileno())
        if info == "ssl_object":
            return self._stream.extra(TLSAttribute.ssl_object, None)
        return None


def _is_readable(descriptor: int) -> bool:
    """Whether a read would return at once; on an idle connection that means it is closed."""
    if descriptor < 0:
        return True
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        return bool(selector.select(0))
