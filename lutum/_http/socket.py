"""One TCP connection on each backend, as an anyio `ByteStream` that needs one system call for a read.

anyio's own streams register with epoll twice for each read (asyncio) or ask the socket before they wait
(trio), and hold two events and a queue each: with 1,000 streams a quarter of what an event costs.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import selectors
import socket
import sys
import threading
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from itertools import chain, zip_longest
from typing import Any, Final, final

import anyio
from anyio.abc import ByteStream, SocketAttribute
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint_if_cancelled, current_token

from lutum._backend import AsyncioWakeup

Address = tuple[socket.AddressFamily, Any]

UNREAD_BYTES: Final = 64 * 1024
"""Unread bytes at which the socket is not read any further."""

NEXT_ADDRESS_SECONDS: Final = 0.25
"""How long one address is tried alone (RFC 8305, 8: Connection Attempt Delay)."""

KEEPALIVE_SECONDS: Final = 60
"""Silence after which the kernel probes the other side. NATs drop a connection that is silent while a model
reasons; the shortest limits of cloud providers are 230 to 350 s."""

KEEPALIVE_PROBES: Final = 5
"""Unanswered probes after which the connection is broken."""


class _Scratch(threading.local):
    """The buffer that the loop of this thread reads into, for all its connections. A plain protocol allocates
    256 KiB for each read, which costs three times as much as the read."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(UNREAD_BYTES))


_scratch = _Scratch()


class TcpStream(ByteStream):
    """A TCP connection. `send` and `receive` are checkpoints only where they wait."""

    @abstractmethod
    async def send(self, item: bytes | memoryview) -> None:
        """Write everything."""

    @abstractmethod
    def is_quiet(self) -> bool:
        """Return whether it is open and has nothing to read. An idle connection with readable data is closed
        or broken."""

    @abstractmethod
    def close_now(self) -> None:
        """Close without waiting for the loop."""


async def connect_tcp(host: str, port: int) -> TcpStream:
    """Connect to the first address of `host` that answers. Cancelled, nothing is left open.

    Raises:
      OSError: no address answers, or the name is not known.
    """
    connected = await _first_to_answer(await _addresses(host, port))
    loop: Any = current_token().native_token
    try:
        if not isinstance(loop, asyncio.AbstractEventLoop):
            return TrioTcp(connected)
        _, stream = await loop.create_connection(lambda: AsyncioTcp(loop, connected), sock=connected)
    except BaseException:
        connected.close()
        raise
    return stream


