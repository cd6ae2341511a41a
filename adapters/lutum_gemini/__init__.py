"""Gemini for lutum, on the Gemini API and on Vertex AI.

generate   the dialect `generateContent`: `GeminiAdapter`
_options   `GeminiOptions` and `GeminiHooks`
"""

from lutum import result_from_body as result_from_body  # exported by `lutum`
from lutum_gemini._options import GeminiHooks as GeminiHooks, GeminiOptions as GeminiOptions
from lutum_gemini.generate._adapter import GeminiAdapter as GeminiAdapter
from lutum_gemini.generate._messages import (
    batch_line as batch_line,
    from_messages as from_messages,
    to_messages as to_messages,
    to_system as to_system,
)

__all__ = [
    "GeminiAdapter",
    "GeminiHooks",
    "GeminiOptions",
    "batch_line",
    "from_messages",
    "to_messages",
    "to_system",
]
