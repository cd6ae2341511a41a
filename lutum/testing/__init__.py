"""What you need to test what you build on lutum, without a network or a key.

`ScriptedAdapter` answers from scripts; `RecordingAdapter` and `ReplayAdapter` keep and play frame logs;
`virtual_time` makes time jump and `cancel_at` cancels at the k-th await.
"""

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
from lutum.testing._virtual_time import cancel_at as cancel_at, virtual_time as virtual_time
