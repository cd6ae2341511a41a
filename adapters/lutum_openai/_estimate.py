"""Estimates of a request's input tokens. The rules are calibrated. An estimate is not an upper bound."""

from __future__ import annotations

import re

from lutum.dialect.tokens import Rates, pdf_pages

# other_tokens: tokens of a character outside ASCII. o200k takes about 0.7 for CJK, more for rare scripts.
RATES = Rates(ascii_per_token=3.1, other_tokens=1.2)
text_tokens = RATES.text

# The template of a message, and the start of the answer. Nothing is added for raw JSON, because it is longer
# than any template.
MESSAGE_TOKENS = 9
TOOL_TOKENS = 2
ENCRYPTED_PER_TOKEN = 16  # base64 characters of encrypted reasoning, most of which the API discards
# Characters of a schema for each token: more than of text, because models see a shorter form of the schema.
JSON_PER_TOKEN = 6.4
PAGE_TOKENS = 3_000  # the text and the image of a page (guides/file-inputs)
IMAGE_TOKENS = 4_100
"""guides/images-vision: 1,536 patches with the largest multiplier, 2.46, are 3,779 tokens; tiled models take
1,445."""
MINI_IMAGE_TOKENS = 48_169
"""guides/images-vision: gpt-4o-mini counts 2,833 tokens, and 5,667 for each tile, up to eight tiles."""

_ENCRYPTED = re.compile(rb'"(?:encrypted_content|data)":"[^"]*"')


def json_tokens(json: bytes) -> int:
    """Return the tokens of JSON that is sent."""
    if b"encrypted" not in json:
        return RATES.json(json)
    rest = _ENCRYPTED.sub(b"", json)
    return RATES.json(rest) + (len(json) - len(rest)) // ENCRYPTED_PER_TOKEN


def tool_tokens(json: bytes) -> int:
    """Return the tokens of a tool, or of a schema for the answer."""
    return int(RATES.json(json) * RATES.ascii_per_token / JSON_PER_TOKEN) + TOOL_TOKENS


def image_tokens(model: str) -> int:
    """Return the largest number of tokens that one image takes."""
    return MINI_IMAGE_TOKENS if "gpt-4o-mini" in model else IMAGE_TOKENS


def pdf_tokens(data: bytes) -> int | None:
    """Return the tokens of a PDF; None if its pages cannot be counted, as in compressed object streams."""
    pages = pdf_pages(data)
    return None if pages is None else pages * PAGE_TOKENS
