"""The Messages API's rules for tools: their definitions, their choice, and their changes. No I/O."""

import re
from typing import Any, Final

from lutum.testing.wire._claude_shape import Betas, Counted, blocks_of, refuse
from lutum.testing.wire._json import Object, is_object

__all__ = ["check_tool_changes", "check_tool_choice", "check_tools"]

_INLINE_TOOLS: Final = "inline-tools-2026-09-15"
_TOOL_CHANGES: Final = "mid-conversation-tool-changes-2026-07-01"
_TOOL_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_PROPERTY: Final = re.compile(r"[a-zA-Z0-9_.-]{1,64}")


def check_tools(request: Counted) -> None:
    names: set[str] = set()
    for index, tool in enumerate(request.tools):
        path = f"tools.{index}"
        _check_tool(path, tool)
        name = tool.get("name")
        if isinstance(name, str) and name in names:
            refuse(f"{path}: Tool names must be unique. `{name}` is there twice.")
        if isinstance(name, str):
            names.add(name)
    if request.tools and all(tool.get("defer_loading") for tool in request.tools):
        refuse("tools: At least one tool must not have `defer_loading` set.")


def _check_tool(path: str, tool: Object) -> None:
    kind = tool.get("type") or "custom"
    if kind == "mcp_toolset":
        return
    name = tool.get("name")
    if not isinstance(name, str) or not _TOOL_NAME.fullmatch(name):
        refuse(f"{path}.custom.name: String should match pattern '^{_TOOL_NAME.pattern}$'")
    if kind == "custom":
        schema = tool.get("input_schema")
        if schema is None:
            refuse(f"{path}.custom.input_schema: Field required")
        if not is_object(schema) or schema.get("type") != "object":
            refuse(f"{path}.custom.input_schema.type: Input should be 'object'")
        if not all(map(_PROPERTY.fullmatch, schema.get("properties", {}))):
            pattern = _PROPERTY.pattern
            refuse(f"{path}.custom.input_schema.properties: Property keys should match pattern '{pattern}'")
    if tool.get("defer_loading") and tool.get("cache_control"):
        refuse(f"{path}.cache_control: a tool with `defer_loading` cannot carry cache_control")


def check_tool_choice(request: Counted) -> None:
    choice = request.tool_choice
    if choice is None:
        return
    if not request.tools:
        refuse("tool_choice: tool_choice may only be specified while providing tools.")
    if (choice.type == "tool") != (choice.name is not None):
        refuse("tool_choice.name: the name of a tool is given with type 'tool', and only then")
    if choice.name is not None and choice.name not in _known_tools(request):
        refuse(f"tool_choice: Tool '{choice.name}' not found in provided tools")
    if choice.type in ("any", "tool") and request.thinking and request.thinking.type == "enabled":
        refuse("Thinking may not be enabled when tool_choice forces tool use.")


def _known_tools(request: Counted) -> dict[str, str]:
    """Return every tool by name, with its kind, including definitions that were added later."""
    entries = list(request.tools)
    for _, _, block in blocks_of(request):
        tool: Any = block.get("tool")
        if block.get("type") == "tool_addition" and is_object(tool):
            definition = tool.get("definition")
            if is_object(definition):
                entries.append(definition)
    return {str(entry.get("name")): str(entry.get("type") or "custom") for entry in entries}


def check_tool_changes(request: Counted, betas: Betas) -> None:
    kinds = {str(tool.get("name")): str(tool.get("type") or "custom") for tool in request.tools}
    servers = {str(server.get("name")) for server in request.mcp_servers}
    for number, message in enumerate(request.messages):
        for index, block in enumerate(message.blocks()):
            kind = block.get("type")
            if message.role != "system" or kind not in ("tool_addition", "tool_removal"):
                continue
            path = f"messages.{number}.content.{index}"
            if not betas.have(_INLINE_TOOLS, _TOOL_CHANGES):
                refuse(
                    f"{path}: `{kind}` requires the `{_INLINE_TOOLS}` value in the `anthropic-beta` header"
                )
            before = number
            while before and request.messages[before - 1].role == "system":
                before -= 1
            if before and request.messages[before - 1].role == "assistant":
                refuse(f"{path}: `{kind}` is not permitted right after a paused assistant turn")
            tool: Any = block.get("tool")
            if not is_object(tool):
                refuse(f"{path}.{kind}.tool: Field required")
            _check_tool_change(path, str(kind), tool, kinds, servers, betas)


def _check_tool_change(
    path: str, kind: str, tool: Object, kinds: dict[str, str], servers: set[str], betas: Betas
) -> None:
    match tool:
        case {"type": "tool_reference", "name": str(name)}:
            if name not in kinds:
                refuse(f"{path}.tool.name: no tool `{name}` is known", code="tool_reference_unresolved")
        case {"type": "mcp_tool_reference", "server_name": str(name), "name": str()} | {
            "type": "mcp_toolset_reference",
            "server_name": str(name),
        }:
            if name not in servers:
                refuse(
                    f"{path}.tool.server_name: no server `{name}` is known", code="tool_reference_unresolved"
                )
        case {"type": "tool_definition", "definition": entry} if kind == "tool_addition" and is_object(entry):
            if not betas.have(_INLINE_TOOLS):
                refuse(
                    f"{path}: a tool definition requires the `{_INLINE_TOOLS}` value in the `anthropic-beta` "
                    "header"
                )
            _check_tool(f"{path}.tool.definition", entry)
            name, new = str(entry.get("name")), str(entry.get("type") or "custom")
            if kinds.setdefault(name, new) != new:
                refuse(f"{path}: tool `{name}` is of another kind", code="tool_name_conflict")
        case _:
            refuse(f"{path}.{kind}.tool: Input does not match the expected shape.")
