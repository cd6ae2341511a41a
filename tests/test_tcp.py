"""The connection under every turn: on both backends it reads, waits, ends and closes alike."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute
from anyio.lowlevel import checkpoint

from lutum._http import connect as _tcp
from lutum._http.connect import connect_tcp
from lutum._http.socket import UNREAD_BYTES, TcpStream
from lutum.testing import cancel_at

pytestmark = pytest.mark.anyio

UVLOOP = ("asyncio", {"use_uvloop": True})


@pytest.fixture(scope="module", params=["asyncio", "trio", UVLOOP], ids=["asyncio", "trio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """uvloop too: its transports are no asyncio ones, and connecting and closing are its own."""
    return request.param


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


async def connected(listener: socket.socket) -> tuple[TcpStream, socket.socket]:
    stream = await connect_tcp("127.0.0.1", listener.getsockname()[1])
    peer, _ = listener.accept()
    peer.setblocking(False)
    return stream, peer


async def until_blocked(peer: socket.socket, data: bytes) -> int:
    """How much of `data` the other side takes when nobody reads."""
    taken = blocked = 0
    while blocked < 50 and taken < len(data):
        try:
            taken += peer.send(data[taken : taken + 2**20])
            blocked = 0
        except BlockingIOError:
            blocked += 1
        await checkpoint()
    return taken


async def not_quiet(stream: TcpStream) -> None:
    while stream.is_quiet():
        await checkpoint()


def reset(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) == before


async def test_what_was_sent_is_read_and_then_the_end(listener: socket.socket) -> None:
    """In order, no more at once than asked for, and the end again each time it is asked."""
    stream, peer = await connected(listener)
    peer.send(b"abcdef")
    assert await stream.receive(4) == b"abcd"
    assert await stream.receive(4) == b"ef"
    peer.send(b"g")
    peer.close()
    assert await stream.receive() == b"g"
    for _ in range(2):
        with pytest.raises(anyio.EndOfStream):
            await stream.receive()
    await stream.aclose()


async def test_what_is_sent_is_not_kept_for_more(listener: socket.socket) -> None:
    """Nagle's algorithm is off: a request is two writes, of which the second would wait for an ACK."""
    stream, peer = await connected(listener)
    assert stream.extra(SocketAttribute.raw_socket).getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    peer.close()
    await stream.aclose()


async def test_nobody_reads_and_the_sender_is_stopped(listener: socket.socket) -> None:
    """What lies unread is bounded, and nothing of it is lost."""
    stream, peer = await connected(listener)
    sent = bytes(range(256)) * 2**17  # 32 MiB: far more than the kernel holds
    taken = await until_blocked(peer, sent)
    assert taken < len(sent) / 2
    peer.close()
    received = bytearray()
    while len(received) < taken:
        piece = await stream.receive()
        assert len(piece) <= UNREAD_BYTES
        received += piece
    assert received == sent[:taken]
    with pytest.raises(anyio.EndOfStream):
        await stream.receive()
    await stream.aclose()


async def test_sending_waits_for_the_reader(listener: socket.socket) -> None:
    """What the kernel does not take is not piled up; cancelled while it waits, it can be closed."""
    stream, peer = await connected(listener)
    sent = bytes(2**25)
    received = bytearray()
    async with anyio.create_task_group() as group:

        async def send() -> None:
            await stream.send(sent)
            received.extend(b"!")

        group.start_soon(send)
        while len(received) < len(sent):
            await checkpoint()
            try:
                received += peer.recv(2**20)
            except BlockingIOError:
                continue
            assert b"!" not in received or len(received) > len(sent) - 2**24
        peer.close()
    await stream.aclose()


async def test_cancelled_while_it_sends(listener: socket.socket) -> None:
    """Nobody reads, so it waits; closing then does not."""
    stream, peer = await connected(listener)
    async with anyio.create_task_group() as group:
        group.start_soon(stream.send, bytes(2**25))
        for _ in range(20):
            await checkpoint()
        group.cancel_scope.cancel()
    await stream.aclose()
    peer.setblocking(True)
    while peer.recv(2**20):
        pass
    peer.close()


async def test_cancelled_while_it_reads_nothing_is_lost(listener: socket.socket) -> None:
    """The next reader gets what came."""
    stream, peer = await connected(listener)
    async with anyio.create_task_group() as group:
        group.start_soon(stream.receive)
        for _ in range(5):
            await checkpoint()
        group.cancel_scope.cancel()
    peer.send(b"x")
    assert await stream.receive() == b"x"
    peer.close()
    await stream.aclose()


async def test_a_reset_is_broken(listener: socket.socket) -> None:
    """For who reads, and for who writes then."""
    stream, peer = await connected(listener)
    reset(peer)
    with pytest.raises(anyio.BrokenResourceError):
        await stream.receive()
    with pytest.raises((anyio.BrokenResourceError, anyio.ClosedResourceError)):
        await stream.send(b"x")
    await stream.aclose()


async def test_nothing_is_sent_on_a_connection_that_was_reset(listener: socket.socket) -> None:
    """Also when nobody has read that it was: what was not sent must not be charged."""
    stream, peer = await connected(listener)
    reset(peer)
    with pytest.raises(anyio.BrokenResourceError):
        await stream.send(bytes(2**25))
    await stream.aclose()


async def test_the_other_side_may_have_ended_its_own(listener: socket.socket) -> None:
    """It may read all the same, and is waited for."""
    stream, peer = await connected(listener)
    peer.shutdown(socket.SHUT_WR)
    with pytest.raises(anyio.EndOfStream):
        await stream.receive()
    sent = False
    async with anyio.create_task_group() as group:

        async def send() -> None:
            nonlocal sent
            await stream.send(bytes(2**25))
            sent = True

        group.start_soon(send)
        for _ in range(50):
            await checkpoint()
        assert not sent
        group.cancel_scope.cancel()
    await stream.aclose()
    peer.close()


