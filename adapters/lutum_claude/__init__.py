"""Claude for lutum, over the Messages API (platform.claude.com/docs/en/api/messages).

_wire      what the API's JSON looks like, and the tables: models, betas, limits
_options   `ClaudeOptions`
_encode    PURE: a request to bytes; `_items` turns one item into blocks, `_tools` the tool plan
_decode    PURE: bytes to events
_turn      the committed turn: its wire form, its view, and how it goes back
_adapter   the I/O: `ClaudeAdapter`
"""

from lutum_claude._adapter import ClaudeAdapter as ClaudeAdapter
from lutum_claude._options import ClaudeOptions as ClaudeOptions, Thinking as Thinking

__all__ = ["ClaudeAdapter", "ClaudeOptions", "Thinking"]
