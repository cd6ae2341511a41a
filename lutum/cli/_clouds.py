"""Adapters for the doors (endpoints) of clouds that `--base-url` names, with the clouds' own credentials."""

from __future__ import annotations

import os
import re
from typing import Final, Literal
from urllib.parse import urlsplit

from lutum_claude import ClaudeAdapter
from lutum_gemini import GeminiAdapter
from lutum_openai import OpenAIAdapter, OpenAIChatAdapter

CloudAdapter = ClaudeAdapter | GeminiAdapter | OpenAIAdapter | OpenAIChatAdapter

_BEDROCK: Final = re.compile(r"bedrock-(runtime|mantle)\.([a-z0-9-]+)\.(?:amazonaws\.com(?:\.cn)?|api\.aws)")
_AZURE: Final = re.compile(r"[a-z0-9-]+\.(?:services\.ai|openai|cognitiveservices)\.azure\.com")
_VERTEX: Final = re.compile(r"(?:([a-z0-9-]+)-)?aiplatform(?:\.(us|eu)\.rep)?\.googleapis\.com")

TOKEN_VARIABLE: Final = "CLOUDSDK_AUTH_ACCESS_TOKEN"
"""The environment variable from which gcloud reads an access token."""


def cloud_adapter(provider: str, url: str, model: str) -> CloudAdapter | None:
    """Return the adapter of a cloud's door. Return None if the URL is not a door, or if the environment
    lacks the door's credentials.

    Raises:
      BadValue: the door does not serve the model.
    """
    host = urlsplit(url).hostname or ""
    if (found := _BEDROCK.fullmatch(host)) is not None:
        door: Literal["runtime", "mantle"] = "mantle" if found[1] == "mantle" else "runtime"
        return _bedrock(provider, model, door, found[2])
    if _AZURE.fullmatch(host):
        return _azure(provider, model, f"https://{host}")
    if (found := _VERTEX.fullmatch(host)) is not None:
        return _vertex(provider, model, found[1] or found[2] or "global")
    return None


def _bedrock(
    provider: str, model: str, door: Literal["runtime", "mantle"], region: str
) -> CloudAdapter | None:
    if provider == "claude":
        return ClaudeAdapter.bedrock(model, region=region, door=door)
    if provider == "openai":
        return OpenAIAdapter.bedrock(model, region=region, door=door)
    if provider == "openai-chat":
        return OpenAIChatAdapter.bedrock(model, region=region, door=door)
    return None


def _azure(provider: str, model: str, address: str) -> CloudAdapter | None:
    if provider == "claude" and os.environ.get("ANTHROPIC_FOUNDRY_API_KEY"):
        return ClaudeAdapter.azure(model, base_url=address)
    if not os.environ.get("AZURE_OPENAI_API_KEY"):
        return None
    if provider == "openai":
        return OpenAIAdapter.azure(model, base_url=address)
    if provider == "openai-chat":
        return OpenAIChatAdapter.azure(model, base_url=address)
    return None


def _vertex(provider: str, model: str, region: str) -> CloudAdapter | None:
    project, token = os.environ.get("GOOGLE_CLOUD_PROJECT"), os.environ.get(TOKEN_VARIABLE)
    if not project or not token:
        return None
    if provider == "claude":
        return ClaudeAdapter.vertex(model, project=project, region=region, token=token)
    if provider == "gemini":
        return GeminiAdapter.vertex(model, project=project, region=region, token=token)
    return None
