"""One HTTP request over httpx or httpx2, with lutum's phases, pieces and errors.

This module imports neither library. The caller passes a client of one of them, and exceptions are recognized
by their class names.
"""

from __future__ import annotations

import sys
import types
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Mapping
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any, Final, TypeVar, cast
from urllib.parse import urlsplit

import anyio

from lutum._http.answer import MalformedAnswer
from lutum._http.decompress import Decompressor
from lutum._http.heads import BEFORE_HEAD, RequestHeaders, response_of
from lutum._values.errors import Interrupted, NetworkError, ProviderError, UsageError
from lutum._values.results import Response
from lutum.abc import Phase

T = TypeVar("T")

MARK: Final = "lutum.mark"
"""The name of a request extension: the function that lutum's own transport calls with each phase."""

CLOSE_SECONDS: Final = 2.0
"""The longest time in seconds to close a response. The connection below it has its own limit."""


class HttpRequest:
    """One request over httpx or httpx2. Their exceptions are converted to lutum's."""

    def __init__(self, client: Any, url: str) -> None:
        self.host: str = urlsplit(url).netloc.rpartition("@")[2] or url
        self._client: Any = client
        self._url = url
        self._phase: Phase | None = None
        self._response: Any = None
        self._pieces: Any = None
        self._kept: bytes | None = None
        self._decompress: Decompressor | None = None
        self._begun = False
        self.unsent: bool = True

    async def send(
        self, method: str, headers: RequestHeaders, body: bytes, mark: Callable[[Phase], None]
    ) -> Response:
        """Send the request and wait for the response head."""
        if self._client.is_closed:
            raise UsageError("http_client: it is closed; keep it open while the adapter is in use")
        request = self._client.build_request(
            method,
            self._url,
            headers=[("accept-encoding", "identity"), *headers],
            content=body,
            timeout=None,
            extensions={"trace": self._trace(mark), MARK: partial(self._marked, mark)},
        )
        watched = _watched(cast("Any", type)(request.stream))(body)
        watched.begins = self._body_begins
        request.stream = watched
        try:
            # No redirect: it would send the prompt, and perhaps the key, to another host.
            self._response = await without_asyncgen_hooks(
                self._client.send(request, stream=True, follow_redirects=False)
            )
        except Exception as exc:
            if (error := self.error(exc)) is exc:
                raise
            raise error from exc
        finally:
            if request.stream is not watched:  # a hook or a transport has replaced it and may have written it
                self.unsent = False
            # These extensions are not needed any more. A response is in a reference cycle, so they would keep
            # this object in memory.
            request.extensions.pop("trace", None)
            request.extensions.pop(MARK, None)
        response = self._response
        found = {name.lower(): value for name, value in response.headers.items()}
        return response_of(response.status_code, found)

    def start(self) -> None:
        """Allow `next` to read the pieces of the body, directly from the response's stream.

        Raises:
          ProviderError: the body has an unsupported encoding, which the request did not accept.
          UsageError: a response hook of the client has read the body, but the body is not stored.
        """
        response = self._response
        if response.is_stream_consumed:  # a response hook has read it, and httpx has decoded the body
            try:
                self._kept = response.content
            except Exception:
                raise UsageError(
                    "http_client: a response hook has read the body and not kept it; `await response.aread()`"
                    " keeps it"
                ) from None
            return
        self._pieces = response.stream.__aiter__()
        coding = response.headers.get("content-encoding")
        if coding is not None:
            # httpx is not used for decoding, because it decodes nested codings without a bound.
            self._decompress = Decompressor.of(coding, self.host)

    async def next(self) -> bytes:
        """Return the next piece of the body; empty at its end."""
        if self._kept is not None:
            kept, self._kept = self._kept, b""
            return kept
        if self._pieces is None:
            raise UsageError("an exchange can be read only between open() and aclose()")
        decompress = self._decompress
        try:
            while True:
                if decompress is not None and (piece := decompress.take()):
                    return piece
                step = self._pieces.__anext__()
                piece = await (step if self._begun else without_asyncgen_hooks(_awaited(step)))
                self._begun = True
                if not piece:
                    continue
                if decompress is None:
                    return piece
                decompress.feed(piece)
        except StopAsyncIteration:
            if decompress is not None:
                decompress.end()
            return b""

    async def read(self, limit: int, into: bytearray) -> None:
        """Append the body to `into`, up to `limit` bytes."""
        self.start()
        while len(into) < limit and (piece := await self.next()):
            into += piece
        del into[limit:]

    @property
    def at_end(self) -> bool:
        """False, because httpx does not show whether the last byte of the answer has arrived."""
        return False

    async def aclose(self) -> None:
        """Close the response. The call is shielded and takes a bounded time."""
        self._client = None
        response, self._response = self._response, None
        pieces, self._pieces, self._kept = self._pieces, None, None
        if response is None:
            return
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            with suppress(Exception):  # the turn is over, so a failure to close does not matter
                await response.aclose()
            # This follows the closing of the response, so that the generators below have nothing left to
            # await.
            if (close := getattr(pieces, "aclose", None)) is not None:
                with suppress(Exception):
                    await close()

    def error(self, exc: Exception) -> Exception:
        """Convert the client's exception to lutum's error. Return `exc` itself if the network did not cause
        it."""
        names = {
            cls.__name__ for cls in type(exc).__mro__ if cls.__module__.partition(".")[0] in _CLIENT_PACKAGES
        }
        if "DecodingError" in names or isinstance(exc, zlib.error):
            return ProviderError(
                f"the answer of {self.host} is not encoded as it says: {exc}", kind="malformed"
            )
        if not (names & _FAILURES or isinstance(exc, (MalformedAnswer, *_SOCKET_ERRORS))):
            return exc
        unsent = self._response is None and self._phase != "sent"
        if unsent and type(exc).__module__.startswith("h11.") and "LocalProtocolError" in names:
            # h11's message quotes the refused header, which may be a key.
            return UsageError(f"h11 does not write the request to {self.host}: {type(exc).__name__}")
        words = str(exc) or str(exc.__cause__ or "") or type(exc).__name__
        if self._response is not None:
            return Interrupted(f"the connection to {self.host} broke in the middle of the answer: {words}")
        return NetworkError(BEFORE_HEAD[self._phase].format(host=self.host, words=words))

    @property
    def content_type(self) -> str:
        """The `Content-Type` of the answer."""
        return "" if self._response is None else self._response.headers.get("content-type", "")

    def _body_begins(self) -> None:
        self.unsent = False

    def _trace(self, mark: Callable[[Phase], None]) -> Callable[[str, Mapping[str, Any]], Awaitable[None]]:
        """Return httpcore's trace extension. Events of a proxy tunnel's CONNECT request are ignored."""
        tunnel = False

        async def trace(name: str, info: Mapping[str, Any]) -> None:
            nonlocal tunnel
            event = name.partition(".")[2]
            if event == "send_request_headers.started":
                tunnel = getattr(info.get("request"), "method", b"") == b"CONNECT"
            phase = None if tunnel else _PHASES.get(event)
            if phase is not None:
                self._marked(mark, phase)

        return trace

    def _marked(self, mark: Callable[[Phase], None], phase: Phase) -> None:
        self._phase = phase
        mark(phase)


