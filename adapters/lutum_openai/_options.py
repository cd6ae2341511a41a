"""`OpenAIOptions`: options for all of OpenAI's APIs. `OpenAIHooks`: hooks that choose a turn's options."""

from __future__ import annotations

from typing import Literal

from lutum import BadValue
from lutum.dialect.headers import check_extra_headers
from lutum.dialect.json import JsonValue, to_bytes
from lutum.dialect.options import ProviderOptions, SettingsHooks, check_extra_body

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Summary = Literal["auto", "concise", "detailed"]
Structured = Literal["json_schema", "json_object", "tool"]

# Members of a request that lutum writes itself, and the remedy that an error names. The first committed turn
# of a transcript fixes the start of the transcript's later requests.
_OURS = {
    "model": "use .model()",
    "input": "use the transcript, or Raw items",
    "messages": "use the transcript, or Raw items",
    "instructions": "push system items",
    "tools": "use .tools(), or server_tools=",
    "stream": "lutum always streams",
    "max_output_tokens": "use .max_output_tokens(), so that the reservation knows it",
    "max_completion_tokens": "use .max_output_tokens(), so that the reservation knows it",
    "max_tokens": "use .max_output_tokens(), so that the reservation knows it",
}
_SECRET_HEADERS = frozenset({"api-key", "authorization"})


class OpenAIOptions(ProviderOptions, frozen=True, kw_only=True, repr_omit_defaults=True):
    """Options of one turn (`.ext(OpenAIOptions(...))`) or of an adapter (`options=`). None means "not set".

    A field that is set in a turn's options overrides the same field of the adapter's options. Values are sent
    as given, because the options that a model accepts change from month to month, and a request that the API
    refuses costs nothing. An option that only one API has is marked below. The adapters of the other APIs
    refuse it before anything is reserved.

    Attributes:
      effort: `reasoning.effort`, on Chat Completions `reasoning_effort`.
      summary: `reasoning.summary`, the readable summary of the model's reasoning. Responses only.
      store: keep the answer at the provider. If not set, the Responses adapter sends false, because lutum
        replays a turn from the transcript alone; the Chat adapter leaves it out.
      include: more output to include, in addition to what lutum requests itself. Responses only.
      previous_response_id: the id of a stored response that the input continues. lutum does not know the
        size of that response. The id is sent as given, together with the whole transcript. Responses only.
      prompt_cache_key: routes similar requests to one cache.
      metadata: up to 16 pairs of strings kept with a stored response.
      truncation: `auto` drops the oldest items that do not fit. Responses only.
      verbosity: how long answers are.
      structured: how structured values are requested. `json_schema` (the default): by a strict schema.
        `json_object`: by JSON mode; the schema is then checked only when the answer is decoded. `tool`: by a
        forced tool.
      top_logprobs: request log probabilities, with this number of alternatives for each token. 0: only the
        log probabilities of the sampled tokens.
      user: the older end-user id, for servers that do not know `safety_identifier`.
      frequency_penalty, presence_penalty: penalties for repeated tokens, -2 to 2. Chat Completions only.
      logit_bias: a number for each token id, from -100 (less likely) to 100 (more likely). Chat Completions
        only.
      server_tools: tools that the provider runs. They are sent before your tools. Pass the same server tools
        in every turn of a transcript. Responses only.
    """

    effort: Effort | None = None
    summary: Summary | None = None
    store: bool | None = None
    include: tuple[str, ...] | None = None
    previous_response_id: str | None = None
    prompt_cache_key: str | None = None
    service_tier: str | None = None
    metadata: dict[str, str] | None = None
    parallel_tool_calls: bool | None = None
    truncation: Literal["auto", "disabled"] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    structured: Structured | None = None
    top_logprobs: int | None = None
    user: str | None = None
    safety_identifier: str | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    server_tools: tuple[JsonValue, ...] | None = None

    def __post_init__(self) -> None:
        if self.top_logprobs is not None and not 0 <= self.top_logprobs <= 20:
            raise BadValue("top_logprobs", f"{self.top_logprobs} is not between 0 and 20")
        for name in ("frequency_penalty", "presence_penalty"):
            if (value := getattr(self, name)) is not None and not -2 <= value <= 2:
                raise BadValue(name, f"{value} is not between -2 and 2")
        for token, bias in (self.logit_bias or {}).items():
            if not -100 <= bias <= 100:
                raise BadValue(f"logit_bias.{token}", f"{bias} is not between -100 and 100")
        for i, tool in enumerate(self.server_tools or ()):
            to_bytes(f"server_tools[{i}]", tool)
        check_extra_body(self.extra_body, _OURS)
        check_extra_headers(self.extra_headers, secret=_SECRET_HEADERS)


class OpenAIHooks(SettingsHooks[OpenAIOptions]):
    """Hooks of the adapters of this package (`hooks=`). They choose a turn's model and options."""
