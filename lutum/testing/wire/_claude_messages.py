"""The Messages API's rules for messages: blocks, results of calls, system messages in `messages`. No I/O."""

import re
from typing import Final

from msgspec import UNSET

from lutum.testing.wire._claude_shape import (
    Betas,
    ClaudeMessage,
    Counted,
    blocks_of,
    effort_only,
    objects,
    refuse,
)
from lutum.testing.wire._json import Object

__all__ = ["check_messages", "check_pairing", "check_system_messages"]

_CLEAR_AT: Final = "mid-conversation-system-clear-at-2026-08-21"
_LATE_EFFORT: Final = "mid-conversation-output-config-2026-07-01"
_CALL_ID: Final = re.compile(r"[a-zA-Z0-9_-]+")
_USER_BLOCKS: Final = frozenset(
    {"text", "image", "document", "search_result", "tool_result", "container_upload"}
)
_SYSTEM_BLOCKS: Final = frozenset({"text", "tool_addition", "tool_removal"})
# Only these blocks are refused in assistant messages. All others are accepted, because the provider's own
# blocks may come back, and the provider adds new kinds.
_NEVER_ASSISTANT: Final = frozenset(
    {"tool_result", "image", "search_result", "tool_addition", "tool_removal"}
)


def check_messages(request: Counted) -> None:
    if not request.messages:
        refuse("messages: at least one message is required")
    spoken = [message for message in request.messages if not effort_only(message)]
    if spoken and spoken[0].role == "assistant":
        refuse('messages: first message must use the "user" role')
    last = len(request.messages) - 1
    for number, message in enumerate(request.messages):
        empty = not message.blocks()
        if empty and not effort_only(message) and not (number == last and message.role == "assistant"):
            refuse(
                f"messages.{number}: all messages must have non-empty content except for the optional "
                "final assistant message"
            )
    if isinstance(request.system, list):
        for index, block in enumerate(request.system):
            if block.get("type") != "text":
                refuse(f"system.{index}.type: Input should be 'text'")
            _check_text(f"system.{index}", block)
    ids: set[str] = set()
    for path, message, block in blocks_of(request):
        _check_block(path, message, block)
        if block.get("type") == "tool_use":
            if block["id"] in ids:
                refuse(f"{path}.id: `tool_use` ids must be unique")
            ids.add(block["id"])
    final = request.messages[-1]
    if final.role == "assistant" and (blocks := final.blocks()) and blocks[-1].get("type") == "text":
        text = str(blocks[-1]["text"])
        if text != text.rstrip():
            refuse("messages: final assistant content cannot end with trailing whitespace")


def _check_block(path: str, message: ClaudeMessage, block: Object) -> None:
    kind = block.get("type")
    if not isinstance(kind, str):
        refuse(f"{path}.type: Field required")
    if message.role == "user" and kind not in _USER_BLOCKS:
        if kind in ("tool_use", "thinking", "redacted_thinking"):
            refuse(f"{path}: `{kind}` blocks can only be in `assistant` messages")
        refuse(f"{path}: Input tag '{kind}' found using 'type' does not match any of the expected tags")
    if message.role == "system" and kind not in _SYSTEM_BLOCKS:
        refuse(f"{path}: `{kind}` blocks cannot be in `system` messages")
    if message.role == "assistant" and kind in _NEVER_ASSISTANT:
        refuse(f"{path}: `{kind}` blocks cannot be in `assistant` messages")
    if kind == "text":
        _check_text(path, block)
    elif kind == "thinking":
        _require(path, block, "thinking", "signature")
    elif kind == "redacted_thinking":
        _require(path, block, "data")
    elif kind == "tool_use":
        _require(path, block, "id", "name")
        if not isinstance(block.get("input"), dict):
            refuse(f"{path}.input: Input should be an object")
        if not _CALL_ID.fullmatch(block["id"]):
            refuse(f"{path}.id: String should match pattern '^{_CALL_ID.pattern}$'")
    elif kind == "tool_result":
        _require(path, block, "tool_use_id")
        if block.get("is_error") and not block.get("content"):
            refuse(f"{path}.tool_result: content cannot be empty if `is_error` is true")
        for index, part in enumerate(objects(block.get("content"))):
            if part.get("type") == "text":
                _check_text(f"{path}.content.{index}", part)


def _require(path: str, block: Object, *names: str) -> None:
    for name in names:
        if not isinstance(block.get(name), str):
            refuse(f"{path}.{block['type']}.{name}: Field required")


