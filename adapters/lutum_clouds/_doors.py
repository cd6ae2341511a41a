"""The table of doors: one row for each cloud endpoint and dialect, with its sources. No I/O.

A row lists the features that a door certainly lacks. A request that needs such a feature is refused before
anything is sent. A feature that may be missing is only in the row's notes. Requests that need it are sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Final, Literal

from msgspec import Struct

from lutum import BadValue, Document, Image, Message, ProviderError, ToolResult
from lutum.abc import TurnRequest

Dialect = Literal["claude", "openai-responses", "openai-chat", "gemini"]
Feature = Literal[
    "batches",
    "files",
    "media_urls",
    "server_tools",
    "mcp_servers",
    "container",
    "fallbacks",
    "background",
    "count_tokens",
]

FEATURES: Final[Mapping[Feature, str]] = {
    "batches": "the provider's batch API",
    "files": "files by id",
    "media_urls": "images and documents by URL",
    "server_tools": "tools that the provider runs",
    "mcp_servers": "the MCP connector",
    "container": "containers and skills",
    "fallbacks": "fallbacks to other models",
    "background": "responses in the background",
    "count_tokens": "counting tokens",
}


class CloudDoor(Struct, frozen=True, kw_only=True):
    """One row of the table: a cloud's endpoint for one or more dialects.

    Attributes:
      name: the row's name.
      title: the usual name.
      dialects: the supported dialects.
      hosts: patterns of host names; `*` matches any characters, dots included.
      lacks: the features that the door does not have, each with its source.
      tools: prefixes of the types of server tools that the door lacks. If it is empty and `lacks` contains
        `server_tools`, the door lacks all of them.
      prices: the door's provider in the genai-prices package; None for the model's vendor.
      scope: what the default replay scope consists of, in words. Turns are replayed exactly only within one
        scope.
      errors: how the door's errors differ from those of the provider's own API.
      usage: how the door's usage reports differ from those of the provider's own API.
      notes: more information for users.
    """

    name: str
    title: str
    dialects: tuple[Dialect, ...]
    hosts: tuple[str, ...]
    lacks: dict[Feature, str] = {}
    tools: tuple[str, ...] = ()
    prices: str | None = None
    scope: str = "the host"
    errors: str = "as the provider's own API"
    usage: str = "as the provider's own API"
    notes: tuple[str, ...] = ()


_AWS = "docs.aws.amazon.com/bedrock"
_APIS = f"{_AWS}, Endpoint availability: the door serves Responses, Chat Completions and Messages only"
_AWS_ERRORS = (
    "the provider's format; errors of the gateway have AWS's format: `message`, and the type in the header"
    " x-amzn-errortype (recorded)"
)
_RUNTIME = ("bedrock-runtime.*.amazonaws.com", "bedrock-runtime.*.amazonaws.com.cn")
_MANTLE = ("bedrock-mantle.*.api.aws",)
_URLS = "recorded answer: URL sources are not supported; pollinations#5862"
_VERTEX_URLS = "anthropic-sdk-typescript#1038, litellm#18430: URL sources are not supported"
_FILES_HOME = "platform.claude.com, Files API: uploads belong to Anthropic's own API"
_SERVER_SIDE = ("web_search", "web_fetch", "code_execution", "advisor", "mcp_toolset")

DOORS: Final[tuple[CloudDoor, ...]] = (
    CloudDoor(
        name="claude-bedrock-runtime",
        title="Claude on Amazon Bedrock, bedrock-runtime",
        dialects=("claude",),
        hosts=_RUNTIME,
        lacks={
            "batches": _APIS,
            "files": f"{_APIS}; {_FILES_HOME}",
            "media_urls": _URLS,
            "server_tools": f"{_AWS}, Endpoints: server-side tools are available on bedrock-mantle only",
            "mcp_servers": f"{_AWS}, Endpoints: likewise",
            "container": f"{_AWS}, Endpoints: likewise; code execution needs Anthropic's containers",
        },
        tools=_SERVER_SIDE,
        prices="aws",
        scope="the door's host, which contains the region",
        errors=_AWS_ERRORS,
        notes=(
            "Models are ids with a version, inference profiles (`us.`, `eu.`, `apac.`, `global.`) and ARNs.",
            "Some models need an inference profile: `on-demand throughput isn't supported` (recorded).",
        ),
    ),
    CloudDoor(
        name="claude-bedrock-mantle",
        title="Claude on Amazon Bedrock, bedrock-mantle",
        dialects=("claude",),
        hosts=_MANTLE,
        lacks={
            "batches": _APIS,
            "files": f"{_APIS}; {_FILES_HOME}",
            "media_urls": _URLS,
            "container": f"{_APIS}; code execution needs Anthropic's containers",
        },
        prices="aws",
        scope="the door's host, which contains the region",
        errors=_AWS_ERRORS,
        notes=(
            "Models are ids without a version, such as anthropic.claude-sonnet-5; no profiles and no ARNs.",
            "It is not documented which server tools a model has here. They are sent, and the door decides.",
        ),
    ),
    CloudDoor(
        name="openai-bedrock-runtime",
        title="OpenAI's APIs on Amazon Bedrock, bedrock-runtime",
        dialects=("openai-responses", "openai-chat"),
        hosts=_RUNTIME,
        lacks={
            "batches": _APIS,
            "files": _APIS,
            "server_tools": f"{_AWS}, Responses API: server-side tools aren't available on bedrock-runtime",
            "background": f"{_AWS}, Responses API: requests on bedrock-runtime are always synchronous",
        },
        prices="aws",
        scope="the door's host, which contains the region",
        errors=_AWS_ERRORS,
        notes=(
            "GPT-OSS speaks Chat Completions here; its Responses API is at bedrock-mantle.",
            "Only the default project is available.",
        ),
    ),
    CloudDoor(
        name="openai-bedrock-mantle",
        title="OpenAI's APIs on Amazon Bedrock, bedrock-mantle",
        dialects=("openai-responses", "openai-chat"),
        hosts=_MANTLE,
        lacks={"batches": _APIS, "files": _APIS},
        prices="aws",
        scope="the door's host, which contains the region",
        errors="`code`, `message` and `type` in `error`; errors of the gateway as at bedrock-runtime",
        usage="as the provider's own API; GPT-5.6 reports `cache_write_tokens` too (recorded)",
        notes=(
            "OpenAI's GPT models answer at /openai/v1, all other models at /v1; another prefix is refused:"
            " `isn't supported on this route`. `prefix=` overrides it.",
            "Call ids begin anew in each response: every first call is `call_0` (recorded).",
        ),
    ),
    CloudDoor(
        name="claude-azure",
        title="Claude in Microsoft Foundry",
        dialects=("claude",),
        hosts=("*.services.ai.azure.com",),
        lacks={
            "batches": "anthropic-sdk-python, lib/foundry.py: batches are not supported; platform.claude.com"
        },
        prices="azure",
        scope="the host, which contains the resource",
        notes=(
            "The model is the name of the deployment.",
            "A deployment that is hosted on Azure lacks features of one that is hosted on Anthropic (files,"
            " containers, some server tools). A request does not show where it is hosted, so the door"
            " decides.",
        ),
    ),
    CloudDoor(
        name="openai-azure",
        title="OpenAI's models in Microsoft Foundry and Azure OpenAI",
        dialects=("openai-responses", "openai-chat"),
        hosts=("*.services.ai.azure.com", "*.openai.azure.com", "*.cognitiveservices.azure.com"),
        prices="azure",
        scope="the host, which contains the resource",
        errors="as OpenAI; a filtered prompt is a 400 with `content_filter` (recorded)",
        notes=(
            "The model is the name of the deployment.",
            "Files, batches and server tools are those of the resource, not of an OpenAI account.",
        ),
    ),
    CloudDoor(
        name="claude-vertex",
        title="Claude on Google Cloud (Vertex AI)",
        dialects=("claude",),
        hosts=("aiplatform.googleapis.com", "*-aiplatform.googleapis.com", "aiplatform.*.rep.googleapis.com"),
        lacks={
            "batches": "cloud.google.com, Batch predictions with Claude: jobs over Cloud Storage",
            "files": _FILES_HOME,
            "media_urls": _VERTEX_URLS,
            "server_tools": "cloud.google.com, Claude: web search is the only one there",
            "mcp_servers": "platform.claude.com, MCP connector: not on Google Cloud",
            "container": "platform.claude.com, Code execution: not on Google Cloud",
        },
        tools=tuple(name for name in _SERVER_SIDE if name != "web_search"),
        prices="google",
        notes=(
            "The model is in the URL, its version after an `@`: claude-sonnet-4-5@20250929.",
            "Tool changes in the middle of a transcript are not sent.",
        ),
    ),
    CloudDoor(
        name="gemini-api",
        title="Gemini, the Gemini API",
        dialects=("gemini",),
        hosts=("generativelanguage.googleapis.com",),
        errors="google.rpc.Status; a bad key is a 400 (recorded)",
        usage="thoughts and tool-use prompts are not in `candidatesTokenCount` and `promptTokenCount`",
        notes=("The API can refuse signatures of one account if the key belongs to another account.",),
    ),
    CloudDoor(
        name="gemini-vertex",
        title="Gemini on Vertex AI",
        dialects=("gemini",),
        hosts=("aiplatform.googleapis.com", "*-aiplatform.googleapis.com", "aiplatform.*.rep.googleapis.com"),
        lacks={"batches": "cloud.google.com, Batch prediction: jobs over Cloud Storage and BigQuery"},
        prices="google",
        scope="the host and the project",
        errors="google.rpc.Status; a 429 comes without a delay (recorded)",
        usage="as the Gemini API, with `trafficType`",
        notes=(
            "Gemini 4 is served at global, us and eu only.",
            "It has no MCP servers and no file search. Calls often have no id.",
        ),
    ),
)
"""The table. `docs/hosts.md` shows it."""


def door_of(host: str, dialect: str) -> CloudDoor | None:
    """Return the row of a host and dialect; None if it is unknown."""
    name = host.lower().partition(":")[0]
    for door in DOORS:
        if dialect in door.dialects and any(fnmatchcase(name, pattern) for pattern in door.hosts):
            return door
    return None


def named_door(name: str) -> CloudDoor:
    """Return the row with a name."""
    return next(door for door in DOORS if door.name == name)


# Errors for a model id in a form that the door does not accept, with advice (recorded; AWS's docs).
_ADVICE: Final = (
    (
        "on-demand throughput isn",
        "Give the model's inference profile, such as us.MODEL, or the ARN of your own profile.",
    ),
    (
        "supported on this route",
        "At bedrock-mantle the path prefix depends on the model: give prefix='/v1' or prefix='/openai/v1'.",
    ),
)


def advised(door: CloudDoor | None, error: ProviderError) -> ProviderError:
    """Return the error of a door. If its message contains one of the texts in `_ADVICE`, the advice is added
    to the error as a note."""
    if door is not None:
        for words, advice in _ADVICE:
            if words in error.message:
                error.add_note(advice)
    return error


def refuse_media(door: CloudDoor, request: TurnRequest) -> None:
    """Refuse images and documents by URL or by id if the door does not accept them.

    Raises:
      BadValue: the request contains one; the error names the first.
    """
    items = [(f"input[{i}]", item) for i, item in enumerate(request.transcript)]
    items += [(f"ephemerals[{i}]", item) for i, (_, item) in enumerate(request.ephemerals)]
    for field, item in items:
        if not isinstance(item, Message | ToolResult):
            continue
        for j, part in enumerate(item.content):
            if isinstance(part, Image | Document):
                what: Feature | None = "files" if part.file_id is not None else None
                what = "media_urls" if part.url is not None else what
                if what is not None:
                    refuse(door, what, f"{field}.content[{j}]", "send the bytes instead")


def refuse(door: CloudDoor | None, feature: Feature, field: str, advice: str = "") -> None:
    """Refuse a request that needs `feature` if the door lacks it.

    Raises:
      BadValue: the door lacks the feature; the message contains the source.
    """
    if door is not None and (source := door.lacks.get(feature)) is not None:
        told = f"; {advice}" if advice else ""
        raise BadValue(field, f"{door.title} does not have {FEATURES[feature]}{told} ({source})")


def refuse_tool(door: CloudDoor, field: str, type: str) -> None:
    """Refuse a server tool that the door lacks. Tools that the caller runs work at all doors.

    Raises:
      BadValue: the door lacks the tool.
    """
    source = door.lacks.get("server_tools")
    if source is not None and (not door.tools or type.startswith(door.tools)):
        raise BadValue(field, f"{door.title} does not run {type or 'server tools'} ({source})")
