"""The values that every other package speaks of: errors, results, messages, events, transcripts, settings.

No I/O, no clock, no tasks. `contracts` holds the protocols of adapters and ledgers, which `lutum.abc` exports.

May be imported by: every package. May import: `_text`, `sse`, `_backend`.
"""
