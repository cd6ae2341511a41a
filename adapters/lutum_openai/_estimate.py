"""Tokens that a request may read: calibrated rules, which are not a bound."""

from __future__ import annotations

import re

from lutum.dialect.tokens import Rates, pdf_pages

# A character outside ASCII: o200k takes about 0.7 for CJK, more for rare scripts.
RATES = Rates(ascii_per_token=3.1, other_tokens=1.2)
text_tokens = RATES.text

MESSAGE_TOKENS = 9  # of its template, and what opens the answer; raw JSON is longer than any template
TOOL_TOKENS = 2
ENCRYPTED_PER_TOKEN = 16  # base64 of encrypted reasoning, most of which is left out again
JSON_PER_TOKEN = 6.4  # of a schema, which models are shown in a shorter form
PAGE_TOKENS = 3_000  # text of a page and its picture (guides/file-inputs)
IMAGE_TOKENS = 4_100
"""guides/images-vision: 1,536 patches at the largest multiplier, 2.46, are 3,779; tiled models take 1,445."""
MINI_IMAGE_TOKENS = 48_169
"""guides/images-vision: gpt-4o-mini counts 2,833 and 5,667 a tile, up to eight."""

_ENCRYPTED = re.compile(rb'"(?:encrypted_content|data)":"[^"]*"')


def json_tokens(json: bytes) -> int:
    """Tokens of JSON that is sent."""
    if b"encrypted" not in json:
        return RATES.json(json)
    rest = _ENCRYPTED.sub(b"", json)
    return RATES.json(rest) + (len(json) - len(rest)) // ENCRYPTED_PER_TOKEN


def tool_tokens(json: bytes) -> int:
    """Tokens of a tool, or of a schema for the answer."""
    return int(RATES.json(json) * RATES.ascii_per_token / JSON_PER_TOKEN) + TOOL_TOKENS


def image_tokens(model: str) -> int:
    """The most tokens that one image takes."""
    return MINI_IMAGE_TOKENS if "gpt-4o-mini" in model else IMAGE_TOKENS


def pdf_tokens(data: bytes) -> int | None:
    """Tokens of a PDF; None when its pages cannot be counted, as in compressed object streams."""
    pages = pdf_pages(data)
    return None if pages is None else pages * PAGE_TOKENS
