"""Hooks for tools: functions that check or change a call before you run it. Only your code runs them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast, final

from lutum._tools.call import ToolCall
from lutum._tools.round import ToolHook
from lutum._tools.tool import Tool
from lutum._tools.toolset import Selector, Toolset
from lutum._values.items import ToolResult
from lutum._values.results import ToolDef

I = TypeVar("I")

DescriptionHook = Callable[[ToolDef], Awaitable[str | None]]
"""Returns another description for a tool, or None to keep the present one. It gets the static definition."""


@final
class ToolHooks:
    """Hooks by tool, for `round.apply_hooks`. A set is immutable: `on` and `describe` return a new set.

    The hooks of a tool run in order. Hooks of nested sets run first. If a hook edits the input, the next hook
    gets the edited input. The first answer ends the sequence. A set is itself a hook, so sets can be nested.
    """

    __slots__ = ("_descriptions", "_hooks")

    def __init__(self, *nested: ToolHooks) -> None:
        self._hooks: tuple[tuple[str, ToolHook], ...] = sum((one._hooks for one in nested), ())
        self._descriptions: dict[str, DescriptionHook] = {}
        for one in nested:
            self._descriptions.update(one._descriptions)

    def on(
        self,
        tool: Tool[I] | type[I],
        hook: Callable[[ToolCall[I]], Awaitable[ToolCall[I] | ToolResult | None]],
    ) -> ToolHooks:
        """Return a set with another hook for a tool, after the tool's present hooks.

        Raises:
          BadValue: `tool` is not a tool.
        """
        return self._with(_name(tool), cast("ToolHook", hook))

    def describe(self, tool: Selector, hook: DescriptionHook) -> ToolHooks:
        """Return a set with this description hook for a tool. It replaces an earlier one.

        Raises:
          BadValue: `tool` is not a tool.
        """
        made = ToolHooks(self)
        made._descriptions[_name(tool)] = hook
        return made

    async def descriptions(self, toolset: Toolset[Any]) -> dict[str, str]:
        """Run the description hooks. Return the descriptions by name, in the toolset's order.

        Pass each of them to `turn.describe`.

        This is a checkpoint only if a hook is one.
        """
        found: dict[str, str] = {}
        for tool in toolset:
            hook = self._descriptions.get(tool.name)
            text = None if hook is None else await hook(tool.definition)
            if text is not None:
                found[tool.name] = text
        return found

    async def __call__(self, call: ToolCall[Any]) -> ToolCall[Any] | ToolResult:
        """Run the hooks of the call's tool. Return the call, perhaps edited, or its result.

        This is a checkpoint only if a hook is one.
        """
        for name, hook in self._hooks:
            if name == call.name:
                said = await hook(call)
                if isinstance(said, ToolResult):
                    return said
                call = call if said is None else said
        return call

    def _with(self, name: str, hook: ToolHook) -> ToolHooks:
        made = ToolHooks(self)
        made._hooks = (*made._hooks, (name, hook))
        return made


def _name(tool: Any) -> str:
    if isinstance(tool, str):
        return tool
    [name] = Toolset[Any](tool).names
    return name