def _check_text(path: str, block: Object) -> None:
    _require(path, block, "text")
    if not block["text"]:
        refuse(f"{path}.text: text content blocks must be non-empty")
    if not block["text"].strip():
        refuse(f"{path}.text: text content blocks must contain non-whitespace text")


def check_pairing(request: Counted) -> None:
    """Check that each call of an assistant turn has one result, at the start of the user turn right after it.

    Consecutive messages of one role are one turn.
    """
    turns: list[tuple[str, list[tuple[str, Object]]]] = []
    for number, message in enumerate(request.messages):
        if effort_only(message):
            continue
        if not turns or turns[-1][0] != message.role:
            turns.append((message.role, []))
        turns[-1][1].extend(
            (f"messages.{number}.content.{index}", block) for index, block in enumerate(message.blocks())
        )
    calls: dict[str, str] = {}
    for role, blocks in turns:
        answered: set[str] = set()
        for position, (path, block) in enumerate(blocks):
            if block.get("type") != "tool_result":
                continue
            call = block["tool_use_id"]
            if call in answered:
                refuse(
                    f"{path}: each tool_use must have a single result. Found multiple `tool_result` blocks "
                    f"with id: {call}"
                )
            if call not in calls:
                refuse(
                    f"{path}: unexpected `tool_use_id` found in `tool_result` blocks: {call}. Each "
                    "`tool_result` block must have a corresponding `tool_use` block in the previous message."
                )
            if position != len(answered):
                refuse(f"{path}: `tool_result` blocks must come before any other content of the message")
            answered.add(call)
        _refuse_unanswered(calls, answered)
        calls = {}
        if role == "assistant":
            calls = {block["id"]: path for path, block in blocks if block.get("type") == "tool_use"}
    _refuse_unanswered(calls, set())


def _refuse_unanswered(calls: dict[str, str], answered: set[str]) -> None:
    missing = [call for call in calls if call not in answered]
    if missing:
        path = calls[missing[0]].partition(".content")[0]
        refuse(
            f"{path}: `tool_use` ids were found without `tool_result` blocks immediately after: "
            f"{', '.join(missing)}. Each `tool_use` block must have a corresponding `tool_result` block in "
            "the next message."
        )


# System messages inside `messages`.


def check_system_messages(request: Counted, betas: Betas) -> None:
    messages = request.messages
    for number, message in enumerate(messages):
        path = f"messages.{number}"
        if message.clear_at is not UNSET:
            if not betas.have(_CLEAR_AT):
                refuse(f"{path}.clear_at: Extra inputs are not permitted")
            if message.role != "system":
                refuse(f"{path}.clear_at: clear_at is only permitted on role 'system' messages")
        if message.output_config is not UNSET:
            if message.role != "system" or not betas.have(_LATE_EFFORT):
                refuse(f"{path}.output_config: Extra inputs are not permitted")
            if message.clear_at == "next_user_message":
                refuse(f"{path}: output_config is not permitted on a turn-scoped system message")
        if message.clear_at == "next_user_message":
            _check_turn_scoped(path, message)
        if message.role == "system" and not effort_only(message):
            _check_placement(messages, number)


def _check_turn_scoped(path: str, message: ClaudeMessage) -> None:
    for block in message.blocks():
        if block.get("type") != "text":
            refuse(
                f"{path}: a turn-scoped system message supports text blocks only "
                "(clear_at: 'next_user_message')"
            )
        if block.get("cache_control") is not None:
            refuse(f"{path}: cache_control is not permitted on a turn-scoped system message")


def _check_placement(messages: list[ClaudeMessage], number: int) -> None:
    before = number
    while before and messages[before - 1].role == "system":
        before -= 1
    behind = number
    while behind + 1 < len(messages) and messages[behind + 1].role == "system":
        behind += 1
    previous = messages[before - 1] if before else None
    if previous is None or (previous.role == "assistant" and not _ends_in_server_result(previous)):
        refuse(
            f"messages.{number}: a system message must immediately follow a user message, or an assistant "
            "message that ends in a server tool result"
        )
    if behind + 1 < len(messages) and messages[behind + 1].role != "assistant":
        refuse(
            f"messages.{number}: a system message must be the last message or be followed by an assistant "
            "message"
        )


def _ends_in_server_result(message: ClaudeMessage) -> bool:
    blocks = message.blocks()
    kind = str(blocks[-1].get("type")) if blocks else ""
    return kind.endswith("_tool_result")
