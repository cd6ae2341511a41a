"""`OpenRouterHooks`: who settles a turn's model and options when it starts."""

from __future__ import annotations

import lutum
from lutum.abc import TurnRequest
from lutum_openrouter._options import OpenRouterOptions


class OpenRouterHooks(lutum.HookSet):
    """What `OpenRouterAdapter(hooks=)` asks, once a turn, before anything is reserved.

    What the turn, the session and `Lutum` say is in `request.settings`, options of your own with it:
    `request.settings.option(Tier)`. Another model than before cannot read all of a conversation exactly:
    `preview().forms` says which turns.
    """

    @lutum.hook("singleton")
    async def resolve_model(self, request: TurnRequest, model: str) -> str:
        """The model to ask; `model` is the turn's or, where it names none, the adapter's."""
        return model

    @lutum.hook("singleton")
    async def resolve_options(self, request: TurnRequest, options: OpenRouterOptions) -> OpenRouterOptions:
        """The options to ask with; `options` are the turn's over the adapter's, `request` names the model.

        They stand for the turn's own: what they leave unsaid is the adapter's.
        """
        return options
