"""`OpenRouterOptions`: what OpenRouter offers and no other provider has."""

from __future__ import annotations

from typing import Any

from lutum import BadValue
from lutum.dialect.options import ProviderOptions, SettingsHooks, merged
from lutum_openai import OpenAIOptions


class OpenRouterOptions(ProviderOptions, frozen=True, kw_only=True, repr_omit_defaults=True):
    """Options of one turn (`.ext(OpenRouterOptions(...))`) or of an adapter (`options=`); None is "not said".

    A turn's options are laid over the adapter's, field by field. What OpenRouter shares with OpenAI is in
    `OpenAIOptions`, which a turn may carry beside these.

    Attributes:
      models: who answers when the model cannot, in order (openrouter.ai/docs, "Model fallbacks").
      provider: routing: `order`, `only`, `ignore`, `sort`, `data_collection`, ... ("Provider routing").
      transforms: such as `middle-out`, which drops what does not fit; empty for none ("Message transforms").
      plugins: such as `{"id": "web"}`; what they read is not in the request, so nothing bounds it.
      usage_include: ask for the cost in the last chunk; true unless said ("Usage accounting").
      reasoning: `effort` or `max_tokens`, `exclude`, `enabled` ("Reasoning tokens").
      extra_body: members added to the request's body, over all others.
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
            raise BadValue("models", "has a blank one")
        # OpenAIOptions refuses what is no JSON, what lutum writes itself, and secrets in headers.
        OpenAIOptions(extra_body=self.body(usage=False), extra_headers=self.extra_headers)

    def body(self, *, usage: bool) -> dict[str, Any]:
        """The members of the request's body; `usage` where it has one that asks for the cost."""
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
    """Hooks of `OpenRouterAdapter(hooks=)`: they choose a turn's model and options."""
