"""`GeminiHooks`: choose a turn's model and options when the turn starts."""

from __future__ import annotations

from lutum.dialect.options import SettingsHooks
from lutum_gemini._options import GeminiOptions


class GeminiHooks(SettingsHooks[GeminiOptions]):
    """Hooks of `GeminiAdapter(hooks=)`: the slots `resolve_model` and `resolve_options`."""
