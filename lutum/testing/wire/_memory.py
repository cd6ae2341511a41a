"""The httpx transport: it executes the plans in memory, with no socket and no thread.

All waiting is `anyio.sleep`, so virtual time works. A fault raises the exception that httpx raises for the
same fault on a socket. The phases of the request are reported to its `trace` extension, as in httpcore.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn, final

import anyio
import anyio.lowlevel
import httpx

from lutum.testing.wire._plan import Burst, Ending, Repeat, Wait, WirePlan
from lutum.testing.wire._request import WireRequest

__all__ = ["WireTransport"]

# The size of one read of httpcore from a socket. Chunks within one read arrive without a suspension.
_READ = 64 * 1024

_Trace = Callable[[str, dict[str, Any]], Awaitable[None]]


async def _no_trace(name: str, info: dict[str, Any]) -> None:
    pass


@final
class WireTransport(httpx.AsyncBaseTransport):
    """`WireServer` as an httpx transport. `WireServer.transport()` returns it.

    Each request is a new connection. The request's connect and read timeouts are respected.
    """

    def __init__(
        self,
        receive: Callable[[str, str, httpx.Headers, bytes], WireRequest],
        plan: Callable[[WireRequest], WirePlan],
    ) -> None:
        self._receive = receive
        self._plan = plan

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer up to the response head. If it is cancelled before the head, the outcome is "disconnected".

        This is a checkpoint only if it has to wait.
        """
        trace: _Trace = request.extensions.get("trace") or _no_trace
        timeout: dict[str, float | None] = request.extensions.get("timeout") or {}
        target = request.url.raw_path.decode("ascii")
        wire = self._receive(request.method, target, request.headers, await request.aread())
        try:
            plan = self._plan(wire)
            await _connect(plan, request, trace, timeout.get("connect"), wire)
            info: dict[str, Any] = {"request": request}
            await trace("http11.send_request_headers.started", info)
            await anyio.lowlevel.checkpoint()
            await trace("http11.send_request_headers.complete", {"return_value": None})
            await trace("http11.send_request_body.started", info)
            await trace("http11.send_request_body.complete", {"return_value": None})
            await trace("http11.receive_response_headers.started", info)
            for wait in plan.before:
                await _sleep(wait, timeout.get("read"))
            if plan.head is None or isinstance(plan.head, bytes):
                wire.end("cut")
                if plan.head:
                    raise httpx.RemoteProtocolError("illegal status line")
                _raise(plan.ending, "Server disconnected without sending a response.")
            head = plan.head
            if head.status < 400:
                wire.begin()
            await trace(
                "http11.receive_response_headers.complete",
                {"return_value": (b"HTTP/1.1", head.status, b"", httpx.Headers(list(head.headers)).raw, b"")},
            )
        except BaseException:
            wire.end("disconnected")
            raise
        return httpx.Response(
            head.status,
            headers=list(head.headers),
            stream=_PlanBody(plan, wire, timeout.get("read")),
            extensions={"http_version": b"HTTP/1.1"},
        )


async def _connect(
    plan: WirePlan, request: httpx.Request, trace: _Trace, timeout: float | None, wire: WireRequest
) -> None:
    info = {"host": request.url.host, "port": request.url.port, "timeout": timeout}
    await trace("connection.connect_tcp.started", info)
    if plan.connect is None:
        await anyio.lowlevel.checkpoint()
        await trace("connection.connect_tcp.complete", {"return_value": None})
        return
    error: httpx.TransportError = httpx.ConnectError("All connection attempts failed")
    try:
        await _sleep(plan.connect, timeout)
    except httpx.ReadTimeout:
        error = httpx.ConnectTimeout("")
    wire.end("cut")
    await trace("connection.connect_tcp.failed", {"exception": error})
    raise error


@final
class _PlanBody(httpx.AsyncByteStream):
    """The chunks of a response. It is not a generator, so nothing keeps running if it is left half read."""

    def __init__(self, plan: WirePlan, wire: WireRequest, timeout: float | None) -> None:
        self._items = list(reversed(plan.body))
        self._ending: Ending = plan.ending
        self._chunks: list[bytes] = []
        self._wire = wire
        self._timeout = timeout
        self._unread = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while not self._chunks:
            if self._wire.outcome not in ("open", "completed"):
                raise StopAsyncIteration
            if not self._items:
                self._end()
            match self._items[-1]:
                case Repeat(chunk, delay):
                    if self._unread:
                        await anyio.sleep(delay)
                    self._unread = _READ
                    await anyio.lowlevel.checkpoint()
                    return chunk
                case Wait():
                    await _sleep(self._items[-1], self._timeout)
                case Burst(chunks):
                    self._chunks = list(reversed(chunks))
            self._items.pop()
            self._unread = 0
        if self._unread <= 0:
            await anyio.lowlevel.checkpoint()
            self._unread = _READ
        chunk = self._chunks.pop()
        self._unread -= len(chunk)
        if not self._chunks and not self._items and self._ending == "end":
            # On a socket the end of the body is written together with the last chunk.
            self._wire.end("completed")
        return chunk

    def _end(self) -> NoReturn:
        if self._ending == "end":
            self._wire.end("completed")
            raise StopAsyncIteration
        self._wire.end("cut")
        _raise(
            self._ending,
            "peer closed connection without sending complete message body (incomplete chunked read)",
        )

    async def aclose(self) -> None:
        self._wire.end("disconnected")


async def _sleep(wait: Wait, timeout: float | None) -> None:
    """Wait as planned, but at most for the client's timeout.

    Raises:
      httpx.ReadTimeout: the client's timeout is shorter.
    """
    if timeout is not None and (wait.seconds is None or wait.seconds > timeout):
        await anyio.sleep(timeout)
        raise httpx.ReadTimeout("")
    if wait.seconds is None:
        await anyio.sleep_forever()
    else:
        await anyio.sleep(wait.seconds)


def _raise(ending: Ending, text: str) -> NoReturn:
    if ending == "reset":
        raise httpx.ReadError("")
    raise httpx.RemoteProtocolError(text)
