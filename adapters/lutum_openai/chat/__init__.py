"""Chat Completions, at OpenAI and at compatible servers. Only `_adapter` does I/O.

_wire      the JSON's shapes
_encode    a request to bytes; `_items` turns one item into messages
_decode    bytes to events; `_assemble` joins the deltas, with `_received_call` and `_received_parts`
_turn      the committed turn: its stored JSON (`wire`), its content as items (the view), and its replay
_unanswered  custom calls of the last turn that have no answer yet
_messages  the dialect's own JSON, read and written
_adapter   `OpenAIChatAdapter`
"""

from lutum import result_from_body as result_from_body  # exported by `lutum`
from lutum_openai.chat._messages import (
    batch_line as batch_line,
    from_messages as from_messages,
    to_messages as to_messages,
)

__all__ = ["batch_line", "from_messages", "to_messages"]
