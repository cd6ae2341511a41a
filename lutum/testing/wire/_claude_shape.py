"""The shape of a Claude request, and helpers that its rules share."""

import re
from collections.abc import Collection, Iterator
from typing import Any, Literal, NoReturn, TypeAlias, final

import msgspec
from msgspec import UNSET, UnsetType

from lutum.testing.wire._error import WireError
from lutum.testing.wire._json import Object, is_array, is_object

__all__ = [
    "Betas",
    "ClaudeMessage",
    "ClaudeRequestRefused",
    "ClaudeThinking",
    "Counted",
    "Request",
    "blocks_of",
    "effort_only",
    "objects",
    "refuse",
    "shape",
]

_Effort: TypeAlias = Literal["low", "medium", "high", "xhigh", "max"]


@final
class OutputConfig(msgspec.Struct, forbid_unknown_fields=True):
    effort: _Effort | None = None
    format: Object | None = None
    task_budget: Object | None = None


@final
class ClaudeMessage(msgspec.Struct, forbid_unknown_fields=True):
    role: Literal["user", "assistant", "system"]
    content: str | list[Object]
    clear_at: Literal["never", "next_user_message"] | UnsetType = UNSET
    output_config: OutputConfig | UnsetType = UNSET

    def blocks(self) -> list[Object]:
        """The content as blocks; a string becomes one text block."""
        if isinstance(self.content, str):
            return [{"type": "text", "text": self.content}] if self.content else []
        return self.content


@final
class ToolChoice(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


@final
class Binding(msgspec.Struct, forbid_unknown_fields=True):
    prefix_mismatch_behavior: Literal["error", "drop_block"] = "error"


@final
class ClaudeThinking(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["enabled", "adaptive", "disabled", "between_tools"]
    budget_tokens: int | UnsetType = UNSET
    display: Literal["summarized", "omitted", "updates"] | None = None
    block_binding: Binding | UnsetType = UNSET


class Counted(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The members that `/v1/messages/count_tokens` accepts."""

    model: str
    messages: list[ClaudeMessage]
    system: str | list[Object] = ""
    tools: list[Object] = []
    tool_choice: ToolChoice | None = None
    thinking: ClaudeThinking | None = None
    output_config: OutputConfig | None = None
    cache_control: Object | None = None
    context_management: Object | None = None
    mcp_servers: list[Object] = []
    compaction: Object | None = None
    speed: Literal["standard", "fast"] | None = None


@final
class Request(Counted, forbid_unknown_fields=True, kw_only=True):
    """The members that `/v1/messages` accepts."""

    max_tokens: int
    stream: bool = False
    stop_sequences: list[str] = []
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    metadata: Object | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    container: str | Object | None = None
    inference_geo: str | None = None
    diagnostics: Object | None = None
    output_format: Object | None = None
    fallbacks: list[Object] | str | None = None
    fallback_credit_token: str | None = None
    thread: Object | None = None
    billing_policy: Any = None


class ClaudeRequestRefused(Exception):
    def __init__(self, error: WireError) -> None:
        super().__init__(error.message)
        self.error = error


def refuse(message: str, *, code: str | None = None) -> NoReturn:
    raise ClaudeRequestRefused(WireError(message, code=code))


@final
class Betas(msgspec.Struct, frozen=True):
    given: Collection[str] | None

    def have(self, *names: str) -> bool:
        return self.given is None or any(name in self.given for name in names)


def shape(body: object, kind: type[Counted]) -> Counted:
    try:
        if isinstance(body, bytes | bytearray | str):
            body = msgspec.json.decode(body)
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$")
        where = re.sub(r"\[(\d+)\]", r".\1", path.rstrip("`")).lstrip(".")
        if missing := re.search(r"missing required field `(\w+)`", text):
            refuse(_path(where, missing[1]) + ": Field required")
        if unknown := re.search(r"unknown field `(\w+)`", text):
            refuse(_path(where, unknown[1]) + ": Extra inputs are not permitted")
        refuse(f"{where or 'body'}: Input does not match the expected shape. {text}")
    except msgspec.DecodeError as error:
        refuse(f"The request body is not valid JSON: {error}")


def _path(*names: str) -> str:
    return ".".join(name for name in names if name)


def objects(value: Any) -> list[Object]:
    """Return the blocks of a content that may be a string or absent."""
    return [item for item in value if is_object(item)] if is_array(value) else []


def blocks_of(request: Counted) -> Iterator[tuple[str, ClaudeMessage, Object]]:
    for number, message in enumerate(request.messages):
        for index, block in enumerate(message.blocks()):
            yield f"messages.{number}.content.{index}", message, block


def effort_only(message: ClaudeMessage) -> bool:
    """Return whether a system message has only `output_config`. Such a message is allowed anywhere."""
    return message.role == "system" and message.output_config is not UNSET and not message.blocks()
