"""The socket server: HTTP/1.1 with keep-alive on a loopback port.

It uses plain non-blocking sockets and `anyio.wait_readable`, because anyio's streams always send a FIN when
they close, and a reset must be sent without a FIN. Responses are written as planned.
"""

import errno
import socket
import struct
from collections.abc import Callable

import anyio
import anyio.lowlevel
import httpx

from lutum.testing.wire._http1 import RequestParser, steps
from lutum.testing.wire._plan import Wait, WirePlan
from lutum.testing.wire._request import WireRequest

__all__ = ["listen", "serve"]

_READ = 64 * 1024
# The most bytes of one `send` call. It is small, so that a fast client does not block the event loop.
_WRITE = 256 * 1024

_Receive = Callable[[str, str, httpx.Headers, bytes], WireRequest]
_Plan = Callable[[WireRequest], WirePlan]


def listen() -> socket.socket:
    """Open a listening socket on a free loopback port."""
    listener = socket.socket()
    listener.setblocking(False)
    listener.bind(("127.0.0.1", 0))
    # Enough for a test that opens a thousand connections at once. The kernel lowers it to its own limit.
    listener.listen(4096)
    return listener


async def serve(listener: socket.socket, receive: _Receive, plan: _Plan) -> None:
    """Accept connections, and serve each in a task. If cancelled, close all connections."""
    async with anyio.create_task_group() as group:
        while True:
            try:
                connection, _ = listener.accept()
            except BlockingIOError:
                await anyio.wait_readable(listener)
            except OSError as error:
                # The client left before the connection was accepted.
                if error.errno != errno.ECONNABORTED:
                    raise
            else:
                group.start_soon(_connection, connection, receive, plan)


async def _connection(connection: socket.socket, receive: _Receive, plan: _Plan) -> None:
    """Serve one connection until one side closes it."""
    with connection:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = _Peer(connection)
        while (request := await _read_request(peer, receive)) is not None:
            try:
                if not await _respond(peer, request, plan(request)):
                    return
            finally:
                request.end("stopped")


class _Peer:
    """A connection, the data that the client sent during the last answer, and whether it can be kept."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.early = bytearray()
        self.keep = True
        self.parser = RequestParser()

    async def read(self) -> bytes:
        """Read the available bytes. An empty result means that the peer has left."""
        while True:
            try:
                return self.socket.recv(_READ)
            except BlockingIOError:
                await anyio.wait_readable(self.socket)
            except OSError:
                return b""

    async def write(self, data: bytes) -> None:
        """Write everything.

        Raises:
          OSError: the peer has left.
        """
        view = memoryview(data)
        while view:
            await anyio.lowlevel.checkpoint()
            try:
                view = view[self.socket.send(view[:_WRITE]) :]
            except BlockingIOError:
                await anyio.wait_writable(self.socket)

    def reset(self) -> None:
        """Make `close` send a RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def _read_request(peer: _Peer, receive: _Receive) -> WireRequest | None:
    """Read one request. Return None if the peer left or does not use HTTP."""
    early = bytes(peer.early)
    peer.early.clear()
    try:
        found = peer.parser.feed(early) if early else peer.parser.again()
        while found is None:
            if peer.parser.wants_100:
                await peer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            found = peer.parser.feed(await peer.read())
    except (EOFError, OSError):
        return None
    peer.keep = found.keep
    return receive(found.method, found.target, found.headers, found.body)


async def _respond(peer: _Peer, request: WireRequest, plan: WirePlan) -> bool:
    """Execute the plan while watching the client. Return whether the connection can be used again."""
    async with anyio.create_task_group() as group:
        group.start_soon(_watch, peer, request, group.cancel_scope)
        try:
            await _execute(peer, request, plan)
        except OSError:
            request.end("disconnected")
        group.cancel_scope.cancel()
    return peer.keep and request.outcome == "completed"


async def _watch(peer: _Peer, request: WireRequest, scope: anyio.CancelScope) -> None:
    """End the answer as soon as the client leaves. Data that the client sends belongs to its next request."""
    while data := await peer.read():
        peer.early += data
    request.end("disconnected")
    scope.cancel()


async def _execute(peer: _Peer, request: WireRequest, plan: WirePlan) -> None:
    for step in steps(plan, request):
        match step:
            case bytes():
                await peer.write(step)
            case Wait():
                await _sleep(step)
            case "end":
                request.end("completed")
            case "cut" | "reset":
                if step == "reset":
                    peer.reset()
                request.end("cut")


async def _sleep(wait: Wait) -> None:
    if wait.seconds is None:
        await anyio.sleep_forever()
    else:
        await anyio.sleep(wait.seconds)
