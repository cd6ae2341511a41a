"""`OpenAICompletionsAdapter`: where requests go, with which key. The only room with I/O."""

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
      hooks: settle the model and the options of a request when it starts.

    It opens nothing before its first request and works without `async with`; `aclose` closes its idle
    connections. The environment is read here and never again.

    Raises:
      BadValue: a blank model, a URL that is none, Azure without a version, a client that is none.
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
        """No turn goes back: there is nowhere to put one. Pure."""
        return _encode.replay_form(turn)

    def first_difference(self, earlier: Prepared, later: Prepared) -> str | None:
        """`$.prompt`, unless the later prompt goes on from the earlier. Pure."""
        return _encode.first_difference(earlier, later)

    def decoder(self, prepared: Prepared, response: Response) -> Decoder:
        """The decoder of a successful answer to a request. Pure."""
        return _decode.CompletionsDecoder(
            response, model=prepared.model, scope=self.scope, estimate=prepared.estimate
        )


def completions_url(endpoint: _endpoint.OpenAIEndpoint) -> str:
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
