"""`ClaudeAdapter`: where requests go, with which key, over which transport. The only room with I/O."""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Self, cast, final
from urllib.parse import urlsplit

import msgspec

from lutum import BadValue, CommittedTurn, ProviderError, Response
from lutum.abc import Decoder, Exchange, Prepared, ReplayForm, TurnRequest
from lutum_claude import _decode, _encode, _turn, _wire
from lutum_claude._faults import http_error
from lutum_claude._options import ClaudeOptions

if TYPE_CHECKING:
    from types import TracebackType

    import httpx

    from lutum.transport import HttpTransport

Secret = str | Callable[[], str | Awaitable[str]]
"""A key, or a function that gives one for each request; it may be a coroutine function."""

API_HOST = "api.anthropic.com"

# What /v1/messages/count_tokens takes of a request (api/messages-count-tokens); it refuses the rest.
_COUNTED = frozenset(
    {
        "model",
        "tools",
        "system",
        "messages",
        "thinking",
        "output_config",
        "tool_choice",
        "context_management",
        "mcp_servers",
    }
)


class _Counted(msgspec.Struct):
    input_tokens: int


@final
class ClaudeAdapter:
    """Claude, over the Messages API or whatever speaks it.

    Args:
      model: used where a turn names none.
      api_key: for `x-api-key`, or `ANTHROPIC_API_KEY`. A function is asked for each request.
      auth_token: for `authorization: Bearer`, or `ANTHROPIC_AUTH_TOKEN`; it goes before a key.
      base_url: `https://api.anthropic.com`, or `ANTHROPIC_BASE_URL`. Only that host demands a key.
      http_client: an `httpx.AsyncClient` of yours.
      replay_scope: endpoint and account family whose turns are replayed exactly; the URL's host unless said.
      default_max_output_tokens: sent where a turn says nothing; 4,096, or 16,384 for a model that thinks.
      options: under those of each turn.
      version: `anthropic-version`.

    It opens nothing before its first request and works without `async with`; `aclose` closes its idle
    connections. The environment is read here and never again.

    Raises:
      BadValue: a blank model, a URL that is none, a client that is none, a key that no header can hold.
    """

    def __init__(
        self,
        model: str,
        *,
        api_key: Secret | None = None,
        auth_token: Secret | None = None,
        base_url: str | None = None,
        http_client: httpx.AsyncClient | Any | None = None,
        replay_scope: str | None = None,
        default_max_output_tokens: int | None = None,
        options: ClaudeOptions = ClaudeOptions(),  # noqa: B008  # frozen
        version: str = _wire.VERSION,
    ) -> None:
        from lutum.transport import HttpTransport, check_base_url  # loads httpx

        base = check_base_url(base_url or os.environ.get("ANTHROPIC_BASE_URL") or f"https://{API_HOST}")
        if not model.strip():
            raise BadValue("model", "is blank")
        if default_max_output_tokens is not None and default_max_output_tokens < 1:
            raise BadValue("default_max_output_tokens", f"{default_max_output_tokens} is below 1")
        if auth_token is None and api_key is None:
            auth_token = os.environ.get("ANTHROPIC_AUTH_TOKEN") or None
        if api_key is None:
            api_key = os.environ.get("ANTHROPIC_API_KEY") or None
        token = None if auth_token is None else _checked("auth_token", auth_token)
        key = None if api_key is None else _checked("api_key", api_key)
        self._secret = token or key
        self._header = "authorization" if token is not None else "x-api-key"
        self._field = "auth_token" if token is not None else "api_key"
        host = urlsplit(base).hostname or ""
        self._key_missing = self._secret is None and host == API_HOST
        self._transport: HttpTransport = HttpTransport(http_client)
        self._count_url = f"{base}/v1/messages/count_tokens"
        self._config = _encode.Config(
            scope=replay_scope or host,
            url=f"{base}/v1/messages",
            model=model,
            version=version,
            options=options,
            default_max_output_tokens=default_max_output_tokens,
            secret_headers=(self._header,) if self._secret is not None else (),
        )

    @classmethod
    def vertex(
        cls,
        model: str,
        *,
        project: str,
        region: str,
        token: Secret,
        http_client: httpx.AsyncClient | Any | None = None,
        replay_scope: str | None = None,
        default_max_output_tokens: int | None = None,
        options: ClaudeOptions = ClaudeOptions(),  # noqa: B008  # frozen
    ) -> Self:
        """Claude on Google Cloud's Vertex AI; `token` is an access token, or gives one for each request.

        Raises:
          BadValue: as the constructor.
        """
        host = _VERTEX_HOSTS.get(region, f"{region}-aiplatform.googleapis.com")
        adapter = cls(
            model,
            auth_token=token,
            base_url=f"https://{host}",
            http_client=http_client,
            replay_scope=replay_scope,
            default_max_output_tokens=default_max_output_tokens,
            options=options,
        )
        models = f"https://{host}/v1/projects/{project}/locations/{region}/publishers/anthropic/models"
        adapter._count_url = f"{models}/count-tokens:rawPredict"
        adapter._config = msgspec.structs.replace(
            adapter._config, url=f"{models}/{{model}}:streamRawPredict", vertex=True
        )
        return adapter

    @property
    def name(self) -> str:
        """`claude`."""
        return _wire.NAME

    @property
    def scope(self) -> str:
        """Endpoint and account family that sign this adapter's turns."""
        return self._config.scope

    def prepare(self, request: TurnRequest) -> Prepared:
        """Encode a request. Pure.

        Raises:
          BadValue: there is no key for the API, or the API or the model does not take the request; the
            field is named.
        """
        if self._key_missing:
            raise BadValue("api_key", f"{API_HOST} needs one: give api_key=, or set ANTHROPIC_API_KEY")
        return _encode.prepare(request, self._config)

    def exchange(self, prepared: Prepared) -> Exchange:
        """A fresh exchange for one attempt; nothing is sent before its `open`."""
        return self._transport.exchange(
            prepared,
            secrets=self._secrets,
            decoder=lambda response: self._decoder(prepared, response),
            fault=_fault,
        )

    def replay_form(self, turn: CommittedTurn, scope: str, model: str) -> ReplayForm:
        """Whether `turn` goes back exactly to that scope and model. Pure."""
        return _turn.replay_form(turn, scope, model)

    def first_difference(self, earlier: Prepared, later: Prepared) -> str | None:
        """JSON path in `later` of the first thing that is not as `earlier` sent it. Pure."""
        return _encode.first_difference(earlier, later, self._config)

    async def count_input_tokens(self, prepared: Prepared) -> int:
        """Ask the API how many input tokens the request has; one small request, not billed.

        Cancelled, it leaves nothing open.

        Raises:
          ProviderError: the API refused, or answered with something else.
          NetworkError: no connection, or it failed before the answer was whole.
          BadValue: the function given as the key raised, or gave none.
        """
        members = _wire.decode_object(prepared.body)
        sent = {name: value for name, value in members.items() if name in _COUNTED}
        if self._config.vertex:
            sent = {"model": msgspec.Raw(_wire.encode(prepared.model)), **sent}
            sent["anthropic_version"] = members["anthropic_version"]
        headers = [h for h in prepared.headers if h[0] != "accept"] + list((await self._secrets()).items())
        response, body = await self._transport.request("POST", self._count_url, headers, _wire.encode(sent))
        if response.status != 200:
            raise _fault(response, body)
        try:
            return msgspec.json.decode(body, type=_Counted).input_tokens
        except (msgspec.DecodeError, UnicodeError) as exc:
            raise ProviderError(f"the token count is malformed: {exc}", kind="malformed", body=body) from None

    async def aclose(self) -> None:
        """Close every idle connection; open turns keep theirs. Cancelled, it has closed them all the same."""
        await self._transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<ClaudeAdapter {self._config.model} at {self._config.scope}>"

    def _decoder(self, prepared: Prepared, response: Response) -> Decoder:
        output = prepared.request.output
        by_tool = (
            output is not None and _encode.options_of(prepared.request, self._config).structured == "tool"
        )
        return _decode.Decoder(
            response,
            model=prepared.model,
            scope=self._config.scope,
            inexact_reason=prepared.inexact_reason,
            prefix=_encode.binding(prepared, self._config),
            preface=prepared.preface,
            structured=output is not None and not by_tool,
            value_tool=output.name if output is not None and by_tool else None,
        )

    async def _secrets(self) -> Mapping[str, str]:
        secret = self._secret
        if secret is None:
            return {}
        if isinstance(secret, str):
            value = secret
        else:
            try:
                given: object = secret()
                if inspect.isawaitable(given):
                    given = await given
            except Exception as exc:
                raise BadValue(self._field, f"the function raised {type(exc).__name__}") from exc
            value = _secret(self._field, given)
        return {self._header: f"Bearer {value}" if self._header == "authorization" else value}


def _checked(field: str, secret: object) -> Secret:
    return cast("Secret", secret) if callable(secret) else _secret(field, secret)


def _secret(field: str, value: object) -> str:
    """A key that a header can hold; what is wrong with another is said without quoting it."""
    if not isinstance(value, str):
        raise BadValue(field, f"is a str, not {type(value).__name__}")
    if not value.strip():
        raise BadValue(field, "is blank")
    if not _wire.HEADER_VALUE.fullmatch(value):
        raise BadValue(field, "holds printable ASCII without spaces or a line end around it")
    return value


# Multi-region and global endpoints have hosts of their own (Vertex AI, "Anthropic's Claude models").
_VERTEX_HOSTS = {
    "global": "aiplatform.googleapis.com",
    "us": "aiplatform.us.rep.googleapis.com",
    "eu": "aiplatform.eu.rep.googleapis.com",
}


def _fault(response: Response, body: bytes) -> ProviderError:
    return http_error(response, body, time.time())
