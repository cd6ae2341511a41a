"""`OpenAIHooks`: who settles a turn's model and options when it starts; of every adapter here."""

from __future__ import annotations

import lutum
from lutum.abc import TurnRequest
from lutum_openai._options import OpenAIOptions


class OpenAIHooks(lutum.HookSet):
    """What `OpenAIAdapter(hooks=)` and its siblings ask, once a turn, before anything is reserved.

    What the turn, the session and `Lutum` say is in `request.settings`, options of your own with it:
    `request.settings.option(Tier)`. Another model than before cannot read all of a conversation exactly:
    `preview().forms` says which turns.
    """

    @lutum.hook("singleton")
    async def resolve_model(self, request: TurnRequest, model: str) -> str:
        """The model to ask; `model` is the turn's or, where it names none, the adapter's."""
        return model

    @lutum.hook("singleton")
    async def resolve_options(self, request: TurnRequest, options: OpenAIOptions) -> OpenAIOptions:
        """The options to ask with; `options` are the turn's over the adapter's, `request` names the model.

        They stand for the turn's own: what they leave unsaid is the adapter's.
        """
        return options
