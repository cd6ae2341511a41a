"""What Chat Completions JSON looks like, as far as it is looked into.

Chunks are read by members, because every server adds its own: what no Struct here names is kept as it came.
"""

from __future__ import annotations

import re

import msgspec
from msgspec import Raw, Struct

NAME = "openai-chat"

DONE = b"[DONE]"

REASONING_TEXT = ("reasoning", "reasoning_content", "thinking")
"""Members whose string is readable reasoning: OpenRouter, Groq, Ollama and vLLM; DeepSeek, xAI, llama.cpp
and most others; a few gateways. Where two of them carry the same words, they are shown once."""

REASONING = (*REASONING_TEXT, "reasoning_details")

FINISH = {
    "stop": "stop",
    "eos": "stop",  # Together
    "end_turn": "stop",  # gateways to Claude
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",  # Mistral
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
"""`finish_reason` in lutum's words; others keep the server's."""


class Function(Struct):
    name: str | None = None
    arguments: Raw = Raw()


class CallDelta(Struct):
    """A piece of a call; `function` and `custom` are objects or null."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None


class Choice(Struct):
    """One choice of a chunk, or of a whole answer."""

    index: int | None = None
    delta: Raw = Raw()
    message: Raw = Raw()
    finish_reason: str | None = None
    logprobs: Raw = Raw()
    usage: Raw = Raw()  # Moonshot reports here
    error: Raw = Raw()


class ChatPart(Struct):
    """One part of a content list; only text and thinking are looked into."""

    type: str = ""
    text: str | None = None
    refusal: str | None = None


class PlainDelta(Struct, forbid_unknown_fields=True, gc=False):
    """A delta that is a piece of text or of reasoning and nothing else."""

    content: str | None = None
    role: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: None = None
    tool_calls: None = None
    function_call: None = None


class PlainChoice(Struct):
    """The one choice of a plain chunk."""

    delta: PlainDelta
    index: int = 0
    finish_reason: None = None
    logprobs: None = None
    message: None = None
    usage: None = None
    error: None = None


class PlainChunk(Struct, forbid_unknown_fields=True):
    """The shape of nearly every chunk; any other is read member by member, which takes four times as long."""

    choices: tuple[PlainChoice]
    id: str | None = None
    object: str | None = None
    created: int | None = None
    model: str | None = None
    system_fingerprint: str | None = None
    service_tier: str | None = None
    provider: str | None = None
    obfuscation: str | None = None
    p: str | None = None
    usage: None = None
    error: None = None


decode_plain = msgspec.json.Decoder(PlainChunk).decode
decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
decode_array = msgspec.json.Decoder(list[Raw]).decode
decode_choices = msgspec.json.Decoder(list[Choice] | None).decode
decode_str = msgspec.json.Decoder(str).decode
decode_part = msgspec.json.Decoder(ChatPart).decode
decode_call = msgspec.json.Decoder(CallDelta).decode
encode = msgspec.json.Encoder().encode

TOOL_NAME = re.compile(r"[a-zA-Z0-9_.:-]{1,128}")
"""More than api.openai.com takes (64 of letters, digits, _ and -): servers differ, and refuse themselves."""

FUNCTION_ID = "function_call:"
"""Begins the id of a legacy `function_call`, which has none: the function's name follows."""


def copied(raw: Raw) -> bytes:
    """Its bytes, out of the buffer it pins. Raises UnicodeDecodeError, which a Raw passes over."""
    copy = bytes(raw)
    copy.decode()
    return copy


def is_null(raw: Raw | bytes | None) -> bool:
    """Absent, or null."""
    return raw is None or bytes(raw) in (b"", b"null")
