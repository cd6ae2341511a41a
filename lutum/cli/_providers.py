"""The providers of the commands: for each `--provider`, its adapter and its form of a turn with reasoning."""

from __future__ import annotations

from typing import Literal

import lutum
from lutum._adapter_by_name import NamedAdapter
from lutum.cli._clouds import cloud_adapter
from lutum_claude import ClaudeAdapter, ClaudeOptions
from lutum_gemini import GeminiAdapter, GeminiOptions
from lutum_openai import OpenAIAdapter, OpenAIChatAdapter, OpenAIOptions
from lutum_openrouter import OpenRouterOptions

Provider = Literal["wire", "wire-openai", "wire-openai-chat", "wire-gemini", "claude"]
Adapter = NamedAdapter

NO_KEY = "the wire server asks for none"
# One replay scope for wire servers on all ports, so that a stored chat can be continued at the next server.
WIRE = "wire"

PROTOCOLS: dict[str, str] = {
    "wire": "Claude's Messages",
    "wire-openai": "OpenAI's Responses",
    "wire-openai-chat": "Chat Completions",
    "wire-gemini": "Gemini's generateContent",
}
"""The protocol of each wire server."""


def adapter(provider: str, url: str, model: str) -> Adapter:
    """Return the adapter of a provider or of the wire server.

    `url` is the server's address. If it is empty, the adapter uses the provider's own address. If it is the
    address of a cloud and the environment has the cloud's credentials, the adapter uses these credentials.

    Raises:
      BadValue: the model is blank, a URL or a proxy of the environment is invalid, or a cloud lacks the
      model.
    """
    if provider not in PROTOCOLS and (found := cloud_adapter(provider, url, model)) is not None:
        return found
    match provider:
        case "wire-openai":
            return OpenAIAdapter(model, base_url=f"{url}/v1", api_key=NO_KEY, replay_scope=WIRE)
        case "wire-openai-chat":
            return OpenAIChatAdapter(model, base_url=f"{url}/v1", api_key=NO_KEY, replay_scope=WIRE)
        case "wire-gemini":
            return GeminiAdapter(model, base_url=url, api_key=NO_KEY, replay_scope=WIRE)
        case "wire":
            return ClaudeAdapter(model=model, base_url=url or None, api_key=NO_KEY, replay_scope=WIRE)
        case _:
            if not model.strip():
                raise lutum.BadValue("model", "is blank")
            name = "completions" if provider == "openai-completions" else provider
            return lutum.adapter(f"{name}:{model}", base_url=url or None)


def reasoning_turn(provider: str, session: lutum.Session) -> lutum.TextTurn:
    """Return a turn with thinking, in the form that the model accepts.

    The accepted form is found with previews, which send nothing.

    Raises:
      BadValue: the request is wrong in another way; for instance the key is missing.
    """
    return reasoning(provider, session.text_turn().max_output_tokens(2048))


def reasoning(provider: str, turn: lutum.TextTurn) -> lutum.TextTurn:
    """Return `turn` with thinking on. Its output limit must exceed 1,024 tokens. Raises as
    `reasoning_turn`."""
    match provider:
        case "openai" | "wire-openai":
            return turn.ext(OpenAIOptions(effort="low", summary="auto"))
        case "chat" | "openai-chat" | "completions" | "openai-completions" | "wire-openai-chat":
            return turn.ext(OpenAIOptions(effort="low"))
        case "openrouter":
            return turn.ext(OpenRouterOptions(reasoning={"effort": "low"}))
        case "gemini" | "wire-gemini":
            return _first_accepted(
                turn,
                GeminiOptions(thinking_level="low", include_thoughts=True),
                GeminiOptions(thinking_budget=1024, include_thoughts=True),
            )
        case _:
            return _first_accepted(
                turn,
                ClaudeOptions(thinking=1024),
                ClaudeOptions(thinking="adaptive", display="summarized"),
            )


def _first_accepted(turn: lutum.TextTurn, *forms: ClaudeOptions | GeminiOptions) -> lutum.TextTurn:
    """Return the turn with the first of the options that the model accepts. If it accepts none, return the
    turn without thinking."""
    for options in forms:
        try:
            turn.ext(options).preview()
        except lutum.BadValue as error:
            if not error.field.startswith("thinking"):
                raise
        else:
            return turn.ext(options)
    return turn
