"""The Responses API. Only `_adapter` does I/O.

_wire      the JSON's shapes, and tables of item kinds, models and limits
_encode    a request to bytes; `_items` encodes one item, `_arrange` adapts messages to chat templates
_decode    bytes to events
_turn      the committed turn: its stored JSON (`wire`), its content as items (the view), and its replay
_unanswered  provider calls of the last turn that have no answer yet
_messages  the API's own JSON, read and written
_adapter   `OpenAIAdapter`
"""

from lutum import result_from_body as result_from_body  # exported by `lutum`
from lutum_openai.responses._messages import (
    batch_line as batch_line,
    from_messages as from_messages,
    to_messages as to_messages,
)

__all__ = ["batch_line", "from_messages", "to_messages"]
