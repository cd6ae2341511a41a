"""`OpenAIChatAdapter`: the endpoint, key and transport of requests. The only module here with I/O."""

from __future__ import annotations

import copy
from typing import ClassVar, Literal, final
from urllib.parse import urlsplit

import msgspec

from lutum import BadValue, CommittedTurn, Response, Transcript
from lutum.abc import Decoder, Prepared, ReplayForm, TurnRequest
from lutum.dialect.affinity import check_affinity
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
    """Chat Completions, at OpenAI or at a compatible server. The adapter's name, as in `Raw`: `openai-chat`.

    A tool result that is an error begins with `ERROR: `, because the dialect has no flag for it.

    Args:
      model: the default for turns without a model. On Azure, the deployment's name.
      api_key: the key; default: `OPENAI_API_KEY`. A function is called for each request; a `RequestSigner`
        signs each request. Only api.openai.com requires a key.
      base_url: default: `OPENAI_BASE_URL`, else `https://api.openai.com/v1`. On Azure, either
        `https://NAME.openai.azure.com` with `api_version`, or the same URL with `/openai/v1` appended. Azure
        receives the key in an `api-key` header.
      api_version: Azure's `api-version`.
      profile: a `Profile`, or the name of a known host (docs/hosts.md). Default: the row of the URL's host,
        adapted to the model's chat template if that template is known.
      organization: the header `OpenAI-Organization`. Default for api.openai.com: `OPENAI_ORG_ID`.
      project: the header `OpenAI-Project`. Default for api.openai.com: `OPENAI_PROJECT_ID`.
      http_client: your `httpx.AsyncClient`.
      replay_scope: a name for the endpoint and its accounts. Turns with the same name are replayed exactly.
        Default: the URL's host.
      default_max_output_tokens: the output bound of turns that set none. Default: 4,096, or 16,384 for a
        model that reasons.
      max_tokens_field: the member that bounds the output; `auto` takes it from the profile.
      cache_control: lifetime of Claude's cache breakpoints, for gateways to Claude. Default: no breakpoints.
      affinity: a key by which the host routes requests with the same prefix to the server that has cached it.
        `conversation`: one key for each conversation, shared by its forks. `head`: one key for all
        conversations with the same system items and tools. Any other text is the key itself. Default: a key
        is not sent. `Profile.affinity` is the member or header for the key, see docs/hosts.md.
      options: defaults for the options of each turn.
      hooks: choose the model and the options of a turn when it starts.

    The adapter opens no connection before its first request and works without `async with`; `aclose` closes
    its idle connections. Environment variables are read by the constructor only.

    Raises:
      BadValue: `model` is blank, `base_url` is not a URL, an Azure URL lacks a version, or `http_client` is
        not a client.
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
        affinity: Literal["conversation", "head"] | str | None = None,
        options: OpenAIOptions = OpenAIOptions(),
        hooks: OpenAIHooks = OpenAIHooks(),
    ) -> None:
        check_affinity(affinity)
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
            affinity=affinity,
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
        """The profile that the adapter uses for its own model."""
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
        """Return the provider's calls in the last turn that raw items have not answered yet. Pure."""
        return _unanswered.unanswered_items(transcript, self._config.scope)

    def replay_form(self, turn: CommittedTurn, scope: str, model: str) -> ReplayForm:
        """Return whether `turn` can be replayed exactly to `scope`. The model does not matter. Pure."""
        form = _turn.replay_form(turn, scope, model)
        return _turn.form_at(form, turn, _encode.profile_for(self._config, model))

    def first_difference(self, earlier: Prepared, later: Prepared) -> str | None:
        """Return the JSON path in `later` of the first entry that differs from `earlier`. Pure."""
        return _encode.first_difference(earlier, later, self._config)

    def decoder(self, prepared: Prepared, response: Response) -> Decoder:
        """Return the decoder of a successful answer to a request. Pure."""
        return decoder_for(prepared, response, self._config)


def chat_url(endpoint: _endpoint.OpenAIEndpoint) -> str:
    """Return the URL of Chat requests. Azure's URLs contain the model, or end in `/openai/v1`.

    Raises:
      BadValue: an Azure URL that needs an api-version has none.
    """
    path = urlsplit(endpoint.base_url).path
    if not endpoint.azure or path.endswith("/v1") or "/deployments/" in path or path.endswith("/models"):
        return endpoint.url("/chat/completions")
    if endpoint.host.endswith(".services.ai.azure.com") and not path:
        return endpoint.url("/models/chat/completions")
    if not endpoint.api_version:
        raise BadValue("api_version", "is missing: give api_version=, or a base_url that ends in /openai/v1")
    openai = "" if path.endswith("/openai") else "/openai"
    return endpoint.url(openai + "/deployments/{model}/chat/completions")


def decoder_for(prepared: Prepared, response: Response, config: _encode.ChatConfig) -> Decoder:
    """Return the decoder of the answer to a request."""
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
