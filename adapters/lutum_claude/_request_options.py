"""The rest of a request: members of the body after the messages, betas and headers. No I/O.

A setting that a known model refuses (see the table in `_models`) raises an error here, before anything is
reserved.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from lutum import BadValue
from lutum.abc import ToolPlan
from lutum.dialect.headers import request_headers
from lutum.dialect.json import encode, to_bytes
from lutum.dialect.options import merge_extra_body
from lutum.dialect.schema import narrow
from lutum_claude import _models, _wire
from lutum_claude._options import ClaudeOptions
from lutum_claude._settings import ClaudeSettings

# The API has no default for max_tokens. 4,096 is enough for most answers. A model that thinks by default
# needs more, because its thinking counts toward the same limit.
DEFAULT_MAX_OUTPUT = 4_096
DEFAULT_MAX_OUTPUT_THINKING = 16_384


class _Typed(Struct):
    type: str = ""


class Beside(Struct, frozen=True):
    """The parts of a request besides its messages.

    Attributes:
      members: members of the body after `messages`, in order.
      headers: the headers without secrets.
      implicit_bound: the output limit that is sent although the user set none.
      unbounded: options whose tokens cannot be known in advance.
      dropped: schema constraints that the API does not accept.
    """

    members: dict[str, bytes]
    headers: tuple[tuple[str, str], ...]
    implicit_bound: int | None
    unbounded: tuple[str, ...]
    dropped: tuple[str, ...]


def beside(spec: ClaudeSettings, prefaces: Sequence[bytes], *, tools: bool, value_tool: str | None) -> Beside:
    """Encode everything of a request except its head and its messages.

    Args:
      prefaces: the system messages before turns.
      tools: the request has tools.
      value_tool: the forced tool whose input is the structured value.

    Raises:
      BadValue: the model does not accept a setting; the error names the field.
    """
    dropped: tuple[str, ...] = ()
    if spec.request.output is not None and value_tool is None:
        _, dropped = narrow(spec.request.output.schema, _wire.SCHEMAS)
    found = members(spec, tools=tools, value_tool=value_tool)
    bound = max_tokens(spec)[1]
    return Beside(found, headers(spec, prefaces), bound, unbounded(spec), dropped)


def members(spec: ClaudeSettings, *, tools: bool, value_tool: str | None) -> dict[str, bytes]:
    """Return the body's members after `messages`, in order.

    Raises:
      BadValue: the model does not accept a setting; the error names the field.
    """
    options, settings = spec.options, spec.request.settings
    found: dict[str, bytes] = {"max_tokens": encode(max_tokens(spec)[0])}
    if spec.thinking:
        found["thinking"] = encode(spec.thinking)
    if output := _output_config(spec):
        found["output_config"] = output
    _sampling(spec, found)
    if settings.stop is not UNSET and settings.stop:
        if blank := next((one for one in settings.stop if not one.strip()), None):
            raise BadValue(
                "stop", f"contains {blank!r}; Claude does not accept a sequence of white space only"
            )
        found["stop_sequences"] = encode(settings.stop)
    if choice := _tool_choice(spec, tools=tools, value_tool=value_tool):
        found["tool_choice"] = encode(choice)
    if options.user_id is not None:
        found["metadata"] = encode({"user_id": options.user_id})
    if options.service_tier is not None:
        found["service_tier"] = encode(options.service_tier)
    if options.container is not None:
        found["container"] = _container(options.container)
    for name in ("context_management", "mcp_servers", "fallbacks"):
        if (value := getattr(options, name)) is not None:
            found[name] = to_bytes(name, value)
    if options.inference_geo is not None:
        found["inference_geo"] = encode(options.inference_geo)
    merge_extra_body(found, options.extra_body)
    return found


def betas(spec: ClaudeSettings, prefaces: Iterable[bytes]) -> tuple[str, ...]:
    """Return the values of `anthropic-beta`: the user's, then those that the request needs. Each occurs once.

    For a model that binds thinking, they always include the beta that makes the API report dropped thinking.
    """
    options = spec.options
    found = list(options.betas or ())
    found += [beta for name, beta in _wire.OPTION_BETAS.items() if getattr(options, name) is not None]
    if options.display == "updates":
        found.append(_wire.BETA_DISPLAY_UPDATES)
    if spec.capable.binds or "block_binding" in spec.thinking:
        found.append(_wire.BETA_BINDING)
    for message in prefaces:
        found.append(_wire.BETA_ONE_TURN if b'"clear_at"' in message else _wire.BETA_INLINE_TOOLS)
    return tuple(dict.fromkeys(found))


def headers(spec: ClaudeSettings, prefaces: Iterable[bytes]) -> tuple[tuple[str, str], ...]:
    """Return the headers without secrets. For Vertex AI the version is in the body instead."""
    own = [] if spec.config.vertex else [("anthropic-version", spec.config.version)]
    if joined := ",".join(betas(spec, prefaces)):
        own.append(("anthropic-beta", joined))
    return request_headers(spec.options.extra_headers, own)


def unbounded(spec: ClaudeSettings) -> tuple[str, ...]:
    """Return the options whose tokens cannot be known in advance."""
    options = spec.options
    found = [f"server tool {msgspec.json.decode(tool, type=_Typed).type}" for tool in spec.server_tools]
    if options.mcp_servers is not None:
        found.append("mcp_servers")
    if options.container is not None:
        found.append("container")
    extra = (options.extra_body or {}).get("context_management")
    edits = [edit for edit in (options.context_management, extra) if edit is not None]
    # A compaction reads the whole context once more and writes a summary; both are billed.
    if any(b'"compact' in to_bytes("context_management", value) for value in edits):
        found.append("context_management (compaction)")
    return tuple(found)


def max_tokens(spec: ClaudeSettings) -> tuple[int, int | None]:
    """Return `max_tokens`, and the implicit bound.

    The implicit bound is the same number if neither the turn nor the adapter set a limit, else None.

    Raises:
      BadValue: the limit is above the model's largest, or not above the thinking budget.
    """
    asked, cap = spec.request.settings.max_output_tokens, spec.capable.max_output
    _, budget = spec.options.thinking_type()
    if asked is not UNSET:
        if cap is not None and asked > cap:
            raise BadValue("max_output_tokens", f"{asked} is more than {cap}, the limit of {spec.model}")
        if budget is not None and budget >= asked:
            raise BadValue(
                "thinking.budget_tokens", f"{budget} is not below max_output_tokens, which is {asked}"
            )
        return asked, None
    implicit = spec.config.default_max_output_tokens is None
    default = spec.config.default_max_output_tokens or (
        DEFAULT_MAX_OUTPUT_THINKING if spec.may_think and budget is None else DEFAULT_MAX_OUTPUT
    )
    bound = default if budget is None else max(default, budget + _wire.MIN_BUDGET)
    return bound, bound if implicit else None


def _output_config(spec: ClaudeSettings) -> bytes:
    options, output = spec.options, spec.request.output
    found = list[bytes]()
    if options.effort is not None:
        found.append(b'"effort":' + encode(options.effort))
    if output is not None and options.structured != "tool":
        schema, _ = narrow(output.schema, _wire.SCHEMAS)
        found.append(b'"format":{"type":"json_schema","schema":%b}' % schema.encode())
    if options.task_budget is not None:
        found.append(b'"task_budget":' + to_bytes("task_budget", options.task_budget))
    return b"{%b}" % b",".join(found) if found else b""


def _sampling(spec: ClaudeSettings, found: dict[str, bytes]) -> None:
    settings, model = spec.request.settings, spec.model
    temperature = _number(settings.temperature)
    top_p, top_k = _number(settings.top_p), spec.options.top_k
    if settings.seed is not UNSET:
        raise BadValue("seed", "the Messages API has no seed; leave .seed() out")
    if temperature is not None and temperature > 1:
        raise BadValue("temperature", f"{temperature} is not between 0 and 1, Claude's range")
    given = {"temperature": temperature, "top_p": top_p, "top_k": top_k}
    if not spec.capable.sampling or spec.config.version >= _wire.NO_SAMPLING_VERSION:
        who = model if not spec.capable.sampling else f"anthropic-version {spec.config.version}"
        for name, value in given.items():
            if value is not None and value != 1:  # 1 is the default of the first two
                raise BadValue(name, f"{who} does not accept sampling parameters")
        return
    if spec.capable is not _models.UNKNOWN and spec.thinks:
        for name, value in given.items():
            if value is not None and not (name == "top_p" and value >= 0.95) and value != 1:
                raise BadValue(name, f"{model} does not take {value} with thinking")
    if temperature is not None and top_p is not None and _models.family(model) in _models.ONE_OF_TWO:
        raise BadValue("top_p", f"{model} takes temperature or top_p, not both")
    found.update({name: encode(value) for name, value in given.items() if value is not None})


def _tool_choice(spec: ClaudeSettings, *, tools: bool, value_tool: str | None) -> dict[str, Any]:
    plan, parallel = spec.request.tools, spec.options.parallel_tool_calls
    forced = plan.choice in ("any", "tool") or value_tool is not None
    if forced and (spec.capable.forced == "no" or _with_budget(spec)):
        why = "with a thinking budget" if spec.capable.forced != "no" else "at all"
        raise BadValue("tool_choice", f"{spec.model} cannot be made to call a tool {why}")
    if forced and not tools:
        raise BadValue("tool_choice", "the request has no tool to call")
    if not tools:
        return {}
    if value_tool is not None:
        found: dict[str, Any] = {"type": "tool", "name": value_tool}
    elif plan.choice == "none":
        # `.tools()` does not include server tools. If the user has no tools, the model may call server tools.
        return {"type": "none"} if plan.head or plan.new or not spec.options.server_tools else {}
    elif plan.choice == "tool":
        found = {"type": "tool", "name": plan.tool}
    elif plan.choice == "any" and (only := _only(plan, options=spec.options)) is not None:
        found = {"type": "tool", "name": only}
    elif plan.choice == "any" or parallel is not None:
        found = {"type": plan.choice}
    else:
        return {}
    return found if parallel is None else {**found, "disable_parallel_tool_use": not parallel}


def _only(plan: ToolPlan, options: ClaudeOptions) -> str | None:
    """Return the name of the tool if exactly one tool may be called, and no server tools exist; else None."""
    names = plan.available
    if names is None:
        names = tuple({tool.name: None for tool in (*plan.head, *plan.new)})
    return names[0] if len(names) == 1 and not options.server_tools else None


def _with_budget(spec: ClaudeSettings) -> bool:
    return spec.capable.forced == "without_budget" and spec.thinking.get("type") == "enabled"


def _container(value: object) -> bytes:
    if isinstance(value, str) and not value.lstrip().startswith(("{", '"')):
        return encode(value)  # an id, not JSON
    return to_bytes("container", value)


def _number(value: float | UnsetType) -> float | None:
    return None if value is UNSET else value
