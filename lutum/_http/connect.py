"""Opening of TCP connections: name lookup, addresses and Happy Eyeballs, the same on asyncio and trio."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Iterable
from contextlib import suppress
from itertools import chain, zip_longest
from typing import Any, Final

import anyio
from anyio.lowlevel import cancel_shielded_checkpoint, current_token

from lutum._backend import is_trio
from lutum._http.socket import TcpStream, TrioTcp

Address = tuple[socket.AddressFamily, Any]

NEXT_ADDRESS_SECONDS: Final = 0.25
"""If an address does not answer, the next one is tried too after this many seconds (RFC 8305, 8: Connection
Attempt Delay)."""

KEEPALIVE_SECONDS: Final = 60
"""The kernel sends a probe to the server after this many idle seconds. A connection may be idle while a model
reasons, and NATs drop idle connections. The shortest limits of cloud providers are 230 to 350 s."""

KEEPALIVE_PROBES: Final = 5
"""Number of unanswered probes after which the connection counts as broken."""


async def connect_tcp(host: str, port: int) -> TcpStream:
    """Connect to the first address of `host` that answers. Cancellation leaves nothing open.

    Raises:
      OSError: no address answers, or the name is unknown.
    """
    connected = await _first_to_answer(await _addresses(host, port))
    loop: Any = current_token().native_token
    try:
        if is_trio(loop):
            return TrioTcp(connected)
        from lutum._http.asyncio_socket import AsyncioTcp  # late, because trio's users need no asyncio

        stream: TcpStream
        _, stream = await loop.create_connection(lambda: AsyncioTcp(loop, connected), sock=connected)
    except BaseException:
        with suppress(OSError):  # uvloop 0.21 has closed the descriptor already
            connected.close()
        raise
    return stream


async def _addresses(host: str, port: int) -> list[Address]:
    """Look up `host`. The addresses are in the system's order, with alternating families (RFC 8305, 4)."""
    infos: Iterable[Any]
    try:
        # A numeric address needs neither the resolver nor its thread.
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (socket.gaierror, UnicodeError):
        infos = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    found = [(info[0], info[4]) for info in infos]
    first = [each for each in found if each[0] is found[0][0]]
    second = [each for each in found if each[0] is not found[0][0]]
    return [each for each in chain(*zip_longest(first, second)) if each is not None]


async def _connect(address: Address) -> socket.socket:
    """Connect to one address. Cancellation leaves nothing open.

    Raises:
      OSError: the connection failed. Number and message are those of the system, the same on both backends.
    """
    sock = socket.socket(address[0], socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        # Head and body of a long request are two writes. Without this option, the second write would wait 40
        # ms for the ACK of the first.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _keep_alive(sock)
        loop: Any = current_token().native_token
        if is_trio(loop):
            await _connect_on_trio(sock, address)
        else:
            try:
                await loop.sock_connect(sock, address[1])
            except OSError as exc:
                raise (exc if exc.errno is None else _failed(exc.errno, address)) from exc
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
    # TCP_KEEPALIVE is macOS's name for TCP_KEEPIDLE.
    for name in ("TCP_KEEPALIVE", "TCP_KEEPIDLE", "TCP_KEEPINTVL"):
        if (option := getattr(socket, name, None)) is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, KEEPALIVE_SECONDS)
    if (option := getattr(socket, "TCP_KEEPCNT", None)) is not None:
        sock.setsockopt(socket.IPPROTO_TCP, option, KEEPALIVE_PROBES)


async def _first_to_answer(addresses: list[Address]) -> socket.socket:
    """Connect by Happy Eyeballs (RFC 8305, 5).

    The implementations of asyncio and trio are not used: asyncio's leaves attempts running if it is
    cancelled, and trio's does not report the reasons of failures. uvloop has none.
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
    finally:  # some sockets are still open if the caller was cancelled, or if two addresses answered at once
        for sock in connected:
            sock.close()
