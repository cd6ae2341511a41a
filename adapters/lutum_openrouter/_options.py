"""`OpenRouterOptions`: options that only OpenRouter has."""

from __future__ import annotations

from typing import Any

from lutum import BadValue
from lutum.dialect.options import ProviderOptions, SettingsHooks, merged
from lutum_openai import OpenAIOptions


class OpenRouterOptions(ProviderOptions, frozen=True, kw_only=True, repr_omit_defaults=True):
    """Options of a turn (`.ext(OpenRouterOptions(...))`) or of an adapter (`options=`). None means "not set".

    The fields of a turn's options override those of the adapter's. Options that OpenRouter shares with OpenAI
    are in `OpenAIOptions`; a turn may have both.

    Attributes:
      models: fallback models in order, used if the model fails (openrouter.ai/docs, "Model fallbacks").
      provider: routing: `order`, `only`, `ignore`, `sort`, `data_collection`, ... ("Provider routing").
      transforms: such as `middle-out`, which drops messages that do not fit. An empty tuple turns transforms
        off ("Message transforms").
      plugins: such as `{"id": "web"}`. A plugin reads input that is not in the request, so its size has no
        bound.
      usage_include: request the cost in the last chunk. Default: true ("Usage accounting").
      reasoning: an object with `effort` or `max_tokens`, `exclude` and `enabled` ("Reasoning tokens").
      extra_body: members added to the request's body. They override all others.
      extra_headers: headers added to the request, such as `HTTP-Referer` and `X-Title`.
    """

    models: tuple[str, ...] | None = None
    provider: dict[str, Any] | None = None
    transforms: tuple[str, ...] | None = None
    plugins: tuple[dict[str, Any], ...] | None = None
    usage_include: bool | None = None
    reasoning: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.models is not None and not all(model.strip() for model in self.models):
            raise BadValue("models", "contains a blank name")
        # OpenAIOptions refuses values that are not JSON, members that lutum writes, and secret headers.
        OpenAIOptions(extra_body=self.body(usage=False), extra_headers=self.extra_headers)

    def body(self, *, usage: bool) -> dict[str, Any]:
        """Return the members of the request's body. `usage`: include the member that requests the cost."""
        said: dict[str, Any] = {
            "models": self.models,
            "provider": self.provider,
            "transforms": self.transforms,
            "plugins": self.plugins,
            "reasoning": self.reasoning,
        }
        if usage:
            said["usage"] = {"include": self.usage_include is not False}
        given = {name: value for name, value in said.items() if value is not None}
        return merged("extra_body", given, self.extra_body)


class OpenRouterHooks(SettingsHooks[OpenRouterOptions]):
    """Hooks of `OpenRouterAdapter(hooks=)`. They choose a turn's model and options."""
