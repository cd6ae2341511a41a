"""The tools of a request: `tools` and `toolConfig`.

`tools` stays as in the first turn of the transcript. In `toolConfig`, `mode` and `allowedFunctionNames` limit
which of these tools the model may call. The API has no separate form for a tool that is added later. Such a
tool is appended to `tools`. This changes the beginning of the request, so the turn that answers it is marked
inexact.
"""

from __future__ import annotations

from functools import lru_cache

from msgspec import Struct

from lutum import BadValue, ToolDef
from lutum.abc import OutputFormat, TurnRequest
from lutum.dialect.json import encode, is_object, to_bytes
from lutum_gemini._options import GeminiOptions
from lutum_gemini.generate import _estimate, _models, _wire


class GeminiTools(Struct, frozen=True):
    """The encoded tools of a request.

    Attributes:
      tools: the entries of `tools`.
      config: `toolConfig`; empty if it is not needed.
      inexact_reason: why the tools differ from those of the conversation's first turn; None if they do not.
      value_tool: the forced tool whose arguments are the structured value.
      server: the names of tools that the provider runs.
      has_functions: whether function declarations are sent.
      tokens: the estimated tokens of the declarations.
    """

    tools: tuple[bytes, ...] = ()
    config: bytes = b""
    inexact_reason: str | None = None
    value_tool: str | None = None
    server: tuple[str, ...] = ()
    has_functions: bool = False
    tokens: int = 0


@lru_cache(maxsize=1024)
def declaration(tool: ToolDef) -> bytes:
    """Return a tool's declaration. Its schema is sent unchanged.

    Raises:
      BadValue: the API does not accept the name, or the schema is not a JSON object.
    """
    if not _wire.TOOL_NAME.fullmatch(tool.name):
        raise BadValue(
            "tools",
            f"the name {tool.name!r} is not accepted: use 1 to 128 of A-Z a-z 0-9 _ . : - and begin with a "
            "letter or _",
        )
    if not is_object(tool.schema):
        raise BadValue("tools", f"the schema of {tool.name!r} is not a JSON object")
    described = b',"description":' + encode(tool.description) if tool.description else b""
    return b'{"name":%b%b,"parametersJsonSchema":%b}' % (
        encode(tool.name),
        described,
        tool.schema.strip().encode(),
    )


def plan(
    request: TurnRequest, options: GeminiOptions, model: str, *, vertex: bool, value_tool: str | None
) -> GeminiTools:
    """Return the wire form of a request's tools.

    Raises:
      BadValue: the model does not accept the tools; the error names the field.
    """
    capable = _models.capabilities(model)
    server = [to_bytes(f"server_tools[{i}]", tool) for i, tool in enumerate(options.server_tools or ())]
    declared, reason = _declared(request)
    if value_tool is not None and request.output is not None:
        if value_tool in declared:
            raise BadValue("output", f"a tool already has the name {value_tool!r}; rename one of them")
        declared[value_tool] = declaration(ToolDef(value_tool, request.output.schema, "Returns the answer."))
    entries = list(server)
    if declared:
        entries.append(b'{"functionDeclarations":[%b]}' % b",".join(declared.values()))
    config = list[bytes]()
    if mode := _mode(request, options, declared, value_tool):
        config.append(b'"functionCallingConfig":' + mode)
    if options.retrieval_config is not None:
        config.append(b'"retrievalConfig":' + to_bytes("retrieval_config", options.retrieval_config))
    shown = options.server_side_tool_invocations
    if shown is None and server and declared:
        if not capable.mixes_tools:
            raise BadValue(
                "server_tools",
                f"cannot be combined with functions for {model}; use Gemini 3 or later, or only one kind",
            )
        shown = not vertex or None
    if shown is not None:
        if vertex:
            raise BadValue("server_side_tool_invocations", "is not available on Vertex AI")
        config.append(b'"includeServerSideToolInvocations":' + encode(shown))
    tokens = sum(_estimate.json_tokens(entry) + _estimate.TOOL_TOKENS for entry in declared.values())
    return GeminiTools(
        tuple(entries),
        b"{%b}" % b",".join(config) if config else b"",
        reason,
        value_tool,
        tuple(_server_name(tool) for tool in options.server_tools or ()),
        bool(declared),
        tokens + (_estimate.TOOLS_TOKENS if declared else 0),
    )


def value_tool_of(output: OutputFormat | None, options: GeminiOptions) -> str | None:
    """Return the forced tool whose arguments are the structured value; None if that method is not used."""
    if output is None or options.structured != "tool":
        return None
    return output.name if _wire.TOOL_NAME.fullmatch(output.name) else "answer"


def _declared(request: TurnRequest) -> tuple[dict[str, bytes], str | None]:
    """Return the declarations by name, and why they differ from the tools of the first turn.

    The reason is None if they do not differ, or if the first turn had no tools.
    """
    declared = {tool.name: declaration(tool) for tool in request.tools.head}
    reason: str | None = None
    began = request.transcript.head.tools is not None
    for tool in request.tools.new:
        entry = declaration(tool)
        if tool.name in declared and declared[tool.name] != entry:
            reason = reason or f"tool {tool.name!r} was changed in the middle of the conversation"
        elif tool.name not in declared and began:
            reason = reason or f"tool {tool.name!r} was added in the middle of the conversation"
        declared[tool.name] = entry
    return declared, reason


def _mode(
    request: TurnRequest, options: GeminiOptions, declared: dict[str, bytes], value_tool: str | None
) -> bytes:
    """Return `functionCallingConfig`; empty if the API's default is right."""
    tools = request.tools
    if value_tool is not None:
        return _config("ANY", [value_tool])
    if not declared:
        if tools.choice in ("any", "tool"):
            raise BadValue("tool_choice", "the request has no tool to call")
        return b""
    offered = list(declared) if tools.available is None else [n for n in tools.available if n in declared]
    if tools.choice == "none" or not offered:
        return _config("NONE")
    if tools.choice == "tool":
        return _config("ANY", [tools.tool or ""])
    some = offered if len(offered) < len(declared) else []
    if tools.choice == "any":
        return _config("ANY", some)
    # AUTO accepts no names: "allowed_function_names" belongs to ANY and VALIDATED (google-genai, types).
    if some or options.validated:
        return _config("VALIDATED", some)
    return b""


def _config(mode: str, names: list[str] | tuple[()] = ()) -> bytes:
    found: dict[str, object] = {"mode": mode}
    if names:
        found["allowedFunctionNames"] = names
    return encode(found)


def _server_name(tool: object) -> str:
    members = to_bytes("server_tools", tool)
    return members.split(b'"')[1].decode() if b'"' in members else "?"
