"""`HttpTransport` sends an adapter's requests. `HttpExchange` is one of these requests.

Requests are sent by lutum's own engine or by the user's HTTP client. The turn applies all deadlines: the
engine has no timeouts, and the timeouts of the user's client are switched off.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, cast, final
from urllib.parse import urlsplit

import anyio
import msgspec

from lutum._http.credential import OutgoingRequest
from lutum._http.heads import RequestHeaders, Target, wire_url
from lutum._http.http_client import Connector, HttpClient
from lutum._telemetry.redact import hiding
from lutum._telemetry.spans import CURRENT, headers_when_sent
from lutum._telemetry.turn import CountingDecoder
from lutum._values.check import check_type
from lutum._values.errors import BadValue, Interrupted, NetworkError, ProviderError
from lutum._values.events import Completed, Event
from lutum._values.results import Response
from lutum.abc import Decoder, Phase, Prepared
from lutum.dialect.headers import REQUEST_IDS

if TYPE_CHECKING:
    import httpx

    from lutum._http.engine import EngineRequest, HttpEngine
    from lutum._http.foreign_client import HttpRequest

ERROR_BODY_BYTES: Final = 64 * 1024
"""The largest number of bytes of an error's body that are read and kept in `ProviderError.body`."""

ERROR_BODY_SECONDS: Final = 5.0
"""The longest time in seconds to wait for an error's body. The status alone is usually enough."""

WHOLE_BODY_BYTES: Final = 16 * 2**20
"""The largest answer that `HttpTransport.request` reads, in bytes."""

QUOTED: Final = 200
"""The error of an incomplete answer quotes this many of its last bytes."""

REST_SECONDS: Final = 0.2
"""The longest time in seconds that a finished turn waits for the last bytes of its body. If they arrive, the
connection can be reused."""

_NOT_IN_A_URL: Final = re.compile(r"[\s\x00-\x1f\x7f\\]")

Secrets = Callable[[OutgoingRequest], Awaitable[Mapping[str, str]]]
"""A function that returns the headers that authenticate a request. It is called once for each attempt, when
the rest of the request is complete."""


