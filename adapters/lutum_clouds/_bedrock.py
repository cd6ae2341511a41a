"""Amazon Bedrock: addresses, credentials, and the models that each door serves."""

from __future__ import annotations

import os
import re
from typing import Final, Literal

from msgspec import Struct

from lutum import BadValue
from lutum.transport import RequestSigner, Secret, check_base_url
from lutum_clouds._chain import AwsChain, environment_credentials
from lutum_clouds._credentials import AwsSource
from lutum_clouds._labels import host_label
from lutum_clouds._models import BedrockModel, bedrock_model
from lutum_clouds._signers import BearerToken, SigV4Signer

BedrockDoor = Literal["runtime", "mantle"]
Api = Literal["messages", "responses", "chat"]

_SERVICES: Final[dict[str, str]] = {"runtime": "bedrock", "mantle": "bedrock-mantle"}
_GPT: Final = re.compile(r"gpt-(?!oss)")
_GPT_OSS: Final = re.compile(r"gpt-oss")
_ADVICE: Final = (
    "Bedrock's short-term keys are valid for 12 hours at most; give a function that returns a new one"
)


class BedrockPlace(Struct, frozen=True, kw_only=True):
    """A door of Bedrock in a region.

    Attributes:
      base_url: the door's address, without the prefix of an API and without a slash at its end.
      host: the door's public host name, even if `base_url` is an endpoint in a private network.
      prefix: the caller's path before the API's path. None: the path follows from the door and the model.
    """

    door: BedrockDoor
    region: str
    base_url: str
    host: str
    prefix: str | None = None

    def check_model(self, model: str, api: Api) -> None:
        """Refuse a model that the door does not serve over an API.

        Raises:
          BadValue: the model is not served here; the message names a door or adapter that serves it.
        """
        if self.prefix is not None:
            return  # the caller knows the route
        found = bedrock_model(model)
        if found.region and found.region != self.region:
            raise BadValue(
                "model", f"{model!r} is in the region {found.region}, but region= is {self.region}"
            )
        if self.door == "mantle":
            _check_mantle(found, model)
        if found.vendor:
            self._check_vendor(found, model, api)

    def _check_vendor(self, found: BedrockModel, model: str, api: Api) -> None:
        claude = found.vendor == "anthropic"
        if api == "messages" and not claude:
            raise BadValue(
                "model",
                f"{model!r} is not a Claude model: use OpenAIAdapter.bedrock or OpenAIChatAdapter.bedrock",
            )
        if api != "messages" and claude:
            raise BadValue("model", f"{model!r} has the Messages API at Bedrock: use ClaudeAdapter.bedrock")
        if api == "responses" and self.door == "runtime" and _GPT_OSS.match(found.name):
            raise BadValue(
                "door",
                f"{model!r} has the Responses API at bedrock-mantle only: use door='mantle' or"
                " OpenAIChatAdapter.bedrock",
            )

    def prefix_of(self, model: str) -> str:
        """Return the path before `/responses` and `/chat/completions` for a model."""
        if self.prefix is not None:
            return self.prefix
        if self.door == "runtime":
            return "/openai/v1"
        found = bedrock_model(model)
        return "/openai/v1" if found.vendor == "openai" and _GPT.match(found.name) else "/v1"


def bedrock_place(
    door: object, region: str | None, base_url: str | None = None, prefix: str | None = None
) -> BedrockPlace:
    """Return a door in a region: `region`, else `AWS_REGION`, else `AWS_DEFAULT_REGION`.

    Raises:
      BadValue: the door is unknown, no region is given, or the region cannot be part of a host name.
    """
    if door not in _SERVICES:
        raise BadValue("door", f"{door!r} is not a door of Bedrock: use 'runtime' or 'mantle'")
    found = region
    if found is None:
        found = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if found is None:
        raise BadValue("region", "is missing: give region=, or set AWS_REGION")
    name = host_label("region", found, "us-east-1")
    if door == "mantle":
        host = f"bedrock-mantle.{name}.api.aws"
    else:
        host = f"bedrock-runtime.{name}.amazonaws.com" + (".cn" if name.startswith("cn-") else "")
    return BedrockPlace(
        door="mantle" if door == "mantle" else "runtime",
        region=name,
        base_url=f"https://{host}" if base_url is None else check_base_url(base_url),
        host=host,
        prefix=None if prefix is None else _checked_prefix(prefix),
    )


def bedrock_signer(
    place: BedrockPlace,
    api_key: Secret | RequestSigner | None,
    credentials: AwsSource | None,
    profile: str | None,
) -> RequestSigner:
    """Return the signer of requests.

    It uses the first of these that is present: `api_key`, `credentials`, `aws_profile`,
    `AWS_BEARER_TOKEN_BEDROCK`, the credentials in the environment, the rest of botocore's chain.

    Raises:
      BadValue: more than one of the first three is given, or no credentials are found.
    """
    given = [
        name
        for name, value in (("api_key", api_key), ("credentials", credentials), ("aws_profile", profile))
        if value is not None
    ]
    if len(given) > 1:
        raise BadValue(given[1], f"is given together with {given[0]}; keep one of them")
    if isinstance(api_key, RequestSigner):
        return api_key
    if api_key is None and not given:
        api_key = os.environ.get("AWS_BEARER_TOKEN_BEDROCK") or None
    if api_key is not None:
        return BearerToken(api_key, field="api_key", advice=_ADVICE)
    source: AwsSource | None = credentials
    if source is None and profile is None:
        source = environment_credentials()
    if source is None:
        source = AwsChain(profile)
    return SigV4Signer(source, region=place.region, service=_SERVICES[place.door])


def _check_mantle(found: BedrockModel, model: str) -> None:
    if found.arn or found.area:
        what = "an ARN" if found.arn else "an inference profile"
        raise BadValue(
            "model", f"{model!r} is {what}, which bedrock-mantle does not accept: use door='runtime'"
        )
    if found.versioned:
        raise BadValue(
            "model",
            f"{model!r} has a version, unlike the ids at bedrock-mantle, such as anthropic.claude-sonnet-5",
        )


def _checked_prefix(prefix: object) -> str:
    if not isinstance(prefix, str) or not re.fullmatch(r"(?:/[A-Za-z0-9._~-]+)*", prefix):
        raise BadValue("prefix", f"{prefix!r} is not the start of a path, such as '/openai/v1'")
    return prefix
