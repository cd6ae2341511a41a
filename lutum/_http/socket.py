"""TCP connections as an anyio `ByteStream` with one system call per read: the interface, and trio's version.

anyio's own streams need more system calls. On asyncio they register with epoll twice for each read; on trio
they try to read before they wait. Each stream also has two events and a queue. With 1,000 streams, this takes
a quarter of the time of an event.
"""

from __future__ import annotations

import select
import selectors
import socket
import sys
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Final, final

import anyio
from anyio.abc import ByteStream, SocketAttribute
from anyio.lowlevel import cancel_shielded_checkpoint

UNREAD_BYTES: Final = 64 * 1024
"""Reading from the socket pauses when this many bytes are unread."""


class TcpStream(ByteStream):
    """A TCP connection. `send` and `receive` are checkpoints only if they have to wait."""

    @abstractmethod
    async def send(self, item: bytes | memoryview) -> None:
        """Write all bytes of `item`."""

    @abstractmethod
    def is_quiet(self) -> bool:
        """Return whether the connection is open and has nothing to read. An idle connection with readable
        data is closed or broken."""

    @abstractmethod
    def close_now(self) -> None:
        """Close without waiting for the loop."""


@final
class TrioTcp(TcpStream):
    """A TCP connection on trio. It waits until the socket is readable and then reads once."""

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
            except (self._closed_error, ValueError):  # closed during the wait, or before it
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
        return is_quiet(self._socket)

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return {SocketAttribute.raw_socket: lambda: self._socket}


_poll: Final[Any] = getattr(select, "poll", None)  # missing on Windows


def is_quiet(sock: Any) -> bool:
    """Return whether the socket is open and has nothing to read."""
    if sock.fileno() < 0:
        return False
    # epoll is not used, because it needs another descriptor and the process may be at its limit.
    if _poll is not None:
        poll = _poll()
        poll.register(sock.fileno(), select.POLLIN)
        return not poll.poll(0)
    with selectors.SelectSelector() as selector:
        selector.register(sock.fileno(), selectors.EVENT_READ)
        return not selector.select(0)
