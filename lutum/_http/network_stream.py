"""One socket under httpcore, the same on both backends.

httpcore's own network streams open a cancel scope for each read, for timeouts that are off here. And a body
that is plainly in chunks is read past h11: `Body` asks `piece`, h11 reads the rest through `read`.
"""

from __future__ import annotations

import ssl
from typing import Any, final

import anyio
import httpcore
from anyio.abc import ByteStream
from anyio.streams.tls import TLSAttribute, TLSStream

from lutum._http.answer import Chunks
from lutum._http.socket import TcpStream, connect_tcp


async def connect(host: str, port: int, tls: ssl.SSLContext | None) -> Socket:
    """Open a connection. Cancelled, or when it fails, nothing of it is left.

    Raises:
      OSError: no connection, or no TLS over it.
    """
    tcp = await connect_tcp(host, port)
    if tls is None:
        return Socket(tcp, tcp)
    try:
        stream = await TLSStream.wrap(
            tcp,
            ssl_context=tls,
            hostname=host,
            server_side=False,
            standard_compatible=False,  # HTTP says where a body ends, and many servers just close
        )
    except BaseException:
        with anyio.CancelScope(shield=True):
            await tcp.aclose()
        raise
    return Socket(stream, tcp)


@final
class Socket(httpcore.AsyncNetworkStream):
    """A connection, or TLS over one. A timeout is never given, and not looked at."""

    def __init__(self, stream: ByteStream, tcp: TcpStream) -> None:
        self._stream = stream
        self._tcp = tcp
        self._receive = stream.receive
        self._chunks = Chunks()
        self._unread = b""  # what was received and h11 must read
        self._body = b""  # what was received and is of a body in chunks

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """What h11 reads: heads, ends, and bodies that are not plainly in chunks."""
        if self._unread:
            data, self._unread = self._unread, b""
            return data
        try:
            data = await self._receive(max_bytes)
        except anyio.EndOfStream:
            return b""
        data, self._body = self._chunks.split(data)
        return data

    async def piece(self) -> bytes:
        """The next piece of a body that is plainly in chunks; empty where h11 must read on."""
        while self._chunks.plain:
            try:
                data = self._body or await self._receive()
            except anyio.EndOfStream:
                break
            self._body = b""
            body, self._unread = self._chunks.body(data)
            if body:
                return body
        if self._chunks.bad:
            raise httpcore.RemoteProtocolError("no line end follows a chunk")
        return b""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if not buffer:
            return
        self._chunks.sent(buffer)
        try:
            await self._stream.send(buffer)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as exc:
            # The one that httpcore knows: a server may answer and close before it has read everything.
            raise httpcore.WriteError(str(exc)) from exc

    async def aclose(self) -> None:
        await self._stream.aclose()

    def get_extra_info(self, info: str) -> Any:
        return not self._is_quiet() if info == "is_readable" else None

    @property
    def whole(self) -> bool:
        """The last answer was read to its end, and nothing came with it."""
        return self._chunks.whole

    def _is_quiet(self) -> bool:
        if not self._tcp.is_quiet():
            return False
        tls = self._stream.extra(TLSAttribute.ssl_object, None)
        if tls is None:
            return True
        try:
            tls.read(1)  # it may hold a record that came with the last one that was read
        except ssl.SSLWantReadError:
            return True
        except ssl.SSLError:
            pass
        return False
