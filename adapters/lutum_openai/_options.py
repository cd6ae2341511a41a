"""`OpenAIOptions`, for all of OpenAI's APIs, and the hooks that choose them."""

from __future__ import annotations

from typing import Literal

from lutum import BadValue
from lutum.dialect.headers import check_extra_headers
from lutum.dialect.json import JsonValue, to_bytes
from lutum.dialect.options import ProviderOptions, SettingsHooks, check_extra_body

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Summary = Literal["auto", "concise", "detailed"]
Structured = Literal["json_schema", "json_object", "tool"]

# Lutum writes these itself; what a transcript begins with is fixed by its first committed turn.
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
    """Options of one turn (`.ext(OpenAIOptions(...))`) or of an adapter (`options=`); None is "not said".

    A turn's options are laid over the adapter's, field by field. They are sent as given: which model takes
    which changes from month to month, and the API's refusal costs nothing. What an API has no field for is
    refused before anything is reserved; those say so here.

    Attributes:
      effort: `reasoning.effort`, on Chat Completions `reasoning_effort`.
      summary: `reasoning.summary`, the readable summary of what the model thought. Responses only.
      store: keep the answer at the provider. Unsaid: the Responses adapter sends false, so that a turn goes
        back from the transcript alone; the Chat adapter leaves it out.
      include: more output to include, beside what lutum asks for itself. Responses only.
      previous_response_id: the input continues this stored response, whose size nobody can bound. It is
        sent beside the whole transcript, as given. Responses only.
      prompt_cache_key: routes similar requests to one cache.
      metadata: up to 16 pairs of strings kept with a stored response.
      truncation: `auto` drops the oldest items that do not fit. Responses only.
      verbosity: how long answers are.
      structured: ask for structured values by a strict schema, the default; by JSON mode, where the schema
        is only checked on decode; or by a forced `tool`.
      top_logprobs: log probabilities of that many alternatives for each token; 0 is those of the tokens.
      user: the older end-user id, for the servers that know no `safety_identifier`.
      frequency_penalty, presence_penalty: against words that were used, from -2 to 2. Chat Completions only.
      logit_bias: makes tokens, by their id, likelier or less likely, from -100 to 100. Chat Completions only.
      server_tools: tools that the provider runs, put before yours; say the same ones in every turn of a
        transcript. Responses only.
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
    """Hooks of `OpenAIAdapter(hooks=)` and its siblings: they choose a turn's model and options."""
