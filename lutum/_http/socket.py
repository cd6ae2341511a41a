"""One TCP connection on each backend, as an anyio `ByteStream` that is read with one system call.

anyio's own streams tell epoll twice for each read (asyncio) or ask the socket before they wait (trio), and
hold two events and a queue each: with 1,000 streams a quarter of what an event costs.
"""

from __future__ import annotations

import asyncio
import selectors
import socket
import sys
import threading
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from itertools import chain, zip_longest
from typing import Any, Final, final

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketStream
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint_if_cancelled, current_token

from lutum._backend import AsyncioWakeup

Address = tuple[socket.AddressFamily, Any]

UNREAD_BYTES: Final = 64 * 1024
"""What may lie unread before the socket is not read any further."""

NEXT_ADDRESS_SECONDS: Final = 0.25
"""How long one address is tried alone (RFC 8305, 8: Connection Attempt Delay)."""


class _Scratch(threading.local):
    """Where the loop of this thread reads to, for all its connections: a plain protocol allocates 256 KiB for
    each read, which costs three times as much as the read."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(UNREAD_BYTES))


_scratch = _Scratch()


class TcpStream(ByteStream):
    @abstractmethod
    def is_quiet(self) -> bool:
        """Whether it is open and nothing has come; on an idle connection, what comes is its end."""


async def connect_tcp(host: str, port: int) -> TcpStream:
    """Connect to the first address of `host` that answers. Cancelled, it has closed what it opened.

    Raises:
      OSError: none answers, or the name is not known.
    """
    loop: Any = current_token().native_token
    if isinstance(loop, asyncio.AbstractEventLoop):
        connected = await _first_to_answer(loop, await _addresses(host, port))
        try:
            _, stream = await loop.create_connection(lambda: AsyncioTcp(loop), sock=connected)
        except BaseException:
            connected.close()
            raise
        return stream
    return TrioTcp(await anyio.connect_tcp(host, port))


@final
class AsyncioTcp(asyncio.BufferedProtocol, TcpStream):
    """Reads all the time, up to `UNREAD_BYTES`; a checkpoint only where it waits."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._transport: Any  # uvloop's is no asyncio.Transport
        self._unread: list[bytes] = []
        self._size = 0
        self._arrived = AsyncioWakeup(loop)
        self._written = AsyncioWakeup(loop)
        self._full = False  # of what is to be written
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
        self._ended, self._error = True, exc
        self._arrived.wake()
        self._written.wake()

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
        data = self._unread[0] if len(self._unread) == 1 else b"".join(self._unread)
        self._unread.clear()
        if len(data) > max_bytes:
            self._unread.append(data[max_bytes:])
            data = data[:max_bytes]
        if self._size > UNREAD_BYTES >= self._size - len(data):
            self._transport.resume_reading()
        self._size -= len(data)
        return data

    async def send(self, item: bytes) -> None:
        await checkpoint_if_cancelled()
        self._check()
        self._transport.write(item)
        while self._full and not self._transport.is_closing():
            await self._written.wait()
        self._check()
        if self._transport.is_closing():  # why, is told in the next turn of the loop
            raise anyio.BrokenResourceError

    async def send_eof(self) -> None:
        self._transport.write_eof()

    async def aclose(self) -> None:
        self._closed = True
        self._transport.abort()
        await cancel_shielded_checkpoint()  # in which the loop closes the socket

    def is_quiet(self) -> bool:
        return not (self._unread or self._ended or self._closed) and _is_quiet(self._socket())

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


@final
class TrioTcp(TcpStream):
    """anyio's stream, but for reading: it waits first and asks the socket then."""

    def __init__(self, stream: SocketStream) -> None:
        self._stream = stream
        self._socket: socket.socket = stream.extra(SocketAttribute.raw_socket)
        self._trio: Any = sys.modules["trio"]

    async def receive(self, max_bytes: int = 65536) -> bytes:
        while True:
            try:
                await self._trio.lowlevel.wait_readable(self._socket)
                data = self._socket.recv(max_bytes)
            except BlockingIOError:
                continue
            except (self._trio.ClosedResourceError, ValueError):  # closed while it waits, and before
                raise anyio.ClosedResourceError from None
            except OSError as exc:
                raise anyio.BrokenResourceError from exc
            if not data:
                raise anyio.EndOfStream
            return data

    async def send(self, item: bytes) -> None:
        await self._stream.send(item)

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()

    def is_quiet(self) -> bool:
        return _is_quiet(self._socket)

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return self._stream.extra_attributes


async def _addresses(host: str, port: int) -> list[Address]:
    """In the system's order, the two families by turns (RFC 8305, 4)."""
    infos: Iterable[Any]
    try:
        # An address needs no resolver, and its thread.
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (socket.gaierror, UnicodeError):
        infos = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    found = [(info[0], info[4]) for info in infos]
    first = [each for each in found if each[0] is found[0][0]]
    second = [each for each in found if each[0] is not found[0][0]]
    return [each for each in chain(*zip_longest(first, second)) if each is not None]


async def _connect(loop: asyncio.AbstractEventLoop, address: Address) -> socket.socket:
    sock = socket.socket(address[0], socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        # A request's head and body are two writes, and the second would wait 40 ms for the first's ACK.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.sock_connect(sock, address[1])
    except BaseException:
        sock.close()
        raise
    return sock


async def _first_to_answer(loop: asyncio.AbstractEventLoop, addresses: list[Address]) -> socket.socket:
    """Happy Eyeballs (RFC 8305, 5). asyncio's own leaves attempts behind when it is cancelled, and uvloop
    has none."""
    if len(addresses) == 1:
        return await _connect(loop, addresses[0])
    connected = list[socket.socket]()
    errors = list[OSError]()

    async def attempt(address: Address, ended: anyio.Event) -> None:
        try:
            connected.append(await _connect(loop, address))
            group.cancel_scope.cancel()
        except OSError as exc:
            errors.append(exc)
        finally:
            ended.set()

    try:
        async with anyio.create_task_group() as group:
            for address in addresses:
                ended = anyio.Event()
                group.start_soon(attempt, address, ended)
                with anyio.move_on_after(NEXT_ADDRESS_SECONDS):
                    await ended.wait()
                if connected:
                    break
        if not connected:
            raise OSError("; ".join(map(str, errors)))
        return connected.pop(0)
    finally:  # who was cancelled keeps none, and two may answer at once
        for sock in connected:
            sock.close()


def _is_quiet(sock: Any) -> bool:
    """Whether a read would wait; on an idle connection anything else means that it is closed."""
    if sock.fileno() < 0:
        return False
    # epoll would need a descriptor, and there may be none left.
    with getattr(selectors, "PollSelector", selectors.SelectSelector)() as selector:
        selector.register(sock.fileno(), selectors.EVENT_READ)
        return not selector.select(0)
