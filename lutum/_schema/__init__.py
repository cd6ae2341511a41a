"""Conversion of types to JSON Schema, and of JSON to values: strict, lenient and partial.

No I/O, no clock, no tasks.

May be imported by: `_hooks` and everything above. May import: `_values` and below.
"""
