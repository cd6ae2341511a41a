"""`ClaudeAdapter`: the endpoint, key and transport of requests. The only module here with I/O."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, ClassVar, Self, final
from urllib.parse import urlsplit

import msgspec

from lutum import CommittedTurn, Event, Response
from lutum.abc import Decoder, Prepared, RateLimit, ReplayForm, TurnRequest
from lutum.dialect.errors import ErrorTable, body_error
from lutum.dialect.headers import x_rate_limits
from lutum.dialect.json import decode_object, encode
from lutum.dialect.options import options_of
from lutum.transport import Connector, Credential, HttpClient, KeyOrSigner, Secret, credential_of
from lutum_claude import _decode, _encode, _messages, _turn, _wire
from lutum_claude._cloud import check_cloud
from lutum_claude._errors import ERRORS
from lutum_claude._options import ClaudeHooks, ClaudeOptions
from lutum_claude._rate_limits import read_rate_limits
from lutum_clouds import (
    AwsSource,
    BedrockDoor,
    BedrockPlace,
    CloudAdapter,
    azure_host,
    azure_signer,
    bedrock_place,
    bedrock_signer,
    door_of,
    named_door,
    refuse,
    vertex_host,
    vertex_place,
    vertex_signer,
)

API_HOST = "api.anthropic.com"

# Members of a request that /v1/messages/count_tokens accepts (api/messages-count-tokens). It refuses others.
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


class _ClaudeCount(msgspec.Struct):
    input_tokens: int


_decode_counted = msgspec.json.Decoder(_ClaudeCount).decode


@final
class ClaudeAdapter(CloudAdapter):
    """Claude, over the Messages API or a server that implements it.

    Args:
      model: the default for turns without a model.
      api_key: sent as `x-api-key`. Default: `ANTHROPIC_API_KEY`. A function is called for each request. A
        `RequestSigner` signs each request.
      auth_token: sent as `authorization: Bearer`. Default: `ANTHROPIC_AUTH_TOKEN`, if `api_key` is not given.
        If both a token and a key are given, only the token is sent.
      base_url: default: `ANTHROPIC_BASE_URL`, else `https://api.anthropic.com`. Only the host
        `api.anthropic.com` requires a key.
      http_client: your `httpx.AsyncClient`.
      replay_scope: the endpoint and account family whose turns are replayed exactly. Default: the URL's host.
      default_max_output_tokens: the output limit of turns that set none. Default: 4,096, or 16,384 for a
        model that thinks.
      options: defaults for the options of each turn.
      hooks: choose the model and the options of a turn when it starts.
      version: the value of the header `anthropic-version`.

    The adapter opens no connection before its first request and works without `async with`. `aclose` closes
    its idle connections. Environment variables are read by the constructor only.

    Raises:
      BadValue: `model` is blank, `base_url` is not a URL, `http_client` is not a client, or the key cannot
        be sent in a header.
    """

    errors: ClassVar[ErrorTable] = ERRORS
    endpoints: ClassVar[tuple[str, ...]] = ("/v1/messages/count_tokens", "/v1/messages", "/v1", "/messages")
    options_class: ClassVar[type[Any] | None] = ClaudeOptions
    hooks_class: ClassVar[type[Any] | None] = ClaudeHooks
    request_ids: ClassVar[tuple[str, ...]] = (
        "request-id",
        "x-request-id",
        "x-amzn-requestid",  # at Bedrock
    )

    def __init__(
        self,
        model: str,
        *,
        api_key: KeyOrSigner | None = None,
        auth_token: KeyOrSigner | None = None,
        base_url: str | None = None,
        http_client: HttpClient | Connector | None = None,
        replay_scope: str | None = None,
        default_max_output_tokens: int | None = None,
        options: ClaudeOptions = ClaudeOptions(),
        hooks: ClaudeHooks = ClaudeHooks(),
        version: str = _wire.VERSION,
    ) -> None:
        token = Credential.find(auth_token, *(() if api_key is not None else ("ANTHROPIC_AUTH_TOKEN",)))
        key = Credential.find(api_key, "ANTHROPIC_API_KEY")
        if token is not None:
            credential = credential_of(token, field="auth_token")
        else:
            credential = credential_of(key, header="x-api-key", scheme="")
        super().__init__(
            model,
            base_url or os.environ.get("ANTHROPIC_BASE_URL") or f"https://{API_HOST}",
            scope=replay_scope,
            credential=credential,
            own_host=API_HOST,
            variable="ANTHROPIC_API_KEY",
            http_client=http_client,
            default_max_output_tokens=default_max_output_tokens,
            hooks=hooks,
            options=options,
        )
        self._place: BedrockPlace | None = None
        self._stand_at(door_of(urlsplit(self._base_url).hostname or "", _wire.NAME))
        self._count_url = f"{self._base_url}/v1/messages/count_tokens"
        self._config = _encode.ClaudeConfig(
            scope=self.scope,
            url=f"{self._base_url}/v1/messages",
            model=model,
            version=version,
            options=options,
            default_max_output_tokens=default_max_output_tokens,
            secret_headers=self._secret_headers,
        )

    @classmethod
    def bedrock(
        cls,
        model: str,
        *,
        region: str | None = None,
        door: BedrockDoor = "runtime",
        api_key: KeyOrSigner | None = None,
        credentials: AwsSource | None = None,
        aws_profile: str | None = None,
        base_url: str | None = None,
        prefix: str | None = None,
        http_client: HttpClient | Connector | None = None,
        replay_scope: str | None = None,
        default_max_output_tokens: int | None = None,
        options: ClaudeOptions = ClaudeOptions(),
        hooks: ClaudeHooks = ClaudeHooks(),
    ) -> Self:
        """Claude on Amazon Bedrock, over its Messages API.

        The first of these that is present authenticates the requests: `api_key`, `credentials`,
        `aws_profile`, `AWS_BEARER_TOKEN_BEDROCK`, AWS credentials in the environment, the rest of the AWS
        chain. `aws_profile` and the AWS chain need `pip install 'lutum[bedrock]'`.

        Args:
          model: an id such as `anthropic.claude-sonnet-5`; at `runtime` also an inference profile or an ARN.
          region: the AWS region. Default: `AWS_REGION`, else `AWS_DEFAULT_REGION`.
          door: `runtime` (bedrock-runtime, which AWS recommends) or `mantle` (bedrock-mantle).
          api_key: a Bedrock API key, sent as a bearer token, or a function that returns one for each request.
          credentials: `AwsCredentials`, or a function that returns them for each request. They sign requests.
          aws_profile: a profile of the AWS configuration.
          base_url: the address of the door, if it is not the public one: an endpoint in a private network.
          prefix: the path before `/v1/messages`, if it is not `/anthropic`. Models are then not checked.

        Raises:
          BadValue: the region or the credentials are missing, the region cannot be part of a host name, the
            door is unknown, or it does not serve the model; or as in the constructor.
        """
        place = bedrock_place(door, region, base_url, prefix)
        adapter = cls(
            model,
            auth_token=bedrock_signer(place, api_key, credentials, aws_profile),
            base_url=place.base_url + ("/anthropic" if prefix is None else prefix),
            http_client=http_client,
            replay_scope=replay_scope or place.host,
            default_max_output_tokens=default_max_output_tokens,
            options=options,
            hooks=hooks,
        )
        place.check_model(model, "messages")
        adapter._place = place
        adapter._stand_at(named_door(f"claude-bedrock-{place.door}"))
        return adapter

    @classmethod
    def azure(
        cls,
        model: str,
        *,
        resource: str | None = None,
        api_key: KeyOrSigner | None = None,
        token: Secret | None = None,
        base_url: str | None = None,
        http_client: HttpClient | Connector | None = None,
        replay_scope: str | None = None,
        default_max_output_tokens: int | None = None,
        options: ClaudeOptions = ClaudeOptions(),
        hooks: ClaudeHooks = ClaudeHooks(),
    ) -> Self:
        """Claude in Microsoft Foundry.

        Args:
          model: the name of the deployment.
          resource: the name of the Foundry resource, or `ANTHROPIC_FOUNDRY_RESOURCE`.
          api_key: the resource's key, or `ANTHROPIC_FOUNDRY_API_KEY`. A function is called for each request.
          token: an access token of Entra ID instead of a key, or a function that returns one for each
            request.
          base_url: the address of the resource instead of its name, without `/anthropic`.

        Raises:
          BadValue: the resource or the key is missing, or the resource cannot be part of a host name; or as
            in the constructor.
        """
        variable = "ANTHROPIC_FOUNDRY_API_KEY"
        signer = azure_signer(api_key, token, header="x-api-key", variable=variable)
        host = azure_host(resource, base_url, classic=False, variable="ANTHROPIC_FOUNDRY_RESOURCE")
        adapter = cls(
            model,
            auth_token=signer,
            base_url=f"{host}/anthropic",
            http_client=http_client,
            replay_scope=replay_scope,
            default_max_output_tokens=default_max_output_tokens,
            options=options,
            hooks=hooks,
        )
        adapter._stand_at(named_door("claude-azure"))
        return adapter

    @classmethod
    def vertex(
        cls,
        model: str,
        *,
        project: str,
        region: str,
        token: KeyOrSigner,
        base_url: str | None = None,
        http_client: HttpClient | Connector | None = None,
        replay_scope: str | None = None,
        default_max_output_tokens: int | None = None,
        options: ClaudeOptions = ClaudeOptions(),
        hooks: ClaudeHooks = ClaudeHooks(),
    ) -> Self:
        """Claude on Google Cloud's Vertex AI.

        Args:
          model: the model's id, with its version after an `@`, such as `claude-sonnet-4-5@20250929`.
          project: the id of the project.
          region: `global`, a multi-region (`us`, `eu`) or a region.
          token: an access token, or a function that returns one for each request.
          base_url: the host, if it is not Google's.

        Raises:
          BadValue: `project` or `region` cannot be part of a URL; or as in the constructor.
        """
        place = vertex_place(project, region)
        host = vertex_host(region)
        adapter = cls(
            model,
            auth_token=vertex_signer(token),
            base_url=base_url or f"https://{host}",
            http_client=http_client,
            replay_scope=replay_scope or host,
            default_max_output_tokens=default_max_output_tokens,
            options=options,
            hooks=hooks,
        )
        models = f"{adapter._base_url}/v1/{place}/publishers/anthropic/models"
        adapter._count_url = f"{models}/count-tokens:rawPredict"
        adapter._config = msgspec.structs.replace(
            adapter._config, url=f"{models}/{{model}}:streamRawPredict", vertex=True
        )
        adapter._stand_at(named_door("claude-vertex"))
        return adapter

    @property
    def name(self) -> str:
        """`claude`."""
        return _wire.NAME

    def _prepare(self, request: TurnRequest) -> Prepared:
        prepared = _encode.prepare(request, self._config)
        if self._door is not None or self._place is not None:
            check_cloud(prepared, options_of(request, self._config.options), self._door, self._place)
        return prepared

    def replay_form(self, turn: CommittedTurn, scope: str, model: str) -> ReplayForm:
        """Return whether `turn` can be replayed exactly to `scope` and `model`. No I/O."""
        return _turn.replay_form(turn, scope, model)

    def first_difference(self, earlier: Prepared, later: Prepared) -> str | None:
        """Return the JSON path in `later` of the first entry that differs from `earlier`. No I/O."""
        return _encode.first_difference(earlier, later, self._config)

    def read_body(self, prepared: Prepared, body: bytes) -> list[Event]:
        """Return the events of an answer that was received in one piece, such as one of a batch. No I/O.

        Raises:
          ProviderError: the body is an error, or not a message.
        """
        out = list[Event]()
        if _messages.is_message(body):
            self.decoder(prepared, Response()).feed(_messages.stream_of(body), out)
        elif (error := body_error(body, Response(), ERRORS)) is not None:
            raise error
        return out

    async def count_input_tokens(self, prepared: Prepared) -> int:
        """Get the number of input tokens from the API with one small request, which is not billed.

        Cancellation leaves nothing open.

        This is a checkpoint only if it has to wait.

        Raises:
          ProviderError: the API refused, or the answer is malformed.
          NetworkError: no connection was made, or it failed before the whole answer was received.
          BadValue: the door cannot count tokens, or the function that was given as the key raised or
            returned no key.
        """
        refuse(self._door, "count_tokens", "estimate")
        members = decode_object(prepared.body)
        sent = {name: value for name, value in members.items() if name in _COUNTED}
        if self._config.vertex:
            sent = {"model": msgspec.Raw(encode(prepared.model)), **sent}
            sent["anthropic_version"] = members["anthropic_version"]
        headers = [header for header in prepared.headers if header[0] != "accept"]
        counted = await self._ask(
            "POST", self._count_url, _decode_counted, headers=headers, body=encode(sent)
        )
        return counted.input_tokens

    def rate_limits(self, response: Response, now: float) -> Sequence[RateLimit]:
        """Return the rate limits that a response reports. No I/O."""
        return [*read_rate_limits(response.headers), *x_rate_limits(response.headers, now)]

    def decoder(self, prepared: Prepared, response: Response) -> Decoder:
        """Return the decoder of a successful answer to a request. No I/O."""
        output = prepared.request.output
        by_tool = (
            output is not None and options_of(prepared.request, self._config.options).structured == "tool"
        )
        return _decode.ClaudeDecoder(
            response,
            model=prepared.model,
            scope=self._config.scope,
            inexact_reason=prepared.inexact_reason,
            prefix=_encode.binding(prepared, self._config),
            preface=prepared.preface,
            structured=output is not None and not by_tool,
            value_tool=output.name if output is not None and by_tool else None,
            estimate=prepared.estimate,
            hidden_reasoning=prepared.hidden_reasoning,
            rates=prepared.rates,
        )
