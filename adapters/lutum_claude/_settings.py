"""The settings of one request, worked out from its settings and options before anything is encoded. No I/O.

A thinking setting that a known model refuses (see the table in `_models`) raises an error here.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET, Struct, UnsetType

from lutum import BadValue
from lutum.abc import TurnRequest
from lutum.dialect.json import to_bytes
from lutum.dialect.options import options_of
from lutum_claude import _models, _wire
from lutum_claude._hosts import ClaudeHost, host_of
from lutum_claude._options import ClaudeOptions


class ClaudeConfig(Struct, frozen=True):
    """The adapter's part of each request: the endpoint, and defaults for settings that the turn leaves out.

    Attributes:
      url: the URL of requests. It may contain `{model}`, which is replaced by the model.
      vertex: requests are sent to Vertex AI.
      secret_headers: names of the headers that are added when a request is sent.
    """

    scope: str
    url: str
    model: str
    version: str = _wire.VERSION
    vertex: bool = False
    options: ClaudeOptions = ClaudeOptions()
    default_max_output_tokens: int | None = None
    secret_headers: tuple[str, ...] = ()


class ClaudeSettings(Struct, frozen=True, kw_only=True):
    """The settings of one request.

    Attributes:
      capable: the capabilities of the model.
      thinking: the body's member `thinking`; empty if it is not sent.
      server_tools: entries of the member `tools` that the provider runs.
      thinks: whether thinking is on, because the request asks for it or because the model thinks by default.
      may_think: whether thinking is on or may be on. It may be on if the model is unknown and the request has
        no `thinking`: models of other vendors often think by default at URLs that end in `/anthropic`.
      by_tool: whether a structured value is requested by a forced tool.
      host: the host's row in the table of `_hosts`.
    """

    config: ClaudeConfig
    request: TurnRequest
    model: str
    capable: _models.Model
    options: ClaudeOptions
    thinking: dict[str, Any]
    server_tools: tuple[bytes, ...]
    thinks: bool
    may_think: bool
    by_tool: bool
    host: ClaudeHost


EFFORT_BUDGETS = {"low": 2_048, "medium": 8_192, "high": 16_384, "max": 32_000}
"""Thinking budgets in tokens for models without effort levels. Anthropic's documentation gives 1,024 as the
smallest budget, and advises batches for budgets above 32,000."""


def settings_of(request: TurnRequest, config: ClaudeConfig) -> ClaudeSettings:
    """Return the settings of a request.

    Raises:
      BadValue: a known model does not accept a setting; the error names the field.
    """
    settings = request.settings
    model = config.model if settings.model is UNSET else settings.model
    capable = _models.capabilities(model)
    options = options_of(request, config.options)
    if settings.effort is not UNSET:
        given = settings.option(ClaudeOptions)
        if given is None or (given.effort is None and given.thinking is None):
            options = with_effort(options, settings.effort, model, capable, settings.max_output_tokens)
    server_tools = tuple(to_bytes(f"server_tools[{i}]", t) for i, t in enumerate(options.server_tools or ()))
    asked = thinking(model, capable, options)
    kind = asked.get("type")
    thinks = kind in ("adaptive", "enabled") or (kind is None and capable.thinks)
    return ClaudeSettings(
        config=config,
        request=request,
        model=model,
        capable=capable,
        options=options,
        thinking=asked,
        server_tools=server_tools,
        thinks=thinks,
        may_think=thinks or (capable is _models.UNKNOWN and kind is None),
        by_tool=request.output is not None and options.structured == "tool",
        host=_host(config.url),
    )


@lru_cache(maxsize=256)
def _host(url: str) -> ClaudeHost:
    return host_of(urlsplit(url).hostname or "")


def thinking(model: str, capable: _models.Model, options: ClaudeOptions) -> dict[str, Any]:
    """Return the body's member `thinking`; empty if it is not sent.

    Raises:
      BadValue: the model does not accept the setting.
    """
    kind, budget = options.thinking_type()
    if kind is not None and capable.thinking is not None and kind not in capable.thinking:
        raise BadValue("thinking", f"{model} takes {' or '.join(sorted(capable.thinking))}, not {kind}")
    if kind == "disabled" and options.effort in ("xhigh", "max") and _models.family(model) == "claude-opus-5":
        raise BadValue("effort", f"{model} takes {options.effort} only with thinking")
    if kind is None and (options.display is not None or (options.prefix_mismatch and capable.binds)):
        if not capable.thinks and capable is not _models.UNKNOWN:
            raise BadValue("display", f"{model} thinks only if thinking is given")
        kind = "adaptive"
    if kind is None:
        return {}
    found: dict[str, Any] = {"type": kind}
    if budget is not None:
        found["budget_tokens"] = budget
    if options.display is not None:
        if kind not in ("adaptive", "enabled"):
            raise BadValue("display", f"thinking {kind!r} has nothing to show")
        found["display"] = options.display
    if options.prefix_mismatch is not None and kind in ("adaptive", "enabled"):
        behavior = "drop_block" if options.prefix_mismatch == "drop" else "error"
        found["block_binding"] = {"prefix_mismatch_behavior": behavior}
    return found


def with_effort(
    options: ClaudeOptions, level: str, model: str, capable: _models.Model, asked: int | UnsetType
) -> ClaudeOptions:
    """Return the options with the level of `.effort()` written as Claude's own `thinking` and `effort`.

    Args:
      asked: the output limit in tokens. If the thinking budget of the level is not below the limit, the
        budget becomes half the limit, but at least the API's smallest budget.

    Raises:
      BadValue: the level is `none` and the model always thinks, or it is another level and the model cannot
        think.
    """
    types = capable.thinking
    if level == "none":
        if types is not None and "disabled" not in types:
            raise BadValue("effort", f"{model} always thinks; its lowest effort is 'low'")
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
