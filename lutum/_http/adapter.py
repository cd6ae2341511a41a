"""`HttpAdapter`: the base class of HTTP adapters. It has the key and the transport, and closes connections.

This module does not load TLS or the HTTP parser. The constructor of `HttpAdapter` loads them, so that the
import of an adapter's package stays fast.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, TypeVar
from urllib.parse import urlsplit

import msgspec

from lutum._http.credential import OutgoingRequest, RequestSigner, signed
from lutum._http.exchange import HttpTransport, check_base_url
from lutum._http.heads import RequestHeaders, wire_url
from lutum._http.http_client import Connector, HttpClient
from lutum._telemetry.redact import hiding
from lutum._values.check import check_type
from lutum._values.errors import BadValue, ProviderError
from lutum._values.results import CommittedTurn, Response
from lutum._values.settings import Settings
from lutum.abc import Decoder, Exchange, Prepared, RateLimit, ReplayForm, TurnRequest
from lutum.dialect.errors import ErrorTable, http_error
from lutum.dialect.headers import REQUEST_IDS, x_rate_limits

if TYPE_CHECKING:
    from types import TracebackType

T = TypeVar("T")


class HttpAdapter(ABC):
    """Base class of HTTP adapters. It implements `lutum.abc.Adapter` if a subclass provides `name`,
    `_prepare`, `decoder`, `replay_form` and `first_difference`.

    Args:
      model: the default for turns without a model.
      base_url: the address of the API. It is checked; `self._base_url` has no slash at its end.
      scope: the endpoint and account family whose turns are replayed exactly. Default: the URL's host.
      credential: a key or a signer, which authenticates requests; None to send requests without
        authentication.
      own_host: the provider's own host, which requires a key.
      variable: the environment variable for the key. Error messages name it.
      http_client: your `httpx.AsyncClient`.
      default_max_output_tokens: the default output bound. This class only checks it; the subclass uses it.
      hooks: a hook set with the slots `resolve_model` and `resolve_options`.
      options: the adapter's options. The hooks get them as their start value.

    The adapter opens no connection before its first request and works without `async with`; `aclose` closes
    its idle connections.

    Raises:
      BadValue: `model` is blank, `base_url` is not a URL, `http_client` is not a client, or the bound is
        below 1.
    """

    errors: ClassVar[ErrorTable] = ErrorTable()
    """The provider's error codes."""

    request_ids: ClassVar[tuple[str, ...]] = REQUEST_IDS
    """Response headers that may contain the id of a request, in order of preference."""

    endpoints: ClassVar[tuple[str, ...]] = ()
    """URL endings that the adapter adds itself. A `base_url` with one of them is refused."""

    options_class: ClassVar[type[Any] | None] = None
    """The class of `options=`; None to skip the check."""

    hooks_class: ClassVar[type[Any] | None] = None
    """The class of `hooks=`; None to skip the check."""

    _billed_by: str | None = None
    """The name in price tables of the provider that bills the requests; None if it is the model's vendor."""

    def __init__(
        self,
        model: str,
        base_url: str,
        *,
        scope: str | None = None,
        credential: RequestSigner | None = None,
        own_host: str = "",
        variable: str = "",
        http_client: HttpClient | Connector | None = None,
        default_max_output_tokens: int | None = None,
        hooks: Any = None,
        options: Any = None,
    ) -> None:
        check_type("model", model, str, "the name of a model")
        check_type("base_url", base_url, str, "a URL")
        if options is not None and self.options_class is not None:
            check_type("options", options, self.options_class, self.options_class.__name__ + "(...)")
        if hooks is not None and self.hooks_class is not None:
            check_type("hooks", hooks, self.hooks_class, self.hooks_class.__name__ + "(...)")
        self._base_url: Final = check_base_url(base_url, self.endpoints)
        if not model.strip():
            raise BadValue("model", "is blank")
        if default_max_output_tokens is not None and default_max_output_tokens < 1:
            raise BadValue("default_max_output_tokens", f"{default_max_output_tokens} is below 1")
        host = urlsplit(self._base_url).hostname or ""
        self._model: Final = model
        self._scope: Final = scope or host
        self._credential: Final = credential
        self._own_host: Final = own_host if host == own_host else ""
        self._variable: Final = variable
        self._transport: Final = HttpTransport(http_client, request_ids=self.request_ids)
        self._hooks: Any = hooks
        self._options: Any = options

    @property
    @abstractmethod
    def name(self) -> str:
        """The dialect's name. `CommittedTurn.adapter` contains it."""

    @property
    def scope(self) -> str:
        """The endpoint and account family. A turn is replayed exactly only in the scope that made it."""
        return self._scope

    def prepare(self, request: TurnRequest) -> Prepared:
        """Encode a request. Pure.

        Raises:
          BadValue: the key for the provider's own host is missing, or the provider does not accept the
            request. The error names the field.
        """
        if self._credential is None and self._own_host:
            raise BadValue("api_key", f"{self._own_host} needs one: give api_key=, or set {self._variable}")
        prepared = self._prepare(request)
        signed = () if self._credential is None or not self._credential.signs else self._secret_headers
        if signed or self._billed_by is not None:
            prepared = msgspec.structs.replace(prepared, signed_headers=signed, billed_by=self._billed_by)
        return prepared

    @abstractmethod
    def _prepare(self, request: TurnRequest) -> Prepared:
        """Encode a request. Pure. Use `self._secret_headers` as the names of secret headers."""

    @abstractmethod
    def decoder(self, prepared: Prepared, response: Response) -> Decoder:
        """Return the decoder of a successful answer to a request. Pure."""

    def _fault(self, response: Response, body: bytes) -> ProviderError:
        """Return the error of a response with an error status."""
        return http_error(response, body, time.time(), self.errors)

    def _refused(self, response: Response, body: bytes) -> ProviderError:
        error = self._fault(response, body)
        return error if self._credential is None else self._credential.refused(error, response)

    @abstractmethod
    def replay_form(self, turn: CommittedTurn, scope: str, model: str) -> ReplayForm:
        """Return whether `turn` can be replayed exactly to `scope` and `model`. Pure."""

    @abstractmethod
    def first_difference(self, earlier: Prepared, later: Prepared) -> str | None:
        """Return the JSON path in `later` of the first entry that differs from `earlier`. Pure."""

    @property
    def option_types(self) -> tuple[type, ...]:
        """The types of provider options that the adapter reads."""
        options: object = self._options
        return () if options is None else (type(options),)

    @property
    def settings_hooks(self) -> tuple[str, ...]:
        """The names of the slots that have hooks."""
        found: tuple[str, ...] = () if self._hooks is None else self._hooks.registered
        return found

    async def resolve_settings(self, request: TurnRequest) -> Settings:
        """Return the settings of a request after the hooks.

        The hooks get the model and the options of the request. Values that the request does not set come from
        the adapter. An exception of a hook propagates unchanged.

        This is a checkpoint only if a hook is a checkpoint.
        """
        hooks: Any = self._hooks
        options: Any = self._options
        settings = request.settings
        if hooks is not None and hooks.resolve_model.hooks:
            asked = self._model if settings.model is msgspec.UNSET else settings.model
            settings = Settings(model=await hooks.resolve_model(request, asked)).over(settings)
        if hooks is not None and hooks.resolve_options.hooks:
            kind: type[Any] = options.__class__
            given: Any = settings.option(kind)
            options = options if given is None else given.over(options)
            request = msgspec.structs.replace(request, settings=settings)
            settings = Settings(ext=(await hooks.resolve_options(request, options),)).over(settings)
        return settings

    def rate_limits(self, response: Response, now: float) -> Sequence[RateLimit]:
        """Return the rate limits that a response reports. Pure. Subclasses read their provider's headers."""
        return x_rate_limits(response.headers, now)

    def exchange(self, prepared: Prepared) -> Exchange:
        """Return a new exchange for one attempt. Nothing is sent before its `open` is called."""
        return self._transport.exchange(
            prepared,
            sign=self._secrets,
            decoder=partial(self.decoder, prepared),
            fault=self._refused,
        )

    async def aclose(self) -> None:
        """Close every idle connection, even if the call is cancelled. Open turns keep their connections.

        This is a checkpoint only if a connection is open.
        """
        await self._transport.aclose()

    async def __aenter__(self) -> Self:
        """Not a checkpoint."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """This is a checkpoint only if a connection is open."""
        await self.aclose()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._model} at {self._scope}>"

    @property
    def _secret_headers(self) -> tuple[str, ...]:
        return () if self._credential is None else self._credential.secret_headers

    async def _secrets(self, request: OutgoingRequest) -> Mapping[str, str]:
        return {} if self._credential is None else await signed(self._credential, request)

    async def _ask(
        self,
        method: str,
        url: str,
        read: Callable[[bytes], T],
        *,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> T:
        """Send one small request with the key and return the result of `read` for its answer.

        The request has no timeout; use a cancel scope. Cancellation leaves nothing open.

        Raises:
          ProviderError: the status is not 200, or `read` raised because the answer is malformed.
          NetworkError: no connection was made, or it failed before the whole answer was received.
          BadValue: the function that returns the key raised, or returned no key.
        """
        sent = RequestHeaders(headers)
        secrets = await self._secrets(OutgoingRequest(method, wire_url(url), tuple(sent), body))
        try:
            sent.add(secrets.items())
            hide = hiding(secrets.values())
        finally:
            del secrets  # otherwise tracebacks with local variables would show the key
        response, answer = await self._transport.request(method, url, sent, body)
        if response.status != 200:
            raise self._refused(response, hide(answer))
        try:
            return read(answer)
        except (msgspec.DecodeError, UnicodeError) as exc:
            message = f"the answer of {urlsplit(url).path} is malformed: {exc}"
            raise ProviderError(message, kind="malformed", body=answer) from None
