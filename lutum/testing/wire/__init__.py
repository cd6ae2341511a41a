"""A model provider in the test process: real protocols, over a loopback socket or in memory.

- `_script`: the values of an answer: parts, chunking, faults.
- `_plan`: combines rendered events and faults into a plan. No I/O, no clock, no tasks.
- `_dialect`: the interface of a protocol, implemented for example by `_claude`, with `_claude_check` and
  `_claude_sign`.
- `_server`: the scripts, the request log and the listener.
- `_socket`, `_stream` and `_memory`: the three ways to connect to the server: a loopback socket, a byte
  stream in memory, and an httpx transport. Each of them executes the plans.
"""

from lutum.testing.wire._claude_check import check_claude_request
from lutum.testing.wire._error import WireError
from lutum.testing.wire._gemini_check import check_gemini_request
from lutum.testing.wire._memory import WireTransport
from lutum.testing.wire._openai_chat_check import (
    check_openai_chat_request,
    check_openai_completions_request,
)
from lutum.testing.wire._openai_responses_check import check_openai_responses_request
from lutum.testing.wire._request import Outcome, WireRequest
from lutum.testing.wire._script import (
    Answer,
    At,
    BeforeHead,
    Block,
    Call,
    Chunking,
    Cut,
    CutAt,
    Drip,
    End,
    ErrorEvent,
    Garbage,
    NeverEnding,
    Part,
    Pause,
    RawEvent,
    RedactedThink,
    Refuse,
    Reply,
    Reset,
    Say,
    Script,
    SlowClose,
    Stall,
    Status,
    Step,
    Think,
)
from lutum.testing.wire._server import WireServer

__all__ = [
    "Answer",
    "At",
    "BeforeHead",
    "Block",
    "Call",
    "Chunking",
    "Cut",
    "CutAt",
    "Drip",
    "End",
    "ErrorEvent",
    "Garbage",
    "NeverEnding",
    "Outcome",
    "Part",
    "Pause",
    "RawEvent",
    "RedactedThink",
    "Refuse",
    "Reply",
    "Reset",
    "Say",
    "Script",
    "SlowClose",
    "Stall",
    "Status",
    "Step",
    "Think",
    "WireError",
    "WireRequest",
    "WireServer",
    "WireTransport",
    "check_claude_request",
    "check_gemini_request",
    "check_openai_chat_request",
    "check_openai_completions_request",
    "check_openai_responses_request",
]
