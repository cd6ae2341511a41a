"""The task that carries a process' operations to the server, in order and in batches.

The operations that were posted since the last batch form the next batch, so a burst of reservations is one
call. A batch has a number. If it is sent again, the server does not execute it again, but returns the same
reply. While the server cannot be reached, the operations stay here. If the server lost writes of this
process, it first gets these writes again.
"""

from __future__ import annotations

import logging
import math
import os
import platform
import time
import uuid
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import anyio

from lutum._values.errors import LedgerError, LedgerLost
from lutum.redis._figures import Figures, figures_of
from lutum.redis._notice import SentNotice
from lutum.redis._server import Address, RedisServer, open_server
from lutum.redis._wire import BatchReply, encode, prefix

logger = logging.getLogger("lutum")

LINGER = 0.002
"""Seconds that a settlement waits for other operations of its batch."""

BATCH = 400
"""The most operations in one call. They take some 10 ms of the server at the most."""

Done = Callable[[Any], None]
"""Called with the result of an operation, from the courier's task."""


class Memory(Protocol):
    """The part of a ledger that the courier uses, such as its state for a server that lost it."""

    def report(self) -> list[list[Any]]:
        """Return the operations that report the whole state of this process to a server."""
        ...

    def deliver(self, id: str, result: list[Any]) -> None:
        """Take a message of the server: a waiter was granted or refused."""
        ...

    def stopped(self, reasons: dict[str, str]) -> None:
        """Take the limits that are stopped."""
        ...

    def reaped(self) -> None:
        """Handle that the process was taken for dead: its leases are charged, and cannot grow."""
        ...

    def reconnected(self) -> None:
        """Handle that the server can be reached again."""
        ...

    def regular(self) -> list[tuple[list[Any], Done | None]]:
        """Return the operations that are sent every few seconds: offers to waiters, and reads of figures."""
        ...

    def unreachable(self, seconds: float, error: LedgerError) -> None:
        """Handle that the server could not be reached for `seconds`."""
        ...


