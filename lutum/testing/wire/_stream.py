"""The connection for lutum's HTTP engine: a byte stream in memory. No socket, thread or task.

The server's side runs in the client's task, while the client receives. All waiting is `anyio.sleep`, so
virtual time works. Faults raise the exceptions that a socket would raise.
"""

import errno
from collections.abc import Callable, Iterator
from typing import final

import anyio
import httpx
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint

from lutum.testing.wire._http1 import RequestParser, Step, steps
from lutum.testing.wire._plan import Wait, WirePlan
from lutum.testing.wire._request import WireRequest

__all__ = ["WireStream"]


@final
class WireStream(ByteStream):
    """The client's end of a connection; from `WireServer.connect`."""

    def __init__(
        self,
        receive: Callable[[str, str, httpx.Headers, bytes], WireRequest],
        plan: Callable[[WireRequest], WirePlan],
        refuses: Callable[[], bool],
    ) -> None:
        self._ended = False  # whether the server ends the connection, now or after this answer
        self._refuses = refuses
        self._receive = receive
        self._plan = plan
        self._parser = RequestParser()
        self._request: WireRequest | None = None
        self._steps: Iterator[Step] = iter(())
        self._unread = b""
        self._asked = anyio.Event()
        self._reset = False
        self._closed = False

    @property
    def is_closing(self) -> bool:
        """True if the connection is unusable: it is closed, or the next script refuses the connection."""
        return self._closed or self._ended or self._refuses()

    async def send(self, item: bytes | memoryview) -> None:
        """Take all of `item` at once. If cancelled, it has taken nothing."""
        await checkpoint()
        if self._closed:
            raise anyio.ClosedResourceError
        if self._request is None and self._ended:
            raise anyio.BrokenResourceError from BrokenPipeError(errno.EPIPE, "Broken pipe")
        try:
            found = self._parser.feed(bytes(item))
        except EOFError:
            self._end("cut")
            return
        if found is not None:
            self._ended = not found.keep
            self._request = self._receive(found.method, found.target, found.headers, found.body)
            plan = self._plan(self._request)
            # It is too late to refuse the connection. It is reset after the time that the refusal would have
            # taken.
            refused = plan.connect
            self._steps = iter((refused, "reset")) if refused else steps(plan, self._request)
            self._asked.set()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Execute the server's plan up to the next bytes.

        If this is cancelled, no bytes were returned. If the cancellation interrupted a wait of the plan, the
        wait is not repeated.
        """
        await checkpoint()
        while not self._unread:
            if self._closed:
                raise anyio.ClosedResourceError
            if self._reset:
                error = ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
                raise anyio.BrokenResourceError from error
            if self._request is None:
                if self._ended:
                    raise anyio.EndOfStream
                self._asked = anyio.Event()
                await self._asked.wait()
                continue
            match step := next(self._steps):
                case bytes():
                    self._unread = step
                    self._look_ahead()
                case Wait(None):
                    await anyio.sleep_forever()
                case Wait(seconds):
                    await anyio.sleep(seconds or 0)
                case _:
                    self._end(step)
        data, self._unread = self._unread[:max_bytes], self._unread[max_bytes:]
        return data

    def _look_ahead(self) -> None:
        """Join the chunks that a socket would return in one read, and note an end that comes with them."""
        while len(self._unread) < 65536:
            step = next(self._steps)
            if isinstance(step, bytes):
                self._unread += step
                continue
            if step == "end":
                self._end(step)
            else:
                self._steps = _behind(step, self._steps)
            return

    def _end(self, step: Step) -> None:
        request, self._request = self._request, None
        if request is not None:
            request.end("completed" if step == "end" else "cut")
        if step != "end":
            self._ended = True
        self._reset = step == "reset"

    async def send_eof(self) -> None:
        """End the connection for new requests, as a client that sends no more."""
        self._ended = True
        await checkpoint()

    async def aclose(self) -> None:
        """Close the connection. The outcome of an unfinished answer is "disconnected"."""
        self._closed = True
        request, self._request = self._request, None
        if request is not None:
            request.end("disconnected")
        await checkpoint()


def _behind(step: Step, more: Iterator[Step]) -> Iterator[Step]:
    yield step
    yield from more
