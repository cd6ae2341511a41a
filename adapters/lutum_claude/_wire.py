"""The shapes of the Messages API's JSON that lutum reads, and the API's constants.

Structs name only the members that lutum uses. All others stay `msgspec.Raw`. The decoder passes on only
copies of a `Raw`, made with `bytes` or by encoding.
"""

from __future__ import annotations

import re
from typing import get_args

import msgspec
from msgspec import Raw, Struct

from lutum.abc import SchemaDialect
from lutum.dialect.finish import FinishTable

NAME = "claude"

VERSION = "2023-06-01"
"""The `anthropic-version` that is sent by default. It accepts everything that the later 2026-10-21 accepts.
It also accepts sampling parameters for the models that have them; 2026-10-21 refuses them for every model.
The adapter's `version=` selects another version."""

NO_SAMPLING_VERSION = "2026-10-21"
VERTEX_VERSION = "vertex-2023-10-16"

# --- stream events (api/streaming) -------------------------------------------------------------


# Delta structs forbid unknown members. So a delta with an unknown member takes the slow path of the decoder,
# which reads it member by member.


class ClaudeTextDelta(Struct, tag="text_delta", forbid_unknown_fields=True, gc=False):
    text: str


class ThinkingDelta(Struct, tag="thinking_delta", forbid_unknown_fields=True, gc=False):
    thinking: str


class SignatureDelta(Struct, tag="signature_delta", forbid_unknown_fields=True):
    signature: Raw


class JsonDelta(Struct, tag="input_json_delta", forbid_unknown_fields=True, gc=False):
    partial_json: str


class CitationsDelta(Struct, tag="citations_delta", forbid_unknown_fields=True):
    citation: Raw


class CompactionDelta(Struct, tag="compaction_delta", forbid_unknown_fields=True):
    content: Raw = Raw()
    encrypted_content: Raw = Raw()


Delta = ClaudeTextDelta | ThinkingDelta | SignatureDelta | JsonDelta | CitationsDelta | CompactionDelta


class BlockDelta(Struct, tag="content_block_delta", forbid_unknown_fields=True):
    index: int
    delta: Delta


class MessageStart(Struct, tag="message_start"):
    message: Raw


class BlockStart(Struct, tag="content_block_start", forbid_unknown_fields=True):
    index: int
    content_block: Raw


class BlockStop(Struct, tag="content_block_stop"):
    index: int


class MessageDelta(Struct, tag="message_delta"):
    delta: Raw = Raw()
    usage: Raw = Raw()


class MessageStop(Struct, tag="message_stop"):
    pass


class Ping(Struct, tag="ping"):
    pass


class ClaudeErrorEvent(Struct, tag="error"):
    pass


StreamEvent = (
    BlockDelta | MessageStart | BlockStart | BlockStop | MessageDelta | MessageStop | Ping | ClaudeErrorEvent
)

decode_event = msgspec.json.Decoder(StreamEvent).decode

EVENT_TYPES = frozenset(str(kind.__struct_config__.tag) for kind in get_args(StreamEvent))
DELTA_TYPES = frozenset(str(kind.__struct_config__.tag) for kind in get_args(Delta))


class _Tagged(Struct):
    type: str


decode_tag = msgspec.json.Decoder(_Tagged).decode

MEMBERS = {
    str(kind.__struct_config__.tag): frozenset(("type", *kind.__struct_fields__))
    for kind in (*get_args(StreamEvent), *get_args(Delta))
}
"""The members of each event and delta that the decoder reads."""

# --- the end of a turn ----------------------------------------------------------------------

FINISH = FinishTable()
"""`stop_reason` (platform.claude.com, "Handling stop reasons"). The shared table contains every value."""

RESPONSE_ONLY_DELTA_MEMBERS = frozenset({"estimated_tokens"})
"""Members of deltas that become events and are not part of a block: a count of the thinking so far."""

# --- betas (api/beta-headers) ------------------------------------------------------------------

BETA_BINDING = "thinking-binding-controls-2026-08-01"
BETA_ONE_TURN = "mid-conversation-system-clear-at-2026-08-21"
BETA_INLINE_TOOLS = "inline-tools-2026-09-15"
BETA_DISPLAY_UPDATES = "thinking-display-updates-2026-08-18"
OPTION_BETAS = {
    "mcp_servers": "mcp-client-2025-11-20",
    "context_management": "context-management-2025-06-27",
    "fallbacks": "server-side-fallback-2026-07-01",
    "task_budget": "task-budgets-2026-03-13",
}

# --- limits (build-with-claude/vision, .../pdf-support, api/overview) --------------------------

IMAGE_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
IMAGE_BASE64_BYTES = 10 * 2**20  # older models accept only 5 MiB; lutum does not check that, the API does
DOCUMENT_TYPES = frozenset({"application/pdf", "text/plain"})
REQUEST_BYTES = 32 * 2**20
TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
CALL_ID = re.compile(r"[a-zA-Z0-9_-]+")
MIN_BUDGET = 1024
LOOKBACK = 20  # number of content blocks before a cache breakpoint in which the API finds an earlier entry

# --- schemas (build-with-claude/structured-outputs, "JSON Schema limitations") ------------------

SCHEMAS = SchemaDialect(
    name="anthropic",
    formats=frozenset(
        {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
    ),
    values=(("minItems", (0, 1)),),
    recursive=False,
)
