"""The endpoint of requests: OpenAI, Azure or any compatible server."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from msgspec import Struct

from lutum.transport import Credential, KeyOrSigner, RequestSigner, credential_of
from lutum_clouds import BedrockPlace

OWN_BASE_URL = "https://api.openai.com/v1"
REQUEST_IDS = ("request-id", "x-request-id", "apim-request-id", "x-amzn-requestid")
"""Response headers with the id of a request. The last two are those of Azure and of Bedrock."""

OWN_HOST = "api.openai.com"

_AZURE_HOSTS = (".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com")


class OpenAIEndpoint(Struct, frozen=True):
    """The address that requests are sent to.

    Attributes:
      base_url: the base URL, without a slash at its end.
      host: the host name, with the port if the URL contains one.
      azure: authenticate with an `api-key` header instead of a bearer token.
      api_version: Azure's version, sent in the query. Azure's `/openai/v1` URLs need no version.
      place: the endpoint at Amazon Bedrock, if requests go there. In its URLs, a path that depends on the
        model precedes the API's path.
    """

    base_url: str
    host: str
    azure: bool = False
    api_version: str | None = None
    place: BedrockPlace | None = None

    @property
    def own(self) -> bool:
        """True for OpenAI's own host, where a key is required."""
        return self.host == OWN_HOST

    def credential(self, api_key: KeyOrSigner | None) -> RequestSigner | None:
        """Return the given key or signer, or the key in `OPENAI_API_KEY`."""
        secret = Credential.find(api_key, "OPENAI_API_KEY")
        if self.azure:
            return credential_of(secret, header="api-key", scheme="")
        return credential_of(secret)

    def url(self, path: str, model: str = "") -> str:
        """Return the URL of a path for a model. The path begins with a slash."""
        if self.place is not None:
            return self.place.base_url + self.place.prefix_of(model) + path
        query = f"?api-version={quote(self.api_version, safe='')}" if self.api_version else ""
        return self.base_url + path + query


def endpoint(base_url: str, api_version: str | None = None) -> OpenAIEndpoint:
    """Return the endpoint of a base URL. The caller has already checked the URL."""
    parts = urlsplit(base_url)
    host = (parts.hostname or "").lower()
    azure = host.endswith(_AZURE_HOSTS)
    if parts.port is not None:
        host = f"{host}:{parts.port}"
    return OpenAIEndpoint(base_url, host, azure, api_version)
