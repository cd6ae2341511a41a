"""`OpenAIAdapter`: the endpoint, key and transport of requests. The only module here with I/O."""

from __future__ import annotations

from typing import ClassVar, Literal, final
from urllib.parse import quote

import msgspec

from lutum import CommittedTurn, ProviderError, Response, Transcript, Usage
from lutum.abc import Decoder, Prepared, ReplayForm, TurnRequest
from lutum.dialect.affinity import check_affinity
from lutum.dialect.json import decode_object, encode
from lutum.dialect.usage import recovered
from lutum.transport import Connector, HttpClient, KeyOrSigner
from lutum_clouds import BedrockPlace, door_of, refuse
from lutum_openai._cloud import check_cloud
from lutum_openai._cloud_adapter import OpenAICloudAdapter
from lutum_openai._options import OpenAIHooks, OpenAIOptions
from lutum_openai._profiles import Profile
from lutum_openai._usage import read_usage
from lutum_openai.responses import _decode, _encode, _turn, _unanswered, _wire

# Members of a request that /responses/input_tokens accepts (api/reference, "Get input token counts").
_COUNTED = frozenset(
    {
        "conversation",
        "input",
        "model",
        "parallel_tool_calls",
        "previous_response_id",
        "reasoning",
        "text",
        "tool_choice",
        "tools",
        "truncation",
    }
)


class _ResponsesCount(msgspec.Struct):
    input_tokens: int


_decode_counted = msgspec.json.Decoder(_ResponsesCount).decode


