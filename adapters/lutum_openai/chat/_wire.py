"""What Chat Completions JSON looks like, as far as it is looked into.

Chunks are read by members, because every server adds its own: what no Struct here names is kept as it came.
"""

from __future__ import annotations

import re

import msgspec
from msgspec import Raw, Struct

from lutum.dialect.finish import FinishTable
from lutum.dialect.json import FAULTS, starts_with, string
from lutum.dialect.usage import count, member

NAME = "openai-chat"


REASONING_TEXT = ("reasoning", "reasoning_content", "thinking", "reasoning_text", "thinking_content")
"""Members whose string is readable reasoning: OpenRouter, Groq, Ollama and vLLM; DeepSeek, xAI, llama.cpp
and most others; a few gateways; GitHub Copilot. Where two of them carry the same words, they are shown
once."""

REASONING = (*REASONING_TEXT, "reasoning_details")

FINISH = FinishTable()
"""Every word that Chat servers use is in the shared table; see `lutum.dialect.finish`."""


class Choice(Struct):
    """One choice of a chunk, or of a whole answer. Members are raw: an odd one ends no turn."""

    index: Raw = Raw()
    delta: Raw = Raw()
    message: Raw = Raw()
    finish_reason: Raw = Raw()
    finish_details: Raw = Raw()  # gpt-4-vision-preview, instead of a reason
    logprobs: Raw = Raw()
    token_ids: Raw = Raw()  # vLLM, under `return_token_ids`
    prompt_token_ids: Raw = Raw()
    usage: Raw = Raw()  # Moonshot reports here
    error: Raw = Raw()

    @property
    def number(self) -> int:
        """Its index; 0 where it is absent or odd."""
        return count(self.index) or 0

    @property
    def reason(self) -> str:
        """Why it ended; empty where it did not, or does not say so."""
        return string(self.finish_reason) or string(member({"d": self.finish_details}, "d", "type")) or ""


class ChatPart(Struct):
    """One part of a content list; only text and thinking are looked into."""

    type: str = ""
    text: str | None = None
    refusal: str | None = None


def decode_part(raw: Raw | bytes) -> ChatPart:
    """Read a part; members of an odd type are as if they were absent. Never raises."""
    try:
        members = decode_object(raw) if starts_with(raw, b"{") else {}
        return ChatPart(
            string(members.get("type")) or "", string(members.get("text")), string(members.get("refusal"))
        )
    except FAULTS:
        return ChatPart()


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
    token_ids: None = None
    prompt_token_ids: None = None
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
