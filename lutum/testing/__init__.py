"""Helpers for tests of programs that use lutum, without a network or a key.

- `ScriptedAdapter` answers from scripts.
- `WireServer` is a provider in the test process that uses the real protocols. Its scripts and faults are in
  `lutum.testing.wire`.
- `RecordingAdapter` records the streamed frames of turns. `ReplayAdapter` plays them again.
- `virtual_time` makes time jump to the next deadline instead of passing.
- `cancel_at` cancels a coroutine at its k-th step.
- `check_adapter`, `check_ledger` and `check_store` check your own adapter, ledger or store.
- `MemoryLedger` simulates, in one process, a ledger that several processes share.
- `lutum.testing.strategies` has strategies for property tests. It needs hypothesis.

Names that need an HTTP library are loaded when they are first used.
"""

from typing import TYPE_CHECKING

from lutum.testing._cancel_at import cancel_at as cancel_at
from lutum.testing._recording import (
    FrameLog as FrameLog,
    RecordingAdapter as RecordingAdapter,
    ReplayAdapter as ReplayAdapter,
    dump_logs as dump_logs,
    load_logs as load_logs,
)
from lutum.testing._scripted import (
    CUT as CUT,
    MockLlmAdapter as MockLlmAdapter,
    Script as Script,
    ScriptedAdapter as ScriptedAdapter,
)
from lutum.testing._virtual_time import virtual_time as virtual_time

if TYPE_CHECKING:
    from lutum.testing import strategies as strategies, wire as wire
    from lutum.testing._check_adapter import check_adapter as check_adapter
    from lutum.testing._check_ledger import check_ledger as check_ledger
    from lutum.testing._check_store import check_store as check_store
    from lutum.testing._memory_ledger import (
        MemoryLease as MemoryLease,
        MemoryLedger as MemoryLedger,
        MemoryScope as MemoryScope,
    )
    from lutum.testing.wire import (
        WireServer as WireServer,
        check_claude_request as check_claude_request,
        check_gemini_request as check_gemini_request,
        check_openai_chat_request as check_openai_chat_request,
        check_openai_completions_request as check_openai_completions_request,
        check_openai_responses_request as check_openai_responses_request,
    )

_LAZY = {
    "check_adapter": "lutum.testing._check_adapter",
    "check_ledger": "lutum.testing._check_ledger",
    "MemoryLease": "lutum.testing._memory_ledger",
    "MemoryLedger": "lutum.testing._memory_ledger",
    "MemoryScope": "lutum.testing._memory_ledger",
    "check_store": "lutum.testing._check_store",
    "WireServer": "lutum.testing.wire",
    "check_claude_request": "lutum.testing.wire",
    "check_gemini_request": "lutum.testing.wire",
    "check_openai_chat_request": "lutum.testing.wire",
    "check_openai_completions_request": "lutum.testing.wire",
    "check_openai_responses_request": "lutum.testing.wire",
}

__all__ = [
    "CUT",
    "FrameLog",
    "MemoryLease",
    "MemoryLedger",
    "MemoryScope",
    "MockLlmAdapter",
    "RecordingAdapter",
    "ReplayAdapter",
    "Script",
    "ScriptedAdapter",
    "WireServer",
    "cancel_at",
    "check_adapter",
    "check_claude_request",
    "check_gemini_request",
    "check_ledger",
    "check_openai_chat_request",
    "check_openai_completions_request",
    "check_openai_responses_request",
    "check_store",
    "dump_logs",
    "load_logs",
    "strategies",
    "virtual_time",
    "wire",
]


def __dir__() -> list[str]:
    return __all__


if not TYPE_CHECKING:  # with `__getattr__`, a type checker would accept any name

    def __getattr__(name: str) -> object:
        if name in ("strategies", "wire"):
            import importlib

            return importlib.import_module(f"lutum.testing.{name}")
        if name not in _LAZY:
            raise AttributeError(f"module 'lutum.testing' has no attribute {name!r}")
        import importlib

        return getattr(importlib.import_module(_LAZY[name]), name)
