"""`OpenAIChatAdapter`: where requests go, with which key, over which transport. The only room with I/O."""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Self, final
from urllib.parse import urlsplit

from lutum import BadValue, CommittedTurn, ProviderError, Response
from lutum.abc import Decoder, Exchange, Prepared, ReplayForm, TurnRequest
from lutum_openai import _common
from lutum_openai._options import OpenAIOptions
from lutum_openai.chat import _decode, _encode, _turn, _wire
from lutum_openai.chat._profiles import Profile, profile_of

if TYPE_CHECKING:
    from types import TracebackType

    import httpx

    from lutum.transport import HttpTransport

Secret = str | Callable[[], str | Awaitable[str]]
"""A key, or a function that gives one for each request; it may be a coroutine function."""


@final
class OpenAIChatAdapter:
    """Chat Completions, at OpenAI or wherever it is spoken. Its name, as in `Raw`, is `openai-chat`.

    A tool result that is an error begins with `ERROR: `: the dialect has no flag for it.

    Args:
      model: used where a turn names none. On Azure, the deployment's name.
      api_key: or `OPENAI_API_KEY`. A function is asked for each request. Only api.openai.com demands one.
      base_url: `https://api.openai.com/v1`, or `OPENAI_BASE_URL`. On Azure `https://NAME.openai.azure.com`
        and `api_version`, or with `/openai/v1` behind it; the key then goes in an `api-key` header.
      api_version: Azure's `api-version`.
      profile: what the host takes; known for many, by the URL's host.
      organization, project: `OpenAI-Organization` and `OpenAI-Project`; for api.openai.com also from
        `OPENAI_ORG_ID` and `OPENAI_PROJECT_ID`.
      http_client: an `httpx.AsyncClient` of yours.
      replay_scope: endpoint and account family whose turns are replayed exactly; the URL's host unless said.
      default_max_output_tokens: sent where a turn says nothing; 4,096, or 16,384 for a model that reasons.
      max_tokens_field: the member that bounds the output; `auto` is the profile's.
      cache_control: lifetime of cache breakpoints as Claude has them, for gateways to Claude; unsaid, none.
      options: under those of each turn.

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
        profile: Profile | None = None,
        organization: str | None = None,
        project: str | None = None,
        http_client: httpx.AsyncClient | Any | None = None,
        replay_scope: str | None = None,
        default_max_output_tokens: int | None = None,
        max_tokens_field: Literal["auto", "max_tokens", "max_completion_tokens"] = "auto",
        cache_control: Literal["5m", "1h"] | None = None,
        options: OpenAIOptions = OpenAIOptions(),  # noqa: B008  # frozen
    ) -> None:
        from lutum.transport import HttpTransport, check_base_url  # loads httpx

        base = check_base_url(base_url or os.environ.get("OPENAI_BASE_URL") or _common.OWN_BASE_URL)
        if not model.strip():
            raise BadValue("model", "is blank")
        if default_max_output_tokens is not None and default_max_output_tokens < 1:
            raise BadValue("default_max_output_tokens", f"{default_max_output_tokens} is below 1")
        self._endpoint = _common.endpoint(base, api_version)
        if self._endpoint.own:
            organization = organization or os.environ.get("OPENAI_ORG_ID") or None
            project = project or os.environ.get("OPENAI_PROJECT_ID") or None
        said = (("openai-organization", organization), ("openai-project", project))
        known = profile_of(self._endpoint.host) if profile is None else profile
        if max_tokens_field != "auto":
            known = known.with_max_tokens(max_tokens_field)
        self._secret = api_key or os.environ.get("OPENAI_API_KEY") or None
        self._transport: HttpTransport = HttpTransport(http_client)
        self._config = _encode.Config(
            scope=replay_scope or self._endpoint.host,
            url=chat_url(self._endpoint),
            model=model,
            profile=known,
            options=options,
            default_max_output_tokens=default_max_output_tokens,
            cache_control=cache_control,
            headers=tuple((name, value) for name, value in said if value),
            secret_headers=(self._endpoint.key_header,) if self._secret is not None else (),
        )

    @property
    def name(self) -> str:
        return _wire.NAME

    @property
    def scope(self) -> str:
        return self._config.scope

    def prepare(self, request: TurnRequest) -> Prepared:
        """Encode a request. Pure.

        Raises:
          BadValue: there is no key for api.openai.com, or Chat Completions does not take the request; the
            field is named.
        """
        if self._secret is None and self._endpoint.own:
            raise BadValue("api_key", f"{_common.OWN_HOST} needs one: give api_key=, or set OPENAI_API_KEY")
        return _encode.prepare(request, self._config)

    def exchange(self, prepared: Prepared) -> Exchange:
        """A fresh exchange for one attempt; nothing is sent before its `open`."""
        return self._transport.exchange(
            prepared,
            secrets=self._secrets,
            decoder=lambda response: decoder_for(prepared, response, self._config),
            fault=_fault,
        )

    def replay_form(self, turn: CommittedTurn, scope: str, model: str) -> ReplayForm:
        """Whether `turn` goes back exactly to that scope; the model does not matter here. Pure."""
        return _turn.replay_form(turn, scope, model)

    def first_difference(self, earlier: Prepared, later: Prepared) -> str | None:
        """JSON path in `later` of the first thing that is not as `earlier` sent it. Pure."""
        return _encode.first_difference(earlier, later, self._config)

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
        return f"<OpenAIChatAdapter {self._config.model} at {self._config.scope}>"

    async def _secrets(self) -> Mapping[str, str]:
        secret = self._secret
        if secret is None:
            return {}
        value = secret if isinstance(secret, str) else secret()
        if inspect.isawaitable(value):
            value = await value
        return self._endpoint.key_headers(value)


def chat_url(endpoint: _common.Endpoint) -> str:
    """Where an endpoint takes requests; Azure has the model in the URL, or its own `/openai/v1`.

    Raises:
      BadValue: an Azure URL that needs an api-version.
    """
    path = urlsplit(endpoint.base_url).path
    if not endpoint.azure or path.endswith("/v1") or "/deployments/" in path or path.endswith("/models"):
        return endpoint.url("/chat/completions")
    if endpoint.host.endswith(".services.ai.azure.com") and not path:
        return endpoint.url("/models/chat/completions")
    if not endpoint.api_version:
        raise BadValue("api_version", "Azure's deployments need one; /openai/v1 behind base_url needs none")
    openai = "" if path.endswith("/openai") else "/openai"
    return endpoint.url(openai + "/deployments/{model}/chat/completions")


def decoder_for(prepared: Prepared, response: Response, config: _encode.Config) -> Decoder:
    """The decoder of the answer to a request."""
    output = prepared.request.output
    by_tool = output is not None and _encode.structured_mode(prepared.request, config) == "tool"
    return _decode.Decoder(
        response,
        model=prepared.model,
        scope=config.scope,
        inexact_reason=prepared.inexact_reason,
        structured=output is not None and not by_tool,
        value_tool=output.name if output is not None and by_tool else None,
        estimate=prepared.estimate,
        hidden_reasoning=prepared.hidden_reasoning,
    )


def _fault(response: Response, body: bytes) -> ProviderError:
    return _common.http_error(response, body, time.time())
