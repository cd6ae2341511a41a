"""lutum's HTTP engine as a transport of httpx. The user's client keeps its hooks, auth and mocks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, final

import anyio
import httpx

from lutum._http.engine import FAILURES, EngineRequest, HttpEngine
from lutum._http.foreign_client import MARK
from lutum._http.heads import RequestHeaders
from lutum._http.pool import Connector
from lutum._values.errors import BadValue, NetworkError
from lutum.abc import Phase

# The trace events of httpcore from which `foreign_client` derives the phases of a request.
_EVENTS: dict[Phase, tuple[str, ...]] = {
    "connecting": ("connection.connect_tcp.started",),
    "connected": ("connection.connect_tcp.complete", "http11.send_request_headers.started"),
    "sent": ("http11.send_request_headers.complete", "http11.send_request_body.complete"),
}
_OURS = frozenset({"connection", "content-length", "transfer-encoding", "keep-alive"})


@final
class EngineTransport(httpx.AsyncBaseTransport):
    """lutum's HTTP engine below an `httpx.AsyncClient`.

    The client's timeouts `connect` and `read` apply; the others do not. The whole body of a request is read
    before the request is sent.
    """

    def __init__(self, connect: Connector | None = None) -> None:
        self._engine = HttpEngine(connect)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return its response when the head arrives. Cancellation leaves nothing open."""
        url = request.url.copy_with(userinfo=b"")  # httpx has converted the user info to a header
        lines = ((name, value) for name, value in request.headers.multi_items() if name not in _OURS)
        try:
            call, headers = self._engine.request(str(url)), RequestHeaders(lines)
        except BadValue as exc:
            raise httpx.LocalProtocolError(str(exc)) from exc
        body = await request.aread()
        timeout: dict[str, float | None] = request.extensions.get("timeout") or {}
        trace: Callable[[str, dict[str, Any]], Awaitable[None]] | None = request.extensions.get("trace")
        mark: Callable[[Phase], None] | None = request.extensions.get(MARK)
        phases = _Phases(timeout.get("connect"), timeout.get("read"), mark)
        try:
            with phases.scope:
                await call.send(request.method, headers, body, phases.mark)
        except NetworkError as exc:
            await call.aclose()
            raise phases.error(str(exc)) from exc
        finally:
            if (
                trace is not None and mark is None
            ):  # awaited here, because the engine calls `mark` and does not await it
                for phase in phases.seen:
                    for event in _EVENTS[phase]:
                        await trace(event, {"request": request})
        answer = call.answer
        if answer is None:  # cancelled by the deadline
            raise phases.timeout()
        call.start(decode=False)  # httpx decodes the body itself
        return httpx.Response(
            answer.status,
            headers=answer.lines,
            stream=_EngineBody(call, timeout.get("read")),
            extensions={"http_version": b"HTTP/1.1"},
        )

    async def aclose(self) -> None:
        """Close the idle connections of the running loop."""
        await self._engine.aclose()


@final
class _Phases:
    """The deadline of a request. Each phase sets a new one."""

    def __init__(
        self, connect: float | None, read: float | None, mark: Callable[[Phase], None] | None
    ) -> None:
        self.scope = anyio.CancelScope()
        self.seen: list[Phase] = []
        self._connect = connect
        self._read = read
        self._mark = mark

    def mark(self, phase: Phase) -> None:
        self.seen.append(phase)
        if self._mark is not None:
            self._mark(phase)
        limit = {"connecting": self._connect, "connected": None, "sent": self._read}[phase]
        self.scope.deadline = float("inf") if limit is None else anyio.current_time() + limit

    @property
    def _connecting(self) -> bool:
        return self.seen[-1:] in ([], ["connecting"])

    def timeout(self) -> httpx.TimeoutException:
        return httpx.ConnectTimeout("") if self._connecting else httpx.ReadTimeout("")

    def error(self, words: str) -> httpx.TransportError:
        return httpx.ConnectError(words) if self._connecting else httpx.ReadError(words)


@final
class _EngineBody(httpx.AsyncByteStream):
    """The body of a response. Closing it returns its connection to the pool."""

    def __init__(self, call: EngineRequest, timeout: float | None) -> None:
        self._call = call
        self._timeout = timeout

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            if self._timeout is None:
                piece = await self._call.next()
            else:
                with anyio.fail_after(self._timeout):
                    piece = await self._call.next()
        except TimeoutError as exc:
            raise httpx.ReadTimeout("") from exc
        except FAILURES as exc:
            raise httpx.RemoteProtocolError(str(self._call.error(exc))) from exc
        if not piece:
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        await self._call.aclose()
