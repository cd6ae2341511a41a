"""Chat Completions, at OpenAI and at everyone who speaks it.

_wire      what the JSON looks like
_profiles  `Profile`, and what is known about each host
_encode    PURE: a request to bytes; `_items` turns one item into messages
_decode    PURE: bytes to events; `_assemble` puts the deltas together, with `_received_call` and
           `_received_parts`
_turn      the committed turn: its wire form, its view, and how it goes back
_unanswered  custom calls of the last turn that no raw message answers
_messages  PURE: the dialect's own JSON, in and out
_adapter   the I/O: `OpenAIChatAdapter`
"""

from lutum import result_from_body as result_from_body  # exported by `lutum`
from lutum_openai.chat._messages import (
    batch_line as batch_line,
    from_messages as from_messages,
    to_messages as to_messages,
)

__all__ = ["batch_line", "from_messages", "to_messages"]
