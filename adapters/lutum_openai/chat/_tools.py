"""Tools and `tool_choice` of a request. No I/O."""

from __future__ import annotations

from functools import lru_cache

from lutum import BadValue, ToolDef
from lutum.abc import ToolPlan
from lutum.dialect.json import decode_object, encode, is_object
from lutum.dialect.schema import narrow
from lutum_openai._profiles import Profile
from lutum_openai._schemas import schemas_of
from lutum_openai.chat import _wire


def planned(plan: ToolPlan, profile: Profile) -> tuple[tuple[bytes, ...], str | None]:
    """Return the entries of `tools`, those of the head first; and the reason if the turn that answers the
    request cannot be replayed exactly."""
    head = tuple(tool_json(tool, profile) for tool in plan.head)
    if not plan.new:
        return head, None
    anew = {tool.name: tool_json(tool, profile) for tool in plan.new}
    known = {tool.name for tool in plan.head}
    kept = tuple(anew.get(tool.name) or tool_json(tool, profile) for tool in plan.head)
    added = tuple(json for name, json in anew.items() if name not in known)
    return (*kept, *added), f"tools were sent that the first turn did not have: {', '.join(anew)}"


@lru_cache(maxsize=1024)
def tool_json(tool: ToolDef, profile: Profile) -> bytes:
    """Return an entry of `tools`.

    `strict` is sent if the schema has the strict form and the host accepts the member, because servers such
    as vLLM enforce the schema only then. A tool without properties has nothing to enforce.

    Raises:
      BadValue: the host does not accept the name, or the schema is not a JSON object.
    """
    if not _wire.TOOL_NAME.fullmatch(tool.name):
        raise BadValue(
            "tools", f"the name {tool.name!r} is not accepted: use 1 to 128 letters, digits and _ . : -"
        )
    if len(tool.name) > profile.tool_name:
        raise BadValue("tools", f"the name {tool.name!r} is longer than {profile.tool_name} characters")
    if not is_object(tool.schema):
        raise BadValue("tools", f"the schema of {tool.name!r} is not a JSON object")
    described = b',"description":' + encode(tool.description) if tool.description else b""
    schema, strict = tool.schema, tool.strict and profile.strict and _has_properties(tool.schema)
    if strict:
        schema = narrow(schema, schemas_of(profile))[0]
    return b'{"type":"function","function":{"name":%b%b,"parameters":%b%b}}' % (
        encode(tool.name),
        described,
        schema.encode(),
        b',"strict":true' if strict else b"",
    )


def tool_choice(
    plan: ToolPlan, profile: Profile, host: str, *, value_tool: str | None, thinks: bool
) -> bytes | None:
    """Return `tool_choice`. None means that it is left out, because the host accepts only its default.

    Raises:
      BadValue: a call is required and the host accepts `auto` only.
    """
    limited = profile.tool_choice == "auto" or (profile.tool_choice == "auto_while_thinking" and thinks)
    if limited and (value_tool is not None or plan.choice in ("any", "tool")):
        raise BadValue(
            "tool_choice",
            f"{host} does not accept a required call"
            + ("" if profile.tool_choice == "auto" else " while the model thinks; turn thinking off"),
        )
    if limited:
        return None
    if value_tool is not None:
        return b'"required"' if plan.choice in ("any", "tool") else _named(value_tool)
    if plan.choice == "tool" and plan.tool is not None:
        return _named(plan.tool)
    if plan.choice == "none" or plan.available == ():
        return b'"none"'
    if plan.choice == "any" and (only := _only(plan)) is not None:
        return _named(only)  # the same as "required" for a single tool, but more hosts enforce a named tool
    mode = b'"required"' if plan.choice == "any" else b'"auto"'
    if plan.available is None or not profile.allowed_tools:
        return mode  # lutum's core answers a call of a tool that was not offered
    names = b",".join(map(_named, plan.available))
    return b'{"type":"allowed_tools","allowed_tools":{"mode":%b,"tools":[%b]}}' % (mode, names)


def _only(plan: ToolPlan) -> str | None:
    """Return the only tool that may be called; None if several or none may be called."""
    names = plan.available
    if names is None:
        names = tuple({tool.name: None for tool in (*plan.head, *plan.new)})
    return names[0] if len(names) == 1 else None


def _named(name: str) -> bytes:
    return b'{"type":"function","function":{"name":%b}}' % encode(name)


def _has_properties(schema: str) -> bool:
    properties = bytes(decode_object(schema).get("properties", b""))
    return properties.startswith(b"{") and bool(decode_object(properties))
