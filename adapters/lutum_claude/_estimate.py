"""Estimate of the input tokens of a request, by calibrated rules. No I/O.

The rates are a little above the 95th percentile of recorded exchanges. A rule over bytes is never a bound.
"""

from __future__ import annotations

import re

from lutum.dialect.tokens import image_size

ASCII_PER_TOKEN = 3.0
OTHER_TOKENS = 1.5  # a character outside ASCII: CJK takes 1 to 1.5, most other scripts less
MESSAGE_TOKENS = 6
REQUEST_TOKENS = 8
THINKING_TOKENS = 30
"""What comes with thinking that was asked for. Models that think unasked bill nothing for it: 10 to 19 tokens
for a few words (claude-sonnet-5, claude-fable-5 and claude-opus-5, recorded)."""
FORMAT_TOKENS = 180  # what comes with output_config.format besides the schema
TOOLS_TOKENS = 600
"""The system prompt that comes with tools: 264 to 530 (agents-and-tools/tool-use, "Pricing"). Claude 4.5
bills 696 and 748 for one small tool, with a forced tool and with thinking (recorded at three hosts)."""
CITATIONS_TOKENS = 560  # the instructions that come with a document whose citations are enabled
TOOL_TOKENS = 24
PAGE_TOKENS = 3_000  # text of a page, 1,500 to 3,000, and its picture (build-with-claude/pdf-support)
PIXELS_PER_TOKEN = 750  # build-with-claude/vision
# The largest size that a picture is scaled down to: 2,576 pixels on its longer side, on the newest models.
IMAGE_TOKENS = 2_576 * 2_576 // PIXELS_PER_TOKEN

_PAGE = re.compile(rb"/Type\s*/Page(?![A-Za-z])")


_CITATIONS = re.compile(rb'"citations"\s*:\s*\{\s*"enabled"\s*:\s*true')
# Opus 4.7: up to a third more tokens for the same text (models/overview, "Tokenizer").
_FINER = re.compile(r"opus-4-[7-9]")


def request_tokens(tokens: int, model: str, *, cites: bool) -> int:
    """Return the estimate of a whole request from that of its parts; `cites` if a document has citations."""
    if _FINER.search(model):
        tokens = tokens * 4 // 3
    return tokens + (CITATIONS_TOKENS if cites else 0)


def cites(block: bytes) -> bool:
    """Return whether a content block is or holds a document whose citations are enabled."""
    return _CITATIONS.search(block) is not None


def text_tokens(text: str) -> int:
    """Tokens of a text."""
    if text.isascii():
        return int(len(text) / ASCII_PER_TOKEN) + 1
    plain = len(text.encode("ascii", "ignore"))
    return int(plain / ASCII_PER_TOKEN + (len(text) - plain) * OTHER_TOKENS) + 1


def json_tokens(json: bytes) -> int:
    """Tokens of JSON that is sent."""
    return text_tokens(json.decode(errors="replace"))


def pdf_tokens(data: bytes) -> int | None:
    """Tokens of a PDF; None when its pages cannot be counted, as in compressed object streams."""
    pages = len(_PAGE.findall(data))
    return pages * PAGE_TOKENS or None


def image_tokens(data: bytes) -> int:
    """Tokens of an image by the size in its header; the most an image takes where that is not found."""
    size = image_size(data)
    if size is None:
        return IMAGE_TOKENS
    return min(IMAGE_TOKENS, size[0] * size[1] // PIXELS_PER_TOKEN + 1)
