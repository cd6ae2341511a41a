"""OpenRouter for lutum: OpenAI's dialects at openrouter.ai, with its routing and its usage records.

_options     `OpenRouterOptions` and `OpenRouterHooks`
_generation  the record of a generation to `Usage`
_messages    chat messages of OpenRouter, read and written. OpenRouter has no batches.
_adapter     `OpenRouterAdapter`; the only module here with I/O
"""

from lutum import result_from_body as result_from_body  # exported by `lutum`
from lutum_openrouter._adapter import OpenRouterAdapter as OpenRouterAdapter
from lutum_openrouter._messages import from_messages as from_messages, to_messages as to_messages
from lutum_openrouter._options import (
    OpenRouterHooks as OpenRouterHooks,
    OpenRouterOptions as OpenRouterOptions,
)

__all__ = [
    "OpenRouterAdapter",
    "OpenRouterHooks",
    "OpenRouterOptions",
    "from_messages",
    "to_messages",
]
