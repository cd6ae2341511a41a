"""Model ids at Amazon Bedrock: ids of models, inference profiles and ARNs. No I/O."""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from lutum import BadValue

# docs.aws.amazon.com, "Supported cross-Region inference profiles".
_AREAS: Final = frozenset({"us", "us-gov", "eu", "apac", "jp", "au", "ca", "sa", "in", "global"})
_ARN: Final = re.compile(
    r"arn:aws[a-z-]*:bedrock:([a-z0-9-]*):([0-9]*):"
    r"(foundation-model|inference-profile|application-inference-profile|provisioned-model"
    r"|custom-model-deployment|imported-model|prompt-router|default-prompt-router)/([^/\s]+)"
)
_ID: Final = re.compile(r"([a-z0-9-]+)\.([A-Za-z0-9][A-Za-z0-9._:-]*)")
_VERSION: Final = re.compile(r"-v?\d+:\d+$")


class BedrockModel(Struct, frozen=True):
    """A parsed model id.

    Attributes:
      vendor: such as `anthropic` or `openai`; empty if an ARN does not contain it.
      name: the id after the vendor.
      area: the prefix of an inference profile, such as `us`; empty for other ids.
      arn: whether the id is an ARN.
      region: the region in an ARN; empty for other ids.
    """

    vendor: str
    name: str
    area: str = ""
    arn: bool = False
    region: str = ""

    @property
    def versioned(self) -> bool:
        """True if the id ends with a version such as `-v1:0`."""
        return _VERSION.search(self.name) is not None


def bedrock_model(model: str) -> BedrockModel:
    """Parse a model id.

    Raises:
      BadValue: `model` is not a model id of Bedrock.
    """
    if model.startswith("arn:"):
        if (found := _ARN.fullmatch(model)) is None:
            raise BadValue(
                "model",
                f"{model!r} is not the ARN of a model or an inference profile: these begin with"
                " arn:aws:bedrock:REGION:ACCOUNT:inference-profile/",
            )
        region, _, kind, name = found.groups()
        if kind in ("foundation-model", "inference-profile") and "." in name:
            inner = bedrock_model(name)
            return BedrockModel(inner.vendor, inner.name, inner.area, arn=True, region=region)
        return BedrockModel("", name, arn=True, region=region)
    first, _, rest = model.partition(".")
    area = first if first in _AREAS else ""
    if (found := _ID.fullmatch(rest if area else model)) is None:
        raise BadValue(
            "model",
            f"{model!r} is not a model id of Bedrock: an id starts with the vendor, such as"
            " anthropic.claude-sonnet-5 or us.anthropic.claude-sonnet-5, or is an ARN",
        )
    return BedrockModel(found[1], found[2], area)