class Courier:
    """Sends operations to the server in batches. `post` is a plain call."""

    def __init__(
        self, address: Address, name: str, memory: Memory, *, ttl: float, answer: float, offer: float
    ) -> None:
        self.address = address
        self.prefix: str = prefix(name)
        self.process: str = f"{platform.node()[:40]}-{os.getpid()}-{uuid.uuid4().hex[:12]}"
        self.notice: SentNotice = SentNotice()
        self.figures: dict[str, Figures] = dict[str, Figures]()
        self.error: LedgerError | None = LedgerError(f"Redis at {address} has not been reached yet")
        self.lost: bool = False
        self.calls: int = 0
        self._name = name
        self._memory = memory
        self._ttl = ttl
        self._answer = answer
        self._offer = offer
        self._queue = deque[tuple[list[Any], Done | None]]()
        self._batch: list[tuple[list[Any], Done | None]] = []
        self._seq = 0
        self._epoch = ""
        self._begin = uuid.uuid4().hex
        self._wake = anyio.Event()
        self._urgent = False
        self._contact = time.monotonic()  # when the last answered call was sent
        self._clock = (0.0, 0.0)  # the server's time and ours, at the last reply
        self._due: float | None = None
        self._create = True

    # Time.

    @property
    def lapsed(self) -> bool:
        """True if the server may have taken this process for dead."""
        return time.monotonic() - self._contact > self._ttl * 0.9

    @property
    def now(self) -> float:
        """The server's time in seconds since the epoch, as far as it is known."""
        server, ours = self._clock
        return server + time.monotonic() - ours if server else time.time()

    @property
    def as_of(self) -> float | None:
        """The server's time of the last reply, in seconds since the epoch. The figures are of that time."""
        return self._clock[0] or None

    # Posting.

    def post(self, operation: list[Any], done: Done | None = None, *, urgent: bool = True) -> None:
        """Send an operation with the next batch, after the operations that were posted before."""
        self._queue.append((operation, done))
        if urgent or len(self._queue) == 1:  # without urgency, the first operation starts the time of LINGER
            self._urgent = self._urgent or urgent
            self._wake.set()

    @property
    def idle(self) -> bool:
        """True if every posted operation is on the server."""
        return not self._queue and not self._batch

    # Running.

    async def run(self) -> None:
        """Send operations until this task is cancelled. Unsent operations then stay in the queue."""
        pause = 0.05
        while True:
            try:
                async with open_server(self.address, timeout=self._answer) as server:
                    while True:
                        await self._step(server)
                        pause = 0.05
            except LedgerError as error:
                self._failed(error)
            except Exception as error:  # the client raises various errors when its connections end
                self._failed(LedgerError(f"Redis at {self.address}: {error!r}"))
            self._memory.unreachable(time.monotonic() - self._contact, self.error or LedgerError("no answer"))
            await anyio.sleep(pause)
            pause = min(1.0, pause * 2)

    async def open(self, server: RedisServer, first: list[list[Any]], *, create: bool) -> BatchReply:
        """Make the first call.

        Raises:
          LedgerLost: the ledger does not exist, and must not be created.
          LedgerError: the server gives no answer.
        """
        self._create = create
        self._batch = [(operation, None) for operation in first]
        reply = await self._call(server)
        if reply.status == "missing":
            raise LedgerLost(
                f"Redis at {self.address} has no ledger {self._name!r}, and create=False: it was never"
                " opened, or the server lost its data; see `lutum budget`"
            )
        self._take(reply)
        return reply

    async def _step(self, server: RedisServer) -> None:
        if not self._batch:
            await self._fill()
        reply = await self._call(server)
        if reply.status in ("lost", "behind"):
            await self._report_again(server, reply)
            return
        if reply.status != "ok":
            raise LedgerError(f"Redis at {self.address} returned the unknown status {reply.status!r}")
        self._take(reply)

    async def _fill(self) -> None:
        """Wait until operations are due, and make them the next batch."""
        while not self._urgent:
            due = time.monotonic() + LINGER
            if not self._queue:
                due = min(self._contact + self._offer, self._due or math.inf)
            self._wake = anyio.Event()
            with anyio.move_on_after(max(0.0, due - time.monotonic())) as timer:
                await self._wake.wait()
            if timer.cancelled_caught:
                break
        self._urgent = False
        take = min(BATCH, len(self._queue))
        self._batch = [self._queue.popleft() for _ in range(take)]
        self._urgent = bool(self._queue)
        if time.monotonic() - self._contact >= self._offer or not self._batch:
            self._batch += self._memory.regular()

    async def _call(self, server: RedisServer, operations: list[list[Any]] | None = None) -> BatchReply:
        began = time.monotonic()
        self.calls += 1
        reply = await server.call(
            self.prefix,
            self.process,
            self._seq + 1,
            self._epoch,
            int(self._ttl * 1000),
            encode(operations or [operation for operation, _ in self._batch]),
            self._begin if self._create or self._epoch else "",
        )
        self._contact = began
        if self.error is not None and reply.status == "ok":
            self.error = None
            self._memory.reconnected()
        return reply

    async def _report_again(self, server: RedisServer, reply: BatchReply) -> None:
        """Report the whole state to a server that lost data. The operations that it has not run follow."""
        if reply.status == "lost":
            logger.error("Redis at %s lost the data of ledger %r", self.address, self._name)
            self._epoch = reply.epoch
            self._begin = uuid.uuid4().hex
            self.lost = True
        else:
            logger.warning("Redis at %s lost the last writes to ledger %r", self.address, self._name)
        # Growth is left out, because the report contains the amounts that the leases hold.
        kept = [call for call in (*self._batch, *self._queue) if call[0][0] not in ("grow", "slack", "sent")]
        self._queue = deque(kept)
        self._batch = []
        self._seq += 1
        report = self._memory.report()
        self._batch = [(operation, None) for operation in report]
        answer = await self._call(server)
        if answer.status == "ok":
            self._take(answer)

    def _take(self, reply: BatchReply) -> None:
        self._seq += 1
        self._epoch = reply.epoch
        self.lost = bool(reply.lost)
        self._clock = (reply.now / 1000, time.monotonic())
        self._due = time.monotonic() + reply.due / 1000 if reply.due >= 0 else None
        for row in reply.rows:
            figures = figures_of(row)
            self.figures[figures.name] = figures
        batch, self._batch = self._batch, []
        if reply.reaped:
            logger.warning("ledger %r treated this process as dead and charged its sent requests", self._name)
            self._memory.reaped()
        for (_, done), result in zip(batch, reply.results, strict=False):
            if done is not None:
                done(result)
        for id, result in reply.letters:
            self._memory.deliver(id, result)
        self._memory.stopped(dict(zip(reply.stopped[::2], reply.stopped[1::2], strict=True)))

    def _failed(self, error: LedgerError) -> None:
        if self.error is None:
            logger.warning("%s", error)
        self.error = error
        self.notice.close()

    # Messages, and the connection of the notices.

    async def listen(self) -> None:
        """Wake the courier when the server publishes a message for this process."""
        channels = [f"{self.prefix}poke:{self.process}", f"{self.prefix}all"]
        while True:
            try:
                async with open_server(self.address, timeout=self._answer) as server:
                    await server.listen(channels, self._heard)
            except Exception as error:
                logger.debug("ledger %r: no messages: %r", self._name, error)
            await anyio.sleep(1.0)

    def _heard(self, word: str) -> None:
        if word in ("yield", "stop", "seeded", "subscribed"):
            for operation, done in self._memory.regular():
                self.post(operation, done)
        else:
            self.post(["watch", []])

    async def keep_notice(self) -> None:
        """Keep the connection of the notices open."""
        while True:
            if not self.notice.is_open and self.error is None:
                try:
                    await anyio.to_thread.run_sync(self.notice.connect, self.address)
                except OSError as error:
                    logger.debug("ledger %r: %r", self._name, error)
            await anyio.sleep(min(1.0, self._ttl / 8))
