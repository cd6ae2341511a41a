"""`HttpAdapter`: what every adapter over HTTP does alike: its key, its transport, how it closes.

Loads no TLS and no parser: `HttpAdapter`'s constructor does, so that an adapter's package can be imported
  lightly.
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
    """An adapter over HTTP, but for its dialect: `lutum.abc.Adapter` when a subclass says `name`, `_prepare`,
    `decoder`, `replay_form` and `first_difference`.

    Args:
      model: used where a turn names none.
      base_url: checked; `self._base_url` has no slash at its end.
      scope: endpoint and account family whose turns are replayed exactly; the URL's host unless said.
      credential: authenticates requests: a key, or a signer; None where there is neither.
      own_host: the provider's own, which demands a key; `variable` is where one could be set.
      http_client: an `httpx.AsyncClient` of yours.
      default_max_output_tokens: is checked here.
      hooks: a hook set with the slots `resolve_model` and `resolve_options`, and `options` they begin with.

    It opens nothing before its first request and works without `async with`; `aclose` closes its idle
    connections.

    Raises:
      BadValue: a blank model, a URL that is none, a client that is none, a bound below 1.
    """

    errors: ClassVar[ErrorTable] = ErrorTable()
    """The provider's error words."""

    request_ids: ClassVar[tuple[str, ...]] = REQUEST_IDS
    """Response headers that hold the id of a request, in order of preference."""

    endpoints: ClassVar[tuple[str, ...]] = ()
    """Ends of a URL that the adapter adds itself. A `base_url` with one of them is refused."""

    options_class: ClassVar[type[Any] | None] = None
    """The class of `options=`; None: it is not checked."""

    hooks_class: ClassVar[type[Any] | None] = None
    """The class of `hooks=`; None: it is not checked."""

    _billed_by: str | None = None
    """The provider in price tables that bills the requests, where it is not the maker of the model."""

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
        """The dialect's name, as `CommittedTurn.adapter` keeps it."""

    @property
    def scope(self) -> str:
        """Endpoint and account family; a turn goes back exactly only where it came from."""
        return self._scope

    def prepare(self, request: TurnRequest) -> Prepared:
        """Encode a request. Pure.

        Raises:
          BadValue: there is no key for the provider's own host, or it does not take the request; the field
            is named.
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
        """Encode a request. Pure; the names of secret headers are `self._secret_headers`."""

    @abstractmethod
    def decoder(self, prepared: Prepared, response: Response) -> Decoder:
        """The decoder of a successful answer to a request. Pure."""

    def _fault(self, response: Response, body: bytes) -> ProviderError:
        """Return the error of a response with an error status."""
        return http_error(response, body, time.time(), self.errors)

    def _refused(self, response: Response, body: bytes) -> ProviderError:
        error = self._fault(response, body)
        return error if self._credential is None else self._credential.refused(error, response)

    @abstractmethod
    def replay_form(self, turn: CommittedTurn, scope: str, model: str) -> ReplayForm:
        """Whether `turn` goes back exactly to that scope and model. Pure."""

    @abstractmethod
    def first_difference(self, earlier: Prepared, later: Prepared) -> str | None:
        """JSON path in `later` of the first thing that is not as `earlier` sent it. Pure."""

    @property
    def option_types(self) -> tuple[type, ...]:
        """The types of provider options that the adapter reads."""
        options: object = self._options
        return () if options is None else (type(options),)

    @property
    def settings_hooks(self) -> tuple[str, ...]:
        """The slots of the hooks that have one."""
        found: tuple[str, ...] = () if self._hooks is None else self._hooks.registered
        return found

    async def resolve_settings(self, request: TurnRequest) -> Settings:
        """The settings of a request as the hooks want them, over the adapter's model and options. What one
        raises comes out as it is.

        A checkpoint only if a hook is.
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
        """Return the rate limits that a response reports. Pure; subclasses read headers of their provider."""
        return x_rate_limits(response.headers, now)

    def exchange(self, prepared: Prepared) -> Exchange:
        """A fresh exchange for one attempt; nothing is sent before its `open`."""
        return self._transport.exchange(
            prepared,
            secrets=self._secrets,
            decoder=partial(self.decoder, prepared),
            fault=self._refused,
        )

    async def aclose(self) -> None:
        """Close every idle connection; open turns keep theirs. Cancelled, it has closed them all the same.

        A checkpoint only if a connection is open.
        """
        await self._transport.aclose()

    async def __aenter__(self) -> Self:
        """Not a checkpoint."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """A checkpoint only if a connection is open."""
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
        """What `read` makes of the answer to one small request, sent with the key.

        There is no timeout: give it a scope. Cancelled, it leaves nothing open.

        Raises:
          ProviderError: the status is not 200, or `read` raised because the answer is something else.
          NetworkError: no connection, or it failed before the answer was whole.
          BadValue: the function given as the key raised, or gave none.
        """
        sent = RequestHeaders(headers)
        secrets = await self._secrets(OutgoingRequest(method, wire_url(url), tuple(sent), body))
        try:
            sent.add(secrets.items())
            hide = hiding(secrets.values())
        finally:
            del secrets  # or tracebacks with local variables would show the key
        response, answer = await self._transport.request(method, url, sent, body)
        if response.status != 200:
            raise self._refused(response, hide(answer))
        try:
            return read(answer)
        except (msgspec.DecodeError, UnicodeError) as exc:
            message = f"the answer of {urlsplit(url).path} is malformed: {exc}"
            raise ProviderError(message, kind="malformed", body=answer) from None