_PHASES: Final[Mapping[str, Phase]] = {
    "connect_tcp.started": "connecting",
    "connect_unix_socket.started": "connecting",
    "send_request_headers.started": "connected",
    "send_request_body.complete": "sent",
}

# The base classes of the exceptions that a connection may raise, and httpx's errors for a response that was
# closed while it was read. They are given by name, because the libraries are not imported here.
_CLIENT_PACKAGES: Final = frozenset({"httpx", "httpx2", "httpcore", "httpcore2", "h11"})
_FAILURES: Final = frozenset(
    {
        "ConnectionNotAvailable",
        "NetworkError",
        "ProtocolError",
        "ProxyError",
        "StreamError",
        "TimeoutException",
        "TransportError",
        "UnsupportedProtocol",
    }
)
_SOCKET_ERRORS: Final = (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream)


@lru_cache(maxsize=8)
def _watched(stream: Any) -> Any:
    """Return a subclass of `stream`, the client's class of request bodies. It reports when the writing
    begins.

    This is needed because a client that waits for a free connection has sent nothing, but emits no trace
    event about the wait.
    """

    async def pieces(self: Any) -> AsyncIterator[bytes]:
        self.begins()
        async for piece in stream.__aiter__(self):
            yield piece

    return type("WatchedBody", (stream,), {"__aiter__": pieces})


@types.coroutine
def without_asyncgen_hooks(coroutine: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
    """Await `coroutine`. The async generators that it starts are not registered with the event loop.

    If a body is not written or read to its end, generators of httpx and httpcore stay suspended. When
    registered generators are garbage-collected, trio warns and asyncio starts tasks. Neither is needed,
    because their connection is closed by then.
    """
    resume: Callable[[], Any] = partial(coroutine.send, None)
    while True:
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(None, None)
        try:
            asked = resume()
        except StopIteration as stop:
            result: T = stop.value
            return result
        finally:
            sys.set_asyncgen_hooks(*hooks)
            del resume  # because its exception and this frame would form a reference cycle
        try:
            resume = partial(coroutine.send, (yield asked))
        except BaseException as exc:
            resume = partial(coroutine.throw, exc)


async def _awaited(step: Awaitable[bytes]) -> bytes:
    return await step
