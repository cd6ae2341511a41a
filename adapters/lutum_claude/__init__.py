"""Claude for lutum, over the Messages API (platform.claude.com/docs/en/api/messages).

_wire      the API's JSON, its betas and limits; _models: the capabilities of each model
_options   `ClaudeOptions` and `ClaudeHooks`
_encode    a request to bytes, in one pass: _settings, _items (one item), _ids, _request_body (their order),
           _tools, _request_options (the other members), _write (the bytes); _estimate counts tokens
_decode    bytes to events; _received: one block from its deltas; _errors: error types; _usage: usage reports
_turn      the committed turn: its wire form, its view, and its replay
_messages  the API's own JSON, read and written
_adapter   `ClaudeAdapter`; the only module here with I/O
"""

from lutum import result_from_body as result_from_body  # exported by `lutum`
from lutum_claude._adapter import ClaudeAdapter as ClaudeAdapter
from lutum_claude._messages import (
    batch_line as batch_line,
    from_messages as from_messages,
    to_messages as to_messages,
    to_system as to_system,
)
from lutum_claude._options import (
    ClaudeHooks as ClaudeHooks,
    ClaudeOptions as ClaudeOptions,
    Thinking as Thinking,
)

__all__ = [
    "ClaudeAdapter",
    "ClaudeHooks",
    "ClaudeOptions",
    "Thinking",
    "batch_line",
    "from_messages",
    "to_messages",
    "to_system",
]
