"""Claude for lutum, over the Messages API (platform.claude.com/docs/en/api/messages).

_wire      what the API's JSON looks like, its errors, betas and limits; _models: what each model takes
_options   `ClaudeOptions`; _hooks: `ClaudeHooks`
_encode    PURE: a request to bytes, from _items (one item), _request_body (their order), _tools and
           _request_options;
           _estimate counts
_decode    PURE: bytes to events; _errors: error bodies
_turn      PURE: the committed turn, from wire to view and how it goes back
_messages  PURE: the API's own JSON, in and out
_adapter   the I/O: `ClaudeAdapter`
"""

from lutum import result_from_body as result_from_body
from lutum_claude._adapter import ClaudeAdapter as ClaudeAdapter
from lutum_claude._hooks import ClaudeHooks as ClaudeHooks
from lutum_claude._messages import (
    batch_line as batch_line,
    from_messages as from_messages,
    to_messages as to_messages,
    to_system as to_system,
)
from lutum_claude._options import ClaudeOptions as ClaudeOptions, Thinking as Thinking

__all__ = [
    "ClaudeAdapter",
    "ClaudeHooks",
    "ClaudeOptions",
    "Thinking",
    "batch_line",
    "from_messages",
    "result_from_body",
    "to_messages",
    "to_system",
]
