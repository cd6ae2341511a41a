"""Completions: a prompt in, text out (developers.openai.com/api/reference/resources/completions).

_encode   PURE: a request of one user message to bytes
_decode   PURE: bytes to events
_adapter  the I/O: `OpenAICompletionsAdapter`
"""

from lutum_openai.completions._adapter import (
    OpenAICompletionsAdapter as OpenAICompletionsAdapter,  # exported by `lutum_openai`
)

__all__: list[str] = []
