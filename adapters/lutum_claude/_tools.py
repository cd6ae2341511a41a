"""The tools of a request: the member `tools`, and changes by a system message. No I/O.

Thinking is bound to `tools` too, so that member stays as in the transcript's first turn. If the model accepts
tool changes, they are blocks of a system message right before the turn (agents-and-tools, "Change tools or
instructions"). The message is kept as the turn's preface, and every later request contains it again. So the
first turn's tools and the earlier prefaces determine which tools are defined and offered now.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

import msgspec
from msgspec import Raw, Struct

from lutum import BadValue, ToolDef
from lutum.abc import OutputFormat, ToolPlan, TurnRequest
from lutum.dialect.json import decode_object, encode, is_object, same_value
from lutum.dialect.schema import narrow
from lutum_claude import _estimate, _wire

_KEY = "1 to 64 characters of A-Z a-z 0-9 _ . -"
# The API refuses the whole request if one key differs: "tools.0.custom.input_schema.properties: Property keys
# should match pattern '^[a-zA-Z0-9_.-]{1,64}$'". It checks only the `properties` at the root of the schema.
_PROPERTY = re.compile(r"[a-zA-Z0-9_.-]{1,64}")


# "input_schema does not support oneOf, allOf, or anyOf at the top level"
_COMBINATORS = ("anyOf", "oneOf", "allOf")

MOST_STRICT_TOOLS = 20
MOST_UNIONS = 16
_UNIONS = ('"anyOf"', '"type":[', '"type": [')


class _ChangedTool(Struct):
    type: str
    name: str = ""
    definition: Raw = Raw()


class _Change(Struct):
    type: str
    tool: _ChangedTool | None = None


class _SystemMessage(Struct):
    content: str | list[_Change]


class _Definition(Struct):
    name: str


class Offer(Struct, frozen=True):
    """The tools that the model knows: the current definition of each tool by name, and the offered names."""

    defined: tuple[tuple[str, bytes], ...]
    names: frozenset[str]


class ToolWire(Struct, frozen=True):
    """The encoded tools of a request.

    Attributes:
      tools: the entries of the member `tools`.
      changes: a whole system message with tool changes; empty if there are none.
      inexact_reason: why the tools differ from those of the conversation's first turn; None if they do not.
      value_tool: the forced tool whose input is the structured value. It is one of `tools`.
      tokens: the estimated tokens of `tools`.
    """

    tools: tuple[bytes, ...] = ()
    changes: bytes = b""
    inexact_reason: str | None = None
    value_tool: str | None = None
    tokens: int = 0


@lru_cache(maxsize=1024)
def tool_json(tool: ToolDef, *, strict: bool = False) -> bytes:
    """Return a tool's entry. Its schema is sent unchanged.

    Args:
      strict: whether the API enforces the schema.

    Raises:
      BadValue: Claude does not accept the name of the tool or of a parameter, or the root of the schema; or
        the schema is not a JSON object.
    """
    if not _wire.TOOL_NAME.fullmatch(tool.name):
        raise BadValue(
            "tools", f"the name {tool.name!r} is not accepted: use 1 to 128 letters, digits, _ and -"
        )
    if not is_object(tool.schema):
        raise BadValue("tools", f"the schema of {tool.name!r} is not a JSON object")
    if combinator := next((key for key in _COMBINATORS if key in decode_object(tool.schema)), None):
        raise BadValue(
            "tools",
            f"the schema of {tool.name!r} has {combinator} at its root, and Claude refuses such a request;"
            " put it into a property",
        )
    for key in _properties(tool.schema):
        if not _PROPERTY.fullmatch(key):
            raise BadValue(
                "tools", f"the parameter {key!r} of {tool.name!r} is not accepted: use a name of {_KEY}"
            )
    described = b',"description":' + encode(tool.description) if tool.description else b""
    return b'{"name":%b%b,"input_schema":%b%b}' % (
        encode(tool.name),
        described,
        tool.schema.encode(),
        b',"strict":true' if strict else b"",
    )


@lru_cache(maxsize=1024)
def strict_names(tools: tuple[ToolDef, ...]) -> frozenset[str]:
    """Return the names of the tools that are sent with `strict`, if the host and the model accept it.

    The API would refuse some requests with `strict`. So it is left out of a tool if the schema has keywords
    that the API's grammars do not support. It is left out of all tools if more than 20 tools would have it,
    or if they have more than 16 parameters of several types (build-with-claude/structured-outputs, "Schema
    complexity limits"). A tool without parameters does not get it, because there is nothing to enforce.
    """
    found = [tool for tool in tools if tool.strict and _is_plain(tool.schema)]
    unions = sum(tool.schema.count(mark) for tool in found for mark in _UNIONS)
    if len(found) > MOST_STRICT_TOOLS or unions > MOST_UNIONS:
        return frozenset()
    return frozenset(tool.name for tool in found)


def _is_plain(schema: str) -> bool:
    try:
        narrowed, dropped = narrow(schema, _wire.SCHEMAS)
    except BadValue:
        return False
    return not dropped and same_value(narrowed.encode(), schema.encode()) and any(_properties(schema))


def _properties(schema: str) -> Iterable[str]:
    properties = bytes(decode_object(schema).get("properties", b""))
    return decode_object(properties) if properties.startswith(b"{") else ()


@lru_cache(maxsize=1024)
def tool_tokens(tool: bytes) -> int:
    return _estimate.json_tokens(tool) + _estimate.TOOL_TOKENS


def plan(
    request: TurnRequest,
    prefaces: Iterable[bytes],
    server_tools: tuple[bytes, ...],
    *,
    changes: bool,
    place: bool,
    by_tool: bool,
    strict: bool,
) -> ToolWire:
    """Return the wire form of a request's tools.

    Args:
      prefaces: the messages before earlier turns, in order.
      changes: whether the model accepts tool changes.
      place: whether a system message is allowed at the end of this request.
      by_tool: whether a structured value is requested by a forced tool.
      strict: whether the host and the model accept `strict`. Only entries of the member `tools` have it. The
        first turn fixes that member.

    Raises:
      BadValue: Claude does not accept a tool.
    """
    wire = _planned(request.tools, prefaces, server_tools, changes=changes, place=place, strict=strict)
    if by_tool and request.output is not None:
        tools = (*wire.tools, value_tool(request, request.output, strict=strict))
        wire = msgspec.structs.replace(wire, tools=tools, value_tool=request.output.name)
    if not wire.tools:
        return wire
    tokens = sum(map(tool_tokens, wire.tools)) + _estimate.TOOLS_TOKENS
    return msgspec.structs.replace(wire, tokens=tokens)


def _planned(
    tools: ToolPlan,
    prefaces: Iterable[bytes],
    server_tools: tuple[bytes, ...],
    *,
    changes: bool,
    place: bool,
    strict: bool,
) -> ToolWire:
    enforced = strict_names(tools.head) if strict else frozenset[str]()
    head = server_tools + tuple(tool_json(tool, strict=tool.name in enforced) for tool in tools.head)
    # The API requires an entry in `tools` for a forced choice: "tool_choice may only be specified while
    # providing tools".
    if not changes or (tools.choice in ("any", "tool") and not head):
        return _appended(tools, head)
    if tools.choice == "none":
        return ToolWire(head)
    blocks = _difference(tools, offer(tools.head, prefaces))
    if not place:
        # A removal cannot be sent here. If the model calls such a tool anyway, the core answers the call.
        return (
            _appended(tools, head)
            if any(b'"tool_definition"' in block for block in blocks)
            else ToolWire(head)
        )
    if not blocks:
        return ToolWire(head)
    return ToolWire(head, b'{"role":"system","content":[%b]}' % b",".join(blocks))


def value_tool(request: TurnRequest, output: OutputFormat, *, strict: bool) -> bytes:
    """Return the tool whose forced call is the structured value.

    Args:
      strict: the host and the model accept `strict`.

    Raises:
      BadValue: another tool of the turn has the same name.
    """
    if any(tool.name == output.name for tool in (*request.tools.head, *request.tools.new)):
        raise BadValue("output", f"a tool already has the name {output.name!r}; rename one of them")
    tool = ToolDef(output.name, output.schema, "Gives the answer.", strict=True)
    return tool_json(tool, strict=strict and bool(strict_names((tool,))))


def offer(head: tuple[ToolDef, ...], prefaces: Iterable[bytes]) -> Offer:
    """Return the tools that are defined and offered after the messages of `prefaces`."""
    defined = {tool.name: tool_json(tool) for tool in head}
    names = set(defined)
    for message in prefaces:
        for kind, name, definition in _changes(message):
            if definition:
                defined[name] = definition
            if kind == "tool_removal":
                names.discard(name)
            else:
                names.add(name)
    return Offer(tuple(defined.items()), frozenset(names))


def _appended(tools: ToolPlan, head: tuple[bytes, ...]) -> ToolWire:
    """Return all tools in the member `tools`: those of the first turn, then the new ones.

    A new definition of a tool replaces the old definition at the same position.
    """
    if not tools.new:
        return ToolWire(head)
    anew = {tool.name: tool_json(tool) for tool in tools.new}
    known = {tool.name for tool in tools.head}
    at = len(head) - len(tools.head)
    server = head[:at]
    kept = tuple(anew.get(tool.name) or sent for tool, sent in zip(tools.head, head[at:], strict=True))
    added = tuple(json for name, json in anew.items() if name not in known)
    reason = f"tools were sent that the first turn did not have: {', '.join(anew)}"
    return ToolWire((*server, *kept, *added), b"", reason)


def _difference(tools: ToolPlan, now: Offer) -> list[bytes]:
    wanted = {tool.name: tool_json(tool) for tool in (*tools.head, *tools.new)}
    names = set(wanted) if tools.available is None else set(tools.available) & set(wanted)
    blocks = [
        _reference("tool_removal", name) for name, _ in now.defined if name in now.names and name not in names
    ]
    defined: Mapping[str, bytes] = dict(now.defined)
    for name, json in wanted.items():
        if name not in names:
            continue
        if name not in defined or not same_value(defined[name], json):
            blocks.append(
                b'{"type":"tool_addition","tool":{"type":"tool_definition","definition":%b}}' % json
            )
        elif name not in now.names:
            blocks.append(_reference("tool_addition", name))
    return blocks


def _reference(kind: str, name: str) -> bytes:
    return encode({"type": kind, "tool": {"type": "tool_reference", "name": name}})


@lru_cache(maxsize=1024)
def _changes(message: bytes) -> tuple[tuple[str, str, bytes], ...]:
    """Return each tool change in a system message: its kind, the tool's name, and a definition or `b""`."""
    try:
        content = msgspec.json.decode(message, type=_SystemMessage).content
    except msgspec.DecodeError:
        return ()
    found = list[tuple[str, str, bytes]]()
    for change in () if isinstance(content, str) else content:
        if change.tool is not None:
            definition = bytes(change.tool.definition)
            name = msgspec.json.decode(definition, type=_Definition).name if definition else change.tool.name
            found.append((change.type, name, definition))
    return tuple(found)
