"""The channel between pump and consumer: what anyio's tests ask of a memory object stream, and batches."""

from __future__ import annotations

import asyncio

import anyio
import pytest
from anyio.abc import ObjectReceiveStream
from anyio.lowlevel import checkpoint

from lutum._backend import running_backend
from lutum._turn.channel import FULL, FrameChannel
from lutum.testing import cancel_at


def made(*frames: bytes) -> FrameChannel:
    channel = FrameChannel(running_backend())
    for frame in frames:
        channel.send_nowait(frame)
    return channel


async def test_a_batch_holds_everything() -> None:
    """Frames that were not taken yet come together, in order, and later ones in the next batch."""
    channel = made(b"a", b"b")
    assert isinstance(channel, ObjectReceiveStream)
    assert await channel.receive() == [b"a", b"b"]
    channel.send_nowait(b"c")
    assert channel.receive_nowait() == [b"c"]


async def test_a_receiver_waits_for_a_frame() -> None:
    """It is woken by the first frame, and gets those that were sent before it runs."""
    channel = made()
    received: list[list[bytes]] = []

    async def receive() -> None:
        received.append(await channel.receive())

    async with anyio.create_task_group() as group:
        group.start_soon(receive)
        await anyio.wait_all_tasks_blocked()
        channel.send_nowait(b"a")
        channel.send_nowait(b"b")
    assert received == [[b"a", b"b"]]


async def test_the_end_comes_after_the_frames() -> None:
    """And again each time it is asked for."""
    channel = made(b"a")
    channel.end()
    assert channel.ended
    assert await channel.receive() == [b"a"]
    for _ in range(2):
        with pytest.raises(anyio.EndOfStream):
            await channel.receive()
        with pytest.raises(anyio.EndOfStream):
            channel.receive_nowait()


@pytest.mark.parametrize("how", ["end", "close"])
async def test_a_waiting_receiver_is_woken(how: str) -> None:
    """By the end of either side."""
    channel = made()
    raised: list[Exception] = []

    async def receive() -> None:
        try:
            await channel.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError) as exc:
            raised.append(exc)

    async with anyio.create_task_group() as group:
        group.start_soon(receive)
        await anyio.wait_all_tasks_blocked()
        getattr(channel, how)()
    assert [type(exc) for exc in raised] == [anyio.EndOfStream if how == "end" else anyio.ClosedResourceError]


async def test_iteration_ends() -> None:
    channel = made(b"a")
    channel.end()
    assert [batch async for batch in channel] == [[b"a"]]


async def test_a_closed_receiver() -> None:
    """It receives nothing more, and the sender goes on without anyone to take its frames."""
    channel = made(b"a")
    async with channel:
        pass
    assert channel.closed
    channel.send_nowait(bytes(FULL))
    assert not channel.full
    with pytest.raises(anyio.ClosedResourceError):
        await channel.receive()
    with pytest.raises(anyio.ClosedResourceError):
        channel.receive_nowait()


async def test_nothing_there() -> None:
    with pytest.raises(anyio.WouldBlock):
        made().receive_nowait()


async def test_two_receivers() -> None:
    """The second is refused, and the first still gets its batch."""
    channel = made()
    async with anyio.create_task_group() as group:
        group.start_soon(channel.receive)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(anyio.BusyResourceError):
            await channel.receive()
        channel.send_nowait(b"a")


@pytest.mark.parametrize("state", ["frames", "ended", "closed"])
async def test_receiving_is_a_checkpoint(state: str) -> None:
    """Also when nothing has to be waited for: it suspends, and a cancelled scope is met."""
    channel = made(b"a")
    if state == "ended":
        channel.receive_nowait()
        channel.end()
    elif state == "closed":
        channel.close()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await channel.receive()
    assert scope.cancelled_caught
    assert (await cancel_at(channel.receive(), 1))[0]


async def test_cancelled_it_has_taken_nothing() -> None:
    """At each step."""
    step, requested = 0, True
    while requested:
        step += 1
        channel = made(b"a")
        requested, batch = await cancel_at(channel.receive(), step)
        assert (batch or channel.receive_nowait()) == [b"a"]
    assert step > 1


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_native_cancellation_in_the_step_after_the_hand_over() -> None:
    """anyio's memory object stream loses the item here."""
    channel = made()
    task = asyncio.ensure_future(channel.receive())
    await anyio.wait_all_tasks_blocked()
    channel.send_nowait(b"a")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await channel.receive() == [b"a"]


async def test_a_full_channel() -> None:
    """The sender waits until the batch is taken."""
    channel = made(bytes(FULL - 1))
    assert not channel.full
    await channel.wait_room()
    channel.send_nowait(b"a")
    assert channel.full
    went_on = anyio.Event()

    async def send() -> None:
        await channel.wait_room()
        went_on.set()

    async with anyio.create_task_group() as group:
        group.start_soon(send)
        await anyio.wait_all_tasks_blocked()
        assert not went_on.is_set()
        channel.receive_nowait()
        await went_on.wait()
        assert not channel.full


async def test_a_cancelled_sender() -> None:
    """Nothing has changed."""
    channel = made(bytes(FULL))
    with anyio.move_on_after(0):
        await channel.wait_room()
    assert channel.full
    assert await channel.receive() == [bytes(FULL)]
    await checkpoint()
