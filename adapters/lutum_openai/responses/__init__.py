"""The Responses API.

_wire      what its JSON looks like, and the tables: item kinds, models, hosts
_encode    PURE: a request to bytes
_decode    PURE: bytes to events
_turn      the committed turn: its wire form, its view, and how it goes back
_unanswered  provider calls of the last turn that no raw item answers
_messages  PURE: the API's own JSON, in and out
_adapter   the I/O: `OpenAIAdapter`
"""

from lutum import result_from_body as result_from_body  # exported by `lutum`
from lutum_openai.responses._messages import (
    batch_line as batch_line,
    from_messages as from_messages,
    to_messages as to_messages,
)

__all__ = ["batch_line", "from_messages", "to_messages"]
