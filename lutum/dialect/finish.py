"""Finish reasons: conversion of a provider's word to lutum's word.

Hosts use many words with one meaning. `FINISH` and `BROKEN` contain the words that have the same meaning at
all hosts. The `FinishTable` of an adapter adds the words of its dialect.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from lutum._values.errors import ErrorKind, ProviderError
from lutum._values.results import FinishReason, Response

__all__ = ["BROKEN", "FINISH", "FinishTable"]

FINISH: Final[Mapping[str, FinishReason]] = {
    "stop": "stop",
    "stop_sequence": "stop",  # Claude, watsonx, TGI
    "stop_token": "stop",
    "stop_str": "stop",
    "end_turn": "stop",  # Claude, and gateways to it
    "end": "stop",
    "eos": "stop",  # Together
    "eos_token": "stop",  # TGI, watsonx
    "eos_found": "stop",
    "end_of_text": "stop",
    "complete": "stop",  # Cohere
    "completed": "stop",  # the Responses API behind a Chat endpoint
    "done": "stop",
    "finished": "stop",
    "normal": "stop",
    "length": "length",
    "max_tokens": "length",  # Claude, Gemini, watsonx
    "max_output_tokens": "length",  # the Responses API behind a Chat endpoint
    "max_completion_tokens": "length",
    "max_new_tokens": "length",
    "max_length": "length",
    "maximum_tokens": "length",
    "model_length": "length",  # Mistral
    "token_limit": "length",  # watsonx
    "output_limit": "length",
    "length_limit": "length",
    "time_limit": "length",  # watsonx
    "context_length": "length",
    "context_limit": "length",
    "context_window": "length",
    "context_length_exceeded": "length",
    "context_window_exceeded": "length",
    "model_context_window_exceeded": "length",  # Claude: platform.claude.com, "Handling stop reasons"
    "truncated": "length",
    "incomplete": "length",
    "tool_calls": "tool_calls",
    "tool_call": "tool_calls",
    "tool_use": "tool_calls",  # Claude, Bedrock
    "tools": "tool_calls",
    "function_call": "tool_calls",
    "function_calls": "tool_calls",
    "content_filter": "content_filter",
    "content_filtered": "content_filter",  # Bedrock
    "refusal": "content_filter",  # Claude
    "sensitive": "content_filter",  # Z.ai: docs.z.ai, "Chat Completion"
    "safety": "content_filter",  # Gemini
    "image_safety": "content_filter",
    "recitation": "content_filter",
    "blocklist": "content_filter",
    "prohibited_content": "content_filter",
    "spii": "content_filter",
    "blocked": "content_filter",
    "guardrail_intervened": "content_filter",  # Bedrock
    "moderation": "content_filter",
    "policy_violation": "content_filter",
    "pause_turn": "paused",  # Claude
}
"""Finish reasons of many hosts, in lower case with underscores."""

BROKEN: Final[Mapping[str, ErrorKind]] = {
    "abort": "server",  # vLLM on shutdown (vllm#57082), SGLang
    "aborted": "server",
    "cancelled": "server",  # watsonx
    "canceled": "server",
    "error": "server",  # OpenRouter, Mistral, vLLM, watsonx
    "engine_error": "server",
    "failed": "server",
    "failure": "server",
    "insufficient_system_resource": "server",  # DeepSeek: api-docs.deepseek.com, "Create chat completion"
    "internal_error": "server",
    "interrupted": "server",
    "model_error": "server",
    "network_error": "server",  # Z.ai: docs.z.ai, "Chat Completion"
    "overloaded": "server",
    "server_error": "server",
    "timeout": "server",
    "timed_out": "server",
    "upstream_error": "server",
}
"""Finish reasons of an answer that was broken off. The turn is not complete; the same request may succeed."""

_hump = re.compile(r"(?<=[a-z])(?=[A-Z])")


class FinishTable(Struct, frozen=True):
    """The finish reasons of a dialect.

    Attributes:
      words: the dialect's own words. They have priority over the words of `FINISH`.
    """

    words: Mapping[str, FinishReason] = {}

    def read(self, reason: str) -> FinishReason:
        """Return the reason in lutum's words. An unknown reason is returned unchanged."""
        known = _normal(reason)
        return self.words.get(known) or FINISH.get(known) or reason

    def broken(self, reason: str, response: Response, data: bytes) -> ProviderError | None:
        """Return the error if the reason means that the answer was broken off; otherwise None."""
        known = _normal(reason)
        if known in self.words or (kind := BROKEN.get(known)) is None:
            return None
        return ProviderError(
            f"the server broke the answer off with finish reason {reason!r}",
            kind=kind,
            status=500,
            request_id=response.request_id,
            body=data,
        )


def _normal(reason: str) -> str:
    """Return the word in lower case with underscores. `maxTokens`, `MAX_TOKENS` and `max-tokens` are the
    same."""
    return _hump.sub("_", reason.strip()).lower().replace("-", "_").replace(" ", "_")
