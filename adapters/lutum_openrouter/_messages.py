"""Chat messages of OpenRouter, in and out: Chat Completions' with another default scope. PURE."""

from __future__ import annotations

from collections.abc import Iterable

from lutum import ToolDef, Transcript
from lutum.dialect.json import Json
from lutum_openai import chat

HOST = "openrouter.ai"


def from_messages(
    messages: Json, *, scope: str = HOST, model: str = "", tools: Iterable[ToolDef] | None = None
) -> Transcript:
    """As `lutum_openai.chat.from_messages`, of turns that come from OpenRouter."""
    return chat.from_messages(messages, scope=scope, model=model, tools=tools)


def to_messages(transcript: Transcript) -> bytes:
    """As `lutum_openai.chat.to_messages`."""
    return chat.to_messages(transcript)
