"""Hidden prompts: tokens that are billed for a request but are not in its text. No I/O.

Chat templates and hosts add a system prompt before the messages. Some of these prompts are longer if the
request has tools. Each figure is added to the estimate for the request's text. A negative figure corrects an
estimate that is too high. Each figure comes from recorded exchanges with the host or the model. It is the
largest difference between the billed tokens and the estimate that has no other cause.
"""

from __future__ import annotations

import re
from typing import Final

# Host: tokens without tools, tokens with tools.
_HOSTS: Final = {
    "api.venice.ai": (1_560, 1_020),  # Venice's system prompt, unless a parameter turns it off
}

_AZURE: Final = (0, 130)  # Azure's prompt for grok is shorter than xAI's

# Start of the model name without the vendor's prefix: tokens without tools, tokens with tools. The first
# match counts.
_MODELS: Final = [
    (re.compile(pattern), figures)
    for pattern, figures in (
        (r"grok-4(?:-0[0-9]{3})?$", (665, 700)),
        (r"grok-[23]", (8, 210)),
        (r"grok-", (225, 420)),
        (r"gpt-oss", (64, 78)),  # the date and the knowledge cutoff, for every request
        (r"gpt-5", (0, 65)),
        (r"gpt-(?:3|4(?!o|\.))", (0, 14)),
        # agents-and-tools/tool-use, "Pricing": 264 to 530 tokens, which Claude's API bills too; about 70 more
        # since version 4.5
        (r"(?:databricks-)?claude-", (30, 640)),
        (r"deepseek-", (0, 270)),
        (r"gemini-3", (-8, 18)),  # its template has fewer tokens than the estimate for a message
        (r"gemini-2\.", (-8, -13)),
        (r"sonar", (-6, 0)),
        (r"gemma", (7, 20)),
        (r"(?:meta-)?llama-?guard", (148, 148)),  # the model's instructions
        (r"(?:meta-)?llama-?4", (20, 670)),  # the templates of Groq and Hugging Face describe tools at length
        (r"(?:meta-)?llama-?3", (26, 300)),
        (r"qwen", (12, 270)),
        (r"glm-", (6, 146)),
        (r"kimi-", (0, 85)),
        (r"(?:magi|mini)?stral|mistral", (7, 50)),
    )
]


def hidden_prompt_tokens(host: str, model: str, *, tools: bool) -> int:
    """Return the tokens that are billed for a request in addition to its text."""
    figures = _HOSTS.get(host)
    if host.endswith(".azure.com") and "grok" in model:
        figures = _AZURE
    if figures is None:
        name = model.lower().rpartition("/")[2].removeprefix("openai.")
        figures = next((found for pattern, found in _MODELS if pattern.match(name)), (0, 0))
    return figures[tools]
