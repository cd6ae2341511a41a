"""`GeminiOptions`: options that only the Gemini API has. `GeminiHooks` choose them for each turn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from lutum import BadValue
from lutum.dialect.headers import check_extra_headers
from lutum.dialect.json import JsonValue, to_bytes
from lutum.dialect.options import ProviderOptions, SettingsHooks, check_extra_body

Level = Literal["minimal", "low", "medium", "high", "xhigh"]

# lutum writes these members of a request itself.
_OURS: Final = {
    "contents": "use the transcript, or Raw items",
    "systemInstruction": "push system items",
    "tools": "use .tools(), or server_tools=",
    "toolConfig": "use .require() and .available(), or retrieval_config=",
    "generationConfig": "use generation_config=",
    "cachedContent": "use cached_content=",
    "continuationToken": "commit the paused turn, and start the next one",
    "safetySettings": "use safety_settings=",
    "labels": "use labels=",
    "serviceTier": "use service_tier=",
}
# It also writes these members of `generationConfig`.
_OWN_CONFIG: Final = {
    "maxOutputTokens": "use .max_output_tokens(), so that the reservation knows it",
    "candidateCount": "lutum reads one answer per turn; run the turn again for another",
    "temperature": "use .temperature()",
    "topP": "use .top_p()",
    "topK": "use top_k=",
    "stopSequences": "use .stop()",
    "seed": "use .seed()",
    "thinkingConfig": "use thinking_level=, thinking_budget= and include_thoughts=",
    "responseMimeType": "use structured_turn()",
    "responseSchema": "use structured_turn()",
    "responseJsonSchema": "use structured_turn()",
    "responseLogprobs": "use logprobs=",
    "logprobs": "use logprobs=",
    "responseModalities": "use response_modalities=",
    "mediaResolution": "use media_resolution=",
    "presencePenalty": "use presence_penalty=",
    "frequencyPenalty": "use frequency_penalty=",
}
_SECRET: Final = frozenset({"x-goog-api-key", "authorization"})


class GeminiOptions(ProviderOptions, frozen=True, kw_only=True, repr_omit_defaults=True):
    """Options of one turn (`.ext(GeminiOptions(...))`) or of an adapter (`options=`).

    An option that is None is not sent, not even with its default value, because newer models refuse values
    that were the defaults of older ones. If a known model refuses an option, `BadValue` is raised before
    anything is sent. For an unknown model, your options are sent without a check.

    Attributes:
      thinking_level: `thinkingConfig.thinkingLevel`, on Gemini 3 and later.
      thinking_budget: `thinkingConfig.thinkingBudget` in tokens, on Gemini 2.5 and 3: 0 is off, -1 lets the
        model choose. A level and a budget together are refused.
      include_thoughts: request summaries of the thinking.
      replay_thoughts: send the summaries back with their turn. Default: true.
      safety_settings: thresholds by category, such as `{"HARM_CATEGORY_HARASSMENT": "BLOCK_NONE"}`, or the
        API's own list.
      cached_content: the name of an explicit cache, `cachedContents/...`. The cache contains the system items
        and the tools, so a request that uses it must have neither.
      server_tools: tools that the provider runs, such as `{"googleSearch": {}}`, placed before your tools.
        Pass the same ones in every turn of a transcript.
      server_side_tool_invocations: show calls of the provider's tools as parts of the answer. Gemini 3 and
        later require it if a turn has both your tools and the provider's, so it is then on by default. On
        Vertex AI it is never sent, and a value raises `BadValue`.
      validated: constrain calls to their schemas (mode `VALIDATED`).
      retrieval_config: `toolConfig.retrievalConfig`.
      structured: how structured values are requested: by a JSON schema (the default), or by a forced `tool`.
      response_modalities: such as `("TEXT", "IMAGE")`.
      media_resolution: such as `MEDIA_RESOLUTION_LOW`.
      logprobs: return log probabilities. The value is the number of alternatives for each token, 0 to 20.
      top_k, presence_penalty, frequency_penalty: sampling; Gemini 4 refuses the penalties.
      service_tier: `flex`, `standard` or `priority`. The header `x-gemini-service-tier` names the tier that
        served the request.
      labels: Vertex AI's billing labels.
      generation_config: further members of `generationConfig`.
    """

    thinking_level: Level | None = None
    thinking_budget: int | None = None
    include_thoughts: bool | None = None
    replay_thoughts: bool | None = None
    safety_settings: Mapping[str, str] | tuple[JsonValue, ...] | None = None
    cached_content: str | None = None
    server_tools: tuple[JsonValue, ...] | None = None
    server_side_tool_invocations: bool | None = None
    validated: bool | None = None
    retrieval_config: JsonValue | None = None
    structured: Literal["json_schema", "tool"] | None = None
    response_modalities: tuple[str, ...] | None = None
    media_resolution: str | None = None
    logprobs: int | None = None
    top_k: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    service_tier: str | None = None
    labels: dict[str, str] | None = None
    generation_config: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.thinking_level is not None and self.thinking_budget is not None:
            raise BadValue("thinking_budget", "cannot be combined with thinking_level: give one of them")
        if self.thinking_budget is not None and self.thinking_budget < -1:
            raise BadValue("thinking_budget", f"{self.thinking_budget} is below -1")
        if self.top_k is not None and self.top_k < 1:
            raise BadValue("top_k", f"{self.top_k} is below 1")
        if self.logprobs is not None and not 0 <= self.logprobs <= 20:
            raise BadValue("logprobs", f"{self.logprobs} is not between 0 and 20")
        if self.cached_content is not None and not self.cached_content.strip():
            raise BadValue("cached_content", "is blank")
        for i, tool in enumerate(self.server_tools or ()):
            if not to_bytes(f"server_tools[{i}]", tool).startswith(b"{"):
                raise BadValue(f"server_tools[{i}]", "is not a JSON object")
        if self.retrieval_config is not None:
            to_bytes("retrieval_config", self.retrieval_config)
        for name, value in (self.generation_config or {}).items():
            if name in _OWN_CONFIG:
                raise BadValue(f"generation_config.{name}", f"is written by lutum: {_OWN_CONFIG[name]}")
            to_bytes(f"generation_config.{name}", [value])
        check_extra_body(self.extra_body, _OURS)
        check_extra_headers(self.extra_headers, secret=_SECRET, instead="api_key= or token=")


class GeminiHooks(SettingsHooks[GeminiOptions]):
    """Hooks of `GeminiAdapter(hooks=)`. They choose a turn's model and options."""
