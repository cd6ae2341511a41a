"""The base class of the adapters for Responses and Chat Completions, the two APIs that clouds also serve."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal, Self

from lutum import Event, Response
from lutum.abc import Prepared
from lutum.transport import Connector, HttpClient, KeyOrSigner, Secret
from lutum_clouds import (
    AwsSource,
    BedrockDoor,
    BedrockPlace,
    azure_host,
    azure_signer,
    bedrock_place,
    bedrock_signer,
    named_door,
)
from lutum_openai._hosts import named_profile, profile_of
from lutum_openai._http_adapter import OpenAIHttpAdapter
from lutum_openai._messages import events_of
from lutum_openai._options import OpenAIHooks, OpenAIOptions
from lutum_openai._profiles import Profile


class OpenAICloudAdapter(OpenAIHttpAdapter):
    """An adapter of an API that Amazon Bedrock and Microsoft Foundry offer too."""

    api: ClassVar[Literal["chat", "responses"]]
    """The API's name in `BedrockPlace.check_model`."""

    def __init__(
        self,
        model: str,
        *,
        api_key: KeyOrSigner | None = None,
        base_url: str | None = None,
        api_version: str | None = None,
        profile: Profile | str | None = None,
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
            scope=replay_scope,
            http_client=http_client,
            default_max_output_tokens=default_max_output_tokens,
            options=options,
            hooks=hooks,
        )
        self._known = profile_of(self._endpoint.host) if profile is None else named_profile(profile)

    @abstractmethod
    def _at_bedrock(self, place: BedrockPlace, profile: Profile | None) -> None:
        """Send requests to `place` on Bedrock. If `profile` is given, it replaces the adapter's profile."""

    @abstractmethod
    def _at_azure(self) -> None:
        """Send requests to Azure. They have an `api-key` header, even if the host name is not Azure's."""

    def read_body(self, prepared: Prepared, body: bytes) -> list[Event]:
        """Return the events of an answer that was received in one piece, such as an answer of a batch. Pure.

        Raises:
          ProviderError: the body is an error, or not an answer of this API.
        """
        return events_of(self.decoder(prepared, Response()), body)

    @classmethod
    def bedrock(
        cls,
        model: str,
        *,
        region: str | None = None,
        door: BedrockDoor = "runtime",
        api_key: KeyOrSigner | None = None,
        credentials: AwsSource | None = None,
        profile: Profile | str | None = None,
        aws_profile: str | None = None,
        base_url: str | None = None,
        prefix: str | None = None,
        http_client: HttpClient | Connector | None = None,
        replay_scope: str | None = None,
        default_max_output_tokens: int | None = None,
        options: OpenAIOptions = OpenAIOptions(),
        hooks: OpenAIHooks = OpenAIHooks(),
    ) -> Self:
        """The API on Amazon Bedrock.

        Requests are authenticated by the first of these that is available: `api_key`, `credentials`,
        `aws_profile`, `AWS_BEARER_TOKEN_BEDROCK`, AWS credentials in the environment, the rest of the AWS
        chain. The rest of the chain needs `pip install 'lutum[bedrock]'`. `OPENAI_API_KEY` is not read.

        Args:
          model: an id such as `openai.gpt-5.6-luna`; at `runtime` also an inference profile or an ARN.
          region: the AWS region. Default: `AWS_REGION`, else `AWS_DEFAULT_REGION`.
          door: `runtime` (bedrock-runtime, which AWS recommends) or `mantle` (bedrock-mantle).
          api_key: a Bedrock API key, sent as a bearer token, or a function that returns one for each request.
          credentials: `AwsCredentials` that sign each request, or a function that returns them.
          profile: as in the constructor.
          aws_profile: a profile of the AWS configuration.
          base_url: the address of an endpoint in a private network, instead of the public one.
          prefix: the path before the API's path. By default it follows from `door` and `model`. If it is set,
            models are not checked.

        Raises:
          BadValue: the region or the credentials are missing, the region cannot be part of a host name, the
            door is unknown, or the door does not serve the model. Also the errors of the constructor.
        """
        place = bedrock_place(door, region, base_url, prefix)
        place.check_model(model, cls.api)
        adapter = cls(
            model,
            api_key=bedrock_signer(place, api_key, credentials, aws_profile),
            base_url=place.base_url,
            profile=profile,
            http_client=http_client,
            replay_scope=replay_scope or place.host,
            default_max_output_tokens=default_max_output_tokens,
            options=options,
            hooks=hooks,
        )
        adapter._at_bedrock(place, profile_of(place.host) if profile is None else None)
        adapter._stand_at(named_door(f"openai-bedrock-{place.door}"))
        return adapter

    @classmethod
    def azure(
        cls,
        model: str,
        *,
        resource: str | None = None,
        classic: bool = False,
        api_version: str | None = None,
        api_key: KeyOrSigner | None = None,
        token: Secret | None = None,
        profile: Profile | str | None = None,
        base_url: str | None = None,
        http_client: HttpClient | Connector | None = None,
        replay_scope: str | None = None,
        default_max_output_tokens: int | None = None,
        options: OpenAIOptions = OpenAIOptions(),
        hooks: OpenAIHooks = OpenAIHooks(),
    ) -> Self:
        """The API in Microsoft Foundry or Azure OpenAI.

        Args:
          model: the name of the deployment.
          resource: the name of the resource. Default: the address in `AZURE_OPENAI_ENDPOINT`.
          classic: an Azure OpenAI resource (`openai.azure.com`) instead of Foundry (`services.ai.azure.com`).
          api_version: the version for the older URLs. Default: `/openai/v1` URLs, which need no version.
          api_key: the resource's key. Default: `AZURE_OPENAI_API_KEY`. A function is called for each request.
          token: an Entra ID access token instead of a key, or a function that returns one for each request.
          profile: as in the constructor.
          base_url: the address of the resource without a path, instead of its name.

        Raises:
          BadValue: the resource or the key is missing, or the resource cannot be part of a host name. Also
            the errors of the constructor.
        """
        variable = "AZURE_OPENAI_API_KEY"
        signer = azure_signer(api_key, token, header="api-key", variable=variable)
        host = azure_host(resource, base_url, classic=classic, address_variable="AZURE_OPENAI_ENDPOINT")
        adapter = cls(
            model,
            api_key=signer,
            base_url=f"{host}/openai" if api_version else f"{host}/openai/v1",
            api_version=api_version,
            profile="azure" if profile is None else profile,
            http_client=http_client,
            replay_scope=replay_scope,
            default_max_output_tokens=default_max_output_tokens,
            options=options,
            hooks=hooks,
        )
        adapter._at_azure()
        adapter._stand_at(named_door("openai-azure"))
        return adapter
