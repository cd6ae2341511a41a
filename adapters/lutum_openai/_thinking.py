"""Reasoning of models: which models reason by default, their output bound, and the levels of effort. No I/O.

Reasoning tokens count towards the output bound. If a model reasons by default and the bound is small, the
answer is empty and is billed in full. Therefore only models that are known not to reason get the small bound.
"""

from __future__ import annotations

import re
from typing import Any

from msgspec import UNSET

from lutum import BadValue, Settings
from lutum_openai._profiles import Effort

DEFAULT_OUTPUT = 4_096
"""The default output bound in tokens for models that do not reason. No model that is still sold has a smaller
maximum. The smallest maximum is that of gpt-4o's first version and of gpt-3.5-turbo."""

DEFAULT_REASONING_OUTPUT = 16_384
"""The default output bound in tokens for all other models. Moonshot's guide requires at least 16,000;
OpenAI's guides/reasoning recommends leaving room for reasoning."""

# Models that do not reason by default. Sources: the model pages of each vendor. All other models may reason:
# DeepSeek V4, GLM 4.5 and later, Kimi K2.x, Qwen 3, MiniMax M2, Grok 4, Gemini 2.5 and later, gpt-oss, o1 and
# later, GPT-5 (DeepSeek-V3#1610, chat-ui#2482, mistral-vibe#1118).
_PLAIN = re.compile(
    r"""
    ^(
      gpt-(3|4)(?!\d)  | chatgpt-4o | gpt-5[\w.]*-chat
    | text-davinci | davinci | babbage
    | (meta-)?(code)?llama-?[234](?!\d) | tinyllama | smollm
    | (open-)?(mistral|mixtral|ministral|codestral|devstral|pixtral)
    | gemma-?[123](?!\d) | gemini-(1|2\.0)
    | deepseek-(chat|coder|v2|v3)(?![.\d])
    | qwen-?(1|2)(\.\d)? | qwen-(plus|turbo|max|long) | qwen-?3-(coder|max)(?!.*think)
    | kimi-k2-(instruct|0711|0905) | moonshot-v1
    | glm-?4(?![.\d]) | chatglm
    | grok-(2|3)(?!-mini)
    | command | c4ai | aya | phi-?[1-4](?!.*reason) | yi- | falcon | granite-?[123] | jamba | nova-
    | sonar(?!-reason) | titan | dbrx | solar | olmo-?[12]
    )
    | claude-(instant|2|3|(opus|sonnet|haiku)-4)(?!\d) | non-reasoning | non-thinking
    | [-_]instruct(?!.*think)
    """,
    re.IGNORECASE | re.VERBOSE,
)

_OPENAI_REASONS = re.compile(r"(^|/|\.)(o[1-9]|gpt-[5-9])(?!.*chat)", re.IGNORECASE)

# Members of extra_body that turn reasoning on, at OpenRouter, DeepSeek, Z.ai and Moonshot.
_ASKING = ("reasoning", "thinking", "enable_thinking", "reasoning_effort")


def may_reason(model: str) -> bool:
    """Return whether a model may reason by default. True for unknown models."""
    parts = re.split(r"[/:@]|(?<=[a-z])\.(?=[a-z])", model)  # owner/model:tag, vendor.model
    return not any(_PLAIN.search(part) for part in parts if part)


def hides_reasoning(model: str) -> bool:
    """Return whether a model is one of OpenAI's reasoning models, whose reasoning is hidden."""
    return _OPENAI_REASONS.search(model) is not None


def is_off(effort: str | None, extra_body: dict[str, Any] | None) -> bool:
    """Return whether a request turns reasoning off, by its effort or by a host's own member."""
    body = extra_body or {}
    thinking = body.get("thinking")
    if isinstance(thinking, dict) and thinking.get("type") == "disabled":  # pyright: ignore[reportUnknownMemberType]  # JSON
        return True
    return effort == "none" or body.get("enable_thinking") is False or body.get("reasoning_effort") == "none"


def default_bound(model: str, effort: str | None, extra_body: dict[str, Any] | None) -> int:
    """Return the output bound of a request for which the caller set none."""
    if is_off(effort, extra_body):
        return DEFAULT_OUTPUT
    asked = effort is not None or any(name in (extra_body or {}) for name in _ASKING)
    return DEFAULT_REASONING_OUTPUT if asked or may_reason(model) else DEFAULT_OUTPUT


# --- effort --------------------------------------------------------------------------------------

_NEVER = re.compile(
    r"(^|/|\.)(gpt-[34]|chatgpt|gpt-5.*chat)", re.IGNORECASE
)  # OpenAI's models that never reason, according to the model pages
_NO_NONE = re.compile(r"(^|/)(o[1-9]|gpt-5(-mini|-nano|-pro|-codex)?(-\d{4}.*)?$)", re.IGNORECASE)
_XHIGH = re.compile(r"(^|/)gpt-(5\.[2-9]|5\.1-codex-max|[6-9])", re.IGNORECASE)


def portable_effort(settings: Settings) -> str | None:
    """Return the effort that was set on the turn's builder; None if it was not set."""
    return None if settings.effort is UNSET else settings.effort


def openai_effort(level: str, model: str) -> str | None:
    """Return OpenAI's level for a portable level; None if nothing needs to be sent.

    Raises:
      BadValue: the model does not reason, or its reasoning cannot be turned off.
    """
    if _NEVER.search(model):
        if level == "none":
            return None
        raise BadValue("effort", f"{model} does not reason; leave .effort() out")
    if level == "none" and _NO_NONE.search(model):
        raise BadValue("effort", f"{model} always reasons; its lowest effort is 'low'")
    if level == "max":
        return "xhigh" if _XHIGH.search(model) else "high"
    return level


def effort_members(level: str, style: Effort, model: str, host: str) -> dict[str, Any]:
    """Return the members of a Chat request that set a portable effort.

    Raises:
      BadValue: the host has no setting for effort, or does not have this level.
    """
    match style:
        case "reasoning_effort":
            sent = openai_effort(level, model)
            return {} if sent is None else {"reasoning_effort": sent}
        case "openrouter":
            return {"reasoning": {"effort": "xhigh" if level == "max" else level}}
        case "thinking" | "enable_thinking":
            if level not in ("none", "high", "max"):
                raise BadValue(
                    "effort",
                    f"{host} has no levels: use 'none' to turn reasoning off, or 'high' to turn it on",
                )
            on = level != "none"
            if style == "thinking":
                return {"thinking": {"type": "enabled" if on else "disabled"}}
            return {"enable_thinking": on}
        case "none":
            raise BadValue("effort", f"{host} has no setting for it; leave .effort() out")
