"""The Messages API's checks of a request. They follow the provider's rules and share no code with lutum.

No I/O, no clock, no tasks. Each rule has its own function, which raises at the first violation. As in the
API, the message begins with the path. The shape (members and their types) is checked first, so that the rules
can rely on it. If the API's own message is known from its docs or from recorded errors, the error quotes it.
"""

from collections.abc import Collection
from typing import Any, Final

from msgspec import UNSET, UnsetType

from lutum.testing.wire._claude_messages import check_messages, check_pairing, check_system_messages
from lutum.testing.wire._claude_models import model_rules
from lutum.testing.wire._claude_shape import (
    Betas,
    ClaudeMessage,
    ClaudeRequestRefused,
    Counted,
    Request,
    blocks_of,
    objects,
    refuse,
    shape,
)
from lutum.testing.wire._claude_tools import check_tool_changes, check_tool_choice, check_tools
from lutum.testing.wire._error import WireError
from lutum.testing.wire._json import Object, is_object

__all__ = ["check_claude_request"]

_BINDING: Final = "thinking-binding-controls-2026-08-01"
_DISPLAY_UPDATES: Final = "thinking-display-updates-2026-08-18"
_FIRST_STRICT_VERSION: Final = "2026-10-21"  # the API version without sampling parameters
_NEVER_CACHED: Final = frozenset({"thinking", "redacted_thinking", "fallback", "mcp_tool_listing"})


def check_claude_request(
    body: object, *, betas: Collection[str] | None = None, version: str = "2023-06-01", counting: bool = False
) -> WireError | None:
    """Check a request body, parsed or as bytes. Return None if the API would accept it, else its refusal.

    `betas` are the values of the `anthropic-beta` header; None means that no beta is required. With
    `counting`, the body is checked as a request to `/v1/messages/count_tokens`. Signatures are not checked
    here, because only the server that made them can check them.
    """
    try:
        request = shape(body, Counted if counting else Request)
        given = Betas(betas)
        check_tools(request)
        check_messages(request)
        check_pairing(request)
        check_system_messages(request, given)
        check_tool_changes(request, given)
        check_tool_choice(request)
        _check_thinking(request, given)
        _check_cache_control(request)
        _check_model(request)
        if isinstance(request, Request):
            _check_limits(request, version)
    except ClaudeRequestRefused as refused:
        return refused.error
    return None


def _check_thinking(request: Counted, betas: Betas) -> None:
    thinking = request.thinking
    if thinking is None:
        return
    kind = thinking.type
    path = f"thinking.{kind}"
    for name, given, kinds in (
        ("budget_tokens", thinking.budget_tokens is not UNSET, ("enabled",)),
        ("display", thinking.display is not None, ("enabled", "adaptive")),
        ("block_binding", thinking.block_binding is not UNSET, ("enabled", "adaptive")),
    ):
        if given and kind not in kinds:
            refuse(f"{path}.{name}: Extra inputs are not permitted")
    if thinking.block_binding is not UNSET and not betas.have(_BINDING):
        refuse(
            f"{path}.block_binding: Extra inputs are not permitted. It requires the `{_BINDING}` value in "
            "the `anthropic-beta` header."
        )
    if thinking.display == "updates" and not betas.have(_DISPLAY_UPDATES):
        refuse(f"{path}.display: 'updates' requires the `{_DISPLAY_UPDATES}` value in `anthropic-beta`")
    if kind != "enabled":
        return
    budget = thinking.budget_tokens
    if isinstance(budget, UnsetType):
        refuse(f"{path}.budget_tokens: Field required")
    if budget < 1024:
        refuse(f"{path}.budget_tokens: Input should be greater than or equal to 1024")
    if isinstance(request, Request) and budget >= request.max_tokens:
        refuse("`max_tokens` must be greater than `thinking.budget_tokens`.")
    _check_turn_starts_with_thinking(request)


def _check_turn_starts_with_thinking(request: Counted) -> None:
    """Check that a continued assistant turn begins with thinking. This rule holds only for requests with a
    thinking budget."""
    number = len(request.messages) - 1
    if request.messages[number].role == "user":
        if not any(block.get("type") == "tool_result" for block in request.messages[number].blocks()):
            return
        number -= 1
    while number and request.messages[number - 1].role == "assistant":
        number -= 1
    first = request.messages[number]
    kind = first.blocks()[0].get("type") if first.blocks() else None
    if first.role == "assistant" and kind not in ("thinking", "redacted_thinking"):
        refuse(
            f"messages.{number}.content.0.type: Expected `thinking` or `redacted_thinking`, but found "
            f"`{kind}`. When `thinking` is enabled, a final `assistant` message must start with a thinking "
            "block."
        )


