"""Chat messages of OpenRouter: those of Chat Completions, with another default scope. No I/O."""

from __future__ import annotations

from collections.abc import Iterable

from lutum import ToolDef, Transcript
from lutum.dialect.json import Json
from lutum_openai import chat

HOST = "openrouter.ai"


def from_messages(
    messages: Json, *, scope: str = HOST, model: str = "", tools: Iterable[ToolDef] | None = None
) -> Transcript:
    """Return a transcript like `lutum_openai.chat.from_messages`, with turns from OpenRouter by default."""
    return chat.from_messages(messages, scope=scope, model=model, tools=tools)


def to_messages(transcript: Transcript) -> bytes:
    """Return messages like `lutum_openai.chat.to_messages`."""
    return chat.to_messages(transcript)
