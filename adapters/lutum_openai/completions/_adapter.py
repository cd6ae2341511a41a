"""`OpenAICompletionsAdapter`: where requests go, with which key. The only room with I/O."""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Self, final
from urllib.parse import urlsplit

from lutum import BadValue, CommittedTurn, ProviderError, Response
from lutum.abc import Decoder, Exchange, Prepared, ReplayForm, TurnRequest
from lutum_openai import _common
from lutum_openai._options import OpenAIOptions
from lutum_openai.completions import _decode, _encode

if TYPE_CHECKING:
    from types import TracebackType

    import httpx

    from lutum.transport import HttpTransport

Secret = str | Callable[[], str | Awaitable[str]]
"""A key, or a function that gives one for each request; it may be a coroutine function."""


@final
class OpenAICompletionsAdapter:
    """Completions, at OpenAI or wherever they are spoken: for `Lutum(completion=)`.

    It takes one user message of text, and refuses everything else by its name: roles, tools, schemas.
    Of `OpenAIOptions` it takes `user`, `extra_body` and `extra_headers`.

    Args:
      model: used where a request names none. On Azure, the deployment's name.
      api_key: or `OPENAI_API_KEY`. A function is asked for each request. Only api.openai.com demands one.
      base_url: `https://api.openai.com/v1`, or `OPENAI_BASE_URL`. On Azure `https://NAME.openai.azure.com`
        and `api_version`, or with `/openai/v1` behind it; the key then goes in an `api-key` header.
      api_version: Azure's `api-version`.
      http_client: an `httpx.AsyncClient` of yours.
      default_max_output_tokens: sent where a request says nothing; the API's own default is 16.
      options: under those of each request.

    It opens nothing before its first request and works without `async with`; `aclose` closes its idle
    connections. The environment is read here and never again.

    Raises:
      BadValue: a blank model, a URL that is none, Azure without a version, a client that is none.
    """

    def __init__(
        self,
        model: str,
        *,
        api_key: Secret | None = None,
        base_url: str | None = None,
        api_version: str | None = None,
        http_client: httpx.AsyncClient | Any | None = None,
        default_max_output_tokens: int = _encode.DEFAULT_OUTPUT,
        options: OpenAIOptions = OpenAIOptions(),  # noqa: B008  # frozen
    ) -> None:
        from lutum.transport import HttpTransport, check_base_url  # loads httpx

        base = check_base_url(base_url or os.environ.get("OPENAI_BASE_URL") or _common.OWN_BASE_URL)
        if not model.strip():
            raise BadValue("model", "is blank")
        if default_max_output_tokens < 1:
            raise BadValue("default_max_output_tokens", f"{default_max_output_tokens} is below 1")
        self._endpoint = _common.endpoint(base, api_version)
        self._secret = api_key or os.environ.get("OPENAI_API_KEY") or None
        self._transport: HttpTransport = HttpTransport(http_client)
        self._config = _encode.Config(
            scope=self._endpoint.host,
            url=completions_url(self._endpoint),
            model=model,
            options=options,
            default_max_output_tokens=default_max_output_tokens,
            secret_headers=(self._endpoint.key_header,) if self._secret is not None else (),
        )

    @property
    def name(self) -> str:
        return _encode.NAME

    @property
    def scope(self) -> str:
        return self._config.scope

    def prepare(self, request: TurnRequest) -> Prepared:
        """Encode a request. Pure.

        Raises:
          BadValue: there is no key for api.openai.com, or it is more than a prompt; the field is named.
        """
        if self._secret is None and self._endpoint.own:
            raise BadValue("api_key", f"{_common.OWN_HOST} needs one: give api_key=, or set OPENAI_API_KEY")
        return _encode.prepare(request, self._config)

    def exchange(self, prepared: Prepared) -> Exchange:
        """A fresh exchange for one attempt; nothing is sent before its `open`."""

        def decoder(response: Response) -> Decoder:
            return _decode.Decoder(
                response, model=prepared.model, scope=self.scope, estimate=prepared.estimate
            )

        return self._transport.exchange(prepared, secrets=self._secrets, decoder=decoder, fault=_fault)

    def replay_form(self, turn: CommittedTurn, scope: str, model: str) -> ReplayForm:
        """No turn goes back: there is nowhere to put one. Pure."""
        return _encode.replay_form(turn)

    def first_difference(self, earlier: Prepared, later: Prepared) -> str | None:
        """`$.prompt`, unless the later prompt goes on from the earlier. Pure."""
        return _encode.first_difference(earlier, later)

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
        return f"<OpenAICompletionsAdapter {self._config.model} at {self._config.scope}>"

    async def _secrets(self) -> Mapping[str, str]:
        secret = self._secret
        if secret is None:
            return {}
        value = secret if isinstance(secret, str) else secret()
        if inspect.isawaitable(value):
            value = await value
        return self._endpoint.key_headers(value)


def completions_url(endpoint: _common.Endpoint) -> str:
    """Where an endpoint takes requests; Azure has the model in the URL, or its own `/openai/v1`.

    Raises:
      BadValue: an Azure URL that needs an api-version.
    """
    path = urlsplit(endpoint.base_url).path
    if not endpoint.azure or path.endswith("/v1") or "/deployments/" in path:
        return endpoint.url("/completions")
    if not endpoint.api_version:
        raise BadValue("api_version", "Azure's deployments need one; /openai/v1 behind base_url needs none")
    openai = "" if path.endswith("/openai") else "/openai"
    return endpoint.url(openai + "/deployments/{model}/completions")


def _fault(response: Response, body: bytes) -> ProviderError:
    return _common.http_error(response, body, time.time())
