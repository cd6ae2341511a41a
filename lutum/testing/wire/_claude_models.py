"""The rules of each Claude model: the options that it refuses.

The sources are the provider's pages "Thinking" and "Mid-conversation system messages", and the "What's new"
page of each model. A model without an entry in the table has no rules here.
"""

from typing import Final, final

import msgspec

__all__ = ["ModelRules", "model_rules"]


@final
class ModelRules(msgspec.Struct, frozen=True):
    """The options that a model accepts. Other options are an error."""

    thinking: frozenset[str]
    """The accepted values of `thinking.type`."""
    forced_tools: bool = True
    sampling: bool = False
    prefill: bool = False
    late_system: bool = True
    """Whether `role: "system"` is accepted inside `messages`."""


_ADAPTIVE = frozenset({"adaptive"})
_SWITCHED = frozenset({"adaptive", "disabled"})
_ANY = frozenset({"adaptive", "enabled", "disabled"})
_BUDGETED = frozenset({"enabled", "disabled"})
_BETWEEN = frozenset({"adaptive", "between_tools"})

# The longest matching prefix counts.
_RULES: Final = {
    "claude-fable-5-1": ModelRules(_ADAPTIVE, forced_tools=False),
    "claude-fable-5-2": ModelRules(_ADAPTIVE, forced_tools=False),
    "claude-mythos-5-1": ModelRules(_ADAPTIVE, forced_tools=False),
    "claude-mythos-5-2": ModelRules(_ADAPTIVE, forced_tools=False),
    "claude-opus-5-5": ModelRules(_ADAPTIVE, forced_tools=False),
    "claude-sonnet-5-5": ModelRules(_BETWEEN, forced_tools=False),
    "claude-haiku-5-5": ModelRules(_SWITCHED | _BETWEEN),
    "claude-fable-5": ModelRules(_ADAPTIVE),
    "claude-mythos-5": ModelRules(_ADAPTIVE),
    "claude-opus-5": ModelRules(_SWITCHED),
    "claude-sonnet-5": ModelRules(_SWITCHED, late_system=False),
    "claude-opus-4-8": ModelRules(_SWITCHED),
    "claude-opus-4-7": ModelRules(_SWITCHED, late_system=False),
    "claude-opus-4-6": ModelRules(_ANY, sampling=True, late_system=False),
    "claude-sonnet-4-6": ModelRules(_ANY, sampling=True, late_system=False),
    "claude-opus-4-5": ModelRules(_BUDGETED, sampling=True, prefill=True, late_system=False),
    "claude-sonnet-4-5": ModelRules(_BUDGETED, sampling=True, prefill=True, late_system=False),
    "claude-haiku-4-5": ModelRules(_BUDGETED, sampling=True, prefill=True, late_system=False),
}


def model_rules(model: str) -> ModelRules | None:
    """Return the rules of a model, with or without a date; None if the model is unknown."""
    prefixes = [prefix for prefix in _RULES if model.startswith(prefix)]
    return _RULES[max(prefixes, key=len)] if prefixes else None
