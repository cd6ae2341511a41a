"""What stands behind the messages: settings and options to members of the body, betas and headers. PURE.

Everything a model is known to refuse is refused here, before anything is reserved, by the table in `_wire`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from lutum import BadValue
from lutum.abc import ToolPlan, TurnRequest
from lutum.dialect.headers import request_headers
from lutum.dialect.json import encode, to_bytes
from lutum.dialect.options import merge_extra_body
from lutum.dialect.schema import narrow
from lutum_claude import _models, _wire
from lutum_claude._options import ClaudeOptions

# The API has no default for max_tokens. 4,096 answers most questions; a model that thinks unasked
# thinks within the same limit.
DEFAULT_MAX_OUTPUT = 4_096
DEFAULT_MAX_OUTPUT_THINKING = 16_384


class _Typed(Struct):
    type: str = ""


class Context(Struct, frozen=True, kw_only=True):
    """What the members depend on: `tools` are sent, `value_tool` is forced, a `mismatch` was found."""

    request: TurnRequest
    model: str
    capable: _models.Model
    options: ClaudeOptions
    thinking: dict[str, Any]
    version: str
    default_max_output_tokens: int | None
    tools: bool
    value_tool: str | None

    @property
    def thinks(self) -> bool:
        """Thinking is on: asked for, or not said and on by itself."""
        kind = self.thinking.get("type")
        return kind in ("adaptive", "enabled") or (kind is None and self.capable.thinks)

    @property
    def may_think(self) -> bool:
        """Thinking is on, or nothing is known of the model: those at `/anthropic` endpoints think unasked."""
        unknown = self.capable is _models.UNKNOWN and self.thinking.get("type") is None
        return self.thinks or unknown


EFFORT_BUDGETS = {"low": 2_048, "medium": 8_192, "high": 16_384, "max": 32_000}
"""Thinking budgets for models without levels; the docs begin at 1,024 and advise batches above 32,000."""


def thinking(model: str, capable: _models.Model, options: ClaudeOptions) -> dict[str, Any]:
    """The `thinking` member; empty where nothing is said.

    Raises:
      BadValue: the model takes no such thing.
    """
    kind, budget = options.thinking_type()
    if kind is not None and capable.thinking is not None and kind not in capable.thinking:
        raise BadValue("thinking", f"{model} takes {' or '.join(sorted(capable.thinking))}, not {kind}")
    if kind == "disabled" and options.effort in ("xhigh", "max") and _models.family(model) == "claude-opus-5":
        raise BadValue("effort", f"{model} takes {options.effort} only with thinking")
    if kind is None and (options.display is not None or (options.prefix_mismatch and capable.binds)):
        if not capable.thinks and capable is not _models.UNKNOWN:
            raise BadValue("display", f"{model} does not think unless thinking is given")
        kind = "adaptive"
    if kind is None:
        return {}
    found: dict[str, Any] = {"type": kind}
    if budget is not None:
        found["budget_tokens"] = budget
    if options.display is not None:
        if kind not in ("adaptive", "enabled"):
            raise BadValue("display", f"there is nothing to show with thinking {kind!r}")
        found["display"] = options.display
    if options.prefix_mismatch is not None and kind in ("adaptive", "enabled"):
        behavior = "drop_block" if options.prefix_mismatch == "drop" else "error"
        found["block_binding"] = {"prefix_mismatch_behavior": behavior}
    return found


def members(context: Context) -> dict[str, bytes]:
    """The body's members behind `messages`, in order.

    Raises:
      BadValue: the model takes no such thing; names the field.
    """
    options, settings = context.options, context.request.settings
    found: dict[str, bytes] = {"max_tokens": encode(max_tokens(context)[0])}
    if context.thinking:
        found["thinking"] = encode(context.thinking)
    if output := _output_config(context):
        found["output_config"] = output
    _sampling(context, found)
    if settings.stop is not UNSET and settings.stop:
        if blank := next((one for one in settings.stop if not one.strip()), None):
            raise BadValue("stop", f"has {blank!r}; Claude takes no sequence of white space alone")
        found["stop_sequences"] = encode(settings.stop)
    if choice := _tool_choice(context):
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


def betas(context: Context, prefaces: Iterable[bytes]) -> tuple[str, ...]:
    """Values of `anthropic-beta`: yours, then what the request needs, each once.

    A model that binds thinking always gets the one that makes the API report what it dropped.
    """
    options = context.options
    found = list(options.betas or ())
    found += [beta for name, beta in _wire.OPTION_BETAS.items() if getattr(options, name) is not None]
    if options.display == "updates":
        found.append(_wire.BETA_DISPLAY_UPDATES)
    if context.capable.binds or "block_binding" in context.thinking:
        found.append(_wire.BETA_BINDING)
    for message in prefaces:
        found.append(_wire.BETA_ONE_TURN if b'"clear_at"' in message else _wire.BETA_INLINE_TOOLS)
    return tuple(dict.fromkeys(found))


def headers(
    version: str, betas: Iterable[str], options: ClaudeOptions, *, vertex: bool
) -> tuple[tuple[str, str], ...]:
    """The headers without secrets; Vertex takes the version in the body."""
    own = [] if vertex else [("anthropic-version", version)]
    if joined := ",".join(betas):
        own.append(("anthropic-beta", joined))
    return request_headers(options.extra_headers, own)


def unbounded(options: ClaudeOptions, server_tools: Iterable[bytes]) -> tuple[str, ...]:
    """Options whose tokens nobody can know before."""
    found = [f"server tool {msgspec.json.decode(tool, type=_Typed).type}" for tool in server_tools]
    if options.mcp_servers is not None:
        found.append("mcp_servers")
    if options.container is not None:
        found.append("container")
    extra = options.extra_body or {}
    edits = [v for v in (options.context_management, extra.get("context_management")) if v is not None]
    # A compaction reads the whole context once more and writes a summary; both are billed.
    if any(b'"compact' in to_bytes("context_management", value) for value in edits):
        found.append("context_management (compaction)")
    return tuple(found)


def with_effort(
    options: ClaudeOptions, level: str, model: str, capable: _models.Model, asked: int | UnsetType
) -> ClaudeOptions:
    """The options with the builder's effort in Claude's terms; `asked` is the turn's output bound.

    Raises:
      BadValue: the model cannot stop thinking, or cannot think.
    """
    types = capable.thinking
    if level == "none":
        if types is not None and "disabled" not in types:
            raise BadValue("effort", f"{model} always thinks; its least is 'low'")
        off = capable.thinks or types is None
        return msgspec.structs.replace(options, thinking="disabled" if off else None, effort=None)
    if types is None:
        return msgspec.structs.replace(options, effort=level)
    if "adaptive" in types:
        kind = options.thinking if capable.thinks else "adaptive"
        return msgspec.structs.replace(options, thinking=kind, effort=level)
    if "enabled" not in types:
        raise BadValue("effort", f"{model} does not think; leave .effort() out")
    budget = EFFORT_BUDGETS[level]
    if asked is not UNSET and budget >= asked:
        budget = max(_wire.MIN_BUDGET, asked // 2)
    return msgspec.structs.replace(options, thinking=budget, effort=None)


def max_tokens(context: Context) -> tuple[int, int | None]:
    """The output bound, and once more where nobody set it.

    Raises:
      BadValue: more than the model writes, or not more than its thinking budget.
    """
    asked, cap = context.request.settings.max_output_tokens, context.capable.max_output
    _, budget = context.options.thinking_type()
    if asked is not UNSET:
        if cap is not None and asked > cap:
            raise BadValue("max_output_tokens", f"{asked} is more than the {cap} of {context.model}")
        if budget is not None and budget >= asked:
            raise BadValue("thinking.budget_tokens", f"{budget} is not below max_output_tokens, {asked}")
        return asked, None
    implicit = context.default_max_output_tokens is None
    default = context.default_max_output_tokens or (
        DEFAULT_MAX_OUTPUT_THINKING if context.may_think and budget is None else DEFAULT_MAX_OUTPUT
    )
    bound = default if budget is None else max(default, budget + _wire.MIN_BUDGET)
    return bound, bound if implicit else None


def _output_config(context: Context) -> bytes:
    options, output = context.options, context.request.output
    found = list[bytes]()
    if options.effort is not None:
        found.append(b'"effort":' + encode(options.effort))
    if output is not None and options.structured != "tool":
        schema, _ = narrow(output.schema, _wire.SCHEMAS)
        found.append(b'"format":{"type":"json_schema","schema":%b}' % schema.encode())
    if options.task_budget is not None:
        found.append(b'"task_budget":' + to_bytes("task_budget", options.task_budget))
    return b"{%b}" % b",".join(found) if found else b""


def _sampling(context: Context, found: dict[str, bytes]) -> None:
    settings, model = context.request.settings, context.model
    temperature = _number(settings.temperature)
    top_p, top_k = _number(settings.top_p), context.options.top_k
    if settings.seed is not UNSET:
        raise BadValue("seed", "the Messages API has none")
    if temperature is not None and temperature > 1:
        raise BadValue("temperature", f"{temperature} is not between 0 and 1, Claude's range")
    given = {"temperature": temperature, "top_p": top_p, "top_k": top_k}
    if not context.capable.sampling or context.version >= _wire.NO_SAMPLING_VERSION:
        who = model if not context.capable.sampling else f"anthropic-version {context.version}"
        for name, value in given.items():
            if value is not None and value != 1:  # 1 is the default of the first two
                raise BadValue(name, f"{who} takes no sampling parameters")
        return
    if context.capable is not _models.UNKNOWN and context.thinks:
        for name, value in given.items():
            if value is not None and not (name == "top_p" and value >= 0.95) and value != 1:
                raise BadValue(name, f"{model} does not take {value} with thinking")
    if temperature is not None and top_p is not None and _models.family(model) in _models.ONE_OF_TWO:
        raise BadValue("top_p", f"{model} takes temperature or top_p, not both")
    found.update({name: encode(value) for name, value in given.items() if value is not None})


def _tool_choice(context: Context) -> dict[str, Any]:
    plan, parallel = context.request.tools, context.options.parallel_tool_calls
    forced = plan.choice in ("any", "tool") or context.value_tool is not None
    if forced and (context.capable.forced == "no" or _with_budget(context)):
        why = "with a thinking budget" if context.capable.forced != "no" else "at all"
        raise BadValue("tool_choice", f"{context.model} cannot be made to call a tool {why}")
    if forced and not context.tools:
        raise BadValue("tool_choice", "there is no tool to call")
    if not context.tools:
        return {}
    if context.value_tool is not None:
        found: dict[str, Any] = {"type": "tool", "name": context.value_tool}
    elif plan.choice == "none":
        # Server tools are not the plan's: without any of yours the model may use them.
        return {"type": "none"} if plan.head or plan.new or not context.options.server_tools else {}
    elif plan.choice == "tool":
        found = {"type": "tool", "name": plan.tool}
    elif plan.choice == "any" and (only := _only(plan, options=context.options)) is not None:
        found = {"type": "tool", "name": only}
    elif plan.choice == "any" or parallel is not None:
        found = {"type": plan.choice}
    else:
        return {}
    return found if parallel is None else {**found, "disable_parallel_tool_use": not parallel}


def _only(plan: ToolPlan, options: ClaudeOptions) -> str | None:
    """The one tool that may be called, server tools included."""
    names = plan.available
    if names is None:
        names = tuple({tool.name: None for tool in (*plan.head, *plan.new)})
    return names[0] if len(names) == 1 and not options.server_tools else None


def _with_budget(context: Context) -> bool:
    return context.capable.forced == "without_budget" and context.thinking.get("type") == "enabled"


def _container(value: object) -> bytes:
    if isinstance(value, str) and not value.lstrip().startswith(("{", '"')):
        return encode(value)  # an id, not JSON
    return to_bytes("container", value)


def _number(value: float | UnsetType) -> float | None:
    return None if value is UNSET else value
