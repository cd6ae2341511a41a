"""`generationConfig` and the other members after the contents.

Except for the output limit, only settings of the caller are sent, because the newest models refuse old
defaults. A setting that a known model refuses raises an error here, before anything is reserved.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import UNSET, Struct

from lutum import BadValue
from lutum.abc import TurnRequest
from lutum.dialect.json import encode, to_bytes
from lutum.dialect.schema import narrow
from lutum_gemini._options import GeminiOptions
from lutum_gemini.generate import _models, _wire
from lutum_gemini.generate._tools import GeminiTools

DEFAULT_MAX_OUTPUT: Final = 4_096
DEFAULT_MAX_OUTPUT_THINKING: Final = 16_384
"""Thoughts count inside the limit. They can use up a low limit; the answer is then empty, but billed."""

_BUDGETS: Final = {"none": 0, "low": 1_024, "medium": 8_192, "high": 24_576, "max": 32_768}
"""Thinking budgets in tokens for each effort (gemini-api/docs/openai, `reasoning_effort`)."""
_LEVELS_OF_UNKNOWN: Final = {
    "none": "minimal",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "max": "high",
}


class Generation(Struct, frozen=True):
    """The inputs that determine the members after the contents."""

    request: TurnRequest
    model: str
    options: GeminiOptions
    tools: GeminiTools
    default_max_output_tokens: int | None
    vertex: bool

    @property
    def capable(self) -> _models.GeminiModel:
        """The capabilities of the model."""
        return _models.capabilities(self.model)

    @property
    def thinks(self) -> bool:
        """True if the model thinks in this request, as far as that is known."""
        level, budget = thinking_of(self)
        if budget is not None:
            return budget != 0
        return level is not None or self.capable.thinks


def generation_config(spec: Generation) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Return the members of `generationConfig`, in order, and the constraints dropped from the schema.

    Raises:
      BadValue: the model does not accept a setting; the error names the field.
    """
    settings, options = spec.request.settings, spec.options
    found = dict[str, bytes]()
    if spec.request.limited or implicit_bound(spec) is None:
        found["maxOutputTokens"] = encode(max_output_tokens(spec))
    if settings.temperature is not UNSET:
        if not 0 <= settings.temperature <= 2:
            raise BadValue("temperature", f"{settings.temperature} is not between 0 and 2, Gemini's range")
        found["temperature"] = encode(settings.temperature)
    if settings.top_p is not UNSET:
        found["topP"] = encode(settings.top_p)
    if options.top_k is not None:
        found["topK"] = encode(options.top_k)
    if settings.stop is not UNSET and settings.stop:
        if len(settings.stop) > 5:
            raise BadValue("stop", f"{len(settings.stop)} sequences are more than the 5 that Gemini accepts")
        found["stopSequences"] = encode(settings.stop)
    if settings.seed is not UNSET:
        found["seed"] = encode(settings.seed)
    for field, name in (("presence_penalty", "presencePenalty"), ("frequency_penalty", "frequencyPenalty")):
        if (value := getattr(options, field)) is not None:
            if not spec.capable.penalties:
                raise BadValue(field, f"{spec.model} does not accept penalties")
            found[name] = encode(value)
    if thinking := _thinking(spec):
        found["thinkingConfig"] = encode(thinking)
    dropped = _structured(spec, found)
    if options.response_modalities is not None:
        found["responseModalities"] = encode(options.response_modalities)
    if options.media_resolution is not None:
        found["mediaResolution"] = encode(options.media_resolution)
    if options.logprobs is not None:
        found["responseLogprobs"] = b"true"
        found["logprobs"] = encode(options.logprobs)
    for name, value in (options.generation_config or {}).items():
        found[name] = to_bytes(f"generation_config.{name}", value)
    return found, dropped


def others(spec: Generation) -> dict[str, bytes]:
    """Return the members of the body beside contents, tools and `generationConfig`, in order.

    Raises:
      BadValue: the endpoint does not accept an option; the error names the field.
    """
    options = spec.options
    found = dict[str, bytes]()
    settings = options.safety_settings
    if isinstance(settings, Mapping):
        entries = [{"category": name, "threshold": value} for name, value in settings.items()]
        found["safetySettings"] = encode(entries)
    elif settings is not None:
        listed = [to_bytes(f"safety_settings[{i}]", one) for i, one in enumerate(settings)]
        found["safetySettings"] = b"[" + b",".join(listed) + b"]"
    if options.cached_content is not None:
        found["cachedContent"] = encode(options.cached_content)
    if options.service_tier is not None:
        found["serviceTier"] = encode(options.service_tier)
    if options.labels is not None:
        if not spec.vertex:
            raise BadValue("labels", "are available on Vertex AI only")
        found["labels"] = encode(options.labels)
    for name, value in (options.extra_body or {}).items():
        found[name] = encode(value)
    return found


