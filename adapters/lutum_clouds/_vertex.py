"""Vertex AI: addresses and credentials."""

from __future__ import annotations

from typing import Final

from lutum.transport import RequestSigner, Secret
from lutum_clouds._labels import host_label, project_id
from lutum_clouds._signers import BearerToken

# Multi-region and global endpoints have separate hosts (Vertex AI, "Locations").
_HOSTS: Final = {
    "global": "aiplatform.googleapis.com",
    "us": "aiplatform.us.rep.googleapis.com",
    "eu": "aiplatform.eu.rep.googleapis.com",
}
_ADVICE: Final = (
    "an access token of Google is valid for about an hour; give a function that returns a new one"
)


def vertex_host(region: str) -> str:
    """Return the host of a region, a multi-region or `global`.

    Raises:
      BadValue: `region` cannot be part of a host name.
    """
    name = host_label("region", region, "global")
    return _HOSTS.get(name, f"{name}-aiplatform.googleapis.com")


def vertex_place(project: str, region: str) -> str:
    """Return the part of a path with the project and the region.

    Raises:
      BadValue: `project` or `region` is not an id.
    """
    return f"projects/{project_id('project', project)}/locations/{host_label('region', region, 'global')}"


def vertex_signer(token: Secret | RequestSigner) -> RequestSigner:
    """Return the signer of requests: with an access token, or with a function that returns one.

    Raises:
      BadValue: the token cannot be sent in a header.
    """
    if isinstance(token, RequestSigner):
        return token
    return BearerToken(token, field="token", advice=_ADVICE)
