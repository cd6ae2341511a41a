"""Completions: a prompt in, text out (developers.openai.com/api/reference/resources/completions).

_encode   a request of one user message to bytes
_decode   bytes to events
_adapter  `OpenAICompletionsAdapter`; the only module here with I/O
"""

from lutum_openai.completions._adapter import (
    OpenAICompletionsAdapter as OpenAICompletionsAdapter,  # exported by `lutum_openai`
)

__all__: list[str] = []
