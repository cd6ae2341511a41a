"""The channel between pump and consumer: frames in batches.

The channel holds one batch at most. The pump appends each frame to this batch. The consumer takes the whole
batch, and the next frame begins a new one. The consumer can therefore read every decoded event at once. Many
frames that the pump sends without a suspension wake the consumer only once.

anyio's memory object stream is not used for two reasons. It takes a quarter of the time that an event takes.
It also loses the item if a native asyncio cancellation arrives in the step after the item was handed over.
Here the batch stays in the channel until the consumer runs and takes it. The receiver's side is an
`anyio.abc.ObjectReceiveStream`.
"""

from __future__ import annotations

from typing import Final, final

import anyio
from anyio.abc import ObjectReceiveStream
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled

from lutum._backend import Backend

FULL: Final = 256 * 1024
"""The pump stops reading the socket when the batch has this many bytes: four reads of 64 KiB."""


@final
class FrameChannel(ObjectReceiveStream[list[bytes]]):
    """One sender and one receiver on one event loop."""

    __slots__ = ("_arrived", "_batch", "_closed", "_ended", "_receiving", "_room", "_size")

    def __init__(self, backend: Backend) -> None:
        self._batch: list[bytes] = []
        self._size = 0
        self._arrived = backend.wakeup()
        self._room: anyio.Event | None = None
        self._receiving = False
        self._ended = False
        self._closed = False

    # The sender's side.

    def send_nowait(self, frame: bytes) -> None:
        """Add a frame to the batch. After the receiver's side was closed, drop the frame."""
        if self._closed:
            return
        self._batch.append(frame)
        self._size += len(frame)
        if len(self._batch) == 1:
            self._arrived.wake()

    @property
    def full(self) -> bool:
        """True if the sender should wait for room."""
        return self._size >= FULL

    async def wait_room(self) -> None:
        """Wait until the consumer takes the batch. Cancellation changes nothing.

        If the consumer leaves instead, this call does not return: the pump is cancelled then, and it must not
        read from the socket before the cancellation arrives.
        """
        if not self.full:
            await checkpoint()
            return
        self._room = anyio.Event()
        await self._room.wait()

    def end(self) -> None:
        """Close the sender's side. No frame may follow."""
        self._ended = True
        self._arrived.wake()

    @property
    def ended(self) -> bool:
        """True if the sender's side is closed."""
        return self._ended

    # The receiver's side.

    async def receive(self) -> list[bytes]:
        """Take the batch. If there is none, wait for the next frame.

        Always a checkpoint. If it is cancelled, it takes nothing.

        Raises:
          EndOfStream: the sender's side is closed, and everything was taken.
          ClosedResourceError: the receiver's side is closed.
          BusyResourceError: another task is receiving.
        """
        if self._receiving:
            raise anyio.BusyResourceError("receiving from")
        self._receiving = True
        try:
            if self._batch or self._ended or self._closed:
                await checkpoint()
            else:
                await checkpoint_if_cancelled()  # a full checkpoint would cost as much as an event
                while not (self._batch or self._ended or self._closed):
                    await self._arrived.wait()
        finally:
            self._receiving = False
        return self.receive_nowait()

    def receive_nowait(self) -> list[bytes]:
        """Take the batch.

        Raises:
          WouldBlock: there is no batch yet.
          EndOfStream: the sender's side is closed, and everything was taken.
          ClosedResourceError: the receiver's side is closed.
        """
        if self._closed:
            raise anyio.ClosedResourceError
        if not self._batch:
            raise anyio.EndOfStream if self._ended else anyio.WouldBlock
        batch, self._batch, self._size = self._batch, [], 0
        if self._room is not None:
            self._room.set()
            self._room = None
        return batch

    def close(self) -> None:
        """Close the receiver's side and drop the batch."""
        self._closed = True
        self._batch, self._size = [], 0
        self._arrived.wake()

    @property
    def closed(self) -> bool:
        """True if the receiver's side is closed."""
        return self._closed

    async def aclose(self) -> None:
        """Close the receiver's side. A checkpoint."""
        self.close()
        await checkpoint()
