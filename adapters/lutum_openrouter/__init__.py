"""OpenRouter for lutum: OpenAI's dialects at openrouter.ai, with its routing and its usage records.

_options   `OpenRouterOptions`
_generation  PURE: the record of a generation to `Usage`
_adapter   the I/O: `OpenRouterAdapter`
"""

from lutum_openrouter._adapter import OpenRouterAdapter as OpenRouterAdapter
from lutum_openrouter._options import OpenRouterOptions as OpenRouterOptions

__all__ = ["OpenRouterAdapter", "OpenRouterOptions"]
