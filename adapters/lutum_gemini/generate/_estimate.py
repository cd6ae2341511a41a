"""Estimates of a request's input tokens. The rules are calibrated; a rule about bytes is never a bound.

The rates are above the 95th percentile of the recorded exchanges. Media: gemini-api/docs/tokens and
gemini-api/docs/media-resolution.
"""

from __future__ import annotations

from math import ceil
from typing import Final

from lutum.dialect.tokens import Rates, image_size, pdf_pages

RATES: Final = Rates(ascii_per_token=3.2, other_tokens=1.1)
JSON_RATES: Final = Rates(ascii_per_token=2.8, other_tokens=1.1)
CONTENT_TOKENS: Final = 6
REQUEST_TOKENS: Final = 12
TOOLS_TOKENS: Final = 60
"""Tokens of the instructions that the API adds to function declarations."""
TOOL_TOKENS: Final = 24
FORMAT_TOKENS: Final = 20
SIGNATURE_PER_TOKEN: Final = 4.0
TILE_TOKENS: Final = 258
TILE_PIXELS: Final = 768
SMALL_PIXELS: Final = 384
PAGE_TOKENS: Final = 1_120
UNKNOWN_IMAGE_TOKENS: Final = 16 * TILE_TOKENS


def text_tokens(text: str) -> int:
    """Return the estimated tokens of a text."""
    return RATES.text(text)


def json_tokens(json: bytes) -> int:
    """Return the estimated tokens of JSON that is sent."""
    return JSON_RATES.json(json)


def image_tokens(data: bytes, most: int | None) -> int:
    """Return the estimated tokens of an image.

    Args:
      most: the model's fixed bound in tokens; None for a model that counts tiles.
    """
    if most is not None:
        return most
    size = image_size(data)
    if size is None:
        return UNKNOWN_IMAGE_TOKENS
    if max(size) <= SMALL_PIXELS:
        return TILE_TOKENS
    return TILE_TOKENS * ceil(size[0] / TILE_PIXELS) * ceil(size[1] / TILE_PIXELS)


def document_tokens(media_type: str, data: bytes) -> int | None:
    """Return the estimated tokens of a document; None if they cannot be known, as for audio and video."""
    if media_type.startswith("text/"):
        return text_tokens(data.decode(errors="replace"))
    if media_type == "application/pdf" and (pages := pdf_pages(data)) is not None:
        return pages * PAGE_TOKENS
    return None