def check_base_url(url: str, endpoints: tuple[str, ...] = ()) -> str:
    """Return `url` without a slash at its end.

    Args:
      endpoints: paths that the adapter appends to the URL.

    Raises:
      BadValue: `url` is not an http or https URL with a host. Or it contains white space, user info, a query
        or a fragment (even an empty one). Or it ends in an endpoint, or repeats its version, as in `/v1/v1`.
        In the last two cases the message contains the corrected URL.
    """
    check_type("base_url", url, str, "a URL")
    if (bad := _NOT_IN_A_URL.search(url)) is not None:
        # The character is usually a line end from a secret file or an .env file. The message does not quote
        # the URL, because the URL may contain a password.
        raise BadValue(
            "base_url",
            "must not contain white space, control characters or backslashes;"
            f" the character at index {bad.start()} is one",
        )
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as exc:
        raise BadValue("base_url", f"is not a URL: {exc}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadValue("base_url", "must start with http:// or https:// and a host")
    if "@" in parts.netloc:
        # The password would be visible in errors, previews and traces.
        raise BadValue("base_url", "must not contain a user name or a password")
    if "?" in url or "#" in url:
        raise BadValue("base_url", "must not have a query or a fragment")
    if parts.port == 0:
        raise BadValue("base_url", "must not have port 0")
    if any(not 0 < len(label) < 64 for label in parts.hostname.rstrip(".").split(".")):
        raise BadValue("base_url", "has a host whose parts are not between 1 and 63 characters long")
    try:
        Target.of(url)
    except BadValue as exc:
        raise BadValue("base_url", exc.problem) from None
    base = url.rstrip("/")
    path = parts.path.rstrip("/")
    if (end := next((end for end in endpoints if path.endswith(end)), None)) is not None:
        right = base[: -len(end)]
        raise BadValue("base_url", f"ends in {end}, which the adapter adds itself: use {right}")
    *before, last = path.split("/")
    if len(before) > 1 and re.fullmatch(r"v[0-9]+", last) and before[-1] == last:
        raise BadValue("base_url", f"has /{last} twice: use {base[: -len(last) - 1]}")
    return base


def httpx_transport(connect: Connector | None = None) -> httpx.AsyncBaseTransport:
    """Return lutum's HTTP engine as a transport: `httpx.AsyncClient(transport=httpx_transport())`.

    The client keeps its hooks, auth and mounts. Its timeouts `connect` and `read` apply, the others do not.
    Its proxies and certificates are ignored, because the engine takes them from the environment.

    Args:
      connect: a function that opens the connections. The engine then uses no TCP, TLS or proxies of its own.

    Raises:
      BadValue: a proxy variable is broken.
    """
    from lutum._http.httpx_transport import EngineTransport  # loads httpx

    return EngineTransport(connect)


def _unsigned(secrets: Callable[[], Awaitable[Mapping[str, str]]]) -> Secrets:
    async def sign(request: OutgoingRequest) -> Mapping[str, str]:
        return await secrets()

    return sign


@final
class HttpTransport:
    """Sends an adapter's requests to its provider.

    It opens nothing before the first request and works on any number of event loops.

    Args:
      http_client: an `httpx.AsyncClient` or `httpx2.AsyncClient` of the user. Its proxies, limits,
        certificates and event hooks apply, and the user closes it. It can also be a function `connect(host,
        port)` that returns a byte stream: the engine then uses this stream, without TCP, TLS and proxies. The
        default is the engine with HTTP/1.1, the current proxy variables, no limit on connections and no
        cookies.
      request_ids: response headers that may contain the id of a request, in order of preference.

    Raises:
      BadValue: `http_client` is not an asynchronous client, or a proxy variable is broken.
    """

    def __init__(
        self,
        http_client: HttpClient | Connector | None = None,
        *,
        request_ids: tuple[str, ...] = REQUEST_IDS,
    ) -> None:
        _preload()
        self._request_ids = request_ids
        self._engine: HttpEngine | None = None
        if http_client is None or _is_connector(http_client):
            from lutum._http.engine import HttpEngine

            self._engine = HttpEngine(cast("Connector | None", http_client))
            self._request: Callable[[str], EngineRequest | HttpRequest] = self._engine.request
            return
        if not callable(getattr(http_client, "aclose", None)) or not hasattr(http_client, "build_request"):
            raise BadValue("http_client", f"needs an httpx.AsyncClient, not {type(http_client).__name__}")
        from lutum._http.foreign_client import HttpRequest

        self._request = partial(HttpRequest, http_client)

    def exchange(
        self,
        prepared: Prepared,
        *,
        secrets: Callable[[], Awaitable[Mapping[str, str]]] | None = None,
        sign: Secrets | None = None,
        decoder: Callable[[Response], Decoder],
        fault: Callable[[Response, bytes], ProviderError],
    ) -> HttpExchange:
        """Return an exchange for one attempt. It sends nothing before you call its `open`.

        Args:
          prepared: the request without secrets.
          secrets: a function that returns the headers that authenticate the request. `open` calls it.
          sign: the same as `secrets`, but it is called with the request. Give one of the two.
          decoder: a function that gets the head of a successful response and returns its decoder.
          fault: a function that gets the head of any other response and the first 64 KiB of its body. It
            returns the error.
        """
        if sign is None:
            if secrets is None:
                raise BadValue("secrets", "is missing; give secrets= or sign=, which return headers")
            sign = _unsigned(secrets)

        return HttpExchange(self._request(prepared.url), prepared, sign, decoder, fault, self._request_ids)

    async def request(
        self, method: str, url: str, headers: Iterable[tuple[str, str]] = (), body: bytes = b""
    ) -> tuple[Response, bytes]:
        """Send one small request and read the whole answer, even if its status is an error.

        The request has no timeout, so use a cancel scope with a deadline. Cancellation closes the connection.

        This is a checkpoint only if it has to wait.

        Raises:
          NetworkError: the connection could not be opened, or failed before the answer was complete.
          ProviderError: the answer is longer than 16 MiB.
          BadValue: a header is not allowed in HTTP.
        """
        call = self._request(url)
        # The repr of `RequestHeaders` hides the values. Tracebacks may show local variables, and one header
        # contains the key.
        headers = RequestHeaders(headers)
        try:
            response = identified(await call.send(method, headers, body, _ignore), self._request_ids)
            content = bytearray()
            try:
                await call.read(WHOLE_BODY_BYTES + 1, content)
            except Exception as exc:
                if (error := call.error(exc)) is exc:
                    raise
                raise (NetworkError(str(error)) if isinstance(error, Interrupted) else error) from exc
            if len(content) > WHOLE_BODY_BYTES:
                raise ProviderError(f"the answer of {call.host} is longer than 16 MiB", kind="malformed")
            return response, bytes(content)
        finally:
            await call.aclose()

    async def aclose(self) -> None:
        """Close the idle connections of the running loop. It does not close the user's client.

        An open turn keeps its connection; this connection is closed when the turn ends. The transport can be
        used again after this call. The idle connections are closed even if the call is cancelled.

        This is a checkpoint only if a connection is open.
        """
        if self._engine is not None:
            await self._engine.aclose()


@final
class HttpExchange:
    """One request in flight: `lutum.abc.Exchange` over HTTP."""

    def __init__(
        self,
        call: EngineRequest | HttpRequest,
        prepared: Prepared,
        secrets: Secrets,
        decoder: Callable[[Response], Decoder],
        fault: Callable[[Response, bytes], ProviderError],
        request_ids: tuple[str, ...] = REQUEST_IDS,
    ) -> None:
        self._request_ids = request_ids
        self.response: Response | None = None
        self.refusal: ProviderError | None = None
        self._handed = False
        self._last = b""
        self._prepared = prepared
        self._secrets = secrets
        self._make_decoder = decoder
        self._fault = fault
        self._call = call
        self._decoder: Decoder | None = None
        self._completed = False
        self._ended = False

    async def open(self, mark: Callable[[Phase], None]) -> None:
        """Send the request and wait for the response head.

        With the user's client, `mark` is called only if the client's transport emits httpcore's trace events.
        After a cancellation, call `aclose` to close the connection.

        This is a checkpoint only if it has to wait.

        Raises:
          ProviderError: the status is not 2xx.
          NetworkError: the connection could not be opened, or failed before the head arrived.
          UsageError: the user's client is closed, or a header is not allowed in HTTP.
        """
        call, prepared = self._call, self._prepared
        headers = RequestHeaders(prepared.headers)
        headers.add(headers_when_sent(prepared.url))
        span = CURRENT.get()
        request = OutgoingRequest(prepared.method, wire_url(prepared.url), tuple(headers), prepared.body)
        secrets = await self._secrets(request)
        try:
            if span is not None:
                span.hide(*secrets.values())
            headers.add(secrets.items())
            hide = hiding(secrets.values())
        finally:
            del secrets  # because tracebacks may show local variables, and so the key
        self._handed = True
        response = await call.send(prepared.method, headers, prepared.body, mark)
        self.response = response = identified(response, self._request_ids)
        if not 200 <= response.status < 300:
            body = bytearray()
            try:
                with anyio.move_on_after(ERROR_BODY_SECONDS):
                    try:
                        await call.read(ERROR_BODY_BYTES, body)
                    except ProviderError:
                        pass  # an unexpected content encoding; the error of the status is more useful
                    except Exception as exc:
                        if call.error(exc) is exc:
                            raise
            finally:  # also if the turn's timeout ends the read, because the status is already known
                # If a signature is wrong, the answer of AWS quotes the signed request with its session token.
                self.refusal = self._fault(response, hide(bytes(body)))
            raise self.refusal
        decoder = self._make_decoder(response)
        self._decoder = decoder if span is None else CountingDecoder(decoder, span)
        call.start()

    async def receive(self, out: list[Event]) -> bool:
        """Append the events of the next piece to `out`. Return False at the end of the response.

        After `Completed`, later pieces are read but not decoded, so they add no events.

        This call suspends only to wait for the socket. After a cancellation, the response cannot be read
        further.

        This is a checkpoint only if it waits for the socket.

        Raises:
          ProviderError: the decoder raised this error, or the content encoding cannot be decoded.
          Interrupted: the connection broke.
        """
        try:
            piece = await self._call.next()
        except Exception as exc:
            if (error := self._call.error(exc)) is exc:
                raise
            raise error from exc
        if not piece:
            if self._decoder is not None and not self._ended:
                self._ended = True
                self._decoder.eof(out)
            return False
        if self._decoder is None:
            return True
        self._last = piece
        self._decoder.feed(piece, out)
        if out and type(out[-1]) is Completed:
            self._completed, self._decoder = True, None  # free the decoder's copy of the answer
        return True

    @property
    def unsent(self) -> bool:
        """True if it is certain that nothing was sent yet."""
        return not self._handed or getattr(self._call, "unsent", False)

    def unfinished(self) -> Interrupted:
        """Return the error of an answer without a terminal event. The error quotes the last received
        bytes."""
        last = self._last[-QUOTED:].decode("utf-8", "replace")
        quoted = "".join(char if char.isprintable() else " " for char in last)
        came = f"; what came ends with {quoted!r}" if quoted else ""
        kind = self._call.content_type[:100] or "missing"
        return Interrupted(f"the response ended without its terminal event (content type {kind}){came}")

    def release(self) -> bool:
        """Keep the connection for the next request if the answer was read to its last byte.

        Return False if this is not possible without waiting. The caller must then call `aclose`.
        """
        release: Callable[[], bool] | None = getattr(self._call, "release", None)
        return release is not None and release()

    async def aclose(self) -> None:
        """Release the connection, or close it. The call is shielded, takes a bounded time and ignores errors.

        If the turn has completed, the call waits for the last bytes of the body, 0.2 s at most, so that the
        connection can be used again. Otherwise it closes the socket at once.

        This is a checkpoint only if it has to wait.
        """
        if self._completed and not self._ended and not self._call.at_end:
            # Errors do not matter here, because the turn is complete.
            with anyio.move_on_after(REST_SECONDS, shield=True), suppress(Exception):
                while await self._call.next():
                    pass
        await self._call.aclose()


def identified(response: Response, names: tuple[str, ...]) -> Response:
    """Return a response head with its request id: the value of the first header of `names` that is
    present."""
    found = next((response.headers[name] for name in names if name in response.headers), None)
    return response if found is None else msgspec.structs.replace(response, request_id=found)


def _ignore(phase: Phase) -> None:
    pass


def _is_connector(http_client: object) -> bool:
    """Return whether `http_client` is a function that opens connections.

    A class is not accepted as such a function, because the user has probably passed the class of a client
    instead of a client.
    """
    return callable(http_client) and not isinstance(http_client, type)


def _preload() -> None:
    """Import the modules that the first connection needs, so that no turn waits for the disk."""
    for name in ("encodings.idna", "stringprep"):
        importlib.import_module(name)
    if "asyncio" in sys.modules:  # if not, the loop may still become trio's
        importlib.import_module("lutum._http.asyncio_socket")