def _check_cache_control(request: Counted) -> None:
    marks: list[tuple[str, Any]] = []

    def mark(path: str, block: Object) -> None:
        if block.get("cache_control") is None:
            return
        if str(block.get("type")) in _NEVER_CACHED:
            refuse(f"{path}.cache_control: Extra inputs are not permitted")
        marks.append((path, block["cache_control"]))

    for index, tool in enumerate(request.tools):
        mark(f"tools.{index}", tool)
    if isinstance(request.system, list):
        for index, block in enumerate(request.system):
            mark(f"system.{index}", block)
    for path, _, block in blocks_of(request):
        mark(path, block)
        if block.get("type") == "tool_result":
            for index, part in enumerate(objects(block.get("content"))):
                mark(f"{path}.content.{index}", part)
        change: Any = block.get("tool")
        if is_object(change) and is_object(change.get("definition")):
            mark(f"{path}.tool.definition", change["definition"])
    seen_short = False
    for path, control in marks:
        match control:
            case {"type": "ephemeral", **rest} if rest in ({}, {"ttl": "5m"}, {"ttl": "1h"}):
                long = rest.get("ttl") == "1h"
            case _:
                refuse(f"{path}.cache_control: Input does not match the expected shape.")
        if long and seen_short:
            refuse(
                f"{path}.cache_control.ttl: a ttl='1h' cache_control block must not come after a ttl='5m' "
                "one; the order is `tools`, `system`, `messages`"
            )
        seen_short = seen_short or not long
    count = len(marks) + (request.cache_control is not None)
    if count > 4:
        refuse(f"A maximum of 4 blocks with cache_control may be provided. Found {count}.")


def _check_model(request: Counted) -> None:
    rules = model_rules(request.model)
    if rules is None:
        return
    if request.thinking is not None and request.thinking.type not in rules.thinking:
        refuse(
            f'"thinking.type.{request.thinking.type}" is not supported for this model. Use '
            f'"thinking.type.{min(rules.thinking)}" and "output_config.effort" to control thinking behavior.'
        )
    if not rules.forced_tools and request.tool_choice and request.tool_choice.type in ("any", "tool"):
        refuse('tool_choice: type "tool" and "any" are not supported for this model.')
    if not rules.prefill and _is_prefill(request.messages):
        refuse(
            "This model does not support assistant message prefill. The conversation must end with a user "
            "message."
        )
    if not rules.late_system:
        for number, message in enumerate(request.messages):
            if message.role == "system":
                refuse(f"messages.{number}.role: `system` messages are not supported for this model")
    if isinstance(request, Request) and not rules.sampling:
        for name, value, usual in (
            ("temperature", request.temperature, 1),
            ("top_p", request.top_p, 1),
            ("top_k", request.top_k, None),
        ):
            if value is not None and value != usual:
                refuse(f"{name}: only the default is supported for this model")


def _is_prefill(messages: list[ClaudeMessage]) -> bool:
    """Return whether the last message is the assistant's and is not a paused turn with a server tool."""
    last = messages[-1]
    if last.role != "assistant" or not last.blocks():
        return last.role == "assistant"
    kind = str(last.blocks()[-1].get("type"))
    return not (kind.endswith("_tool_result") or kind in ("server_tool_use", "mcp_tool_use"))


def _check_limits(request: Request, version: str) -> None:
    if request.max_tokens < 0:
        refuse("max_tokens: Input should be greater than or equal to 0")
    sampling = (request.temperature, request.top_p, request.top_k)
    if version >= _FIRST_STRICT_VERSION:
        for name, value in zip(("temperature", "top_p", "top_k"), sampling, strict=True):
            if value is not None:
                refuse(f"{name}: Extra inputs are not permitted")
    for name, value in (("temperature", request.temperature), ("top_p", request.top_p)):
        if value is not None and not 0 <= value <= 1:
            refuse(f"{name}: range: 0..1")
    if request.thinking is not None and request.thinking.type == "enabled":
        if request.temperature not in (None, 1):
            refuse("`temperature` may only be set to 1 when thinking is enabled.")
        if request.top_k is not None:
            refuse("`top_k` must be unset when thinking is enabled.")
        if request.top_p is not None and request.top_p < 0.95:
            refuse("`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled.")
    for index, stop in enumerate(request.stop_sequences):
        if not stop.strip():
            refuse(f"stop_sequences.{index}: each stop sequence must contain non-whitespace")
