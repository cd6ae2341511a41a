"""`OpenAICompletionsAdapter`: the endpoint and key of requests. The only module here with I/O."""

from __future__ import annotations

from typing import ClassVar, final
from urllib.parse import urlsplit

from lutum import BadValue, CommittedTurn, Response
from lutum.abc import Decoder, Prepared, ReplayForm, TurnRequest
from lutum.transport import Connector, HttpClient, Secret
from lutum_openai import _endpoint
from lutum_openai._http_adapter import OpenAIHttpAdapter
from lutum_openai._options import OpenAIHooks, OpenAIOptions
from lutum_openai.completions import _decode, _encode


@final
class OpenAICompletionsAdapter(OpenAIHttpAdapter):
    """Completions, at OpenAI or at a compatible server: for `Lutum(completion=)`.

    It accepts one user message of text. It refuses roles, tools and schemas; the error names the field. Of
    `OpenAIOptions` it accepts `user`, `frequency_penalty`, `presence_penalty`, `logit_bias`, `extra_body` and
    `extra_headers`.

    Args:
      model: the default for requests without a model. On Azure, the deployment's name.
      api_key: the key; default: `OPENAI_API_KEY`. A function is called for each request. Only api.openai.com
        requires a key.
      base_url: default: `OPENAI_BASE_URL`, else `https://api.openai.com/v1`. On Azure, either
        `https://NAME.openai.azure.com` with `api_version`, or the same URL with `/openai/v1` appended. Azure
        receives the key in an `api-key` header.
      api_version: Azure's `api-version`.
      http_client: your `httpx.AsyncClient`.
      default_max_output_tokens: the output bound of requests that set none. The API's own default is 16.
      options: defaults for the options of each request.
      hooks: choose the model and the options of a request when it starts.

    The adapter opens no connection before its first request and works without `async with`; `aclose` closes
    its idle connections. Environment variables are read by the constructor only.

    Raises:
      BadValue: `model` is blank, `base_url` is not a URL, an Azure URL lacks a version, or `http_client` is
        not a client.
    """

    endpoints: ClassVar[tuple[str, ...]] = ("/chat/completions", "/completions")

    def __init__(
        self,
        model: str,
        *,
        api_key: Secret | None = None,
        base_url: str | None = None,
        api_version: str | None = None,
        http_client: HttpClient | Connector | None = None,
        default_max_output_tokens: int = _encode.DEFAULT_OUTPUT,
        options: OpenAIOptions = OpenAIOptions(),
        hooks: OpenAIHooks = OpenAIHooks(),
    ) -> None:
        super().__init__(
            model,
            api_key=api_key,
            base_url=base_url,
            api_version=api_version,
            scope=None,
            http_client=http_client,
            default_max_output_tokens=default_max_output_tokens,
            hooks=hooks,
            options=options,
        )
        self._config = _encode.CompletionsConfig(
            scope=self.scope,
            url=completions_url(self._endpoint),
            model=model,
            options=options,
            default_max_output_tokens=default_max_output_tokens,
            secret_headers=self._secret_headers,
        )

    @property
    def name(self) -> str:
        return _encode.NAME

    def _prepare(self, request: TurnRequest) -> Prepared:
        return _encode.prepare(request, self._config)

    def replay_form(self, turn: CommittedTurn, scope: str, model: str) -> ReplayForm:
        """Return a form that is not exact, because a prompt has no place for earlier turns. Pure."""
        return _encode.replay_form(turn)

    def first_difference(self, earlier: Prepared, later: Prepared) -> str | None:
        """Return `$.prompt`; None if the later prompt starts with the earlier prompt. Pure."""
        return _encode.first_difference(earlier, later)

    def decoder(self, prepared: Prepared, response: Response) -> Decoder:
        """Return the decoder of a successful answer to a request. Pure."""
        return _decode.CompletionsDecoder(
            response, model=prepared.model, scope=self.scope, estimate=prepared.estimate
        )


def completions_url(endpoint: _endpoint.OpenAIEndpoint) -> str:
    """Return the URL of Completions requests. Azure's URLs contain the model, or end in `/openai/v1`.

    Raises:
      BadValue: an Azure URL that needs an api-version has none.
    """
    path = urlsplit(endpoint.base_url).path
    if not endpoint.azure or path.endswith("/v1") or "/deployments/" in path:
        return endpoint.url("/completions")
    if not endpoint.api_version:
        raise BadValue("api_version", "is missing: give api_version=, or a base_url that ends in /openai/v1")
    openai = "" if path.endswith("/openai") else "/openai"
    return endpoint.url(openai + "/deployments/{model}/completions")
