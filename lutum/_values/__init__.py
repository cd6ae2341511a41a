"""The values that all packages share: errors, results, messages, events, transcripts, settings.

No I/O, no clock, no tasks. `contracts` holds the protocols of adapters and ledgers, exported by `lutum.abc`.

May be imported by: every package. May import: `_text`, `sse`, `_backend`.
"""