async def test_closed_while_it_is_read(listener: socket.socket) -> None:
    """Who waits is told, and the other side sees the end before `aclose` is over."""
    stream, peer = await connected(listener)

    async def read() -> None:
        with pytest.raises(anyio.ClosedResourceError):
            await stream.receive()

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        for _ in range(5):
            await checkpoint()
        await stream.aclose()
        assert peer.recv(1) == b""
    assert not stream.is_quiet()
    with pytest.raises(anyio.ClosedResourceError):
        await stream.receive()
    peer.close()


@pytest.mark.parametrize("what", ["data", "end", "reset"])
async def test_quiet_is_open_and_nothing_came(listener: socket.socket, what: str) -> None:
    """An idle connection on which anything has come is of no use."""
    stream, peer = await connected(listener)
    for _ in range(5):
        await checkpoint()
        assert stream.is_quiet()
    if what == "data":
        peer.send(b"x")
    elif what == "end":
        peer.close()
    else:
        reset(peer)
    with anyio.fail_after(5):
        await not_quiet(stream)
    await stream.aclose()
    peer.close()


async def test_nobody_listens(listener: socket.socket) -> None:
    """An OSError, and nothing is left open."""
    port = listener.getsockname()[1]
    listener.close()
    with no_descriptor_left(), pytest.raises(OSError, match="failed"):
        await connect_tcp("127.0.0.1", port)


@pytest.mark.parametrize("host", ["a..b", ".a", "a" * 64 + ".test"])
async def test_a_name_that_is_none(host: str) -> None:
    """An OSError as for any name that nobody knows."""
    with pytest.raises(OSError, match="not known"):
        await connect_tcp(host, 80)


async def test_cancelled_at_every_step_of_connecting(listener: socket.socket) -> None:
    """Nothing is left open, however far it got."""
    port = listener.getsockname()[1]
    await (await connect_tcp("127.0.0.1", port)).aclose()  # what is opened once is not counted
    step, requested = 0, True
    with no_descriptor_left():
        while requested:
            step += 1
            requested, stream = await cancel_at(connect_tcp("127.0.0.1", port), step)
            if stream is not None:
                await stream.aclose()
            for _ in range(5):
                await checkpoint()
    assert step > 1


async def test_a_name_is_looked_up(listener: socket.socket) -> None:
    """`localhost` may have two addresses, and the server only one."""
    stream = await connect_tcp("localhost", listener.getsockname()[1])
    await stream.aclose()


class Race:
    """Sockets of our own choice: which address answers, refuses, or hangs until it is cancelled."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **kinds: str) -> None:
        self.tried: list[str] = []
        self.kinds = kinds
        self.opened: list[socket.socket] = []
        monkeypatch.setattr(_tcp, "_connect", self.connect)

    async def connect(self, address: tuple[object, str]) -> socket.socket:
        name = address[1]
        self.tried.append(name)
        kind = self.kinds[name]
        if kind == "refuses":
            await checkpoint()
            raise OSError(errno.ECONNREFUSED, f"{name} refuses")
        if kind == "hangs":
            await anyio.sleep_forever()
        self.opened.append(socket.socket())
        return self.opened[-1]

    async def run(self) -> socket.socket:
        addresses: list[_tcp.Address] = [(socket.AF_INET, name) for name in self.kinds]
        return await _tcp._first_to_answer(addresses)

    @property
    def left_open(self) -> list[socket.socket]:
        return [sock for sock in self.opened if sock.fileno() >= 0]


async def test_the_next_address_is_tried_when_one_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, and the others are not tried."""
    race = Race(monkeypatch, a="refuses", b="answers", c="answers")
    sock = await race.run()
    assert race.tried == ["a", "b"]
    assert race.left_open == [sock]
    sock.close()


async def test_the_next_address_is_tried_when_one_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever answers first ends the attempts of the others."""
    monkeypatch.setattr(_tcp, "NEXT_ADDRESS_SECONDS", 0.001)
    race = Race(monkeypatch, a="hangs", b="hangs", c="answers")
    sock = await race.run()
    assert race.tried == ["a", "b", "c"]
    assert race.left_open == [sock]
    sock.close()


async def test_when_none_answers_each_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what became of every address."""
    race = Race(monkeypatch, a="refuses", b="refuses")
    with pytest.raises(OSError, match=r"a refuses.*b refuses"):
        await race.run()


async def test_who_is_cancelled_in_a_race_keeps_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when one has answered in the same step."""
    race = Race(monkeypatch, a="hangs", b="answers")
    with anyio.CancelScope() as scope:
        scope.cancel()
        await race.run()
    assert race.left_open == []


async def test_addresses_come_by_turns_of_family(monkeypatch: pytest.MonkeyPatch) -> None:
    """One family that does not work costs one attempt, not all of its addresses."""
    four, six = socket.AF_INET, socket.AF_INET6

    async def found(*given: object, **more: object) -> list[tuple[object, ...]]:
        return [(family, 1, 6, "", to) for family, to in ((six, "a"), (six, "b"), (six, "c"), (four, "d"))]

    monkeypatch.setattr(anyio, "getaddrinfo", found)
    assert [to for _, to in await _tcp._addresses("name.test", 1)] == ["a", "d", "b", "c"]
    assert await _tcp._addresses("127.0.0.1", 80) == [(four, ("127.0.0.1", 80))]