@final
class OpenAIAdapter(OpenAICloudAdapter):
    """OpenAI's Responses API, at OpenAI or at a compatible server. The name, as in `Raw`: `openai-responses`.

    Nothing is stored at the provider unless `OpenAIOptions(store=True)` is set: requests contain
    `store: false`, and request `reasoning.encrypted_content` from models that reason. Therefore the
    transcript alone is enough to continue a conversation.

    The API has no stop sequences and no seed, so the adapter refuses both. The API also has no flag for a
    tool result that is an error. The output of such a result begins with `ERROR: `.

    Args:
      model: the default for turns without a model.
      api_key: the key; default: `OPENAI_API_KEY`. A function is called for each request; a `RequestSigner`
        signs each request. Only api.openai.com requires a key.
      base_url: default: `OPENAI_BASE_URL`, else `https://api.openai.com/v1`. On Azure, either
        `https://NAME.openai.azure.com/openai/v1`, or the same URL without `/v1` and with `api_version`. Azure
        receives the key in an `api-key` header.
      api_version: Azure's `api-version`.
      profile: a `Profile`, or the name of a known host (docs/hosts.md). Default: the row of the URL's host.
        The adapter uses only the fields `default_output`, `schema`, `tool_name` and `affinity`; for
        self-hosted and unknown servers also `system` and `alternate`.
      organization: the header `OpenAI-Organization`. Default for api.openai.com: `OPENAI_ORG_ID`.
      project: the header `OpenAI-Project`. Default for api.openai.com: `OPENAI_PROJECT_ID`.
      http_client: your `httpx.AsyncClient`.
      replay_scope: a name for the endpoint and its accounts. Turns with the same name are replayed exactly.
        Default: the URL's host.
      default_max_output_tokens: the output bound of turns that set none. Default: 4,096, or 16,384 for a
        model that reasons.
      affinity: a key by which the host routes requests with the same prefix to the server that has cached it.
        `conversation`: one key for each conversation, shared by its forks. `head`: one key for all
        conversations with the same system items and tools. Any other text is the key itself. Default: a key
        is not sent. The member is `prompt_cache_key`; for OpenRouter `session_id`.
      options: defaults for the options of each turn.
      hooks: choose the model and the options of a turn when it starts.

    The adapter opens no connection before its first request and works without `async with`; `aclose` closes
    its idle connections. Environment variables are read by the constructor only.

    Raises:
      BadValue: `model` is blank, `base_url` is not a URL, or `http_client` is not a client.
    """

    endpoints: ClassVar[tuple[str, ...]] = ("/responses", "/chat/completions")
    api: ClassVar[Literal["chat", "responses"]] = "responses"

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
        self._stand_at(door_of(self._endpoint.host, _wire.NAME))
        self._config = _encode.ResponsesConfig(
            scope=self.scope,
            endpoint=self._endpoint,
            model=model,
            options=options,
            default_max_output_tokens=default_max_output_tokens,
            affinity=affinity,
            profile=self._known,
            headers=self._account(organization, project),
            secret_headers=self._secret_headers,
        )

    def _at_bedrock(self, place: BedrockPlace, profile: Profile | None) -> None:
        endpoint = msgspec.structs.replace(self._endpoint, host=place.host, place=place)
        known = self._config.profile if profile is None else profile
        self._config = msgspec.structs.replace(self._config, endpoint=endpoint, profile=known)

    def _at_azure(self) -> None:
        pass

    @property
    def name(self) -> str:
        return _wire.NAME

    def _prepare(self, request: TurnRequest) -> Prepared:
        prepared = _encode.prepare(request, self._config)
        check_cloud(prepared, _encode.options_of(request, self._config), self._door)
        return prepared

    def open_items(self, transcript: Transcript) -> tuple[bytes, ...]:
        """Return the provider's calls in the last turn that raw items have not answered yet. Pure."""
        return _unanswered.unanswered_items(transcript, self._config.scope)

    def replay_form(self, turn: CommittedTurn, scope: str, model: str) -> ReplayForm:
        """Return whether `turn` can be replayed exactly to `scope` and `model`. Pure."""
        return _turn.replay_form(turn, scope, model)

    def first_difference(self, earlier: Prepared, later: Prepared) -> str | None:
        """Return the JSON path in `later` of the first entry that differs from `earlier`. Pure."""
        return _encode.first_difference(earlier, later, self._config)

    async def recover_usage(self, response: Response) -> Usage | None:
        """Get the usage of an interrupted response with one small request, `GET /responses/{id}`.

        This works for stored responses only (`OpenAIOptions(store=True)`). Returns None if the provider does
        not know the response, or does not know its usage yet. The request has no timeout; use a cancel scope.
        Cancellation leaves nothing open.

        This is a checkpoint only if it has to wait.

        Raises:
          ProviderError: the API refused for another reason, or the answer is malformed.
          NetworkError: no connection was made, or it failed before the whole answer was received.
        """
        if response.id is None:
            return None
        url = self._config.endpoint.url(f"/responses/{quote(response.id, safe='')}", self._model)
        try:
            usage = await self._ask("GET", url, _recorded, headers=self._config.headers)
        except ProviderError as error:
            if error.status == 404:
                return None
            raise
        return None if usage is None else msgspec.structs.replace(usage, known="recovered")

    async def count_input_tokens(self, prepared: Prepared) -> int:
        """Get the exact number of input tokens with `POST /responses/input_tokens`, which is not billed.

        The request has no timeout; use a cancel scope. Cancellation leaves nothing open.

        This is a checkpoint only if it has to wait.

        Raises:
          ProviderError: the API refused, or the answer is malformed.
          NetworkError: no connection was made, or it failed before the whole answer was received.
        """
        refuse(self._door, "count_tokens", "estimate")
        members = decode_object(prepared.body)
        sent = encode({name: value for name, value in members.items() if name in _COUNTED})
        headers = [("content-type", "application/json"), *self._config.headers]
        url = self._config.endpoint.url("/responses/input_tokens", prepared.model)
        return (await self._ask("POST", url, _decode_counted, headers=headers, body=sent)).input_tokens

    def decoder(self, prepared: Prepared, response: Response) -> Decoder:
        """Return the decoder of a successful answer to a request. Pure."""
        return decoder_for(prepared, response, self._config)


def decoder_for(prepared: Prepared, response: Response, config: _encode.ResponsesConfig) -> Decoder:
    """Return the decoder of the answer to a request. Pure."""
    request = prepared.request
    value_tool = _encode.value_tool(request, config)
    return _decode.ResponsesDecoder(
        response,
        model=prepared.model,
        scope=config.scope,
        stored=_encode.stores(_encode.options_of(request, config)),
        inexact_reason=prepared.inexact_reason,
        preface=prepared.preface,
        structured=request.output is not None and value_tool is None,
        value_tool=value_tool,
        estimate=prepared.estimate,
        hidden=prepared.hidden_reasoning,
        rates=prepared.rates,
    )


def _recorded(body: bytes) -> Usage | None:
    """Return the usage of a stored response."""
    return recovered(read_usage(_wire.decode_head(body).usage))
