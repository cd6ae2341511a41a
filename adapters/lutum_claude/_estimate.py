"""Estimates of a request's input tokens, by calibrated rules. No I/O.

The rates are a little above the 95th percentile of the recorded exchanges. A rule about bytes is never a
bound.
"""

from __future__ import annotations

import re

from lutum.dialect.tokens import image_size

ASCII_PER_TOKEN = 3.0
OTHER_TOKENS = 1.5  # for a character outside ASCII: CJK has 1 to 1.5 tokens, most other scripts fewer
MESSAGE_TOKENS = 6
REQUEST_TOKENS = 8
THINKING_TOKENS = 30
"""Tokens that the API adds if the request turns thinking on. Nothing is added for a model that thinks by
default: 10 to 19 tokens were billed for a few words (claude-sonnet-5, claude-fable-5 and claude-opus-5,
recorded)."""
FORMAT_TOKENS = 180  # tokens that the API adds for output_config.format, besides the schema
TOOLS_TOKENS = 600
"""Tokens of the system prompt that the API adds for tools: 264 to 530 (agents-and-tools/tool-use, "Pricing").
For one small tool, Claude 4.5 bills 696 tokens if the tool is forced, and 748 with thinking (recorded at
three hosts)."""
CITATIONS_TOKENS = 560  # instructions that the API adds for documents whose citations are enabled
TOOL_TOKENS = 24
PAGE_TOKENS = 3_000  # the text of a page (1,500 to 3,000) and its picture (build-with-claude/pdf-support)
PIXELS_PER_TOKEN = 750  # build-with-claude/vision
# The API scales larger images down. On the newest models the longer side has at most 2,576 pixels.
IMAGE_TOKENS = 2_576 * 2_576 // PIXELS_PER_TOKEN

_PAGE = re.compile(rb"/Type\s*/Page(?![A-Za-z])")


_CITATIONS = re.compile(rb'"citations"\s*:\s*\{\s*"enabled"\s*:\s*true')
# Opus 4.7: up to a third more tokens for the same text (models/overview, "Tokenizer").
_FINER = re.compile(r"opus-4-[7-9]")


def request_tokens(tokens: int, model: str, *, cites: bool) -> int:
    """Return the estimate of a whole request.

    Args:
      tokens: the sum of the estimates of its parts.
      cites: the request contains a document whose citations are enabled.
    """
    if _FINER.search(model):
        tokens = tokens * 4 // 3
    return tokens + (CITATIONS_TOKENS if cites else 0)


def cites(block: bytes) -> bool:
    """Return whether a content block is, or contains, a document whose citations are enabled."""
    return _CITATIONS.search(block) is not None


def text_tokens(text: str) -> int:
    """Return the estimated tokens of a text."""
    if text.isascii():
        return int(len(text) / ASCII_PER_TOKEN) + 1
    plain = len(text.encode("ascii", "ignore"))
    return int(plain / ASCII_PER_TOKEN + (len(text) - plain) * OTHER_TOKENS) + 1


def json_tokens(json: bytes) -> int:
    """Return the estimated tokens of JSON that is sent."""
    return text_tokens(json.decode(errors="replace"))


def pdf_tokens(data: bytes) -> int | None:
    """Return the estimated tokens of a PDF.

    None if its pages cannot be counted, for example because they are in compressed object streams.
    """
    pages = len(_PAGE.findall(data))
    return pages * PAGE_TOKENS or None


def image_tokens(data: bytes) -> int:
    """Return the estimated tokens of an image, from the size in its header.

    If the header has no readable size, the largest number of tokens that an image can have.
    """
    size = image_size(data)
    if size is None:
        return IMAGE_TOKENS
    return min(IMAGE_TOKENS, size[0] * size[1] // PIXELS_PER_TOKEN + 1)
