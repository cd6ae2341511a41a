"""What a model is told besides the request, and billed for: calibrated on the recorded exchanges, PURE.

Chat templates and hosts put a system prompt of their own before the messages, some a longer one where there
are tools. The figures are tokens on top of what the text of the request is estimated at, from the dearest
recorded exchanges of each kind that have no other cause.
"""

from __future__ import annotations

import re
from typing import Final

# Host: without tools, with tools.
_HOSTS: Final = {
    "api.venice.ai": (1_560, 1_020),  # its own system prompt, unless a parameter says no
}

_AZURE: Final = (0, 130)  # what it tells grok, which is less

# Model, where it begins behind its maker's name: without tools, with tools. The first that fits counts.
_MODELS: Final = [
    (re.compile(pattern), figures)
    for pattern, figures in (
        (r"grok-", (225, 365)),
        (r"gpt-oss", (62, 68)),  # the date and the knowledge cutoff, for every request
        (r"gpt-5", (0, 65)),
        (r"claude-", (28, 555)),  # agents-and-tools/tool-use, "Pricing": 264 to 530, which its API bills too
        (r"deepseek-", (0, 270)),
        (r"(?:meta-)?llama-?[34]", (20, 240)),
        (r"qwen", (8, 232)),
        (r"glm-", (4, 110)),
        (r"kimi-", (0, 60)),
        (r"(?:magi|mini)?stral|mistral", (5, 40)),
    )
]


def hidden_prompt_tokens(host: str, model: str, *, tools: bool) -> int:
    """Tokens that are billed for a request, whatever it says."""
    figures = _HOSTS.get(host)
    if host.endswith(".azure.com") and "grok" in model:
        figures = _AZURE
    if figures is None:
        name = model.lower().rpartition("/")[2].removeprefix("openai.")
        figures = next((found for pattern, found in _MODELS if pattern.match(name)), (0, 0))
    return figures[tools]
