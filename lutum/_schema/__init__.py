"""Types to JSON Schema, and JSON back to values: whole, strict, partial.

No I/O, no clock, no tasks.

May be imported by: `_hooks` and everything above. May import: `_values` and below.
"""
