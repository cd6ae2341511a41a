"""The channel between pump and consumer: frames in batches.

The channel holds one batch at the most. The pump appends to the batch that lies there untaken, or puts
a new one; the consumer takes the batch whole. So whatever has been decoded is within the consumer's
reach at once, and a burst that arrives without a suspension costs one hand-over, not one a frame.

`_batch` is the truth, the memory object stream its way and `_arrived` the wake-up: a consumer that is
cancelled just when it is woken loses nothing, its next `take` finds the batch here. (Waiting in
`receive()` costs a turn of the event loop more, with each event that is a read of its own.)
"""

from __future__ import annotations

import anyio
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled

from lutum._backend import Backend

# Frames untaken at which the pump stops reading the socket; four reads of 64 KiB.
FULL = 256 * 1024


class FrameChannel:
    __slots__ = ("_arrived", "_batch", "_ended", "_receive", "_send", "_size", "_taken")

    def __init__(self, backend: Backend) -> None:
        self._send, self._receive = anyio.create_memory_object_stream[list[bytes]](1)
        self._batch: list[bytes] | None = None
        self._size = 0
        self._arrived = backend.wakeup()
        self._taken: anyio.Event | None = None
        self._ended = False

    def put(self, frame: bytes) -> None:
        """Put a frame within the consumer's reach; dropped once the consumer has left."""
        self._size += len(frame)
        if self._batch is not None:
            self._batch.append(frame)
            return
        self._batch = [frame]
        try:
            self._send.send_nowait(self._batch)
        except anyio.BrokenResourceError:
            pass
        self._arrived.wake()

    @property
    def full(self) -> bool:
        return self._size >= FULL

    async def wait_taken(self) -> None:
        """Wait until the consumer takes the batch. Cancelled, nothing has changed."""
        self._taken = anyio.Event()
        await self._taken.wait()

    def end(self) -> None:
        """No frame will follow."""
        self._ended = True
        self._send.close()
        self._arrived.wake()

    async def take(self) -> list[bytes]:
        """Take everything that lies there, or wait for it; empty at the end.

        Always a checkpoint. Cancelled, it has taken nothing.
        """
        if self._batch is None and not self._ended:
            await checkpoint_if_cancelled()  # on asyncio, a batch that comes now would be faster
            await self._arrived.wait()
        else:
            await checkpoint()
        try:
            self._receive.receive_nowait()
        except (anyio.WouldBlock, anyio.EndOfStream):
            pass
        batch, self._batch, self._size = self._batch, None, 0
        if self._taken is not None:
            self._taken.set()
            self._taken = None
        return batch or []

    def close(self) -> None:
        """The consumer leaves."""
        self._receive.close()
