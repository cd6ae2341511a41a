"""The data that traces record: spans, attributes of turns, masking of secrets.

Nothing is recorded unless `lutum.trace.capture()` or `lutum.trace.otel()` is in use.

May be imported by: `_hooks` and everything above. May import: `_values` and below.
"""
