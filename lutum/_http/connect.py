"""How a TCP connection is opened: names, addresses and Happy Eyeballs, the same on both backends."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Iterable
from itertools import chain, zip_longest
from typing import Any, Final

import anyio
from anyio.lowlevel import cancel_shielded_checkpoint, current_token

from lutum._backend import is_trio
from lutum._http.socket import TcpStream, TrioTcp

Address = tuple[socket.AddressFamily, Any]

NEXT_ADDRESS_SECONDS: Final = 0.25
"""How long one address is tried alone (RFC 8305, 8: Connection Attempt Delay)."""

KEEPALIVE_SECONDS: Final = 60
"""Silence after which the kernel probes the other side. NATs drop a connection that is silent while a model
reasons; the shortest limits of cloud providers are 230 to 350 s."""

KEEPALIVE_PROBES: Final = 5
"""Unanswered probes after which the connection is broken."""


async def connect_tcp(host: str, port: int) -> TcpStream:
    """Connect to the first address of `host` that answers. Cancelled, nothing is left open.

    Raises:
      OSError: no address answers, or the name is not known.
    """
    connected = await _first_to_answer(await _addresses(host, port))
    loop: Any = current_token().native_token
    try:
        if is_trio(loop):
            return TrioTcp(connected)
        from lutum._http.asyncio_socket import AsyncioTcp  # not everybody has asyncio loaded

        stream: TcpStream
        _, stream = await loop.create_connection(lambda: AsyncioTcp(loop, connected), sock=connected)
    except BaseException:
        connected.close()
        raise
    return stream


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
