"""`OpenAIAdapter`: where requests go, with which key, over which transport. The only room with I/O."""

from __future__ import annotations

from typing import ClassVar, Literal, final
from urllib.parse import quote

import msgspec

from lutum import CommittedTurn, ProviderError, Response, Transcript, Usage
from lutum.abc import Decoder, Prepared, ReplayForm, TurnRequest
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

# What /responses/input_tokens takes of a request (api/reference, "Get input token counts").
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
    """OpenAI's Responses API, or whatever speaks it. Its name, as in `Raw`, is `openai-responses`.

    Unless `OpenAIOptions(store=True)` says otherwise, nothing is stored at the provider: requests say
    `store: false` and ask models that reason for `reasoning.encrypted_content`, so that a conversation
    goes on from its transcript alone.

    The API has no stop sequences and no seed: both are refused. Nor has it a flag for a tool result that is
    an error: its output begins with `ERROR: `.

    Args:
      model: used where a turn names none.
      api_key: or `OPENAI_API_KEY`. A function is asked for each request; a `RequestSigner` signs it. Only
        api.openai.com demands one.
      base_url: `https://api.openai.com/v1`, or `OPENAI_BASE_URL`. On Azure `https://NAME.openai.azure.com/
        openai/v1`, or without `/v1` and with `api_version`; the key then goes in an `api-key` header.
      api_version: Azure's `api-version`.
      profile: a `Profile`, or the name of a known host (docs/hosts.md). Without it, the row of the URL's
        host. Of its fields this API uses `default_output`, `schema` and `tool_name`.
      organization: `OpenAI-Organization`; for api.openai.com also from `OPENAI_ORG_ID`.
      project: `OpenAI-Project`; for api.openai.com also from `OPENAI_PROJECT_ID`.
      http_client: an `httpx.AsyncClient` of yours.
      replay_scope: endpoint and account family whose turns are replayed exactly; the URL's host unless said.
      default_max_output_tokens: sent where a turn says nothing; 4,096, or 16,384 for a model that reasons.
      options: under those of each turn.
      hooks: settle the model and the options of a turn when it starts.

    It opens nothing before its first request and works without `async with`; `aclose` closes its idle
    connections. The environment is read here and never again.

    Raises:
      BadValue: a blank model, a URL that is none, a client that is none.
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
        self._stand_at(door_of(self._endpoint.host, _wire.NAME))
        self._config = _encode.ResponsesConfig(
            scope=self.scope,
            endpoint=self._endpoint,
            model=model,
            options=options,
            default_max_output_tokens=default_max_output_tokens,
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
        """The provider's calls in the last turn that no raw item behind it answers. Pure."""
        return _unanswered.unanswered_items(transcript, self._config.scope)

    def replay_form(self, turn: CommittedTurn, scope: str, model: str) -> ReplayForm:
        """Whether `turn` goes back exactly to that scope and model. Pure."""
        return _turn.replay_form(turn, scope, model)

    def first_difference(self, earlier: Prepared, later: Prepared) -> str | None:
        """JSON path in `later` of the first thing that is not as `earlier` sent it. Pure."""
        return _encode.first_difference(earlier, later, self._config)

    async def recover_usage(self, response: Response) -> Usage | None:
        """What a response that was cut used, by `GET /responses/{id}`; one small request.

        Only stored responses can be asked for (`OpenAIOptions(store=True)`). None where the provider does
        not know it, or does not know its usage yet. There is no timeout: give it a scope. Cancelled, it
        leaves nothing open.

        A checkpoint only if it has to wait.

        Raises:
          ProviderError: the API refused for another reason, or answered with something else.
          NetworkError: no connection, or it failed before the answer was whole.
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
        """Ask the API how many input tokens the request has, by `POST /responses/input_tokens`; not billed.

        There is no timeout: give it a scope. Cancelled, it leaves nothing open.

        A checkpoint only if it has to wait.

        Raises:
          ProviderError: the API refused, or answered with something else.
          NetworkError: no connection, or it failed before the answer was whole.
        """
        refuse(self._door, "count_tokens", "estimate")
        members = decode_object(prepared.body)
        sent = encode({name: value for name, value in members.items() if name in _COUNTED})
        headers = [("content-type", "application/json"), *self._config.headers]
        url = self._config.endpoint.url("/responses/input_tokens", prepared.model)
        return (await self._ask("POST", url, _decode_counted, headers=headers, body=sent)).input_tokens

    def decoder(self, prepared: Prepared, response: Response) -> Decoder:
        """The decoder of a successful answer to a request. Pure."""
        return decoder_for(prepared, response, self._config)


def decoder_for(prepared: Prepared, response: Response, config: _encode.ResponsesConfig) -> Decoder:
    """The decoder of the answer to a request. Pure."""
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
