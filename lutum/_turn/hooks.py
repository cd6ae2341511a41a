"""The hooks that the boundary asks: what a turn reserves, and what adapters settle before it goes out."""

from __future__ import annotations

from typing import cast

from lutum._hooks.define import hook
from lutum._hooks.hook_set import HookSet
from lutum._values.results import Estimate
from lutum._values.settings import Settings
from lutum.abc import Adapter, Prepared, ResolvesSettings, TurnRequest


class LutumHooks(HookSet):
    """What `Lutum(hooks=)` asks."""

    @hook("singleton")
    async def resolve_usage_estimate(self, adapter: Adapter, prepared: Prepared) -> Estimate:
        """What a request reserves, unless its turn says so with `.reserve()`.

        Asked before anything is reserved, and waited for as long as for a first event. The turn's options
        are in `prepared.request.settings`, its kind is `prepared.request.operation`. Without a hook it is
        what `Lutum(estimate=)` says, else the adapter's own count.
        """
        return prepared.estimate


def settings_hooks(adapter: Adapter) -> tuple[str, ...]:
    """The slots of an adapter that have hooks and are asked before a turn is prepared."""
    if not hasattr(adapter, "settings_hooks"):
        return ()
    return cast("ResolvesSettings", adapter).settings_hooks


async def resolve_settings(adapter: Adapter, request: TurnRequest) -> Settings:
    """The settings that the adapter's hooks make of a request's; its own where there are none."""
    if not settings_hooks(adapter):
        return request.settings
    return await cast("ResolvesSettings", adapter).resolve_settings(request)
