"""`ClaudeOptions`: options that only the Messages API has. `ClaudeHooks` choose them for each turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

from msgspec import Struct

from lutum import BadValue
from lutum.dialect.headers import check_extra_headers, is_value
from lutum.dialect.json import JsonValue, to_bytes
from lutum.dialect.options import ProviderOptions, SettingsHooks, check_extra_body
from lutum_claude import _wire

Display = Literal["summarized", "omitted", "updates"]

# lutum writes these members of a request itself. A transcript's first committed turn fixes `system` and
# `tools`.
_OURS = {
    "model": "use .model()",
    "messages": "use the transcript, or Raw items",
    "system": "push system items",
    "tools": "use .tools(), or server_tools=",
    "stream": "lutum always streams",
    "max_tokens": "use .max_output_tokens(), so that the reservation knows it",
}
_SECRET_HEADERS = frozenset({"x-api-key", "authorization"})


class Thinking(Struct, frozen=True):
    """The API's `thinking` object. `budget_tokens` is required for type `enabled`, and only allowed there."""

    type: Literal["adaptive", "enabled", "disabled", "between_tools"]
    budget_tokens: int | None = None


class ClaudeOptions(ProviderOptions, frozen=True, kw_only=True):
    """Options of one turn (`.ext(ClaudeOptions(...))`) or of an adapter (`options=`). None means "not set".

    The fields of a turn's options override those of the adapter's. If a known model refuses an option,
    `BadValue` is raised before anything is sent, and names the field. For an unknown model, your options are
    sent without a check.

    Attributes:
      thinking: a type of thinking, or a number of tokens: type `enabled` with that budget.
      display: how much of the thinking is shown.
      effort: `output_config.effort`.
      betas: values for `anthropic-beta`, placed before the values that lutum adds.
      cache: lifetime of the automatic prompt-cache breakpoints, or `off`. Default: `5m`.
      prefix_mismatch: how to handle thinking that is bound to a prefix that has changed since. Default: the
        thinking is left out of the request, and `preview()` shows the reason. `drop`: the thinking is sent,
        and the API drops it and reports that. `error`: the thinking is sent, and the API refuses the request.
        `error` also turns the check on for accounts that do not have it. Only for models that check.
      user_id: `metadata.user_id`.
      server_tools: tools that the provider runs, placed before your tools. Pass the same ones in every turn
        of a transcript.
      structured: how structured values are requested: by `format` (the default), or by a forced `tool`.
    """

    thinking: Literal["adaptive", "disabled", "between_tools"] | int | Thinking | None = None
    display: Display | None = None
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    betas: tuple[str, ...] | None = None
    cache: Literal["5m", "1h", "off"] | None = None
    prefix_mismatch: Literal["error", "drop"] | None = None
    user_id: str | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    container: JsonValue | None = None
    context_management: JsonValue | None = None
    mcp_servers: JsonValue | None = None
    server_tools: tuple[JsonValue, ...] | None = None
    fallbacks: JsonValue | None = None
    task_budget: JsonValue | None = None
    inference_geo: str | None = None
    top_k: int | None = None
    parallel_tool_calls: bool | None = None
    structured: Literal["format", "tool"] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.thinking, int):
            _check_budget(self.thinking)
        elif isinstance(self.thinking, Thinking):
            if (self.thinking.type == "enabled") != (self.thinking.budget_tokens is not None):
                raise BadValue(
                    "thinking.budget_tokens", "must be given with type 'enabled', and only with it"
                )
            if self.thinking.budget_tokens is not None:
                _check_budget(self.thinking.budget_tokens)
        if self.top_k is not None and self.top_k < 1:
            raise BadValue("top_k", f"{self.top_k} is below 1")
        for name in ("context_management", "mcp_servers", "fallbacks", "task_budget"):
            if (value := getattr(self, name)) is not None:
                to_bytes(name, value)
        for i, tool in enumerate(self.server_tools or ()):
            if not to_bytes(f"server_tools[{i}]", tool).startswith(b"{"):
                raise BadValue(f"server_tools[{i}]", "is not a JSON object")
        check_extra_body(self.extra_body, _OURS)
        check_extra_headers(self.extra_headers, secret=_SECRET_HEADERS, instead="api_key= or auth_token=")
        _check_betas(self.betas)

    def __repr__(self) -> str:
        given = self.given()
        if "mcp_servers" in given:
            given["mcp_servers"] = ...  # holds authorization tokens
        return f"ClaudeOptions({', '.join(f'{name}={value!r}' for name, value in given.items())})"

    def thinking_type(self) -> tuple[str | None, int | None]:
        """Return the requested type of thinking, and its budget in tokens."""
        match self.thinking:
            case Thinking(type=type, budget_tokens=budget):
                return type, budget
            case int(budget):
                return "enabled", budget
            case type:
                return type, None


def _check_betas(betas: object) -> None:
    if betas is None:
        return
    if not isinstance(betas, tuple | list):
        raise BadValue("betas", f"must be a tuple of names, not {type(betas).__name__}")
    for i, beta in enumerate(cast("Sequence[object]", betas)):
        if not isinstance(beta, str) or not beta or not is_value(beta):
            raise BadValue(f"betas[{i}]", f"{beta!r} is not the name of a beta")


def _check_budget(tokens: int) -> None:
    if tokens < _wire.MIN_BUDGET:
        raise BadValue("thinking.budget_tokens", f"{tokens} is below {_wire.MIN_BUDGET}")


class ClaudeHooks(SettingsHooks[ClaudeOptions]):
    """Hooks of `ClaudeAdapter(hooks=)`. They choose a turn's model and options."""
