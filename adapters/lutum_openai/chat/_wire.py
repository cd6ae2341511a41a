"""The shapes of Chat Completions JSON: the members that lutum reads.

Chunks are read member by member, because every server adds its own members. Members that no Struct in this
module has are kept unchanged.
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
"""Members whose string is readable reasoning. `reasoning`: OpenRouter, Groq, Ollama and vLLM.
`reasoning_content`: DeepSeek, xAI, llama.cpp and most others. `reasoning_text`: GitHub Copilot. The others: a
few gateways. Text that two of them contain is shown once."""

REASONING = (*REASONING_TEXT, "reasoning_details")

FINISH = FinishTable()
"""The table for the finish reasons of Chat servers. `lutum.dialect.finish.FINISH` contains all of them, so
this table adds none."""


class Choice(Struct):
    """One choice of a chunk or of a whole answer. Members are raw, so a wrong type does not end the turn."""

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
        """The choice's index; 0 if it is absent or of a wrong type."""
        return count(self.index) or 0

    @property
    def reason(self) -> str:
        """The finish reason; empty if the choice has not ended or has no reason."""
        return string(self.finish_reason) or string(member({"d": self.finish_details}, "d", "type")) or ""


class ChatPart(Struct):
    """One part of a content list. Only text and thinking are read."""

    type: str = ""
    text: str | None = None
    refusal: str | None = None


def decode_part(raw: Raw | bytes) -> ChatPart:
    """Read a part. Members of a wrong type count as absent. Never raises."""
    try:
        members = decode_object(raw) if starts_with(raw, b"{") else {}
        return ChatPart(
            string(members.get("type")) or "", string(members.get("text")), string(members.get("refusal"))
        )
    except FAULTS:
        return ChatPart()


class PlainDelta(Struct, forbid_unknown_fields=True, gc=False):
    """A delta that contains only a piece of text or of reasoning."""

    content: str | None = None
    role: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: None = None
    tool_calls: None = None
    function_call: None = None


class PlainChoice(Struct):
    """The only choice of a plain chunk."""

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
    """The shape of nearly all chunks. Others are read member by member, which takes four times as long."""

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
"""The names of tools that lutum accepts. api.openai.com accepts fewer: up to 64 letters, digits, _ and -. The
pattern is wider, because servers differ and refuse a name themselves."""

FUNCTION_ID = "function_call:"
"""Prefix of the id of a legacy `function_call`, which has no id of its own. The function's name follows."""


def copied(raw: Raw) -> bytes:
    """Return a copy of the bytes, which does not keep the whole buffer alive.

    Raises:
      UnicodeDecodeError: invalid UTF-8, which a `Raw` does not check.
    """
    copy = bytes(raw)
    copy.decode()
    return copy


def is_null(raw: Raw | bytes | None) -> bool:
    """Return whether a member is absent or null."""
    return raw is None or bytes(raw) in (b"", b"null")
