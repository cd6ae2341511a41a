"""One TCP connection on asyncio. The first connection imports this module, because importing asyncio takes
15 ms."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, final

import anyio
from anyio.abc import SocketAttribute
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint_if_cancelled

from lutum._backend import AsyncioWakeup
from lutum._http.socket import UNREAD_BYTES, TcpStream, is_quiet


class _Scratch(threading.local):
    """The read buffer of a thread's event loop. All connections of the loop share it.

    A plain `asyncio.Protocol` allocates 256 KiB for each read, which takes three times as long as the read.
    """

    def __init__(self) -> None:
        self.view = memoryview(bytearray(UNREAD_BYTES))


_scratch = _Scratch()


@final
class AsyncioTcp(asyncio.BufferedProtocol, TcpStream):
    """A TCP connection on asyncio. It reads continuously, up to `UNREAD_BYTES` of unread data."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        self._transport: Any  # uvloop's is not an asyncio.Transport
        self._raw = sock
        self._unread: list[bytes] = []
        self._size = 0
        self._arrived = AsyncioWakeup(loop)
        self._written = AsyncioWakeup(loop)
        self._full = False  # the write buffer is full
        self._ended = False
        self._closed = False
        self._error: Exception | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._transport.set_write_buffer_limits(0)

    def get_buffer(self, sizehint: int) -> memoryview:
        return _scratch.view

    def buffer_updated(self, nbytes: int) -> None:
        self._unread.append(bytes(_scratch.view[:nbytes]))
        self._size += nbytes
        if self._size > UNREAD_BYTES:
            self._transport.pause_reading()
        self._arrived.wake()

    def eof_received(self) -> bool:
        self._ended = True
        self._arrived.wake()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None and not self._closed:
            self._rescue()
        self._ended, self._error = True, exc
        self._arrived.wake()
        self._written.wake()

    def _rescue(self) -> None:
        """Read the data that the kernel still has.

        A server that refuses a request may answer, close and reset the connection during the upload. asyncio
        closes the socket at the failed write, so the answer would be lost.
        """
        with suppress(OSError, ValueError):
            while self._raw.fileno() >= 0 and self._size <= UNREAD_BYTES:
                data = self._raw.recv(UNREAD_BYTES)
                if not data:
                    break
                self._unread.append(data)
                self._size += len(data)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._written.wake()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        while not self._unread:
            self._check()
            if self._ended:
                raise anyio.EndOfStream
            await self._arrived.wait()
        if self._closed:
            raise anyio.ClosedResourceError
        data = self._unread[0] if len(self._unread) == 1 else b"".join(self._unread)
        self._unread.clear()
        if len(data) > max_bytes:
            self._unread.append(data[max_bytes:])
            data = data[:max_bytes]
        if self._size > UNREAD_BYTES >= self._size - len(data):
            self._transport.resume_reading()
        self._size -= len(data)
        return data

    async def send(self, item: bytes | memoryview) -> None:
        await checkpoint_if_cancelled()
        self._check()
        self._transport.write(item)
        while self._full and not self._transport.is_closing():
            await self._written.wait()
        self._check()
        if self._transport.is_closing():  # the loop reports the reason in its next iteration
            raise anyio.BrokenResourceError

    async def send_eof(self) -> None:
        self._transport.write_eof()

    async def aclose(self) -> None:
        self.close_now()
        await cancel_shielded_checkpoint()  # the loop closes the socket during this checkpoint

    def close_now(self) -> None:
        self._closed = True
        self._transport.abort()

    def is_quiet(self) -> bool:
        return not (self._unread or self._ended or self._closed) and is_quiet(self._socket())

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return {SocketAttribute.raw_socket: self._socket}

    def _socket(self) -> Any:
        return self._transport.get_extra_info("socket")

    def _check(self) -> None:
        if self._closed:
            raise anyio.ClosedResourceError
        if self._error is not None:
            raise anyio.BrokenResourceError from self._error