def max_output_tokens(spec: Generation) -> int:
    """Return the output limit that is sent."""
    asked, most = spec.request.settings.max_output_tokens, spec.capable.max_output
    if asked is not UNSET:
        if most is not None and asked > most:
            raise BadValue("max_output_tokens", f"{asked} is more than {most}, the limit of {spec.model}")
        return asked
    budget = thinking_of(spec)[1] or 0
    default = DEFAULT_MAX_OUTPUT_THINKING if spec.thinks else DEFAULT_MAX_OUTPUT
    limit = spec.default_max_output_tokens or max(default, budget + DEFAULT_MAX_OUTPUT)
    return limit if most is None else min(limit, most)


def implicit_bound(spec: Generation) -> int | None:
    """Return the default output limit; None if the turn or the adapter sets a limit.

    The default is sent only if a budget limits the turn, because a reservation needs a bound.
    """
    if spec.request.settings.max_output_tokens is not UNSET or spec.default_max_output_tokens is not None:
        return None
    return max_output_tokens(spec)


def structured_by(request: TurnRequest, options: GeminiOptions) -> str:
    """Return the option that selects how structured values are requested, as a user writes it."""
    if request.output is None:
        return ""
    return f"GeminiOptions(structured={options.structured or 'json_schema'!r})"


def thinking_of(spec: Generation) -> tuple[str | None, int | None]:
    """Return the thinking level and the budget that are sent.

    Raises:
      BadValue: the model has no equivalent of the turn's effort.
    """
    options, effort = spec.options, spec.request.settings.effort
    if options.thinking_level is not None or options.thinking_budget is not None or effort is UNSET:
        return options.thinking_level, options.thinking_budget
    levels, budget = spec.capable.levels, spec.capable.budget
    if levels:
        level: str = "minimal" if effort == "none" else effort
        if level == "max":
            level = "xhigh" if "xhigh" in levels else "high"
        if level in levels:
            return level, None
    elif levels is None:
        return _LEVELS_OF_UNKNOWN[effort], None
    elif budget and (effort != "none" or spec.capable.off):
        return None, min(_BUDGETS[effort], budget[1])
    elif effort == "none" and not spec.capable.thinks:
        return None, None
    raise BadValue("effort", f"{spec.model} has no setting for {effort!r}; use another level")


def _thinking(spec: Generation) -> dict[str, object]:
    capable, model = spec.capable, spec.model
    level, budget = thinking_of(spec)
    found = dict[str, object]()
    if spec.options.include_thoughts is not None:
        found["includeThoughts"] = spec.options.include_thoughts
    if budget is not None:
        if capable.budget is None:
            instead = "use thinking_level" if capable.levels else "the model does not think"
            raise BadValue("thinking_budget", f"{model} does not accept a budget: {instead}")
        if budget == 0 and not capable.off:
            raise BadValue("thinking_budget", f"0 is not accepted: {model} cannot stop thinking")
        if budget > 0 and capable.budget and not capable.budget[0] <= budget <= capable.budget[1]:
            least, most = capable.budget
            raise BadValue(
                "thinking_budget", f"{budget} is not in {model}'s range of {least} to {most} tokens"
            )
        found["thinkingBudget"] = budget
    if level is not None:
        if capable.levels is not None and level not in capable.levels:
            allowed = ", ".join(sorted(capable.levels)) or "no level: use thinking_budget"
            raise BadValue("thinking_level", f"{level!r} is not accepted: {model} takes {allowed}")
        found["thinkingLevel"] = level.upper()
    return found


def _structured(spec: Generation, found: dict[str, bytes]) -> tuple[str, ...]:
    output = spec.request.output
    if output is None or spec.tools.value_tool is not None:
        return ()
    if spec.tools.has_functions and not spec.capable.tools_with_schema:
        raise BadValue(
            "structured",
            f"{spec.model} does not accept functions and a schema in one request: use "
            "GeminiOptions(structured='tool')",
        )
    schema, dropped = narrow(output.schema, _wire.SCHEMAS)
    found["responseMimeType"] = b'"application/json"'
    found["responseJsonSchema"] = schema.encode()
    return dropped