@final
class AsyncioTcp(asyncio.BufferedProtocol, TcpStream):
    """Reads all the time, up to `UNREAD_BYTES`; a checkpoint only where it waits."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        self._transport: Any  # uvloop's is no asyncio.Transport
        self._raw = sock
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
        if exc is not None and not self._closed:
            self._rescue()
        self._ended, self._error = True, exc
        self._arrived.wake()
        self._written.wake()

    def _rescue(self) -> None:
        """Read what the kernel still holds: a server that refuses a request answers, closes and resets while
        we write, and asyncio drops the socket at the failed write."""
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
        if self._transport.is_closing():  # the loop reports the reason in its next turn
            raise anyio.BrokenResourceError

    async def send_eof(self) -> None:
        self._transport.write_eof()

    async def aclose(self) -> None:
        self.close_now()
        await cancel_shielded_checkpoint()  # in which the loop closes the socket

    def close_now(self) -> None:
        self._closed = True
        self._transport.abort()

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
    """Waits first and then asks the socket, which a read needs anyway."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._lowlevel: Any = sys.modules["trio"].lowlevel
        self._closed_error: Any = sys.modules["trio"].ClosedResourceError

    async def receive(self, max_bytes: int = 65536) -> bytes:
        while True:
            try:
                await self._lowlevel.wait_readable(self._socket)
                data = self._socket.recv(max_bytes)
            except BlockingIOError:
                continue
            except (self._closed_error, ValueError):  # closed while it waits, and before
                raise anyio.ClosedResourceError from None
            except OSError as exc:
                raise self._broken(exc) from exc
            if not data:
                raise anyio.EndOfStream
            return data

    async def send(self, item: bytes | memoryview) -> None:
        await self._lowlevel.checkpoint_if_cancelled()
        view = memoryview(item)
        while view:
            try:
                view = view[self._socket.send(view) :]
            except BlockingIOError:
                try:
                    await self._lowlevel.wait_writable(self._socket)
                except self._closed_error:
                    raise anyio.ClosedResourceError from None
            except OSError as exc:
                raise self._broken(exc) from exc

    def _broken(self, exc: OSError) -> Exception:
        return anyio.ClosedResourceError() if self._socket.fileno() < 0 else anyio.BrokenResourceError()

    async def send_eof(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    async def aclose(self) -> None:
        self.close_now()
        await cancel_shielded_checkpoint()

    def close_now(self) -> None:
        if self._socket.fileno() >= 0:
            self._lowlevel.notify_closing(self._socket)
            self._socket.close()

    def is_quiet(self) -> bool:
        return _is_quiet(self._socket)

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return {SocketAttribute.raw_socket: lambda: self._socket}


async def _addresses(host: str, port: int) -> list[Address]:
    """Look up `host`: in the system's order, the two families by turns (RFC 8305, 4)."""
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


async def _connect(address: Address) -> socket.socket:
    """Connect to one address. Cancelled, nothing is left open.

    Raises:
      OSError: with the system's number and words, the same on both backends.
    """
    sock = socket.socket(address[0], socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        # A request's head and body are two writes, and the second would wait 40 ms for the first's ACK.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _keep_alive(sock)
        loop: Any = current_token().native_token
        if isinstance(loop, asyncio.AbstractEventLoop):
            try:
                await loop.sock_connect(sock, address[1])
            except OSError as exc:
                raise (exc if exc.errno is None else _failed(exc.errno, address)) from exc
        else:
            await _connect_on_trio(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


async def _connect_on_trio(sock: socket.socket, address: Address) -> None:
    code = sock.connect_ex(address[1])
    if code in (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EINTR):
        await sys.modules["trio"].lowlevel.wait_writable(sock)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    else:
        await cancel_shielded_checkpoint()
    if code:
        raise _failed(code, address)


def _failed(code: int, address: Address) -> OSError:
    return OSError(code, f"{os.strerror(code)}: connect call failed {address[1]}")


def _keep_alive(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # The first is macOS's name for the second.
    for name in ("TCP_KEEPALIVE", "TCP_KEEPIDLE", "TCP_KEEPINTVL"):
        if (option := getattr(socket, name, None)) is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, KEEPALIVE_SECONDS)
    if (option := getattr(socket, "TCP_KEEPCNT", None)) is not None:
        sock.setsockopt(socket.IPPROTO_TCP, option, KEEPALIVE_PROBES)


async def _first_to_answer(addresses: list[Address]) -> socket.socket:
    """Connect by Happy Eyeballs (RFC 8305, 5).

    asyncio's own leaves attempts behind when it is cancelled, uvloop has none, and trio's hides the reasons.
    """
    if len(addresses) == 1:
        return await _connect(addresses[0])
    connected = list[socket.socket]()
    errors = list[OSError]()

    async def attempt(address: Address, ended: anyio.Event) -> None:
        try:
            connected.append(await _connect(address))
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
    finally:  # a cancelled caller keeps none, and two may answer at once
        for sock in connected:
            sock.close()


_poll: Final[Any] = getattr(select, "poll", None)  # Windows has none


def _is_quiet(sock: Any) -> bool:
    """Return whether a read would wait."""
    if sock.fileno() < 0:
        return False
    # Not epoll, which needs a descriptor, and there may be none left.
    if _poll is not None:
        poll = _poll()
        poll.register(sock.fileno(), select.POLLIN)
        return not poll.poll(0)
    with selectors.SelectSelector() as selector:
        selector.register(sock.fileno(), selectors.EVENT_READ)
        return not selector.select(0)
