"""The shapes of `generateContent`'s JSON, and its constants.

Structs name only the members that lutum reads. All others stay raw JSON.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from lutum.abc import SchemaDialect
from lutum.dialect.finish import FinishTable

NAME: Final = "gemini"
API_VERSION: Final = "v1beta"
VERTEX_VERSION: Final = "v1beta1"

# --- frames of a stream ------------------------------------------------------------------------


class TextPart(Struct, forbid_unknown_fields=True, gc=False):
    """A part that contains only text."""

    text: str
    thought: bool | UnsetType = UNSET


class TextContent(Struct, forbid_unknown_fields=True):
    parts: list[TextPart]
    role: str = "model"


class TextCandidate(Struct, forbid_unknown_fields=True):
    content: TextContent
    index: int = 0


class TextFrame(Struct, forbid_unknown_fields=True):
    """Most frames of a stream: one candidate with text only. Any other frame is read member by member."""

    candidates: list[TextCandidate]
    usageMetadata: Raw = Raw()
    modelVersion: str = ""
    responseId: str = ""
    createTime: str = ""
    turnToken: Raw = Raw()


class LogprobToken(Struct):
    """A token and its log probability. Zeros are left out, as in all JSON of protocol buffers."""

    token: str = ""
    tokenId: int | None = None
    logProbability: float = 0.0


class _TopCandidates(Struct):
    candidates: list[LogprobToken] = []


class LogprobsResult(Struct):
    """`logprobsResult` of a candidate: the sampled tokens, and the most likely tokens at each position."""

    chosenCandidates: list[LogprobToken] = []
    topCandidates: list[_TopCandidates] = []


decode_logprobs: Final = msgspec.json.Decoder(LogprobsResult | None).decode
decode_text_frame: Final = msgspec.json.Decoder(TextFrame).decode

# --- finish reasons (api/generate-content, FinishReason) ---------------------------------------

FINISH: Final = FinishTable(
    words={
        "continuation": "paused",
        "language": "content_filter",
        "image_prohibited_content": "content_filter",
        "image_recitation": "content_filter",
        "model_armor": "content_filter",
    }
)
"""`finishReason` values and lutum's names for them. Other reasons keep the provider's name."""

FAILED: Final = frozenset(
    {"MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MALFORMED_RESPONSE", "TOO_MANY_TOOL_CALLS"}
)
"""Reasons of a failed answer. Without a readable call such an answer is an error, and a retry may succeed. A
call of an undeclared function is readable. It becomes an issue of the round."""

UNSIGNED: Final = "MISSING_THOUGHT_SIGNATURE"
"""The reason of an answer to a request that lacks a signature. A retry of the same request fails too."""

BYPASS: Final = b"skip_thought_signature_validator"
"""The documented value that replaces a signature on calls of another provider
(gemini-api/docs/thought-signatures). Only the first call of a step gets it, because on further calls it makes
gemini-3.5 return empty answers (BerriAI/litellm#37541)."""

# --- schemas (gemini-api/docs/structured-output; the API ignores other constraints) --------------

SCHEMAS: Final = SchemaDialect(
    name="gemini",
    keywords=frozenset({"minimum", "maximum", "minItems", "maxItems"}),
    formats=frozenset({"date-time", "date", "time"}),
)

# --- limits ------------------------------------------------------------------------------------

REQUEST_BYTES: Final = 100 * 10**6
"""The largest request with inline data, in bytes (gemini-api/docs/file-input-methods)."""

IMAGE_TYPES: Final = frozenset({"image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"})
"""Accepted image types (gemini-api/docs/image-understanding)."""

TOOL_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}")
"""Accepted tool names (google-genai, types.FunctionDeclaration.name)."""

CODE_PARTS: Final = frozenset({"executableCode", "codeExecutionResult"})
"""Parts after which the model continues, although an earlier frame may have a finish reason."""
