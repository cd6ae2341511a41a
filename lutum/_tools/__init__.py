"""Tools: from functions and types to definitions, and from a model's calls to their results.

May be imported by: `_turn` and everything above. May import: `_hooks` and below, not `_budget`.
"""
