"""HTTP/1.1 requests over lutum's own connections, with their phases, the pieces of their answers, and
errors."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from typing import Final, final

import anyio
from anyio.abc import ByteStream

from lutum._http.answer import HttpAnswer, MalformedAnswer
from lutum._http.decompress import Decompressor
from lutum._http.heads import BEFORE_HEAD, RequestHeaders, Target, request_head, response_of
from lutum._http.pool import Connection, Connector, IdleConnections, LoopPool, Origin, open_connection
from lutum._http.proxies import Proxies, Proxy, ProxyRefused
from lutum._values.errors import Interrupted, NetworkError, ProviderError, UsageError
from lutum._values.results import Response
from lutum.abc import Phase

ONE_WRITE: Final = 64 * 1024
"""A body of up to this many bytes is written together with its head. While a longer body is written, the
answer is read too."""

WRITE_BYTES: Final = 1024 * 1024
"""The bytes of one write of a longer body. TLS encrypts a whole write at once. If an upload stops, up to this
many encrypted bytes are left unsent."""

EARLY_BYTES: Final = 1024 * 1024
"""At most about this many bytes of an answer are read while its request is still being written."""

FAILURES: Final = (
    MalformedAnswer,
    ProxyRefused,
    OSError,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
)
"""The exceptions that a connection may raise."""


@final
class HttpEngine:
    """Opens connections and keeps idle ones, for any number of event loops.

    Args:
      connect: a function that opens the connections. TCP, TLS and proxies are then not used.

    Raises:
      BadValue: a proxy variable is invalid.
    """

    def __init__(self, connect: Connector | None = None) -> None:
        self._connect = connect
        self._proxies = None if connect is not None else Proxies()
        self.pool: Final = LoopPool()

    def request(self, url: str) -> EngineRequest:
        """Return a request to `url`. Nothing is sent before its `send` is called.

        Raises:
          BadValue: `url` is not an http or https URL, or contains user info.
        """
        target = Target.of(url)
        proxy = None if self._proxies is None else self._proxies.for_target(target)
        return EngineRequest(self.pool, target, proxy, self._connect)

    async def aclose(self) -> None:
        """Close the idle connections of the running loop."""
        await self.pool.aclose()


@final
class EngineRequest:
    """One request over lutum's own connection. It raises lutum's errors and can be used once."""

    __slots__ = (
        "_answer",
        "_connect",
        "_connection",
        "_decompress",
        "_home",
        "_open",
        "_phase",
        "_pool",
        "_proxy",
        "_target",
        "_written",
        "host",
    )

    def __init__(
        self, pool: LoopPool, target: Target, proxy: Proxy | None, connect: Connector | None
    ) -> None:
        self.host: Final = target.authority
        self._target = target
        self._pool = pool
        self._proxy = proxy
        self._connect = connect
        self._phase: Phase | None = None
        self._home: IdleConnections | None = None
        self._connection: Connection | None = None
        self._answer: HttpAnswer | None = None
        self._decompress: Decompressor | None = None
        self._open = False
        self._written = False

    async def send(
        self, method: str, headers: RequestHeaders, body: bytes, mark: Callable[[Phase], None]
    ) -> Response:
        """Send the request and wait for the head of the answer. Cancellation leaves nothing open.

        Raises:
          NetworkError: no connection was made, or it failed before the head arrived.
        """
        answer = HttpAnswer(bodiless=method == "HEAD")
        try:
            connection = await self._connected(mark)
            self._mark("connected", mark)
            # A memoryview, because tracebacks with local variables would show the key in a bytes object.
            head = memoryview(self._head(method, headers, body if len(body) <= ONE_WRITE else b"", len(body)))
            if len(body) <= ONE_WRITE:
                try:
                    await connection.send(head)
                    self._written = True
                    self._mark("sent", mark)
                except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                    pass  # a server may answer and close before it has read everything
                while answer.headers is None:
                    await self._read(answer)
            else:
                await self._exchange(connection, head, body, answer, mark)
        except BaseException as exc:
            answer.close()
            await self._drop()
            if not isinstance(exc, Exception) or (error := self.error(exc)) is exc:
                raise
            raise error from exc
        assert answer.headers is not None
        self._answer = answer
        return response_of(answer.status, answer.headers)

    @property
    def answer(self) -> HttpAnswer | None:
        """The answer, between `send` and `aclose`."""
        return self._answer

    def _head(self, method: str, headers: RequestHeaders, body: bytes, length: int) -> bytes:
        absolute = self._proxy is not None and self._proxy.forwards and self._target.scheme == "http"
        if absolute and self._proxy is not None:
            self._proxy.authorize(headers)
        return request_head(method, self._target, headers, length, absolute=absolute) + body

    async def _connected(self, mark: Callable[[Phase], None]) -> Connection:
        target, proxy = self._target, self._proxy
        origin = Origin(target.scheme, target.host, target.port, proxy)
        self._home = home = self._pool.here()
        connection = await home.take(origin)
        if connection is None and self._connect is not None:
            self._mark("connecting", mark)
            stream: ByteStream = await self._connect(target.host, target.port)
            connection = Connection(origin, stream)
        elif connection is None:
            async with home.opening(origin):
                self._mark("connecting", mark)
                connection = await (open_connection(origin) if proxy is None else proxy.open(origin))
        self._connection = connection
        return connection

    async def _exchange(
        self,
        connection: Connection,
        head: memoryview,
        body: bytes,
        answer: HttpAnswer,
        mark: Callable[[Phase], None],
    ) -> None:
        """Write a long body and read the answer at the same time, because a server may refuse the request
        early and stop reading.

        The upload ends when the whole body is written or a write fails. It also ends when the rest of the
        body is useless, because the answer is complete or has an error status.
        """
        writing = True
        failure: Exception | None = None

        async def write() -> None:
            nonlocal writing
            try:
                await connection.send(head)
                if connection.settles_in:
                    await anyio.sleep(connection.settles_in)
                view = memoryview(body)
                for at in range(0, len(view), WRITE_BYTES):
                    await connection.send(view[at : at + WRITE_BYTES])
                self._written = True
                self._mark("sent", mark)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                pass
            writing = False
            if answer.headers is not None:
                reading.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(write)
            with anyio.CancelScope() as reading:
                try:
                    while answer.headers is None or (writing and not _refuses(answer)):
                        if sum(map(len, answer.pieces)) > EARLY_BYTES:
                            await anyio.sleep_forever()  # until the upload ends
                        await self._read(answer)
                except FAILURES as exc:
                    failure = exc
            group.cancel_scope.cancel()
        if failure is not None:
            raise failure

    def start(self, *, decode: bool = True) -> None:
        """Allow `next` to read the body. With `decode`, `next` returns decoded bytes.

        Raises:
          ProviderError: the body has an unsupported encoding, which the request did not accept.
        """
        assert self._answer is not None
        assert self._answer.headers is not None
        coding = self._answer.headers.get("content-encoding")
        if decode and coding is not None:
            self._decompress = Decompressor.of(coding, self.host)
        self._open = True

    async def next(self) -> bytes:
        """Return the next piece of the body; empty at its end. Suspends only to wait for the connection.

        Raises:
          MalformedAnswer, OSError and others: `error` converts them to lutum's errors.
        """
        answer = self._answer
        if answer is None or not self._open:
            raise UsageError("an exchange can be read only between open() and aclose()")
        pieces = answer.pieces
        while True:
            if self._decompress is not None and (piece := self._decompress.take()):
                return piece
            if pieces:
                piece = pieces[0] if len(pieces) == 1 else b"".join(pieces)
                pieces.clear()
                if self._decompress is None:
                    return piece
                self._decompress.feed(piece)
            elif answer.whole:
                if self._decompress is not None:
                    self._decompress.end()
                return b""
            elif answer.failure is not None:
                raise answer.failure
            else:
                await self._read(answer)

    async def _read(self, answer: HttpAnswer) -> None:
        assert self._connection is not None
        try:
            data = await self._connection.receive()
        except anyio.EndOfStream:
            answer.eof()
        else:
            answer.feed(data)

    async def read(self, limit: int, into: bytearray) -> None:
        """Append the body to `into`, up to `limit` bytes."""
        self.start()
        while len(into) < limit and (piece := await self.next()):
            into += piece
        del into[limit:]

    @property
    def content_type(self) -> str:
        """The `Content-Type` of the answer."""
        headers = None if self._answer is None else self._answer.headers
        return "" if headers is None else headers.get("content-type", "")

    @property
    def at_end(self) -> bool:
        """True if the last byte of the answer has arrived."""
        return self._answer is not None and self._answer.whole

    def release(self) -> bool:
        """Keep the connection if the answer was read to its end; return False if `aclose` has to close it."""
        answer, connection, home = self._answer, self._connection, self._home
        if answer is None or connection is None or home is None or answer.headers is None:
            return False
        if not (answer.reusable and self._written):
            return False
        keeps = _keep_alive(answer.headers.get("keep-alive", ""))
        if not home.put(connection, None if keeps is None else float(keeps[1])):
            return False
        self._open = False
        self._decompress = self._answer = self._connection = None
        answer.close()
        return True

    async def aclose(self) -> None:
        """Keep the connection if the answer was read to its end, and close it otherwise."""
        if self.release():
            return
        self._open = False
        self._decompress = None
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.close()
        await self._drop()

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    def _mark(self, phase: Phase, mark: Callable[[Phase], None]) -> None:
        self._phase = phase
        mark(phase)

    def error(self, exc: Exception) -> Exception:
        """Convert `exc` to lutum's error. Returns `exc` itself if the network did not cause it."""
        if isinstance(exc, zlib.error):
            return ProviderError(
                f"the answer of {self.host} is not encoded as it says: {exc}", kind="malformed"
            )
        if not isinstance(exc, FAILURES):
            return exc
        words = str(exc) or str(exc.__cause__ or "") or type(exc).__name__
        host = self.host if self._proxy is None else f"{self.host} through the proxy {self._proxy.name}"
        if self._answer is not None:
            return Interrupted(f"the connection to {host} broke in the middle of the answer: {words}")
        return NetworkError(BEFORE_HEAD[self._phase].format(host=host, words=words))


def _refuses(answer: HttpAnswer) -> bool:
    """Return whether the rest of a request is useless: the answer is complete, or its status is not 2xx."""
    return answer.whole or not 200 <= answer.status < 300


_keep_alive: Final = re.compile(r"timeout\s*=\s*([0-9]{1,6})\b").search
