"""The constructors for clouds, as a type checker sees them. Checked, not run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_type

import lutum
from lutum import AwsCredentials, ClaudeAdapter, GeminiAdapter, OpenAIAdapter, OpenAIChatAdapter
from lutum.transport import OutgoingRequest, RequestSigner
from lutum_clouds import CloudDoor


def keys() -> AwsCredentials:
    return AwsCredentials(access_key="AKID", secret_key="secret", token=None)


async def later() -> AwsCredentials:
    return keys()


async def token() -> str:
    return "token"


class Signer(RequestSigner):
    @property
    def secret_headers(self) -> tuple[str, ...]:
        return ("x-signature",)

    async def sign(self, request: OutgoingRequest) -> Mapping[str, str]:
        return {"x-signature": str(len(request.body))}


claude = ClaudeAdapter.bedrock("us.anthropic.claude-x", region="us-east-1", credentials=keys)
assert_type(claude, ClaudeAdapter)
assert_type(claude.door, CloudDoor | None)
assert_type(ClaudeAdapter.bedrock("m", door="mantle", credentials=later), ClaudeAdapter)
assert_type(ClaudeAdapter.azure("m", resource="r", token=token), ClaudeAdapter)
assert_type(ClaudeAdapter.vertex("m", project="p", region="eu", token=token), ClaudeAdapter)
assert_type(OpenAIAdapter.bedrock("m", api_key="key", aws_profile=None), OpenAIAdapter)
assert_type(OpenAIAdapter.azure("m", resource="r", classic=True, api_version="v"), OpenAIAdapter)
assert_type(OpenAIChatAdapter.bedrock("m", api_key=Signer()), OpenAIChatAdapter)
assert_type(OpenAIChatAdapter.azure("m", api_key=lambda: "key"), OpenAIChatAdapter)
assert_type(GeminiAdapter.vertex("m", project="p", token="t"), GeminiAdapter)
assert_type(ClaudeAdapter("m", api_key=Signer()), ClaudeAdapter)
assert_type(lutum.Lutum(claude, pricing=lutum.Pricing.from_genai_prices()), lutum.Lutum)

ClaudeAdapter.bedrock("m", door="front")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
ClaudeAdapter.bedrock("m", credentials="key")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
