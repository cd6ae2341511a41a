"""Typed hooks: sets of named slots, their registration and the order in which they run.

May be imported by: `_tools`, `_budget` and everything above. May import: `_telemetry`, `_schema` and below.
"""
