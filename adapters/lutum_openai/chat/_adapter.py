"""`OpenAIChatAdapter`: where requests go, with which key, over which transport. The only room with I/O."""

from __future__ import annotations

import copy
from typing import ClassVar, Literal, final
from urllib.parse import urlsplit

import msgspec

from lutum import BadValue, CommittedTurn, Response, Transcript
from lutum.abc import Decoder, Prepared, ReplayForm, TurnRequest
from lutum.transport import Connector, HttpClient, KeyOrSigner
from lutum_clouds import BedrockPlace, door_of
from lutum_openai import _endpoint
from lutum_openai._cloud import check_cloud
from lutum_openai._cloud_adapter import OpenAICloudAdapter
from lutum_openai._hosts import named_profile
from lutum_openai._options import OpenAIHooks, OpenAIOptions
from lutum_openai._profiles import Profile
from lutum_openai.chat import _decode, _encode, _turn, _unanswered, _wire


@final
class OpenAIChatAdapter(OpenAICloudAdapter):
    """Chat Completions, at OpenAI or wherever it is spoken. Its name, as in `Raw`, is `openai-chat`.

    A tool result that is an error begins with `ERROR: `: the dialect has no flag for it.

    Args:
      model: used where a turn names none. On Azure, the deployment's name.
      api_key: or `OPENAI_API_KEY`. A function is asked for each request; a `RequestSigner` signs it. Only
        api.openai.com demands one.
      base_url: `https://api.openai.com/v1`, or `OPENAI_BASE_URL`. On Azure `https://NAME.openai.azure.com`
        and `api_version`, or with `/openai/v1` behind it; the key then goes in an `api-key` header.
      api_version: Azure's `api-version`.
      profile: a `Profile`, or the name of a known host (docs/hosts.md). Without it, the row of the URL's
        host, with what is known about the model's chat template.
      organization: `OpenAI-Organization`; for api.openai.com also from `OPENAI_ORG_ID`.
      project: `OpenAI-Project`; for api.openai.com also from `OPENAI_PROJECT_ID`.
      http_client: an `httpx.AsyncClient` of yours.
      replay_scope: endpoint and account family whose turns are replayed exactly; the URL's host unless said.
      default_max_output_tokens: sent where a turn says nothing; 4,096, or 16,384 for a model that reasons.
      max_tokens_field: the member that bounds the output; `auto` is the profile's.
      cache_control: lifetime of cache breakpoints as Claude has them, for gateways to Claude; unsaid, none.
      options: under those of each turn.
      hooks: settle the model and the options of a turn when it starts.

    It opens nothing before its first request and works without `async with`; `aclose` closes its idle
    connections. The environment is read here and never again.

    Raises:
      BadValue: a blank model, a URL that is none, Azure without a version, a client that is none.
    """

    endpoints: ClassVar[tuple[str, ...]] = ("/chat/completions", "/chat", "/completions")
    api: ClassVar[Literal["chat", "responses"]] = "chat"

    def __init__(
        self,
        model: str,
        *,
        api_key: KeyOrSigner | None = None,
        base_url: str | None = None,
        api_version: str | None = None,
        profile: Profile | str | None = None,
        organization: str | None = None,
        project: str | None = None,
        http_client: HttpClient | Connector | None = None,
        replay_scope: str | None = None,
        default_max_output_tokens: int | None = None,
        max_tokens_field: Literal["auto", "max_tokens", "max_completion_tokens"] = "auto",
        cache_control: Literal["5m", "1h"] | None = None,
        options: OpenAIOptions = OpenAIOptions(),
        hooks: OpenAIHooks = OpenAIHooks(),
    ) -> None:
        super().__init__(
            model,
            api_key=api_key,
            base_url=base_url,
            api_version=api_version,
            profile=profile,
            replay_scope=replay_scope,
            http_client=http_client,
            default_max_output_tokens=default_max_output_tokens,
            hooks=hooks,
            options=options,
        )
        known = self._known
        if max_tokens_field != "auto":
            known = known.with_max_tokens(max_tokens_field)
        self._stand_at(door_of(self._endpoint.host, _wire.NAME))
        self._config = _encode.ChatConfig(
            scope=self.scope,
            url=chat_url(self._endpoint),
            model=model,
            profile=known,
            host=self._endpoint.host,
            by_model=profile is None and max_tokens_field == "auto",
            options=options,
            default_max_output_tokens=default_max_output_tokens,
            cache_control=cache_control,
            headers=self._account(organization, project),
            secret_headers=self._secret_headers,
        )

    def _at_bedrock(self, place: BedrockPlace, profile: Profile | None) -> None:
        self._endpoint = msgspec.structs.replace(self._endpoint, host=place.host, place=place)
        known = self._config.profile if profile is None else profile
        self._config = msgspec.structs.replace(self._config, host=place.host, place=place, profile=known)

    def _at_azure(self) -> None:
        self._endpoint = msgspec.structs.replace(self._endpoint, azure=True)
        self._config = msgspec.structs.replace(self._config, url=chat_url(self._endpoint))

    @property
    def name(self) -> str:
        return _wire.NAME

    @property
    def profile(self) -> Profile:
        """What the adapter takes its host to accept, for its own model."""
        return _encode.profile_for(self._config, self._model)

    def with_profile(self, profile: Profile | str) -> OpenAIChatAdapter:
        """Return this adapter with another profile. Both share their connections."""
        other = copy.copy(self)
        other._config = msgspec.structs.replace(self._config, profile=named_profile(profile), by_model=False)
        return other

    def _prepare(self, request: TurnRequest) -> Prepared:
        prepared = _encode.prepare(request, self._config)
        check_cloud(prepared, _encode.options_of(request, self._config), self._door)
        return prepared

    def open_items(self, transcript: Transcript) -> tuple[bytes, ...]:
        """The provider's calls in the last turn that no raw item behind it answers. Pure."""
        return _unanswered.unanswered_items(transcript, self._config.scope)

    def replay_form(self, turn: CommittedTurn, scope: str, model: str) -> ReplayForm:
        """Whether `turn` goes back exactly to that scope; the model does not matter here. Pure."""
        form = _turn.replay_form(turn, scope, model)
        return _turn.form_at(form, turn, _encode.profile_for(self._config, model))

    def first_difference(self, earlier: Prepared, later: Prepared) -> str | None:
        """JSON path in `later` of the first thing that is not as `earlier` sent it. Pure."""
        return _encode.first_difference(earlier, later, self._config)

    def decoder(self, prepared: Prepared, response: Response) -> Decoder:
        """The decoder of a successful answer to a request. Pure."""
        return decoder_for(prepared, response, self._config)


def chat_url(endpoint: _endpoint.OpenAIEndpoint) -> str:
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


def decoder_for(prepared: Prepared, response: Response, config: _encode.ChatConfig) -> Decoder:
    """The decoder of the answer to a request."""
    value_tool = _encode.value_tool(prepared.request, config)
    return _decode.ChatDecoder(
        response,
        model=prepared.model,
        scope=config.scope,
        inexact_reason=prepared.inexact_reason,
        structured=prepared.request.output is not None and value_tool is None,
        value_tool=value_tool,
        estimate=prepared.estimate,
        hidden_reasoning=prepared.hidden_reasoning,
        rates=prepared.rates,
        increments=config.profile.usage == "increments",
        think=_encode.profile_for(config, prepared.model).think,
    )
