"""Microsoft Foundry and Azure OpenAI: addresses and credentials."""

from __future__ import annotations

import os

from lutum import BadValue
from lutum.transport import Credential, RequestSigner, Secret, check_base_url, credential_of
from lutum_clouds._labels import host_label
from lutum_clouds._signers import BearerToken

_ADVICE = "Entra's tokens are valid for about an hour; give a function that returns a new one"


def azure_host(
    resource: str | None,
    base_url: str | None,
    *,
    classic: bool = False,
    variable: str = "",
    address_variable: str = "",
) -> str:
    """Return the address of a resource, without a path and without a slash at its end.

    Args:
      variable: the environment variable with the resource's name.
      address_variable: the environment variable with the resource's address.

    Raises:
      BadValue: neither or both are given, or the resource cannot be part of a host name.
    """
    if resource is None and base_url is None:
        resource = os.environ.get(variable) or None
        base_url = None if resource else os.environ.get(address_variable) or None
    if base_url is not None:
        if resource is not None:
            raise BadValue("resource", "is given together with base_url; keep one of them")
        return check_base_url(base_url)
    if resource is None:
        raise BadValue("resource", f"is missing: give resource=, or set {variable or address_variable}")
    name = host_label("resource", resource, "my-resource")
    return f"https://{name}.{'openai' if classic else 'services.ai'}.azure.com"


def azure_signer(
    api_key: Secret | RequestSigner | None, token: Secret | None, *, header: str, variable: str
) -> RequestSigner:
    """Return the signer of requests: with a key, or with an Entra token or a function that returns one.

    Raises:
      BadValue: both are given, or neither is given and the variable is not set.
    """
    if api_key is not None and token is not None:
        raise BadValue("token", "is given together with api_key; keep one of them")
    if token is not None:
        return BearerToken(token, field="token", advice=_ADVICE)
    key = credential_of(Credential.find(api_key, variable), header=header, scheme="")
    if key is None:
        raise BadValue(
            "api_key",
            f"is missing: give api_key=, set {variable}, or give token= for Entra ID: a function that returns"
            " an access token for https://ai.azure.com or https://cognitiveservices.azure.com",
        )
    return key
